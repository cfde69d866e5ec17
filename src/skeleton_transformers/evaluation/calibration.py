"""Calibration: does a classifier that says 80 % have it right in 80 % of the cases?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .metrics import check_scores, softmax


NUM_BINS = 15


def reliability_bins(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> list[dict[str, float | int | None]]:
    """What was said and what was true, by confidence (Guo et al., ICML 2017, Section 2).

    The confidence of a prediction, its largest probability, is cut into `num_bins` equal bins `(low, high]`.

    Args:
        probabilities: (samples, classes), rows sum to 1.
        labels: (samples,) integers.
        num_bins: number of bins of (0, 1].

    Returns:
        For every bin `low`, `high`, `count`, mean `confidence` and `accuracy` of its samples (None in an empty bin).
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    probabilities, labels = check_scores(probabilities, labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    numbers = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    counts = np.bincount(numbers, minlength=num_bins)
    sums = [np.bincount(numbers, weights=values, minlength=num_bins) for values in (confidence, correct)]
    return [
        {
            "low": number / num_bins,
            "high": (number + 1) / num_bins,
            "count": int(count),
            "confidence": float(sums[0][number] / count) if count else None,
            "accuracy": float(sums[1][number] / count) if count else None,
        }
        for number, count in enumerate(counts)
    ]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017, equation 3).

    Mean over samples of `|accuracy - confidence|` of their bin of [`reliability_bins`], whose arguments these are.

    Returns:
        A fraction in [0, 1]; 0 is perfect.
    """
    bins = [one for one in reliability_bins(probabilities, labels, num_bins) if one["count"]]
    if not bins:
        raise ValueError("the calibration of no sample is undefined")
    counts, gaps = zip(*((one["count"], abs(one["accuracy"] - one["confidence"])) for one in bins))  # type: ignore[operator]
    return float(np.average(gaps, weights=counts))


def calibration_metrics(logits: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS) -> dict[str, Any]:
    """How far the probabilities of a classifier can be trusted.

    Args:
        logits: (samples, classes) raw scores.
        labels: (samples,) integers.
        num_bins: number of bins of the confidence.

    Returns:
        `expected_calibration_error` and `mean_confidence` in [0, 1], `negative_log_likelihood` in nats, `brier_score` in [0, 2]
        (squared distance of the probabilities from the truth, sum over classes, mean over samples), and `reliability_bins`.
    """
    logits, labels = check_scores(logits, labels)
    probabilities = softmax(logits)
    truth = np.eye(logits.shape[1])[labels]
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    log_likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return {
        "expected_calibration_error": expected_calibration_error(probabilities, labels, num_bins),
        "mean_confidence": float(probabilities.max(axis=1).mean()),
        "negative_log_likelihood": float(-log_likelihood.mean()),
        "brier_score": float(((probabilities - truth) ** 2).sum(axis=1).mean()),
        "reliability_bins": reliability_bins(probabilities, labels, num_bins),
    }


__all__ = ["NUM_BINS", "calibration_metrics", "expected_calibration_error", "reliability_bins"]
