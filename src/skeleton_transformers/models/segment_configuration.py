"""What the configurations of all segment-joint transformers have in common."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..skeletons import get_layout
from .skeleton_configuration import SkeletonConfigMixin


# Presets of both families for tests, demonstrations and small corpora.
SMALL_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_frames": 32,
        "hidden_size": 32,
        "num_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "classifier_hidden_size": 64,
        "num_decoder_layers": 1,
        "decoder_hidden_size": 64,
    },
    "small": {
        "num_frames": 40,
        "hidden_size": 64,
        "num_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "classifier_hidden_size": 256,
        "num_decoder_layers": 2,
        "decoder_hidden_size": 256,
    },
}


@strict
class SegmentTransformerConfig(SkeletonConfigMixin, PreTrainedConfig):
    """Fields, checks and derived sizes that MAMP and the student-teacher model share; each of them describes all of its fields."""

    # Fields that hold one of a few words.
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "attention": ("joint", "spatial", "temporal"),
        "classifier": ("mlp", "linear"),
        "decoder_residual": ("pose", "velocity"),
    }
    # Fields that must be at least 1.
    counts: ClassVar[tuple[str, ...]] = (
        "num_channels",
        "num_frames",
        "segment_length",
        "hidden_size",
        "num_layers",
        "num_attention_heads",
        "intermediate_size",
        "classifier_hidden_size",
        "num_decoder_layers",
        "prediction_frames",
        "decoder_hidden_size",
    )
    attribute_map = {"num_hidden_layers": "num_layers"}

    layout: str | dict[str, Any] = "ntu25"
    num_channels: int = 3
    num_frames: int = 120
    resize: bool = True
    segment_length: int = 4
    attention: str = "joint"
    hidden_size: int = 256
    num_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    layer_norm_eps: float | int = 1e-5
    drop_path_rate: float | int = 0.0
    ignore_absent_person: bool = True
    classifier: str = "mlp"
    classifier_hidden_size: int = 2048
    classifier_dropout: float | int = 0.3
    mask_ratio: float | None = None
    motion_temperature: float | int = 0.0
    norm_target: bool = False
    num_decoder_layers: int = 3
    prediction_frames: int = 12
    decoder_hidden_size: int = 1024
    decoder_residual: str = "pose"

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        get_layout(self.layout)  # its error lists the layouts that there are
        for name in self.counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, choices in self.choices.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        if self.num_frames % self.segment_length:
            raise ValueError(
                f"num_frames={self.num_frames} is not divisible into segments of segment_length={self.segment_length} frames."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not divisible by num_attention_heads={self.num_attention_heads}."
            )
        for name in ("drop_path_rate", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if self.layer_norm_eps <= 0:
            raise ValueError(f"layer_norm_eps must be positive, got {self.layer_norm_eps}.")
        if self.mask_ratio is not None and not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, got {self.mask_ratio}.")
        if self.motion_temperature < 0:
            raise ValueError(
                f"motion_temperature must not be negative, got {self.motion_temperature}; 0 masks uniformly."
            )

    @property
    def num_segments(self) -> int:
        """Segments of a sequence."""
        return self.num_frames // self.segment_length

    @property
    def max_frames(self) -> int | None:
        """Frames of the longest sequence that the model takes; None where it resizes sequences."""
        return None if self.resize else self.num_frames

    @property
    def segment_size(self) -> int:
        """Values of a token: the coordinates of one joint in the frames of a segment, frame by frame."""
        return self.segment_length * self.num_channels

    @property
    def masked_share(self) -> float:
        """Share of the tokens of every attention row that pre-training masks: `mask_ratio`, or what suits the attention."""
        if self.mask_ratio is not None:
            return self.mask_ratio
        return 0.9 if self.attention == "joint" else 0.6

    @property
    def frame_feature_size(self) -> int:
        """Width of the features of single frames."""
        return self.hidden_size

    @property
    def frame_window(self) -> int:
        """Frames of a long take that the encoder sees at once."""
        return self.num_frames


__all__ = ["SMALL_PRESETS", "SegmentTransformerConfig"]
