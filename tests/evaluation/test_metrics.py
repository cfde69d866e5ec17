"""Each measure against a plain loop."""

import numpy as np
import pytest

from skeleton_transformers.evaluation.metrics import (
    classification_metrics,
    confusion_matrix,
    per_class_accuracy,
    top_k_accuracy,
)


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    return rng.normal(size=(200, 7)), rng.integers(0, 7, size=200)


@pytest.mark.parametrize("k", [1, 2, 5, 7, 9])
def test_top_k_equals_a_loop_over_sorted_scores(scored, k):
    logits, labels = scored
    hits = 0
    for row, label in zip(logits, labels):
        hits += label in sorted(range(7), key=lambda c: -row[c])[:k]
    assert top_k_accuracy(logits, labels, k) == pytest.approx(hits / 200)


def test_equal_scores_are_no_free_hits():
    assert top_k_accuracy(np.zeros((4, 4)), np.array([0, 1, 2, 3]), 1) == 0.25
    assert top_k_accuracy(np.full((2, 3), np.nan), np.array([0, 1]), 1) == 0.0


def test_confusion_and_recall_equal_a_loop(scored):
    logits, labels = scored
    predictions = logits.argmax(1)
    expected = np.zeros((8, 8), dtype=int)
    for true, predicted in zip(labels, predictions):
        expected[true, predicted] += 1
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 8), expected)
    recall = per_class_accuracy(labels, predictions, 8)
    assert np.isnan(recall[7])
    np.testing.assert_allclose(recall[:7], [np.mean(predictions[labels == c] == c) for c in range(7)])


def test_the_summary_of_a_perfect_classifier():
    labels = np.array([0, 1, 2, 0])
    certain = np.eye(3)[labels]
    summary = classification_metrics(100.0 * certain, labels)
    assert summary["top1_accuracy"] == summary["mean_class_accuracy"] == 1.0
    assert summary["num_samples"] == 4


def test_a_label_outside_the_map_is_named():
    with pytest.raises(ValueError, match=r"sample 2 has label 9, but the label map holds 3 classes"):
        top_k_accuracy(np.zeros((4, 3)), np.array([0, 1, 9, 2]))
    with pytest.raises(ValueError, match="as many labels"):
        top_k_accuracy(np.zeros((4, 3)), np.array([0, 1]))
