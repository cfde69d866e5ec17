"""Linear evaluation of frozen features.

The default protocol is deterministic and has nothing to tune on the test split, so that numbers of different people can be
compared. It is frozen: whoever changes what it computes raises `LINEAR_PROBE_VERSION`, which every result carries.

Version 1: features are standardised by the mean and standard deviation of the training features; multinomial logistic
regression with an L2 penalty on the weights (not on the biases) is solved to convergence in float64 by L-BFGS from zero;
the strength of the penalty comes from a fixed grid, chosen by accuracy on a fixed fifth of the *training* features; the
final classifier is fitted on all training features.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .metrics import top_k_accuracy


LINEAR_PROBE_VERSION = 1
REGULARISATION_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
SELECTION_SEED = 0
SELECTION_SHARE = 0.2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinearProbeResult:
    """What a probe found.

    Attributes:
        top1_accuracy: On the evaluation features, in [0, 1].
        top5_accuracy: The same among five guesses.
        logits: (evaluation samples, classes); -inf for a class the training features never show.
        regularisation: The chosen penalty, None for the `adamw` recipe.
        selection_accuracy: Accuracy on the held-out training features for every penalty of the grid.
        gradient_norm: Largest absolute entry of the gradient where the solver stopped (None for `adamw`).
        optimizer: `"lbfgs"` or `"adamw"`.
        version: `LINEAR_PROBE_VERSION`.
    """

    top1_accuracy: float
    top5_accuracy: float
    logits: np.ndarray
    regularisation: float | None
    selection_accuracy: dict[float, float]
    gradient_norm: float | None
    optimizer: str
    version: int = LINEAR_PROBE_VERSION


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Subtract the mean and divide by the standard deviation of `train`, per feature, in float64.

    A feature that is constant over the training samples becomes 0 there (it is only centred).
    """
    train = np.asarray(train, dtype=np.float64)
    mean = train.mean(axis=0)
    deviation = train.std(axis=0)
    deviation[deviation < 1e-10 * np.maximum(1.0, np.abs(mean))] = 1.0
    return [(np.asarray(values, dtype=np.float64) - mean) / deviation for values in (train, *others)]


def fit_logistic_regression(
    features: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    regularisation: float,
    max_iterations: int = 2000,
    tolerance: float = 1e-8,
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Minimise mean cross-entropy + regularisation / 2 x squared norm of the weights.

    Args:
        features: (samples, width) float64.
        labels: (samples,) int64; every class in [0, num_classes) occurs, otherwise a bias has no finite optimum.
        num_classes: Number of classes.
        regularisation: Penalty > 0, which makes the problem strictly convex in the weights.
        max_iterations: Bound on L-BFGS iterations.
        tolerance: Stop when no entry of the gradient exceeds it.

    Returns:
        weight (num_classes, width), bias (num_classes,), and the largest absolute entry of the final gradient.
    """
    if regularisation <= 0:
        raise ValueError(f"the penalty must be positive, got {regularisation}")
    weight = torch.zeros(
        num_classes, features.shape[1], dtype=torch.float64, device=features.device, requires_grad=True
    )
    bias = torch.zeros(num_classes, dtype=torch.float64, device=features.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias],
        lr=1.0,
        max_iter=max_iterations,
        max_eval=4 * max_iterations,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = nn.functional.cross_entropy(features @ weight.T + bias, labels)
        loss = loss + 0.5 * regularisation * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        # L-BFGS builds its curvature estimate from differences of gradients; after a stall a fresh start of the
        # estimate is enough to reach the optimum of this convex problem.
        gradient = np.inf
        for _ in range(3):
            solver.step(closure)
            closure()
            assert weight.grad is not None and bias.grad is not None
            gradient = float(max(weight.grad.abs().max(), bias.grad.abs().max()))
            if gradient <= 10 * tolerance:
                break
            solver.state.clear()
    if gradient > 1e-5:
        logger.warning(
            f"logistic regression stopped at a gradient of {gradient:.1e} for the penalty {regularisation:g}"
        )
    return weight.detach(), bias.detach(), gradient


def selection_split(labels: np.ndarray, seed: int = SELECTION_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Positions (fit, held out): a fifth of every class is held out, rounded down, a class of 2 to 4 samples gives one."""
    rng = np.random.default_rng(seed)
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = int(SELECTION_SHARE * members.size)
        if members.size >= 2:
            count = max(1, count)
        held_out.append(rng.permutation(members)[:count])
    held = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held), held


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    eval_features: np.ndarray,
    eval_labels: np.ndarray,
    *,
    optimizer: str = "lbfgs",
    regularisation: float | None = None,
    epochs: int = 100,
    learning_rate: float = 0.01,
    batch_size: int = 128,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> LinearProbeResult:
    """Fit a linear classifier on frozen features and score it.

    Args:
        train_features: (training samples, width), finite.
        train_labels: (training samples,) class indices >= 0.
        eval_features: (evaluation samples, width).
        eval_labels: (evaluation samples,); a class that the training labels do not show counts as missed.
        optimizer: `"lbfgs"`: the frozen protocol of this module. `"adamw"`: the recipe of Chen et al. (ECCV 2022, linear
            evaluation): raw features, AdamW with learning rate 0.01 and no weight decay, constant for 100 epochs, then halved
            every 10 (not below 0.01 of it).
        regularisation: Skip the choice and use this penalty (`lbfgs` only).
        epochs, learning_rate, batch_size, seed: Only for `"adamw"`; `seed` draws the initial weights and the batches.
        device: Where to compute.

    Returns:
        A `LinearProbeResult`.
    """
    train_labels, eval_labels = np.asarray(train_labels), np.asarray(eval_labels)
    for name, features, labels in (
        ("training", train_features, train_labels),
        ("evaluation", eval_features, eval_labels),
    ):
        if np.ndim(features) != 2 or labels.shape != np.shape(features)[:1] or not labels.size:
            raise ValueError(f"{name} features {np.shape(features)} and labels {labels.shape} do not fit together")
        if not np.isfinite(features).all():
            raise ValueError(f"the {name} features hold values that are not finite")
        if labels.min() < 0:
            raise ValueError(f"{int((labels < 0).sum())} {name} samples have no label (-1)")
    if optimizer not in ("lbfgs", "adamw"):
        raise ValueError(f"optimizer must be 'lbfgs' or 'adamw', got {optimizer!r}")

    classes, compact = np.unique(train_labels, return_inverse=True)
    selection: dict[float, float] = {}
    gradient: float | None = None
    if optimizer == "lbfgs":
        train, evaluation = standardise(train_features, eval_features)
        x = torch.as_tensor(train, device=device)
        y = torch.as_tensor(compact, device=device)
        if regularisation is None:
            regularisation, selection = _choose_regularisation(x, compact, len(classes))
        weight, bias, gradient = fit_logistic_regression(x, y, len(classes), regularisation)
        scores = torch.as_tensor(evaluation, device=device) @ weight.T + bias
    else:
        regularisation = None
        scores = _adamw_probe(
            train_features, compact, eval_features, len(classes), epochs, learning_rate, batch_size, seed, device
        )
    num_classes = int(max(train_labels.max(), eval_labels.max())) + 1
    logits = np.full((len(eval_labels), num_classes), -np.inf)
    logits[:, classes] = scores.double().cpu().numpy()
    return LinearProbeResult(
        top1_accuracy=top_k_accuracy(logits, eval_labels, 1),
        top5_accuracy=top_k_accuracy(logits, eval_labels, 5),
        logits=logits,
        regularisation=regularisation,
        selection_accuracy=selection,
        gradient_norm=gradient,
        optimizer=optimizer,
    )


def _choose_regularisation(x: torch.Tensor, labels: np.ndarray, num_classes: int) -> tuple[float, dict[float, float]]:
    fit, held = selection_split(labels)
    if not held.size:
        return REGULARISATION_GRID[2], {}
    y = torch.as_tensor(labels, device=x.device)
    accuracy = {}
    for value in REGULARISATION_GRID:
        # The choice needs accuracies, not the last digit of the weights.
        weight, bias, _ = fit_logistic_regression(x[fit], y[fit], num_classes, value, tolerance=1e-6)
        predicted = (x[held] @ weight.T + bias).argmax(dim=1)
        accuracy[value] = float((predicted == y[held]).double().mean())
    # The grid starts with the strongest penalty, and `max` keeps the first of equals.
    return max(accuracy, key=lambda value: accuracy[value]), accuracy


def _adamw_probe(
    train_features: np.ndarray,
    labels: np.ndarray,
    eval_features: np.ndarray,
    num_classes: int,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    device: str | torch.device,
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.as_tensor(np.asarray(train_features, dtype=np.float32), device=device)
    y = torch.as_tensor(labels, device=device)
    head = nn.Linear(x.shape[1], num_classes)
    bound = x.shape[1] ** -0.5  # what torch draws for a linear layer, from our own generator
    with torch.no_grad():
        head.weight.uniform_(-bound, bound, generator=generator)
        head.bias.uniform_(-bound, bound, generator=generator)
    head.to(device)
    adamw = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.0)
    with torch.enable_grad():
        for epoch in range(1, epochs + 1):
            factor = max(0.01, 0.5 ** max(0, -(-(epoch - 100) // 10)))
            for group in adamw.param_groups:
                group["lr"] = learning_rate * factor
            for batch in torch.randperm(len(x), generator=generator).split(batch_size):
                batch = batch.to(x.device)
                adamw.zero_grad()
                nn.functional.cross_entropy(head(x[batch]), y[batch]).backward()
                adamw.step()
    with torch.no_grad():
        return head(torch.as_tensor(np.asarray(eval_features, dtype=np.float32), device=device))


__all__ = [
    "LINEAR_PROBE_VERSION",
    "REGULARISATION_GRID",
    "LinearProbeResult",
    "fit_logistic_regression",
    "linear_probe",
    "selection_split",
    "standardise",
]
