"""Checkpoints of other people's code: what all converters share."""

import pickle
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel


# What DataParallel puts in front of every name.
PREFIX = "module."
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_SHOWN = 8


def read_state_dict(path: str | PathLike) -> dict[str, torch.Tensor]:
    """The tensors in a file saved by `torch.save`, also inside the usual wrappers. Nothing in the file is executed.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            "the file is no checkpoint of plain tensors, and nothing else is loaded, because that would execute code from "
            f"the file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    while isinstance(content, Mapping) and (
        inner := next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
    ):
        content = content[inner]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        found = sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"there is no dictionary of tensors in the file, also not under {_WRAPPERS}; found {found}")
    return dict(content)


def listed(names: Sequence[str]) -> str:
    """The first few of some names, for messages."""
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def save_converted(model: PreTrainedModel, folder: str | PathLike, **features: Any) -> Path:
    """Writes a folder for `from_pretrained`, with the feature extractor that goes with the model.

    Args:
        model: a converted model.
        folder: folder to write.
        **features: settings of the feature extractor beside layout and channels, which are those of the model.

    Returns:
        the folder.
    """
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor

    model.save_pretrained(folder)
    config: Any = model.config
    extractor = SkeletonFeatureExtractor(layout=config.layout, num_channels=config.num_channels, **features)
    extractor.save_pretrained(folder)
    return Path(folder)


__all__ = ["PREFIX", "listed", "read_state_dict", "save_converted"]
