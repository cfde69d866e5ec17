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

from ..skeletons import SkeletonLayout, convert_layout, get_layout
from .cleaning import fill_gaps
from .formats import (
    acclaim,
    alphapose,
    arrays,
    bvh,
    c3d_markers,
    coco_json,
    expmap_text,
    gtu_text,
    kinect_csv,
    kinetics_json,
    mediapipe,
    mmpose,
    msr_action3d_text,
    ntu_skeleton,
    nw_ucla_json,
    openpose,
    pku_text,
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
        kinetics_json.FORMAT,
        alphapose.FORMAT,
        coco_json.FORMAT,
        mmpose.FORMAT,
        mediapipe.FORMAT,
        bvh.FORMAT,
        acclaim.FORMAT,
        trc.FORMAT,
        kinect_csv.FORMAT,
        ntu_skeleton.FORMAT,
        msr_action3d_text.FORMAT,
        gtu_text.FORMAT,
        pku_text.FORMAT,
        expmap_text.FORMAT,
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
    default_layout: str | Mapping[str, Any] | SkeletonLayout | None = None,
) -> SkeletonRecording:
    """Read a recording.

    Lengths come in metres wherever their unit is known, and flat coordinates as fractions of the image wherever its size is.

    Args:
        path: the file; for OpenPose, the folder with one file per frame.
        format: one of `list_formats()`; found by content and name if left out.
        layout: joints of a file that does not name them (arrays, text rows, numbered columns, lists of keypoints). A file that does
            keeps its own: see `as_sequence`.
        image_size: width and height of the image in pixels, to turn pixels into fractions of the image.
        min_confidence: a joint whose confidence is lower counts as missing. It stays in `confidence`.
        units: unit of a file that does not tell it (BVH, arrays, tables): "metre", "centimetre", "millimetre", "inch", "foot", "pixel" or
            "image fraction".
        frame_rate: frames per second of a file that does not tell it.
        item: which array or recording of a file with several (`.npz`, `.mat`, PYSKL annotations, videos in a folder of OpenPose).
        landmarks: "world" (metres) or "image", where a file of MediaPipe has both.
        bodies: people of NTU RGB+D files: "all" by their ids, or the published choices "simple", "energy" and "denoise".
        default_layout: as `layout`, but only for files of which not even the format tells the joints.

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
    options = ReadOptions(
        layout=None if layout is None else get_layout(layout),
        default_layout=None if default_layout is None else get_layout(default_layout),
        image_size=image_size,
        item=item,
        landmarks=landmarks,
        bodies=bodies,
    )
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


def as_sequence(
    recording: SkeletonRecording,
    layout: str | Mapping[str, Any] | SkeletonLayout,
    num_channels: int,
    confidence_channel: bool = False,
    units: str = "",
    max_gap: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of a recording as a model or a store takes them: in its layout, with its channels, every joint in its place.

    A joint that is missing in some frames is put where it was and will be: on the line between the frames where it is known, before
    the first and after the last one where it is there. With a confidence channel it is 0 with confidence 0 instead.

    Args:
        recording: the recording.
        layout: wanted layout; joints are matched by their names.
        num_channels: channels of the result: the coordinates, and the confidence if there is one more.
        confidence_channel: the last channel must be a confidence.
        units: unit of the model or store; "" for any but pixels.
        max_gap: put a missing joint in its place only in gaps of up to so many frames; a person counts as absent in frames where
            one is still missing. None: in gaps of any length, and before and after.

    Returns:
        keypoints float32 `(persons, frames, joints, num_channels)` and frame_mask bool `(persons, frames)`.

    Raises:
        RecordingError: if joints, channels or units do not fit, or a joint of everybody is never there.
    """
    wanted = get_layout(layout)
    name = recording.source or "the recording"
    coordinates = recording.keypoints.shape[-1]
    if recording.units and recording.units != units and (units or recording.units == "pixel"):
        remedy = (
            "pass the width and height of the image (image_size=..., --image-size 1920 1080)"
            if recording.units == "pixel"
            else "convert it first"
        )
        raise RecordingError(
            f"{name}: its coordinates are in {recording.units}, wanted is {units or 'image fraction'}; {remedy}"
        )
    keypoints, found = recording.keypoints, np.ones(wanted.num_joints, dtype=bool)
    known, confidence = recording.present_joints, recording.confidence
    if recording.layout.joints != wanted.joints:
        keypoints, found = convert_layout(keypoints, recording.layout, wanted)
        known = convert_layout(known[..., None], recording.layout, wanted)[0][..., 0]
        if confidence is not None:
            confidence = convert_layout(confidence[..., None], recording.layout, wanted)[0][..., 0]
    if not found.all():
        missing = [joint for joint, is_there in zip(wanted.joints, found) if not is_there]
        raise RecordingError(
            f"{name}: layout {recording.layout.name!r} lacks {len(missing)} of the {wanted.num_joints} joints of {wanted.name!r} "
            f"({', '.join(missing)}); use a model or a layout that does without them"
        )
    with_confidence = num_channels == coordinates + 1 and confidence is not None
    array_of_three = confidence_channel and num_channels == coordinates and not recording.units
    if not (with_confidence or array_of_three or (num_channels == coordinates and not confidence_channel)):
        channels = f"{coordinates} coordinates" + (" and a confidence" if recording.confidence is not None else "")
        raise RecordingError(
            f"{name}: has {channels} per joint, wanted are {num_channels} channels"
            + (", the last one a confidence" if confidence_channel else "")
        )
    if with_confidence:
        assert confidence is not None
        return np.concatenate([keypoints, confidence[..., None]], axis=-1), recording.frame_mask
    return _complete(keypoints, known, recording.frame_mask, wanted, name, max_gap)


def _complete(
    keypoints: np.ndarray,
    known: np.ndarray,
    frame_mask: np.ndarray,
    layout: SkeletonLayout,
    name: str,
    max_gap: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Missing joints of present people filled in; people of whom a joint is never seen are left out."""
    if np.array_equal(known.all(axis=-1), frame_mask):
        return keypoints, frame_mask
    always_missing: np.ndarray = np.asarray(~known.any(axis=1))  # (persons, joints)
    usable: np.ndarray = np.asarray(~always_missing.any(axis=1))
    if not usable.any():
        gone = always_missing[always_missing.sum(axis=1).argmin()]  # of the person who lacks least
        joints = [joint for joint, is_gone in zip(layout.joints, gone) if is_gone]
        raise RecordingError(
            f"{name}: {', '.join(joints)} cannot be seen in any frame; use a layout without them (--layout), or a model with a "
            "confidence channel"
        )
    if not usable.all():
        logger.warning("%s: %d people of whom joints are never seen are left out", name, int((~usable).sum()))
    keypoints, known, frame_mask = keypoints[usable], known[usable], frame_mask[usable]
    frames = known.shape[1]
    filled, there = fill_gaps(keypoints, known, frames if max_gap is None else max_gap)
    if max_gap is not None:
        frame_mask = frame_mask & there.all(axis=-1)
        if not frame_mask.any():
            raise RecordingError(f"{name}: in every frame a joint is missing for more than {max_gap} frames")
        return filled * frame_mask[..., None, None], frame_mask
    first, last = known.argmax(axis=1), frames - 1 - known[:, ::-1].argmax(axis=1)  # (persons, joints)
    time = np.arange(frames)[None, :, None]
    nearest = np.clip(time, first[:, None], last[:, None])  # (persons, frames, joints)
    held = np.take_along_axis(keypoints, nearest[..., None], axis=1)
    filled = np.where(there[..., None], filled, held)
    filled[~frame_mask] = 0
    return filled, frame_mask


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
    content = file.json
    found = f"its ending is {file.suffix!r}"
    if content is not None:
        keys = ", ".join(map(repr, list(content)[:6])) if isinstance(content, dict) else ""
        found = f"it is JSON, {f'an object with {keys}' if keys else 'a list'}"
    raise file.error(
        f"not of a known format ({found}); name it with format=... if it is one of {', '.join(_FORMATS)}, and see docs/recordings.md"
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


__all__ = [
    "FileFormat",
    "RecordingError",
    "SkeletonRecording",
    "as_sequence",
    "get_format",
    "list_formats",
    "read_skeletons",
]
