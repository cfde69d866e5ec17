"""MATLAB files of UTD-MHAD: one array `d_skel` `(20 joints, 3, frames)` per recording, in metres."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from .base import RecordingFile
from .errors import RecordingError
from .matlab import load_mat
from .rows import single_person


# The order of the files: the trunk from the head downwards, then arms and legs as in the SDK of Kinect v1.
_JOINTS = (
    *("head", "spine_shoulder", "spine_mid", "spine_base"),
    *("left_shoulder", "left_elbow", "left_wrist", "left_hand"),
    *("right_shoulder", "right_elbow", "right_wrist", "right_hand"),
    *("left_hip", "left_knee", "left_ankle", "left_foot"),
    *("right_hip", "right_knee", "right_ankle", "right_foot"),
)


def read_utd_mhad_mat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read one recording of UTD-MHAD.

    Args:
        path: the file.

    Returns:
        keypoints float32 `(1, frames, 20, 3)` in metres, in the order of layout `kinect20`, and frame_mask bool `(1, frames)`, False in
        frames that are all zero.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame.
    """
    path = Path(path)
    values = load_mat(RecordingFile(path)).get("d_skel")
    if values is None:
        raise RecordingError(f"{path}: no variable 'd_skel'; is it a skeleton file (aN_sN_tN_skeleton.mat)?")
    if (
        values.dtype.kind not in "fiu"
        or values.ndim not in (2, 3)
        or values.shape[:2] != (len(_JOINTS), 3)
        or not values.size
    ):
        raise RecordingError(
            f"{path}: 'd_skel' has shape {values.shape} and type {values.dtype}, expected numbers ({len(_JOINTS)}, 3, frames)"
        )
    values = values.reshape(len(_JOINTS), 3, -1)  # MATLAB drops the last axis of a single frame
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        joint, frame = (int(i) for i in np.argwhere(~finite)[0])
        raise RecordingError(
            f"{path}, frame {frame}, joint {_JOINTS[joint]}: {values[joint, :, frame].tolist()} is not three finite numbers"
        )
    order = [_JOINTS.index(joint) for joint in get_layout("kinect20").joints]
    return single_person(path, values[order].transpose(2, 0, 1))  # (V, C, T) -> (T, V, C)


__all__ = ["read_utd_mhad_mat"]
