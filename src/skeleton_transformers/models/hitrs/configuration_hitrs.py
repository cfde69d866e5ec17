"""Configuration of Hi-TRS."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ...skeletons import get_layout
from ..skeleton_configuration import SkeletonConfigMixin


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_sizes": [32, 64, 128],
        "num_layers": 2,
        "num_attention_heads": 4,
        "attention_head_size": 16,
        "intermediate_sizes": [32, 32, 64],
        "hidden_dropout_prob": 0.1,
    },
    "small": {
        "hidden_sizes": [64, 128, 256],
        "num_layers": 2,
        "num_attention_heads": 4,
        "attention_head_size": 32,
        "intermediate_sizes": [64, 64, 128],
    },
    "base": {},  # the defaults are the released configuration
    "paper": {"num_layers": 2},
    "original": {"ignore_absent_person": False},
}

_CHOICES = {
    "position_init": ("sincos", "normal"),
    "mask_replacement": ("ones", "uniform", "normal"),
    "spatial_loss": ("smooth_l1", "l1"),
    "decoder_residual": ("pose", "velocity"),
}


@strict
class HiTRSConfig(SkeletonConfigMixin, PreTrainedConfig):
    r"""Configuration of [`HiTRSModel`] and its tasks.

    Hi-TRS is described in Chen et al., "Hierarchically Self-Supervised Transformer for Human Skeleton Representation
    Learning" (ECCV 2022). Where the paper and the code that its authors released differ, the defaults follow the code, and the
    entry below says so. The defaults are the released configuration, except for `ignore_absent_person`.

    Presets of `from_preset`: `"tiny"` (tests and demonstrations), `"small"`, `"base"` (the released configuration), `"paper"` (two layers
    per level), `"original"` (`"base"` that averages absent persons in, for comparisons with the released code).

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z.
        clip_length (`int`, defaults to 7): Frames in one clip, odd.
        clip_stride (`int`, defaults to 7): Frames between the centres of two clips.
        clip_dilation (`int`, defaults to 2): Frames between two neighbours in a clip.
        hidden_sizes (`list[int]`, defaults to `[128, 256, 512]`):
            Width of the frame, the clip and the video transformer. The first and the last are even, the second is divisible
            by 4 (the sin/cos tables need it).
        num_layers (`int`, defaults to 3):
            Layers per level. Paper, Sec. 4.1: 2. Released code: 3.
        num_attention_heads (`int`, defaults to 8): Attention heads on every level.
        attention_head_size (`int`, defaults to 64):
            Width of one head. The width of the attention is the same on every level, also where it exceeds the hidden size.
        intermediate_sizes (`list[int]`, defaults to `[128, 128, 256]`):
            Width of the feed-forward network of each level. Not in the paper; from the released code.
        hidden_dropout_prob (`float`, defaults to 0.2):
            Dropout behind attention and behind the feed-forward network. Attention weights have no dropout.
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of all layer norms.
        max_clips (`int`, defaults to 200): Largest number of clips in a sequence (rows of the video position table).
        embedding_layer_norm (`bool`, defaults to `True`):
            Layer norm behind linear map and GELU of the joint embedding. Paper, Sec. 3.2: none. Released code: yes.
        mask_self (`bool`, defaults to `False`):
            Whether a joint token of a clip may not attend to itself. The wording of paper Eq. 4 forbids all tokens of
            the own frame; the released code lets a token see itself.
        position_init (`str`, defaults to `"sincos"`):
            Start of the learnable position embeddings: `"sincos"` tables (released code) or `"normal"` with standard
            deviation 0.02 (paper: "learnable", as in ViT).
        ignore_absent_person (`bool`, defaults to `True`):
            Whether people who are not there contribute nothing: a sample's feature is the mean over the persons present, and
            clips in which a person is not seen are masked out for that person. `False` is what the released code does
            (the paper does not say): every person slot is averaged in, absent ones as sequences of zeros.
        order_tasks_on_clean_input (`bool`, defaults to `False`):
            Whether clip order, video order and next-clip prediction see the uncorrupted sequence. The paper
            (Sec. 3.3) does not say; the released code feeds all tasks from one pass over the corrupted sequence.
        mask_probability (`float`, defaults to 0.15): Probability that a joint of a frame is selected for the spatial task.
        mask_replacement (`str`, defaults to `"ones"`):
            What 80 % of the selected joints become. Paper, Sec. 3.3: a randomly generated coordinate (`"uniform"` or
            `"normal"`). Released code: the constant (1, 1, 1), `"ones"`.
        spatial_loss (`str`, defaults to `"smooth_l1"`):
            `"smooth_l1"`: mean over joints and channels (released code); `"l1"`: L1 norm per joint, mean over
            joints (paper, Eq. 5).
        coordinate_scale (`float`, defaults to 10.0):
            Factor on prediction and label in the spatial loss. Released code: 10. Paper, Eq. 5: 1.
        temperature (`float`, defaults to 0.07):
            Temperature of the next-clip contrast, a cross-entropy over cosine similarities (released code). Paper, Eq. 7
            prints the ratio without logarithm and normalisation and gives no value.
        spatial_loss_weight (`float`, defaults to 1.0): Weight of masked-joint prediction. A weight of 0 skips the task.
        clip_order_loss_weight (`float`, defaults to 1.0): Weight of the order of the frames of a clip.
        video_order_loss_weight (`float`, defaults to 1.0): Weight of the order of the clips of a sequence.
        next_clip_loss_weight (`float`, defaults to 1.0): Weight of the contrastive prediction of the last clip.
        prediction_frames (`int`, defaults to 12):
            Frames that motion prediction gives, 400 ms at 30 frames per second (paper, Sec. 4.2).
        decoder_hidden_size (`int`, defaults to 1024):
            Width of the GRU that predicts motion, which neither paper nor code give; that of Martinez et al., CVPR 2017.
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import HiTRSConfig, HiTRSModel

    >>> config = HiTRSConfig.from_preset("tiny", layout="ntu25")
    >>> model = HiTRSModel(config)
    >>> config.num_joints
    25
    ```
    """

    model_type = "hitrs"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    attribute_map = {"num_hidden_layers": "num_layers"}
    citation = """@inproceedings{chen2022hitrs,
  title     = {Hierarchically Self-Supervised Transformer for Human Skeleton Representation Learning},
  author    = {Chen, Yuxiao and Zhao, Long and Yuan, Jianbo and Tian, Yu and Xia, Zhaoyang and Geng, Shijie and Han, Ligong and Metaxas, Dimitris N.},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2022}
}"""

    layout: str | dict[str, Any] = "ntu25"
    num_channels: int = 3
    clip_length: int = 7
    clip_stride: int = 7
    clip_dilation: int = 2
    hidden_sizes: list[int] | tuple[int, ...] = (128, 256, 512)
    num_layers: int = 3
    num_attention_heads: int = 8
    attention_head_size: int = 64
    intermediate_sizes: list[int] | tuple[int, ...] = (128, 128, 256)
    hidden_dropout_prob: float | int = 0.2
    layer_norm_eps: float | int = 1e-5
    max_clips: int = 200
    embedding_layer_norm: bool = True
    mask_self: bool = False
    position_init: str = "sincos"
    ignore_absent_person: bool = True
    order_tasks_on_clean_input: bool = False
    mask_probability: float | int = 0.15
    mask_replacement: str = "ones"
    spatial_loss: str = "smooth_l1"
    coordinate_scale: float | int = 10.0
    temperature: float | int = 0.07
    spatial_loss_weight: float | int = 1.0
    clip_order_loss_weight: float | int = 1.0
    video_order_loss_weight: float | int = 1.0
    next_clip_loss_weight: float | int = 1.0
    prediction_frames: int = 12
    decoder_hidden_size: int = 1024
    decoder_residual: str = "pose"

    def __post_init__(self, **kwargs):
        self.hidden_sizes = list(self.hidden_sizes)
        self.intermediate_sizes = list(self.intermediate_sizes)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        get_layout(self.layout)  # its error lists the layouts that there are
        for name in (
            "num_channels",
            "clip_length",
            "clip_stride",
            "clip_dilation",
            "num_layers",
            "num_attention_heads",
            "attention_head_size",
            "max_clips",
            "prediction_frames",
            "decoder_hidden_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.clip_length % 2 == 0:
            raise ValueError(
                f"clip_length must be odd, for a clip has a central frame; got {self.clip_length}: use "
                f"{self.clip_length - 1} or {self.clip_length + 1}."
            )
        for name in ("hidden_sizes", "intermediate_sizes"):
            sizes = getattr(self, name)
            if len(sizes) != 3 or min(sizes) < 1:
                raise ValueError(f"{name} needs three positive numbers (frame, clip, video), got {sizes}.")
        if self.hidden_sizes[0] % 2 or self.hidden_sizes[1] % 4 or self.hidden_sizes[2] % 2:
            raise ValueError(
                "hidden_sizes must be even for frame and video and divisible by 4 for clip, because of the sin/cos position "
                f"tables; got {self.hidden_sizes}."
            )
        for name in ("hidden_dropout_prob", "mask_probability"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for name in ("layer_norm_eps", "coordinate_scale", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in (
            "spatial_loss_weight",
            "clip_order_loss_weight",
            "video_order_loss_weight",
            "next_clip_loss_weight",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}; 0 switches the task off.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")

    @property
    def hidden_size(self) -> int:
        """Width of `pooler_output`."""
        return self.hidden_sizes[2]

    @property
    def max_frames(self) -> int:
        """Frames of the longest sequence that has no more than `max_clips` clips."""
        padding = self.clip_length // 2 * self.clip_dilation
        return min(padding + 1, self.clip_stride) + (self.max_clips - 1) * self.clip_stride

    @property
    def frame_feature_size(self) -> int:
        """Width of the features of single frames, which are those of the clips centred on them."""
        return self.hidden_sizes[1]


__all__ = ["PRESETS", "HiTRSConfig"]
