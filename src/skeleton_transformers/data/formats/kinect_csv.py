"""CSV of Kinect recorders with one cell per joint: a header of joint names, cells `x y z` in metres, `;` between the cells.

A last column without a name (PRECOG-2016) is the number of the action in each frame, 0 for none. Tables with a column per coordinate
(`ShoulderLeft_X`) are read by `tables`.
"""

from __future__ import annotations

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .joint_names import canonical_joint_names, layout_of_joints


def detect(file: RecordingFile) -> bool:
    lines = file.start.split("\n", 2)
    if len(lines) < 2 or ";" not in lines[1]:
        return False
    return len(lines[1].split(";")[0].split()) == 3 and not any(c.isdigit() for c in lines[0].split(";")[0])


def read_kinect_csv(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a recording of one person.

    Raises:
        RecordingError: naming line and joint of a cell that is not three numbers.
    """
    lines = file.text.splitlines()
    header = [name.strip() for name in lines[0].split(";")] if lines else []
    while header and not header[-1]:
        header.pop()
    if not header:
        raise file.error("expected the names of the joints, separated by semicolons", "line 1")
    layout, order = layout_of_joints(canonical_joint_names(header), "kinect")
    values, labels = [], []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split(";")
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if not line.strip():
            continue
        if len(cells) not in (len(header), len(header) + 1):
            raise file.error(
                f"{len(cells)} cells, expected {len(header)} joints; is the file cut off?", f"line {number}"
            )
        rows = [cell.split() for cell in cells[: len(header)]]
        values.append(file.numbers(rows, f"line {number}", (len(header), 3)))
        labels.append(_label(file, cells[len(header) :], number))
    if not values:
        raise file.error("no frame below the names of the joints")
    if len({label is None for label in labels}) > 1:
        raise file.error("some lines have a label in the end and others have none; is the file cut off?")
    keypoints = np.stack(values)[None, :, order]  # (1, T, V, 3)
    return make_recording(
        file,
        keypoints,
        layout,
        frame_mask=np.asarray(keypoints.any(axis=(2, 3))),
        frame_rate=30.0,
        units="metre",
        frame_labels=None if labels[0] is None else np.array(labels, dtype=np.int32),
    )


def _label(file: RecordingFile, cells: list[str], number: int) -> int | None:
    if not cells:
        return None
    text = cells[0].strip()
    if not (text.isdigit() and len(text) < 6):
        raise file.error(f"the label of the frame is {text!r}, expected a number from 0", f"line {number}")
    return int(text)


FORMAT = FileFormat(
    name="kinect-csv",
    title="Kinect CSV, a cell per joint",
    suffixes=(".csv",),
    layout="by the names of the joints (kinect20, ntu25, ...)",
    units="metre",
    detect=detect,
    read=read_kinect_csv,
)


__all__ = ["FORMAT", "read_kinect_csv"]
