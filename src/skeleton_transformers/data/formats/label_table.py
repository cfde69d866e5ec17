"""What a user says about her own recordings: a table of what they are, and a JSON file with their joint layout."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ...skeletons import SkeletonLayout, get_layout, list_layouts


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


__all__ = ["LabelRow", "read_label_table", "read_layout_file"]
