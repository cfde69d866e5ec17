"""Who is who: identities over frames for files that list people frame by frame without saying who they are.

Pose estimators that look at one image at a time (OpenPose, MMPose, AlphaPose without tracking) write a list of people per frame, in any
order. `track_people` follows them, `assemble_tracks` lines up observations whose file does name the people.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .formats.errors import RecordingError


# A track's speed is taken over, and continued for, so many frames at most: longer, and people are sent through walls.
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
    person is expected (last pose, moved on at the speed of the last frames), relative to the size of the body: the diagonal of the
    box around its joints, the larger of the person's usual one and the one seen. A detection that is too far from everybody starts a
    new person. No detection is lost.

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
        size = float(np.linalg.norm(np.ptp(points[found], axis=0))) if found.any() else 0.0
        return cls(values, points, found, size)


@dataclass(eq=False)
class _Track:
    frames: list[int] = field(default_factory=list)
    poses: list[_Pose] = field(default_factory=list)

    @property
    def size(self) -> float:
        return float(np.median([pose.size for pose in self.poses[-_MOTION_FRAMES:]]))

    def expected(self, frame: int) -> np.ndarray:
        """Where the joints of the last pose should be in a later frame, `(joints, coordinates)`."""
        last, earlier = self.poses[-1], max(0, len(self.poses) - 1 - _MOTION_FRAMES)
        before = self.poses[earlier]
        both = last.found & before.found
        if before is last or not both.any():
            return last.points
        shift = np.median(last.points[both] - before.points[both], axis=0)  # of the body as a whole
        speed = shift / (self.frames[-1] - self.frames[earlier])
        return last.points + speed * min(frame - self.frames[-1], _MOTION_FRAMES)


def _assign(tracks: list[_Track], seen: list[_Pose], frame: int, max_distance: float) -> list[_Track | None]:
    """The track of each pose, None for somebody new."""
    partners: list[_Track | None] = [None] * len(seen)
    if not tracks or not seen:
        return partners
    expected = np.stack([track.expected(frame) for track in tracks])  # (tracks, joints, coordinates)
    points = np.stack([pose.points for pose in seen])  # (poses, joints, coordinates)
    known, found = np.stack([track.poses[-1].found for track in tracks]), np.stack([pose.found for pose in seen])
    shared = known[:, None] & found  # (tracks, poses, joints)
    apart = np.linalg.norm(expected[:, None] - points, axis=-1)  # (tracks, poses, joints)
    apart = np.sort(np.where(shared, apart, np.inf), axis=-1)
    middle = np.maximum(shared.sum(axis=-1, keepdims=True) - 1, 0) // 2
    distance = np.take_along_axis(apart, middle, axis=-1)[..., 0]  # (tracks, poses), inf without a joint in common
    centers = [_centers(expected, known)[:, None], _centers(points, found)]
    distance = np.where(shared.any(axis=-1), distance, np.linalg.norm(centers[0] - centers[1], axis=-1))
    size = np.maximum([[track.size] for track in tracks], [pose.size for pose in seen])
    cost = distance / np.maximum(size, np.finfo(np.float64).tiny)
    # beyond the limit all are equally impossible, so that they do not push possible pairs apart
    rows, columns = linear_sum_assignment(np.minimum(cost, 2 * max_distance))
    for row, column in zip(rows, columns):
        if cost[row, column] <= max_distance:
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


__all__ = ["assemble_tracks", "track_people"]
