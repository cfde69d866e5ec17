"""Pictures of results: who is taken for whom, how sure a model may be, when it says what."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..skeletons import SkeletonLayout
from .rendering import _target, render_gif


_BLUE, _ORANGE, _GREY = "#2171b5", "#d95f02", "#8c9199"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot: neither a display nor global state

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, path: str | os.PathLike) -> Path:
    target = _target(path, ".png")
    figure.savefig(target)
    return target


def plot_confusion(counts: np.ndarray, names: Sequence[str], path: str | os.PathLike) -> Path:
    """Draws a confusion matrix; colours are shares of the true class.

    Args:
        counts: (classes, classes), rows are true classes, columns predicted ones.
        names: names of the classes.
        path: PNG file to write.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"a confusion matrix of {len(names)} classes cannot have the shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.28 * len(names) + 2.5)
    figure, axes = _figure(side + 0.8, side)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= 30:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return _save(figure, path)


def plot_per_class(accuracy: np.ndarray, counts: np.ndarray, names: Sequence[str], path: str | os.PathLike) -> Path:
    """Draws the accuracy of every class as bars, the worst on top.

    Args:
        accuracy: (classes,) in [0, 1], NaN for a class without samples, which is left out.
        counts: (classes,) samples of every class.
        names: names of the classes.
        path: PNG file to write.
    """
    order = [int(label) for label in np.argsort(accuracy, kind="stable") if np.isfinite(accuracy[label])]
    figure, axes = _figure(6.5, max(2.5, 0.2 * len(order) + 1))
    axes.barh(range(len(order)), 100 * np.asarray(accuracy)[order], color=_BLUE)
    axes.set_yticks(range(len(order)), [f"{names[label]} ({counts[label]})" for label in order], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy in %")
    return _save(figure, path)


def plot_reliability(bins: Sequence[Mapping[str, Any]], error: float, path: str | os.PathLike) -> Path:
    """Draws a reliability diagram: accuracy over confidence, and how many predictions have it.

    Args:
        bins: of `reliability_bins`.
        error: expected calibration error, for the title.
        path: PNG file to write.
    """
    figure, axes = _figure(4.6, 4.2)
    total = max(1, sum(one["count"] for one in bins))
    for one in bins:
        width = one["high"] - one["low"]
        if one["count"]:
            axes.bar(one["low"], one["accuracy"], width, align="edge", color=_BLUE, edgecolor="white")
        axes.bar(one["low"], one["count"] / total, width / 3, align="edge", color=_GREY)
    axes.plot([0, 1], [0, 1], color=_ORANGE, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy (blue), share of predictions (grey)")
    axes.set_title(f"expected calibration error {100 * error:.1f} %", fontsize=10)
    return _save(figure, path)


def plot_robustness(result: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Draws how accuracy falls with every kind of damage.

    Args:
        result: of `evaluate_robustness`.
        path: PNG file to write.
    """
    figure, axes = _figure(5.5, 4)
    for kind, found in result["corruptions"].items():
        values = [100 * value for value in (result["top1_accuracy"], *found["top1_accuracy"])]
        axes.plot(range(len(values)), values, marker="o", markersize=4, label=kind.replace("_", " "))
    axes.set_xticks(range(4), ["none", "mild", "medium", "severe"])
    axes.set(ylabel="accuracy in %", ylim=(0, 100))
    axes.legend(fontsize=8, frameon=False)
    return _save(figure, path)


def plot_timeline(
    truth: Sequence[tuple], detections: Sequence[tuple], names: Sequence[str], path: str | os.PathLike, title: str = ""
) -> Path:
    """Draws the actions of a take over time, the true ones above those that were detected.

    Args:
        truth, detections: segments `(label, start, end, ...)`, frames; see `Segment`.
        names: names of the labels, the background first.
        path: PNG file to write.
        title: text above.
    """
    import matplotlib

    figure, axes = _figure(10, 1.9)
    colours = matplotlib.colormaps["tab20"]
    shown: dict[str, Any] = {}
    for row, segments in enumerate((detections, truth)):
        for label, start, end, *_ in segments:
            bar = axes.barh(row, end - start, left=start, height=0.8, color=colours((int(label) - 1) % 20))
            shown.setdefault(names[int(label)], bar)
    axes.set_yticks((0, 1), ("detected", "true"))
    axes.set_xlabel("frame")
    axes.set_title(title, fontsize=10)
    if shown:
        some = dict(list(shown.items())[:20])
        axes.legend(some.values(), some.keys(), fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _save(figure, path)


def render_prediction(
    observed: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    layout: str | dict | SkeletonLayout,
    path: str | os.PathLike,
    frame_rate: float = 30.0,
    title: str | None = None,
) -> Path:
    """Writes an animation of a motion, with what was predicted of it beside what happened.

    Args:
        observed: `(frames, joints, channels)`.
        true, predicted: the frames that follow, of one shape.
        layout: joint layout.
        path: GIF file to write.
        frame_rate: frames per second; the animation is played at half the speed, up to 25.
        title: text above.
    """
    observed, true, predicted = (np.asarray(one, dtype=np.float64) for one in (observed, true, predicted))
    if true.shape != predicted.shape or observed.shape[1:] != true.shape[1:]:
        raise ValueError(
            f"observed {observed.shape}, true {true.shape} and predicted {predicted.shape} must be (frames, joints, channels), "
            "the latter two of one length"
        )
    # Side by side, so that neither hides the other: as far apart as the person is wide, and a bit.
    both = np.concatenate([observed, true])
    offset = np.zeros(true.shape[-1])
    offset[0] = 1.2 * max(np.ptp(both[..., 0]), 0.4 * np.ptp(both[..., 1:]))
    people = np.stack([both, np.concatenate([observed, predicted]) + offset])  # (2, T, V, C)
    captions = ["observed"] * len(observed) + ["true | predicted"] * len(true)
    rate = min(25.0, frame_rate / 2)
    mask = np.ones(people.shape[:2], dtype=bool)
    return render_gif(people, layout, path, mask, title, frame_rate=rate, caption_per_frame=captions, size=(520, 420))


__all__ = [
    "plot_confusion",
    "plot_per_class",
    "plot_reliability",
    "plot_robustness",
    "plot_timeline",
    "render_prediction",
]
