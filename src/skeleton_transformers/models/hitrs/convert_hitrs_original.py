"""Checkpoints of the code that the authors of Hi-TRS released, to our models and back.

Nothing of theirs is needed: a checkpoint is a dictionary of tensors, and only names differ.
"""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ...skeletons import get_layout
from ..conversion import PREFIX, listed, read_state_dict, save_converted
from .configuration_hitrs import HiTRSConfig
from .modeling_hitrs import HiTRSForActionRecognition, HiTRSForPreTraining, HiTRSModel, HiTRSPreTrainedModel


# Names of the original, without the `module.` that DataParallel puts in front, and ours.
_MODULES = {
    "s_input_map.0": "hitrs.frame.embeddings.projection",
    "s_input_map.2": "hitrs.frame.embeddings.layer_norm",
    "c_input_map": "hitrs.clip.embeddings.projection",
    "v_input_map": "hitrs.video.embeddings.projection",
    "s_pose_reg": "pretraining.coordinate_head",
    "c_motion_cls": "pretraining.clip_order_head",
    "v_motion_cls": "pretraining.video_order_head",
    "v_ft_reg": "pretraining.next_clip_head",
    "v_cls": "classifier",
}
_PARAMETERS = {
    "s_pe.pe": "hitrs.frame.embeddings.position_embeddings",
    "c_pe.pe": "hitrs.clip.embeddings.position_embeddings",
    "v_pe.pe": "hitrs.video.embeddings.position_embeddings",
    "clip_fuse_token": "hitrs.clip.embeddings.cls_token",
    "video_fuse_token": "hitrs.video.embeddings.cls_token",
}
_LEVELS = {"s_enc": "hitrs.frame", "c_enc": "hitrs.clip", "v_enc": "hitrs.video"}
_LAYER_MODULES = {
    "self_attn_norm": "layernorm_before",
    "slf_attn.w_qs": "attention.query",
    "slf_attn.w_ks": "attention.key",
    "slf_attn.w_vs": "attention.value",
    "slf_attn.fc": "attention.output",
    "pff_norm": "layernorm_after",
    "pos_ffn.w_1": "intermediate",
    "pos_ffn.w_2": "output",
}
_BIAS_FREE = {"slf_attn.w_qs", "slf_attn.w_ks", "slf_attn.w_vs", "slf_attn.fc"}
_LAYER_NAME = re.compile(r"(?P<level>\w+)\.layer_stack\.(?P<number>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")
_OUR_LAYER_NAME = re.compile(r"(?P<level>hitrs\.\w+)\.layers\.(?P<number>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")

# Width of an attention head in all released code; it cannot be told from the shapes.
_HEAD_SIZE = 64


def original_to_hitrs(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the entries of an original checkpoint; the tensors stay as they are.

    Args:
        state_dict: original names, with or without `module.`.

    Returns:
        the same tensors under the names of [`HiTRSForPreTraining`] and [`HiTRSForActionRecognition`].

    Raises:
        ValueError: it is not a checkpoint of Hi-TRS; the message lists what is unexpected and what is missing.
    """
    ours = {}
    unexpected = []
    for name, tensor in state_dict.items():
        new_name = _our_name(name.removeprefix(PREFIX))
        if new_name is None:
            unexpected.append(name)
        else:
            ours[new_name] = tensor
    needed = _needed_names(state_dict)
    present = {name.removeprefix(PREFIX) for name in state_dict}
    missing = [name for name in needed if name not in present]
    if unexpected or missing:
        raise ValueError(
            "this is not a checkpoint of the original Hi-TRS code. "
            f"Unexpected entries: {listed(unexpected)}. Missing entries: {listed(missing)}."
        )
    return ours


def hitrs_to_original(state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The inverse of [`original_to_hitrs`].

    Args:
        state_dict: names of [`HiTRSForPreTraining`], [`HiTRSForActionRecognition`], or of [`HiTRSModel`].
        prefix: `"module."` gives the names that DataParallel saves.

    Raises:
        ValueError: a name is not one of a Hi-TRS model.
    """
    original = {}
    unexpected = []
    for name, tensor in state_dict.items():
        new_name = _original_name(
            name if name.startswith(("hitrs.", "pretraining.", "classifier.")) else f"hitrs.{name}"
        )
        if new_name is None:
            unexpected.append(name)
        else:
            original[prefix + new_name] = tensor
    if unexpected:
        raise ValueError(f"these are not parameters of a Hi-TRS model: {listed(unexpected)}.")
    return original


def infer_model(
    state_dict: Mapping[str, torch.Tensor], layout: str | dict[str, Any] | None = None
) -> tuple[type[HiTRSPreTrainedModel], HiTRSConfig]:
    """Tells from the shapes of an original checkpoint which model it belongs to.

    Stride and dilation of the clips leave no trace in a checkpoint; they are those of the released code.

    Args:
        state_dict: original names.
        layout: layout of the joints; needed unless there are 25 joints, those of Kinect v2.

    Returns:
        the class (with a classifier: recognition; with pretext heads only: pre-training), and the configuration, which
        averages absent persons in as the original does.

    Raises:
        ValueError: it is not a checkpoint of Hi-TRS, or the layout does not have its number of joints.
    """
    weights = original_to_hitrs(state_dict)
    clip_length, num_joints, clip_size = weights["hitrs.clip.embeddings.position_embeddings"].shape
    frame_size, num_channels = weights["hitrs.frame.embeddings.projection.weight"].shape
    max_clips, video_size = weights["hitrs.video.embeddings.position_embeddings"].shape
    layers = {int(match["number"]) for name in weights if (match := _OUR_LAYER_NAME.fullmatch(name))}
    width = weights["hitrs.frame.layers.0.attention.query.weight"].shape[0]
    if layout is None and num_joints != get_layout("ntu25").num_joints:
        raise ValueError(f"the checkpoint has {num_joints} joints; name their layout (layout=...).")
    layout = layout or "ntu25"
    if get_layout(layout).num_joints != num_joints:
        raise ValueError(
            f"the checkpoint has {num_joints} joints, but layout {get_layout(layout).name!r} has "
            f"{get_layout(layout).num_joints}; name the layout that it was trained with."
        )
    model_class: type[HiTRSPreTrainedModel] = HiTRSModel
    labels = {}
    if "classifier.weight" in weights:
        model_class = HiTRSForActionRecognition
        labels["num_labels"] = len(weights["classifier.weight"])
    elif any(name.startswith("pretraining.") for name in weights):
        model_class = HiTRSForPreTraining
    config = HiTRSConfig.from_preset(
        "original",
        layout=layout,
        num_channels=num_channels,
        clip_length=clip_length,
        hidden_sizes=[frame_size, clip_size, video_size],
        intermediate_sizes=[
            len(weights[f"hitrs.{level}.layers.0.intermediate.weight"]) for level in ("frame", "clip", "video")
        ],
        num_layers=len(layers),
        num_attention_heads=width // _HEAD_SIZE,
        attention_head_size=_HEAD_SIZE,
        max_clips=max_clips,
        embedding_layer_norm="hitrs.frame.embeddings.layer_norm.weight" in weights,
        **labels,
    )
    return model_class, config


def load_original_checkpoint(
    path: str | PathLike, layout: str | dict[str, Any] | None = None
) -> HiTRSForActionRecognition | HiTRSForPreTraining | HiTRSModel:
    """Reads an original checkpoint into the model that it belongs to. Nothing in the file is executed.

    A fine-tuned checkpoint still carries the heads of pre-training, which a recognition model has no use for; keep them with
    [`original_to_hitrs`] and `HiTRSForPreTraining.load_state_dict`.

    Args:
        path: file saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers (`{"state_dict": ...}`).
        layout: layout of the joints; needed unless there are 25 joints.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    try:
        state_dict = read_state_dict(path)
        model_class, config = infer_model(state_dict, layout)
        weights = original_to_hitrs(state_dict)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model = model_class(config)
    if model_class is HiTRSModel:
        weights = {name.removeprefix("hitrs."): tensor for name, tensor in weights.items()}
    elif model_class is HiTRSForActionRecognition:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("pretraining.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a shape that does not go with the others
        raise ValueError(f"{path}: {error}") from error
    return model.eval()


def convert_original_checkpoint(
    source: str | PathLike,
    target_folder: str | PathLike,
    layout: str | dict[str, Any] | None = None,
    stream: str = "joint",
) -> Path:
    """Writes an original checkpoint as a folder for `from_pretrained`, with the feature extractor that goes with it.

    Args:
        source: see [`load_original_checkpoint`].
        target_folder: folder to write.
        layout: layout of the joints; needed unless there are 25 joints.
        stream: `"joint"`, `"motion"` or `"bone"`, what the checkpoint was trained on; it leaves no trace in the file.

    Returns:
        the folder.
    """
    model = load_original_checkpoint(source, layout)
    return save_converted(model, target_folder, stream=stream, motion_zero="first")


def _our_name(name: str) -> str | None:
    if name in _PARAMETERS:
        return _PARAMETERS[name]
    if (match := _LAYER_NAME.fullmatch(name)) and match["level"] in _LEVELS and match["module"] in _LAYER_MODULES:
        module = _LAYER_MODULES[match["module"]]
        return f"{_LEVELS[match['level']]}.layers.{match['number']}.{module}.{match['kind']}"
    module, _, kind = name.rpartition(".")
    return f"{_MODULES[module]}.{kind}" if module in _MODULES and kind in ("weight", "bias") else None


def _original_name(name: str) -> str | None:
    backwards = {
        ours: theirs for table in (_PARAMETERS, _MODULES, _LEVELS, _LAYER_MODULES) for theirs, ours in table.items()
    }
    if name in backwards:
        return backwards[name]
    if match := _OUR_LAYER_NAME.fullmatch(name):
        level, module = backwards.get(match["level"]), backwards.get(match["module"])
        return f"{level}.layer_stack.{match['number']}.{module}.{match['kind']}" if level and module else None
    module, _, kind = name.rpartition(".")
    return f"{backwards[module]}.{kind}" if module in backwards and kind in ("weight", "bias") else None


def _needed_names(state_dict: Mapping[str, torch.Tensor]) -> list[str]:
    """What an original checkpoint with as many layers must contain; heads and the layer norm of the embedding may be absent."""
    layers = {int(m["number"]) for name in state_dict if (m := _LAYER_NAME.fullmatch(name.removeprefix(PREFIX)))}
    needed = list(_PARAMETERS)
    for module in ("s_input_map.0", "c_input_map", "v_input_map"):
        needed += [f"{module}.weight", f"{module}.bias"]
    for level in _LEVELS:
        for number in range(max(layers, default=0) + 1):
            for module in _LAYER_MODULES:
                kinds = ("weight",) if module in _BIAS_FREE else ("weight", "bias")
                needed += [f"{level}.layer_stack.{number}.{module}.{kind}" for kind in kinds]
    return needed


__all__ = [
    "convert_original_checkpoint",
    "hitrs_to_original",
    "infer_model",
    "load_original_checkpoint",
    "original_to_hitrs",
]
