"""A user's own recordings: `.npy` arrays, a table of what they are, and a JSON file with their joint layout."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...skeletons import SkeletonLayout, get_layout, list_layouts
from .errors import RecordingError


_COLUMNS = ("file", "label", "subject", "camera", "split", "start", "end")
_SPLITS = {
    "": "",
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class LabelRow:
    """One row of the table.

    Attributes:
        file: file below the folder of the recordings.
        label: name of the class; "" when unknown.
        subject, camera: numbers, -1 when unknown.
        split: "train", "validation", "test" or "".
        start, end: frames `start .. end - 1` of the file; `end` -1 means to the last.
    """

    file: str
    label: str = ""
    subject: int = -1
    camera: int = -1
    split: str = ""
    start: int = 0
    end: int = -1


def read_label_table(path: str | os.PathLike) -> list[LabelRow]:
    """Read a CSV table with the columns `file`, `label` and, if wanted, `subject`, `camera`, `split`, `start`, `end`.

    Subjects may be numbers or names; names are numbered in alphabetical order.

    Raises:
        ValueError: naming the file, the line, the bad value and what would be right.
    """
    path = Path(path)
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        unknown = [name for name in columns if name not in _COLUMNS]
        if "file" not in columns or unknown:
            raise ValueError(
                f"{path}: its first line is {','.join(columns)!r}; it must name the column 'file' and may name "
                f"{', '.join(_COLUMNS[1:])}" + (f", not {', '.join(map(repr, unknown))}" if unknown else "")
            )
        records = [
            (reader.line_num, {key: (value or "").strip() for key, value in row.items() if key is not None})
            for row in reader
        ]
    subjects = {row.get("subject", "") for _, row in records} - {""}
    if all(name.isdigit() for name in subjects):
        subject_numbers = {name: int(name) for name in subjects}
    else:
        subject_numbers = {name: number for number, name in enumerate(sorted(subjects), 1)}

    def number(line: int, row: dict[str, str], column: str, default: int) -> int:
        text = row.get(column, "")
        if not text:
            return default
        if not text.isdigit():
            raise ValueError(f"{path}, line {line}: {column} is {text!r}, expected a number from 0")
        return int(text)

    rows = []
    for line, row in records:
        if not row["file"]:
            raise ValueError(f"{path}, line {line}: no file given")
        split = row.get("split", "").lower()
        if split not in _SPLITS:
            raise ValueError(f"{path}, line {line}: split is {split!r}, expected train, validation, test or nothing")
        start, end = number(line, row, "start", 0), number(line, row, "end", -1)
        if end != -1 and end <= start:
            raise ValueError(
                f"{path}, line {line}: end {end} is not after start {start} (frames start .. end - 1 are used)"
            )
        rows.append(
            LabelRow(
                file=Path(row["file"]).as_posix(),
                label=row.get("label", ""),
                subject=subject_numbers.get(row.get("subject", ""), -1),
                camera=number(line, row, "camera", -1),
                split=_SPLITS[split],
                start=start,
                end=end,
            )
        )
    if not rows:
        raise ValueError(f"{path}: no row below the names of the columns")
    return rows


def read_layout_file(layout: str | os.PathLike) -> SkeletonLayout:
    """A layout from a JSON file with `name`, `joints`, `parents` (and any other field of `SkeletonLayout`), or by its known name.

    Raises:
        ValueError: if there is neither such a file nor such a name, or the file is no layout.
    """
    if str(layout) in list_layouts():
        return get_layout(str(layout))
    path = Path(layout)
    if not path.is_file():
        raise ValueError(f"layout {str(layout)!r} is neither a JSON file nor one of {', '.join(list_layouts())}")
    try:
        return SkeletonLayout.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path}: not a joint layout ({error}); expected {{"name": ..., "joints": [names], "parents": [index of each '
            "joint's parent]}"
        ) from error


def read_numpy_sequence(
    path: str | os.PathLike, num_joints: int, num_channels: int = 3, start: int = 0, end: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """Read an array `(frames, joints, channels)` or `(persons, frames, joints, channels)`.

    Args:
        path: the `.npy` file.
        num_joints: joints of the layout.
        num_channels: coordinates per joint.
        start, end: frames `start .. end - 1` are used; `end` -1 means to the last.

    Returns:
        keypoints float32 `(persons, frames, joints, channels)` and frame_mask bool `(persons, frames)`, False where all coordinates
        of a person are 0.

    Raises:
        RecordingError: if the file cannot be read, has another shape, or holds a number that is not finite.
    """
    path = Path(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file") from error
    except (ValueError, OSError, EOFError) as error:
        raise RecordingError(f"{path}: not a .npy array of numbers ({error})") from error
    shape = array.shape
    if array.ndim == 3:
        array = array[None]  # (T, V, C) -> (1, T, V, C)
    expected = f"(frames, {num_joints}, {num_channels}) or (persons, frames, {num_joints}, {num_channels})"
    if array.ndim != 4 or array.shape[2:] != (num_joints, num_channels) or 0 in array.shape:
        raise RecordingError(f"{path}: shape {shape}, expected {expected}")
    if array.dtype.kind not in "fiu":
        raise RecordingError(f"{path}: values of type {array.dtype}, expected numbers")
    frames = array.shape[1]
    stop = frames if end == -1 else end
    if stop > frames or start >= frames:
        wanted = f"{start}.." + ("" if end == -1 else str(end - 1))
        raise RecordingError(f"{path}: frames {wanted} asked, the file has {frames} (0..{frames - 1})")
    keypoints = np.array(array[:, start:stop], dtype=np.float32)
    finite = np.isfinite(keypoints).all(axis=-1)
    if not finite.all():
        person, frame, joint = (int(i) for i in np.argwhere(~finite)[0])
        raise RecordingError(
            f"{path}: person {person}, frame {frame + start}, joint {joint} is {keypoints[person, frame, joint].tolist()}; "
            "coordinates must be finite (write 0 in all joints where a person was not seen)"
        )
    frame_mask = np.asarray(keypoints.any(axis=(2, 3)))
    if not frame_mask.any():
        raise RecordingError(f"{path}: all coordinates are 0 in frames {start}..{stop - 1}")
    return keypoints, frame_mask


__all__ = ["LabelRow", "read_label_table", "read_layout_file", "read_numpy_sequence"]
