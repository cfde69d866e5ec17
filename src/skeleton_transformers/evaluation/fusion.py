"""Fusion of several streams (joint, motion, bone) by averaging what their classifiers say about the same recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .metrics import softmax, top_k_accuracy


PREDICTION_FIELDS = ("logits", "labels", "names", "label_names")


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
    """

    logits: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    label_names: np.ndarray
    top1_accuracy: float
    top5_accuracy: float
    single: list[float]


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
    files: Sequence[str | Path], weights: Sequence[float] | None = None, mode: str = "logits"
) -> FusedPredictions:
    """Weighted mean of the scores in several prediction files of the same recordings.

    Equal weights on raw logits is what CrosSCLR does and Chen et al. (ECCV 2022) follow; 2S is joint + bone, 3S is joint +
    motion + bone.

    Args:
        files: Files of `save_predictions`, at least one; samples are matched by name.
        weights: One weight per file, default equal.
        mode: `"logits"` averages raw scores, `"softmax"` averages probabilities.

    Returns:
        The fused scores and what they are worth.

    Raises:
        ValueError: When the files are not about the same samples, labels or classes.
    """
    if not files:
        raise ValueError("fusion needs at least one file of predictions")
    if mode not in ("logits", "softmax"):
        raise ValueError(f"fusion mode must be 'logits' or 'softmax', got {mode!r}")
    factors = np.ones(len(files)) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape != (len(files),) or not factors.sum() > 0:
        raise ValueError(f"{len(files)} files need as many weights with a positive sum, got {list(factors)}")
    first = load_predictions(files[0])
    order = np.argsort(first["names"], kind="stable")
    names = first["names"][order]
    if len(np.unique(names)) != len(names):
        raise ValueError(f"{files[0]}: the names of the samples are not unique")
    total = np.zeros(first["logits"].shape)
    single = []
    for file, factor in zip(files, factors, strict=True):
        content = load_predictions(file)
        other = np.argsort(content["names"], kind="stable")
        for field in ("names", "labels", "label_names"):
            mine = names if field == "names" else first[field] if field == "label_names" else first[field][order]
            theirs = content[field] if field == "label_names" else content[field][other]
            if not np.array_equal(mine, theirs):
                raise ValueError(f"{files[0]} and {file} are not about the same samples: their {field} differ")
        scores = content["logits"][other].astype(np.float64)
        single.append(top_k_accuracy(scores, content["labels"][other], 1))
        total += factor * (softmax(scores) if mode == "softmax" else scores)
    fused = total / factors.sum()
    labels = first["labels"][order]
    return FusedPredictions(
        logits=fused,
        labels=labels,
        names=names,
        label_names=first["label_names"],
        top1_accuracy=top_k_accuracy(fused, labels, 1),
        top5_accuracy=top_k_accuracy(fused, labels, 5),
        single=single,
    )


__all__ = ["FusedPredictions", "fuse_predictions", "load_predictions", "save_predictions"]
