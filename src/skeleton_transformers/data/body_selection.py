"""Choosing the people of a recording: a tracker often believes to see more bodies than there are people who act.

Three schemes are in use for NTU RGB+D, and published numbers depend on them:

* `simple` (ST-GCN, Hi-TRS): the first two bodies listed in each frame;
* `energy` (2s-AGCN, AS-GCN, HiCo): of the first four places in the list, the two that move most;
* `denoise` (CTR-GCN, MAMP): bodies are followed by their ids, bodies that are short or spread like no human are dropped, and the
  others are put together to two actors.

`select_bodies` does them exactly so on the raw lists of NTU files; its scheme `all` keeps everybody, by their ids. `select_people` does
the same four on recordings of any kind, whose people already have identities, for any number of people and without touching time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .formats.base import SkeletonRecording
from .formats.errors import RecordingError
from .formats.ntu_skeleton import NTURecording
from .geometry import axis_index
from .tracking import assemble_tracks


# CTR-GCN, preparation of NTU RGB+D
_MIN_FRAMES = 11
_MAX_NOISY_SHARE = 0.69754
_MAX_SPREAD = 0.8


def select_bodies(recording: NTURecording, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """Choose the people of an NTU RGB+D file.

    Args:
        recording: all bodies of a file.
        scheme: "simple", "energy" or "denoise", which give at most two people, or "all".

    Returns:
        keypoints float32 `(persons, frames, joints, 3)` in metres and frame_mask bool `(persons, frames)`.

    Raises:
        RecordingError: if nobody is in the recording.
        ValueError: if the scheme is unknown.
    """
    if scheme not in BODY_SCHEMES:
        raise ValueError(f"unknown body selection {scheme!r}; choose one of {', '.join(BODY_SCHEMES)}")
    if not len(recording.keypoints):
        raise RecordingError(f"nobody was tracked in any of the {recording.num_frames} frames")
    return BODY_SCHEMES[scheme](recording)


def select_simple(recording: NTURecording) -> tuple[np.ndarray, np.ndarray]:
    """The first two bodies listed in each frame. Who is who may change from frame to frame; nothing is filtered.

    Used by ST-GCN and Hi-TRS.
    """
    return _without_empty_persons(*_by_slot(recording, 2))


def select_energy(recording: NTURecording) -> tuple[np.ndarray, np.ndarray]:
    """The two of the first four places in the list that move most, the livelier first.

    Energy is the sum over x, y and z of the standard deviation of all coordinates in the frames where the place is taken. Used by
    2s-AGCN, AS-GCN and HiCo.
    """
    keypoints, mask = _by_slot(recording, 4)
    # the original counts a place as taken in the frames where its coordinates do not add up to 0
    taken = keypoints.sum(axis=(2, 3)) != 0
    energy = np.array(
        [slot[used].std(axis=(0, 1)).sum() if used.any() else 0.0 for slot, used in zip(keypoints, taken)]
    )
    order = energy.argsort()[::-1][:2]
    return _without_empty_persons(keypoints[order], mask[order])


def _by_slot(recording: NTURecording, num_slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Bodies by their place in the list of each frame: `(num_slots, frames, joints, 3)` and `(num_slots, frames)`."""
    keypoints = np.zeros((num_slots, recording.num_frames, *recording.keypoints.shape[1:]), dtype=np.float32)
    mask = np.zeros((num_slots, recording.num_frames), dtype=bool)
    kept = recording.slots < num_slots
    keypoints[recording.slots[kept], recording.frames[kept]] = recording.keypoints[kept]
    mask[recording.slots[kept], recording.frames[kept]] = True
    return keypoints, mask


def _without_empty_persons(keypoints: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    present = mask.any(axis=1)
    return keypoints[present], mask[present]


def select_all(recording: NTURecording) -> tuple[np.ndarray, np.ndarray]:
    """Every body that the recorder gave an id, in the order in which they appear, each in the frames where it was seen."""
    keypoints, mask, _ = assemble_tracks(
        recording.num_frames, recording.frames, recording.body_ids, recording.keypoints
    )
    return keypoints, mask


@dataclass(eq=False)
class _Body:
    """A body followed by its id."""

    person: int
    frames: np.ndarray  # (frames,) rising
    joints: np.ndarray  # (frames, joints, coordinates), NaN where a joint was not found
    motion: float = 0.0

    def __post_init__(self) -> None:
        self.motion = _motion(self.joints)

    @property
    def start(self) -> int:
        return int(self.frames[0])

    @property
    def end(self) -> int:
        return int(self.frames[-1])


def _motion(joints: np.ndarray) -> float:
    points = joints.reshape(-1, joints.shape[-1])  # (T, V, C) -> (T * V, C)
    points = points[~np.isnan(points).any(axis=1)]
    return float(points.var(axis=0).sum()) if len(points) else 0.0


def select_denoised(recording: NTURecording) -> tuple[np.ndarray, np.ndarray]:
    """Two actors put together from the bodies that are no noise; frames without bodies are left out.

    Used by CTR-GCN and MAMP. Of several bodies, those of at most 11 frames are dropped (the longest stays if all are that short); then
    those that are wider than 0.8 times their height in 69.754 % of their frames or more (never the last one). The rest is sorted by
    motion, the variance of all joint positions, counted over good frames where that is less. The first body is actor 1; each further
    one continues actor 1 if it does not overlap with it in time, else actor 2, else it is dropped. Coordinates stay where they were:
    subtract the spine of the first frame with the extractor's `center="first_frame"` to follow CTR-GCN.
    """
    valid, times = np.unique(recording.frames, return_inverse=True)
    rows: dict[int, list[int]] = {}
    for row, body_id in enumerate(recording.body_ids):
        rows.setdefault(body_id, []).append(row)
    # The original stores a body from its first frame on without gaps, so that one who goes away and comes back is moved in time.
    bodies = [
        _Body(person, times[members[0]] + np.arange(len(members)), recording.keypoints[members])
        for person, members in enumerate(rows.values())
    ]
    bodies = _plausible_bodies(bodies)

    keypoints = np.zeros((2, len(valid), *recording.keypoints.shape[1:]), dtype=np.float32)
    mask = np.zeros(keypoints.shape[:2], dtype=bool)
    for actor, members in enumerate(_actors(bodies, 2)):
        for body in members:
            keypoints[actor, body.frames] = body.joints
            mask[actor, body.frames] = True
    if len(bodies) > 1:
        kept = mask.any(axis=0)
        keypoints, mask = keypoints[:, kept], mask[:, kept]
    return _without_empty_persons(keypoints, mask)


def _plausible_bodies(bodies: list[_Body], vertical_axis: int = 1) -> list[_Body]:
    """The bodies that are no noise, the liveliest first."""
    if len(bodies) > 1:
        longest = max(bodies, key=lambda body: len(body.joints))
        bodies = [body for body in bodies if len(body.joints) > _MIN_FRAMES] or [longest]
    if len(bodies) > 1:
        bodies = _without_spread_bodies(bodies, vertical_axis)
    return sorted(bodies, key=lambda body: body.motion, reverse=True)


def _actors(bodies: list[_Body], max_people: int) -> list[list[_Body]]:
    """Bodies put together: each continues the first actor with whom it does not overlap in time, or is dropped."""
    actors: list[list[_Body]] = []
    for body in bodies:
        for members in actors:
            start, end = min(member.start for member in members), max(member.end for member in members)
            if min(end, body.end) - max(start, body.start) <= 0:
                members.append(body)
                break
        else:
            if len(actors) < max_people:
                actors.append([body])
    return actors


def _without_spread_bodies(bodies: list[_Body], vertical_axis: int) -> list[_Body]:
    """Drop bodies that are wider than tall in most frames; sets the motion of the others to that of their good frames if less."""
    kept = list(bodies)
    for body in bodies:
        if len(kept) == 1:
            break
        extent = np.nanmax(body.joints, axis=1) - np.nanmin(body.joints, axis=1)  # (frames, coordinates)
        width, height = extent[:, 1 if vertical_axis == 0 else 0], extent[:, vertical_axis]
        good = width <= _MAX_SPREAD * height
        if good.all():
            continue
        if 1 - good.mean() >= _MAX_NOISY_SHARE:
            kept.remove(body)
        else:
            body.motion = min(body.motion, _motion(body.joints[good]))
    return kept


BODY_SCHEMES = {"simple": select_simple, "energy": select_energy, "denoise": select_denoised, "all": select_all}


def select_people(
    recording: SkeletonRecording, scheme: str = "all", max_people: int = 2, vertical_axis: str = "y"
) -> SkeletonRecording:
    """Choose the people of a recording whose people have identities; frames and their times stay as they are.

    The schemes follow those of NTU RGB+D (see `select_bodies`), but compare people over the whole recording instead of places in the
    list of a frame: `"simple"` keeps the first `max_people`; `"energy"` those who move most (sum over the coordinates of the standard
    deviation of all joints found), the livelier first; `"denoise"` drops tracks of at most 11 frames and those that are wider than
    0.8 times their height in 69.754 % of their frames or more (never everybody), then joins tracks that follow each other to at most
    `max_people` actors, the livelier first; `"all"` keeps everybody who is ever there.

    Args:
        recording: a recording of any kind.
        scheme: "simple", "energy", "denoise" or "all".
        max_people: people to keep at most; "all" does not look at it.
        vertical_axis: "x", "y" or "z", in which `"denoise"` measures the height.

    Returns:
        A new recording. `person_ids` of an actor joined from several tracks are joined by "+".

    Raises:
        RecordingError: if nobody is in the recording.
        ValueError: if an argument makes no sense.
    """
    if scheme not in BODY_SCHEMES:
        raise ValueError(f"unknown body selection {scheme!r}; choose one of {', '.join(BODY_SCHEMES)}")
    if max_people < 1:
        raise ValueError(f"max_people must be at least 1, got {max_people!r}")
    mask = recording.frame_mask
    present = np.flatnonzero(mask.any(axis=1)).tolist()
    if not present:
        raise RecordingError(
            f"{recording.source or 'recording'}: nobody is there in any of the {mask.shape[1]} frames"
        )
    if scheme == "all":
        return _gather(recording, [[(person, mask[person])] for person in present])
    if scheme == "simple":
        return _gather(recording, [[(person, mask[person])] for person in present[:max_people]])
    points = np.where(recording.present_joints[..., None], recording.keypoints, np.nan)
    bodies = []
    for person in present:
        # frames in which no joint was found say nothing about how a person moves
        frames = np.flatnonzero(mask[person] & np.isfinite(points[person]).all(axis=-1).any(axis=-1))
        if len(frames):
            bodies.append(_Body(person, frames, points[person, frames]))
    if not bodies:
        raise RecordingError(f"{recording.source or 'recording'}: no joint of anybody was found")
    if scheme == "energy":
        energy = [np.nanstd(body.joints, axis=(0, 1)).sum() for body in bodies]
        order = np.argsort(-np.array(energy), kind="stable")[:max_people]
        return _gather(recording, [[(bodies[i].person, mask[bodies[i].person])] for i in order])
    up = axis_index(vertical_axis)
    if up >= points.shape[-1]:
        raise ValueError(
            f"vertical_axis={vertical_axis!r}, but the keypoints have {points.shape[-1]} coordinates only"
        )
    actors = _actors(_plausible_bodies(bodies, up), max_people)
    return _gather(recording, [[(body.person, mask[body.person]) for body in members] for members in actors])


def _gather(recording: SkeletonRecording, actors: list[list[tuple[int, np.ndarray]]]) -> SkeletonRecording:
    """A recording of actors, each put together from people and the frames to take from them."""

    def gather(values: np.ndarray) -> np.ndarray:
        gathered = np.zeros((len(actors), *values.shape[1:]), dtype=values.dtype)
        for actor, parts in enumerate(actors):
            for person, frames in reversed(parts):  # where two touch in a frame, the livelier stays
                gathered[actor, frames] = values[person, frames]
        return gathered

    names = recording.person_ids
    joined = tuple("+".join(names[person] for person, _ in parts) for parts in actors) if names else ()
    return dataclasses.replace(
        recording,
        keypoints=gather(recording.keypoints),
        frame_mask=gather(recording.frame_mask),
        joint_mask=None if recording.joint_mask is None else gather(recording.joint_mask),
        confidence=None if recording.confidence is None else gather(recording.confidence),
        person_ids=joined,
    )


__all__ = [
    "BODY_SCHEMES",
    "select_all",
    "select_bodies",
    "select_denoised",
    "select_energy",
    "select_people",
    "select_simple",
]
