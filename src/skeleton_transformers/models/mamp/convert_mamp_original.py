"""Checkpoints of the code that the authors of MAMP released, to our models and back.

Nothing of theirs is needed: a checkpoint is a dictionary of tensors. Names differ, position embeddings have axes of length 1, and the
input projection is a convolution.
"""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ...skeletons import get_layout
from ..conversion import PREFIX, listed, read_state_dict, save_converted
from .configuration_mamp import MAMPConfig
from .modeling_mamp import MAMPForActionRecognition, MAMPForPreTraining, MAMPModel, MAMPPreTrainedModel


# Their names and ours, module by module; a name of theirs and of ours without "{}" is a single entry.
_LAYER_MODULES = {
    "norm1": "layernorm_attention",
    "attn.qkv": "attention.query_key_value",
    "attn.proj": "attention.output",
    "norm2": "layernorm_output",
    "mlp.fc1": "intermediate",
    "mlp.fc2": "output",
}
_MODULES = {
    "joints_embed.proj": "mamp.embeddings.projection",
    "norm": "mamp.layernorm",
    "decoder_embed": "decoder.dense",
    "decoder_norm": "decoder.layernorm",
    "decoder_pred": "decoder.output",
    "head.fc1": "classifier.dense",
    "head.bn": "classifier.norm",
    "head.fc2": "classifier.output",
    "head.fc.0": "classifier.norm",
    "head.fc.1": "classifier.output",
}
_PARAMETERS = {
    "temp_embed": "mamp.embeddings.positions.segment_embeddings",
    "pos_embed": "mamp.embeddings.positions.joint_embeddings",
    "mask_token": "decoder.mask_token",
    "decoder_temp_embed": "decoder.positions.segment_embeddings",
    "decoder_pos_embed": "decoder.positions.joint_embeddings",
}
_STACKS = {"blocks": "mamp.layers", "decoder_blocks": "decoder.layers"}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_PROJECTION = "mamp.embeddings.projection.weight"
# Attention heads leave no trace in a checkpoint; the released code has eight.
_NUM_HEADS = 8


def original_to_mamp(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames and reshapes the entries of an original checkpoint.

    Args:
        state_dict: original names, with or without `module.`: of pre-training (with a decoder), fine-tuning or linear evaluation
            (with a head), or of the encoder alone.

    Returns:
        the tensors under the names of [`MAMPForPreTraining`] and [`MAMPForActionRecognition`].

    Raises:
        ValueError: it is not a checkpoint of MAMP; the message lists what is unexpected and what is missing.
    """
    ours: dict[str, torch.Tensor] = {}
    unexpected = []
    present = set()
    for full_name, tensor in state_dict.items():
        name = full_name.removeprefix(PREFIX)
        present.add(name)
        new_name = _our_name(name)
        if new_name is None:
            unexpected.append(full_name)
        elif new_name == _PROJECTION:
            ours[new_name] = (
                tensor[..., 0].transpose(1, 2).flatten(1)
            )  # (size, channels, frames, 1) -> (size, frames * channels)
        elif name in _PARAMETERS:
            ours[new_name] = tensor.flatten(0, -2).squeeze(0) if name == "mask_token" else tensor.flatten(0, -2)
        else:
            ours[new_name] = tensor
    missing = [name for name in _needed_names(present) if name not in present]
    if unexpected or missing:
        raise ValueError(
            "this is not a checkpoint of the original MAMP code. "
            f"Unexpected entries: {listed(unexpected)}. Missing entries: {listed(missing)}."
        )
    return ours


def mamp_to_original(
    state_dict: Mapping[str, torch.Tensor], prefix: str = "", num_channels: int = 3
) -> dict[str, torch.Tensor]:
    """The inverse of [`original_to_mamp`].

    Args:
        state_dict: names of [`MAMPForPreTraining`], [`MAMPForActionRecognition`], or of [`MAMPModel`].
        prefix: `"module."` gives the names that DataParallel saves.
        num_channels: values per joint.

    Raises:
        ValueError: a name is not one of a MAMP model.
    """
    original: dict[str, torch.Tensor] = {}
    unexpected = []
    is_mlp = any(name.startswith("classifier.dense.") for name in state_dict)
    for full_name, tensor in state_dict.items():
        name = full_name if full_name.startswith(("mamp.", "decoder.", "classifier.")) else f"mamp.{full_name}"
        theirs = _original_name(name, is_mlp)
        if theirs is None:
            unexpected.append(full_name)
        elif name == _PROJECTION:
            frames = tensor.unflatten(1, (-1, num_channels))  # (size, frames * channels) -> (size, frames, channels)
            original[prefix + theirs] = frames.transpose(1, 2)[..., None].contiguous()
        elif theirs == "mask_token":
            original[prefix + theirs] = tensor[None, None]
        elif theirs in _PARAMETERS:
            original[prefix + theirs] = tensor[None, :, None] if "temp" in theirs else tensor[None, None]
        else:
            original[prefix + theirs] = tensor
    if unexpected:
        raise ValueError(f"these are not the parameters of a MAMP model: {listed(unexpected)}.")
    return original


def infer_model(
    state_dict: Mapping[str, torch.Tensor], layout: str | dict[str, Any] | None = None
) -> tuple[type[MAMPPreTrainedModel], MAMPConfig]:
    """Tells from the shapes of an original checkpoint which model it belongs to.

    Args:
        state_dict: original names.
        layout: layout of the joints, by default the 25 of Kinect v2.

    Returns:
        the class (with a head: recognition; with a decoder: pre-training), and the configuration, with absent persons as in the
        original. The temperature of motion-aware masking leaves no trace: it is that of NTU RGB+D 60.

    Raises:
        ValueError: it is not a checkpoint of MAMP, or the layout does not fit it.
    """
    weights = original_to_mamp(state_dict)
    layout = layout or "ntu25"
    kernel = next(tensor for name, tensor in state_dict.items() if name.endswith("joints_embed.proj.weight"))
    hidden_size, num_channels, segment_length, _ = kernel.shape
    num_joints = len(weights["mamp.embeddings.positions.joint_embeddings"])
    if num_joints != get_layout(layout).num_joints:
        raise ValueError(
            f"the checkpoint has {num_joints} joints, but the layout {get_layout(layout).name!r} has "
            f"{get_layout(layout).num_joints}; name the layout that it was trained with."
        )
    fields: dict[str, Any] = {
        "num_frames": segment_length * len(weights["mamp.embeddings.positions.segment_embeddings"]),
        "num_layers": _count_layers(weights, "mamp.layers"),
        "intermediate_size": len(weights["mamp.layers.0.intermediate.weight"]),
    }
    model_class: type[MAMPPreTrainedModel] = MAMPModel
    if "classifier.output.weight" in weights:
        model_class = MAMPForActionRecognition
        labels, width = weights["classifier.output.weight"].shape
        fields["num_labels"] = labels
        fields["classifier"] = "mlp" if "classifier.dense.weight" in weights else "linear"
        if fields["classifier"] == "mlp":
            fields["classifier_hidden_size"] = width
    elif "decoder.mask_token" in weights:
        model_class = MAMPForPreTraining
        fields["num_decoder_layers"] = _count_layers(weights, "decoder.layers")
    config = MAMPConfig.from_preset(
        "original",
        layout=layout,
        num_channels=num_channels,
        segment_length=segment_length,
        hidden_size=hidden_size,
        num_attention_heads=_NUM_HEADS,
        **fields,
    )
    return model_class, config


def load_original_checkpoint(
    path: str | PathLike, layout: str | dict[str, Any] | None = None
) -> MAMPForActionRecognition | MAMPForPreTraining | MAMPModel:
    """Reads an original checkpoint into the model that it belongs to. Nothing in the file is executed.

    Args:
        path: file saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers (`{"model": ...}`).
        layout: layout of the joints, by default the 25 of Kinect v2.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    try:
        state_dict = read_state_dict(path)
        model_class, config = infer_model(state_dict, layout)
        weights = original_to_mamp(state_dict)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model = model_class(config)
    if model_class is MAMPModel:
        weights = {name.removeprefix("mamp."): tensor for name, tensor in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a shape that does not go with the others
        raise ValueError(f"{path}: {error}") from error
    return model.eval()


def convert_original_checkpoint(
    source: str | PathLike, target_folder: str | PathLike, layout: str | dict[str, Any] | None = None
) -> Path:
    """Writes an original checkpoint as a folder for `from_pretrained`, with the feature extractor that goes with it.

    Args:
        source: see [`load_original_checkpoint`].
        target_folder: folder to write.
        layout: layout of the joints, by default the 25 of Kinect v2.

    Returns:
        the folder.
    """
    model = load_original_checkpoint(source, layout)
    return save_converted(
        model,
        target_folder,
        center="first_frame",
        center_crop=0.95,
        num_frames=model.config.num_frames,
        max_persons=2,
    )


def _our_name(name: str) -> str | None:
    if name in _PARAMETERS:
        return _PARAMETERS[name]
    module, _, kind = name.rpartition(".")
    if match := re.fullmatch(r"(blocks|decoder_blocks)\.(\d+)\.(.+)", module):
        ours = _LAYER_MODULES.get(match[3])
        return f"{_STACKS[match[1]]}.{match[2]}.{ours}.{kind}" if ours and kind in ("weight", "bias") else None
    if module not in _MODULES or (kind in _BUFFERS) > (_MODULES[module] == "classifier.norm"):
        return None
    return f"{_MODULES[module]}.{kind}" if kind in ("weight", "bias", *_BUFFERS) else None


def _original_name(name: str, is_mlp: bool) -> str | None:
    for theirs, ours in _PARAMETERS.items():
        if name == ours:
            return theirs
    module, _, kind = name.rpartition(".")
    for stack, place in _STACKS.items():
        if match := re.fullmatch(rf"{re.escape(place)}\.(\d+)\.(.+)", module):
            inner = next((theirs for theirs, ours in _LAYER_MODULES.items() if ours == match[2]), None)
            return f"{stack}.{match[1]}.{inner}.{kind}" if inner else None
    for theirs, ours in _MODULES.items():
        if module == ours and not (ours.startswith("classifier.") and theirs.startswith("head.fc.") == is_mlp):
            return f"{theirs}.{kind}"
    return None


def _needed_names(present: set[str]) -> list[str]:
    """What must be there beside what is: the encoder, and all of a decoder and of a head of which a part is there."""
    needed = ["temp_embed", "pos_embed"]
    modules = ["joints_embed.proj", "norm"]
    stacks = ["blocks"]
    if any(name.startswith("decoder_") for name in present):
        needed += ["mask_token", "decoder_temp_embed", "decoder_pos_embed"]
        modules += ["decoder_embed", "decoder_norm", "decoder_pred"]
        stacks.append("decoder_blocks")
    if any(name.startswith("head.fc.") for name in present):
        modules.append("head.fc.1")
        needed += [f"head.fc.0.{buffer}" for buffer in ("running_mean", "running_var")]
    elif any(name.startswith("head.") for name in present):
        modules += ["head.fc1", "head.bn", "head.fc2"]
        needed += [f"head.bn.{buffer}" for buffer in ("running_mean", "running_var")]
    for stack in stacks:
        numbers = {match[1] for name in present if (match := re.match(rf"{stack}\.(\d+)\.", name))} or {"0"}
        modules += [f"{stack}.{number}.{inner}" for number in sorted(numbers, key=int) for inner in _LAYER_MODULES]
    return needed + [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]


def _count_layers(weights: Mapping[str, torch.Tensor], stack: str) -> int:
    numbers = {int(match[1]) for name in weights if (match := re.match(rf"{re.escape(stack)}\.(\d+)\.", name))}
    return len(numbers)


__all__ = [
    "convert_original_checkpoint",
    "infer_model",
    "load_original_checkpoint",
    "mamp_to_original",
    "original_to_mamp",
]
