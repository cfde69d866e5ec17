"""Configuration of HiCo."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ...skeletons import get_layout
from ..skeleton_configuration import SkeletonConfigMixin


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "branch_size": 32,
        "intermediate_size": 64,
        "projection_hidden_size": 64,
        "projection_size": 32,
        "queue_size": 256,
        "num_frames": 32,
    },
    "small": {
        "branch_size": 128,
        "intermediate_size": 256,
        "projection_hidden_size": 256,
        "projection_size": 64,
        "queue_size": 1024,
        "num_frames": 32,
    },
    "base": {},  # the defaults are the released configuration
    "paper": {"embedding_layer_norm": False, "depthwise_downsampling": False, "downsampling_norm_first": False},
    "original": {"ignore_absent_person": False, "legacy_queue_pointer": True},
}

_CHOICES = {
    "branches": ("both", "temporal", "spatial"),
    "encoder": ("transformer", "gru", "lstm"),
    "spatial_tokens": ("person_joint", "joint"),
    "momentum_update": ("before_encoding", "after_step"),
    "decoder_residual": ("pose", "velocity"),
}


@strict
class HiCoConfig(SkeletonConfigMixin, PreTrainedConfig):
    r"""Configuration of [`HiCoModel`] and its tasks.

    HiCo is described in Dong et al., "Hierarchical Contrast for Unsupervised Skeleton-Based Action Representation Learning"
    (AAAI 2023). Where the paper and the code that its authors released differ, the defaults follow the code, and the entry
    below says so. The defaults are the released configuration, except for `ignore_absent_person` and the repaired queue.

    Presets of `from_preset`: `"tiny"` (tests and demonstrations), `"small"`, `"base"` (the released configuration), `"paper"` (the
    embedding and the down-sampling that the paper prints), `"original"` (`"base"` with absent persons and queues as in the released
    code).

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z.
        num_persons (`int`, defaults to 2):
            Places for persons. Whoever is present in a sample takes the first ones, in order; more persons than places are
            an error. The order matters: exchanging two persons changes the feature.
        num_frames (`int`, defaults to 64):
            Frames that the encoder sees. Sequences of another length are resized by linear interpolation.
        branches (`str`, defaults to `"both"`):
            Branches that the encoder has: `"both"` (paper), or one alone, `"temporal"` or `"spatial"` (paper, Table 3). Pre-training of one
            branch has no domain contrast, nor that of the parts (or clips) that are not there: these weights must be 0. The
            spatial branch alone has one time step, the whole sequence.
        encoder (`str`, defaults to `"transformer"`): Sequence encoder of the branches: `"transformer"`, `"gru"` or `"lstm"`.
        branch_size (`int`, defaults to 512): Width of a branch; even for the recurrent encoders, which have two directions.
        num_granularities (`int`, defaults to 4):
            Granularities per branch; each halves the number of clips and of parts of the one before (paper, Sec. 3.2).
        num_layers (`int`, defaults to 1): Layers of the sequence encoder.
        num_attention_heads (`int`, defaults to 4): Attention heads of the transformer; they divide `branch_size`.
        intermediate_size (`int`, defaults to 512): Width of the feed-forward network of the transformer.
        hidden_dropout_prob (`float`, defaults to 0.1):
            Dropout of the transformer: of attention weights, behind attention, in and behind the feed-forward network. The
            recurrent encoders have none (between layers, if there are several).
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of all layer norms.
        downsampling_kernel_size (`int`, defaults to 5): Tokens that the convolution of a down-sampling sees, odd.
        embedding_layer_norm (`bool`, defaults to `True`):
            Layer norm behind the first linear map of the embedding. Paper, Eq. 1: none. Released code: yes.
        depthwise_downsampling (`bool`, defaults to `True`):
            Whether the convolution of a down-sampling treats every channel alone. The paper (Sec. 3.2) writes a plain
            convolution; the released code has a depth-wise one.
        downsampling_norm_first (`bool`, defaults to `True`):
            Order behind that convolution: layer norm, then ReLU (released code), or ReLU, then layer norm (paper, Sec. 3.2).
        spatial_tokens (`str`, defaults to `"person_joint"`):
            Tokens of the space-major view: each joint of each person (released code: 50 for NTU), or with `"joint"` each joint
            once, with the coordinates of all persons (the paper speaks of J joints, whose number it does not give).
        ignore_absent_person (`bool`, defaults to `True`):
            Whether frames in which nobody is there, and the joints of a person who never is, are masked out. `False` is
            what the released code does: they are tokens of zeros, to be attended to.
        projection_hidden_size (`int`, defaults to 512): Hidden width of the projectors of pre-training.
        projection_size (`int`, defaults to 128): Width of what is contrasted.
        temperature (`float`, defaults to 0.2): Temperature of all contrasts.
        queue_size (`int`, defaults to 2048):
            Sequences in the queues of negatives; those of clips and parts hold `num_granularities` features of each.
        momentum (`float`, defaults to 0.999): Momentum of the key encoder.
        momentum_update (`str`, defaults to `"before_encoding"`):
            When the key encoder follows: before it encodes a batch (released code), or after the optimiser step, which is
            right for accumulated gradients, too.
        legacy_queue_pointer (`bool`, defaults to `False`):
            Whether the pointers of the queues of clips and parts run over `queue_size` features only, as in the released code,
            where the rest of these queues stays random for ever.
        instance_loss_weight (`float`, defaults to 1.0): Weight of the instance contrast. A weight of 0 skips it.
        domain_loss_weight (`float`, defaults to 1.0): Weight of the contrast between the temporal and the spatial domain.
        clip_loss_weight (`float`, defaults to 1.0): Weight of the clip contrast.
        part_loss_weight (`float`, defaults to 1.0): Weight of the part contrast.
        prediction_frames (`int`, defaults to 12): Frames that motion prediction gives, 400 ms at 30 frames per second.
        decoder_hidden_size (`int`, defaults to 1024): Width of the GRU that predicts motion.
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import HiCoConfig

    >>> config = HiCoConfig(encoder="gru")
    >>> config.hidden_size  # 2 branches, 4 granularities, 512 each
    4096
    ```
    """

    model_type = "hico"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    attribute_map = {"num_hidden_layers": "num_layers"}
    citation = """@inproceedings{dong2023hico,
  title     = {Hierarchical Contrast for Unsupervised Skeleton-Based Action Representation Learning},
  author    = {Dong, Jianfeng and Sun, Shengkai and Liu, Zhonglin and Chen, Shujie and Liu, Baolong and Wang, Xun},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year      = {2023}
}"""

    layout: str | dict[str, Any] = "ntu25"
    num_channels: int = 3
    num_persons: int = 2
    num_frames: int = 64
    branches: str = "both"
    encoder: str = "transformer"
    branch_size: int = 512
    num_granularities: int = 4
    num_layers: int = 1
    num_attention_heads: int = 4
    intermediate_size: int = 512
    hidden_dropout_prob: float | int = 0.1
    layer_norm_eps: float | int = 1e-5
    downsampling_kernel_size: int = 5
    embedding_layer_norm: bool = True
    depthwise_downsampling: bool = True
    downsampling_norm_first: bool = True
    spatial_tokens: str = "person_joint"
    ignore_absent_person: bool = True
    projection_hidden_size: int = 512
    projection_size: int = 128
    temperature: float | int = 0.2
    queue_size: int = 2048
    momentum: float | int = 0.999
    momentum_update: str = "before_encoding"
    legacy_queue_pointer: bool = False
    instance_loss_weight: float | int = 1.0
    domain_loss_weight: float | int = 1.0
    clip_loss_weight: float | int = 1.0
    part_loss_weight: float | int = 1.0
    prediction_frames: int = 12
    decoder_hidden_size: int = 1024
    decoder_residual: str = "pose"

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        get_layout(self.layout)  # its error lists the layouts that there are
        for name in (
            "num_channels",
            "num_persons",
            "num_frames",
            "branch_size",
            "num_granularities",
            "num_layers",
            "num_attention_heads",
            "intermediate_size",
            "downsampling_kernel_size",
            "projection_hidden_size",
            "projection_size",
            "queue_size",
            "prediction_frames",
            "decoder_hidden_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")
        if self.encoder == "transformer" and self.branch_size % self.num_attention_heads:
            raise ValueError(
                f"branch_size={self.branch_size} is not divisible by num_attention_heads={self.num_attention_heads}."
            )
        if self.encoder != "transformer" and self.branch_size % 2:
            raise ValueError(
                f"branch_size must be even for the two directions of a {self.encoder}, got {self.branch_size}."
            )
        if self.downsampling_kernel_size % 2 == 0:
            raise ValueError(f"downsampling_kernel_size must be odd, got {self.downsampling_kernel_size}.")
        tokens_of = {"temporal": ("frames", self.num_frames), "spatial": ("spatial tokens", self.num_spatial_tokens)}
        for name, tokens in (tokens_of[branch] for branch in self.branch_names):
            if tokens >> (self.num_granularities - 1) == 0:
                raise ValueError(
                    f"{tokens} {name} cannot be halved {self.num_granularities - 1} times; lower num_granularities, which "
                    f"is {self.num_granularities}."
                )
        if not 0 <= self.hidden_dropout_prob < 1:
            raise ValueError(f"hidden_dropout_prob must lie in [0, 1), got {self.hidden_dropout_prob}.")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], got {self.momentum}.")
        for name in ("layer_norm_eps", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in ("instance_loss_weight", "domain_loss_weight", "clip_loss_weight", "part_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}; 0 switches the task off.")

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The branches that there are, in the order of `pooler_output`."""
        return ("temporal", "spatial") if self.branches == "both" else (self.branches,)

    @property
    def num_spatial_tokens(self) -> int:
        """Tokens of the space-major view."""
        return self.num_joints * (self.num_persons if self.spatial_tokens == "person_joint" else 1)

    @property
    def hidden_size(self) -> int:
        """Width of `pooler_output`: all granularities of all branches."""
        return len(self.branch_names) * self.num_granularities * self.branch_size

    @property
    def frame_feature_size(self) -> int:
        """Width of the features of single frames."""
        return self.branch_size

    @property
    def frame_window(self) -> int:
        """Frames of a long take that the encoder sees at once."""
        return self.num_frames


__all__ = ["PRESETS", "HiCoConfig"]
