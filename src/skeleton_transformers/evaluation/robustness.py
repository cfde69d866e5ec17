"""Robustness: what becomes of a model when recordings are worse than those it was trained on.

A recording is spoilt before anything else happens to it, as a bad sensor would do it. What is random follows from the seed, the kind of
damage, how strong it is, and the number of the recording alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..data import geometry
from ..data.datasets import SkeletonDataset
from ..data.storage import SkeletonSample, SkeletonStore
from ..skeletons import SkeletonLayout
from .protocols import describe_data, labelled_part


# Kind of damage -> what its amount is, and the amounts, from mild to severe.
CORRUPTIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "noise": ("standard deviation in percent of the person's size", (1, 3, 6)),
    "dropped_frames": ("percent of the frames in which nobody is seen", (10, 30, 50)),
    "missing_joints": ("percent of the joints of every frame that are not found", (5, 15, 30)),
    "occluded_limb": ("percent of the recording without one arm or leg", (25, 50, 100)),
    "rotated_view": ("degrees about the vertical", (15, 30, 60)),
}


def corrupt(
    sample: SkeletonSample,
    layout: SkeletonLayout,
    kind: str,
    amount: float,
    rng: np.random.Generator,
    num_coordinates: int = 3,
) -> SkeletonSample:
    """Spoils one recording.

    * `noise`: every coordinate of every joint moves, independently; the size of a person is the median over her frames of the
      largest extent of her joints along an axis.
    * `dropped_frames`: frames are lost for everybody at once and count as gaps. Nobody loses all of hers.
    * `missing_joints`: each joint of each frame is lost independently. As in recordings, all channels of a joint that was not found are 0.
    * `occluded_limb`: one body part of the layout, not the one with the root, the same for everybody, is not found in a run of frames.
    * `rotated_view`: the camera goes to the left or to the right about the middle of all joints. The vertical is the coordinate axis
      that spines lie along (y where the layout has no spine).

    Args:
        sample: recording; it is not changed.
        layout: its joints.
        kind: a name of `CORRUPTIONS`.
        amount: how strong, in the unit of `CORRUPTIONS`; 0 changes nothing.
        rng: where chance comes from.
        num_coordinates: channels that are coordinates, 2 or 3.

    Raises:
        ValueError: there is no such damage, or it cannot happen to such recordings.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {kind!r}; choose from {', '.join(CORRUPTIONS)}")
    if not applies(kind, layout, num_coordinates):
        need = "three coordinates" if kind == "rotated_view" else "a layout with several body parts"
        raise ValueError(f"{kind} needs {need}; got layout {layout.name!r} and {num_coordinates} coordinates")
    keypoints, frame_mask = sample.keypoints.copy(), sample.frame_mask.copy()
    frames = frame_mask.shape[1]
    if kind == "noise":
        for person in np.flatnonzero(frame_mask.any(axis=1)):
            points = keypoints[person, frame_mask[person]]  # (present frames, V, C), a copy
            size = np.median(np.ptp(points[..., :num_coordinates], axis=1).max(axis=-1))
            noise = rng.normal(0, amount / 100 * size, (*points.shape[:2], num_coordinates))
            keypoints[person, frame_mask[person], :, :num_coordinates] += noise.astype(np.float32)
    elif kind == "dropped_frames":
        lost = np.asarray(rng.random(frames) < amount / 100)
        for person in np.flatnonzero(frame_mask.any(axis=1)):
            seen = np.flatnonzero(frame_mask[person])
            if lost[seen].all():
                lost[rng.choice(seen)] = False
        frame_mask[:, lost] = False
    elif kind == "missing_joints":
        keypoints[rng.random(keypoints.shape[:3]) < amount / 100] = 0
    elif kind == "occluded_limb":
        joints = layout.body_parts[rng.choice(limbs(layout))]
        length = int(np.ceil(amount / 100 * frames))
        start = int(rng.integers(frames - length + 1))
        keypoints[:, start : start + length, joints] = 0
    else:
        points = keypoints[frame_mask][..., :3].astype(np.float64)  # (present bodies, V, 3)
        axis = np.zeros(3)
        axis[1 if layout.spine is None else _spine_axis(points, layout)] = 1
        turn = geometry.rotation_about_axis(axis, np.radians(amount) * rng.choice((-1, 1)))
        center = points.mean(axis=(0, 1))
        keypoints[..., :3] = (keypoints[..., :3] - center) @ turn.T + center
    keypoints[~frame_mask] = 0
    return replace(sample, keypoints=keypoints, frame_mask=frame_mask)


def applies(kind: str, layout: SkeletonLayout, num_coordinates: int) -> bool:
    """Whether a kind of damage can happen to recordings of this layout."""
    return {"rotated_view": num_coordinates == 3, "occluded_limb": bool(limbs(layout))}.get(kind, True)


def limbs(layout: SkeletonLayout) -> list[str]:
    """Names of the body parts that do not hold the root."""
    return [part for part, joints in layout.body_parts.items() if layout.root not in joints]


def _spine_axis(points: np.ndarray, layout: SkeletonLayout) -> int:
    assert layout.spine is not None
    lower, upper = layout.spine
    return int(np.abs((points[:, upper] - points[:, lower]).mean(axis=0)).argmax())


class CorruptedDataset(SkeletonDataset):
    """A [`SkeletonDataset`] of spoilt recordings of one store.

    Args:
        store, indices, feature_extractor: see [`SkeletonDataset`].
        kind, amount: see [`corrupt`].
        seed: of all that is random.
    """

    def __init__(
        self,
        store: SkeletonStore,
        indices: np.ndarray,
        feature_extractor: Any,
        kind: str,
        amount: float,
        seed: int = 0,
    ):
        self.kind, self.amount, self.corruption_seed = kind, amount, seed
        self.num_coordinates = feature_extractor.num_coordinates
        super().__init__(store, indices, feature_extractor)

    def _sample(self, number: int, index: int) -> SkeletonSample:
        key = [self.corruption_seed, list(CORRUPTIONS).index(self.kind), round(1000 * self.amount), index]
        rng = np.random.default_rng(key)
        sample = super()._sample(number, index)
        return corrupt(sample, self.stores[number].layout, self.kind, self.amount, rng, self.num_coordinates)


def evaluate_robustness(
    predict: Callable[[Dataset], np.ndarray],
    feature_extractor: Any,
    store: SkeletonStore,
    protocol: str | None,
    *,
    eval_part: str = "test",
    corruptions: Sequence[str] | None = None,
    seed: int = 0,
    **info: Any,
) -> dict[str, Any]:
    """Accuracy on clean and on spoilt recordings, for every kind of damage and every level.

    Args:
        predict: gives a class to every item of a data set, `(samples,)`; that of a recognition model, or of the nearest neighbour of
            a frozen encoder.
        feature_extractor: the one saved with the model.
        store: recordings with labels.
        protocol: split of the corpus; None takes the first one.
        eval_part: part to spoil.
        corruptions: names of `CORRUPTIONS`; default all that can happen to these recordings.
        seed: of all that is random.
        **info: further entries of the result.

    Returns:
        `top1_accuracy` (clean), `mean_corrupted_accuracy` (over all kinds and levels), and `corruptions`: for every kind `unit`, `amounts`
        and `top1_accuracy`, one for each amount. All accuracies are in [0, 1].
    """
    channels = feature_extractor.num_coordinates
    chosen = [kind for kind in CORRUPTIONS if applies(kind, store.layout, channels)]
    if corruptions is not None:
        if unknown := sorted(set(corruptions) - set(chosen)):
            raise ValueError(
                f"{', '.join(unknown)} cannot be measured on {store.path}; these can: {', '.join(chosen)}"
            )
        chosen = list(corruptions)
    indices = labelled_part(store, protocol, eval_part)

    def accuracy(dataset: SkeletonDataset) -> float:
        return float((predict(dataset) == dataset.labels).mean())

    found = {}
    for kind in chosen:
        unit, amounts = CORRUPTIONS[kind]
        values = [
            accuracy(CorruptedDataset(store, indices, feature_extractor, kind, amount, seed)) for amount in amounts
        ]
        found[kind] = {"unit": unit, "amounts": list(amounts), "top1_accuracy": values}
    return {
        "protocol": "robustness",
        "top1_accuracy": accuracy(SkeletonDataset(store, indices, feature_extractor)),
        "mean_corrupted_accuracy": float(np.mean([one["top1_accuracy"] for one in found.values()])),
        "corruptions": found,
        **info,
        **describe_data(store, protocol, seed, eval_part=eval_part, num_eval_samples=len(indices)),
    }


__all__ = ["CORRUPTIONS", "CorruptedDataset", "applies", "corrupt", "evaluate_robustness", "limbs"]
