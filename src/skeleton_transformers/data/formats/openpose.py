"""OpenPose: a folder with one JSON file per frame (`<video>_000000000012_keypoints.json`), or one such file.

`{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, confidence, ...], ...}]}`, joints of BODY_25 or of the older COCO model (18).
With `--3d` the numbers are `pose_keypoints_3d`, `[x, y, z, confidence, ...]`. A joint with confidence 0 was not found. Face and hands
are left out. People have an id only if OpenPose ran with tracking.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_image_recording


_NAME = re.compile(r"(?P<video>.*?)_?(?P<frame>\d+)(_keypoints)?\.json", re.IGNORECASE)
# field of a person, values per joint
_FIELDS = {"pose_keypoints_3d": 4, "pose_keypoints_2d": 3, "pose_keypoints": 3}


def _is_frame(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def detect(file: RecordingFile) -> bool:
    if not file.is_folder:
        return file.is_json and _is_frame(file.json)
    first = next(iter(_frame_files(file.path)), None)
    if first is None:
        return False
    return first.name.lower().endswith("_keypoints.json") or _is_frame(RecordingFile(first).json)


def _frame_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.is_file())


def read_openpose(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a folder of frames, or the file of one frame.

    Raises:
        RecordingError: if a file is damaged, the frames belong to several videos, or people have different joints.
    """
    if file.is_folder:
        paths, places, num_frames = _frames(file, options)
    else:
        paths, places, num_frames = [file.path], [0], 1
    frames: list[int] = []
    poses: list[np.ndarray] = []
    ids: list[Hashable] = []
    field = ""
    for path, frame in zip(paths, places):
        source = file if path == file.path else RecordingFile(path)
        content = source.json
        if not _is_frame(content):
            raise source.error("no frame of OpenPose: expected an object with the list 'people'")
        for number, person in enumerate(content["people"]):
            place = f"person {number}"
            if not isinstance(person, dict):
                raise source.error("expected an object with 'pose_keypoints_2d'", place)
            given = [name for name in _FIELDS if person.get(name)]
            if not given:
                continue  # only a face or a hand was found
            field = field or given[0]
            if field not in given:
                raise source.error(f"has {given[0]!r} where others have {field!r}", place)
            values = source.numbers(person[field], f"{place}, {field}", (-1,))
            columns = _FIELDS[field]
            if len(values) % columns:
                raise source.error(f"{len(values)} values, expected {columns} per joint", f"{place}, {field}")
            pose = values.reshape(-1, columns)  # (V * columns,) -> (V, columns)
            if poses and len(pose) != len(poses[0]):
                raise source.error(f"{len(pose)} joints where others have {len(poses[0])}", place)
            frames.append(frame)
            poses.append(pose)
            ids.append(_person_id(person.get("person_id")))
    layout = None
    if poses:
        layout = file.layout_by_count(len(poses[0]), options, "openpose25", "openpose18")
    if layout is None:
        raise file.error(f"nobody is there in any of its {num_frames} frames")
    return make_image_recording(
        file,
        layout,
        num_frames,
        frames,
        poses,
        ids if all(name is not None for name in ids) else None,
        **({"units": ""} if field == "pose_keypoints_3d" else {}),
    )


def _frames(file: RecordingFile, options: ReadOptions) -> tuple[list[Path], list[int], int]:
    """Files of a video in the order of its frames, their places, and the number of frames."""
    videos: dict[str, list[tuple[int, Path]]] = {}
    for path in _frame_files(file.path):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise RecordingFile(path).error(
                "the name holds no frame number, such as video_000000000012_keypoints.json"
            )
        videos.setdefault(match["video"], []).append((int(match["frame"]), path))
    video = options.item if options.item is not None else next(iter(videos), "")
    if video not in videos or (options.item is None and len(videos) > 1):
        names = ", ".join(map(repr, list(videos)[:5]))
        raise file.error(
            f"holds the frames of {len(videos)} videos ({names}); choose one with item=..., or give each a folder"
        )
    members = sorted(videos[video])
    places, num_frames = file.frame_places(np.array([number for number, _ in members], dtype=object), "frame numbers")
    if len(set(places.tolist())) < len(members):
        raise file.error("two files have the same frame number")
    return [path for _, path in members], places.tolist(), num_frames


def _person_id(value: Any) -> Hashable:
    """The tracker's id, None if there is none (-1)."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, int) and value >= 0 else None


FORMAT = FileFormat(
    name="openpose-json",
    title="OpenPose, a folder with one JSON file per frame",
    suffixes=(".json", "folder"),
    layout="openpose25 or openpose18",
    units="pixel, or image fraction with --keypoint_scale 3",
    detect=detect,
    read=read_openpose,
)


__all__ = ["FORMAT", "read_openpose"]
