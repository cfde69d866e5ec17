"""Subsets of the labels for semi-supervised protocols (1 %, 5 %, 10 % of the training labels), reproducible and on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def label_subset(labels: np.ndarray, fraction: float, seed: int, sampling: str = "stratified") -> np.ndarray:
    """Choose the samples whose labels a semi-supervised run may see.

    Args:
        labels: (samples,) class indices of the training samples; the order matters, so give it in the order of the store.
        fraction: Share of the labels to keep, in (0, 1].
        seed: Seed of the choice; the same (labels, fraction, seed) gives the same subset on every machine and rank.
        sampling: `"stratified"`: floor(fraction x n) of every class with n samples, at least one (7 per class at 1 % of
            NTU RGB+D 60 cross-subject, which is what the 420 samples of Chen et al., ECCV 2022, suggest);
            `"uniform"`: round(fraction x samples) drawn without regard to the class, at least one.

    Returns:
        Sorted positions into `labels`, int64.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"label_subset needs a non-empty one-dimensional array of labels, got shape {labels.shape}")
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"label_fraction must lie in (0, 1], got {fraction}")
    if sampling not in ("stratified", "uniform"):
        raise ValueError(f"label_sampling must be 'stratified' or 'uniform', got {sampling!r}")
    if fraction == 1.0:
        return np.arange(labels.size, dtype=np.int64)
    rng = np.random.default_rng(seed)
    # The small term keeps products such as 0.29 x 100 = 28.999... from losing one sample to rounding.
    if sampling == "uniform":
        count = max(1, round(fraction * labels.size))
        return np.sort(rng.choice(labels.size, size=count, replace=False)).astype(np.int64)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, int(np.floor(fraction * members.size + 1e-9)))
        chosen.append(rng.choice(members, size=count, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def corpus_subset(labels: np.ndarray, subjects: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose a share of a corpus, for quicker experiments: of every class and every subject, and so of both parts of any split by them.

    The recordings of a class are put in the order of subjects, those of one subject at random, and every (1 / fraction)-th of them is
    taken, from a random one on. So classes and subjects have their share, up to one recording, also where a subject does an
    action only twice.

    Args:
        labels: (samples,) class indices.
        subjects: (samples,) numbers of the persons.
        fraction: Share to keep, in (0, 1]. A report of EPFL trains on a quarter of NTU RGB+D, 14,220 of 56,880 recordings.
        seed: Seed of the choice.

    Returns:
        Sorted positions, int64.
    """
    labels, subjects = np.asarray(labels), np.asarray(subjects)
    if labels.ndim != 1 or labels.shape != subjects.shape or not labels.size:
        raise ValueError(
            f"corpus_subset needs a label and a subject of every sample, got {labels.shape} and {subjects.shape}"
        )
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
    rng = np.random.default_rng(seed)
    keys = rng.random(labels.size)
    order = np.lexsort((keys, subjects, labels))  # by class, then subject, then at random
    # How many of the first n are taken grows by fraction from one to the next.
    taken = np.floor(np.arange(labels.size + 1) * fraction + rng.random())
    return np.sort(order[np.diff(taken) > 0]).astype(np.int64)


def save_label_subset(
    path: str | Path, names: Sequence[str], labels: np.ndarray, fraction: float, seed: int, sampling: str
) -> None:
    """Write the chosen samples as JSON, so that a later run or another group can use exactly the same ones.

    Args:
        path: File to write.
        names: Names of the chosen samples in the store.
        labels: Their class indices, same length.
        fraction: The share asked for.
        seed: The seed used.
        sampling: The kind of sampling used.
    """
    if len(names) != len(labels):
        raise ValueError(f"{len(names)} names do not match {len(labels)} labels")
    content = {
        "label_fraction": fraction,
        "label_sampling": sampling,
        "seed": seed,
        "num_samples": len(names),
        "samples": [{"name": str(name), "label": int(label)} for name, label in zip(names, labels, strict=True)],
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_label_subset(path: str | Path) -> list[str]:
    """Names of the samples in a file of `save_label_subset`."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "samples" not in content:
        raise ValueError(f"{path} is no label subset: the field 'samples' is missing")
    return [sample["name"] for sample in content["samples"]]


__all__ = ["corpus_subset", "label_subset", "load_label_subset", "save_label_subset"]
