"""JSON files of Kinetics-Skeleton: people found by OpenPose in the frames of a clip, without identities.

`{"data": [{"frame_index": 1, "skeleton": [{"pose": [x0, y0, ...], "score": [s0, ...]}, ...]}, ...], "label": name, "label_index": k}`
with 18 joints per person; x and y are fractions of the width and the height of the image, from the upper left corner.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, make_recording
from .errors import RecordingError


_JOINTS = 18
_LONGEST = 10_000
_READ_PERSONS = 5
# A joint may lie a little outside the image; a coordinate far outside is one in pixels.
_LOWEST, _HIGHEST = -1.0, 2.0


def read_kinetics_json(
    path: str | os.PathLike, max_persons: int = 2
) -> tuple[np.ndarray, np.ndarray, tuple[str, int]]:
    """Read one clip of Kinetics-Skeleton.

    As in ST-GCN (Yan et al., AAAI 2018), the first five people of a frame are read and the `max_persons` with the largest sums of scores
    are kept, the most certain one first: a person may change its place from frame to frame. A joint with score 0 was not found; its
    coordinates are 0. Coordinates stay fractions of the image; centring them at 0.5 is the feature extractor's work.

    Args:
        path: the file.
        max_persons: people to keep in every frame.

    Returns:
        keypoints float32 `(persons, frames, 18, 3)`, channels x, y and score, in layout `openpose18`; frame_mask bool `(persons, frames)`; and
        (label name, label index) of the file, ("", -1) where it has none. The first frame is the one with the lowest index in the file.

    Raises:
        RecordingError: if the file is damaged or shows nobody.
    """
    path = Path(path)
    content = read_json(path)
    frames = content.get("data") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise RecordingError(f"{path}: no list of frames under the key 'data'")
    people: dict[int, np.ndarray] = {}
    for number, frame in enumerate(frames):
        where = f"{path}, entry {number} of 'data'"
        index = frame.get("frame_index") if isinstance(frame, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < _LONGEST:
            raise RecordingError(
                f"{where}: 'frame_index' is {index!r}, expected a whole number from 0 to {_LONGEST - 1}"
            )
        if index in people:
            raise RecordingError(f"{where}: frame_index {index} is there twice")
        skeletons = frame.get("skeleton")
        if not isinstance(skeletons, list):
            raise RecordingError(f"{where} (frame {index}): no list of people under the key 'skeleton'")
        found = [
            _person(person, f"{where} (frame {index}), person {position}")
            for position, person in enumerate(skeletons[:_READ_PERSONS])
        ]
        found = [person for person in found if person.any()]
        # (people, V, C); a stable sort keeps the order of the file among equals
        found.sort(key=lambda person: -float(person[:, 2].sum()))
        people[index] = np.array(found[:max_persons]).reshape(-1, _JOINTS, 3)
    persons = max(len(kept) for kept in people.values())
    if not persons:
        raise RecordingError(f"{path}: nobody was found in any of its {len(frames)} frames")
    first, last = min(people), max(people)
    keypoints = np.zeros((persons, last - first + 1, _JOINTS, 3), dtype=np.float32)
    frame_mask = np.zeros(keypoints.shape[:2], dtype=bool)
    for index, kept in people.items():
        keypoints[: len(kept), index - first] = kept
        frame_mask[: len(kept), index - first] = True
    name, label = content.get("label", ""), content.get("label_index", -1)
    if not isinstance(name, str) or not isinstance(label, int):
        raise RecordingError(f"{path}: label {name!r} with label_index {label!r}, expected a text and a whole number")
    return keypoints, frame_mask, (name, label)


def _person(person: Any, where: str) -> np.ndarray:
    """float64 `(18, 3)`: x, y, score."""
    pose, score = (person.get("pose"), person.get("score")) if isinstance(person, dict) else (None, None)
    try:
        values = np.concatenate(
            [
                np.array(pose, dtype=np.float64).reshape(_JOINTS, 2),
                np.array(score, dtype=np.float64).reshape(_JOINTS, 1),
            ],
            axis=1,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise RecordingError(
            f"{where}: expected 'pose' with {2 * _JOINTS} and 'score' with {_JOINTS} numbers"
        ) from error
    bad = ~np.isfinite(values).all(axis=1) | (values[:, 2] < 0) | (values[:, 2] > _HIGHEST)
    bad |= ((values[:, :2] < _LOWEST) | (values[:, :2] > _HIGHEST)).any(axis=1)
    if bad.any():
        joint = int(np.argmax(bad))
        raise RecordingError(
            f"{where}, joint {joint}: x, y, score are {values[joint].tolist()}, expected fractions of the image (0 to 1) and a "
            f"score from 0 to {_HIGHEST:g}"
        )
    values[values[:, 2] == 0] = 0
    return values


def read_kinetics_labels(path: str | os.PathLike) -> dict[str, tuple[bool, str, int]]:
    """Read `kinetics_train_label.json` or `kinetics_val_label.json`.

    Args:
        path: the file: `{clip: {"has_skeleton": true, "label": name, "label_index": k}, ...}`.

    Returns:
        clip name to (has a skeleton, label name, label index).

    Raises:
        RecordingError: if the file is damaged.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise RecordingError(f"{path}: expected a table of clips, found a {type(content).__name__}")
    clips: dict[str, tuple[bool, str, int]] = {}
    for name, entry in content.items():
        fields = entry if isinstance(entry, dict) else {}
        found, label_name, label = (fields.get(key) for key in ("has_skeleton", "label", "label_index"))
        if not isinstance(found, bool) or not isinstance(label_name, str) or not isinstance(label, int):
            raise RecordingError(
                f"{path}, clip {name!r}: {str(entry)[:60]} has not the fields has_skeleton, label and label_index"
            )
        clips[name] = found, label_name, label
    return clips


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        RecordingError: if the file cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: not JSON ({error}); the file is cut off or of another format") from error


def detect(file: RecordingFile) -> bool:
    frames = file.json.get("data") if file.is_json and isinstance(file.json, dict) else None
    return isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "skeleton" in frames[0]


def _read(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    keypoints, mask, (_, label) = read_kinetics_json(file.path)
    points, score = keypoints[..., :2], keypoints[..., 2]
    points[score == 0] = np.nan
    return make_recording(
        file,
        points,
        get_layout("openpose18"),
        frame_mask=mask,
        confidence=score,
        frame_rate=30.0,
        units="image fraction",
        label=label,
    )


FORMAT = FileFormat(
    name="kinetics-json",
    title="Kinetics-Skeleton",
    suffixes=(".json",),
    layout="openpose18",
    units="image fraction",
    detect=detect,
    read=_read,
)


__all__ = ["FORMAT", "read_json", "read_kinetics_json", "read_kinetics_labels"]
