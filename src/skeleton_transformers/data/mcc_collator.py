"""Clips of one sequence at several speeds, and clips whose motion is broken: the samples of MCC (Su et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .datasets import pad_items
from .geometry import rotation_from_angles
from .pretraining_collators import PreTrainingCollator, batch_generator, take_view


NEGATIVES = ("shuffled", "jittered", "rotated")


class MCCPreTrainingCollator(PreTrainingCollator):
    """Draws three clips of every sequence (paper, Sec. 3.2).

    A clip at speed r has the frames s, s + r, s + 2r, ... from a random start s; behind the end the sequence begins again.
    Frames in which nobody is there are left out first, so every clip shows somebody. What is drawn is

    * the basic clip, at a random speed;
    * the positive clip, at another speed;
    * the negative clip, at the speed of the basic one, with its motion broken.

    Beside the basic and the positive clip stands what interpolation is to give: the same stretch of time, from the same start, in
    `interpolation_factor` times as many frames. Where the speed is no multiple of that factor (speed 1), it is the clip itself,
    repeated.

    The clips are taken from the stream that the feature extractor makes: clips of the motion stream hold changes from one frame
    of the sequence to the next, at any speed.

    Args:
        clip_frames: frames of a clip, at least 2.
        speeds: frames from one frame of a clip to the next. Sequences need more frames than the greatest of them, or a clip could
            stand still.
        negatives: how motion is broken: `"shuffled"` frames in another order, `"jittered"` noise on every joint of every
            frame, `"rotated"` the coordinate frame turned at random.
        changes_speed: whether the positive clip has another speed than the basic one.
        shared_start: whether the three clips begin in the same frame; otherwise each begins anywhere.
        separate_augmentation: whether the positive clip is taken from the sequence augmented a second time, instead of as it is
            in the other clips.
        interpolation_factor: how many frames are to be made of one.
        jitter: standard deviation of the noise, in the unit of the keypoints.
        rotation_range: largest angle about each axis (in the plane with two coordinates), in radians.
        num_coordinates: how many of the channels noise and rotation touch, 2 or 3; the others (a confidence) they leave alone.
        seed: seed of what is drawn; an item's index and epoch add to it, so a batch does not depend on workers.
    """

    def __init__(
        self,
        clip_frames: int = 32,
        speeds: Sequence[int] = (1, 2, 4, 8),
        negatives: str = "shuffled",
        changes_speed: bool = True,
        shared_start: bool = False,
        separate_augmentation: bool = False,
        interpolation_factor: int = 2,
        jitter: float = 0.05,
        rotation_range: float = np.pi,
        num_coordinates: int = 3,
        seed: int = 0,
    ):
        if clip_frames < 2:
            raise ValueError(f"clip_frames must be at least 2, got {clip_frames}")
        if not speeds or min(speeds) < 1 or len(set(speeds)) != len(speeds):
            raise ValueError(f"speeds must be different whole numbers of at least 1, got {list(speeds)}")
        if changes_speed and len(speeds) < 2:
            raise ValueError(f"a positive clip of another speed needs at least two speeds, got {list(speeds)}")
        if negatives not in NEGATIVES:
            raise ValueError(f"negatives must be one of {', '.join(NEGATIVES)}; got {negatives!r}")
        if interpolation_factor < 1:
            raise ValueError(f"interpolation_factor must be at least 1, got {interpolation_factor}")
        if num_coordinates not in (2, 3):
            raise ValueError(f"num_coordinates must be 2 or 3, got {num_coordinates}")
        self.clip_frames = clip_frames
        self.speeds = np.array(speeds)
        self.negatives = negatives
        self.changes_speed = changes_speed
        self.shared_start = shared_start
        self.separate_augmentation = separate_augmentation
        self.num_views = 2 if separate_augmentation else 1
        self.interpolation_factor = interpolation_factor
        self.jitter = jitter
        self.rotation_range = rotation_range
        self.num_coordinates = num_coordinates
        self.seed = seed
        self.min_frames = self.min_augmented_frames = max(speeds) + 1

    @classmethod
    def from_config(cls, config: Any, seed: int) -> MCCPreTrainingCollator:
        """Clips as the configuration of MCC wants them."""
        clips = (
            "clip_frames",
            "speeds",
            "changes_speed",
            "shared_start",
            "separate_augmentation",
            "interpolation_factor",
        )
        names = (*clips, "negatives", "jitter", "rotation_range", "num_coordinates")
        return cls(**{name: getattr(config, name) for name in names}, seed=seed)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Makes a batch of `B` items; `T` is `clip_frames`, `L` is `interpolation_factor`.

        Returns:
            `keypoints` float32 `(B, M, T, V, C)` and `frame_mask` bool `(B, M, T)`: the basic clips;
            `positive_keypoints`, `positive_mask`, `negative_keypoints`, `negative_mask`: the others;
            `target_keypoints` `(B, M, L * T, V, C)` and `target_mask` `(B, M, L * T)`: what the basic clips are to become;
            `positive_target_keypoints`, `positive_target_mask`: what the positive ones are;
            `sequences` int64 `(B,)`: number of each sequence in the data set.

        Raises:
            ValueError: nobody is there in an item, it has too few frames with somebody, or no second view where it needs one.
        """
        first = second = self.sequences(items)
        if self.separate_augmentation:
            second = self.sequences(take_view(items, 1))
        rng = batch_generator(self.seed, items)
        speeds, positive_speeds = self.draw_speeds(len(items), rng)
        starts = rng.integers(0, np.stack([first.lengths, second.lengths, first.lengths]))
        if self.shared_start:
            starts[1:] = starts[0]

        clip = np.arange(self.clip_frames)
        negative_order = clip[None].repeat(len(items), axis=0)
        if self.negatives == "shuffled":
            negative_order = self.shuffle(len(items), rng)
        negative, negative_mask = first.take(starts[2][:, None] + speeds[:, None] * negative_order)
        if self.negatives == "jittered":
            negative = self.add_noise(negative, negative_mask, rng)
        elif self.negatives == "rotated":
            negative = self.rotate(negative, rng)
        arrays = {
            **_named("keypoints", "frame_mask", first.take(starts[0][:, None] + speeds[:, None] * clip)),
            **_named(
                "positive_keypoints",
                "positive_mask",
                second.take(starts[1][:, None] + positive_speeds[:, None] * clip),
            ),
            "negative_keypoints": negative,
            "negative_mask": negative_mask,
            **_named("target_keypoints", "target_mask", first.take(self.target_frames(starts[0], speeds))),
            **_named(
                "positive_target_keypoints",
                "positive_target_mask",
                second.take(self.target_frames(starts[1], positive_speeds)),
            ),
            "sequences": np.array([item.get("key", (row,))[0] for row, item in enumerate(items)], dtype=np.int64),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def sequences(self, items: Sequence[dict[str, Any]]) -> _Sequences:
        """The items as one array, if all of them are long enough."""
        sequences = _Sequences(items)
        for row in np.flatnonzero(sequences.lengths < self.min_frames).tolist():
            raise ValueError(
                f"item {items[row].get('key', row)} has {sequences.lengths[row]} frames with somebody in them; clips at the speeds "
                f"{self.speeds.tolist()} need at least {self.min_frames}: raise min_frames, use short_sequences='stretch', or "
                "lower speeds"
            )
        return sequences

    def draw_speeds(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Speeds of the basic and of the positive clips, int `(count,)` each, all of them (and all others) equally likely."""
        first = rng.integers(0, len(self.speeds), size=count)
        if not self.changes_speed:
            return self.speeds[first], self.speeds[first]
        second = rng.integers(0, len(self.speeds) - 1, size=count)
        return self.speeds[first], self.speeds[second + (second >= first)]

    def shuffle(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random orders of the frames of a clip, int `(count, clip_frames)`, never the right one."""
        orders = rng.permuted(np.tile(np.arange(self.clip_frames), (count, 1)), axis=1)
        unchanged = (orders == np.arange(self.clip_frames)).all(axis=1)
        orders[unchanged] = np.roll(orders[unchanged], 1, axis=1)
        return orders

    def add_noise(self, clips: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Clips `(B, M, T, V, C)` with normal noise on the coordinates of whoever is there."""
        noisy = clips.copy()
        coordinates = noisy[..., : self.num_coordinates]
        noise = rng.standard_normal(coordinates.shape, dtype=np.float32)
        coordinates += self.jitter * noise * mask[..., None, None]
        return noisy

    def rotate(self, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Clips `(B, M, T, V, C)`, each seen in another coordinate frame, the same for all persons and frames of it."""
        angles = rng.uniform(-self.rotation_range, self.rotation_range, size=(len(clips), 3))
        size = min(self.num_coordinates, clips.shape[-1])
        if size == 2:
            angles[:, :2] = 0
        matrices = np.stack([rotation_from_angles(three) for three in angles])[:, :size, :size].astype(np.float32)
        turned = np.einsum("bmtvc,bdc->bmtvd", clips[..., :size], matrices)
        return np.concatenate([turned, clips[..., size:]], axis=-1)

    def target_frames(self, starts: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """Frames to be interpolated, int `(B, interpolation_factor * clip_frames)`; starts and speeds `(B,)` of the clips."""
        factor = self.interpolation_factor
        steps = np.arange(factor * self.clip_frames)
        finer = steps * (speeds // factor)[:, None]
        repeated = steps % self.clip_frames * speeds[:, None]
        return starts[:, None] + np.where((speeds % factor == 0)[:, None], finer, repeated)


class _Sequences:
    """Sequences of a batch, whose frames are counted over those with somebody in them.

    Args:
        items: `keypoints` and `frame_mask` of each.
    """

    def __init__(self, items: Sequence[dict[str, Any]]):
        self.keypoints, self.present = pad_items(items)
        somebody = self.present.any(axis=1)  # (B, frames)
        self.lengths = somebody.sum(axis=1)
        # Frames with somebody, in their order, then the others.
        self.frames = np.argsort(~somebody, axis=1, kind="stable")

    def take(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames `(B, n)`, behind the end from the beginning again: `(B, M, n, V, C)` and who is there, `(B, M, n)`."""
        index = np.take_along_axis(self.frames, order % self.lengths[:, None], axis=1)[:, None]
        shown = np.take_along_axis(self.present, index, axis=2)
        return np.take_along_axis(self.keypoints, index[..., None, None], axis=2), shown


def _named(keypoints: str, mask: str, clip: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    return {keypoints: clip[0], mask: clip[1]}


__all__ = ["NEGATIVES", "MCCPreTrainingCollator"]
