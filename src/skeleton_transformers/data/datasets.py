"""Map-style datasets over packed stores, and samplers that make a run a pure function of its seed.

An item is asked for by a [`SampleKey`], its index and the epoch. Everything random about an item follows from the seed
and that key, and the order of the keys follows from the seed and the epoch, so the data of a run depend neither on the
global random state, nor on the number of workers, nor on where the run was interrupted.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from .geometry import resize_frames
from .storage import SkeletonSample, SkeletonStore


if TYPE_CHECKING:
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor


logger = logging.getLogger(__name__)

# First word of the seed of the sample order, so that it shares no random numbers with the items themselves.
_ORDER = 0x6F72646572

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class SampleKey(NamedTuple):
    """Names one draw of one item: the same key always gives the same arrays.

    Attributes:
        index: item of the dataset.
        epoch: pass over the data, 0 for the first.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a key
    epoch: int


class EpochSampler(Sampler[SampleKey]):
    """Yields every item of a dataset once, in an order that is a pure function of seed and epoch.

    Args:
        num_samples: items of the dataset.
        seed: seed of the order.
        shuffle: `False` keeps the items in order.
    """

    def __init__(self, num_samples: int, seed: int = 0, shuffle: bool = True):
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self.epoch = epoch

    def order(self, epoch: int) -> np.ndarray:
        """Indices of all items in the order of one epoch, int64 `(num_samples,)`."""
        if not self.shuffle:
            return np.arange(self.num_samples)
        return np.random.default_rng([_ORDER, self.seed, epoch]).permutation(self.num_samples)

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        return (SampleKey(int(index), epoch) for index in self.order(epoch))

    def __len__(self) -> int:
        return self.num_samples


class TrainingBatchSampler(Sampler[list[SampleKey]]):
    """The batches of a whole training run for one process, from any optimiser step on.

    An epoch has as many optimiser steps as fit; what is left over is dropped. Micro-batch `m` of a step of an epoch
    takes, on rank `r`, the slice of the epoch's order that follows from these numbers alone, so a run continued at a
    step sees what the uninterrupted run saw.

    Args:
        sampler: order of the items in every epoch.
        batch_size: items in one micro-batch of one process.
        num_steps: optimiser step at which the run ends; `None` ends it after one epoch.
        accumulation: micro-batches in one optimiser step.
        rank, world_size: this process and the number of processes.
        first_step: optimiser step at which to begin.

    Raises:
        ValueError: the dataset is too small for one optimiser step.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        batch_size: int,
        num_steps: int | None = None,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ):
        self.sampler = sampler
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.rank = rank
        self.world_size = world_size
        self.first_step = first_step
        self.steps_per_epoch = len(sampler) // (batch_size * accumulation * world_size)
        self.num_steps = self.steps_per_epoch if num_steps is None else num_steps
        self._order: tuple[int, np.ndarray] | None = None
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"{len(sampler)} sequences are fewer than one optimiser step needs: batch size {batch_size} x "
                f"{accumulation} accumulated x {world_size} processes; lower the batch size or the accumulation"
            )

    def batch(self, step: int, micro_batch: int) -> list[SampleKey]:
        """Keys of one micro-batch of one optimiser step on this rank."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self.sampler.order(epoch))
        position = (step_in_epoch * self.accumulation + micro_batch) * self.world_size + self.rank
        indices = self._order[1][position * self.batch_size : (position + 1) * self.batch_size]
        return [SampleKey(int(index), epoch) for index in indices]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.first_step, self.num_steps):
            for micro_batch in range(self.accumulation):
                yield self.batch(step, micro_batch)

    def __len__(self) -> int:
        return max(0, self.num_steps - self.first_step) * self.accumulation


class SequencePipeline:
    """Makes items for a model out of one recording.

    A recording is normalised by the feature extractor, stretched if it is too short, augmented, and turned into the
    extractor's stream. Frames after the last one in which anybody is present are dropped: they are padding.

    Args:
        feature_extractor: normalisation and stream.
        augmentation: called as `augmentation(keypoints, frame_mask, rng)`; `None` for evaluation.
        seed: seed of the augmentation; an item draws from `default_rng([seed, epoch, index])` of its key.
        single_person: make every person that is present in a sample an item of its own (pre-training); otherwise an
            item holds all persons that the extractor keeps.
        min_frames: shortest sequence to accept, counted up to the last frame in which the item's person is present
            (see [`minimum_frames`]).
        short_sequences: what to do with shorter ones: `"drop"` (as Hi-TRS does) or `"stretch"` them by linear
            interpolation, a departure for corpora of very short recordings.
        min_augmented_frames: an augmented sequence shorter than this is used without augmentation. Cropping can leave
            that little only where a person is missing at the start or the end of what remains.
        num_views: how often to augment a recording independently, for contrasts between its views.
    """

    def __init__(
        self,
        feature_extractor: SkeletonFeatureExtractor,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        single_person: bool = False,
        min_frames: int = 1,
        short_sequences: Literal["drop", "stretch"] = "drop",
        min_augmented_frames: int = 1,
        num_views: int = 1,
    ):
        if short_sequences not in ("drop", "stretch"):
            raise ValueError(f"short_sequences must be 'drop' or 'stretch', got {short_sequences!r}")
        self.feature_extractor = feature_extractor
        self.augmentation = augmentation
        self.seed = seed
        self.single_person = single_person
        self.min_frames = min_frames
        self.short_sequences = short_sequences
        self.min_augmented_frames = min_augmented_frames
        self.num_views = num_views

    def slots(self, sample: SkeletonSample, frame_rate: float) -> tuple[list[int], int]:
        """The items of a recording that are long enough, as positions among the persons present (0 if not
        `single_person`), and how many are not."""
        shortest = 1 if self.short_sequences == "stretch" else self.min_frames
        lengths = self._lengths(sample, frame_rate)
        kept = [slot for slot, length in enumerate(lengths) if length >= shortest]
        return kept, len(lengths) - len(kept)

    def item(self, sample: SkeletonSample, frame_rate: float, slot: int, key: SampleKey) -> dict[str, Any]:
        """One item.

        Returns:
            `keypoints` float32 `(M, T, V, C)`, `frame_mask` bool `(M, T)`, `labels` int and `key` SampleKey. With
            several views also `views`, a list of dictionaries with `keypoints` and `frame_mask`, the first of them as above.
        """
        keypoints, frame_mask = self.feature_extractor.normalize(
            sample.keypoints, sample.frame_mask, source_frame_rate=frame_rate, name=sample.name
        )
        if self.single_person:
            person = np.flatnonzero(frame_mask.any(axis=1))[slot]
            keypoints, frame_mask = keypoints[person : person + 1], frame_mask[person : person + 1]
        keypoints, frame_mask = _trim(keypoints, frame_mask)
        if frame_mask.shape[1] < self.min_frames:
            keypoints, frame_mask = resize_frames(keypoints, frame_mask, self.min_frames)
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        views = [self._view(keypoints, frame_mask, rng) for _ in range(self.num_views)]
        item = {**views[0], "labels": sample.label, "key": key}
        return item if self.num_views == 1 else {**item, "views": views}

    def _view(self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """The sequence augmented once more, and turned into the stream."""
        if self.augmentation is not None:
            augmented = _trim(*self.augmentation(keypoints, frame_mask, rng))
            if augmented[1].shape[1] >= self.min_augmented_frames:
                keypoints, frame_mask = augmented
        return {"keypoints": self.feature_extractor.apply_stream(keypoints, frame_mask), "frame_mask": frame_mask}

    def _lengths(self, sample: SkeletonSample, frame_rate: float) -> list[int]:
        """Frames of every item that a sample gives, once the extractor has chosen persons and frames."""
        extractor, mask = self.feature_extractor, sample.frame_mask
        time_changes = (extractor.frame_rate, extractor.num_frames, extractor.max_frames, extractor.center_crop)
        if extractor.person_selection in ("first", "all") and time_changes == (None, None, None, 1):
            if extractor.person_selection == "first":
                mask = mask[: extractor.max_persons]
        else:
            try:
                mask = extractor.normalize(sample.keypoints, mask, frame_rate, name=sample.name)[1]
            except ValueError as error:
                logger.warning("left out: %s", error)
                return [0]
        if not self.single_person:
            mask = mask.max(axis=0, keepdims=True)
        # (persons,) last present frame + 1, 0 for a person who is never there
        lengths = np.where(mask.any(axis=1), mask.shape[1] - np.argmax(mask[:, ::-1], axis=1), 0)
        return lengths[lengths > 0].tolist() or [0]


class SkeletonDataset(Dataset):
    """Sequences of one or several stores, ready for a model.

    Args:
        store: store, or several stores; the recordings of those with another joint layout are brought to that of the first
            one, joint by joint of the same name.
        indices: samples to use, int `(n,)`, or one such array per store; `None` takes all.
        feature_extractor, augmentation: see [`SequencePipeline`].
        options: the other arguments of [`SequencePipeline`].

    Raises:
        ValueError: a store lacks joints of the first one or has another unit, or no sequence is left.
    """

    def __init__(
        self,
        store: SkeletonStore | Sequence[SkeletonStore],
        indices: Any | None,
        feature_extractor: SkeletonFeatureExtractor,
        augmentation: Augmentation | None = None,
        **options: Any,
    ):
        self.pipeline = SequencePipeline(feature_extractor, augmentation, **options)
        single_store = isinstance(store, SkeletonStore)
        self.stores: list[SkeletonStore] = [store] if isinstance(store, SkeletonStore) else list(store)
        if indices is None:
            parts: list[Any] = [None] * len(self.stores)
        else:
            parts = [indices] if single_store else list(indices)
        if not self.stores or len(parts) != len(self.stores):
            raise ValueError(f"{len(self.stores)} stores need one array of indices each, got {len(parts)}")
        # where the joints of the first store stand in each store; None where they stand in the same places
        self._joints = [_matching_joints(one, self.stores[0]) for one in self.stores]
        rows: list[tuple[int, int, int]] = []
        dropped = 0
        for number, (one, part) in enumerate(zip(self.stores, parts, strict=True)):
            for index in range(len(one)) if part is None else np.asarray(part, dtype=np.int64).tolist():
                slots, too_short = self.pipeline.slots(self._sample(number, index), one.frame_rate)
                dropped += too_short
                rows += [(number, index, slot) for slot in slots]
        min_frames = self.pipeline.min_frames
        if not rows:
            raise ValueError(
                f"no sequence of {', '.join(str(one.path) for one in self.stores)} is left: {dropped} are shorter than "
                f"{min_frames} frames; use short_sequences='stretch' or shorter clips"
            )
        if dropped:
            logger.info("left out %d sequences shorter than %d frames, kept %d", dropped, min_frames, len(rows))
        self.num_dropped = dropped
        # (items, 3): number of the store, index in the store, position among the persons present (0 if not single_person)
        self.items = np.array(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.items)

    def with_feature_extractor(self, feature_extractor: SkeletonFeatureExtractor) -> SkeletonDataset:
        """The same items as another extractor prepares them."""
        other = copy.copy(self)
        other.pipeline = copy.copy(self.pipeline)
        other.pipeline.feature_extractor = feature_extractor
        return other

    @property
    def labels(self) -> np.ndarray:
        """Label of every item, int64 `(items,)`, -1 where there is none."""
        return np.array([self.stores[number].labels[index] for number, index, _ in self.items], dtype=np.int64)

    def name(self, index: int) -> str:
        """Name of an item's recording, for messages."""
        number, sample, slot = self.items[index].tolist()
        name = str(self.stores[number].names[sample])
        return f"{name} (person {slot + 1})" if self.pipeline.single_person and slot else name

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """One item, see [`SequencePipeline.item`]."""
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), 0)
        number, index, slot = self.items[key.index].tolist()
        return self.pipeline.item(self._sample(number, index), self.stores[number].frame_rate, slot, key)

    def _sample(self, number: int, index: int) -> SkeletonSample:
        sample, joints = self.stores[number][index], self._joints[number]
        return sample if joints is None else replace(sample, keypoints=sample.keypoints[:, :, joints])


class SkeletonCollator:
    """Makes a batch of dataset items: zero-pads persons and frames to the largest of the batch.

    Returns:
        float32 `keypoints` `(B, M, T, V, C)`, bool `frame_mask` `(B, M, T)` and, if every item has a label, int64
        `labels` `(B,)`.
    """

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        keypoints, frame_mask = pad_items(items)
        batch = {"keypoints": torch.from_numpy(keypoints), "frame_mask": torch.from_numpy(frame_mask)}
        labels = [item.get("labels", -1) for item in items]
        if all(label is not None and label >= 0 for label in labels):
            batch["labels"] = torch.tensor(labels, dtype=torch.int64)
        return batch


def pad_items(items: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Zero-pads the `keypoints` and `frame_mask` of items to `(B, M, T, V, C)` float32 and `(B, M, T)` bool."""
    persons = max(item["frame_mask"].shape[0] for item in items)
    frames = max(item["frame_mask"].shape[1] for item in items)
    keypoints = np.zeros((len(items), persons, frames, *items[0]["keypoints"].shape[2:]), dtype=np.float32)
    frame_mask = np.zeros((len(items), persons, frames), dtype=bool)
    for row, item in enumerate(items):
        m, t = item["frame_mask"].shape
        keypoints[row, :m, :t] = item["keypoints"]
        frame_mask[row, :m, :t] = item["frame_mask"]
    return keypoints, frame_mask


def minimum_frames(clip_stride: int, crop_ratio: float = 0.2) -> int:
    """Shortest sequence that still gives three clips after a crop: the smallest N > 2 stride / (1 - crop_ratio) + 1.

    Args:
        clip_stride: frames between the starts of two clips.
        crop_ratio: largest share of the frames that augmentation removes; Hi-TRS removes up to 0.2, and with a stride
            of 7 needs N >= 19.
    """
    # Rounding first keeps 2*4/0.8 = 10.000000000000002 from asking for one frame more.
    return math.floor(round(2 * clip_stride / (1 - crop_ratio) + 1, 6)) + 1


def _matching_joints(store: SkeletonStore, first: SkeletonStore) -> list[int] | None:
    """Positions in `store` of the joints of `first`, None if they are the same.

    Raises:
        ValueError: joints are missing, or the lengths have another unit.
    """
    if store.units != first.units:
        raise ValueError(
            f"{store.path} is in {store.units or 'an unknown unit'}, {first.path} in {first.units or 'an unknown unit'}; prepare one of "
            "them again with --clean units=convert"
        )
    joints, wanted = store.layout.joints, first.layout.joints
    missing = [joint for joint in wanted if joint not in joints]
    if missing:
        raise ValueError(
            f"{store.path} has layout {store.layout.name!r}, which lacks {', '.join(missing)} of the layout {first.layout.name!r} of "
            f"{first.path}; name the store with fewer joints first, or leave one out"
        )
    return None if joints == wanted else [joints.index(joint) for joint in wanted]


def _trim(keypoints: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops the frames after the last one in which anybody is present; at least one frame is kept."""
    present = np.flatnonzero(frame_mask.any(axis=0))
    length = int(present[-1]) + 1 if len(present) else 1
    return keypoints[:, :length], frame_mask[:, :length]


__all__ = [
    "EpochSampler",
    "SampleKey",
    "SequencePipeline",
    "SkeletonCollator",
    "SkeletonDataset",
    "TrainingBatchSampler",
    "minimum_frames",
    "pad_items",
]
