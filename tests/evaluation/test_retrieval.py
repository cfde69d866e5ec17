"""Nearest neighbours against brute force in numpy."""

import numpy as np
import pytest

from skeleton_transformers.evaluation.retrieval import knn_accuracy, knn_predict


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
    assert knn_accuracy(gallery, labels, query, truth, k, metric) == pytest.approx(np.mean(expected == truth))


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
