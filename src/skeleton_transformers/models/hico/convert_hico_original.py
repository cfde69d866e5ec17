"""Checkpoints of the code that the authors of HiCo released, to our models and back.

Nothing of theirs is needed: a checkpoint is a dictionary of tensors. Names differ, and the queues have features in columns.
"""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ...skeletons import get_layout
from ..conversion import PREFIX, listed, read_state_dict, save_converted
from .configuration_hico import HiCoConfig
from .modeling_hico import HiCoForActionRecognition, HiCoForPreTraining, HiCoModel, HiCoPreTrainedModel


# Their names and ours, piece by piece.
_NETWORKS = {
    # place of a network in their code -> place of its encoder and of its projections in ours
    "encoder_q.": ("hico.", "projections."),
    "encoder_k.": ("key_encoder.network.", "key_projections.network."),
    "": ("hico.", ""),  # down-stream
}
_BRANCHES = {"t": "temporal", "s": "spatial"}
_PROJECTIONS = {
    "instance_proj": "instance",
    "td_proj": "temporal",
    "sd_proj": "spatial",
    "clip_proj": "clip",
    "part_proj": "part",
}
_PROJECTION_LAYERS = {"0": "dense", "2": "output"}
_QUEUES = {"i": "instance", "t": "temporal", "s": "spatial", "c": "clip", "p": "part"}
_BRANCH_MODULES = {
    "embedding.0": "embeddings.dense",
    "embedding.1": "embeddings.layer_norm",
    "embedding.3": "embeddings.output",
    "downsample.conv.dw_conv": "downsampling.conv",
    "downsample.norm": "downsampling.layer_norm",
}
_LAYER_MODULES = {
    "self_attn.out_proj": "attention.output",
    "linear1": "intermediate",
    "linear2": "output",
    "norm1": "layernorm_attention",
    "norm2": "layernorm_output",
}

_RECURRENT = r"(?:weight|bias)_(?:ih|hh)_l\d+(?:_reverse)?"
_ORIGINAL_NAME = re.compile(r"(?P<network>encoder_[qk]\.|)(?P<rest>hi_encoder\..+|\w+_proj\..+)")
# Attention heads leave no trace in a checkpoint; the released code has four.
_NUM_HEADS = 4


def original_to_hico(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the entries of an original checkpoint and turns its queues over.

    Args:
        state_dict: original names, with or without `module.`: of pre-training (`encoder_q`, `encoder_k`, queues; also the
            query encoder alone, with or without projectors), or down-stream (`hi_encoder`, `fc`).

    Returns:
        the tensors under the names of [`HiCoForPreTraining`] and [`HiCoForActionRecognition`].

    Raises:
        ValueError: it is not a checkpoint of HiCo; the message lists what is unexpected and what is missing.
    """
    ours: dict[str, torch.Tensor] = {}
    unexpected = []
    for full_name, tensor in state_dict.items():
        name = full_name.removeprefix(PREFIX)
        if match := re.fullmatch(r"([itscp])_queue(_ptr)?", name):
            queue = f"queues.{_QUEUES[match[1]]}"
            ours |= {f"{queue}.pointer": tensor} if match[2] else {f"{queue}.features": tensor.T.contiguous()}
        elif match := re.fullmatch(r"fc\.(weight|bias)", name):
            ours[f"classifier.{match[1]}"] = tensor
        elif new_name := _our_name(name):
            ours[new_name] = tensor
        else:
            unexpected.append(full_name)
    present = {name.removeprefix(PREFIX) for name in state_dict}
    missing = [name for name in _needed_names(present) if name not in present]
    if unexpected or missing:
        raise ValueError(
            "this is not a checkpoint of the original HiCo code. "
            f"Unexpected entries: {listed(unexpected)}. Missing entries: {listed(missing)}."
        )
    return ours


def hico_to_original(
    state_dict: Mapping[str, torch.Tensor], prefix: str = "", downstream: bool | None = None
) -> dict[str, torch.Tensor]:
    """The inverse of [`original_to_hico`].

    Args:
        state_dict: names of [`HiCoForPreTraining`], [`HiCoForActionRecognition`], or of [`HiCoModel`].
        prefix: `"module."` gives the names that DataParallel saves.
        downstream: whether the encoder gets the names of the down-stream code (`hi_encoder` instead of
            `encoder_q.hi_encoder`); default: if there is a classifier.

    Raises:
        ValueError: a name is not one of a HiCo model.
    """
    if downstream is None:
        downstream = any(name.startswith("classifier.") for name in state_dict)
    known = ("hico.", "projections.", "classifier.", "key_encoder.", "key_projections.", "queues.")
    original: dict[str, torch.Tensor] = {}
    unexpected = []
    for full_name, tensor in state_dict.items():
        name = full_name if full_name.startswith(known) else f"hico.{full_name}"
        if name.endswith(".num_updates"):  # the original does not count them
            continue
        new_name = _original_name(name, downstream)
        if new_name is None:
            unexpected.append(full_name)
        elif new_name.endswith("_queue"):
            original[prefix + new_name] = tensor.T.contiguous()
        else:
            original[prefix + new_name] = tensor
    if unexpected:
        raise ValueError(f"these are not the parameters of a HiCo model: {listed(unexpected)}.")
    return original


def infer_model(
    state_dict: Mapping[str, torch.Tensor], layout: str | dict[str, Any] | None = None, num_channels: int = 3
) -> tuple[type[HiCoPreTrainedModel], HiCoConfig]:
    """Tells from the shapes of an original checkpoint which model it belongs to.

    Args:
        state_dict: original names.
        layout: layout of the joints, by default the 25 of Kinect v2.
        num_channels: values per joint, which leave no trace in a checkpoint.

    Returns:
        the class (with a classifier: recognition; with projectors or a key encoder: pre-training), and the configuration, with
        absent persons and queues as in the original.

    Raises:
        ValueError: it is not a checkpoint of HiCo, or the layout does not fit it.
    """
    weights = original_to_hico(state_dict)
    layout = layout or "ntu25"
    num_joints = get_layout(layout).num_joints
    branch_size, temporal_size = weights["hico.temporal.embeddings.dense.weight"].shape
    spatial_size = weights["hico.spatial.embeddings.dense.weight"].shape[1]
    if temporal_size % (num_joints * num_channels) or spatial_size % num_channels:
        raise ValueError(
            f"the checkpoint has {temporal_size} values per frame, which are no persons of {num_joints} joints (layout "
            f"{get_layout(layout).name!r}) with {num_channels} values; name the layout and num_channels that it was trained with."
        )
    fields: dict[str, Any] = {}
    encoder = "hico.temporal.encoder.layers"
    if f"{encoder}.rnn.weight_hh_l0" in weights:
        rows, width = weights[f"{encoder}.rnn.weight_hh_l0"].shape
        fields["encoder"] = {3: "gru", 4: "lstm"}[rows // width]
        pattern = re.compile(rf"{encoder}\.rnn\.weight_ih_l(\d+)")
    else:
        fields |= {
            "num_attention_heads": _NUM_HEADS,
            "intermediate_size": len(weights[f"{encoder}.0.intermediate.weight"]),
        }
        pattern = re.compile(rf"{encoder}\.(\d+)\.intermediate\.weight")
    fields["num_layers"] = 1 + max(int(match[1]) for name in weights if (match := pattern.fullmatch(name)))
    model_class: type[HiCoPreTrainedModel] = HiCoModel
    if "classifier.weight" in weights:
        model_class = HiCoForActionRecognition
        labels, width = weights["classifier.weight"].shape
        fields |= {"num_labels": labels, "num_granularities": width // (2 * branch_size)}
    elif "projections.instance.dense.weight" in weights:
        model_class = HiCoForPreTraining
        hidden_size, width = weights["projections.instance.dense.weight"].shape
        fields |= {"projection_hidden_size": hidden_size, "num_granularities": width // (2 * branch_size)}
        fields["projection_size"] = len(weights["projections.instance.output.weight"])
        if "queues.instance.features" in weights:
            fields["queue_size"] = len(weights["queues.instance.features"])
    config = HiCoConfig.from_preset(
        "original",
        layout=layout,
        num_channels=num_channels,
        num_persons=temporal_size // (num_joints * num_channels),
        num_frames=spatial_size // num_channels,
        branch_size=branch_size,
        downsampling_kernel_size=weights["hico.temporal.downsampling.conv.weight"].shape[-1],
        **fields,
    )
    return model_class, config


def load_original_checkpoint(
    path: str | PathLike, layout: str | dict[str, Any] | None = None, num_channels: int = 3
) -> HiCoForActionRecognition | HiCoForPreTraining | HiCoModel:
    """Reads an original checkpoint into the model that it belongs to. Nothing in the file is executed.

    Args:
        path: file saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers (`{"state_dict": ...}`).
        layout: layout of the joints, by default the 25 of Kinect v2.
        num_channels: values per joint.

    Returns:
        the model in evaluation mode. A pre-training model whose file has no key encoder gets a copy of the query encoder.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    try:
        state_dict = read_state_dict(path)
        model_class, config = infer_model(state_dict, layout, num_channels)
        weights = original_to_hico(state_dict)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model = model_class(config)
    if model_class is HiCoModel:
        weights = {name.removeprefix("hico."): tensor for name, tensor in weights.items()}
    elif model_class is HiCoForPreTraining:
        for ours, keys in (("hico.", "key_encoder.network."), ("projections.", "key_projections.network.")):
            query = {name: tensor for name, tensor in weights.items() if name.startswith(ours)}
            weights = {**{keys + name.removeprefix(ours): tensor for name, tensor in query.items()}, **weights}
        # Queues that are not in the file stay random, and updates are not counted in it.
        weights = {
            **{name: tensor for name, tensor in model.state_dict().items() if name.startswith("queues.")},
            **{name: tensor for name, tensor in model.state_dict().items() if name.endswith(".num_updates")},
            **weights,
        }
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
        layout: layout of the joints, by default the 25 of Kinect v2.
        stream: `"joint"`, `"motion"` or `"bone"`, what the checkpoint was trained on; it leaves no trace in the file.

    Returns:
        the folder.
    """
    model = load_original_checkpoint(source, layout)
    return save_converted(
        model,
        target_folder,
        stream=stream,
        motion_zero="last",
        center="every_frame",
        normalize_view=True,
        center_crop=0.95,
        num_frames=model.config.num_frames,
        max_persons=model.config.num_persons,
        person_selection="energy",
    )


def _our_name(name: str) -> str | None:
    """Our name of a parameter of an encoder or a projector."""
    match = _ORIGINAL_NAME.fullmatch(name)
    if match is None:
        return None
    encoder, projections = _NETWORKS[match["network"]]
    rest = match["rest"]
    if found := re.fullmatch(r"(\w+_proj)\.(\d)\.(weight|bias)", rest):
        theirs, layer, kind = found.groups()
        known = projections and theirs in _PROJECTIONS and layer in _PROJECTION_LAYERS
        return f"{projections}{_PROJECTIONS[theirs]}.{_PROJECTION_LAYERS[layer]}.{kind}" if known else None
    found = re.fullmatch(r"hi_encoder\.([ts])_(.+)", rest)
    if found is None:
        return None
    branch, inner = f"{encoder}{_BRANCHES[found[1]]}.", found[2]
    if found := re.fullmatch(rf"encoder\.({_RECURRENT})", inner):
        return f"{branch}encoder.layers.rnn.{found[1]}"
    if found := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.in_proj_(weight|bias)", inner):
        return f"{branch}encoder.layers.{found[1]}.attention.query_key_value.{found[2]}"
    if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", inner):
        number, module, kind = found.groups()
        return f"{branch}encoder.layers.{number}.{_LAYER_MODULES[module]}.{kind}" if module in _LAYER_MODULES else None
    module, _, kind = inner.rpartition(".")
    return (
        f"{branch}{_BRANCH_MODULES[module]}.{kind}"
        if module in _BRANCH_MODULES and kind in ("weight", "bias")
        else None
    )


def _original_name(name: str, downstream: bool) -> str | None:
    """The inverse of `_our_name`, and the names of queues and of the classifier."""
    if match := re.fullmatch(r"queues\.(\w+)\.(features|pointer)", name):
        letters = {ours: theirs for theirs, ours in _QUEUES.items()}
        suffix = "_queue" if match[2] == "features" else "_queue_ptr"
        return letters[match[1]] + suffix if match[1] in letters else None
    if match := re.fullmatch(r"classifier\.(weight|bias)", name):
        return f"fc.{match[1]}"
    for network, (encoder, projections) in _NETWORKS.items():
        if network == ("encoder_q." if downstream else ""):
            continue
        if projections and name.startswith(projections):
            for theirs, ours in _PROJECTIONS.items():
                for number, layer in _PROJECTION_LAYERS.items():
                    for kind in ("weight", "bias"):
                        if name == f"{projections}{ours}.{layer}.{kind}":
                            return f"{network}{theirs}.{number}.{kind}"
        if name.startswith(encoder):
            return _original_encoder_name(network, name.removeprefix(encoder))
    return None


def _original_encoder_name(network: str, name: str) -> str | None:
    branch, _, inner = name.partition(".")
    letter = {ours: theirs for theirs, ours in _BRANCHES.items()}.get(branch)
    if letter is None:
        return None
    start = f"{network}hi_encoder.{letter}_"
    if match := re.fullmatch(rf"encoder\.layers\.rnn\.({_RECURRENT})", inner):
        return f"{start}encoder.{match[1]}"
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.attention\.query_key_value\.(weight|bias)", inner):
        return f"{start}encoder.layers.{match[1]}.self_attn.in_proj_{match[2]}"
    module, _, kind = inner.rpartition(".")
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", module):
        theirs = {ours: original for original, ours in _LAYER_MODULES.items()}.get(match[2])
        return f"{start}encoder.layers.{match[1]}.{theirs}.{kind}" if theirs else None
    theirs = {ours: original for original, ours in _BRANCH_MODULES.items()}.get(module)
    return f"{start}{theirs}.{kind}" if theirs else None


def _needed_names(present: set[str]) -> list[str]:
    """What must be there beside what is: all of a network of which a part is there, and of the query encoder in any case."""
    networks = [
        network for network in ("encoder_q.", "encoder_k.") if any(name.startswith(network) for name in present)
    ]
    if not networks or any(name.startswith("hi_encoder.") for name in present):
        networks.append("")
    needed = []
    layers = {int(match[1]) for name in present if (match := re.search(r"_encoder\.layers\.(\d+)\.", name))}
    recurrent = {match[0] for name in present if (match := re.search(rf"{_RECURRENT}$", name))}
    for network in networks:
        for letter in _BRANCHES:
            branch = f"{network}hi_encoder.{letter}_"
            modules = [branch + module for module in _BRANCH_MODULES]
            for number in layers if layers or recurrent else {0}:
                layer = f"{branch}encoder.layers.{number}."
                modules += [layer + module for module in _LAYER_MODULES]
                needed += [f"{layer}self_attn.in_proj_weight", f"{layer}self_attn.in_proj_bias"]
            needed += [f"{branch}encoder.{name}" for name in sorted(recurrent)]
            needed += [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
        if any(re.match(rf"{re.escape(network)}\w+_proj\.", name) for name in present):
            modules = [f"{network}{theirs}.{layer}" for theirs in _PROJECTIONS for layer in _PROJECTION_LAYERS]
            needed += [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
    return needed


__all__ = [
    "convert_original_checkpoint",
    "hico_to_original",
    "infer_model",
    "load_original_checkpoint",
    "original_to_hico",
]
