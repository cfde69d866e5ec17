"""Accuracy and confusion: numbers computed from the scores of a classifier, in numpy, without surprises.

Every function takes `logits` or `probabilities` of shape (samples, classes) and `labels` of shape (samples,) with values in
[0, classes). All of them raise a `ValueError` that names the first offending label when one lies outside that range.
"""

from __future__ import annotations

import numpy as np


def check_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (samples, classes) and int64 labels (samples,), or a `ValueError` that says what does not fit."""
    scores = np.asarray(scores)
    labels = np.asarray(labels)
    if scores.ndim != 2:
        raise ValueError(f"scores must have the shape (samples, classes), got {scores.shape}")
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"{scores.shape[0]} rows of scores need as many labels, got labels of shape {labels.shape}")
    check_labels(labels, scores.shape[1])
    return scores, labels.astype(np.int64)


def check_labels(labels: np.ndarray, num_classes: int, names: object = None) -> None:
    """Raise a `ValueError` that names the first label outside [0, num_classes).

    Args:
        labels: Integers of shape (samples,).
        num_classes: Number of classes of the label map.
        names: Optional sequence of sample names, quoted in the message.
    """
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        first = int(wrong[0])
        where = f"sample {first}" if names is None else f"sample {first} ({names[first]})"  # type: ignore[index]
        raise ValueError(
            f"{where} has label {int(labels[first])}, but the label map holds {num_classes} classes "
            f"(0 to {num_classes - 1}); {wrong.size} of {labels.size} labels lie outside it. "
            "Prepare the store again with the full list of label names, or leave these samples out."
        )


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of samples whose true class is among the `k` highest scores; of equal scores the lower class index comes first.

    Args:
        logits: (samples, classes); any monotone score works.
        labels: (samples,) integers.
        k: How many guesses count; a `k` of at least the number of classes gives 1.

    Returns:
        A fraction in [0, 1].
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores, labels = check_scores(logits, labels)
    if not len(labels):
        raise ValueError("the accuracy of no sample is undefined")
    true = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    rank = (scores > true).sum(axis=1) + ((scores == true) & earlier).sum(axis=1)
    # A score that is not a number never counts as a hit.
    return float(((rank < k) & np.isfinite(true[:, 0])).mean())


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of shape (num_classes, num_classes): rows are true classes, columns predicted ones."""
    check_labels(labels, num_classes)
    check_labels(predictions, num_classes)
    cells = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predictions, dtype=np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_accuracy(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Recall of every class, shape (num_classes,); NaN for a class without any sample."""
    counts = confusion_matrix(labels, predictions, num_classes)
    total = counts.sum(axis=1)
    return np.where(total > 0, np.diag(counts) / np.maximum(total, 1), np.nan)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis in float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The summary that scripts report: samples, and top-1, top-5 and mean class accuracy in [0, 1]."""
    scores, labels = check_scores(logits, labels)
    predictions = scores.argmax(axis=1)
    return {
        "num_samples": int(len(labels)),
        "top1_accuracy": top_k_accuracy(scores, labels, 1),
        "top5_accuracy": top_k_accuracy(scores, labels, 5),
        "mean_class_accuracy": float(np.nanmean(per_class_accuracy(labels, predictions, scores.shape[1]))),
    }


__all__ = [
    "check_labels",
    "check_scores",
    "classification_metrics",
    "confusion_matrix",
    "per_class_accuracy",
    "softmax",
    "top_k_accuracy",
]
