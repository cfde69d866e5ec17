"""InfoNCE: which of the candidates belongs to the query?"""

from __future__ import annotations

import torch
from torch import nn

from .gather import gather_rows, rank_offset


def info_nce(
    queries: torch.Tensor, targets: torch.Tensor, temperature: float, valid: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contrast of each query with the targets of all samples of all processes.

    `-log softmax_j(cos(query_i, target_j) / temperature)` at `j = i`, averaged over the queries; from queries to targets
    only. This is the discriminative task of Hi-TRS as released; paper Eq. 7 (Chen et al., ECCV 2022) prints the
    ratio without logarithm and normalisation.

    Args:
        queries: float `(n, dim)`; the same `n` on every process.
        targets: float `(n, dim)`, row i belongs to query i. Receives no gradient.
        temperature: positive.
        valid: bool `(n,)`, False for queries that do not count; their targets still serve as candidates.

    Returns:
        the loss (a scalar, 0 if no query counts), and the share of queries nearest to their own target (no gradient).
    """
    queries = nn.functional.normalize(queries.float(), dim=-1)
    candidates = gather_rows(nn.functional.normalize(targets.detach().float(), dim=-1))
    # Divided by the temperature, the rounding of half precision would show: not under autocast.
    with torch.autocast(queries.device.type, enabled=False):
        logits = queries @ candidates.T / temperature  # (n, ranks * n)
    labels = torch.arange(len(queries), device=queries.device) + rank_offset(len(queries))
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    hits = (logits.detach().argmax(dim=-1) == labels).to(losses.dtype)
    if valid is None:
        return losses.mean(), hits.mean()
    count = valid.sum().clamp(min=1)
    return (losses * valid).sum() / count, (hits * valid).sum() / count


def multi_positive_cross_entropy(logits: torch.Tensor, num_positives: int) -> torch.Tensor:
    """`-log` of the summed probability of the positives, which come first among the candidates.

    With one positive this is the cross-entropy of MoCo; with several their probabilities are added before the logarithm
    (HiCo, Dong et al., AAAI 2023, as released).

    Args:
        logits: float `(n, candidates)`.
        num_positives: candidates that belong to the query, at least 1.

    Returns:
        `(n,)`.
    """
    return logits.logsumexp(dim=-1) - logits[:, :num_positives].logsumexp(dim=-1)


def info_nce_with_negatives(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contrast of each query with its own positives, one or several, against negatives shared by all queries.

    Args:
        queries: float `(n, dim)`.
        positives: float `(n, dim)`, or `(n, positives, dim)`. Receive no gradient.
        negatives: float `(k, dim)`, unit vectors, such as [`FeatureQueue.candidates`]. Receive no gradient.
        temperature: positive.

    Returns:
        the loss (see [`multi_positive_cross_entropy`]), mean over the queries, and the share of queries nearest to one
        of their positives (no gradient).
    """
    if positives.ndim == 2:
        positives = positives[:, None]
    queries = nn.functional.normalize(queries.float(), dim=-1)
    positives = nn.functional.normalize(positives.detach().float(), dim=-1)
    with torch.autocast(queries.device.type, enabled=False):
        near = torch.einsum("nd,npd->np", queries, positives)
        far = queries @ negatives.detach().float().T
    logits = torch.cat([near, far], dim=1) / temperature  # (n, positives + k)
    hits = logits.detach().argmax(dim=1) < positives.shape[1]
    return multi_positive_cross_entropy(logits, positives.shape[1]).mean(), hits.to(logits.dtype).mean()


__all__ = ["info_nce", "info_nce_with_negatives", "multi_positive_cross_entropy"]
