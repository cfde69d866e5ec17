"""TRC marker trajectories (Motion Analysis, OpenSim, Pose2Sim).

Text, separated by tabulators: a line `PathFileType`, two lines with names and values of `DataRate`, `NumFrames`, `NumMarkers`, `Units`, ..., a
line `Frame# Time marker marker ...` with each marker above its X, a line `X1 Y1 Z1 ...`, and a row per frame. An empty cell is a marker that
was not seen.
"""

from __future__ import annotations

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .joint_names import canonical_joint_names, layout_of_joints


def read_trc(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the markers of one subject.

    Raises:
        RecordingError: if the head contradicts the rows, or a cell is no number.
    """
    lines = file.text.splitlines()
    if len(lines) < 5:
        raise file.error("fewer than five lines; the file is cut off")
    head = dict(zip(lines[1].split("\t"), lines[2].split("\t")))
    head = {name.strip(): value.strip() for name, value in head.items()}
    try:
        rate, num_frames, count = float(head["DataRate"]), int(head["NumFrames"]), int(head["NumMarkers"])
    except (KeyError, ValueError):
        raise file.error("expected the numbers DataRate, NumFrames and NumMarkers", "lines 2 and 3") from None
    names = [name.strip() for name in lines[3].split("\t")[2:]]
    names = [name for name in names if name]
    if len(names) != count or not count:
        raise file.error(f"{len(names)} markers, but NumMarkers is {count}", "line 4")
    rows = [(number, line) for number, line in enumerate(lines[4:], 5) if line.strip()]
    if rows and not rows[0][1].split("\t")[0].strip().isdigit():
        rows = rows[1:]  # X1 Y1 Z1 ...
    if len(rows) != num_frames:
        raise file.error(f"{len(rows)} rows, but NumFrames is {num_frames}; is the file cut off?")
    values = np.stack([_row(file, number, line, count) for number, line in rows]) if rows else np.empty((0, count, 3))
    layout, order = layout_of_joints(canonical_joint_names(names), "markers")
    return make_recording(file, values[None, :, order], layout, frame_rate=rate, units=head.get("Units", ""))


def _row(file: RecordingFile, number: int, line: str, count: int) -> np.ndarray:
    """Markers of a row, `(markers, 3)`."""
    cells = [cell.strip() for cell in line.split("\t")]
    while len(cells) > 2 + 3 * count and not cells[-1]:
        cells.pop()
    cells += (
        [""] * (2 + 3 * count - len(cells)) if len(cells) % 3 == 2 else []
    )  # empty cells at the end may be left out
    if len(cells) != 2 + 3 * count:
        raise file.error(f"{len(cells)} cells, expected frame, time and {3 * count} coordinates", f"line {number}")
    values = [None if cell.lower() in ("", "nan") else cell for cell in cells[2:]]
    return file.numbers(values, f"line {number}", (3 * count,)).reshape(count, 3)


FORMAT = FileFormat(
    name="trc",
    title="TRC markers (OpenSim, Pose2Sim)",
    suffixes=(".trc",),
    layout="the file's own markers; a known layout if the names are its joints",
    units="metre, by the file's unit",
    detect=lambda file: file.start.startswith("PathFileType"),
    read=read_trc,
)


__all__ = ["FORMAT", "read_trc"]
