"""Batches for the masked pre-training of segment-joint transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .datasets import pad_items
from .pretraining_collators import PreTrainingCollator


# First word of the seed, so that masks share no random numbers with augmentation, sample order or other tasks.
_MASKS = 0x6D61736B73


class TokenNoiseCollator(PreTrainingCollator):
    """Draws one number for every token, from which a model decides what it masks (see [`choose_visible`]).

    The generator is seeded by `seed` and by the keys of the items, so a batch does not depend on workers or on order.

    Args:
        num_segments: segments that the model makes of a sequence.
        num_joints: joints of a person.
        seed: seed of the numbers.
    """

    def __init__(self, num_segments: int, num_joints: int, seed: int = 0):
        self.num_segments = num_segments
        self.num_joints = num_joints
        self.seed = seed

    @classmethod
    def from_config(cls, config: Any, seed: int) -> TokenNoiseCollator:
        """Numbers for the tokens of a model with this configuration."""
        return cls(config.num_segments, config.num_joints, seed)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pads a batch to the most persons and frames in it.

        Returns:
            `keypoints` float32 `(B, M, T, V, C)`, `frame_mask` bool `(B, M, T)`, and `noise` float32 `(B, M, S, V)`, uniform in [0, 1).
        """
        keypoints, frame_mask = pad_items(items)
        entropy = [_MASKS, self.seed]
        for position, item in enumerate(items):
            entropy += [int(word) for word in item.get("key", (position, 0))]
        shape = (*keypoints.shape[:2], self.num_segments, self.num_joints)
        noise = np.random.default_rng(entropy).random(shape, dtype=np.float32)
        arrays = {"keypoints": keypoints, "frame_mask": frame_mask, "noise": noise}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


__all__ = ["TokenNoiseCollator"]
