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
# The same for the order of batches by length.
_BATCHES = 0x62617463686573

# Sequences that go into one batch by length differ by up to this factor.
_LENGTH_STEP = 9 / 8

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
        num_steps: optimiser step at which the run ends; `None` gives the batches of the epoch that `sampler` is set to.
        accumulation: micro-batches in one optimiser step.
        rank, world_size: this process and the number of processes.
        first_step: optimiser step at which to begin.

    Attributes:
        steps_per_epoch: optimiser steps in one epoch.
        mean_batch_size: items in one micro-batch of one process, in the mean over an epoch. The mean loss of `n` items times
            `n / mean_batch_size` lets every item of an epoch count the same, whatever batch it is in.

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
        self.num_steps = num_steps
        self.mean_batch_size: float = batch_size
        self.steps_per_epoch = len(sampler) // (batch_size * accumulation * world_size)
        self._epoch: tuple[int, Sequence[np.ndarray]] | None = None
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"{len(sampler)} sequences are fewer than one optimiser step needs: batch size {batch_size} x "
                f"{accumulation} accumulated x {world_size} processes; lower the batch size or the accumulation"
            )

    def batch(self, step: int, micro_batch: int) -> list[SampleKey]:
        """Keys of one micro-batch of one optimiser step on this rank."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.epoch_batches(epoch))
        indices = self._epoch[1][step_in_epoch * self.accumulation + micro_batch][self.rank]
        return [SampleKey(int(index), epoch) for index in indices]

    def epoch_batches(self, epoch: int) -> Sequence[np.ndarray]:
        """Indices in the micro-batches of one epoch, int64 `(world_size, items)` each, the same on every rank."""
        shape = (self.steps_per_epoch * self.accumulation, self.world_size, self.batch_size)
        return list(self.sampler.order(epoch)[: math.prod(shape)].reshape(shape))

    def _steps(self) -> range:
        if self.num_steps is not None:
            return range(self.first_step, self.num_steps)
        first = self.sampler.epoch * self.steps_per_epoch
        return range(first + self.first_step, first + self.steps_per_epoch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in self._steps():
            for micro_batch in range(self.accumulation):
                yield self.batch(step, micro_batch)

    def __len__(self) -> int:
        return len(self._steps()) * self.accumulation


class TokenBatchSampler(TrainingBatchSampler):
    """Batches of sequences of similar length, as many as a budget of frames holds.

    The sequences of an epoch are sorted by length in steps of an eighth, shuffled among their like, and cut from the longest on;
    then the batches are shuffled. All processes have the same number of sequences of similar length in a micro-batch, hence
    the same work, and as many negatives. How many sequences the batches of an epoch have follows from the lengths alone, so
    epochs have equally many steps. Every sequence is drawn once an epoch; of several processes' up to `world_size - 1`, other
    ones each time, are left out. Where steps are made of several micro-batches, some may be halved to make them come out even.

    Among sequences of equally many persons, a batch holds at most `tokens_per_batch` frames even when it is padded to its longest one.

    Args:
        sampler: order of the items in every epoch.
        dataset: has the `frame_counts` of its items, and a `name` for each.
        tokens_per_batch: frames in one micro-batch of one process, those of all persons together.
        num_steps, accumulation, rank, world_size, first_step: see [`TrainingBatchSampler`].

    Raises:
        ValueError: a sequence is longer than the budget, or there are too few sequences for one optimiser step.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        dataset: SkeletonDataset,
        tokens_per_batch: int,
        num_steps: int | None = None,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ):
        # A batch has one sequence on each process at least.
        super().__init__(sampler, 1, num_steps, accumulation, rank, world_size, first_step)
        frames = dataset.frame_counts
        longest = int(frames.argmax())
        if frames[longest] > tokens_per_batch:
            raise ValueError(
                f"tokens_per_batch={tokens_per_batch} is less than the {frames[longest]} frames of {dataset.name(longest)}, the longest "
                f"sequence; set it to {frames[longest]} or more, or crop sequences with features.max_frames"
            )
        # (items,) 0 for the longest ones, 1 for those an eighth shorter, ...
        self._bucket = np.floor(np.log(frames[longest] / frames) / np.log(_LENGTH_STEP)).astype(np.int64)
        largest = np.zeros(self._bucket.max() + 1, dtype=np.int64)
        np.maximum.at(largest, self._bucket, frames)
        # Every item counts as much as the longest of its like. The few that a process is short of are missing somewhere in the
        # order of an epoch, which moves shorter ones into their places.
        lengths = largest[np.sort(self._bucket)][: len(frames) // world_size * world_size : world_size]
        sizes: list[int] = []  # items of one process in each micro-batch
        done = 0
        while done < len(lengths):
            sizes.append(min(tokens_per_batch // int(lengths[done]), len(lengths) - done))
            done += sizes[-1]
        while len(sizes) % accumulation:
            most = int(np.argmax(sizes))
            if sizes[most] == 1:
                raise ValueError(
                    f"{len(sizes)} batches of one sequence do not go into steps of {accumulation} batches; raise "
                    "tokens_per_batch, or accumulate fewer"
                )
            sizes[most : most + 1] = [sizes[most] // 2, sizes[most] - sizes[most] // 2]
        self._sizes = np.array(sizes)
        self.steps_per_epoch = len(sizes) // accumulation
        self.mean_batch_size = len(lengths) / len(sizes)

    def epoch_batches(self, epoch: int) -> Sequence[np.ndarray]:
        """See [`TrainingBatchSampler.epoch_batches`]."""
        ends = self._sizes.cumsum() * self.world_size
        order = self.sampler.order(epoch)[: ends[-1]]
        order = order[np.argsort(self._bucket[order], kind="stable")]
        # Neighbours go to different processes: (items * world_size,) -> (world_size, items)
        batches = [batch.reshape(-1, self.world_size).T for batch in np.split(order, ends[:-1])]
        shuffled = np.random.default_rng([_BATCHES, self.sampler.seed, epoch]).permutation(len(batches))
        return [batches[number] for number in shuffled]


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

    def slots(self, sample: SkeletonSample, frame_rate: float) -> tuple[dict[int, int], int]:
        """The items of a recording that are long enough, and how many are not.

        Returns:
            frames of every item by its position among the persons present (0 if not `single_person`), those of all its
            persons together, before augmentation; and the number of items that are too short.
        """
        shortest = 1 if self.short_sequences == "stretch" else self.min_frames
        mask = self._mask(sample, frame_rate)
        items = mask[mask.any(axis=1), None] if self.single_person else mask[None]  # (items, persons, frames)
        kept = {}
        for slot, item in enumerate(items):
            length = int(np.flatnonzero(item.any(axis=0))[-1]) + 1 if item.any() else 0
            if length >= shortest:
                kept[slot] = math.ceil(int(item.sum()) * max(1, self.min_frames / length))
        return kept, max(1, len(items)) - len(kept)

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

    def _mask(self, sample: SkeletonSample, frame_rate: float) -> np.ndarray:
        """Who is where, bool `(persons, frames)`, once the extractor has chosen persons and frames."""
        extractor, mask = self.feature_extractor, sample.frame_mask
        time_changes = (extractor.frame_rate, extractor.num_frames, extractor.max_frames, extractor.center_crop)
        if extractor.person_selection in ("first", "all") and time_changes == (None, None, None, 1):
            return mask[: extractor.max_persons] if extractor.person_selection == "first" else mask
        try:
            return extractor.normalize(sample.keypoints, mask, frame_rate, name=sample.name)[1]
        except ValueError as error:
            logger.warning("left out: %s", error)
            return np.zeros_like(mask)


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
        frame_counts: list[int] = []
        dropped = 0
        for number, (one, part) in enumerate(zip(self.stores, parts, strict=True)):
            for index in range(len(one)) if part is None else np.asarray(part, dtype=np.int64).tolist():
                slots, too_short = self.pipeline.slots(self._sample(number, index), one.frame_rate)
                dropped += too_short
                rows += [(number, index, slot) for slot in slots]
                frame_counts += slots.values()
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
        # (items,): frames of all persons of an item together, before augmentation
        self.frame_counts = np.array(frame_counts, dtype=np.int64)

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
    "TokenBatchSampler",
    "TrainingBatchSampler",
    "minimum_frames",
    "pad_items",
]
