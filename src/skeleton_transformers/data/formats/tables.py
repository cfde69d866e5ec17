"""Tables with named columns: CSV (comma, semicolon or tabulator; decimal point or comma) and Parquet.

Wide tables have a row per frame (and person) and a column per coordinate:

* `left_knee_x, left_knee_y, left_knee_z, left_knee_visibility`, the joint in the spelling of any tool (`KneeLeft_X`, `LKnee.x`, `x_left_knee`);
* numbered: `x0, y0, z0, v0, x1, ...` or `landmark_00_x, ...`, counted from 0 or from 1, with the layout given (33 landmarks are MediaPipe's).

Long tables have a row per joint: columns `frame`, a joint (`joint`, `landmark`, `keypoint`, `marker`, ...; name or number), `x`, `y`, and perhaps
`z`, a confidence and a person.

Other columns with a meaning: `frame` (numbers, gaps are frames without anybody), `time` or `timestamp` (seconds; `timestamp_ms`), `person`,
`person_id` or `track_id`, `label` (one number or name for all rows). The rest is left out. Empty cells and `nan` are missing values.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...skeletons import SkeletonLayout, get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, image_units, make_recording
from .joint_names import canonical_joint_names, layout_of_joints
from .mediapipe import LAYOUT as MEDIAPIPE
from .mediapipe import landmark_recording


_CHANNELS = {
    **{"x": "x", "y": "y", "z": "z"},
    **dict.fromkeys(
        ("v", "c", "p", "s", "vis", "visibility", "conf", "confidence", "score", "likelihood", "presence", "prob"), "c"
    ),
}
_WORDS = "|".join(sorted(_CHANNELS, key=len, reverse=True))
_BEHIND = re.compile(rf"(?P<joint>.+?)[ _.:\-/]+(?:pos(?:ition)?[ _.]?)?(?P<channel>{_WORDS})", re.IGNORECASE)
_ATTACHED = re.compile(r"(?P<joint>.*[a-z0-9])(?P<channel>[XYZ])")
_BEFORE = re.compile(rf"(?P<channel>{_WORDS})(?:(?P<number>\d+)|[ _.:\-/]+(?P<joint>.+))", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:landmark|lm|joint|keypoint|kp|point|marker)?[ _.\-]*(?P<number>\d{1,6})", re.IGNORECASE)
_FRAME = (
    "frame",
    "frame_id",
    "frame_index",
    "frame_number",
    "frame_idx",
    "frame_num",
    "frameid",
    "framenumber",
    "frame#",
)
_PERSON = (
    "person",
    "person_id",
    "person_index",
    "track_id",
    "body",
    "body_id",
    "skeleton_id",
    "subject_id",
    "personid",
    "pid",
)
_TIME = {
    "time": 1.0,
    "timestamp": 1.0,
    "time_s": 1.0,
    "seconds": 1.0,
    "timestamp_s": 1.0,
    "timestamp_ms": 1e-3,
    "time_ms": 1e-3,
}
_JOINT = (
    *(
        "joint",
        "joint_name",
        "landmark",
        "landmark_name",
        "landmark_id",
        "landmark_index",
        "keypoint",
        "keypoint_name",
        "bodypart",
    ),
    *("body_part", "marker", "joint_id", "joint_index", "keypoint_id", "name", "index"),
)
_MISSING = {"", "nan", "na", "n/a", "none", "null", "-nan", "#n/a"}


class Table:
    """Columns of equal length, of text or of numbers."""

    def __init__(self, file: RecordingFile, columns: Mapping[str, Sequence[str] | np.ndarray], decimal: str = "."):
        self.file = file
        self.columns = columns
        self.decimal = decimal
        self.rows = len(next(iter(columns.values()), ()))

    def find(self, names: Sequence[str]) -> str | None:
        """The first column of one of these names, in any case."""
        plain = {name.strip().lower().replace(" ", "_"): name for name in self.columns}
        return next((plain[name] for name in names if name in plain), None)

    def values(self, name: str) -> np.ndarray:
        """A column as float64, NaN where a cell is empty."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            if column.dtype.kind not in "fiub":
                raise self.file.error(f"holds {column.dtype}, expected numbers", f"column {name!r}")
            return column.astype(np.float64)
        try:
            return np.array([float(cell) for cell in column])
        except ValueError:
            return np.array([self._value(cell, row, name) for row, cell in enumerate(column)])

    def _value(self, cell: str, row: int, name: str) -> float:
        text = cell.strip()
        if text.lower() in _MISSING:
            return np.nan
        if self.decimal == ",":
            text = text.replace(",", ".")
        try:
            return float(text)
        except ValueError:
            raise self.file.error(f"{cell!r} is no number", f"line {row + 2}, column {name!r}") from None

    def texts(self, name: str) -> list[str]:
        return [str(cell).strip() for cell in self.columns[name]]


def _read_rows(file: RecordingFile) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator of a CSV file; every row has as many cells as the header."""
    text = file.text
    first = text.split("\n", 1)[0]
    separator = max(";\t,", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True))
    except csv.Error as error:
        raise file.error(f"not a table ({error})") from error
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if len(lines) < 2:
        raise file.error("no row below the names of the columns")
    header = [name.strip() for name in lines[0]]
    while header and not header[-1]:
        header.pop()  # a separator at the end of each line
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header) and any(cell.strip() for cell in line[len(header) :]) or len(line) < len(header):
            raise file.error(
                f"{len(line)} cells, the header has {len(header)}; is the file cut off?", f"line {number}"
            )
    return header, lines[1:], separator


def _csv_table(file: RecordingFile) -> Table:
    header, rows, separator = _read_rows(file)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise file.error(f"two columns are called {twice[0]!r}")
    columns = {name: cells for name, cells in zip(header, zip(*rows)) if name}
    return Table(file, columns, "," if separator == ";" else ".")


def _parquet_table(file: RecordingFile) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(file.data))
        columns = {name: table[name].to_pandas().to_numpy() for name in table.column_names}
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise file.error(f"not a Parquet table ({error})") from error
    columns = {
        name: [("" if cell is None else str(cell)) for cell in column] if column.dtype.kind in "OUS" else column
        for name, column in columns.items()
    }
    if not columns or not len(next(iter(columns.values()))):
        raise file.error("a table without rows")
    return Table(file, columns)


def _coordinate(name: str) -> tuple[str, str] | None:
    """Joint and channel that the name of a column tells."""
    name = name.strip()
    match = _BEFORE.fullmatch(name) or _BEHIND.fullmatch(name) or _ATTACHED.fullmatch(name)
    if match is None:
        return None
    groups = match.groupdict()
    return groups["joint"] or groups["number"], _CHANNELS[groups["channel"].lower()]


def _coordinates(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Joint -> channel -> column, for the joints that have x and y."""
    joints: dict[str, dict[str, str]] = {}
    for name in names:
        if name.strip().lower().replace(" ", "_") in (*_FRAME, *_PERSON, *_TIME):
            continue
        found = _coordinate(name)
        if found is not None:
            joints.setdefault(found[0], {}).setdefault(found[1], name)
    return {joint: channels for joint, channels in joints.items() if {"x", "y"} <= set(channels)}


def _is_table(names: Sequence[str]) -> bool:
    plain = {name.strip().lower().replace(" ", "_") for name in names}
    return bool(_coordinates(names)) or ({"x", "y"} <= plain and bool(plain & set(_JOINT)))


def detect_csv(file: RecordingFile) -> bool:
    first = file.start.split("\n", 1)[0].strip("\r")
    if file.is_folder or file.suffix == ".trc" or not any(separator in first for separator in ";\t,"):
        return False
    separator = max(";\t,", key=first.count)
    return _is_table([name.strip().strip('"') for name in first.split(separator)]) or (
        # a header longer than what was looked at is settled by the name
        file.suffix in (".csv", ".tsv") and "\n" not in file.start
    )


def read_csv(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a CSV table; see the module.

    Raises:
        RecordingError: naming line and column of what is no number, or what is missing.
    """
    return _read_table(_csv_table(file), options)


def read_parquet(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a Parquet table; see the module.

    Raises:
        RecordingError: naming the column of what is no number, or what is missing.
    """
    return _read_table(_parquet_table(file), options)


def _read_table(table: Table, options: ReadOptions) -> SkeletonRecording:
    joint_column, x = table.find(_JOINT), table.find(["x"])
    if joint_column is not None and x is not None and table.find(["y"]) is not None:
        names, values = _long(table, joint_column)  # (rows, V, 4), a row per joint
        rows = None
    else:
        names, values = _wide(table)
        rows = np.arange(table.rows)
    layout, order = _layout(table.file, names, options)
    frames, num_frames, rate = _frames(table, rows is None)
    people, person_ids = _people(table)
    joints = len(names)
    keypoints = np.full((len(person_ids) or 1, num_frames, joints, 4), np.nan)
    places = np.stack([people, frames])  # (2, rows)
    if rows is None:
        joint_places = _joint_places(table, joint_column, names)
        places = np.concatenate([places, joint_places[None]])
    if len(np.unique(places, axis=1).T) < places.shape[1]:
        what = "joint, frame and person" if rows is None else "frame and person"
        raise table.file.error(f"several rows for the same {what}; is a column with the person or the frame missing?")
    keypoints[tuple(places)] = values
    keypoints = keypoints[:, :, order]
    confidence = keypoints[..., 3]
    points = keypoints[..., :2] if np.isnan(keypoints[..., 2]).all() else keypoints[..., :3]
    extra: dict[str, Any] = {"frame_rate": rate, "person_ids": person_ids}
    if layout.name == MEDIAPIPE:
        return landmark_recording(table.file, points, confidence, "", **extra)
    return make_recording(
        table.file,
        points,
        layout,
        confidence=None if np.isnan(confidence).all() else confidence,
        units=image_units(points) if points.shape[-1] == 2 else "",
        **extra,
    )


def _wide(table: Table) -> tuple[list[str], np.ndarray]:
    """Joints, and float64 `(rows, joints, 4)`: x, y, z and confidence."""
    joints = _coordinates(list(table.columns))
    if not joints:
        names = ", ".join(list(table.columns)[:6])
        raise table.file.error(f"no column is a coordinate such as left_knee_x; its columns are {names}, ...")
    values = np.full((table.rows, len(joints), 4), np.nan)
    for place, channels in enumerate(joints.values()):
        for number, channel in enumerate("xyzc"):
            if channel in channels:
                values[:, place, number] = table.values(channels[channel])
    return list(joints), values


def _long(table: Table, joint_column: str) -> tuple[list[str], np.ndarray]:
    """Joints, and float64 `(rows, 4)`: x, y, z and confidence of the joint of the row."""
    columns = [table.find([name]) for name in "xyz"]
    columns.append(table.find([name for name, channel in _CHANNELS.items() if channel == "c" and len(name) > 1]))
    empty = np.full(table.rows, np.nan)
    values = np.stack([empty if name is None else table.values(name) for name in columns], axis=1)
    return list(dict.fromkeys(table.texts(joint_column))), values


def _joint_places(table: Table, joint_column: str | None, names: list[str]) -> np.ndarray:
    assert joint_column is not None
    index = {name: place for place, name in enumerate(names)}
    return np.array([index[name] for name in table.texts(joint_column)], dtype=np.int64)


def _layout(file: RecordingFile, names: list[str], options: ReadOptions) -> tuple[SkeletonLayout, list[int]]:
    """The layout, and the places of its joints in `names`."""
    numbers = [_NUMBERED.fullmatch(name) for name in names]
    if all(numbers):
        counted = [int(match["number"]) for match in numbers if match]
        if sorted(counted) not in (list(range(len(names))), list(range(1, len(names) + 1))):
            raise file.error(f"its joints are numbered {min(counted)} to {max(counted)} with gaps")
        if options.layout is None and len(names) == get_layout(MEDIAPIPE).num_joints:
            layout = get_layout(MEDIAPIPE)
        else:
            layout = file.layout_by_count(len(names), options)
        return layout, [int(place) for place in np.argsort(counted)]
    canonical = canonical_joint_names(names)
    if options.layout is not None:
        # the user's own names first, then what they mean
        plain = [re.sub(r"\W+", "_", name.lower()) for name in names]
        means = dict(zip(options.layout.joints, canonical_joint_names(options.layout.joints)))
        places = {
            joint: plain.index(joint) if joint in plain else canonical.index(means[joint])
            for joint in options.layout.joints
            if joint in plain or means[joint] in canonical
        }
        if len(places) == options.layout.num_joints:
            return options.layout, list(places.values())
    return layout_of_joints(canonical, "table")


def _frames(table: Table, many_rows: bool) -> tuple[np.ndarray, int, float | None]:
    """Place of each row on the frame axis, the number of frames, and the rate if times tell it."""
    time = table.find(list(_TIME))
    column = table.find(_FRAME)
    seconds = None
    if time is not None:
        try:
            seconds = table.values(time) * _TIME[time.strip().lower().replace(" ", "_")]
        except ValueError:
            seconds = None  # dates
    if column is not None:
        numbers = table.values(column)
        if np.isnan(numbers).any() or (np.abs(numbers) > 2**53).any() or (numbers != np.floor(numbers)).any():
            raise table.file.error("frame numbers must be whole numbers", f"column {column!r}")
        frames, num_frames = table.file.frame_places(numbers, "frame numbers")
    elif seconds is not None and not np.isnan(seconds).any():
        distinct, frames = np.unique(seconds, return_inverse=True)
        num_frames = len(distinct)
    elif many_rows or table.find(_PERSON) is not None:
        raise table.file.error("a row is a joint or a person, so a column 'frame' must say which frame it belongs to")
    else:
        frames, num_frames = np.arange(table.rows), table.rows
    rate = None
    if seconds is not None and num_frames > 1 and not np.isnan(seconds).any():
        lengths = np.diff(np.unique(seconds))
        # times in other units than their name says give no rate of a camera
        if len(lengths) and 1 <= 1 / np.median(lengths) <= 1000:
            rate = float(1 / np.median(lengths))
    return frames, num_frames, rate


def _people(table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Person of each row, and the names of the people."""
    column = table.find(_PERSON)
    if column is None:
        return np.zeros(table.rows, dtype=np.int64), ()
    names = table.texts(column)
    index = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([index[name] for name in names], dtype=np.int64), tuple(index)


CSV = FileFormat(
    name="csv",
    title="CSV with named columns (MediaPipe, Kinect, any tool)",
    suffixes=(".csv", ".tsv", ".txt"),
    layout="by the names of the columns, mediapipe33 for 33 numbered ones, else yours",
    units="metre (MediaPipe world), image fraction or pixel (x and y only), else yours",
    detect=detect_csv,
    read=read_csv,
)
PARQUET = FileFormat(
    name="parquet",
    title="Parquet with named columns",
    suffixes=(".parquet",),
    layout=CSV.layout,
    units=CSV.units,
    detect=lambda file: file.head.startswith(b"PAR1"),
    read=read_parquet,
)


__all__ = ["CSV", "PARQUET", "read_csv", "read_parquet"]
