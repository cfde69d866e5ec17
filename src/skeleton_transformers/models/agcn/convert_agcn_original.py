"""Checkpoints of the code that the authors of 2s-AGCN released, to our models and back.

Nothing of theirs is needed: a checkpoint is a dictionary of tensors, and only names differ. The fixed graph is not in it.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ..conversion import read_state_dict, save_converted
from ..graph_conversion import NameTable, find_layout, layer_widths, load_exactly, released_strides
from .configuration_agcn import AGCNConfig
from .modeling_agcn import AGCNForActionRecognition


_GRAPH = "agcn.graph"
_LAYER = "agcn.layers.<n>"
_NAMES = NameTable(
    "2s-AGCN",
    {
        "data_bn.<leaf>": "agcn.input_norm.<leaf>",
        "l<n>.gcn1.PA": f"{_LAYER}.graph.learnt_graph",
        "l<n>.gcn1.conv_a.<k>.<leaf>": f"{_LAYER}.graph.source.<k>.<leaf>",
        "l<n>.gcn1.conv_b.<k>.<leaf>": f"{_LAYER}.graph.target.<k>.<leaf>",
        "l<n>.gcn1.conv_d.<k>.<leaf>": f"{_LAYER}.graph.output.<k>.<leaf>",
        "l<n>.gcn1.down.0.<leaf>": f"{_LAYER}.graph.residual.conv.<leaf>",
        "l<n>.gcn1.down.1.<leaf>": f"{_LAYER}.graph.residual.norm.<leaf>",
        "l<n>.gcn1.bn.<leaf>": f"{_LAYER}.graph.norm.<leaf>",
        "l<n>.tcn1.conv.<leaf>": f"{_LAYER}.temporal.conv.<leaf>",
        "l<n>.tcn1.bn.<leaf>": f"{_LAYER}.temporal.norm.<leaf>",
        "l<n>.residual.conv.<leaf>": f"{_LAYER}.residual.conv.<leaf>",
        "l<n>.residual.bn.<leaf>": f"{_LAYER}.residual.norm.<leaf>",
        "fc.<leaf>": "classifier.<leaf>",
    },
    first=1,
)


def original_to_agcn(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the entries of an original checkpoint; the tensors stay as they are.

    Args:
        state_dict: original names, with or without `module.`.

    Returns:
        the same tensors under the names of [`AGCNForActionRecognition`], all but the fixed graph, which follows from the layout.

    Raises:
        ValueError: it is not a checkpoint of 2s-AGCN; the message lists what is unexpected.
    """
    return _NAMES.import_names(state_dict)


def agcn_to_original(state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The inverse of [`original_to_agcn`]; the fixed graph is left out.

    Args:
        state_dict: names of [`AGCNForActionRecognition`].
        prefix: `"module."` gives the names that DataParallel saves.

    Raises:
        ValueError: a name is not one of a 2s-AGCN model.
    """
    return _NAMES.export_names({name: tensor for name, tensor in state_dict.items() if name != _GRAPH}, prefix)


def infer_config(
    state_dict: Mapping[str, torch.Tensor],
    layout: str | dict[str, Any] | None = None,
    num_channels: int = 3,
) -> AGCNConfig:
    """Tells the configuration from an original checkpoint.

    Strides leave no trace; like those of the released code, they are taken to be 2 where a layer is wider than the one before.

    Args:
        state_dict: original names.
        layout: layout of the joints; needed unless there are 25 (Kinect v2) or 18 of them (OpenPose).
        num_channels: values per joint.

    Returns:
        the configuration, which treats persons as the original does.

    Raises:
        ValueError: it is not a checkpoint of 2s-AGCN, or the layout does not fit it.
    """
    weights = original_to_agcn(state_dict)
    for name in ("agcn.input_norm.weight", "agcn.layers.0.graph.learnt_graph", "classifier.weight"):
        if name not in weights:
            raise ValueError(f"the checkpoint has no {next(iter(_NAMES.export_names({name: torch.empty(0)})))}.")
    num_joints = weights["agcn.layers.0.graph.learnt_graph"].shape[-1]
    layout = find_layout(num_joints, layout)
    widths = layer_widths(weights, "agcn.")
    return AGCNConfig.from_preset(
        "original",
        layout=layout,
        num_channels=num_channels,
        num_persons=len(weights["agcn.input_norm.weight"]) // (num_joints * num_channels),
        hidden_sizes=widths,
        strides=released_strides(widths),
        temporal_kernel_size=weights["agcn.layers.0.temporal.conv.weight"].shape[2],
        embedding_factor=widths[0] // len(weights["agcn.layers.0.graph.source.0.weight"]),
        num_labels=len(weights["classifier.weight"]),
    )


def load_original_checkpoint(
    path: str | PathLike, layout: str | dict[str, Any] | None = None, num_channels: int = 3
) -> AGCNForActionRecognition:
    """Reads an original checkpoint. Nothing in the file is executed.

    Args:
        path: file saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers (`{"state_dict": ...}`).
        layout: layout of the joints; needed unless there are 25 or 18 of them.
        num_channels: values per joint.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    try:
        state_dict = read_state_dict(path)
        model = AGCNForActionRecognition(infer_config(state_dict, layout, num_channels))
        load_exactly(model, original_to_agcn(state_dict), may_be_missing=[_GRAPH])
    except ValueError as error:
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
        layout: layout of the joints; needed unless there are 25 or 18 of them.
        stream: `"joint"` or `"bone"`, what the checkpoint was trained on; it leaves no trace in the file.

    Returns:
        the folder.
    """
    model = load_original_checkpoint(source, layout)
    config = model.config
    is_flat = config.skeleton_layout.name == "openpose18"
    return save_converted(
        model,
        target_folder,
        stream=stream,
        motion_zero="last",
        center="none" if is_flat else "every_frame",
        normalize_view=not is_flat,
        max_frames=config.padded_frames,
        max_persons=config.num_persons,
        person_selection="first" if is_flat else "energy",
        confidence_channel=is_flat,
    )


__all__ = [
    "agcn_to_original",
    "convert_original_checkpoint",
    "infer_config",
    "load_original_checkpoint",
    "original_to_agcn",
]
