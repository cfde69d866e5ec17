"""Batches for self-supervised pre-training: everything random about a pretext task is drawn here, none of it in a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from .clips import number_of_clips
from .datasets import minimum_frames, pad_items


# First word of the seed, so that corruption shares no random numbers with augmentation or sample order.
_CORRUPTION = 0x636F7272757074

# Of the selected joints, the shares that are replaced by a constant or by another joint; the rest stays as it is.
REPLACED_SHARE = 0.8
COPIED_SHARE = 0.1


class PreTrainingCollator:
    """Makes the batches of a family's pretext tasks, and says which items they are made of.

    Attributes:
        single_person: whether every item holds one person only.
        num_views: how often every sequence is augmented independently, in training and in validation; the views are
            `item["views"]` (see [`SequencePipeline`]).
        min_frames: shortest sequence that the tasks can use.
        min_augmented_frames: augmentation that leaves fewer frames is undone.
    """

    single_person = False
    num_views = 1
    min_frames = 1
    min_augmented_frames = 1

    @classmethod
    def from_config(cls, config: Any, seed: int) -> PreTrainingCollator:
        """The collator that a model with this configuration needs.

        Args:
            config: configuration of the model.
            seed: seed of what is random in the tasks.
        """
        raise NotImplementedError

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The arguments of the model's `forward`, made from items of [`SkeletonDataset`]."""
        raise NotImplementedError


def take_view(items: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """View `number` of every item, in place of the first one.

    Raises:
        ValueError: the items have no views.
    """
    if "views" not in items[0]:
        raise ValueError("the items have no views; make the data set with num_views=2")
    return [item | item["views"][number] for item in items]


class TwoViewCollator(PreTrainingCollator):
    """Puts the two views of every sequence, which augmentation has made, into one batch."""

    num_views = 2

    @classmethod
    def from_config(cls, config: Any, seed: int) -> TwoViewCollator:
        """The same for every model; the views are drawn by the data set."""
        return cls()

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pads each view to the most persons and frames in it.

        Returns:
            `keypoints` float32 `(B, M, T, V, C)` and `frame_mask` bool `(B, M, T)` of the first view;
            `second_keypoints` and `second_frame_mask` of the second, whose length is its own.

        Raises:
            ValueError: the items have no views.
        """
        first, second = (pad_items(take_view(items, number)) for number in range(2))
        names = ("keypoints", "frame_mask", "second_keypoints", "second_frame_mask")
        return {name: torch.from_numpy(array) for name, array in zip(names, (*first, *second), strict=True)}


class HiTRSPreTrainingCollator(PreTrainingCollator):
    """Makes the three pretext tasks of Hi-TRS (Chen et al., ECCV 2022) out of single-person sequences.

    * masked joints: each joint of each present frame is selected with `mask_probability`; of those 80 % are replaced,
      10 % become a copy of another joint in another frame of the same sequence, 10 % stay;
    * clip order: one clip with motion, out of the clips centred on every frame, and the same clip with two frames at
      least two positions apart exchanged;
    * video order: the clips of a sequence, the last one set aside, with two of them exchanged.

    The generator is seeded by `seed` and by the keys of the items, so a batch does not depend on workers or on order.

    Args:
        clip_length: frames in one clip, at least 3.
        clip_stride: frames between two clips.
        clip_dilation: frames between neighbours in a clip.
        mask_probability: share of the joints to select, in [0, 1).
        mask_replacement: what 80 % of the selected joints become: `"ones"` is (1, 1, 1) as in the released code;
            the paper says "randomly generated": `"uniform"` draws each channel between its smallest and largest value
            in the sequence, `"normal"` with its mean and standard deviation in the sequence.
        seed: seed of the tasks.
    """

    single_person = True

    def __init__(
        self,
        clip_length: int = 7,
        clip_stride: int = 7,
        clip_dilation: int = 2,
        mask_probability: float = 0.15,
        mask_replacement: Literal["ones", "uniform", "normal"] = "ones",
        seed: int = 0,
    ):
        if clip_length < 3:
            raise ValueError(
                f"clip_length must be at least 3 to exchange frames two positions apart, got {clip_length}"
            )
        if not 0 <= mask_probability < 1:
            raise ValueError(f"mask_probability must be at least 0 and less than 1, got {mask_probability}")
        if mask_replacement not in ("ones", "uniform", "normal"):
            raise ValueError(f"mask_replacement must be 'ones', 'uniform' or 'normal', got {mask_replacement!r}")
        self.clip_length = clip_length
        self.clip_stride = clip_stride
        self.clip_dilation = clip_dilation
        self.mask_probability = mask_probability
        self.mask_replacement = mask_replacement
        self.seed = seed
        self.min_frames = minimum_frames(clip_stride)
        self.min_augmented_frames = 2 * clip_stride + 1

    @classmethod
    def from_config(cls, config: Any, seed: int) -> HiTRSPreTrainingCollator:
        """Tasks as the configuration of Hi-TRS wants them."""
        names = ("clip_length", "clip_stride", "clip_dilation", "mask_probability", "mask_replacement")
        return cls(**{name: getattr(config, name) for name in names}, seed=seed)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Makes a batch of `B` items of one person each; `T` is the longest sequence, `W` its number of clips.

        Returns:
            `keypoints` float32 `(B, 1, T, V, C)`: corrupted sequences;
            `frame_mask` bool `(B, 1, T)`;
            `target_keypoints` float32 `(B, 1, T, V, C)`: the sequences before corruption;
            `masked_joints` bool `(B, 1, T, V)`: selected joints;
            `order_clip`, `swapped_clip` int64 `(B, clip_length)`: frames of the clip and of its changed copy, -1 for a
            frame outside the sequence;
            `order_clip_mask` bool `(B,)`: False where no clip has motion;
            `clip_permutation` int64 `(B, W)`: order of the clips; the last clip of a sequence and what follows it stay.

        Raises:
            ValueError: an item has several persons, nobody in it, or fewer than three clips.
        """
        padded, present = pad_items(items)
        if padded.shape[1] != 1:
            raise ValueError(
                f"pre-training takes sequences of one person, got {padded.shape[1]}; use single_person=True"
            )
        # A sequence ends with the last frame in which its person is present; what follows is padding.
        num_frames = np.where(present[:, 0].any(axis=1), present.shape[2] - present[:, 0, ::-1].argmax(axis=1), 0)
        num_clips = number_of_clips(np.maximum(num_frames, 1), self.clip_length, self.clip_stride, self.clip_dilation)
        for row in np.flatnonzero((num_frames == 0) | (num_clips < 3)).tolist():
            raise ValueError(
                f"item {items[row].get('key', row)} has {num_frames[row]} frames and {num_clips[row]} clips; the order of "
                "clips needs at least 3: raise min_frames, or use short_sequences='stretch'"
            )
        keypoints = padded[:, 0, : num_frames.max()]  # (B, 1, T, V, C) -> (B, T, V, C)
        frame_mask = present[:, 0, : num_frames.max()]  # (B, 1, T) -> (B, T)
        rng = batch_generator(self.seed, items)
        corrupted, masked_joints = self.corrupt(keypoints, frame_mask, rng)
        order_clip, swapped_clip, order_clip_mask = self.order_clips(keypoints, frame_mask, num_frames, rng)
        return {
            "keypoints": torch.from_numpy(corrupted[:, None]),
            "frame_mask": torch.from_numpy(frame_mask[:, None].copy()),
            "target_keypoints": torch.from_numpy(keypoints[:, None].copy()),
            "masked_joints": torch.from_numpy(masked_joints[:, None]),
            "order_clip": torch.from_numpy(order_clip),
            "swapped_clip": torch.from_numpy(swapped_clip),
            "order_clip_mask": torch.from_numpy(order_clip_mask),
            "clip_permutation": torch.from_numpy(self.permute_clips(num_clips, rng)),
        }

    def corrupt(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks joints (Sec. 3.3 of the paper; shares of the released code).

        Args:
            keypoints: float32 `(B, T, V, C)`, left unchanged.
            frame_mask: bool `(B, T)`; absent frames are neither changed nor selected nor copied from.
            rng: source of randomness.

        Returns:
            the corrupted copy and the bool `(B, T, V)` of selected joints.
        """
        batch, frames, joints, channels = keypoints.shape
        selected = (rng.random((batch, frames, joints), dtype=np.float32) < self.mask_probability) & frame_mask[
            ..., None
        ]
        row, frame, joint = np.nonzero(selected)
        kind = rng.random(len(row))
        corrupted = keypoints.copy()

        replaced = kind < REPLACED_SHARE
        target = (row[replaced], frame[replaced], joint[replaced])
        corrupted[target] = self._replacement(keypoints, frame_mask, target[0], rng)

        # Where there is no other frame or no other joint to copy from, a joint stays as it is.
        present = frame_mask.sum(axis=1)
        copied = ~replaced & (kind < REPLACED_SHARE + COPIED_SHARE) & (present[row] > 1) & (joints > 1)
        row, frame, joint = row[copied], frame[copied], joint[copied]
        # Draw among the *other* present frames and the *other* joints: skip over the own rank or index.
        rank = frame_mask.cumsum(axis=1)[row, frame] - 1
        other = rng.integers(0, np.maximum(present[row] - 1, 1))
        other += other >= rank
        present_frames = np.argsort(~frame_mask, axis=1, kind="stable")  # (B, T), present frames first, in order
        other_joint = rng.integers(0, max(joints - 1, 1), size=len(row))
        other_joint += other_joint >= joint
        corrupted[row, frame, joint] = keypoints[row, present_frames[row, other], other_joint]
        return corrupted, selected

    def order_clips(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, num_frames: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws one clip with motion for every sequence, and exchanges two of its frames.

        Args:
            keypoints: float32 `(B, T, V, C)`, the uncorrupted stream.
            frame_mask: bool `(B, T)`.
            num_frames: int `(B,)`, frames of every sequence.
            rng: source of randomness.

        Returns:
            `order_clip` and `swapped_clip` int64 `(B, clip_length)` and `order_clip_mask` bool `(B,)`.
        """
        frames = keypoints.shape[1]
        motion = np.zeros(frame_mask.shape, dtype=np.float32)
        motion[:, 1:] = np.abs(np.diff(keypoints, axis=1)).sum(axis=(2, 3))
        # Somebody who appears or vanishes has not moved.
        motion[:, 1:] *= frame_mask[:, 1:] & frame_mask[:, :-1]
        padding = self.clip_length // 2 * self.clip_dilation
        offsets = np.arange(self.clip_length) * self.clip_dilation
        # (T, clip_length): frames of the clip centred on every frame, in padded coordinates
        windows = np.arange(frames)[:, None] + offsets
        padded_motion = np.pad(motion, ((0, 0), (padding, padding)))
        # The mean magnitude of a clip is positive exactly when the sum is.
        candidates = (padded_motion[:, windows] > 0).any(axis=2) & (np.arange(frames) < num_frames[:, None])
        count = candidates.sum(axis=1)
        drawn = rng.integers(0, np.maximum(count, 1))
        # Position of the candidate of that rank; 0 where there is none.
        center = (candidates.cumsum(axis=1) == drawn[:, None] + 1).argmax(axis=1)
        clip = center[:, None] + offsets - padding  # (B, clip_length)
        clip = np.where((clip >= 0) & (clip < num_frames[:, None]), clip, -1)
        first, second = self._distant_pair(np.full(len(clip), self.clip_length), rng)
        return clip, _exchange(clip, first, second), count > 0

    def permute_clips(self, num_clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Exchanges two clips of every sequence, never the last one.

        Of two clips both change place, of three the outer ones, of more any two that are not neighbours.

        Args:
            num_clips: int `(B,)`, clips of every sequence, at least 3.
            rng: source of randomness.

        Returns:
            int64 `(B, num_clips.max())`.
        """
        identity = np.tile(np.arange(num_clips.max()), (len(num_clips), 1))
        first, second = self._distant_pair(np.maximum(num_clips - 1, 3), rng)
        two = num_clips - 1 == 2
        return _exchange(identity, np.where(two, 0, first), np.where(two, 1, second))

    def _distant_pair(self, length: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Uniform pairs `i < j` of positions below `length >= 3` with `j - i >= 2`."""
        # Pairs i < j - 1 below n are as many as pairs i < j below n - 1: draw two distinct numbers and part them.
        first = rng.integers(0, length - 1)
        second = rng.integers(0, length - 2)
        second += second >= first
        return np.minimum(first, second), np.maximum(first, second) + 1

    def _replacement(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, row: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """What replaces the selected joints of the sequences `row` `(n,)`: float32 `(n, C)`."""
        shape = (len(row), keypoints.shape[-1])
        if self.mask_replacement == "ones":
            return np.ones(shape, dtype=np.float32)
        there = frame_mask[..., None, None]
        if self.mask_replacement == "uniform":
            low = np.where(there, keypoints, np.inf).min(axis=(1, 2))[row]
            high = np.where(there, keypoints, -np.inf).max(axis=(1, 2))[row]
            return (low + (high - low) * rng.random(shape)).astype(np.float32)
        count = (frame_mask.sum(axis=1) * keypoints.shape[2])[:, None]
        mean = (keypoints * there).sum(axis=(1, 2)) / count
        deviation = np.sqrt((((keypoints - mean[:, None, None]) * there) ** 2).sum(axis=(1, 2)) / count)
        return (mean[row] + deviation[row] * rng.standard_normal(shape)).astype(np.float32)


def batch_generator(seed: int, items: Sequence[dict[str, Any]]) -> np.random.Generator:
    """Randomness of a batch: that of the collator's seed and of the index and epoch of every item."""
    entropy = [_CORRUPTION, seed]
    for position, item in enumerate(items):
        entropy += [int(word) for word in item.get("key", (position, 0))]
    return np.random.default_rng(entropy)


def _exchange(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Copy of `values` `(B, n)` with the entries at positions `first` and `second` `(B,)` exchanged in every row."""
    rows = np.arange(len(values))
    exchanged = values.copy()
    exchanged[rows, first], exchanged[rows, second] = values[rows, second], values[rows, first]
    return exchanged


__all__ = [
    "COPIED_SHARE",
    "REPLACED_SHARE",
    "HiTRSPreTrainingCollator",
    "PreTrainingCollator",
    "TwoViewCollator",
    "batch_generator",
    "take_view",
]
