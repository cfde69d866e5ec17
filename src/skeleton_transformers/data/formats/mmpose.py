"""MMPose: predictions of its inferencer and demos as JSON, plain or gzip.

A person is `{"keypoints": [[x, y], ...], "keypoint_scores": [...], "track_id": 1}` (or `scores`; 3D models write `[x, y, z]`). Accepted are

* a list of frames, each a list of people;
* a list of frames `{"frame_id": 3, "instances": [people]}`;
* `{"meta_info": {...}, "instance_info": [frames]}`, whose names of joints are used;
* a list of people, the prediction of one image.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from ...skeletons import SkeletonLayout, get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_image_recording
from .joint_names import canonical_joint_names, layout_of_joints


def _is_person(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("keypoints"), list)
        and bool({"keypoint_scores", "scores"} & set(entry))
    )


def _frames(content: Any) -> list[tuple[Any, list]] | None:
    """Number (None where it is not told) and people of each frame; None if this is no file of MMPose."""
    if isinstance(content, dict):
        content = content.get("instance_info")
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(frame, dict) and isinstance(frame.get("instances"), list) for frame in content):
        return [(frame.get("frame_id"), frame["instances"]) for frame in content]
    if all(map(_is_person, content)):
        return [(None, content)]
    if all(isinstance(frame, list) for frame in content):
        people = [person for frame in content for person in frame]
        if people and all(map(_is_person, people)):
            return [(None, frame) for frame in content]
    return None


def detect(file: RecordingFile) -> bool:
    return file.is_json and _frames(file.json) is not None


def read_mmpose(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the people of all frames as one recording.

    Raises:
        RecordingError: if the file is damaged, or its people have different joints.
    """
    listed = _frames(file.json)
    if listed is None:
        raise file.error("no predictions of MMPose: expected a list of frames with lists of people")
    numbers = [number for number, _ in listed]
    if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        places, num_frames = file.frame_places(numbers, "frame ids")
    else:
        places, num_frames = np.arange(len(listed)), len(listed)
    frames: list[int] = []
    poses: list[np.ndarray] = []
    ids: list[Hashable] = []
    for place, (_, people) in zip(places.tolist(), listed):
        for number, person in enumerate(people):
            where = f"frame {place}, person {number}"
            if not _is_person(person):
                raise file.error("expected an object with 'keypoints' and 'keypoint_scores'", where)
            if not person["keypoints"]:
                continue
            first = person["keypoints"][0]
            dims = 3 if isinstance(first, list) and len(first) == 3 else 2
            points = file.numbers(person["keypoints"], f"{where}, keypoints", (-1, dims))
            scores = person.get("keypoint_scores", person.get("scores"))
            scores = file.numbers(scores, f"{where}, keypoint scores", (len(points),))
            pose = np.concatenate([points, scores[:, None]], axis=1)  # (V, dims + 1)
            if poses and pose.shape != poses[0].shape:
                raise file.error(
                    f"{len(pose)} x {dims} keypoints, others have {len(poses[0])} x {poses[0].shape[1] - 1}", where
                )
            frames.append(place)
            poses.append(pose)
            track = person.get("track_id")
            ids.append(track if isinstance(track, (int, str)) else None)
    if not poses:
        raise file.error(f"nobody is there in any of its {num_frames} frames")
    layout, order = _layout(file, options, *poses[0].shape)
    return make_image_recording(
        file,
        layout,
        num_frames,
        frames,
        [pose[order] for pose in poses],
        ids if all(name is not None for name in ids) else None,
        **({"units": ""} if poses[0].shape[1] == 4 else {}),
    )


def _layout(file: RecordingFile, options: ReadOptions, count: int, columns: int) -> tuple[SkeletonLayout, list[int]]:
    """The layout, and the places of its joints among the keypoints."""
    meta = file.json.get("meta_info") if isinstance(file.json, dict) else None
    names = _names(meta, count) if isinstance(meta, dict) and options.layout is None else None
    if names is not None:
        canonical = canonical_joint_names(names)
        # Human3.6M in MMPose has the ankles under the name of the feet
        if "neck_base" in canonical and count == get_layout("h36m17").num_joints:
            return get_layout("h36m17"), list(range(count))
        if count < 100:
            return layout_of_joints(canonical, "mmpose")
    lifted = columns == 4 and count == get_layout("h36m17").num_joints
    layout, used = file.body_layout(count, options, "h36m17" if lifted else "coco17", "halpe26", "wholebody23")
    return layout, list(range(used))


def _names(meta: dict, count: int) -> list[str] | None:
    """Names of the joints in the description of the data set, if it has them all."""
    table = meta.get("keypoint_id2name")
    names = (
        [table.get(str(number)) for number in range(count)] if isinstance(table, dict) else meta.get("keypoint_names")
    )
    if isinstance(names, list) and len(names) == count and all(isinstance(name, str) and name for name in names):
        return names
    return None


FORMAT = FileFormat(
    name="mmpose-json",
    title="MMPose predictions",
    suffixes=(".json", ".json.gz"),
    layout="coco17, halpe26, wholebody23, h36m17, or by the names in meta_info",
    units="pixel, or image fraction if all coordinates are small",
    detect=detect,
    read=read_mmpose,
)


__all__ = ["FORMAT", "read_mmpose"]
