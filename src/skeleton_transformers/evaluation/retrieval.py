"""Nearest-neighbour retrieval: how well the labels of a gallery carry over to queries, without any training."""

from __future__ import annotations

import numpy as np
import torch


def knn_predict(
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    query: np.ndarray,
    k: int = 1,
    metric: str = "cosine",
    chunk_size: int = 1024,
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
    gallery, query = np.asarray(gallery), np.asarray(query)
    gallery_labels = np.asarray(gallery_labels, dtype=np.int64)
    if gallery.ndim != 2 or query.ndim != 2 or gallery.shape[1] != query.shape[1]:
        raise ValueError(
            f"gallery {gallery.shape} and query {query.shape} must both have the shape (samples, width) with one width"
        )
    if gallery_labels.shape != gallery.shape[:1]:
        raise ValueError(f"{len(gallery)} gallery vectors need as many labels, got {gallery_labels.shape}")
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must lie between 1 and the size of the gallery ({len(gallery)}), got {k}")
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}")
    if gallery_labels.min() < 0:
        raise ValueError("the gallery holds samples without label (-1)")

    bank = torch.as_tensor(gallery, dtype=torch.float64)
    queries = torch.as_tensor(query, dtype=torch.float64)
    if metric == "cosine":
        bank = torch.nn.functional.normalize(bank, dim=1)
        queries = torch.nn.functional.normalize(queries, dim=1)
    labels = torch.as_tensor(gallery_labels)
    num_classes = int(labels.max()) + 1
    answers = []
    for chunk in queries.split(chunk_size):
        if metric == "cosine":
            similarity = chunk @ bank.T  # (chunk, gallery)
        else:
            similarity = -torch.cdist(chunk, bank, compute_mode="donot_use_mm_for_euclid_dist")
        if k == 1:
            answers.append(labels[similarity.argmax(dim=1)])
            continue
        nearest, where = similarity.topk(k, dim=1)  # (chunk, k)
        found = labels[where]
        votes = torch.zeros(len(chunk), num_classes, dtype=torch.float64)
        votes.scatter_add_(1, found, torch.ones_like(nearest))
        total = torch.zeros_like(votes).scatter_add_(1, found, nearest)
        total = torch.where(votes == votes.max(dim=1, keepdim=True).values, total, -torch.inf)
        answers.append(total.argmax(dim=1))
    return torch.cat(answers).numpy() if answers else np.zeros(0, dtype=np.int64)


def knn_accuracy(
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    query: np.ndarray,
    query_labels: np.ndarray,
    k: int = 1,
    metric: str = "cosine",
    chunk_size: int = 1024,
) -> float:
    """Share of queries that `knn_predict` labels correctly, in [0, 1]; arguments as there."""
    query_labels = np.asarray(query_labels)
    if query_labels.shape != np.asarray(query).shape[:1] or not query_labels.size:
        raise ValueError(f"query labels of shape {query_labels.shape} do not fit queries of shape {np.shape(query)}")
    predicted = knn_predict(gallery, gallery_labels, query, k, metric, chunk_size)
    return float((predicted == query_labels).mean())


__all__ = ["knn_accuracy", "knn_predict"]
