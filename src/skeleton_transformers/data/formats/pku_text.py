"""Files of PKU-MMD: skeletons, labels of the instances, and the lists of the splits.

* Skeletons: a line per frame with 150 numbers, two persons of 25 joints `x y z` in metres; a person who is not there is all zeros.
* Labels: a line `label,start,end,confidence` per instance; the instance takes frames `start .. end - 1`, counted from 0.
* Split lists: a line of words, the names of the training videos, another line of words, the names of the others.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError
from .rows import first_row, to_float32


_PERSONS, _JOINTS, _CHANNELS = 2, 25, 3
_VALUES = _PERSONS * _JOINTS * _CHANNELS
_NUMBER = re.compile(r"\d{1,9}")
_VIDEO = re.compile(r"(\d{4}|A\d{2}N\d{2})-[LMR]")


@dataclass(frozen=True)
class PKUInstance:
    """One action in a video.

    Attributes:
        label: class, from 1.
        start, end: frames `start .. end - 1`, counted from 0.
        confidence: 1 slight or 2 strong recommendation, 0 where the file does not say.
    """

    label: int
    start: int
    end: int
    confidence: int = 0


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_pku_skeleton(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read the skeletons of one video of PKU-MMD.

    Args:
        path: the file.

    Returns:
        keypoints float32 `(2, frames, 25, 3)` in metres (layout `ntu25`) and frame_mask bool `(2, frames)`, False where all coordinates
        of a person are 0.

    Raises:
        RecordingError: if the file is damaged or shows nobody in any frame. An empty line between two frames is an error: to skip
            it would move all labels behind it.
    """
    path = Path(path)
    rows = [line.split() for line in _read_lines(path)]
    if not rows:
        raise RecordingError(f"{path}: the file is empty, expected a line of {_VALUES} numbers per frame")
    for number, row in enumerate(rows, 1):
        if len(row) != _VALUES:
            raise RecordingError(
                f"{path}, line {number}: {len(row)} values, expected {_VALUES} "
                f"({_PERSONS} persons x {_JOINTS} joints x {_CHANNELS})"
            )
    try:
        values = np.array([list(map(float, row)) for row in rows])
    except ValueError:
        values = np.full(1, np.nan)
    if not np.isfinite(values).all():
        number, field = next(
            (number, field) for number, row in enumerate(rows, 1) for field in row if not _finite(field)
        )
        raise RecordingError(f"{path}, line {number}: {field!r} is not a finite number")
    # (T, M * V * C) -> (T, M, V, C) -> (M, T, V, C)
    keypoints = values.reshape(-1, _PERSONS, _JOINTS, _CHANNELS).swapaxes(0, 1)
    keypoints = to_float32(path, keypoints)
    frame_mask = np.asarray(keypoints.any(axis=(2, 3)))
    if not frame_mask.any():
        raise RecordingError(f"{path}: all coordinates of all {len(rows)} frames are 0, nobody was tracked")
    return keypoints, frame_mask


def _finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def read_pku_labels(path: str | os.PathLike, num_labels: int = 51) -> list[PKUInstance]:
    """Read the instances of one video of PKU-MMD, in the order of the file.

    Args:
        path: the file.
        num_labels: largest class.

    Returns:
        The instances; a file without a line gives none.

    Raises:
        RecordingError: if a line is not `label,start,end,confidence` with `0 <= start < end`.
    """
    path = Path(path)
    instances = []
    for number, line in enumerate(_read_lines(path), 1):
        fields = [field.strip() for field in line.strip().rstrip(",").split(",")]
        if fields == [""]:
            continue
        if not 3 <= len(fields) <= 4 or not all(_NUMBER.fullmatch(field) for field in fields):
            raise RecordingError(f"{path}, line {number}: {line.strip()[:60]!r} is not label,start,end,confidence")
        instance = PKUInstance(*map(int, fields))
        if not 1 <= instance.label <= num_labels:
            raise RecordingError(f"{path}, line {number}: label {instance.label} is outside 1..{num_labels}")
        if instance.end <= instance.start:
            raise RecordingError(f"{path}, line {number}: end {instance.end} is not after start {instance.start}")
        instances.append(instance)
    return instances


def read_pku_split(path: str | os.PathLike) -> tuple[frozenset[str], frozenset[str]]:
    """Read a split list of PKU-MMD.

    Args:
        path: the file: a line of words such as "Training videos:", the names of the training videos separated by commas, another
            line of words, the names of the other videos.

    Returns:
        names of the training videos, names of the others.

    Raises:
        RecordingError: if the file does not hold two lists of names like `0002-L` or `A01N02-L`, or a name is in both.
    """
    path = Path(path)
    parts: list[list[str]] = []
    for number, line in enumerate(_read_lines(path), 1):
        text = line.strip()
        if not text:
            continue
        if text.rstrip(" :").replace(" ", "").isalpha():  # "Validataion videos:" as the owners write it
            parts.append([])
            continue
        if not parts:
            raise RecordingError(
                f"{path}, line {number}: expected a heading like 'Training videos:', found {text[:40]!r}"
            )
        for name in filter(None, (field.strip() for field in text.split(","))):
            if not _VIDEO.fullmatch(name):
                raise RecordingError(f"{path}, line {number}: {name[:40]!r} is no video name like 0002-L or A01N02-L")
            parts[-1].append(name)
    if len(parts) != 2 or not all(parts):
        raise RecordingError(
            f"{path}: found {len(parts)} headings over {[len(part) for part in parts]} names, expected two lists: the training "
            "videos and the others"
        )
    train, test = map(frozenset, parts)
    if train & test:
        raise RecordingError(f"{path}: {sorted(train & test)[0]} is in both lists")
    return train, test


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask = read_pku_skeleton(file.path)
    return make_recording(file, keypoints, get_layout("ntu25"), frame_mask=mask, frame_rate=30.0, units="metre")


FORMAT = FileFormat(
    name="pku-mmd-text",
    title="PKU-MMD skeletons, 150 numbers per line",
    suffixes=(".txt",),
    layout="ntu25",
    units="metre",
    detect=lambda file: len(first_row(file)) == _VALUES,
    read=_read,
)


__all__ = ["FORMAT", "PKUInstance", "read_pku_labels", "read_pku_skeleton", "read_pku_split"]
