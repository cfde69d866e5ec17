"""Text files of MSR-Action3D ("Real3D" skeletons): per frame 20 rows `x y z confidence`, coordinates in metres."""

from __future__ import annotations

import os
import re

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .rows import first_row, read_joint_rows, single_person


_NAME = re.compile(r"a\d+_s\d+_e\d+.*\.txt", re.IGNORECASE)


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


def detect(file: RecordingFile) -> bool:
    return _NAME.fullmatch(file.path.name) is not None and len(first_row(file)) == 4


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask = read_msr_action3d_text(file.path)
    return make_recording(file, keypoints, get_layout("msr20"), frame_mask=mask, frame_rate=15.0, units="metre")


FORMAT = FileFormat(
    name="msr-action3d-text",
    title="MSR-Action3D (aAA_sSS_eEE_skeleton3D.txt)",
    suffixes=(".txt",),
    layout="msr20",
    units="metre",
    detect=detect,
    read=_read,
)


__all__ = ["FORMAT", "read_msr_action3d_text"]
