"""Text files with one joint per row and a fixed number of rows per frame, as several Kinect data sets come."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError


def read_joint_rows(path: str | os.PathLike, num_joints: int, num_columns: int) -> np.ndarray:
    """Read a text file of numbers.

    Args:
        path: file of `frames * num_joints` rows with `num_columns` numbers each.
        num_joints: rows per frame.
        num_columns: numbers per row.

    Returns:
        float64 `(frames, num_joints, num_columns)`.

    Raises:
        RecordingError: if the file is empty, ends inside a frame, or holds something that is not a finite number.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    tokens = b" ".join(lines).split()
    size = num_joints * num_columns
    try:
        values = np.array(list(map(float, tokens)))
        if len(tokens) and len(tokens) % size == 0 and np.isfinite(values).all():
            return values.reshape(-1, num_joints, num_columns)  # (T * V * columns,) -> (T, V, columns)
    except ValueError:
        pass
    if not tokens:
        raise RecordingError(
            f"{path}: the file is empty, expected {num_joints} rows of {num_columns} numbers per frame"
        )
    rows = 0
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        rows += 1
        if len(fields) != num_columns:
            raise RecordingError(f"{path}, line {number}: {len(fields)} values, expected {num_columns}")
        for field in fields:
            try:
                good = bool(np.isfinite(float(field)))
            except ValueError:
                good = False
            if not good:
                raise RecordingError(
                    f"{path}, line {number}: {field.decode(errors='replace')!r} is not a finite number"
                )
    raise RecordingError(
        f"{path}: {rows} rows are not whole frames of {num_joints} joints; the file is cut off or of another layout"
    )


def single_person(path: str | os.PathLike, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The canonical arrays of a recording of one person, who is away in frames where all coordinates are 0.

    Args:
        path: file of the recording, for the message.
        keypoints: `(frames, joints, channels)`.

    Returns:
        keypoints float32 `(1, frames, joints, channels)` and frame_mask bool `(1, frames)`.

    Raises:
        RecordingError: if no frame shows a person, or a coordinate is beyond float32.
    """
    frame_mask = np.asarray(keypoints.any(axis=(1, 2)))
    if not frame_mask.any():
        raise RecordingError(f"{path}: all coordinates of all {len(keypoints)} frames are 0, nobody was tracked")
    return to_float32(path, keypoints)[None], frame_mask[None]  # (T, V, C) -> (1, T, V, C)


def to_float32(path: str | os.PathLike, values: np.ndarray) -> np.ndarray:
    """Finite numbers as float32.

    Raises:
        RecordingError: if a number is beyond float32.
    """
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if not np.isfinite(converted).all():
        worst = float(values.ravel()[np.argmax(np.abs(values))])
        raise RecordingError(
            f"{path}: {worst:g} is among the coordinates, which nothing in this world is; the file is damaged"
        )
    return converted


def first_row(file: RecordingFile) -> list[float]:
    """The numbers in the first line of a text file, separated by blanks; empty if there is anything else."""
    try:
        return [float(field) for field in file.start.split("\n", 1)[0].split()]
    except ValueError:
        return []


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    columns = len(first_row(file))
    layout = options.layout or options.default_layout
    if layout is None:
        raise file.error(
            f"rows of {columns} numbers without names; say which joints follow each other (layout=..., --layout)"
        )
    values = read_joint_rows(file.path, layout.num_joints, columns)[None]  # (T, V, columns) -> (1, T, V, columns)
    keypoints = values[..., :3]
    return make_recording(
        file,
        keypoints,
        layout,
        frame_mask=np.asarray(keypoints.any(axis=(2, 3))),
        confidence=values[..., 3] if columns == 4 else None,
    )


FORMAT = FileFormat(
    name="text-rows",
    title="text, one joint per row: x y z, x y, or x y z confidence",
    suffixes=(".txt",),
    layout="yours",
    units="yours",
    detect=lambda file: 2 <= len(first_row(file)) <= 4,
    read=_read,
)


__all__ = ["FORMAT", "first_row", "read_joint_rows", "single_person", "to_float32"]
