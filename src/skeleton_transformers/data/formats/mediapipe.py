"""MediaPipe pose landmarks as people save them, for MediaPipe itself writes no file: JSON here, CSV in `tables`.

A landmark is `{"x": .., "y": .., "z": .., "visibility": ..}` or `[x, y, z, visibility]` (`score`, `presence` in the place of `visibility`, or
none of them). A person is a list of 33 landmarks, or an object with that list. Accepted are

* a list of frames, or an object with such a list under `frames` (and perhaps `fps`);
* a frame is a person; a list of people; null or `[]` where nobody was found; or an object that holds one of these under
  `pose_world_landmarks` (metres) or `pose_landmarks` (fractions of the image), in any spelling, and perhaps `frame`;
* an object with the frames under `pose_world_landmarks` or `pose_landmarks`.

World landmarks have their origin between the hips, so landmarks without a name are told apart by that. Of image landmarks x and y are
kept: z is not measured in fractions of the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...skeletons import get_layout
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, image_units, make_recording


LAYOUT = "mediapipe33"
_COUNT = get_layout(LAYOUT).num_joints
# spellings in lower case without underscores
_WORLD = ("poseworldlandmarks", "worldlandmarks", "landmarksworld", "landmarks3d", "keypoints3d")
_IMAGE = ("poselandmarks", "imagelandmarks", "normalizedlandmarks", "landmarksnormalized")
_OPEN = ("landmarks", "landmark", "keypoints", "pose", "data", "points")
_FRAME = ("frame", "frameid", "frameindex", "framenumber", "frameidx", "framenum")
_RATE = ("fps", "framerate")
_CONFIDENCE = ("visibility", "score", "presence", "confidence")


def _get(entry: dict, names: tuple[str, ...]) -> tuple[str, Any]:
    """The spelling and value of the first of these keys that there is."""
    plain = {
        str(key).lower().replace("_", "").replace("-", "").replace(" ", ""): value for key, value in entry.items()
    }
    return next(((name, plain[name]) for name in names if plain.get(name) is not None), ("", None))


def _is_landmark(entry: Any) -> bool:
    if isinstance(entry, dict):
        return "x" in entry and "y" in entry
    return isinstance(entry, list) and 2 <= len(entry) <= 5 and all(isinstance(v, (int, float)) for v in entry)


def _people(entry: Any) -> list[list] | None:
    """The people of a frame, each a list of landmarks; None if this is no frame."""
    if entry is None or entry == []:
        return []
    if isinstance(entry, dict):
        return _people(_get(entry, (*_OPEN, *_WORLD, *_IMAGE))[1]) if "x" not in entry else None
    if not isinstance(entry, list):
        return None
    if all(map(_is_landmark, entry)):
        return [entry]
    people = []
    for person in entry:
        found = _people(person) if isinstance(person, dict) else [person] if isinstance(person, list) else None
        if found is None or not all(landmarks and all(map(_is_landmark, landmarks)) for landmarks in found):
            return None
        people += found
    return people


def _frames(content: Any, landmarks: str) -> tuple[str, list, list[Any], float | None] | None:
    """Kind ("world", "image", ""), people of each frame, numbers of the frames, and rate; None if this is no such file."""
    rate = None
    kinds = {"world": _WORLD, "image": _IMAGE}
    if isinstance(content, dict):
        rate = _get(content, _RATE)[1]
        frames = _get(content, ("frames", "results"))[1]
        if frames is None:
            wanted = kinds[landmarks] + kinds["image" if landmarks == "world" else "world"] + _OPEN
            key, frames = _get(content, wanted)
            kind = next((kind for kind, names in kinds.items() if key in names), "")
            if isinstance(frames, list) and frames and all(map(_is_landmark, frames)):
                frames = [frames]  # the landmarks of one image
            people = [_people(frame) for frame in frames] if isinstance(frames, list) else [None]
            return (kind, people, [None] * len(people), rate) if None not in people and people else None
        content = frames
    if not isinstance(content, list) or not content:
        return None
    if all(map(_is_landmark, content)):
        content = [content]  # one image
    kind, numbers = "", []
    if all(isinstance(frame, dict) for frame in content):
        there = [name for name, names in kinds.items() if any(_get(frame, names)[0] for frame in content)]
        kind = landmarks if landmarks in there else there[0] if there else ""
        numbers = [_get(frame, _FRAME)[1] for frame in content]
        inner = [_get(frame, kinds[kind] if kind else _OPEN) for frame in content]
        if not any(key for key, _ in inner):
            return None
        content = [value for _, value in inner]
    people = [_people(frame) for frame in content]
    if None in people or not any(people):
        return None
    return kind, people, numbers or [None] * len(people), rate


def detect(file: RecordingFile) -> bool:
    if not file.is_json:
        return False
    found = _frames(file.json, "world")
    first = next((person for people in found[1] for person in people), None) if found else None
    return first is not None and (len(first) == _COUNT or bool(found and found[0]))


def read_mediapipe(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the landmarks of all frames as one recording; the n-th person of each frame is taken for the same one.

    MediaPipe follows people itself, and lists them in the same order.

    Raises:
        RecordingError: if a person has not 33 landmarks or a landmark is no point.
    """
    found = _frames(file.json, options.landmarks)
    if found is None:
        raise file.error("no landmarks of MediaPipe: expected a list of frames with lists of 33 landmarks")
    kind, listed, numbers, rate = found
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float))):
        raise file.error(f"the frame rate is {rate!r}, expected a number")
    places, num_frames = np.arange(len(listed)), len(listed)
    if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        places, num_frames = file.frame_places(numbers, "frame numbers")
        if len(set(places.tolist())) < len(places):
            raise file.error("two frames have the same number")
    persons = max(len(people) for people in listed)
    if not persons:
        raise file.error(f"nobody is there in any of its {num_frames} frames")
    values = np.full((persons, num_frames, _COUNT, 4), np.nan)
    for place, people in zip(places.tolist(), listed):
        for person, landmarks in enumerate(people):
            where = f"frame {place}, person {person}"
            if len(landmarks) != _COUNT:
                raise file.error(f"{len(landmarks)} landmarks, expected the {_COUNT} of the pose", where)
            rows = [_row(landmark) for landmark in landmarks]
            values[person, place] = file.numbers(rows, where, (_COUNT, 4))
    return landmark_recording(
        file, values[..., :3], values[..., 3], kind, frame_rate=None if rate is None else float(rate)
    )


def _row(landmark: Any) -> list[Any]:
    """x, y, z and confidence, None where it has none."""
    if isinstance(landmark, dict):
        return [landmark.get("x"), landmark.get("y"), landmark.get("z"), _get(landmark, _CONFIDENCE)[1]]
    return [*landmark, None, None][:4] if len(landmark) < 4 else landmark[:4]


def landmark_recording(
    file: RecordingFile, points: np.ndarray, confidence: np.ndarray | None, kind: str, **options: Any
) -> SkeletonRecording:
    """The recording of landmarks of MediaPipe.

    Args:
        file: the file.
        points: `(persons, frames, 33, 2 or 3)`, NaN where there is none.
        confidence: `(persons, frames, 33)`, NaN where there is none, or None.
        kind: "world", "image", or "" to find out: only world landmarks have the middle of the hips at the origin.
        **options: see `make_recording`.
    """
    layout = get_layout(LAYOUT)
    flat = points.shape[-1] == 2 or bool(np.isnan(points[..., 2]).all())
    if not kind and not flat:
        middle = (points[:, :, layout.index("left_hip")] + points[:, :, layout.index("right_hip")]) / 2
        known = middle[~np.isnan(middle).any(axis=-1)]
        kind = "world" if len(known) and np.abs(known).max() < 0.01 else "image"
    is_world = kind == "world" and not flat
    if confidence is not None and np.isnan(confidence).all():
        confidence = None
    points = points if is_world else points[..., :2]
    units = "metre" if is_world else image_units(points)
    return make_recording(file, points, layout, confidence=confidence, units=units, **options)


FORMAT = FileFormat(
    name="mediapipe-json",
    title="MediaPipe pose landmarks, saved as JSON",
    suffixes=(".json", ".json.gz"),
    layout="mediapipe33",
    units="metre (world landmarks) or image fraction",
    detect=detect,
    read=read_mediapipe,
)


__all__ = ["FORMAT", "landmark_recording", "read_mediapipe"]
