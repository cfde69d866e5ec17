"""Text files of the GTU-3D actions: per frame 25 rows `x y z` in metres, in the joint order of Kinect v2."""

from __future__ import annotations

import os
import re

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .rows import first_row, read_joint_rows, single_person


_NAME = re.compile(r"movement\d+\.txt", re.IGNORECASE)


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


def detect(file: RecordingFile) -> bool:
    return _NAME.fullmatch(file.path.name) is not None and len(first_row(file)) == 3


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask = read_gtu_text(file.path)
    return make_recording(file, keypoints, get_layout("ntu25"), frame_mask=mask, frame_rate=30.0, units="metre")


FORMAT = FileFormat(
    name="gtu-text",
    title="GTU-3D actions (movementN.txt)",
    suffixes=(".txt",),
    layout="ntu25",
    units="metre",
    detect=detect,
    read=_read,
)


__all__ = ["FORMAT", "read_gtu_text"]
