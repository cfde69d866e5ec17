"""CSV files of PRECOG-2016: untrimmed takes of Kinect v1 with a label in every frame.

The first line names the 20 joints. Every other line is a frame: 20 fields `x y z` in metres and the label of the frame, separated by
semicolons. A frame in which all coordinates are 0 shows nobody.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from .errors import RecordingError
from .rows import single_person


_NAMES = {
    "HipCenter": "spine_base",
    "Spine": "spine_mid",
    "ShoulderCenter": "spine_shoulder",
    "Head": "head",
    **{
        f"{part.capitalize()}{side.capitalize()}": f"{side}_{part}"
        for side in ("left", "right")
        for part in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot")
    },
}


def read_precog_csv(path: str | os.PathLike, num_labels: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one take of PRECOG-2016.

    The joints are found by the names in the first line, so the result has the order of layout `kinect20` whatever the order of
    the file.

    Args:
        path: the file.
        num_labels: largest label of a frame.

    Returns:
        keypoints float32 `(1, frames, 20, 3)` in metres, frame_mask bool `(1, frames)`, False in frames that are all zero, and frame
        labels int16 `(frames,)`, 0 where nothing of interest happens.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    header = [name.strip() for name in lines[0].rstrip(" ;").split(";")] if lines else []
    if sorted(header) != sorted(_NAMES):
        raise RecordingError(
            f"{path}, line 1: {lines[0][:80] if lines else ''!r} does not name the {len(_NAMES)} joints HipCenter; Spine; ... "
            "FootRight, each once"
        )
    frames = len(lines) - 1
    while frames and not lines[frames].strip():
        frames -= 1
    values = np.empty((frames, len(header), 3))
    labels = np.empty(frames, dtype=np.int16)
    for frame, line in enumerate(lines[1 : frames + 1]):
        where = f"{path}, line {frame + 2}"
        fields = line.split(";")
        if len(fields) != len(header) + 1:
            raise RecordingError(
                f"{where}: {len(fields)} fields, expected {len(header)} joints and the label of the frame"
            )
        for joint, field in enumerate(fields[:-1]):
            try:
                point = [float(number) for number in field.split()]
            except ValueError:
                point = []
            if len(point) != 3 or not np.isfinite(point).all():
                raise RecordingError(f"{where}, joint {header[joint]}: {field.strip()!r} is not three finite numbers")
            values[frame, joint] = point
        text = fields[-1].strip()
        if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= num_labels):
            raise RecordingError(
                f"{where}: the label of the frame is {text!r}, expected a number from 0 to {num_labels}"
            )
        labels[frame] = int(text)
    if not frames:
        raise RecordingError(f"{path}: no frame below the names of the joints")
    column = {_NAMES[name]: index for index, name in enumerate(header)}
    order = [column[joint] for joint in get_layout("kinect20").joints]
    return *single_person(path, values[:, order]), labels


__all__ = ["read_precog_csv"]
