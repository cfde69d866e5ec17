"""Checkpoints of the code that the authors of AS-GCN released, to our models and back.

They are two files: the network (`..._model1.pt`) and the inference module of action links with its decoder (`..._model2.pt`). Nothing
else of theirs is needed. Names differ, and the classifier is a convolution of size 1.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from ..conversion import read_state_dict, save_converted
from ..graph_conversion import NameTable, find_layout, layer_widths, load_exactly, released_strides
from ..graphs import HOPS_TO_CENTER
from .configuration_asgcn import ASGCNConfig
from .modeling_asgcn import ASGCNForActionRecognition


_BLOCK = {
    "gcn.conv.<leaf>": "graph.conv.<leaf>",
    "tcn.0.<leaf>": "graph_norm.<leaf>",
    "tcn.2.<leaf>": "temporal.conv.<leaf>",
    "tcn.3.<leaf>": "temporal.norm.<leaf>",
    "residual.0.<leaf>": "residual.conv.<leaf>",
    "residual.1.<leaf>": "residual.norm.<leaf>",
}
_LAST = 6  # number of the last layer that predicts the future
_FUTURE = "asgcn.future."
_NETWORK = NameTable(
    "AS-GCN",
    {
        "A": "asgcn.graph",
        "data_bn.<leaf>": "asgcn.input_norm.<leaf>",
        **{f"class_layer_<n>.{theirs}": f"asgcn.layers.<n>.{ours}" for theirs, ours in _BLOCK.items()},
        "edge_importance.<n>": "asgcn.layers.<n>.graph.edge_importance",
        **{f"recon_layer_<n>.{theirs}": f"{_FUTURE}layers.<n>.{ours}" for theirs, ours in _BLOCK.items()},
        f"recon_layer_{_LAST}.gcn_recon.deconv.<leaf>": f"{_FUTURE}graph.conv.<leaf>",
        f"recon_layer_{_LAST}.tcn_recon.0.<leaf>": f"{_FUTURE}graph_norm.<leaf>",
        f"recon_layer_{_LAST}.tcn_recon.2.<leaf>": f"{_FUTURE}conv.<leaf>",
        f"recon_layer_{_LAST}.tcn_recon.3.<leaf>": f"{_FUTURE}norm.<leaf>",
        f"edge_importance_recon.{_LAST}": f"{_FUTURE}graph.edge_importance",
        f"edge_importance_recon.{_LAST + 1}": f"{_FUTURE}spare_edge_importance.0",
        f"edge_importance_recon.{_LAST + 2}": f"{_FUTURE}spare_edge_importance.1",
        "edge_importance_recon.<n>": f"{_FUTURE}layers.<n>.graph.edge_importance",
        "fcn.<leaf>": "classifier.<leaf>",
    },
)
_INFERENCE = "asgcn.link_inference."
_MLPS = {"mlp1": "node", "mlp2": "pair", "mlp3": "second_node", "mlp4": "second_pair"}
_MLP_LAYERS = {"fc1": "dense", "fc2": "output", "bn": "norm"}
_GATES = {"r": "reset", "i": "update", "n": "new"}
_LINKS = NameTable(
    "AS-GCN inference module",
    {
        **{
            f"encoder.{mlp}.{layer}.<leaf>": f"{_INFERENCE}{our_mlp}.{our_layer}.<leaf>"
            for mlp, our_mlp in _MLPS.items()
            for layer, our_layer in _MLP_LAYERS.items()
        },
        "encoder.fc_out.<leaf>": f"{_INFERENCE}output.<leaf>",
        "decoder.msg_fc1.<k>.<leaf>": "link_decoder.message.<k>.<leaf>",
        "decoder.msg_fc2.<k>.<leaf>": "link_decoder.message_output.<k>.<leaf>",
        **{f"decoder.hidden_{letter}.<leaf>": f"link_decoder.hidden_{gate}.<leaf>" for letter, gate in _GATES.items()},
        **{f"decoder.input_{letter}.<leaf>": f"link_decoder.input_{gate}.<leaf>" for letter, gate in _GATES.items()},
        "decoder.out_fc1.<leaf>": "link_decoder.dense.<leaf>",
        "decoder.out_fc2.<leaf>": "link_decoder.second_dense.<leaf>",
        "decoder.out_fc3.<leaf>": "link_decoder.output.<leaf>",
    },
)


def original_to_asgcn(
    network: Mapping[str, torch.Tensor], links: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Renames the entries of original checkpoints; the values stay as they are.

    Args:
        network: original names of the network, with or without `module.`; may be empty if `links` is not.
        links: original names of the inference module.

    Returns:
        the same values under the names of [`ASGCNForActionRecognition`] and, for the decoder of the inference module,
        [`ASGCNForPreTraining`].

    Raises:
        ValueError: it is not a checkpoint of AS-GCN; the message lists what is unexpected.
    """
    weights = _NETWORK.import_names(network) if network or not links else {}
    if "classifier.weight" in weights:
        weights["classifier.weight"] = weights["classifier.weight"].flatten(1)  # (labels, hidden_size, 1, 1)
    return weights | (_LINKS.import_names(links) if links else {})


def asgcn_to_original(
    state_dict: Mapping[str, torch.Tensor], prefix: str = ""
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The inverse of [`original_to_asgcn`].

    Args:
        state_dict: names of [`ASGCNForActionRecognition`] or [`ASGCNForPreTraining`].
        prefix: `"module."` gives the names that DataParallel saves.

    Returns:
        the entries of the network, and those of the inference module.

    Raises:
        ValueError: a name is not one of an AS-GCN model.
    """
    links = {name: t for name, t in state_dict.items() if name.startswith((_INFERENCE, "link_decoder."))}
    network = {name: tensor for name, tensor in state_dict.items() if name not in links}
    if "classifier.weight" in network:
        network["classifier.weight"] = network["classifier.weight"][:, :, None, None]
    return _NETWORK.export_names(network, prefix), _LINKS.export_names(links, prefix)


def infer_config(
    network: Mapping[str, torch.Tensor],
    links: Mapping[str, torch.Tensor],
    layout: str | dict[str, Any] | None = None,
) -> ASGCNConfig:
    """Tells the configuration from original checkpoints.

    Strides leave no trace; like those of the released code, they are taken to be 2 where a layer is wider than the one before.

    Args:
        network: original names of the network.
        links: original names of the inference module.
        layout: layout of the joints; needed unless there are 25 (Kinect v2) or 18 of them (OpenPose).

    Returns:
        the configuration, which treats absent persons and the predicted residual as the original does.

    Raises:
        ValueError: they are not checkpoints of AS-GCN, or the graph is not one of that layout.
    """
    weights = original_to_asgcn(network, links)
    needed = ("asgcn.graph", "asgcn.input_norm.weight", "classifier.weight", f"{_FUTURE}conv.weight")
    for name in (*needed, f"{_INFERENCE}node.dense.weight", f"{_INFERENCE}output.weight"):
        if name not in weights:
            table = _LINKS if name.startswith(_INFERENCE) else _NETWORK
            raise ValueError(f"the checkpoint has no {next(iter(table.export_names({name: torch.empty(0)})))}.")
    graph = weights["asgcn.graph"]
    num_joints = graph.shape[-1]
    layout = find_layout(num_joints, layout)
    widths = layer_widths(weights, "asgcn.")
    num_channels = len(weights["asgcn.input_norm.weight"]) // num_joints
    for rule in HOPS_TO_CENTER:
        config = ASGCNConfig.from_preset(
            "original",
            layout=layout,
            num_channels=num_channels,
            hidden_sizes=widths,
            strides=released_strides(widths),
            temporal_kernel_size=weights["asgcn.layers.0.temporal.conv.weight"].shape[2],
            max_hop=max(1, len(graph) // 2),
            hop_to_center=rule,
            num_link_types=len(weights[f"{_INFERENCE}output.weight"]) - 1,
            link_frames=weights[f"{_INFERENCE}node.dense.weight"].shape[1] // num_channels,
            link_hidden_size=len(weights[f"{_INFERENCE}node.dense.weight"]),
            future_frames=len(weights[f"{_FUTURE}conv.weight"]) // num_channels,
            future_hidden_size=len(weights[f"{_FUTURE}layers.0.temporal.conv.weight"]),
            num_labels=len(weights["classifier.weight"]),
        )
        made = torch.from_numpy(config.make_graph())
        if made.shape == graph.shape and torch.allclose(made, graph, atol=1e-6):
            return config
    raise ValueError(
        f"the graph in the checkpoint ({len(graph)} subsets) is none that can be made from its layout of {num_joints} joints; "
        "name the layout that it was trained with."
    )


def load_original_checkpoint(
    path: str | PathLike,
    layout: str | dict[str, Any] | None = None,
    links_path: str | PathLike | None = None,
) -> ASGCNForActionRecognition:
    """Reads original checkpoints. Nothing in the files is executed.

    Args:
        path: file of the network, saved by `torch.save`: a dictionary of tensors, also inside the usual wrappers.
        layout: layout of the joints; needed unless there are 25 or 18 of them.
        links_path: file of the inference module; by default the one that the authors' code wrote beside `path`, with `model2` in its
            name instead of `model1`.

    Returns:
        the model in evaluation mode. The decoder of the inference module, which only training needs, is left out.

    Raises:
        ValueError: a file is no such checkpoint, or that of the inference module is not there.
    """
    path = Path(path)
    links_path = path.with_name(path.name.replace("model1", "model2")) if links_path is None else Path(links_path)
    if links_path == path or not links_path.is_file():
        raise ValueError(
            f"{path}: the inference module of action links is a file of its own (..._model2.pt beside ..._model1.pt), and there is "
            "none; put it there, or name it (links_path=...)."
        )
    links = read_named(links_path)
    network = read_named(path)
    try:
        model = ASGCNForActionRecognition(infer_config(network, links, layout))
        weights = original_to_asgcn(network, links)
        load_exactly(model, {name: t for name, t in weights.items() if not name.startswith("link_decoder.")})
    except ValueError as error:
        raise ValueError(f"{path} with {links_path.name}: {error}") from error
    return model.eval()


def read_named(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, whose name is in the errors."""
    try:
        return read_state_dict(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def convert_original_checkpoint(
    source: str | PathLike,
    target_folder: str | PathLike,
    layout: str | dict[str, Any] | None = None,
    stream: str = "joint",
) -> Path:
    """Writes original checkpoints as a folder for `from_pretrained`, with the feature extractor that goes with it.

    Args:
        source: file of the network; that of the inference module lies beside it, see [`load_original_checkpoint`].
        target_folder: folder to write.
        layout: layout of the joints; needed unless there are 25 or 18 of them.
        stream: what the checkpoint was trained on; it leaves no trace in the file.

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
        center="none" if is_flat else "every_frame",
        normalize_view=not is_flat,
        max_frames=config.padded_frames,
        person_selection="first" if is_flat else "energy",
        confidence_channel=is_flat,
    )


__all__ = [
    "asgcn_to_original",
    "convert_original_checkpoint",
    "infer_config",
    "load_original_checkpoint",
    "original_to_asgcn",
]
