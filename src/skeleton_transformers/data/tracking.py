"""Who is who: identities over frames for files that list people frame by frame without saying who they are.

Pose estimators that look at one image at a time (OpenPose, MMPose, AlphaPose without tracking) write a list of people per frame, in any
order. `track_people` follows them, `assemble_tracks` lines up observations whose file does name the people.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .formats.errors import RecordingError


# Poses that tell where a person is expected, and frames for which the speed is continued: longer, and people are sent through walls.
_MOTION_FRAMES = 5


def track_people(
    detections: Sequence[np.ndarray],
    max_gap: int = 15,
    max_distance: float = 0.5,
    min_frames: int = 1,
    confidence_channel: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow people through frames that list them in any order.

    In each frame, the people seen are assigned to the known ones such that the sum of the distances is least (Hungarian method). The
    distance of two poses is the median over the joints that both have, so that a few wild joints do not break a track, from where the
    person is expected (the median of the last poses, moved on at the speed of the body), relative to the size of the body: four times the
    median distance of its joints from their middle, about the height of one who stands, the larger of the person's usual size and the
    one seen. A detection that is too far from everybody starts a new person. No detection is lost.

    Args:
        detections: one array per frame, `(people in the frame, joints, channels)`, of any length unit; an empty one where nobody
            was seen. NaN in a coordinate means that the joint was not found.
        max_gap: frames that a person may be away and still be known as the same; 0 ends a track at the first miss.
        max_distance: largest distance between expected and seen pose, in body sizes.
        min_frames: people seen in fewer frames are left out (1: nobody is).
        confidence_channel: the last channel is no coordinate but a confidence; a joint with confidence 0 was not found.

    Returns:
        keypoints float32 `(persons, frames, joints, channels)`, as they were detected (a joint that was not found is still NaN), 0 in
        the frames without the person, and frame_mask bool `(persons, frames)`. People are in the order in which they appear.

    Raises:
        RecordingError: if nobody with a joint is in any frame (or for `min_frames` frames), or shapes differ between frames.
        ValueError: if a limit makes no sense.
    """
    if max_gap < 0 or min_frames < 1 or not max_distance > 0:
        raise ValueError(
            "max_gap must be at least 0, min_frames at least 1 and max_distance above 0; "
            f"got {max_gap!r}, {min_frames!r} and {max_distance!r}"
        )
    tracks: list[_Track] = []
    alive: list[_Track] = []
    for frame, people in enumerate(_checked(detections, confidence_channel)):
        alive = [track for track in alive if frame - track.frames[-1] <= max_gap + 1]
        seen = [_Pose.of(pose, confidence_channel) for pose in people]
        seen = [pose for pose in seen if pose.found.any()]
        partners = _assign(alive, seen, frame, max_distance)
        for pose, partner in zip(seen, partners):
            if partner is None:
                partner = _Track()
                tracks.append(partner)
                alive.append(partner)
            partner.frames.append(frame)
            partner.poses.append(pose)
    kept = [track for track in tracks if len(track.frames) >= min_frames]
    if not kept:
        wanted = "" if min_frames == 1 else f" for {min_frames} frames or more"
        raise RecordingError(f"nobody was seen{wanted} in any of the {len(detections)} frames")
    joints, channels = kept[0].poses[0].values.shape
    keypoints = np.zeros((len(kept), len(detections), joints, channels), dtype=np.float32)
    mask = np.zeros(keypoints.shape[:2], dtype=bool)
    for person, track in enumerate(kept):
        keypoints[person, track.frames] = [pose.values for pose in track.poses]
        mask[person, track.frames] = True
    return keypoints, mask


def assemble_tracks(
    num_frames: int, frames: Sequence[int] | np.ndarray, ids: Sequence[Hashable], poses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Line up observations of people whom their file names.

    Args:
        num_frames: frames of the recording.
        frames: frame of each observation, `(observations,)`.
        ids: who it is, one per observation.
        poses: `(observations, joints, channels)`.

    Returns:
        keypoints float32 `(persons, frames, joints, channels)`, frame_mask bool `(persons, frames)` and the names of the people, in the
        order in which they appear.

    Raises:
        RecordingError: if a frame lies outside the recording, or somebody is in a frame twice.
    """
    names = {name: person for person, name in enumerate(dict.fromkeys(ids))}
    people = np.array([names[name] for name in ids], dtype=np.int64)
    frames = np.asarray(frames, dtype=np.int64).reshape(-1)
    outside = frames[(frames < 0) | (frames >= num_frames)]
    if len(outside):
        raise RecordingError(
            f"frame {outside[0]} does not lie in the recording of {num_frames} frames, counted from 0"
        )
    mask = np.zeros((len(names), num_frames), dtype=bool)
    mask[people, frames] = True
    if np.count_nonzero(mask) < len(frames):
        pairs, counts = np.unique(np.stack([people, frames]), axis=1, return_counts=True)
        person, frame = pairs[:, counts.argmax()]
        raise RecordingError(f"person {list(names)[person]!r} is listed {counts.max()} times in frame {frame}")
    keypoints = np.zeros((len(names), num_frames, *poses.shape[1:]), dtype=np.float32)
    keypoints[people, frames] = poses
    return keypoints, mask, tuple(str(name) for name in names)


def body_sizes(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Size of bodies: four times the median distance of the joints from their middle, about the height of one who stands.

    Up to half of the joints may be wild without harm.

    Args:
        points: `(..., joints, coordinates)`.
        found: bool `(..., joints)`.

    Returns:
        `(...)`, in the unit of the points; 0 where no joint was found.
    """
    somebody: np.ndarray = np.any(found, axis=-1, keepdims=True)  # (..., 1)
    middle = np.where(somebody, _median(points, found[..., None], axis=-2), 0.0)  # (..., coordinates)
    apart = np.linalg.norm(points - middle[..., None, :], axis=-1)
    return np.where(somebody[..., 0], 4 * _median(apart, found, axis=-1), 0.0)


@dataclass(eq=False)
class _Pose:
    values: np.ndarray  # (joints, channels) as detected
    points: np.ndarray  # (joints, coordinates), 0 where not found
    found: np.ndarray  # (joints,)
    size: float

    @classmethod
    def of(cls, values: np.ndarray, confidence_channel: bool) -> _Pose:
        points = np.asarray(values[:, : values.shape[1] - confidence_channel], dtype=np.float64)
        found: np.ndarray = np.all(np.isfinite(points), axis=1)
        if confidence_channel:
            found &= values[:, -1] > 0
        points = np.where(found[:, None], points, 0.0)
        return cls(values, points, found, float(body_sizes(points, found)))


@dataclass(eq=False)
class _Track:
    frames: list[int] = field(default_factory=list)
    poses: list[_Pose] = field(default_factory=list)

    @property
    def size(self) -> float:
        return float(np.median([pose.size for pose in self.poses[-_MOTION_FRAMES:]]))

    def expected(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the joints should be in a later frame, `(joints, coordinates)`, and which joints that is known of, `(joints,)`.

        The median of the last poses, each moved on at the speed of the body, so that one wild pose is no harm.
        """
        poses, frames = self.poses[-_MOTION_FRAMES:], np.array(self.frames[-_MOTION_FRAMES:])
        points, found = np.stack([pose.points for pose in poses]), np.stack([pose.found for pose in poses])
        both = found[0] & found[-1]
        speed = np.zeros(points.shape[2])
        if len(poses) > 1 and both.any():
            speed = np.median(points[-1, both] - points[0, both], axis=0) / (frames[-1] - frames[0])
        ahead = frames[-1] - frames + min(frame - frames[-1], _MOTION_FRAMES)
        return _median(points + ahead[:, None, None] * speed, found[:, :, None], axis=0), np.any(
            found, axis=0, keepdims=True
        )[0]


def _median(values: np.ndarray, there: np.ndarray, axis: int) -> np.ndarray:
    """The (lower) median along an axis of what is there; infinite where nothing is."""
    there = np.broadcast_to(there, values.shape)
    middle = np.maximum(there.sum(axis=axis, keepdims=True) - 1, 0) // 2
    return np.take_along_axis(np.sort(np.where(there, values, np.inf), axis=axis), middle, axis=axis).squeeze(axis)


def _assign(tracks: list[_Track], seen: list[_Pose], frame: int, max_distance: float) -> list[_Track | None]:
    """The track of each pose, None for somebody new."""
    from scipy.optimize import linear_sum_assignment  # here, as most users of this module never follow anybody

    partners: list[_Track | None] = [None] * len(seen)
    if not tracks or not seen:
        return partners
    expectations = [track.expected(frame) for track in tracks]
    known, found = np.stack([known for _, known in expectations]), np.stack([pose.found for pose in seen])
    # (tracks, joints, coordinates) and (poses, joints, coordinates)
    expected = np.where(known[..., None], np.stack([points for points, _ in expectations]), 0.0)
    points = np.stack([pose.points for pose in seen])
    shared = known[:, None] & found  # (tracks, poses, joints)
    apart = np.linalg.norm(expected[:, None] - points, axis=-1)  # (tracks, poses, joints)
    distance = _median(apart, shared, axis=-1)  # (tracks, poses), infinite without a joint in common
    centers = [_centers(expected, known)[:, None], _centers(points, found)]
    distance = np.where(shared.any(axis=-1), distance, np.linalg.norm(centers[0] - centers[1], axis=-1))
    size = np.maximum([[track.size] for track in tracks], [pose.size for pose in seen])
    possible = distance <= max_distance * size
    # what is impossible costs the same everywhere, so that it does not push possible pairs apart
    cost = np.full(distance.shape, 2 * max_distance)
    np.divide(distance, size, out=cost, where=possible & (size > 0))
    rows, columns = linear_sum_assignment(cost)
    for row, column in zip(rows, columns):
        if possible[row, column]:
            partners[column] = tracks[row]
    return partners


def _centers(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Mean of the joints that are there, `(n, coordinates)`."""
    return points.sum(axis=1, where=found[..., None]) / found.sum(axis=1)[:, None]


def _checked(detections: Sequence[np.ndarray], confidence_channel: bool) -> list[np.ndarray]:
    """The detections as arrays `(people, joints, channels)` of one kind."""
    arrays = [np.asarray(people) for people in detections]
    shapes = {array.shape[1:] for array in arrays if array.size}
    for frame, array in enumerate(arrays):
        if array.size and (
            array.ndim != 3 or array.shape[2] < 1 + confidence_channel or array.dtype.kind not in "fiu"
        ):
            raise RecordingError(
                f"frame {frame}: expected numbers of shape (people, joints, channels), got {array.dtype} of shape {array.shape}"
            )
    if len(shapes) > 1:
        raise RecordingError(
            f"people of different shapes (joints, channels): {sorted(shapes)}; all frames need the same"
        )
    return [array if array.size else array.reshape(0, 0, 0) for array in arrays]


__all__ = ["assemble_tracks", "body_sizes", "track_people"]
