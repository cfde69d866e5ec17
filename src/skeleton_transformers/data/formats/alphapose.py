"""AlphaPose: one JSON list of all people of all images (`alphapose-results.json`).

`[{"image_id": "12.jpg", "keypoints": [x, y, confidence, ...], "score": 2.9, "box": [...], "idx": [3.0]}, ...]` with the 17 joints of COCO,
26 of Halpe, or 133 or 136 of the whole body, of which face and hands are left out. Images without people do not occur. `idx` is the
identity where AlphaPose ran with tracking, else 0 for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, logger, make_image_recording
from .errors import RecordingError


_NUMBER = re.compile(r"(?P<name>.*?)(?P<number>\d{1,15})(\.\w+)?")


def is_result_list(content: Any) -> bool:
    """A list of results: one flat list of keypoints and the image for each person."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(entry, dict) and "image_id" in entry and "keypoints" in entry for entry in content)
    )


def detect(file: RecordingFile) -> bool:
    if not (file.is_json and is_result_list(file.json)):
        return False
    return any("idx" in entry or "box" in entry or isinstance(entry["image_id"], str) for entry in file.json)


def read_alphapose(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the results of all images as one recording.

    Images are frames by the number in their names, with gaps where nobody was seen; by the order in which they first occur if the
    names are no numbers.

    Raises:
        RecordingError: if the list is damaged or its people have different joints.
    """
    if not is_result_list(file.json):
        raise file.error("no results of AlphaPose: expected a list of objects with 'image_id' and 'keypoints'")
    return read_result_list(file, options, _places([str(entry["image_id"]) for entry in file.json], file))


def read_result_list(file: RecordingFile, options: ReadOptions, places: tuple[np.ndarray, int]) -> SkeletonRecording:
    """The recording of a list of results whose places on the frame axis are known."""
    poses: list[np.ndarray] = []
    ids: list[Hashable] = []
    for number, entry in enumerate(file.json):
        place = f"entry {number}"
        values = file.numbers(entry["keypoints"], f"{place}, keypoints", (-1,))
        if len(values) % 3 or not len(values):
            raise file.error(
                f"{len(values)} values, expected x, y and confidence for each joint", f"{place}, keypoints"
            )
        poses.append(values.reshape(-1, 3))  # (V * 3,) -> (V, 3)
        if len(poses[-1]) != len(poses[0]):
            raise file.error(f"{len(poses[-1])} joints where others have {len(poses[0])}", place)
        ids.append(_identity(entry.get("idx", entry.get("track_id"))))
    layout, used = file.body_layout(len(poses[0]), options, "coco17", "halpe26", "wholebody23")
    known = all(name is not None for name in ids)
    return make_image_recording(
        file, layout, places[1], places[0], [pose[:used] for pose in poses], ids if known else None
    )


def _identity(value: Any) -> Hashable:
    """The number of a person; None where several were merged or there is none."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return (
        int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**53 else None
    )


def _places(names: Sequence[str], file: RecordingFile) -> tuple[np.ndarray, int]:
    matches = [_NUMBER.fullmatch(name) for name in names]
    if all(matches) and len({match["name"] for match in matches if match}) == 1:
        try:
            return file.frame_places([int(match["number"]) for match in matches if match], "image numbers")
        except RecordingError:
            pass  # dates and the like
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    logger.warning(
        "%s: the names of its %d images (%s, ...) are no frame numbers; they are taken in the order of the file",
        file.path,
        len(order),
        names[0],
    )
    return np.array([order[name] for name in names], dtype=np.int64), len(order)


FORMAT = FileFormat(
    name="alphapose-json",
    title="AlphaPose results",
    suffixes=(".json",),
    layout="coco17, halpe26 or wholebody23",
    units="pixel",
    detect=detect,
    read=read_alphapose,
)


__all__ = ["FORMAT", "is_result_list", "read_alphapose", "read_result_list"]
