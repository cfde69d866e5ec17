"""Acclaim motion capture: a skeleton (`.asf`) and motions of it (`.amc`), as in the CMU database.

The skeleton is a tree of bones. A bone has a direction and a length in the frame of the whole body, axes `C` that its rotations are
about, and up to three degrees of freedom, `M` in a frame of the motion. Its rotation against its parent is `C M C^-1`. A joint of the
result is the far end of a bone; the first one is the root.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...skeletons import SkeletonLayout
from ..kinematics import forward_kinematics
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError


_INCH = 0.0254
_ROTATIONS = ("rx", "ry", "rz")
_AXES = re.compile(r"(?!.*(.).*\1)[xyz]{3}", re.IGNORECASE)
_MOST_BONES = 1000
_LARGEST = 1e6  # no length, position or angle of a body is larger
# The joint at the far end of the bones of the CMU skeletons, in the vocabulary of the layouts.
_JOINTS = {
    "root": "spine_base",
    "lowerback": "spine_lower",
    "upperback": "spine_mid",
    "thorax": "spine_shoulder",
    "lowerneck": "neck",
    "upperneck": "head",
    "head": "head_top",
    **{
        f"{side[0]}{bone}": f"{side}_{joint}"
        for side in ("left", "right")
        for bone, joint in {
            "hipjoint": "hip",
            "femur": "knee",
            "tibia": "ankle",
            "foot": "foot",
            "toes": "toe",
            "clavicle": "shoulder",
            "humerus": "elbow",
            "radius": "forearm",  # the forearm turns about itself there, the hand at the end of the next bone
            "wrist": "wrist",
            "hand": "hand",
            "fingers": "hand_tip",
            "thumb": "thumb",
        }.items()
    },
}


@dataclass
class _Bone:
    name: str
    line: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    channels: tuple[str, ...] = ()
    parent: int = -1


@dataclass(frozen=True)
class AcclaimSkeleton:
    """An Acclaim skeleton.

    Attributes:
        layout: the root and the far ends of the bones, named as in the vocabulary of `skeletons` where they are those of CMU.
        bones: names of the root and the bones in the file, in the order of the joints.
        offsets: float64 `(joints, 3)`, metres, from the joint before it, in the frame of the whole body.
        axes: float64 `(joints, 3, 3)`.
        channels: per joint, what a line of a motion gives for it: "tx", "ty", "tz" (root), "rx", "ry", "rz".
        unit: metres per unit of length.
        degrees: whether angles of a motion that does not say its unit are degrees.
    """

    layout: SkeletonLayout
    bones: tuple[str, ...]
    offsets: np.ndarray
    axes: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    unit: float
    degrees: bool


def _rotation(order: str, angles: np.ndarray) -> np.ndarray:
    """Matrices of rotations about the fixed axes named in `order`, one after the other; angles in radians, `(..., axes)`."""
    from scipy.spatial.transform import Rotation

    flat = angles.reshape(-1, len(order))
    return Rotation.from_euler(order, flat).as_matrix().reshape(*angles.shape[:-1], 3, 3)


class _Lines:
    """The lines of a text file with their numbers, without comments and empty ones."""

    def __init__(self, path: Path):
        self.path = path
        try:
            text = path.read_bytes().decode("utf-8", errors="replace")
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
        self.lines = [
            (number, words)
            for number, line in enumerate(text.splitlines(), 1)
            if (words := line.split("#", 1)[0].split())
        ]

    def fail(self, number: int, problem: str) -> NoReturn:
        raise RecordingError(f"{self.path}, line {number}: {problem}")

    def numbers(self, number: int, words: list[str], count: int, what: str) -> np.ndarray:
        """float64 `(count,)`."""
        try:
            values = np.array([float(word) for word in words], dtype=np.float64)
        except ValueError:
            values = np.empty(0)
        if len(values) != count or not (np.abs(values) <= _LARGEST).all():
            self.fail(number, f"{what} is {' '.join(words)[:60]!r}, expected {count} numbers up to {_LARGEST:g}")
        return values

    def axes(self, number: int, words: list[str], what: str) -> str:
        if len(words) != 1 or not _AXES.fullmatch(words[0]):
            self.fail(number, f"{what} is {' '.join(words)[:20]!r}, expected an order of axes such as XYZ")
        return words[0].lower()


def read_asf(path: str | os.PathLike) -> AcclaimSkeleton:
    """Read an Acclaim skeleton.

    Args:
        path: the `.asf` file.

    Raises:
        RecordingError: if the file is damaged, names a bone twice or leaves one without a parent, or has bones that change in length.
    """
    path = Path(path)
    file = _Lines(path)
    bones = [_Bone("root", 0)]
    index = {"root": 0}
    section, unit, degrees = "", 1.0, True
    root_axes, orientation, root_position = "xyz", np.zeros(3), np.zeros(3)
    bone: _Bone | None = None
    axes: dict[int, tuple[np.ndarray, str]] = {}
    direction: dict[int, np.ndarray] = {}
    length: dict[int, float] = {}
    linked: set[int] = set()
    for number, words in file.lines:
        key = words[0].lower()
        if key.startswith(":"):
            section = key[1:]
        elif section == "units":
            if key == "length":
                unit = float(file.numbers(number, words[1:], 1, "the unit of length")[0])
                if unit <= 0:
                    file.fail(number, f"the unit of length is {unit}, expected a positive number")
            elif key == "angle":
                if words[1:] not in (["deg"], ["rad"]):
                    file.fail(number, f"the unit of angles is {' '.join(words[1:])[:20]!r}, expected deg or rad")
                degrees = words[1] == "deg"
        elif section == "root":
            if key == "order":
                bones[0].channels = tuple(word.lower() for word in words[1:])
                if sorted(bones[0].channels) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
                    file.fail(
                        number, f"the order of the root is {' '.join(words[1:])[:40]!r}, expected TX TY TZ RX RY RZ"
                    )
            elif key == "axis":
                root_axes = file.axes(number, words[1:], "the axis of the root")
            elif key == "position":
                root_position = file.numbers(number, words[1:], 3, "the position of the root")
            elif key == "orientation":
                orientation = file.numbers(number, words[1:], 3, "the orientation of the root")
        elif section == "bonedata":
            if key == "begin":
                bone = _Bone("", number)
            elif bone is None:
                file.fail(number, f"{words[0][:20]!r} outside of begin and end")
            elif key == "name":
                if len(words) != 2 or words[1] in index:
                    file.fail(
                        number, f"the name of a bone is {' '.join(words[1:])[:40]!r}, expected one word, used once"
                    )
                if len(bones) > _MOST_BONES:
                    file.fail(number, f"more than {_MOST_BONES} bones")
                bone.name = words[1]
                index[bone.name] = len(bones)
                bones.append(bone)
            elif key == "end":
                if not bone.name or index[bone.name] not in direction or index[bone.name] not in length:
                    file.fail(bone.line, f"bone {bone.name!r} lacks a name, a direction or a length")
                bone = None
            elif key in ("direction", "length", "axis", "dof"):
                if not bone.name:
                    file.fail(number, f"{key} of a bone before its name")
                joint = index[bone.name]
                if key == "direction":
                    direction[joint] = file.numbers(number, words[1:], 3, f"the direction of {bone.name}")
                elif key == "length":
                    length[joint] = float(file.numbers(number, words[1:], 1, f"the length of {bone.name}")[0])
                elif key == "axis":
                    turn = file.numbers(number, words[1:4], 3, f"the axis of {bone.name}")
                    axes[joint] = turn, file.axes(number, words[4:], f"the order of the axis of {bone.name}")
                else:
                    bone.channels = tuple(word.lower() for word in words[1:])
                    if len(set(bone.channels)) != len(bone.channels) or not set(bone.channels) <= set(_ROTATIONS):
                        file.fail(
                            number, f"{bone.name} moves in {' '.join(words[1:])[:40]!r}; only rx, ry and rz are known"
                        )
        elif section == "hierarchy" and key not in ("begin", "end"):
            for word in words:
                if word not in index:
                    file.fail(number, f"bone {word[:40]!r} is not among the bones of this skeleton")
            for word in words[1:]:
                child = index[word]
                if child in linked or child == 0:
                    file.fail(number, f"bone {word!r} has a second parent")
                linked.add(child)
                bones[child].parent = index[words[0]]
    if len(bones) == 1 or not bones[0].channels:
        raise RecordingError(f"{path}: no root with an order or no bones; it is cut off or no Acclaim skeleton")
    loose = [bone.name for bone in bones[1:] if bone.parent == -1]
    if loose:
        raise RecordingError(f"{path}: bone {loose[0]!r} has no parent under :hierarchy; the file is cut off")
    scale = math.radians(1.0) if degrees else 1.0
    for joint in direction:
        bones[joint].offset = direction[joint] * length[joint] * (_INCH / unit)
    for joint, (turn, order) in axes.items():
        bones[joint].axes = _rotation(order, turn * scale)
    bones[0].axes = _rotation(root_axes, orientation * scale)
    bones[0].offset = root_position * (_INCH / unit)
    return _assemble(path, bones, _INCH / unit, degrees)


def _assemble(path: Path, bones: list[_Bone], unit: float, degrees: bool) -> AcclaimSkeleton:
    """The skeleton with every bone after its parent, otherwise in the order of the file."""
    order = [0]
    waiting = list(range(1, len(bones)))
    while waiting:
        ready = next((joint for joint in waiting if bones[joint].parent in order), None)
        if ready is None:
            raise RecordingError(
                f"{path}: following the parents of bone {bones[waiting[0]].name!r} never ends at the root"
            )
        order.append(ready)
        waiting.remove(ready)
    joints = [_JOINTS.get(bones[joint].name, bones[joint].name) for joint in order]
    if len(set(joints)) < len(joints):
        joints = [bones[joint].name for joint in order]
    return AcclaimSkeleton(
        layout=SkeletonLayout(
            name=f"acclaim{len(order)}",
            joints=tuple(joints),
            parents=tuple(order.index(max(bones[joint].parent, 0)) for joint in order),
        ),
        bones=tuple(bones[joint].name for joint in order),
        offsets=np.array([bones[joint].offset for joint in order]),
        axes=np.array([bones[joint].axes for joint in order]),
        channels=tuple(bones[joint].channels for joint in order),
        unit=unit,
        degrees=degrees,
    )


def read_amc(path: str | os.PathLike, skeleton: AcclaimSkeleton) -> tuple[np.ndarray, np.ndarray]:
    """Read an Acclaim motion.

    Args:
        path: the `.amc` file.
        skeleton: the skeleton that moves.

    Returns:
        rotations float64 `(frames, joints, 3, 3)` of every joint against its parent and root positions float64 `(frames, 3)` in metres.

    Raises:
        RecordingError: if the file is damaged or is of another skeleton.
    """
    path = Path(path)
    file = _Lines(path)
    sizes = {name: len(channels) for name, channels in zip(skeleton.bones, skeleton.channels) if channels}
    degrees = skeleton.degrees
    frames: list[dict[str, np.ndarray]] = []
    numbers: list[int] = []
    for number, words in file.lines:
        if words[0].startswith(":"):
            degrees = {":degrees": True, ":radians": False}.get(words[0].lower(), degrees)
        elif len(words) == 1:
            if words[0] != str(len(frames) + 1):
                file.fail(number, f"frame {words[0][:20]!r} found where frame {len(frames) + 1} is expected")
            frames.append({})
            numbers.append(number)
        else:
            name = words[0]
            if not frames:
                file.fail(number, f"bone {name[:40]!r} before the first frame")
            if name not in sizes or name in frames[-1]:
                what = "is there twice" if name in frames[-1] else "does not move in this skeleton; is it another's?"
                file.fail(number, f"frame {len(frames)}: bone {name[:40]!r} {what}")
            what = f"frame {len(frames)}: the motion of {name}"
            frames[-1][name] = file.numbers(number, words[1:], sizes[name], what)
    if not frames:
        raise RecordingError(f"{path}: no frame; the file is cut off or no Acclaim motion")
    for frame, (number, found) in enumerate(zip(numbers, frames), 1):
        if len(found) < len(sizes):
            file.fail(number, f"frame {frame} does not say how {next(iter(sizes.keys() - found.keys()))!r} moves")
    scale = math.radians(1.0) if degrees else 1.0
    rotations = np.empty((len(frames), len(skeleton.bones), 3, 3))
    root_position = np.zeros((len(frames), 3))
    for joint, (name, channels) in enumerate(zip(skeleton.bones, skeleton.channels)):
        axes = skeleton.axes[joint]
        motion = np.eye(3)
        if channels:
            values = np.array([frame[name] for frame in frames])  # (T, channels)
            turns = [place for place, channel in enumerate(channels) if channel in _ROTATIONS]
            motion = _rotation("".join(channels[place][1] for place in turns), values[:, turns] * scale)
            for place, channel in enumerate(channels):
                if channel not in _ROTATIONS:
                    root_position[:, "xyz".index(channel[1])] = values[:, place] * skeleton.unit
        rotations[:, joint] = axes @ motion @ axes.T
    return rotations, root_position


def read_acclaim(
    path: str | os.PathLike, skeleton: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray, SkeletonLayout]:
    """Read an Acclaim motion with its skeleton and compute where the joints are.

    Args:
        path: the `.amc` file.
        skeleton: the `.asf` file; None for the one beside `path` that is named like its subject (`02.asf` for `02_01.amc`) or is the only
            one there.

    Returns:
        keypoints float32 `(1, frames, joints, 3)` in metres, y upwards in the CMU database; frame_mask bool `(1, frames)`, True everywhere;
        and the layout, which is that of this skeleton. The files do not say their frame rate; CMU recorded at 120 per second.

    Raises:
        RecordingError: if a file is damaged or there is no skeleton.
    """
    path = Path(path)
    if skeleton is None:
        skeleton = _skeleton_of(path)
    tree = read_asf(skeleton)
    rotations, root_position = read_amc(path, tree)
    parents = [-1, *tree.layout.parents[1:]]
    # the rotation of a bone turns the bone itself, not only what hangs on its end
    offsets = (rotations @ tree.offsets[..., None])[..., 0]  # (T, V, 3, 3) @ (V, 3, 1) -> (T, V, 3)
    offsets[:, 0] = tree.offsets[0]
    positions = forward_kinematics(parents, offsets, rotations, root_position)
    keypoints = positions.astype(np.float32)[None]  # (T, V, C) -> (1, T, V, C)
    return keypoints, np.ones(keypoints.shape[:2], dtype=bool), tree.layout


def _skeleton_of(path: Path) -> Path:
    found = sorted(path.parent.glob("*.asf"))
    named = [file for file in found if file.stem in (path.stem, path.stem.split("_")[0])]
    if len(named) == 1 or len(found) == 1:
        return (named or found)[0]
    raise RecordingError(
        f"{path}: {len(found)} skeletons (.asf) beside it, none of them named like it; pass the skeleton of the motion"
    )


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask, layout = read_acclaim(file.path)
    return make_recording(file, keypoints, layout, frame_mask=mask, units="metre")


FORMAT = FileFormat(
    name="acclaim-amc",
    title="Acclaim motion capture (a motion with its .asf skeleton beside it)",
    suffixes=(".amc",),
    layout="by the names of the bones",
    units="metre",
    detect=lambda file: file.suffix == ".amc",
    read=_read,
)


__all__ = ["FORMAT", "AcclaimSkeleton", "read_acclaim", "read_amc", "read_asf"]
