"""Calibration against its definition, one sample at a time."""

import math

import numpy as np
import pytest

from skeleton_transformers.evaluation.calibration import (
    calibration_metrics,
    expected_calibration_error,
    reliability_bins,
)
from skeleton_transformers.evaluation.metrics import softmax


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    return 2 * rng.normal(size=(200, 7)), rng.integers(0, 7, size=200)


def plain_bins(probabilities, labels, num_bins):
    """(said, true) of every prediction, by bin."""
    bins = [[] for _ in range(num_bins)]
    for row, label in zip(probabilities, labels):
        said = max(row)
        for number in range(num_bins):
            if number / num_bins < said <= (number + 1) / num_bins:
                bins[number].append((said, float(list(row).index(said) == label)))
    return bins


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_error_and_bins_equal_the_definition(scored, num_bins):
    logits, labels = scored
    probabilities = softmax(logits)
    expected, error = plain_bins(probabilities, labels, num_bins), 0.0
    found = reliability_bins(probabilities, labels, num_bins)
    for inside, one in zip(expected, found, strict=True):
        assert one["count"] == len(inside)
        if not inside:
            assert one["confidence"] is None and one["accuracy"] is None
            continue
        said, true = np.mean(inside, axis=0)
        assert one["confidence"] == pytest.approx(said) and one["accuracy"] == pytest.approx(true)
        error += len(inside) / len(labels) * abs(said - true)
    assert error > 0.01
    assert expected_calibration_error(probabilities, labels, num_bins) == pytest.approx(error)
    assert sum(one["count"] for one in found) == 200


def test_likelihood_and_brier_score_equal_a_loop(scored):
    logits, labels = scored
    likelihood = brier = 0.0
    for row, label in zip(logits, labels):
        weights = [math.exp(value) for value in row]
        shares = [weight / sum(weights) for weight in weights]
        likelihood -= math.log(shares[label]) / 200
        brier += sum((share - (c == label)) ** 2 for c, share in enumerate(shares)) / 200
    found = calibration_metrics(logits, labels)
    assert found["negative_log_likelihood"] == pytest.approx(likelihood)
    assert found["brier_score"] == pytest.approx(brier)
    assert found["mean_confidence"] == pytest.approx(softmax(logits).max(axis=1).mean())


def test_certain_classifiers():
    labels = np.array([0, 1, 2, 0])
    certain = np.eye(3)[labels]
    assert expected_calibration_error(certain, labels) == 0.0
    assert expected_calibration_error(certain, (labels + 1) % 3) == 1.0
    assert np.isfinite(calibration_metrics(5000 * certain, (labels + 1) % 3)["negative_log_likelihood"])


def test_nothing_and_wrong_labels_are_named():
    with pytest.raises(ValueError, match="calibration of no sample"):
        expected_calibration_error(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="sample 1 has label 5, but the label map holds 3 classes"):
        calibration_metrics(np.zeros((2, 3)), np.array([0, 5]))
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        reliability_bins(np.ones((2, 1)), np.zeros(2, dtype=int), 0)
