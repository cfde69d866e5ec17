"""Fusion of several streams (joint, motion, bone) by averaging what their classifiers say about the same recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np

from .metrics import softmax, top_k_accuracy


PREDICTION_FIELDS = ("logits", "labels", "names", "label_names")


# Weights that `search_weights` tries at most.
_MOST_CANDIDATES = 100_000


@dataclass(frozen=True)
class FusedPredictions:
    """What several classifiers say together.

    Attributes:
        logits: (samples, classes) weighted mean of the scores.
        labels: (samples,) true classes.
        names: (samples,) names of the recordings, sorted.
        label_names: (classes,).
        top1_accuracy, top5_accuracy: of the fusion, in [0, 1].
        single: top-1 accuracy of every file, in the order given.
        weights: weight of every file.
    """

    logits: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    label_names: np.ndarray
    top1_accuracy: float
    top5_accuracy: float
    single: list[float]
    weights: list[float]


def save_predictions(
    path: str | Path, logits: np.ndarray, labels: np.ndarray, names: Sequence[str], label_names: Sequence[str]
) -> None:
    """Write the scores of one classifier as `.npz` (no pickled objects inside).

    Args:
        path: File ending in `.npz`.
        logits: (samples, classes) raw scores.
        labels: (samples,) true classes.
        names: Name of every sample in the store, unique.
        label_names: Name of every class.
    """
    logits, labels = np.asarray(logits, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    if logits.shape != (len(names), len(label_names)) or labels.shape != (len(names),):
        raise ValueError(
            f"logits {logits.shape} and labels {labels.shape} do not fit {len(names)} samples of {len(label_names)} classes"
        )
    np.savez_compressed(
        path,
        logits=logits,
        labels=labels,
        names=np.array(names, dtype=str),
        label_names=np.array(label_names, dtype=str),
    )


def load_predictions(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of `save_predictions`."""
    with np.load(path, allow_pickle=False) as file:
        missing = [field for field in PREDICTION_FIELDS if field not in file]
        if missing:
            raise ValueError(f"{path} is no file of predictions: the fields {missing} are missing")
        return {field: file[field] for field in PREDICTION_FIELDS}


def fuse_predictions(
    files: Sequence[str | Path],
    weights: Sequence[float] | None = None,
    mode: str = "logits",
    validation_files: Sequence[str | Path] | None = None,
) -> FusedPredictions:
    """Weighted mean of the scores in several prediction files of the same recordings.

    Equal weights on raw logits is what CrosSCLR does and Chen et al. (ECCV 2022) follow; 2S is joint + bone, 3S is joint +
    motion + bone.

    Args:
        files: Files of `save_predictions`, at least one; samples are matched by name.
        weights: One weight per file, default equal.
        mode: `"logits"` averages raw scores, `"softmax"` averages probabilities.
        validation_files: Instead of weights: what the same classifiers, in the same order, say about recordings of which none is
            in `files` and none was trained on. `search_weights` finds the weights there.

    Returns:
        The fused scores and what they are worth.

    Raises:
        ValueError: When the files are not about the same samples, labels or classes, or weights would be searched on samples that
            they are judged by.
    """
    scores, labels, names, label_names = _read_scores(files)
    if validation_files is not None:
        if weights is not None:
            raise ValueError("give weights, or files of the validation part to search them on, not both")
        held_out, held_out_labels, held_out_names, held_out_classes = _read_scores(validation_files)
        shared = np.intersect1d(names, held_out_names)
        if len(shared):
            raise ValueError(
                f"{files[0]} and {validation_files[0]} have {len(shared)} recordings in common, such as {str(shared[0])!r}: weights "
                "searched on what they are judged by say nothing; search them on the validation part"
            )
        if len(held_out) != len(scores) or not np.array_equal(held_out_classes, label_names):
            raise ValueError(
                f"{len(scores)} files need as many of the validation part, with the same classes; got {len(held_out)}"
            )
        weights = search_weights(held_out, held_out_labels, mode)
    factors = np.ones(len(files)) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape != (len(files),) or not factors.sum() > 0:
        raise ValueError(f"{len(files)} files need as many weights with a positive sum, got {list(factors)}")
    fused = fuse_scores(scores, factors, mode)
    return FusedPredictions(
        logits=fused,
        labels=labels,
        names=names,
        label_names=label_names,
        top1_accuracy=top_k_accuracy(fused, labels, 1),
        top5_accuracy=top_k_accuracy(fused, labels, 5),
        single=[top_k_accuracy(member, labels, 1) for member in scores],
        weights=factors.tolist(),
    )


def fuse_scores(scores: np.ndarray, weights: Sequence[float] | np.ndarray, mode: str = "logits") -> np.ndarray:
    """Weighted mean over classifiers.

    Args:
        scores: (classifiers, samples, classes) raw scores.
        weights: (classifiers,).
        mode: see `fuse_predictions`.

    Returns:
        (samples, classes): raw scores, or probabilities with `"softmax"`.
    """
    if mode not in ("logits", "softmax"):
        raise ValueError(f"fusion mode must be 'logits' or 'softmax', got {mode!r}")
    scores = np.asarray(scores, dtype=np.float64)
    return np.average(softmax(scores) if mode == "softmax" else scores, axis=0, weights=np.asarray(weights))


def search_weights(scores: np.ndarray, labels: np.ndarray, mode: str = "logits", steps: int = 10) -> list[float]:
    """Weights with which several classifiers are right most often, to be searched on samples that nothing else was chosen by.

    All weights that are multiples of `1 / steps` and sum to 1 are tried. Of those with the highest accuracy, the ones with the lowest
    cross-entropy are taken, and of these the first.

    Args:
        scores: (classifiers, samples, classes) raw scores.
        labels: (samples,) true classes.
        mode: see `fuse_predictions`.
        steps: parts that the weight is divided into.

    Returns:
        One weight per classifier.

    Raises:
        ValueError: there are so many classifiers that the search would not end.
    """
    scores = np.asarray(scores, dtype=np.float64)
    candidates = comb(steps + len(scores) - 1, steps)
    if candidates > _MOST_CANDIDATES:
        raise ValueError(
            f"{len(scores)} classifiers have {candidates} weights in steps of 1/{steps}; take fewer steps"
        )
    if mode == "softmax":
        scores = softmax(scores)
    best: tuple[float, float] | None = None
    found: list[float] = []
    for bars in combinations(range(steps + len(scores) - 1), len(scores) - 1):
        # Bars part the steps into one share for each classifier.
        weights = np.diff([-1, *bars, steps + len(scores) - 1]) - 1
        fused = np.tensordot(weights / steps, scores, axes=1)  # (samples, classes)
        probabilities = fused if mode == "softmax" else softmax(fused)
        likelihood = np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)).mean()
        quality = (top_k_accuracy(fused, labels, 1), float(likelihood))
        if best is None or quality > best:
            best, found = quality, (weights / steps).tolist()
    return found


def _read_scores(files: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores (files, samples, classes), labels, sorted names and names of classes of files about the same samples."""
    if not files:
        raise ValueError("fusion needs at least one file of predictions")
    first: dict[str, np.ndarray] = {}
    scores = []
    for file in files:
        content = load_predictions(file)
        order = np.argsort(content["names"], kind="stable")
        content |= {field: content[field][order] for field in ("logits", "labels", "names")}
        if len(np.unique(content["names"])) != len(order):
            raise ValueError(f"{file}: the names of the samples are not unique")
        first = first or content
        for field in ("names", "labels", "label_names"):
            if not np.array_equal(first[field], content[field]):
                raise ValueError(f"{files[0]} and {file} are not about the same samples: their {field} differ")
        scores.append(content["logits"].astype(np.float64))
    return np.stack(scores), first["labels"], first["names"], first["label_names"]


__all__ = [
    "FusedPredictions",
    "fuse_predictions",
    "fuse_scores",
    "load_predictions",
    "save_predictions",
    "search_weights",
]
