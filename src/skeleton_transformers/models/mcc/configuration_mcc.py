"""Configuration of MCC."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ...data.mcc_collator import MCCPreTrainingCollator
from ...skeletons import SkeletonLayout
from ..families import FAMILIES, get_family
from ..graph_configuration import GraphNetworkConfig


# What MCC itself takes beside the preset of the same name of the backbone.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"queue_size": 64, "decoder_sizes": [32, 16, 16, 16]},
    "small": {"queue_size": 1024, "decoder_sizes": [64, 64, 32, 32]},
}

_CHOICES = {
    "triplet_form": ("corrected", "printed"),
    "contrast_similarity": ("cosine", "negative_distance", "printed"),
}

# Fields of the configuration that are really the backbone's, and can be given for it.
_OF_BACKBONE = ("layout", "num_channels")


@strict
class MCCConfig(PreTrainedConfig):
    r"""Configuration of [`MCCForPreTraining`].

    MCC is described in Su et al., "Self-supervised 3D Skeleton Action Representation Learning with Motion Consistency and
    Continuity" (ICCV 2021). There is no code by its authors. Where the paper leaves something open, or prints a formula that does the
    reverse of what its text says, the entry below says what is taken.

    Args:
        backbone (`str`, defaults to `"stgcn"`): Encoder to train: the model type of any family with an encoder.
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Its configuration, by default that of the family. `layout` and `num_channels` may also be given to this class, which
            hands them on.
        clip_frames (`int`, defaults to 32): Frames of a clip.
        speeds (`list[int]`, defaults to `[1, 2, 4, 8]`): Frames of a sequence from one frame of a clip to the next.
        negatives (`str`, defaults to `"shuffled"`):
            How the motion of negative clips is broken: `"shuffled"` frames; `"jittered"` joints or a `"rotated"` coordinate frame (paper,
            Table 2).
        changes_speed (`bool`, defaults to `True`):
            Whether the positive clip has another speed than the basic one (paper, Sec. 3.2), or the same (paper, Table 2).
        shared_start (`bool`, defaults to `False`):
            Whether the clips of a sequence begin in the same frame. The paper draws the start of each.
        separate_augmentation (`bool`, defaults to `False`):
            Whether the positive clip is taken from the sequence augmented a second time, so that what augmentation changes, such as the
            view, does not give away which sequence a clip is of. The paper augments nothing.
        jitter (`float`, defaults to 0.05): Standard deviation of the noise of `"jittered"`, in the unit of the keypoints. Not in the paper.
        rotation_range (`float`, defaults to pi): Largest angle about each axis of `"rotated"`, in radians. Not in the paper.
        num_coordinates (`int`, defaults to 3): Channels that noise and rotation touch; 2 for x, y and a confidence.
        projection_size (`int`, *optional*):
            Width of a linear projection of the features that are compared. The paper does not speak of one: by default none.
        triplet_loss_weight (`float`, defaults to 1.0): Weight of the triplet loss (paper, Eq. 2). A weight of 0 skips it.
        margin (`float`, defaults to 0.15): Margin of the triplet loss.
        triplet_form (`str`, defaults to `"corrected"`):
            Sign in front of the distances. Paper, Eq. 2: `max(0, margin - (positive - negative))`, which pushes the positive clip away and
            pulls the negative one near (`"printed"`). Its text: the reverse (`"corrected"`).
        contrast_loss_weight (`float`, defaults to 1.0): Weight of the contrast with other sequences (paper, Eq. 3). A weight of 0 skips it.
        temperature (`float`, defaults to 0.5): Temperature of the contrast.
        contrast_similarity (`str`, defaults to `"cosine"`):
            What the contrast calls similar. Paper, Eq. 3: the distance itself, which pushes the positive clip away (`"printed"`). Corrected:
            the `"cosine"`, or the `"negative_distance"`.
        queue_size (`int`, defaults to 6536):
            Features of other sequences that are kept as negatives. The paper's number; 65536, as in MoCo, may have been meant.
        momentum (`float`, *optional*):
            Momentum of a key encoder, which makes the features that are kept, and the positive ones of the contrast (MoCo: 0.999). By
            default there is none, and the encoder itself makes them.
        interpolation_loss_weight (`float`, defaults to 1.0): Weight of the interpolation (paper, Eq. 4). A weight of 0 skips it.
        interpolation_factor (`int`, defaults to 2):
            How many frames the decoder makes of one; 1 is plain reconstruction (paper, Table 3).
        interpolates_basic (`bool`, defaults to `True`): Whether basic clips are interpolated, too, or positive ones only.
        decoder_sizes (`list[int]`, defaults to `[256, 128, 128, 64]`):
            Widths of the four blocks of the decoder. Not in the paper.

    Raises:
        ValueError: there is no such backbone.
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import MCCConfig

    >>> config = MCCConfig(backbone="hitrs", backbone_config={"layout": "coco17", "num_channels": 2})
    >>> type(config.backbone_config).__name__, config.hidden_size
    ('HiTRSConfig', 512)
    ```
    """

    model_type = "mcc"
    citation = """@inproceedings{su2021mcc,
  title     = {Self-Supervised 3D Skeleton Action Representation Learning with Motion Consistency and Continuity},
  author    = {Su, Yukun and Lin, Guosheng and Wu, Qingyao},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2021}
}"""

    backbone: str = "stgcn"
    backbone_config: Any = None
    clip_frames: int = 32
    speeds: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    negatives: str = "shuffled"
    changes_speed: bool = True
    shared_start: bool = False
    separate_augmentation: bool = False
    jitter: float | int = 0.05
    rotation_range: float | int = 3.141592653589793
    num_coordinates: int = 3
    projection_size: int | None = None
    triplet_loss_weight: float | int = 1.0
    margin: float | int = 0.15
    triplet_form: str = "corrected"
    contrast_loss_weight: float | int = 1.0
    temperature: float | int = 0.5
    contrast_similarity: str = "cosine"
    queue_size: int = 6536
    momentum: float | int | None = None
    interpolation_loss_weight: float | int = 1.0
    interpolation_factor: int = 2
    interpolates_basic: bool = True
    decoder_sizes: list[int] | tuple[int, ...] = (256, 128, 128, 64)

    def __post_init__(self, **kwargs):
        self.speeds = list(self.speeds)
        self.decoder_sizes = list(self.decoder_sizes)
        own = {name: kwargs.pop(name) for name in _OF_BACKBONE if name in kwargs}
        if not isinstance(self.backbone_config, PreTrainedConfig):
            self.backbone_config = backbone_config_class(self.backbone)(**{**(self.backbone_config or {}), **own})
        else:
            for name, value in own.items():
                setattr(self.backbone_config, name, value)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        backbone_config_class(self.backbone)
        if self.backbone_config.model_type != self.backbone:
            raise ValueError(
                f"backbone_config is of the family {self.backbone_config.model_type!r}, but backbone is {self.backbone!r}; make them "
                "the same."
            )
        if getattr(self.backbone_config, "padded_frames", None) is not None:
            raise ValueError(
                f"backbone_config fills clips of {self.clip_frames} frames up to padded_frames={self.backbone_config.padded_frames}, so "
                "that nothing could be interpolated; set it to None for pre-training."
            )
        MCCPreTrainingCollator.from_config(self, seed=0)  # its errors are about clips and speeds
        for name in ("queue_size", "projection_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        if len(self.decoder_sizes) != 4 or min(self.decoder_sizes) < 1:
            raise ValueError(f"decoder_sizes needs four positive numbers, got {self.decoder_sizes}.")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}.")
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1] or be None, got {self.momentum}.")
        for name in (
            "margin",
            "jitter",
            "rotation_range",
            "triplet_loss_weight",
            "contrast_loss_weight",
            "interpolation_loss_weight",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> "MCCConfig":
        """A configuration whose backbone has the preset of that name.

        Args:
            preset: a preset of the backbone's family. `"tiny"` and `"small"` also have a smaller memory and decoder.
            **overrides: fields that differ from it. Of `backbone_config`, a dictionary names the fields of the backbone that do.

        Raises:
            ValueError: the backbone has no such preset, or no such field.
        """
        fields = {**PRESETS.get(preset, {}), **overrides}
        config_class = backbone_config_class(fields.get("backbone", cls.backbone))
        changed = fields.get("backbone_config") or {}
        if isinstance(changed, dict):
            known = {name for base in config_class.__mro__ for name in getattr(base, "__annotations__", {})}
            known |= {"num_labels"}
            if unknown := sorted(set(changed) - known):
                raise ValueError(
                    f"{config_class.__name__} has no field {unknown[0]!r}; take it out of backbone_config."
                )
            fields["backbone_config"] = config_class.from_preset(preset, **changed)
        return cls(**fields)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """That of a saved model; an encoder of another family becomes the backbone of a configuration that is otherwise new."""
        saved, kwargs = super().get_config_dict(*args, **kwargs)
        if saved.get("model_type") not in (None, cls.model_type):
            saved = {"model_type": cls.model_type, "backbone": saved["model_type"], "backbone_config": saved}
        return saved, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As `PreTrainedConfig.from_dict`, with the checks of construction after `kwargs` have changed fields."""
        found = super().from_dict(config_dict, **kwargs)
        (found[0] if isinstance(found, tuple) else found).validate_architecture()
        return found

    @property
    def layout(self) -> str | dict[str, Any]:
        """That of the backbone, and so for the other sizes below."""
        return self.backbone_config.layout

    @layout.setter
    def layout(self, layout: str | dict[str, Any]) -> None:
        self.backbone_config.layout = layout

    @property
    def num_channels(self) -> int:
        """Values per joint."""
        return self.backbone_config.num_channels

    @num_channels.setter
    def num_channels(self, num_channels: int) -> None:
        self.backbone_config.num_channels = num_channels

    @property
    def skeleton_layout(self) -> SkeletonLayout:
        """The layout itself."""
        return self.backbone_config.skeleton_layout

    @property
    def num_joints(self) -> int:
        """Joints of the layout."""
        return self.backbone_config.num_joints

    @property
    def hidden_size(self) -> int:
        """Width of the feature of a clip."""
        return self.backbone_config.hidden_size

    @property
    def keeps_joints(self) -> bool:
        """Whether the backbone has a feature of every joint up to its last layer, as graph networks do."""
        return isinstance(self.backbone_config, GraphNetworkConfig)


def backbone_config_class(backbone: str) -> Any:
    """Configuration class of a backbone.

    Raises:
        ValueError: no family of that name has an encoder.
    """
    encoders = [family.model_type for family in FAMILIES.values() if family.encoder is not None]
    if backbone not in encoders:
        raise ValueError(f"backbone must be a family with an encoder: {', '.join(encoders)}; got {backbone!r}.")
    return get_family(backbone).load("configuration")


__all__ = ["PRESETS", "MCCConfig"]
