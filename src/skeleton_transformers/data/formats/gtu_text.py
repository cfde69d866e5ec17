"""Text files of the GTU-3D actions: per frame 25 rows `x y z` in metres, in the joint order of Kinect v2."""

from __future__ import annotations

import os

import numpy as np

from .rows import read_joint_rows, single_person


def read_gtu_text(path: str | os.PathLike, num_joints: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Read one recording of the GTU-3D actions.

    Args:
        path: the file.
        num_joints: rows per frame.

    Returns:
        keypoints float32 `(1, frames, num_joints, 3)` in metres and frame_mask bool `(1, frames)`, False in frames that are all zero.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame.
    """
    return single_person(path, read_joint_rows(path, num_joints, 3))


__all__ = ["read_gtu_text"]
