"""What the configurations of all graph networks have in common."""

from typing import Any

import numpy as np
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..skeletons import get_layout
from .skeleton_configuration import SkeletonConfigMixin


_CHOICES = {"padding": ("zeros", "repeat"), "decoder_residual": ("pose", "velocity")}


@strict
class GraphNetworkConfig(SkeletonConfigMixin, PreTrainedConfig):
    """Fields, checks and derived sizes that ST-GCN, 2s-AGCN and AS-GCN share; each of them describes all of its fields.

    Presets of `from_preset`: `"tiny"` (tests and demonstrations), `"small"` (small corpora), `"base"` (the released architecture),
    `"original"` (`"base"` that treats absent persons and short recordings as the released code does).
    """

    layout: str | dict[str, Any] = "ntu25"
    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    strides: list[int] | tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    temporal_kernel_size: int = 9
    hidden_dropout_prob: float | int = 0.0
    ignore_absent_person: bool = True
    padded_frames: int | None = None
    padding: str = "zeros"
    frame_window: int = 64
    prediction_frames: int = 12
    decoder_hidden_size: int = 1024
    decoder_residual: str = "pose"

    def __post_init__(self, **kwargs):
        self.hidden_sizes = list(self.hidden_sizes)
        self.strides = list(self.strides)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        get_layout(self.layout)  # its error lists the layouts that there are
        for name in ("num_channels", "temporal_kernel_size", "prediction_frames", "decoder_hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.temporal_kernel_size % 2 == 0:
            raise ValueError(f"temporal_kernel_size must be odd, got {self.temporal_kernel_size}.")
        for name in ("hidden_sizes", "strides"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} needs a positive number for every layer, got {values}.")
        if len(self.hidden_sizes) != len(self.strides):
            raise ValueError(
                f"hidden_sizes and strides need one number for every layer, but there are {len(self.hidden_sizes)} and "
                f"{len(self.strides)}."
            )
        if not 0 <= self.hidden_dropout_prob < 1:
            raise ValueError(f"hidden_dropout_prob must lie in [0, 1), got {self.hidden_dropout_prob}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        if self.padded_frames is not None and (self.padded_frames < 1 or self.ignore_absent_person):
            raise ValueError(
                "padded_frames is a positive number, and goes with ignore_absent_person=False only, for otherwise padding has "
                f"no effect; got padded_frames={self.padded_frames}, ignore_absent_person={self.ignore_absent_person}."
            )
        if self.frame_window < 4 or self.frame_window % 4:
            raise ValueError(f"frame_window must be a multiple of 4, got {self.frame_window}.")

    def make_graph(self) -> np.ndarray:
        """The fixed matrices of the graph, float32 `(subsets, joints, joints)`, see [`skeleton_transformers.models.graphs`]."""
        raise NotImplementedError

    @property
    def hidden_size(self) -> int:
        """Width of `pooler_output`."""
        return self.hidden_sizes[-1]

    @property
    def frame_feature_size(self) -> int:
        """Width of the features of single frames."""
        return self.hidden_sizes[-1]


__all__ = ["GraphNetworkConfig"]
