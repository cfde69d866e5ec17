"""Text files of MSR-Action3D ("Real3D" skeletons): per frame 20 rows `x y z confidence`, coordinates in metres."""

from __future__ import annotations

import os

import numpy as np

from .rows import read_joint_rows, single_person


def read_msr_action3d_text(path: str | os.PathLike, num_joints: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Read one recording of MSR-Action3D.

    The fourth column, the tracker's confidence, is left out.

    Args:
        path: the file.
        num_joints: rows per frame.

    Returns:
        keypoints float32 `(1, frames, num_joints, 3)` in metres and frame_mask bool `(1, frames)`, False in frames that are all zero.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame.
    """
    return single_person(path, read_joint_rows(path, num_joints, 4)[..., :3])


__all__ = ["read_msr_action3d_text"]
