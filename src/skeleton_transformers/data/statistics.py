"""What a recording or a store holds, in numbers: lengths, people, missing joints, ranges, speed, unit, upright axis, class balance."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np

from .cleaning import clean
from .formats.base import SkeletonRecording
from .storage import SkeletonStore


_AXES = "xyz"
_CLEANING = {"max_gap_frames": 0, "units": "check", "up": "check"}


def describe_recording(recording: SkeletonRecording) -> dict[str, Any]:
    """What one recording holds; JSON-able.

    Returns:
        Format, layout, size, `persons` (name to frames in which the person was seen), `missing joints` (name to share of the frames in
        which the person was seen but not the joint), `range` and mean of every axis, `speed` (median over the joints, per second),
        and under `remarks` what cleaning would say: unit and upright axis against the usual ones, spikes, bones of odd length.
    """
    persons, frames = recording.frame_mask.shape
    there, mask = recording.present_joints, recording.frame_mask
    names = recording.person_ids or tuple(str(person) for person in range(persons))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are in the report
        report = clean(recording, _CLEANING)[1]
    rate = recording.frame_rate
    description: dict[str, Any] = {
        "format": recording.format,
        "layout": recording.layout.name,
        "joints": recording.layout.num_joints,
        "channels": recording.keypoints.shape[3],
        "units": recording.units or "unknown",
        "frames": frames,
        "frame rate": rate,
        "seconds": None if rate is None else round(frames / rate, 3),
        "persons": {name: int(count) for name, count in zip(names, mask.sum(axis=1))},
        "frames without anybody": int((~mask.any(axis=0)).sum()),
        "missing joints": _shares(recording.layout.joints, (mask[..., None] & ~there).sum((0, 1)), int(mask.sum())),
        "range": _ranges(recording.keypoints[there]),
        "speed": None if rate is None else _round(_median_step(recording.keypoints, there) * rate),
    }
    if recording.confidence is not None:
        description["confidence"] = _round(recording.confidence[there].mean())
    if recording.label >= 0:
        description["label"] = recording.label
    if recording.frame_labels is not None:
        labels, counts = np.unique(recording.frame_labels, return_counts=True)
        description["frame labels"] = {str(label): int(count) for label, count in zip(labels, counts)}
    description["unit by arms and legs"] = report.unit or "cannot be told"
    description["axis that is up"] = report.up or "cannot be told"
    description["spikes"] = _by_joint(report.spikes)
    description["bones of odd length"] = _by_joint(report.bones)
    description["remarks"] = report.warnings
    return description


def describe_balance(labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    """How evenly recordings are spread over classes.

    Args:
        labels: int `(samples,)`, -1 for none.
        names: names of the classes.

    Returns:
        `classes` with recordings, the `smallest` and the `largest` with their counts, `ratio` of the two, and `effective classes`, the
        exponential of the entropy of the class shares: as many classes of equal size would be as hard to guess.
    """
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    used = np.flatnonzero(counts)
    if not len(used):
        return {}
    low, high = used[counts[used].argmin()], used[counts[used].argmax()]
    shares = counts[used] / counts.sum()
    return {
        "classes": len(used),
        "smallest": {names[low]: int(counts[low])},
        "largest": {names[high]: int(counts[high])},
        "ratio": _round(counts[high] / counts[low]),
        "effective classes": _round(np.exp(-(shares * np.log(shares)).sum())),
    }


def describe_samples(store: SkeletonStore, limit: int = 500) -> dict[str, Any]:
    """Statistics of the coordinates of a store, over up to `limit` recordings that are spread evenly over it; JSON-able.

    Returns:
        `looked at` (recordings), the `share of frames` in which a person is there, `missing joints` (all coordinates 0, share of the
        frames with the person), `range` of every axis, `speed`, and how many recordings have which `unit by arms and legs` and which
        `axis that is up`.
    """
    indices = np.unique(np.linspace(0, len(store) - 1, min(limit, len(store))).round().astype(np.int64))
    zero = np.zeros(store.layout.num_joints, dtype=np.int64)
    frames = present = 0
    units: Counter[str] = Counter()
    axes: Counter[str] = Counter()
    ranges, speeds = [], []
    coordinates = min(2 if store.units.replace("_", " ") in ("pixel", "image fraction") else 3, store.num_channels)
    for index in indices:
        sample = store[int(index)]
        points, mask = sample.keypoints[..., :coordinates], sample.frame_mask
        there = points.any(axis=-1) & mask[..., None]
        zero += (mask[..., None] & ~there).sum(axis=(0, 1))
        frames, present = frames + mask.size, present + int(mask.sum())
        seen: np.ndarray = np.any(there, axis=2)
        recording = SkeletonRecording(points, seen, store.layout, joint_mask=there, units=store.units)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = clean(recording, {**_CLEANING, "spikes": "off", "bones": "off"})[1]
        units[report.unit or "cannot be told"] += 1
        axes[report.up or "cannot be told"] += 1
        if there.any():
            values = points[there]
            ranges.append(np.stack([values.min(axis=0), values.mean(axis=0), values.max(axis=0)]))
            speeds.append(_median_step(points, there) * store.frame_rate)
    description: dict[str, Any] = {
        "looked at": len(indices),
        "share of frames": _round(present / frames),
        "missing joints": _shares(store.layout.joints, zero, present),
    }
    if ranges:
        low, mean, high = (np.array(ranges)[:, row] for row in range(3))
        description["range"] = _ranges(np.stack([low.min(axis=0), high.max(axis=0)]), mean.mean(axis=0))
        description["speed"] = _round(float(np.median(speeds)))
    return description | {
        "unit by arms and legs": dict(units.most_common()),
        "axis that is up": dict(axes.most_common()),
    }


def _median_step(points: np.ndarray, there: np.ndarray) -> float:
    """Median way of a joint from one frame to the next; 0 where no joint is seen in two frames."""
    both = there[:, 1:] & there[:, :-1]
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)[both]
    return float(np.median(steps)) if steps.size else 0.0


def _ranges(points: np.ndarray, mean: np.ndarray | None = None) -> dict[str, list[float]]:
    """Lowest, mean and highest value of each axis of `(n, coordinates)`."""
    mean = points.mean(axis=0, dtype=np.float64) if mean is None else mean
    columns = zip(_AXES, points.min(axis=0), mean, points.max(axis=0))
    return {axis: [_round(low), _round(middle), _round(high)] for axis, low, middle, high in columns}


def _shares(joints: tuple[str, ...], counts: np.ndarray, total: int) -> dict[str, float]:
    """Share by joint, those with the largest first, without those with none."""
    order = np.argsort(-counts, kind="stable")
    return {joints[joint]: _round(counts[joint] / total) for joint in order if counts[joint]}


def _by_joint(faults: list) -> dict[str, int]:
    return dict(Counter(fault.joint for fault in faults).most_common())


def _round(value: float) -> float:
    return float(f"{float(value):.4g}")


__all__ = ["describe_balance", "describe_recording", "describe_samples"]
