"""Checkpoints of the released graph networks: what their converters share."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..skeletons import get_layout
from .conversion import PREFIX, listed


# What stands for a number and for the last word of a name in the tables of the converters.
_PATTERNS = {"<n>": r"(?P<n>\d+)", "<k>": r"(?P<k>\d+)", "<leaf>": r"(?P<leaf>\w+)"}


class NameTable:
    """Pairs of names, ours to theirs, in which `<n>` and `<k>` stand for numbers and `<leaf>` for `weight`, `bias` and the like.

    Args:
        system: what messages call the system.
        names: their name -> our name.
        first: number of their first layer; ours is 0.
    """

    def __init__(self, system: str, names: Mapping[str, str], first: int = 0):
        self.system = system
        self.first = first
        self.to_ours = [(_compile(theirs), ours) for theirs, ours in names.items()]
        self.to_theirs = [(_compile(ours), theirs) for theirs, ours in names.items()]

    def import_names(self, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Their names, with or without `module.`, to ours.

        Raises:
            ValueError: a name is not one of the system.
        """
        names = {name: _translate(name.removeprefix(PREFIX), self.to_ours, -self.first) for name in state_dict}
        unexpected = [name for name, ours in names.items() if ours is None]
        if unexpected or not names:
            raise ValueError(
                f"this is not a checkpoint of the original {self.system} code. Unexpected entries: {listed(unexpected)}."
            )
        return {str(ours): state_dict[name] for name, ours in names.items()}

    def export_names(self, state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
        """Our names to theirs, each with `prefix` in front.

        Raises:
            ValueError: a name is not one of the system.
        """
        names = {name: _translate(name, self.to_theirs, self.first) for name in state_dict}
        unexpected = [name for name, theirs in names.items() if theirs is None]
        if unexpected:
            raise ValueError(f"these are not parameters of an {self.system} model: {listed(unexpected)}.")
        return {f"{prefix}{theirs}": state_dict[name] for name, theirs in names.items()}


def _compile(template: str) -> re.Pattern[str]:
    pattern = re.escape(template)
    for mark, expression in _PATTERNS.items():
        pattern = pattern.replace(re.escape(mark), expression)
    return re.compile(pattern)


def _translate(name: str, table: Sequence[tuple[re.Pattern[str], str]], shift: int) -> str | None:
    for pattern, template in table:
        if match := pattern.fullmatch(name):
            found = match.groupdict()
            if "n" in found:
                number = int(found["n"]) + shift
                if number < 0:
                    return None
                found["n"] = str(number)
            for key, value in found.items():
                template = template.replace(f"<{key}>", value)
            return template
    return None


def find_layout(num_joints: int, layout: str | dict[str, Any] | None) -> str | dict[str, Any]:
    """Layout of a checkpoint: the one that is named, or else the one that the released codes use for so many joints.

    Raises:
        ValueError: there is none, or the one that is named has another number of joints.
    """
    if layout is None:
        known = {get_layout(name).num_joints: name for name in ("ntu25", "openpose18")}
        if num_joints not in known:
            raise ValueError(f"the checkpoint has {num_joints} joints; name their layout (layout=...).")
        return known[num_joints]
    if get_layout(layout).num_joints != num_joints:
        raise ValueError(
            f"the checkpoint has {num_joints} joints, but layout {get_layout(layout).name!r} has "
            f"{get_layout(layout).num_joints}; name the layout that it was trained with."
        )
    return layout


def load_exactly(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], may_be_missing: Sequence[str] = ()
) -> None:
    """Loads weights that have to fill a model, apart from the entries that may be missing.

    Raises:
        ValueError: entries are missing, or do not belong there, or have another shape.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in weights and not name.startswith(tuple(may_be_missing))]
    unexpected = [name for name in weights if name not in expected]
    shapes = [name for name in weights if name in expected and weights[name].shape != expected[name].shape]
    if missing or unexpected or shapes:
        raise ValueError(
            f"the checkpoint does not fill the model (our names). Missing entries: {listed(missing)}. Unexpected entries: "
            f"{listed(unexpected)}. Entries of another shape: {listed(shapes)}."
        )
    model.load_state_dict({**expected, **weights})


def layer_widths(weights: Mapping[str, torch.Tensor], prefix: str) -> list[int]:
    """Widths of the layers, read off the convolutions over time."""
    sizes = {}
    pattern = re.compile(re.escape(prefix) + r"layers\.(\d+)\.temporal\.conv\.weight")
    for name, tensor in weights.items():
        if match := pattern.fullmatch(name):
            sizes[int(match[1])] = len(tensor)
    if sorted(sizes) != list(range(len(sizes))) or not sizes:
        raise ValueError(
            f"the checkpoint has the layers {sorted(sizes)}, which are not all from the first to the last."
        )
    return [sizes[number] for number in range(len(sizes))]


def released_strides(widths: Sequence[int]) -> list[int]:
    """Strides of the released architectures: 2 where a layer is wider than the one before, else 1."""
    return [1, *(2 if after > before else 1 for before, after in zip(widths[:-1], widths[1:], strict=True))]


__all__ = ["NameTable", "find_layout", "layer_widths", "load_exactly", "released_strides"]
