"""Reading a recording from any file that the package knows.

```python
from skeleton_transformers import read_skeletons

recording = read_skeletons("video_json/")           # OpenPose; the format is found by content and name
recording.keypoints, recording.frame_mask, recording.layout, recording.units
```
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..skeletons import SkeletonLayout, get_layout
from .formats import (
    alphapose,
    arrays,
    bvh,
    c3d_markers,
    coco_json,
    gtu_text,
    kinect_csv,
    mediapipe,
    mmpose,
    msr_action3d_text,
    ntu_skeleton,
    nw_ucla_json,
    openpose,
    pose_file,
    pyskl,
    rows,
    tables,
    trc,
)
from .formats.base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording
from .formats.errors import RecordingError


logger = logging.getLogger(__name__)

# In the order in which they are asked whether a file is theirs.
_FORMATS: dict[str, FileFormat] = {
    kind.name: kind
    for kind in (
        arrays.NPY,
        arrays.NPZ,
        arrays.MAT,
        tables.PARQUET,
        c3d_markers.FORMAT,
        pose_file.FORMAT,
        pyskl.FORMAT,
        openpose.FORMAT,
        nw_ucla_json.FORMAT,
        alphapose.FORMAT,
        coco_json.FORMAT,
        mmpose.FORMAT,
        mediapipe.FORMAT,
        bvh.FORMAT,
        trc.FORMAT,
        kinect_csv.FORMAT,
        ntu_skeleton.FORMAT,
        msr_action3d_text.FORMAT,
        gtu_text.FORMAT,
        tables.CSV,
        rows.FORMAT,
    )
}
_METRES = {
    **dict.fromkeys(("metre", "meter", "metres", "meters", "m"), 1.0),
    **dict.fromkeys(("centimetre", "centimeter", "cm"), 0.01),
    **dict.fromkeys(("millimetre", "millimeter", "mm"), 0.001),
    **{"inch": 0.0254, "in": 0.0254, "foot": 0.3048, "ft": 0.3048},
}
_LANDMARKS = ("world", "image")


def list_formats() -> list[str]:
    """Names of the formats that `read_skeletons` knows."""
    return list(_FORMATS)


def get_format(name: str) -> FileFormat:
    """The description of a format.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in _FORMATS:
        raise ValueError(f"unknown format {name!r}; known: {', '.join(_FORMATS)}")
    return _FORMATS[name]


def read_skeletons(
    path: str | os.PathLike,
    format: str | None = None,
    layout: str | Mapping[str, Any] | SkeletonLayout | None = None,
    *,
    image_size: tuple[float, float] | None = None,
    min_confidence: float = 0.0,
    units: str | None = None,
    frame_rate: float | None = None,
    item: str | None = None,
    landmarks: str = "world",
    bodies: str = "all",
) -> SkeletonRecording:
    """Read a recording.

    Lengths come in metres wherever their unit is known, and flat coordinates as fractions of the image wherever its size is.

    Args:
        path: the file; for OpenPose, the folder with one file per frame.
        format: one of `list_formats()`; found by content and name if left out.
        layout: joints of a file that does not name them (arrays, text rows, numbered columns). A file that does keeps its own: use
            `convert_layout` on the result.
        image_size: width and height of the image in pixels, to turn pixels into fractions of the image.
        min_confidence: a joint whose confidence is lower counts as missing. It stays in `confidence`.
        units: unit of a file that does not tell it (BVH, arrays, tables): "metre", "centimetre", "millimetre", "inch", "foot", "pixel" or
            "image fraction".
        frame_rate: frames per second of a file that does not tell it.
        item: which array or recording of a file with several (`.npz`, `.mat`, PYSKL annotations, videos in a folder of OpenPose).
        landmarks: "world" (metres) or "image", where a file of MediaPipe has both.
        bodies: people of NTU RGB+D files: "all" by their ids, or the published choices "simple", "energy" and "denoise".

    Returns:
        The recording, its people in the order of the file or of their appearance.

    Raises:
        FileNotFoundError: if there is no such file.
        RecordingError: if the file is no usable recording; the message says where and why.
        ValueError: if an argument makes no sense.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if image_size is not None and (len(image_size) != 2 or not all(side > 0 for side in image_size)):
        raise ValueError(f"image_size must be (width, height) in pixels, got {image_size!r}")
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be between 0 and 1, got {min_confidence!r}")
    if landmarks not in _LANDMARKS:
        raise ValueError(f"landmarks must be one of {', '.join(_LANDMARKS)}; got {landmarks!r}")
    options = ReadOptions(None if layout is None else get_layout(layout), image_size, item, landmarks, bodies)
    file = RecordingFile(path)
    kind = _detect(file) if format is None else get_format(format)
    recording = replace(kind.read(file, options), format=kind.name)
    if frame_rate is not None and recording.frame_rate is None:
        recording.frame_rate = frame_rate
    if units is not None and not recording.units:
        recording.units = units
    _to_canonical_units(recording, image_size)
    if min_confidence > 0:
        _drop_doubtful_joints(recording, min_confidence)
    return recording


def _detect(file: RecordingFile) -> FileFormat:
    for kind in _FORMATS.values():
        if kind.detect(file):
            return kind
    if file.is_folder:
        raise file.error(
            "a folder is a recording only if it holds the JSON files of OpenPose, one per frame; give a file, or open a prepared store "
            "with SkeletonStore.open"
        )
    if not file.head:
        raise file.error("the file is empty")
    hint = ""
    if file.is_json:
        content = file.json
        what = f"an object with {', '.join(map(repr, list(content)[:6]))}" if isinstance(content, dict) else "a list"
        hint = f" (JSON, {what})"
    raise file.error(
        f"no known recording{hint}; the ending {file.suffix!r} is not known either: {', '.join(_FORMATS)} are, see docs/recordings.md, "
        "or name the format"
    )


def _to_canonical_units(recording: SkeletonRecording, image_size: tuple[float, float] | None) -> None:
    """Metres and image fractions, where that is possible."""
    if recording.units in _METRES:
        if _METRES[recording.units] != 1:
            recording.keypoints *= np.float32(_METRES[recording.units])
        recording.units = "metre"
    elif recording.units == "pixel" and image_size is not None:
        recording.keypoints[..., :2] /= np.array(image_size, dtype=np.float32)
        recording.units = "image fraction"
    elif recording.units == "pixel":
        logger.warning(
            "%s: coordinates are pixels; pass image_size=(width, height) to get fractions of the image, as the models expect",
            recording.source,
        )


def _drop_doubtful_joints(recording: SkeletonRecording, min_confidence: float) -> None:
    if recording.confidence is None:
        raise RecordingError(
            f"{recording.source}: has no confidence, so min_confidence={min_confidence} means nothing"
        )
    there = recording.present_joints & (recording.confidence >= min_confidence)
    if not there.any():
        raise RecordingError(
            f"{recording.source}: no joint has a confidence of {min_confidence} or more, the best has {recording.confidence.max():.2f}"
        )
    recording.keypoints[~there] = 0
    recording.joint_mask, recording.frame_mask = there, np.asarray(there.any(axis=-1))


__all__ = ["FileFormat", "RecordingError", "SkeletonRecording", "get_format", "list_formats", "read_skeletons"]
