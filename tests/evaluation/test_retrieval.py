"""Nearest neighbours against brute force in numpy."""

import numpy as np
import pytest

from skeleton_transformers.evaluation.retrieval import knn_predict, retrieval_metrics


def brute_force(gallery, gallery_labels, query, k, metric):
    answers = []
    for vector in query:
        if metric == "cosine":
            near = gallery @ vector / (np.linalg.norm(gallery, axis=1) * np.linalg.norm(vector))
        else:
            near = -np.linalg.norm(gallery - vector, axis=1)
        best = np.argsort(-near, kind="stable")[:k]
        votes = {}
        for index in best:
            count, total = votes.get(gallery_labels[index], (0, 0.0))
            votes[gallery_labels[index]] = (count + 1, total + near[index])
        answers.append(max(votes, key=lambda label: votes[label]))
    return np.array(answers)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_prediction_equals_brute_force(metric, k):
    rng = np.random.default_rng(0)
    gallery, query = rng.normal(size=(90, 6)) + 1.0, rng.normal(size=(41, 6)) + 1.0
    labels = rng.integers(0, 4, size=90)
    expected = brute_force(gallery, labels, query, k, metric)
    np.testing.assert_array_equal(knn_predict(gallery, labels, query, k, metric), expected)
    np.testing.assert_array_equal(knn_predict(gallery, labels, query, k, metric, chunk_size=7), expected)
    truth = rng.integers(0, 4, size=41)
    found = retrieval_metrics(gallery, labels, query, truth, [k, 3], metric, chunk_size=7)
    assert found["knn_accuracy"][str(k)] == pytest.approx(np.mean(expected == truth))
    third = brute_force(gallery, labels, query, 3, metric)
    assert found["knn_accuracy"]["3"] == pytest.approx(np.mean(third == truth))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_mean_average_precision_equals_a_walk_down_the_ranking(metric):
    rng = np.random.default_rng(1)
    gallery, query = rng.normal(size=(30, 4)), rng.normal(size=(12, 4))
    labels, truth = rng.integers(0, 3, size=30), rng.integers(0, 4, size=12)  # nothing has label 3
    precisions = []
    for vector, label in zip(query, truth):
        near = gallery @ vector / np.linalg.norm(gallery, axis=1)
        if metric == "euclidean":
            near = -np.linalg.norm(gallery - vector, axis=1)
        right, seen = 0, []
        for place, index in enumerate(sorted(range(30), key=lambda i: -near[i]), start=1):
            if labels[index] == label:
                right += 1
                seen.append(right / place)
        if seen:
            precisions.append(sum(seen) / len(seen))
    found = retrieval_metrics(gallery, labels, query, truth, metric=metric, chunk_size=5)
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions))
    assert found["num_queries_without_match"] == (truth == 3).sum() > 0


def test_equally_similar_samples_keep_the_order_of_the_gallery():
    gallery, query = np.ones((2, 3)), np.ones((1, 3))
    first, second = (
        retrieval_metrics(gallery, np.array(labels), query, np.array([0]))["mean_average_precision"]
        for labels in ([0, 1], [1, 0])
    )
    assert (first, second) == (1.0, 0.5)


def test_cosine_ignores_length_and_euclidean_does_not():
    gallery, labels = np.array([[10.0, 0.0], [0.5, 0.5]]), np.array([0, 1])
    query = np.array([[0.4, 0.1]])
    assert knn_predict(gallery, labels, query)[0] == 0
    assert knn_predict(gallery, labels, query, metric="euclidean")[0] == 1


def test_wrong_arguments_are_named():
    gallery = np.ones((3, 2))
    with pytest.raises(ValueError, match="one width"):
        knn_predict(gallery, np.zeros(3), np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"size of the gallery \(3\), got 4"):
        knn_predict(gallery, np.zeros(3), gallery, k=4)
    with pytest.raises(ValueError, match="without label"):
        knn_predict(gallery, np.array([0, -1, 1]), gallery)
