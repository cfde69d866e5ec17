"""Rotations, view normalisation, resampling and centring of keypoints: what preparation and augmentation share.

Arrays are in the canonical order, keypoints `(persons, frames, joints, channels)` and frame_mask `(persons, frames)`.
Nothing here changes its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..skeletons import SkeletonLayout


_AXES = {"x": 0, "y": 1, "z": 2}


def axis_index(axis: str) -> int:
    """Number of the axis `"x"`, `"y"` or `"z"`.

    Raises:
        ValueError: for any other name.
    """
    if axis not in _AXES:
        raise ValueError(f"An axis is 'x', 'y' or 'z'; got {axis!r}.")
    return _AXES[axis]


def rotation_about_axis(axis: Sequence[float] | np.ndarray, angle: float) -> np.ndarray:
    """Matrix of the right-handed rotation by `angle` radians about the direction `axis` (Rodrigues).

    Args:
        axis: direction `(3,)`, of any length but 0.
        angle: radians.

    Returns:
        float64 `(3, 3)`; rotate keypoints with `rotate(keypoints, matrix)`.
    """
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def rotation_from_angles(angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Matrix `Rz @ Ry @ Rx` of three rotations about the coordinate axes, as MAMP (Mao et al., ICCV 2023) draws them.

    The three factors are `Rx = [[1, 0, 0], [0, c, s], [0, -s, c]]`, `Ry = [[c, 0, -s], [0, 1, 0], [s, 0, c]]` and
    `Rz = [[c, s, 0], [-s, c, 0], [0, 0, 1]]`: the inverses of the right-handed rotations.

    Args:
        angles: radians about x, y and z, `(3,)`.

    Returns:
        float64 `(3, 3)`.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def rotation_between(source: np.ndarray, target: np.ndarray, half_turn_axis: np.ndarray) -> np.ndarray:
    """Smallest rotation that turns the direction `source` into the direction `target`.

    Args:
        source, target: vectors `(3,)`.
        half_turn_axis: axis to turn about, perpendicular to `target`, where the vectors point in opposite directions
            and every such axis would do.

    Returns:
        float64 `(3, 3)`; the identity where a vector is zero or the two are parallel.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    lengths = np.linalg.norm(source) * np.linalg.norm(target)
    if lengths < 1e-12:
        return np.eye(3)
    axis = np.cross(source, target) / lengths
    sine, cosine = float(np.linalg.norm(axis)), float(source @ target / lengths)
    if sine < 1e-6:
        return np.eye(3) if cosine > 0 else rotation_about_axis(half_turn_axis, np.pi)
    return rotation_about_axis(axis, np.arctan2(sine, cosine))


def rotate(keypoints: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a matrix to the coordinates, `x <- matrix @ x`.

    Args:
        keypoints: `(..., channels)`; channels beyond the matrix (a confidence) are kept as they are.
        matrix: `(n, n)` with n not greater than the number of channels.
    """
    coordinates = matrix.shape[0]
    turned = keypoints[..., :coordinates] @ matrix.T.astype(keypoints.dtype)
    if coordinates == keypoints.shape[-1]:
        return turned
    return np.concatenate([turned, keypoints[..., coordinates:]], axis=-1)


def reference_person(frame_mask: np.ndarray) -> int:
    """The first person who is ever present; centring, view and scale follow that person.

    Args:
        frame_mask: bool `(persons, frames)`, with somebody present.
    """
    return int(np.argmax(frame_mask.any(axis=1)))


def view_rotation(keypoints: np.ndarray, frame_mask: np.ndarray, layout: SkeletonLayout) -> np.ndarray:
    """Rotation that puts a person upright, facing along the y axis (Shi et al., 2s-AGCN, CVPR 2019).

    In the first frame of the first person, the spine (lower to upper joint) is turned to +z by the smallest rotation,
    then the shoulder line (left to right) to +x by the smallest rotation.

    Args:
        keypoints: `(persons, frames, joints, 3 or more)`.
        frame_mask: bool `(persons, frames)`, with somebody present.
        layout: names the spine and the shoulders.

    Returns:
        float64 `(3, 3)`.

    Raises:
        ValueError: if the layout has no spine or no shoulders.
    """
    if layout.spine is None or layout.shoulders is None:
        missing = "spine" if layout.spine is None else "shoulders"
        raise ValueError(
            f"Layout {layout.name!r} names no {missing}, so it gives no direction to normalise the view by."
        )
    person = reference_person(frame_mask)
    pose = keypoints[person, np.argmax(frame_mask[person]), :, :3].astype(np.float64)  # (joints, 3)
    x_axis, _, z_axis = np.eye(3)
    upright = rotation_between(pose[layout.spine[1]] - pose[layout.spine[0]], z_axis, half_turn_axis=x_axis)
    across = upright @ (pose[layout.shoulders[1]] - pose[layout.shoulders[0]])
    return rotation_between(across, x_axis, half_turn_axis=z_axis) @ upright


def reference_centers(keypoints: np.ndarray, frame_mask: np.ndarray, joint: int) -> np.ndarray:
    """Place of one joint of the first person in every frame, `(frames, channels)`.

    Where that person is absent, the place in the latest frame before it holds (in the first frame there is, before
    that), so that other people do not jump.

    Args:
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`, with somebody present.
        joint: index of the joint.
    """
    person = reference_person(frame_mask)
    present = frame_mask[person]
    if present.all():
        return keypoints[person, :, joint]
    latest = np.maximum.accumulate(np.where(present, np.arange(len(present)), -1))
    return keypoints[person, np.where(latest < 0, np.argmax(present), latest), joint]


def subtract_centers(keypoints: np.ndarray, frame_mask: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Moves the origin of every frame to a given place.

    Absent frames stay 0, and so do joints whose coordinates are all 0: that is how recordings write a joint that was
    not found (2s-AGCN leaves them alone, too).

    Args:
        keypoints: `(persons, frames, joints, coordinates)`.
        frame_mask: bool `(persons, frames)`.
        centers: `(frames, coordinates)` or `(1, coordinates)`.
    """
    found = (keypoints != 0).any(axis=-1, keepdims=True) & frame_mask[:, :, None, None]
    return np.where(found, keypoints - centers[:, None], 0).astype(keypoints.dtype, copy=False)


def sample_frames(
    keypoints: np.ndarray, frame_mask: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values of a sequence at fractional frame positions, by linear interpolation.

    A frame of the result is present where the nearest frame of the input is. It is blended from its two neighbours
    where both are present, else it equals the nearest, so nobody is drawn towards the zeros of a gap.

    Args:
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`.
        positions: `(new frames,)`, limited to `[0, frames - 1]`.

    Returns:
        keypoints `(persons, new frames, joints, channels)` and frame_mask `(persons, new frames)`.
    """
    last = frame_mask.shape[1] - 1
    positions = np.clip(positions, 0, last)
    before = np.floor(positions).astype(np.int64)
    after = np.minimum(before + 1, last)
    weight = positions - before
    nearest = np.where(weight < 0.5, before, after)
    mask = frame_mask[:, nearest]
    # Weight of `after` where both neighbours are present, else 0 or 1 for the nearest alone. (persons, new frames)
    blend = np.where(frame_mask[:, before] & frame_mask[:, after], weight, weight >= 0.5)
    blend = blend.astype(keypoints.dtype)[:, :, None, None]
    start = keypoints[:, before]
    values = start + blend * (keypoints[:, after] - start)
    values[~mask] = 0
    return values, mask


def resize_frames(keypoints: np.ndarray, frame_mask: np.ndarray, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretches or squeezes a sequence to `num_frames` frames.

    Frame i of the result lies at `(i + 0.5) * frames / num_frames - 0.5` of the input (the convention of image
    resizing that torch calls `align_corners=False`); see `sample_frames` for what happens at gaps.

    Args:
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`.
        num_frames: wanted length, at least 1.
    """
    frames = frame_mask.shape[1]
    if num_frames == frames:
        return keypoints.copy(), frame_mask.copy()
    return sample_frames(keypoints, frame_mask, (np.arange(num_frames) + 0.5) * (frames / num_frames) - 0.5)


def resample_frames(
    keypoints: np.ndarray, frame_mask: np.ndarray, source_rate: float, target_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Changes the frame rate of a sequence; the first frame keeps its time.

    Args:
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`.
        source_rate: frames per second of the input.
        target_rate: frames per second of the result, which has `round(frames * target_rate / source_rate)` frames, at
            least 1.
    """
    if source_rate == target_rate:
        return keypoints.copy(), frame_mask.copy()
    num_frames = max(1, int(np.round(frame_mask.shape[1] * target_rate / source_rate)))
    return sample_frames(keypoints, frame_mask, np.arange(num_frames) * (source_rate / target_rate))


__all__ = [
    "axis_index",
    "reference_centers",
    "reference_person",
    "resample_frames",
    "resize_frames",
    "rotate",
    "rotation_about_axis",
    "rotation_between",
    "rotation_from_angles",
    "sample_frames",
    "subtract_centers",
    "view_rotation",
]
