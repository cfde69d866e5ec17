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


__all__ = ["info_nce"]
