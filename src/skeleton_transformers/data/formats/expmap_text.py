"""Exponential maps of Human3.6M and CMU as motion prediction uses them, and the joint positions they stand for.

A text file has a line of comma-separated numbers per frame: the position of the root, then three numbers per node of the skeleton, the
axis of its rotation against its parent times the angle in radians. The files hold no bone lengths. Those of one person stand for everybody:

* Human3.6M (Jain et al. 2016; Martinez et al. 2017): 32 nodes, 99 numbers, offsets in millimetres;
* CMU (Li et al. 2018; Mao et al. 2019): 38 nodes, 117 numbers, offsets in the unit of the Acclaim files, 1 / 0.45 inch.

Rotations turn row vectors, `x <- x @ R(expmap)`, which is the inverse rotation for columns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from ..kinematics import forward_kinematics
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError


_LARGEST = 1e6  # no position in millimetres nor angle is larger
ACCLAIM_UNIT = 0.0254 / 0.45  # metres per unit of the CMU skeletons


@dataclass(frozen=True)
class ExpmapSkeleton:
    """The tree that a kind of files is about.

    Attributes:
        layout: layout of the positions: the nodes without those that always lie on another one.
        nodes: (node, parent, offset) in the order of the file; a node that is a joint of the layout has its name.
        unit: metres per unit of the offsets and of the root position.
        frame_rate: frames per second.
    """

    layout: str
    nodes: tuple[tuple[str, str, tuple[float, float, float]], ...]
    unit: float
    frame_rate: float


_H36M = ExpmapSkeleton(
    layout="h36m25",
    nodes=(
        ("spine_base", "", (0.0, 0.0, 0.0)),
        ("right_hip", "spine_base", (-132.948591, 0.0, 0.0)),
        ("right_knee", "right_hip", (0.0, -442.894612, 0.0)),
        ("right_ankle", "right_knee", (0.0, -454.206447, 0.0)),
        ("right_foot", "right_ankle", (0.0, 0.0, 162.767078)),
        ("right_toe", "right_foot", (0.0, 0.0, 74.999437)),
        ("left_hip", "spine_base", (132.948826, 0.0, 0.0)),
        ("left_knee", "left_hip", (0.0, -442.894413, 0.0)),
        ("left_ankle", "left_knee", (0.0, -454.206590, 0.0)),
        ("left_foot", "left_ankle", (0.0, 0.0, 162.767426)),
        ("left_toe", "left_foot", (0.0, 0.0, 74.999948)),
        ("lower back", "spine_base", (0.0, 0.1, 0.0)),
        ("spine_mid", "lower back", (0.0, 233.383263, 0.0)),
        ("spine_shoulder", "spine_mid", (0.0, 257.077681, 0.0)),
        ("neck", "spine_shoulder", (0.0, 121.134938, 0.0)),
        ("head", "neck", (0.0, 115.002227, 0.0)),
        ("left collar", "spine_mid", (0.0, 257.077681, 0.0)),
        ("left_shoulder", "left collar", (0.0, 151.034226, 0.0)),
        ("left_elbow", "left_shoulder", (0.0, 278.882773, 0.0)),
        ("left_wrist", "left_elbow", (0.0, 251.733451, 0.0)),
        ("left thumb base", "left_wrist", (0.0, 0.0, 0.0)),
        ("left_thumb", "left thumb base", (0.0, 0.0, 99.999627)),
        ("left_hand", "left_wrist", (0.0, 100.000188, 0.0)),
        ("left hand end", "left_hand", (0.0, 0.0, 0.0)),
        ("right collar", "spine_mid", (0.0, 257.077681, 0.0)),
        ("right_shoulder", "right collar", (0.0, 151.031437, 0.0)),
        ("right_elbow", "right_shoulder", (0.0, 278.892924, 0.0)),
        ("right_wrist", "right_elbow", (0.0, 251.728680, 0.0)),
        ("right thumb base", "right_wrist", (0.0, 0.0, 0.0)),
        ("right_thumb", "right thumb base", (0.0, 0.0, 99.999888)),
        ("right_hand", "right_wrist", (0.0, 137.499922, 0.0)),
        ("right hand end", "right_hand", (0.0, 0.0, 0.0)),
    ),
    unit=0.001,
    frame_rate=50.0,
)

# This skeleton lacks the thorax bone and the last third of the forearms of the Acclaim files (2.07 and 1.68 units): its neck and collars
# spring from the end of the second spine bone. Published errors in millimetres are those of this skeleton.
_CMU = ExpmapSkeleton(
    layout="cmu28",
    nodes=(
        ("spine_base", "", (0.0, 0.0, 0.0)),
        ("left hip joint", "spine_base", (0.0, 0.0, 0.0)),
        ("left_hip", "left hip joint", (1.65674, -1.80282, 0.62477)),
        ("left_knee", "left_hip", (2.59720, -7.13576, 0.0)),
        ("left_ankle", "left_knee", (2.49236, -6.84770, 0.0)),
        ("left_foot", "left_ankle", (0.19704, -0.54136, 2.14581)),
        ("left_toe", "left_foot", (0.0, 0.0, 1.11249)),
        ("right hip joint", "spine_base", (0.0, 0.0, 0.0)),
        ("right_hip", "right hip joint", (-1.61070, -1.80282, 0.62476)),
        ("right_knee", "right_hip", (-2.59502, -7.12977, 0.0)),
        ("right_ankle", "right_knee", (-2.46780, -6.78024, 0.0)),
        ("right_foot", "right_ankle", (-0.23024, -0.63258, 2.13368)),
        ("right_toe", "right_foot", (0.0, 0.0, 1.11569)),
        ("lower back", "spine_base", (0.0, 0.0, 0.0)),
        ("spine_lower", "lower back", (0.01961, 2.05450, -0.14112)),
        ("spine_mid", "spine_lower", (0.01021, 2.06436, -0.05921)),
        ("lower neck", "spine_mid", (0.0, 0.0, 0.0)),
        ("neck", "lower neck", (0.00713, 1.56711, 0.14968)),
        ("head", "neck", (0.03429, 1.56041, -0.10006)),
        ("head_top", "head", (0.01305, 1.62560, -0.05265)),
        ("left collar", "spine_mid", (0.0, 0.0, 0.0)),
        ("left_shoulder", "left collar", (3.54205, 0.90436, -0.17364)),
        ("left_elbow", "left_shoulder", (4.86513, 0.0, 0.0)),
        ("left_wrist", "left_elbow", (3.35554, 0.0, 0.0)),
        ("left palm", "left_wrist", (0.0, 0.0, 0.0)),
        ("left_hand", "left palm", (0.66117, 0.0, 0.0)),
        ("left_hand_tip", "left_hand", (0.53306, 0.0, 0.0)),
        ("left thumb base", "left palm", (0.0, 0.0, 0.0)),
        ("left_thumb", "left thumb base", (0.54120, 0.0, 0.54120)),
        ("right collar", "spine_mid", (0.0, 0.0, 0.0)),
        ("right_shoulder", "right collar", (-3.49802, 0.75994, -0.32616)),
        ("right_elbow", "right_shoulder", (-5.02649, 0.0, 0.0)),
        ("right_wrist", "right_elbow", (-3.36431, 0.0, 0.0)),
        ("right palm", "right_wrist", (0.0, 0.0, 0.0)),
        ("right_hand", "right palm", (-0.73041, 0.0, 0.0)),
        ("right_hand_tip", "right_hand", (-0.58887, 0.0, 0.0)),
        ("right thumb base", "right palm", (0.0, 0.0, 0.0)),
        ("right_thumb", "right thumb base", (-0.59786, 0.0, 0.59786)),
    ),
    unit=ACCLAIM_UNIT,
    frame_rate=120.0,
)
EXPMAP_SKELETONS = {"h36m": _H36M, "cmu": _CMU}


def read_expmap_text(path: str | os.PathLike, skeleton: str | None = None) -> tuple[np.ndarray, str]:
    """Read the numbers of a file of exponential maps.

    Args:
        path: the file.
        skeleton: "h36m" or "cmu"; None to tell by the number of columns.

    Returns:
        float64 `(frames, 1 + nodes, 3)`, the position of the root and the rotation of every node, as in the file, and the name of the
        skeleton.

    Raises:
        RecordingError: if the file is damaged or of another skeleton.
        ValueError: if the skeleton is unknown.
    """
    if skeleton is not None and skeleton not in EXPMAP_SKELETONS:
        raise ValueError(f"unknown skeleton {skeleton!r} of exponential maps; known: {', '.join(EXPMAP_SKELETONS)}")
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    while lines and not lines[-1].strip():
        lines.pop()
    columns = {name: 3 + 3 * len(tree.nodes) for name, tree in EXPMAP_SKELETONS.items()}
    if not lines:
        raise RecordingError(f"{path}: the file is empty, expected a line of numbers per frame")
    found = lines[0].count(b",") + 1
    name = skeleton or next((name for name, count in columns.items() if count == found), "")
    if found != columns.get(name):
        wanted = ", ".join(f"{columns[key]} ({key})" for key in ([skeleton] if skeleton else columns))
        raise RecordingError(f"{path}, line 1: {found} numbers, expected {wanted}")
    values = np.empty((len(lines), found))
    for number, line in enumerate(lines, 1):
        fields = line.split(b",")
        if len(fields) != found:
            raise RecordingError(f"{path}, line {number}: {len(fields)} numbers, expected {found}")
        try:
            values[number - 1] = list(map(float, fields))
            good = bool((np.abs(values[number - 1]) <= _LARGEST).all())  # False for what is not a number, too
        except ValueError:
            good = False
        if not good:
            raise RecordingError(f"{path}, line {number}: {_first_bad(fields)!r} is not a number up to {_LARGEST:g}")
    return values.reshape(len(lines), -1, 3), name  # (T, 3 + 3 * nodes) -> (T, 1 + nodes, 3)


def _first_bad(fields: list[bytes]) -> str:
    for field in fields:
        try:
            if abs(float(field)) <= _LARGEST:
                continue
        except ValueError:
            pass
        return field.decode(errors="replace").strip()
    return ""


def expmap_positions(values: np.ndarray, skeleton: str) -> np.ndarray:
    """Joint positions of exponential maps by forward kinematics.

    Args:
        values: `(frames, 1 + nodes, 3)` of [`read_expmap_text`].
        skeleton: "h36m" or "cmu".

    Returns:
        float32 `(1, frames, joints, 3)` in metres, in the layout of the skeleton (`h36m25` or `cmu28`).
    """
    from scipy.spatial.transform import Rotation

    tree = EXPMAP_SKELETONS[skeleton]
    names = [node for node, _, _ in tree.nodes]
    parents = [names.index(parent) if parent else -1 for _, parent, _ in tree.nodes]
    offsets = np.array([offset for _, _, offset in tree.nodes])
    rotations = Rotation.from_rotvec(-values[:, 1:].reshape(-1, 3)).as_matrix()
    rotations = rotations.reshape(len(values), len(names), 3, 3)  # (T * V, 3, 3) -> (T, V, 3, 3)
    positions = forward_kinematics(parents, offsets, rotations, values[:, 0])
    order = [names.index(joint) for joint in get_layout(tree.layout).joints]
    return (positions[:, order] * tree.unit).astype(np.float32)[None]  # (T, V, C) -> (1, T, V, C)


def detect(file: RecordingFile) -> bool:
    first = file.start.split("\n", 1)[0].split(",")
    if len(first) not in (3 + 3 * len(tree.nodes) for tree in EXPMAP_SKELETONS.values()):
        return False
    try:
        return bool(np.isfinite([float(field) for field in first]).all())
    except ValueError:
        return False


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    values, skeleton = read_expmap_text(file.path)
    tree = EXPMAP_SKELETONS[skeleton]
    keypoints = expmap_positions(values, skeleton)
    mask = np.ones(keypoints.shape[:2], dtype=bool)
    return make_recording(
        file, keypoints, get_layout(tree.layout), frame_mask=mask, frame_rate=tree.frame_rate, units="metre"
    )


FORMAT = FileFormat(
    name="expmap-text",
    title="exponential maps of Human3.6M and CMU",
    suffixes=(".txt",),
    layout="h36m25 or cmu28",
    units="metre",
    detect=detect,
    read=_read,
)


__all__ = ["ACCLAIM_UNIT", "EXPMAP_SKELETONS", "FORMAT", "ExpmapSkeleton", "expmap_positions", "read_expmap_text"]
