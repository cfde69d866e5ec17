"""Items and batches of action detection and of motion prediction.

As everywhere, an item is a function of its [`SampleKey`] and the seed alone (see `datasets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .datasets import Augmentation, SampleKey, pad_items
from .geometry import resample_frames
from .storage import SkeletonStore


if TYPE_CHECKING:
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor


BACKGROUND = "background"  # name of class 0 of a detection model

# Label of frames that do not count.
_IGNORED = -100


def check_keeps_frames(feature_extractor: SkeletonFeatureExtractor, frame_rate: float) -> None:
    """Raises a `ValueError` if an extractor gives other frames than it gets, so that frame labels would not fit."""
    extractor = feature_extractor
    changes = {name: getattr(extractor, name) for name in ("num_frames", "max_frames") if getattr(extractor, name)}
    if extractor.frame_rate is not None and extractor.frame_rate != frame_rate:
        changes["frame_rate"] = extractor.frame_rate
    if extractor.center_crop < 1:
        changes["center_crop"] = extractor.center_crop
    if changes:
        raise ValueError(
            f"action detection has a label for every frame of a take at {frame_rate:g} frames per second, but the feature "
            f"extractor changes the frames ({', '.join(f'{name}={value}' for name, value in changes.items())}); set "
            "num_frames, max_frames and frame_rate to None, and center_crop to 1"
        )


def check_keeps_time(augmentation: Augmentation | None) -> None:
    """Raises a `ValueError` if an augmentation has temporal operators, which would part frames from labels or targets."""
    temporal = getattr(augmentation, "temporal", ())
    if temporal:
        raise ValueError(
            f"this task needs frames where they are, but the augmentation has the temporal operators {list(temporal)}; "
            "set temporal to []"
        )


class DetectionDataset(Dataset):
    """Windows of untrimmed takes with a label in every frame, for training; evaluation takes whole takes.

    A take of N frames gives `ceil(N / window)` items an epoch, windows spread over it that move from epoch to epoch.
    Normalisation, augmentation and stream are computed on the whole take, so a window holds what the take holds there.

    Args:
        store: store with frame labels.
        indices: takes to use, int `(n,)`; all of them have frame labels.
        feature_extractor: normalisation and stream; it must not change the number of frames.
        augmentation: called as `augmentation(keypoints, frame_mask, rng)`, without temporal operators.
        seed: seed of windows, labels and augmentation.
        window: frames with labels of an item; None takes whole takes.
        context: further frames on either side, without labels: those that the features of the window depend on.
        label_share: share of the frames of a window whose labels are kept, drawn anew every epoch; neighbours are so
            alike that a quarter of them teaches as much in a fraction of the time. 1 keeps all.

    Raises:
        ValueError: a take has no frame labels, or an argument does not fit.
    """

    def __init__(
        self,
        store: SkeletonStore,
        indices: Any,
        feature_extractor: SkeletonFeatureExtractor,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        window: int | None = 256,
        context: int = 0,
        label_share: float = 1.0,
    ):
        check_keeps_frames(feature_extractor, store.frame_rate)
        check_keeps_time(augmentation)
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1 or None, got {window}")
        if not 0 < label_share <= 1:
            raise ValueError(f"label_share must lie in (0, 1], got {label_share}")
        self.store = store
        self.feature_extractor = feature_extractor
        self.augmentation = augmentation
        self.seed = seed
        self.window = window
        self.context = context
        self.label_share = label_share
        rows = []
        for index in np.asarray(indices, dtype=np.int64).tolist():
            if not store.has_frame_labels[index]:
                raise ValueError(
                    f"{store.names[index]} of {store.path} has no frame labels; prepare the corpus with --takes"
                )
            count = 1 if window is None else -(-int(store.num_frames[index]) // window)
            rows += [(index, number, count) for number in range(count)]
        # (items, 3): index in the store, number of the window, windows of the take
        self.items = np.array(rows, dtype=np.int64).reshape(-1, 3)
        if not len(self.items):
            raise ValueError(f"there is no take of {store.path} to train on")

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        """Name of an item's take, for messages."""
        return str(self.store.names[self.items[index, 0]])

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """One item: `keypoints` float32 `(M, T, V, C)`, `frame_mask` bool `(M, T)`, `labels` int64 `(T,)`, `key`.

        Labels are 0 for the background and -100 for frames that do not count.
        """
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), 0)
        index, number, count = self.items[key.index].tolist()
        sample = self.store[index]
        assert sample.frame_labels is not None  # checked in __init__
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        keypoints, frame_mask = self.feature_extractor.normalize(
            sample.keypoints, sample.frame_mask, source_frame_rate=self.store.frame_rate, name=sample.name
        )
        if self.augmentation is not None:
            keypoints, frame_mask = self.augmentation(keypoints, frame_mask, rng)
        keypoints = self.feature_extractor.apply_stream(keypoints, frame_mask)
        start, end = self._window(len(sample.frame_labels), number, count, rng)
        labels = np.full(len(sample.frame_labels), _IGNORED, dtype=np.int64)
        inside = sample.frame_labels[start:end].astype(np.int64)
        labels[start:end] = np.where((inside >= 0) & (rng.random(end - start) < self.label_share), inside, _IGNORED)
        part = slice(max(0, start - self.context), end + self.context)
        return {
            "keypoints": keypoints[:, part],
            "frame_mask": frame_mask[:, part],
            "labels": labels[part],
            "key": key,
        }

    def _window(self, frames: int, number: int, count: int, rng: np.random.Generator) -> tuple[int, int]:
        """Frames of a window: evenly spread over the take, moved by up to half a window."""
        if self.window is None or frames <= self.window:
            return 0, frames
        last = frames - self.window
        place = number * last / (count - 1) + self.window * rng.uniform(-0.5, 0.5)
        start = int(np.clip(round(place), 0, last))
        return start, start + self.window


class DetectionCollator:
    """Makes a batch of items of [`DetectionDataset`], zero-padded to the most persons and frames.

    Returns:
        float32 `keypoints` `(B, M, T, V, C)`, bool `frame_mask` `(B, M, T)` and int64 `labels` `(B, T)`, -100 in padding.
    """

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        keypoints, frame_mask = pad_items(items)
        labels = np.full((len(items), keypoints.shape[2]), _IGNORED, dtype=np.int64)
        for row, item in enumerate(items):
            labels[row, : len(item["labels"])] = item["labels"]
        return {
            "keypoints": torch.from_numpy(keypoints),
            "frame_mask": torch.from_numpy(frame_mask),
            "labels": torch.from_numpy(labels),
        }


class PredictionDataset(Dataset):
    """Windows of single persons: some frames to observe, and the frames that follow, to predict.

    A window is one in which the person is present in every frame. It is normalised by itself, by a person and a place that
    are observed. Persons without such a window are left out.

    Args:
        store: store of positions.
        indices: recordings to use, int `(n,)`; None takes all.
        feature_extractor: frame rate and normalisation; its first `max_persons` persons are used, each by itself.
        augmentation: called as `augmentation(keypoints, frame_mask, rng)`, without temporal operators.
        seed: seed of windows and augmentation.
        observed_frames: frames to observe, at the frame rate of the extractor. Hi-TRS: 2 s.
        predicted_frames: frames to predict. Hi-TRS: 400 ms.
        random: draw the windows of a person anew every epoch, for training; otherwise they are spread evenly over
            the recording, and a single one lies in its middle.
        window_every: windows of a person, one for every so many frames in which one can begin; None takes one.

    Raises:
        ValueError: no recording is long enough, or an argument does not fit.
    """

    def __init__(
        self,
        store: SkeletonStore,
        indices: Any | None,
        feature_extractor: SkeletonFeatureExtractor,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        observed_frames: int = 60,
        predicted_frames: int = 12,
        random: bool = False,
        window_every: int | None = None,
    ):
        extractor = feature_extractor
        refused = {
            "stream": extractor.stream if extractor.stream != "joint" else None,
            "scale": extractor.scale if extractor.scale != "none" else None,
            "num_frames": extractor.num_frames,
            "max_frames": extractor.max_frames,
            "center_crop": extractor.center_crop if extractor.center_crop < 1 else None,
            "confidence_channel": extractor.confidence_channel or None,
        }
        found = {name: value for name, value in refused.items() if value is not None}
        if found:
            raise ValueError(
                "motion prediction observes and predicts positions in their own unit and time; set stream='joint', scale="
                "'none', center_crop=1, confidence_channel=False and num_frames and max_frames to None, the feature extractor has "
                + ", ".join(f"{name}={value!r}" for name, value in found.items())
            )
        check_keeps_time(augmentation)
        for name, number in (("observed_frames", observed_frames), ("predicted_frames", predicted_frames)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if window_every is not None and window_every < 1:
            raise ValueError(f"window_every must be at least 1 or None, got {window_every}")
        self.store = store
        self.feature_extractor = extractor
        self.augmentation = augmentation
        self.seed = seed
        self.observed_frames = observed_frames
        self.predicted_frames = predicted_frames
        self.random = random
        rows = []
        self.num_dropped = 0
        for index in range(len(store)) if indices is None else np.asarray(indices, dtype=np.int64).tolist():
            sample = store[index]
            for person in self._persons(sample.frame_mask):
                starts = self._starts(*self._resample(sample.keypoints[[person]], sample.frame_mask[[person]]))
                if not len(starts):
                    self.num_dropped += 1
                    continue
                count = 1 if window_every is None else -(-len(starts) // window_every)
                rows += [(index, person, number, count) for number in range(count)]
        # (items, 4): index in the store, person, number of the window, windows of the person
        self.items = np.array(rows, dtype=np.int64).reshape(-1, 4)
        if not rows:
            raise ValueError(
                f"no person of {store.path} is present in {self.num_frames} frames in a row at {self.frame_rate:g} frames "
                "per second; observe or predict fewer"
            )

    @property
    def num_frames(self) -> int:
        """Frames of a window."""
        return self.observed_frames + self.predicted_frames

    @property
    def frame_rate(self) -> float:
        """Frames per second of the items."""
        return self.feature_extractor.frame_rate or self.store.frame_rate

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        """Name of an item's recording, for messages."""
        return str(self.store.names[self.items[index, 0]])

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """One item of one person.

        Returns:
            `keypoints` float32 `(1, observed frames, V, C)`, `frame_mask` bool `(1, observed frames)`, all True,
            `future_keypoints` float32 `(1, predicted frames, V, C)` and `key`.
        """
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), 0)
        index, person, number, count = self.items[key.index].tolist()
        sample = self.store[index]
        keypoints, frame_mask = self._resample(sample.keypoints[[person]], sample.frame_mask[[person]])
        starts = self._starts(keypoints, frame_mask)
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        if self.random:
            start = int(rng.choice(starts))
        else:
            # The middles of `count` equal parts of the places where a window can begin.
            start = int(starts[((2 * number + 1) * len(starts) - 1) // (2 * count)])
        part = slice(start, start + self.num_frames)
        # The frames have their rate already.
        keypoints, frame_mask = self.feature_extractor.normalize(
            keypoints[:, part], frame_mask[:, part], source_frame_rate=self.frame_rate, name=sample.name
        )
        if self.augmentation is not None:
            keypoints, frame_mask = self.augmentation(keypoints, frame_mask, rng)
        return {
            "keypoints": keypoints[:, : self.observed_frames],
            "frame_mask": frame_mask[:, : self.observed_frames],
            "future_keypoints": keypoints[:, self.observed_frames :],
            "key": key,
        }

    def _persons(self, frame_mask: np.ndarray) -> list[int]:
        present = np.flatnonzero(frame_mask.any(axis=1)).tolist()
        if self.feature_extractor.person_selection == "all":
            return present
        return present[: self.feature_extractor.max_persons]

    def _resample(self, keypoints: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.frame_rate == self.store.frame_rate:
            return keypoints, frame_mask
        return resample_frames(keypoints, frame_mask, self.store.frame_rate, self.frame_rate)

    def _starts(self, keypoints: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
        """Frames in which a window can begin, of a recording of one person."""
        present = np.concatenate([[0], np.cumsum(frame_mask[0])])
        if len(present) <= self.num_frames:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(present[self.num_frames :] - present[: -self.num_frames] == self.num_frames)


class PredictionCollator:
    """Makes a batch of items of [`PredictionDataset`].

    Returns:
        float32 `keypoints` `(B, 1, observed, V, C)`, bool `frame_mask` `(B, 1, observed)` and float32 `future_keypoints`
        `(B, 1, predicted, V, C)`.
    """

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        keypoints, frame_mask = pad_items(items)
        return {
            "keypoints": torch.from_numpy(keypoints),
            "frame_mask": torch.from_numpy(frame_mask),
            "future_keypoints": torch.from_numpy(np.stack([item["future_keypoints"] for item in items])),
        }


__all__ = [
    "BACKGROUND",
    "DetectionCollator",
    "DetectionDataset",
    "PredictionCollator",
    "PredictionDataset",
    "check_keeps_frames",
    "check_keeps_time",
]
