"""Action detection in untrimmed takes: frames to segments, and the measures that published numbers are given in.

A [`Segment`] is an action of one label from `start` up to, but not with, `end`. Detections and true actions are lists of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ..data.corpora import split_indices
from ..data.corpora.base import label_runs
from ..data.storage import SkeletonStore
from ..data.task_datasets import BACKGROUND, check_keeps_frames
from .protocols import default_protocol, describe_data


SegmentRule = Literal["threshold", "argmax_runs"]
Interpolation = Literal["official", "voc"]

F1_THRESHOLDS = (0.1, 0.25, 0.5)
SEGMENT_RADIUS: dict[str, int] = {"threshold": 10, "argmax_runs": 0}  # frames to average over by default


class Segment(NamedTuple):
    """One action, detected or true.

    Attributes:
        label: 1 for the first class; 0 is the background, which is no action.
        start, end: frames `start .. end - 1`.
        confidence: of a detection, larger is surer.
        video: name of the take.
    """

    label: int
    start: float
    end: float
    confidence: float
    video: str


# ---------------------------------------------------------------------------------------------------------------------
# Frames to segments


def smooth(probabilities: np.ndarray, radius: int) -> np.ndarray:
    """Mean over `radius` frames on either side, float64; near the ends over those that there are."""
    frames = len(probabilities)
    sums = np.concatenate([np.zeros((1, probabilities.shape[1])), np.cumsum(probabilities, axis=0, dtype=np.float64)])
    first = np.maximum(np.arange(frames) - radius, 0)
    last = np.minimum(np.arange(frames) + radius + 1, frames)
    return (sums[last] - sums[first]) / (last - first)[:, None]


def frames_to_segments(
    probabilities: np.ndarray,
    video: str = "",
    rule: SegmentRule = "threshold",
    radius: int | None = None,
    threshold: float = 0.4,
    min_frames: int = 1,
) -> list[Segment]:
    """Detections out of the class probabilities of the frames of one take.

    Probabilities are averaged over `radius` frames on either side. Then, by either rule:

    * `"threshold"`: where the background has at most `1 - threshold` somebody acts. Each run of such frames is one action: the
      one with the highest mean probability, which is its confidence. Two actions without a pause between them become one.
    * `"argmax_runs"`: each run of frames with the same most probable action is one; confidence is its mean probability.

    Hi-TRS (Chen et al., ECCV 2022) does not say how frames become segments; the first rule is that of published evaluations of
    related methods.

    Args:
        probabilities: `(frames, 1 + classes)`, class 0 is the background, rows sum to 1.
        video: name of the take.
        rule: see above.
        radius: frames to average over; default 10 for `"threshold"` and 0 for `"argmax_runs"`.
        threshold: least probability of any action, of `"threshold"`.
        min_frames: a run of fewer frames is no action.

    Raises:
        ValueError: there is no such rule, or the array has another form.
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must have shape (frames, 1 + classes), got {probabilities.shape}")
    if not len(probabilities):
        return []
    if rule not in SEGMENT_RADIUS:
        raise ValueError(f"rule must be 'threshold' or 'argmax_runs', got {rule!r}")
    smoothed = smooth(probabilities, SEGMENT_RADIUS[rule] if radius is None else radius)
    if rule == "argmax_runs":
        kinds = smoothed.argmax(axis=1)
    else:
        kinds = (1 - smoothed[:, 0] >= threshold).astype(np.int64)
    segments = []
    for label, start, end in label_runs(kinds):
        if end - start < min_frames:
            continue
        means = smoothed[start:end].mean(axis=0)
        if rule == "threshold":
            label = int(means[1:].argmax()) + 1
        segments.append(Segment(label, start, end, float(means[label]), video))
    return segments


def true_segments(frame_labels: np.ndarray, video: str = "") -> list[Segment]:
    """The actions of a take with labels `(frames,)`: 0 for the background, below 0 where nobody has looked."""
    return [Segment(label, start, end, 1.0, video) for label, start, end in label_runs(frame_labels)]


# ---------------------------------------------------------------------------------------------------------------------
# The measures of PKU-MMD (Liu et al., "PKU-MMD: A Large Scale Benchmark for Continuous Multi-Modal Human Action
# Understanding", 2017), exactly as its evaluation script computes them


def overlap(first: Segment, second: Segment) -> float:
    """Length of the intersection over that of the hull, negative where there is no intersection; 0 for different actions."""
    if first.label != second.label or first.video != second.video:
        return 0.0
    hull = max(first.end, second.end) - min(first.start, second.start)
    return (min(first.end, second.end) - max(first.start, second.start)) / hull if hull > 0 else 0.0


def match(detections: Sequence[Segment], truth: Sequence[Segment], theta: float) -> list[int]:
    """For every detection the position of the true action that it overlaps most, at least by `theta`; -1 if there is none.

    Of equally good ones it is the last. Several detections may have the same.
    """
    candidates: dict[tuple[int, str], list[int]] = defaultdict(list)
    for position, action in enumerate(truth):
        candidates[action.label, action.video].append(position)
    matches = []
    for detection in detections:
        best, best_overlap = -1, theta
        for position in candidates[detection.label, detection.video]:
            value = overlap(detection, truth[position])
            if value >= best_overlap:
                best, best_overlap = position, value
        matches.append(best)
    return matches


def precision_recall(num_found: int, num_detections: int, num_true: int) -> tuple[float, float]:
    """Share of the detections and of the true actions that `num_found` is; 0 of none."""
    return num_found / num_detections if num_detections else 0.0, num_found / num_true if num_true else 0.0


def average_precision(
    detections: Sequence[Segment],
    truth: Sequence[Segment],
    theta: float = 0.5,
    interpolation: Interpolation = "official",
) -> float:
    """Area under precision over recall.

    * `"official"`: the script of PKU-MMD. Detections are taken away one by one, the least sure first. Precision counts the true
      actions that are found, not the detections that find one, so detecting an action twice lowers it; and it is evaluated
      anew only when a detection that matches is taken away, so a false alarm costs the same however sure it is.
    * `"voc"`: Pascal VOC 2010 (Everingham et al.). Detections are added one by one, the surest first; the first one that
      overlaps an action best, by `theta` or more, is right, all others are wrong. Precision is made monotone.

    Args:
        detections: in any order; of equal confidence, the first in the list counts as the less sure (`"official"`) or the
            surer one (`"voc"`).
        truth: the actions to find.
        theta: least overlap.
        interpolation: see above.

    Returns:
        A fraction in [0, 1]; 0 where there are no detections or no actions.
    """
    if interpolation not in ("official", "voc"):
        raise ValueError(f"interpolation must be 'official' or 'voc', got {interpolation!r}")
    if not detections or not truth:
        return 0.0
    confidence = np.array([detection.confidence for detection in detections], dtype=np.float64)
    matches = np.array(match(detections, truth, theta))
    if interpolation == "voc":
        return _voc_area(matches[np.argsort(-confidence, kind="stable")], len(truth))
    return _official_area(matches[np.argsort(confidence, kind="stable")], len(truth))


def _official_area(matches: np.ndarray, num_true: int) -> float:
    """`matches` `(detections,)`, -1 for none, of the least sure detection first."""
    finders = np.bincount(matches[matches >= 0], minlength=num_true)
    found, remaining = int((finders > 0).sum()), len(matches)
    best, recall = precision_recall(found, remaining, num_true)
    area = 0.0
    for position in matches.tolist():
        remaining -= 1
        if position == -1:
            continue
        finders[position] -= 1
        found -= int(finders[position] == 0)
        precision, recall_now = precision_recall(found, remaining, num_true)
        best = max(best, precision)
        area += best * (recall - recall_now)
        recall = recall_now
    return area


def _voc_area(matches: np.ndarray, num_true: int) -> float:
    """`matches` `(detections,)`, -1 for none, of the surest detection first."""
    right = np.zeros(len(matches), dtype=bool)
    hits, first = np.unique(matches, return_index=True)
    right[first[hits >= 0]] = True
    precision = np.cumsum(right) / np.arange(1, len(matches) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from_here[right].sum() / num_true)


def mean_average_precision(
    detections: Sequence[Segment],
    truth: Sequence[Segment],
    num_classes: int,
    videos: Sequence[str],
    theta: float = 0.5,
    interpolation: Interpolation = "official",
) -> tuple[float, float]:
    """mAP_a and mAP_v: the mean over actions, each in all takes, and the mean over takes, each with all actions.

    Args:
        detections: of all takes.
        truth: of all takes.
        num_classes: classes without the background; labels are 1 .. num_classes. A class without detections or without true actions
            counts as 0, as in the official script, whose 51 classes also divide Phase II with its 41.
        videos: names of all takes.
        theta: least overlap.
        interpolation: see [`average_precision`].

    Raises:
        ValueError: a label or a take is not one of those named.
    """
    for name, segments in (("detection", detections), ("true action", truth)):
        for one in segments:
            if not 1 <= one.label <= num_classes:
                raise ValueError(f"a {name} in {one.video!r} has label {one.label}, classes are 1 to {num_classes}")
    unknown = {one.video for one in [*detections, *truth]}.difference(videos)
    if unknown:
        raise ValueError(f"the take {min(unknown)!r} is not among the {len(videos)} that are evaluated")
    scores = []
    for key, values in (("label", range(1, num_classes + 1)), ("video", videos)):
        groups: dict[Any, tuple[list[Segment], list[Segment]]] = {value: ([], []) for value in values}
        for kind, segments in enumerate((detections, truth)):
            for one in segments:
                groups[getattr(one, key)][kind].append(one)
        found = [average_precision(*group, theta, interpolation) for group in groups.values()]
        scores.append(float(np.mean(found)) if found else 0.0)
    return scores[0], scores[1]


def f1_score(detections: Sequence[Segment], truth: Sequence[Segment], theta: float = 0.5) -> float:
    """F1 of all detections, of PKU-MMD: from the precision and recall of [`match`], where several detections may share an action."""
    found = len({position for position in match(detections, truth, theta) if position >= 0})
    precision, recall = precision_recall(found, len(detections), len(truth))
    return 2 * precision * recall / (precision + recall) if found else 0.0


def average_precision_2d(
    detections: Sequence[Segment], truth: Sequence[Segment], interpolation: Interpolation = "official"
) -> float:
    """2D-AP of PKU-MMD: mean of the average precision of all detections over the overlaps 0.05, 0.10, ..., 1."""
    scores = [average_precision(detections, truth, step / 20, interpolation) for step in range(1, 21)]
    return float(np.mean(scores))


def segment_f1(detections: Sequence[Segment], truth: Sequence[Segment], theta: float) -> float:
    """F1@k of temporal segmentation (Lea et al., CVPR 2017): every true action is found by one detection at most.

    The detections of a take are gone through in time. One is right if the action of its label that it overlaps most overlaps by
    `theta` or more and has not been found before; of equally good ones it is the first.
    """
    actions: dict[tuple[int, str], list[Segment]] = defaultdict(list)
    for action in sorted(truth, key=lambda one: one.start):
        actions[action.label, action.video].append(action)
    found: set[tuple[int, str, int]] = set()
    for detection in sorted(detections, key=lambda one: one.start):
        there = actions[detection.label, detection.video]
        if not there:
            continue
        overlaps = [overlap(detection, action) for action in there]
        best = int(np.argmax(overlaps))
        if overlaps[best] >= theta:
            found.add((detection.label, detection.video, best))
    total = len(detections) + len(truth)
    return 2 * len(found) / total if total else 0.0


def detection_metrics(
    detections: Sequence[Segment], truth: Sequence[Segment], num_classes: int, videos: Sequence[str]
) -> dict[str, Any]:
    """All measures of detections, fractions in [0, 1]; for the arguments see [`mean_average_precision`].

    Returns:
        `mAP_a`, `mAP_v`, `AP` (all classes and takes together), `F1` (these at overlap 0.5) and `2D-AP` of PKU-MMD, `mAP_a_voc`
        and `mAP_v_voc` with the other interpolation, `segment_F1@0.1`, `@0.25`, `@0.5`, and the numbers of segments.
    """
    action, video = mean_average_precision(detections, truth, num_classes, videos)
    action_voc, video_voc = mean_average_precision(detections, truth, num_classes, videos, interpolation="voc")
    return {
        "mAP_a": action,
        "mAP_v": video,
        "AP": average_precision(detections, truth),
        "F1": f1_score(detections, truth),
        "2D-AP": average_precision_2d(detections, truth),
        "mAP_a_voc": action_voc,
        "mAP_v_voc": video_voc,
        **{f"segment_F1@{theta:g}": segment_f1(detections, truth, theta) for theta in F1_THRESHOLDS},
        "num_detections": len(detections),
        "num_actions": len(truth),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The protocol


@dataclass
class DetectionEvaluation:
    """What [`evaluate_detection`] found.

    Attributes:
        results: the measures and where they come from, JSON-able.
        detections: of all takes.
        truth: of all takes.
        videos: names of the takes.
    """

    results: dict[str, Any]
    detections: list[Segment]
    truth: list[Segment]
    videos: list[str]

    def takes(self) -> dict[str, dict[str, list[list[float]]]]:
        """`detections` and `truth` of every take as `[label, start, end, confidence]`, JSON-able."""
        return {
            video: {
                kind: [list(one[:4]) for one in segments if one.video == video]
                for kind, segments in (("detections", self.detections), ("truth", self.truth))
            }
            for video in self.videos
        }


def predict_frames(
    model: Any, keypoints: np.ndarray, frame_mask: np.ndarray, progress: bool = False, chunk_frames: int | None = None
) -> np.ndarray:
    """Class probabilities of every frame of a take of any length, in chunks of bounded memory.

    Args:
        model: a detection model; it is left in the mode it is in, which should be that of evaluation.
        keypoints: float32 `(persons, frames, joints, channels)`, normalised.
        frame_mask: bool `(persons, frames)`.
        progress: show a progress bar, which counts frames.
        chunk_frames: see `ActionDetectionHead.iterate_logits`.

    Returns:
        float32 `(frames, num_labels)`, rows sum to 1.
    """
    rows = []
    inputs = torch.from_numpy(keypoints)[None], torch.from_numpy(frame_mask)[None]
    bar = tqdm(total=frame_mask.shape[1], unit="frame", desc="detect", disable=None if progress else True, leave=False)
    with torch.no_grad(), bar:
        for logits in model.iterate_logits(*inputs, chunk_frames):
            rows.append(logits[0].float().softmax(dim=-1).cpu().numpy())
            bar.update(len(rows[-1]))
    return np.concatenate(rows)


def take_part(store: SkeletonStore, protocol: str | None, part: str) -> np.ndarray:
    """Indices of the takes with frame labels of one part of a split.

    Raises:
        ValueError: there is none.
    """
    protocol = default_protocol(store) if protocol is None else protocol
    indices = split_indices(store, protocol, part)
    takes = indices[store.has_frame_labels[indices]]
    if not takes.size:
        raise ValueError(
            f"the part {part!r} of the split {protocol!r} of {store.path} has no recordings with frame labels "
            f"({len(indices)} recordings); detection needs untrimmed takes: prepare the corpus with --takes"
        )
    return takes


def detection_labels(store: SkeletonStore) -> dict[int, str]:
    """Label map of a detection model for a store: the background, then its classes."""
    return dict(enumerate([BACKGROUND, *store.label_names]))


def evaluate_detection(
    model: Any,
    feature_extractor: Any,
    store: SkeletonStore,
    protocol: str | None,
    *,
    eval_part: str = "test",
    rule: SegmentRule = "threshold",
    radius: int | None = None,
    threshold: float = 0.4,
    min_frames: int = 1,
    progress: bool = False,
    seed: int = 0,
) -> DetectionEvaluation:
    """Detect the actions of all takes of one part of a split and compare them with the true ones.

    Args:
        model: a detection model whose label map is that of the store behind the background.
        feature_extractor: the one saved with the model.
        store: untrimmed takes with frame labels.
        protocol: split of the corpus; None takes the first one.
        eval_part: `"test"`, or `"validation"` while tuning.
        rule: how frames become segments; see [`frames_to_segments`] for this and the next three.
        radius: frames to average over.
        threshold: least probability of any action.
        min_frames: least length of an action.
        progress: show a progress bar.
        seed: noted in the results.

    Raises:
        ValueError: the classes differ, or there are no takes.
    """
    names = {int(label): name for label, name in model.config.id2label.items()}
    if names != detection_labels(store):
        raise ValueError(
            f"the model knows {len(names)} classes, {', '.join(map(repr, list(names.values())[:3]))}, ...; detection in "
            f"{store.path} needs {BACKGROUND!r} and its {len(store.label_names)} classes: fine-tune the model for them"
        )
    check_keeps_frames(feature_extractor, store.frame_rate)
    was_training = model.training
    model.eval()
    detections: list[Segment] = []
    truth: list[Segment] = []
    videos: list[str] = []
    right = looked_at = 0
    try:
        takes = take_part(store, protocol, eval_part)
        for index in tqdm(takes.tolist(), unit="take", disable=None if progress else True, leave=False):
            sample = store[index]
            assert sample.frame_labels is not None  # those were chosen
            keypoints, frame_mask = feature_extractor.normalize(
                sample.keypoints, sample.frame_mask, source_frame_rate=store.frame_rate, name=sample.name
            )
            keypoints = feature_extractor.apply_stream(keypoints, frame_mask)
            probabilities = predict_frames(model, keypoints, frame_mask, progress)
            known = sample.frame_labels >= 0
            right += int((probabilities.argmax(axis=1) == sample.frame_labels)[known].sum())
            looked_at += int(known.sum())
            detections += frames_to_segments(probabilities, sample.name, rule, radius, threshold, min_frames)
            truth += true_segments(sample.frame_labels, sample.name)
            videos.append(sample.name)
    finally:
        model.train(was_training)
    results = {
        "protocol": "detection",
        **detection_metrics(detections, truth, len(store.label_names), videos),
        "frame_accuracy": right / max(looked_at, 1),
        "num_frames": looked_at,
        "segments": {
            "rule": rule,
            "radius": SEGMENT_RADIUS[rule] if radius is None else radius,
            **({"threshold": threshold} if rule == "threshold" else {}),
            "min_frames": min_frames,
        },
        **describe_data(store, protocol, seed, eval_part=eval_part, num_eval_samples=len(videos)),
    }
    return DetectionEvaluation(results, detections, truth, videos)


__all__ = [
    "DetectionEvaluation",
    "F1_THRESHOLDS",
    "Segment",
    "average_precision",
    "average_precision_2d",
    "detection_labels",
    "detection_metrics",
    "evaluate_detection",
    "f1_score",
    "frames_to_segments",
    "match",
    "mean_average_precision",
    "overlap",
    "predict_frames",
    "segment_f1",
    "smooth",
    "take_part",
    "true_segments",
]
