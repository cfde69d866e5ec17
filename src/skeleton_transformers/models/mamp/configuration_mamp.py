"""Configuration of MAMP."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from ..segment_configuration import SMALL_PRESETS, SegmentTransformerConfig


PRESETS: dict[str, dict[str, Any]] = {
    **SMALL_PRESETS,
    "base": {},  # the defaults are the released configuration for NTU RGB+D 60
    "ntu120": {"num_decoder_layers": 5, "motion_temperature": 0.75},
    "pku": {"num_decoder_layers": 5},
    "mae": {"target": "coordinates", "motion_temperature": 0.0},
    "original": {"ignore_absent_person": False},
}


@strict
class MAMPConfig(SegmentTransformerConfig):
    r"""Configuration of [`MAMPModel`] and its tasks.

    MAMP is described in Mao et al., "Masked Motion Predictors are Strong 3D Action Representation Learners" (ICCV 2023). The defaults
    are the released configuration for NTU RGB+D 60, except for `ignore_absent_person`.

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z.
        num_frames (`int`, defaults to 120): Frames that the encoder sees.
        resize (`bool`, defaults to `True`):
            Whether sequences of another length are resized to `num_frames` by linear interpolation, as in the released code. With
            `False` they keep their pace, up to `num_frames` frames, and what follows their end is masked.
        segment_length (`int`, defaults to 4): Frames of a segment; it divides `num_frames`.
        attention (`str`, defaults to `"joint"`):
            Which tokens attend to each other: all of a person (`"joint"`), the joints of a segment (`"spatial"`), or the segments of
            a joint (`"temporal"`).
        hidden_size (`int`, defaults to 256): Width of the tokens, and of `pooler_output`.
        num_layers (`int`, defaults to 8): Layers of the encoder.
        num_attention_heads (`int`, defaults to 8): Attention heads; they divide `hidden_size`.
        intermediate_size (`int`, defaults to 1024): Width of the feed-forward network.
        layer_norm_eps (`float`, defaults to 1e-5): Epsilon of all layer norms.
        drop_path_rate (`float`, defaults to 0.0):
            Stochastic depth of the last layer of the encoder, growing evenly from 0 in the first. Released code: 0.3 in fine-tuning.
        ignore_absent_person (`bool`, defaults to `True`):
            Whether tokens of absent persons and of joints that were not found are left out. `False` is what the released code does:
            they are tokens of zeros, which attend, are masked and predicted, and count in every mean.
        classifier (`str`, defaults to `"mlp"`): Head of recognition: `"mlp"` for fine-tuning, `"linear"` for linear evaluation.
        classifier_hidden_size (`int`, defaults to 2048): Hidden width of the first.
        classifier_dropout (`float`, defaults to 0.3): Dropout in front of the first.
        mask_ratio (`float`, *optional*):
            Share of tokens that pre-training masks in every attention row; by default 0.9 with joint attention and 0.6 with the others.
        motion_temperature (`float`, defaults to 0.8):
            Temperature of motion-aware masking, 0 for uniform masking. Released code: 0.8 for NTU RGB+D 60 and PKU-MMD, 0.75 for NTU
            RGB+D 120.
        target (`str`, defaults to `"motion"`): What is predicted: the motion to the next frame, or the `"coordinates"` (the MAE baseline).
        norm_target (`bool`, defaults to `True`): Whether the target of a token is normalised by its own mean and deviation.
        num_decoder_layers (`int`, defaults to 3): Layers of the decoder. Released code: 3 for NTU RGB+D 60, 5 for NTU RGB+D 120 and PKU-MMD.
        prediction_frames (`int`, defaults to 12): Frames that motion prediction gives, 400 ms at 30 frames per second.
        decoder_hidden_size (`int`, defaults to 1024): Width of the GRU of motion prediction.
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import MAMPConfig

    >>> config = MAMPConfig.from_preset("ntu120")
    >>> config.num_segments, config.num_joints
    (30, 25)
    ```
    """

    model_type = "mamp"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        **SegmentTransformerConfig.choices,
        "target": ("motion", "coordinates"),
    }
    citation = """@inproceedings{mao2023mamp,
  title     = {Masked Motion Predictors are Strong {3D} Action Representation Learners},
  author    = {Mao, Yunyao and Deng, Jiajun and Zhou, Wengang and Fang, Yao and Ouyang, Wanli and Li, Houqiang},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}"""

    motion_temperature: float | int = 0.8
    target: str = "motion"
    norm_target: bool = True


__all__ = ["PRESETS", "MAMPConfig"]
