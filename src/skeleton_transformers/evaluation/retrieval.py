"""Nearest-neighbour retrieval: how well the labels of a gallery carry over to queries, without any training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch


def neighbours(
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    query: np.ndarray,
    metric: str,
    chunk_size: int,
    nearest_only: bool = False,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The gallery as every query sees it, the nearest sample first, of equally near ones the first in the gallery.

    Yields:
        for chunk after chunk of the queries, similarities float64 and labels int64, both `(chunk, gallery samples)`, or `(chunk, 1)`
            with `nearest_only`, which spares the sorting.
    """
    gallery, query = np.asarray(gallery), np.asarray(query)
    if gallery.ndim != 2 or query.ndim != 2 or gallery.shape[1] != query.shape[1]:
        raise ValueError(
            f"gallery {gallery.shape} and query {query.shape} must both have the shape (samples, width) with one width"
        )
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}")
    labels = torch.as_tensor(gallery_labels)
    bank = torch.as_tensor(gallery, dtype=torch.float64)
    queries = torch.as_tensor(query, dtype=torch.float64)
    if metric == "cosine":
        bank = torch.nn.functional.normalize(bank, dim=1)
        queries = torch.nn.functional.normalize(queries, dim=1)
    for chunk in queries.split(chunk_size):
        if metric == "cosine":
            similarity = chunk @ bank.T
        else:
            similarity = -torch.cdist(chunk, bank, compute_mode="donot_use_mm_for_euclid_dist")
        if nearest_only:
            nearest, order = similarity.max(dim=1, keepdim=True)
        else:
            nearest, order = similarity.sort(dim=1, descending=True, stable=True)
        yield nearest, labels[order]


def vote(nearest: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Label `(chunk,)` from the similarities and the labels of neighbours, both `(chunk, k)`; see [`knn_predict`]."""
    votes = torch.zeros(len(found), int(found.max()) + 1, dtype=torch.float64)
    votes.scatter_add_(1, found, torch.ones_like(nearest))
    total = torch.zeros_like(votes).scatter_add_(1, found, nearest)
    return torch.where(votes == votes.max(dim=1, keepdim=True).values, total, -torch.inf).argmax(dim=1)


def knn_predict(
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    query: np.ndarray,
    k: int = 1,
    metric: str = "cosine",
    chunk_size: int = 256,
) -> np.ndarray:
    """Label of every query by a vote of its `k` nearest gallery vectors.

    Args:
        gallery: (gallery samples, width).
        gallery_labels: (gallery samples,) integers >= 0.
        query: (query samples, width).
        k: Number of neighbours. Votes count equally; a tie goes to the label whose neighbours are more similar in sum, then to
            the smaller label.
        metric: `"cosine"` (the usual protocol: 1 nearest neighbour under cosine similarity) or `"euclidean"`.
        chunk_size: Queries compared at once; bounds the memory to chunk_size x gallery samples.

    Returns:
        (query samples,) int64.
    """
    labels = _check_gallery(gallery, gallery_labels, [k])
    ranked = neighbours(gallery, labels, query, metric, chunk_size, nearest_only=k == 1)
    return torch.cat([vote(nearest[:, :k], found[:, :k]) for nearest, found in ranked]).numpy()


def retrieval_metrics(
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    query: np.ndarray,
    query_labels: np.ndarray,
    ks: Sequence[int] = (1,),
    metric: str = "cosine",
    chunk_size: int = 256,
) -> dict[str, Any]:
    """How well neighbours share their label.

    Args:
        ks: Numbers of neighbours that vote; for the other arguments see [`knn_predict`].

    Returns:
        `knn_accuracy`: for every `k` (as text) the share of queries that are labelled correctly; `mean_average_precision`: the gallery is
        ranked by similarity to a query (of equally similar samples the first in the gallery comes first), its average precision is
        the mean, over the samples of its label, of the share of that label among all samples up to there, and of this the
        mean over queries; `num_queries_without_match`: queries whose label the gallery lacks, which `mean_average_precision`
        leaves out (None where it leaves out all). Accuracies and precision are in [0, 1].
    """
    query_labels = np.asarray(query_labels)
    if query_labels.shape != np.asarray(query).shape[:1] or not query_labels.size:
        raise ValueError(f"query labels of shape {query_labels.shape} do not fit queries of shape {np.shape(query)}")
    labels = _check_gallery(gallery, gallery_labels, ks)
    truth = torch.as_tensor(query_labels, dtype=torch.int64)
    places = torch.arange(1, len(labels) + 1, dtype=torch.float64)
    right = dict.fromkeys(ks, 0)
    precision, matched, first = 0.0, 0, 0
    for nearest, found in neighbours(gallery, labels, query, metric, chunk_size):
        true = truth[first : first + len(found)]
        first += len(found)
        for k in ks:
            right[k] += int((vote(nearest[:, :k], found[:, :k]) == true).sum())
        relevant = found == true[:, None]  # (chunk, gallery)
        count = relevant.sum(dim=1)
        shares = relevant.cumsum(dim=1) / places
        averages = (shares * relevant).sum(dim=1)[count > 0] / count[count > 0]
        precision, matched = precision + float(averages.sum()), matched + len(averages)
    return {
        "knn_accuracy": {str(k): hits / len(truth) for k, hits in right.items()},
        "mean_average_precision": precision / matched if matched else None,
        "num_queries_without_match": len(truth) - matched,
    }


def _check_gallery(gallery: np.ndarray, gallery_labels: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    labels = np.asarray(gallery_labels, dtype=np.int64)
    if labels.shape != np.shape(gallery)[:1]:
        raise ValueError(f"{len(gallery)} gallery vectors need as many labels, got {labels.shape}")
    for k in ks:
        if not 1 <= k <= len(labels):
            raise ValueError(f"k must lie between 1 and the size of the gallery ({len(labels)}), got {k}")
    if labels.min() < 0:
        raise ValueError("the gallery holds samples without label (-1)")
    return labels


__all__ = ["knn_predict", "neighbours", "retrieval_metrics", "vote"]
