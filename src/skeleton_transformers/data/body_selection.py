"""Choosing the people of a raw NTU RGB+D recording, which lists every body that the tracker believed to see.

Three schemes are in use, and published numbers depend on them:

* `simple` (ST-GCN, Hi-TRS): the first two bodies listed in each frame;
* `energy` (2s-AGCN, AS-GCN, HiCo): of the first four places in the list, the two that move most;
* `denoise` (CTR-GCN, MAMP): bodies are followed by their ids, bodies that are short or spread like no human are dropped, and the
  others are put together to two actors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .formats.errors import RecordingError
from .formats.ntu_skeleton import NTURecording


# CTR-GCN, preparation of NTU RGB+D
_MIN_FRAMES = 11
_MAX_NOISY_SHARE = 0.69754
_MAX_SPREAD = 0.8


def select_bodies(recording: NTURecording, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most two people.

    Args:
        recording: all bodies of a file.
        scheme: "simple", "energy" or "denoise".

    Returns:
        keypoints float32 `(1 or 2, frames, joints, 3)` in metres and frame_mask bool `(1 or 2, frames)`.

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


@dataclass(eq=False)
class _Body:
    """A body followed by its id. Its frames are stored from its first one on without gaps, as the original does, so that a body that
    goes away and comes back is moved in time."""

    start: int
    joints: np.ndarray  # (frames, joints, 3)
    motion: float

    @property
    def end(self) -> int:
        return self.start + len(self.joints) - 1


def _motion(joints: np.ndarray) -> float:
    return float(joints.reshape(-1, 3).var(axis=0).sum())  # (T, V, 3) -> (T * V, 3)


def select_denoised(recording: NTURecording) -> tuple[np.ndarray, np.ndarray]:
    """Two actors put together from the bodies that are no noise; frames without bodies are left out.

    Used by CTR-GCN and MAMP. Of several bodies, those of at most 11 frames are dropped (the longest stays if all are that short); then
    those that are wider than 0.8 times their height in 69.754 % of their frames or more (never the last one). The rest is sorted by
    motion, the variance of all joint positions, counted over good frames where that is less. The first body is actor 1; each further
    one continues actor 1 if it does not overlap with it in time, else actor 2, else it is dropped. Coordinates stay where they were:
    subtract the spine of the first frame with the extractor's `center="first_frame"` to follow CTR-GCN.
    """
    valid, times = np.unique(recording.frames, return_inverse=True)
    num_frames = len(valid)
    rows: dict[int, list[int]] = {}
    for row, body_id in enumerate(recording.body_ids):
        rows.setdefault(body_id, []).append(row)
    bodies = []
    for members in rows.values():
        joints = recording.keypoints[members]
        bodies.append(_Body(int(times[members[0]]), joints, _motion(joints)))
    if len(bodies) > 1:
        longest = max(bodies, key=lambda body: len(body.joints))
        bodies = [body for body in bodies if len(body.joints) > _MIN_FRAMES] or [longest]
    if len(bodies) > 1:
        bodies = _without_spread_bodies(bodies)
    bodies.sort(key=lambda body: body.motion, reverse=True)

    joints_shape = recording.keypoints.shape[1:]
    keypoints = np.zeros((2, num_frames, *joints_shape), dtype=np.float32)
    mask = np.zeros((2, num_frames), dtype=bool)
    spans: list[tuple[int, int] | None] = [None, None]
    for body in bodies:
        for actor, span in enumerate(spans):
            if span is None or min(span[1], body.end) - max(span[0], body.start) <= 0:
                keypoints[actor, body.start : body.end + 1] = body.joints
                mask[actor, body.start : body.end + 1] = True
                both = (body.start, body.end) if span is None else (min(span[0], body.start), max(span[1], body.end))
                spans[actor] = both
                break
    if len(bodies) > 1:
        kept = mask.any(axis=0)
        keypoints, mask = keypoints[:, kept], mask[:, kept]
    return _without_empty_persons(keypoints, mask)


def _without_spread_bodies(bodies: list[_Body]) -> list[_Body]:
    """Drop bodies that are wider than tall in most frames; sets the motion of the others to that of their good frames if less."""
    kept = list(bodies)
    for body in bodies:
        if len(kept) == 1:
            break
        width = np.ptp(body.joints[:, :, 0], axis=1)
        height = np.ptp(body.joints[:, :, 1], axis=1)
        good = width <= _MAX_SPREAD * height
        if good.all():
            continue
        if 1 - good.mean() >= _MAX_NOISY_SHARE:
            kept.remove(body)
        else:
            body.motion = min(body.motion, _motion(body.joints[good]))
    return kept


BODY_SCHEMES = {"simple": select_simple, "energy": select_energy, "denoise": select_denoised}


__all__ = ["BODY_SCHEMES", "select_bodies", "select_denoised", "select_energy", "select_simple"]
