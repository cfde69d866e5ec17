"""The linear probe against an independent optimum, and its protocol against leaks from the evaluation features."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skeleton_transformers.evaluation.linear_probe import (
    LINEAR_PROBE_VERSION,
    REGULARISATION_GRID,
    fit_logistic_regression,
    linear_probe,
    selection_split,
    standardise,
)


def blobs(count, seed, classes=4, width=6, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(99).normal(size=(classes, width))
    labels = np.arange(count) % classes
    return (centres[labels] + spread * rng.normal(size=(count, width))).astype(np.float32), labels


def objective(parameters, x, y, classes, penalty):
    weight = parameters[: classes * x.shape[1]].reshape(classes, -1)
    scores = x @ weight.T + parameters[classes * x.shape[1] :]
    shifted = scores - scores.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    error = np.exp(log_probabilities)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    loss = -log_probabilities[np.arange(len(y)), y].mean() + 0.5 * penalty * (weight**2).sum()
    return loss, np.concatenate([(error.T @ x + penalty * weight).ravel(), error.sum(0)])


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_solver_finds_the_optimum_of_an_independent_solver(penalty):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 5)), np.arange(120) % 3
    weight, bias, gradient = fit_logistic_regression(torch.as_tensor(x), torch.as_tensor(y), 3, penalty)
    reference = minimize(
        objective, np.zeros(18), (x, y, 3, penalty), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}
    )
    assert gradient < 1e-7
    found = np.concatenate([weight.numpy().ravel(), bias.numpy()])
    assert objective(found, x, y, 3, penalty)[0] <= reference.fun + 1e-12
    np.testing.assert_allclose(weight.numpy().ravel(), reference.x[:15], atol=2e-6)


def test_solver_agrees_with_plain_gradient_descent():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    point = np.zeros(15)
    for _ in range(4000):
        point -= 0.5 * objective(point, x, y, 3, 0.1)[1]
    weight, bias, _ = fit_logistic_regression(torch.as_tensor(x), torch.as_tensor(y), 3, 0.1)
    np.testing.assert_allclose(weight.numpy().ravel(), point[:12], atol=1e-6)
    np.testing.assert_allclose(bias.numpy() - bias.numpy().mean(), point[12:] - point[12:].mean(), atol=1e-6)


def test_separable_data_are_separated():
    result = linear_probe(*blobs(80, 0), *blobs(80, 1))
    assert result.top1_accuracy == 1.0
    assert result.version == LINEAR_PROBE_VERSION
    assert result.regularisation == REGULARISATION_GRID[0]  # the strongest of equally good penalties


def test_adamw_recipe_learns_and_repeats():
    first = linear_probe(*blobs(80, 0), *blobs(80, 1), optimizer="adamw", epochs=60)
    again = linear_probe(*blobs(80, 0), *blobs(80, 1), optimizer="adamw", epochs=60)
    other = linear_probe(*blobs(80, 0), *blobs(80, 1), optimizer="adamw", epochs=60, seed=1)
    assert first.top1_accuracy > 0.95
    np.testing.assert_array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, other.logits)


def test_result_is_bitwise_repeatable_and_blind_to_the_evaluation_part():
    train, evaluation = blobs(90, 3, spread=4.0), blobs(90, 4, spread=4.0)
    torch.manual_seed(0)
    first = linear_probe(*train, *evaluation)
    torch.manual_seed(1)
    again = linear_probe(*train, *evaluation)
    np.testing.assert_array_equal(first.logits, again.logits)
    # Other companions and other labels in the evaluation part do not change the scores of a sample.
    rng = np.random.default_rng(0)
    half = linear_probe(*train, evaluation[0][:10], rng.permutation(evaluation[1])[:10])
    np.testing.assert_allclose(half.logits[:, :4], first.logits[:10], rtol=1e-10)
    assert half.regularisation == first.regularisation


def test_selection_prefers_a_strong_penalty_on_noise():
    rng = np.random.default_rng(5)
    signal = np.repeat(np.eye(2), 40, axis=0)
    features = np.concatenate([signal + rng.normal(scale=1.0, size=(80, 2)), rng.normal(size=(80, 60))], axis=1)
    labels = np.repeat([0, 1], 40)
    result = linear_probe(features, labels, features, labels)
    assert set(result.selection_accuracy) == set(REGULARISATION_GRID)
    assert result.selection_accuracy[result.regularisation] == max(result.selection_accuracy.values())


def test_a_class_without_training_samples_is_missed_not_fatal():
    features, labels = blobs(40, 0)
    result = linear_probe(features[labels != 3], labels[labels != 3], features, labels)
    assert result.top1_accuracy == 0.75
    assert np.isneginf(result.logits[:, 3]).all()


def test_one_sample_per_class_needs_no_selection():
    features, labels = blobs(4, 0)
    result = linear_probe(features, labels, *blobs(40, 1))
    assert result.selection_accuracy == {}
    assert result.top1_accuracy == 1.0


def test_selection_split_is_a_partition_that_keeps_every_class():
    labels = np.repeat(np.arange(5), [1, 2, 4, 10, 33])
    fit, held = selection_split(labels)
    assert sorted([*fit, *held]) == list(range(50))
    assert np.bincount(labels[held], minlength=5).tolist() == [0, 1, 1, 2, 6]


def test_constant_features_do_not_blow_up():
    train, other = standardise(np.array([[1.0, 2.0], [1.0, 4.0]]), np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(train, [[0, -1], [0, 1]])
    np.testing.assert_allclose(other, [[0, 0]])


def test_bad_features_are_refused():
    features, labels = blobs(20, 0)
    with pytest.raises(ValueError, match="not finite"):
        linear_probe(np.where(features > 2, np.nan, features), labels, features, labels)
    with pytest.raises(ValueError, match=r"1 training samples have no label"):
        linear_probe(features, np.where(np.arange(20) == 3, -1, labels), features, labels)
    with pytest.raises(ValueError, match="'lbfgs' or 'adamw', got 'sgd'"):
        linear_probe(features, labels, features, labels, optimizer="sgd")
