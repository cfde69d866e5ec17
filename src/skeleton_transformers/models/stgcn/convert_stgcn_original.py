"""Checkpoints of the code that the authors of ST-GCN released, to our models and back.

Nothing of theirs is needed: a checkpoint is a dictionary of tensors. Names differ, and the classifier is a convolution of size 1.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ..conversion import read_state_dict, save_converted
from ..graph_conversion import NameTable, find_layout, layer_widths, load_exactly, released_strides
from ..graphs import HOPS_TO_CENTER, PARTITIONS
from .configuration_stgcn import STGCNConfig
from .modeling_stgcn import STGCNForActionRecognition


_LAYER = "st_gcn_networks.<n>"
_NAMES = NameTable(
    "ST-GCN",
    {
        "A": "stgcn.graph",
        "data_bn.<leaf>": "stgcn.input_norm.<leaf>",
        f"{_LAYER}.gcn.conv.<leaf>": "stgcn.layers.<n>.graph.conv.<leaf>",
        f"{_LAYER}.tcn.0.<leaf>": "stgcn.layers.<n>.graph_norm.<leaf>",
        f"{_LAYER}.tcn.2.<leaf>": "stgcn.layers.<n>.temporal.conv.<leaf>",
        f"{_LAYER}.tcn.3.<leaf>": "stgcn.layers.<n>.temporal.norm.<leaf>",
        f"{_LAYER}.residual.0.<leaf>": "stgcn.layers.<n>.residual.conv.<leaf>",
        f"{_LAYER}.residual.1.<leaf>": "stgcn.layers.<n>.residual.norm.<leaf>",
        "edge_importance.<n>": "stgcn.layers.<n>.graph.edge_importance",
        "fcn.<leaf>": "classifier.<leaf>",
    },
)


def original_to_stgcn(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the entries of an original checkpoint; the values stay as they are.

    Args:
        state_dict: original names, with or without `module.`.

    Returns:
        the same values under the names of [`STGCNForActionRecognition`].

    Raises:
        ValueError: it is not a checkpoint of ST-GCN; the message lists what is unexpected.
    """
    weights = _NAMES.import_names(state_dict)
    if "classifier.weight" in weights:
        weights["classifier.weight"] = weights["classifier.weight"].flatten(1)  # (labels, hidden_size, 1, 1)
    return weights


def stgcn_to_original(state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The inverse of [`original_to_stgcn`].

    Args:
        state_dict: names of [`STGCNForActionRecognition`].
        prefix: `"module."` gives the names that DataParallel saves.

    Raises:
        ValueError: a name is not one of an ST-GCN model.
    """
    weights = dict(state_dict)
    if "classifier.weight" in weights:
        weights["classifier.weight"] = weights["classifier.weight"][:, :, None, None]
    return _NAMES.export_names(weights, prefix)


def infer_config(state_dict: Mapping[str, torch.Tensor], layout: str | dict[str, Any] | None = None) -> STGCNConfig:
    """Tells the configuration from an original checkpoint.

    Strides leave no trace; like those of the released code, they are taken to be 2 where a layer is wider than the one before.

    Args:
        state_dict: original names.
        layout: layout of the joints; needed unless there are 25 (Kinect v2) or 18 of them (OpenPose).

    Returns:
        the configuration, which treats absent persons as the original does.

    Raises:
        ValueError: it is not a checkpoint of ST-GCN, or its graph is not one of that layout.
    """
    weights = original_to_stgcn(state_dict)
    for name in ("stgcn.graph", "stgcn.input_norm.weight", "classifier.weight"):
        if name not in weights:
            raise ValueError(f"the checkpoint has no {next(iter(_NAMES.export_names({name: torch.empty(0)})))}.")
    graph = weights["stgcn.graph"]
    num_joints = graph.shape[-1]
    layout = find_layout(num_joints, layout)
    widths = layer_widths(weights, "stgcn.")
    fields = {
        "layout": layout,
        "num_channels": len(weights["stgcn.input_norm.weight"]) // num_joints,
        "hidden_sizes": widths,
        "strides": released_strides(widths),
        "temporal_kernel_size": weights["stgcn.layers.0.temporal.conv.weight"].shape[2],
        "edge_importance": "stgcn.layers.0.graph.edge_importance" in weights,
        "num_labels": len(weights["classifier.weight"]),
    }
    # The graph is in the file: it tells the partition.
    for partition in PARTITIONS:
        for max_hop in range(1, num_joints):
            for rule in HOPS_TO_CENTER:
                config = STGCNConfig.from_preset(
                    "original", **fields, partition=partition, max_hop=max_hop, hop_to_center=rule
                )
                if config.num_subsets == len(graph) and torch.allclose(
                    torch.from_numpy(config.make_graph()), graph, atol=1e-6
                ):
                    return config
    raise ValueError(
        f"the graph in the checkpoint ({len(graph)} subsets) is none that can be made from layout "
        f"{get_name(layout)!r}; name the layout that it was trained with."
    )


def get_name(layout: str | dict[str, Any]) -> str:
    """What messages call a layout."""
    return layout if isinstance(layout, str) else str(layout.get("name"))


def load_original_checkpoint(
    path: str | PathLike, layout: str | dict[str, Any] | None = None
) -> STGCNForActionRecognition:
    """Reads an original checkpoint. Nothing in the file is executed.

    Args:
        path: file saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers (`{"state_dict": ...}`).
        layout: layout of the joints; needed unless there are 25 or 18 of them.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    try:
        state_dict = read_state_dict(path)
        model = STGCNForActionRecognition(infer_config(state_dict, layout))
        load_exactly(model, original_to_stgcn(state_dict))
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
        stream: what the checkpoint was trained on; it leaves no trace in the file.

    Returns:
        the folder.
    """
    model = load_original_checkpoint(source, layout)
    return save_converted(
        model,
        target_folder,
        stream=stream,
        max_frames=model.config.padded_frames,
        confidence_channel=model.config.skeleton_layout.name == "openpose18",
    )


__all__ = [
    "convert_original_checkpoint",
    "infer_config",
    "load_original_checkpoint",
    "original_to_stgcn",
    "stgcn_to_original",
]
