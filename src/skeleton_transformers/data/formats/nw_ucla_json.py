"""JSON files of Northwestern-UCLA: `{"file_name": ..., "skeletons": frames x 20 x 3, "label": ...}`, coordinates in metres."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError
from .rows import single_person


def read_nw_ucla_json(path: str | os.PathLike, num_joints: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Read one recording of Northwestern-UCLA.

    Args:
        path: the file.
        num_joints: joints per frame.

    Returns:
        keypoints float32 `(1, frames, num_joints, 3)` in metres and frame_mask bool `(1, frames)`, False in frames that are all zero.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise RecordingError(f"{path}: not JSON ({error}); the file is cut off or of another format") from error
    frames = content.get("skeletons") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise RecordingError(f"{path}: no list of frames under the key 'skeletons'")
    try:
        values = np.array(frames, dtype=np.float64)
    except (ValueError, TypeError):
        values = np.empty(0)
    if values.shape == (len(frames), num_joints, 3) and np.isfinite(values).all():
        return single_person(path, values)
    for number, frame in enumerate(frames):
        joints = len(frame) if isinstance(frame, list) else 0
        if joints != num_joints:
            raise RecordingError(f"{path}, frame {number}: {joints} joints, expected {num_joints}")
        for joint, point in enumerate(frame):
            good = isinstance(point, list) and len(point) == 3
            good = good and all(isinstance(value, (int, float)) and np.isfinite(value) for value in point)
            if not good:
                raise RecordingError(f"{path}, frame {number}, joint {joint}: {point!r} is not three finite numbers")
    raise RecordingError(f"{path}: 'skeletons' is not frames x {num_joints} joints x 3 numbers")


def detect(file: RecordingFile) -> bool:
    return file.is_json and isinstance(file.json, dict) and isinstance(file.json.get("skeletons"), list)


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask = read_nw_ucla_json(file.path)
    return make_recording(file, keypoints, get_layout("kinect20"), frame_mask=mask, frame_rate=30.0, units="metre")


FORMAT = FileFormat(
    name="nw-ucla-json",
    title="Northwestern-UCLA",
    suffixes=(".json",),
    layout="kinect20",
    units="metre",
    detect=detect,
    read=_read,
)


__all__ = ["FORMAT", "read_nw_ucla_json"]
