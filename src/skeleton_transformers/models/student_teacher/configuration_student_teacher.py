"""Configuration of the student-teacher model."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from ..segment_configuration import SMALL_PRESETS, SegmentTransformerConfig


_BASIC = {"segment_length": 1, "mask_tokens": False, "reconstruction_loss_weight": 0.0}

PRESETS: dict[str, dict[str, Any]] = {
    **SMALL_PRESETS,
    "base": {},  # spatial attention with segments, mask tokens and decoder, the last row of Table 1 of the report
    # The other rows of that table (its second row is MAMP itself).
    "vanilla": {"attention": "joint", "segment_length": 1},
    "spatial_basic": _BASIC,
    "temporal_basic": {**_BASIC, "attention": "temporal"},
    "spatial_segments": {"reconstruction_loss_weight": 0.0},
    "temporal_segments": {"attention": "temporal", "reconstruction_loss_weight": 0.0},
}


@strict
class StudentTeacherConfig(SegmentTransformerConfig):
    r"""Configuration of [`StudentTeacherModel`] and its tasks.

    The model is that of a report of EPFL on self-supervised learning of skeletons by a student and a teacher. The report leaves much
    open; every default below that it does not fix says where it comes from.

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z.
        num_frames (`int`, defaults to 120): Frames that the encoder sees. Not in the report; MAMP.
        resize (`bool`, defaults to `True`):
            Whether sequences of another length are resized to `num_frames` by linear interpolation. With `False` they keep their pace, up
            to `num_frames` frames, and what follows their end is masked.
        segment_length (`int`, defaults to 4): Frames of a segment (report: 4; its basic models have no segments, which is 1).
        attention (`str`, defaults to `"spatial"`):
            Which tokens attend to each other: the joints of a segment (`"spatial"`), the segments of a joint (`"temporal"`), or all of a
            person (`"joint"`, as MAMP).
        hidden_size (`int`, defaults to 256): Width of the tokens, and of `pooler_output` (report).
        num_layers (`int`, defaults to 5): Layers of the encoder (report).
        num_attention_heads (`int`, defaults to 8): Attention heads (report); they divide `hidden_size`.
        intermediate_size (`int`, defaults to 1024): Width of the feed-forward network. Not in the report; MAMP.
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of all layer norms.
        drop_path_rate (`float`, defaults to 0.0):
            Stochastic depth of the last layer of the encoder, growing evenly from 0 in the first; 0.3 in the fine-tuning of MAMP.
        ignore_absent_person (`bool`, defaults to `True`):
            Whether tokens of absent persons and of joints that were not found are left out. With `False` they are tokens of zeros.
        classifier (`str`, defaults to `"mlp"`): Head of recognition: `"mlp"` for fine-tuning, `"linear"` for linear evaluation (MAMP).
        classifier_hidden_size (`int`, defaults to 2048): Hidden width of the first.
        classifier_dropout (`float`, defaults to 0.3): Dropout in front of the first.
        mask_ratio (`float`, *optional*):
            Share of tokens that is masked in every attention row. The report masks joints and frames at random and does not say how many. By
            default 0.6 (15 of 25 joints, 18 of 30 segments; data2vec's share for images), for a model that sees no other row could not
            learn from 0.9; with joint attention 0.9 (MAMP).
        motion_temperature (`float`, defaults to 0.0): Temperature of MAMP's motion-aware masking; 0 masks uniformly (report).
        mask_tokens (`bool`, defaults to `True`):
            Whether the encoder computes visible tokens only, and mask tokens stand for the others behind it. With `False`, the basic models
            of the report, it sees everything, with the coordinates of masked tokens set to 0.
        target_layers (`int`, defaults to 1):
            What the student predicts: with 1 the output of the teacher (I-JEPA), with k the mean of the outputs of its last k layers, each
            normalised (data2vec). Either is normalised per token.
        feature_loss (`str`, defaults to `"mse"`): Loss of features: squared error (report) or `"smooth_l1"`.
        feature_reduction (`str`, defaults to `"mean"`):
            Over the channels of a token. The report writes a squared norm, which is `"sum"`; with that, features outweigh coordinates.
        feature_loss_weight (`float`, defaults to 1.0): Weight of the loss of features.
        reconstruction_loss_weight (`float`, defaults to 1.0):
            Weight of the squared error of the coordinates of all tokens, which the decoder reconstructs; 0 leaves the decoder out.
        norm_target (`bool`, defaults to `False`): Whether the coordinates of a token are normalised by their own mean and deviation before.
        num_decoder_layers (`int`, defaults to 3): Layers of the predictor and of the decoder (report).
        momentum (`float`, defaults to 0.996): Momentum of the teacher at the first step (I-JEPA; not in the report).
        final_momentum (`float`, defaults to 1.0): Momentum at the last step, on a straight line from the first.
        collapse_deviation (`float`, defaults to 0.05):
            Deviation of the targets over persons (1 at most) below which a warning says that student and teacher have collapsed.
        prediction_frames (`int`, defaults to 12): Frames that motion prediction gives, 400 ms at 30 frames per second.
        decoder_hidden_size (`int`, defaults to 1024): Width of the GRU of motion prediction.
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import StudentTeacherConfig

    >>> StudentTeacherConfig.from_preset("temporal_segments").masked_share
    0.6
    ```
    """

    model_type = "student_teacher"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        **SegmentTransformerConfig.choices,
        "feature_loss": ("mse", "smooth_l1"),
        "feature_reduction": ("mean", "sum"),
    }
    counts: ClassVar[tuple[str, ...]] = (*SegmentTransformerConfig.counts, "target_layers")
    # BibTeX passes over what stands outside of entries.
    citation = """The scheme is that of a report of EPFL, whose bibliographic data we do not know; it builds upon

@inproceedings{mao2023mamp,
  title     = {Masked Motion Predictors are Strong {3D} Action Representation Learners},
  author    = {Mao, Yunyao and Deng, Jiajun and Zhou, Wengang and Fang, Yao and Ouyang, Wanli and Li, Houqiang},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}"""

    attention: str = "spatial"
    num_layers: int = 5
    mask_tokens: bool = True
    target_layers: int = 1
    feature_loss: str = "mse"
    feature_reduction: str = "mean"
    feature_loss_weight: float | int = 1.0
    reconstruction_loss_weight: float | int = 1.0
    momentum: float | int = 0.996
    final_momentum: float | int = 1.0
    collapse_deviation: float | int = 0.05

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        super().validate_architecture()
        if self.target_layers > self.num_layers:
            raise ValueError(f"target_layers={self.target_layers} is more than num_layers={self.num_layers}.")
        for name in ("momentum", "final_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        for name in ("feature_loss_weight", "reconstruction_loss_weight", "collapse_deviation"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


__all__ = ["PRESETS", "StudentTeacherConfig"]
