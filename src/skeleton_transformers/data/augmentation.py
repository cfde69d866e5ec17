"""Random changes to skeleton sequences for training.

The default is the list of Hi-TRS (Chen et al., ECCV 2022, as released): with probability 0.5, one spatial operator out
of scale, noise and shear and one temporal operator out of interpolate and crop. More operators, used by other systems,
are off until they are named.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..skeletons import SkeletonLayout, get_layout
from . import geometry


class SkeletonAugmentation:
    """Applies, with some probability, one random spatial and one random temporal operator to a sequence.

    All persons of a sequence are changed alike. Frames where a person is absent stay 0 and never become present, so an
    operator does nothing to a person who is not there. The result depends on the arguments and on `rng` alone.

    Spatial operators: `"scale"` multiplies by one factor; `"noise"` moves a few joints, each by one offset in all
    frames; `"shear"` multiplies by a matrix with unit diagonal and random off-diagonals; `"rotate"` turns about the
    vertical axis; `"rotate_3d"` turns about all three axes by small angles; `"flip"` mirrors the person: left and
    right joints change names and the lateral axis its sign.

    Temporal operators: `"interpolate"` moves every frame towards the next by one random share,
    x_t + r (x_(t+1) - x_t), the last frame and the length stay; `"crop"` removes frames at head and tail;
    `"crop_resize"` keeps a random part and stretches it; `"speed"` plays the sequence faster or slower.

    Args:
        probability: chance that a sequence is changed at all, in [0, 1].
        spatial: operators of which one is drawn, each equally likely; empty for none.
        temporal: the same for time.
        scale_range: `(low, high)` of the factor.
        noise_joints: number of different joints that are moved (all, where the layout has fewer).
        noise_range: largest offset in each coordinate, in the units of the data.
        shear_range: largest off-diagonal value.
        interpolate_range: `(low, high)` of the share r, within [0, 1].
        crop_ratio: largest share of the frames that `"crop"` removes, in [0, 1).
        rotate_range: largest angle of `"rotate"`, in degrees.
        vertical_axis: `"x"`, `"y"` or `"z"`, the axis that `"rotate"` turns about: y for Kinect cameras, z once the
            view is normalised. Needed by `"rotate"` only.
        rotation_range: largest angle about each axis of `"rotate_3d"`, in radians (MAMP, Mao et al., ICCV 2023: 0.3;
            see `geometry.rotation_from_angles`).
        flip_axis: the lateral axis, `"x"`, `"y"` or `"z"`, whose sign `"flip"` changes: x for Kinect cameras and for
            normalised views. Needed by `"flip"` only.
        flip_origin: coordinate of the mirror on that axis: 0, or 0.5 for image fractions.
        crop_resize_range: `(low, high)` of the share of the frames that `"crop_resize"` keeps (MAMP: 0.5 to 1,
            HiCo: 0.1 to 1).
        crop_resize_min_frames: `"crop_resize"` keeps at least so many frames, or all where there are fewer (both: 64).
        crop_resize_frames: length to stretch to; the length before if None.
        speed_range: `(low, high)` of the speed factor; at 2 the sequence becomes half as long.
        layout: layout of the joints, needed by `"flip"`.
        confidence_channel: the last channel is a confidence, which spatial operators leave alone.

    Raises:
        ValueError: for an unknown operator, a range out of order, or an operator without the argument it needs.
    """

    def __init__(
        self,
        probability: float = 0.5,
        spatial: Sequence[str] = ("scale", "noise", "shear"),
        temporal: Sequence[str] = ("interpolate", "crop"),
        scale_range: Sequence[float] = (0.8, 1.2),
        noise_joints: int = 5,
        noise_range: float = 0.2,
        shear_range: float = 0.5,
        interpolate_range: Sequence[float] = (0.0, 1.0),
        crop_ratio: float = 0.2,
        rotate_range: float = 17.0,
        vertical_axis: str | None = None,
        rotation_range: float = 0.3,
        flip_axis: str | None = None,
        flip_origin: float = 0.0,
        crop_resize_range: Sequence[float] = (0.5, 1.0),
        crop_resize_min_frames: int = 64,
        crop_resize_frames: int | None = None,
        speed_range: Sequence[float] = (0.75, 1.25),
        layout: str | Mapping[str, Any] | SkeletonLayout | None = None,
        confidence_channel: bool = False,
    ):
        self._spatial: dict[str, Callable] = {
            "scale": self._scale,
            "noise": self._noise,
            "shear": self._shear,
            "rotate": self._rotate,
            "rotate_3d": self._rotate_3d,
            "flip": self._flip,
        }
        self._temporal: dict[str, Callable] = {
            "interpolate": self._interpolate,
            "crop": self._crop,
            "crop_resize": self._crop_resize,
            "speed": self._speed,
        }
        self.probability = _number("probability", probability, 0, 1)
        self.spatial = _operators("spatial", spatial, self._spatial)
        self.temporal = _operators("temporal", temporal, self._temporal)
        self.scale_range = _range("scale_range", scale_range, 0, math.inf)
        self.noise_joints = _count("noise_joints", noise_joints)
        self.noise_range = _number("noise_range", noise_range, 0, math.inf)
        self.shear_range = _number("shear_range", shear_range, 0, math.inf)
        self.interpolate_range = _range("interpolate_range", interpolate_range, 0, 1)
        self.crop_ratio = _number("crop_ratio", crop_ratio, 0, 0.99)
        self.rotate_range = _number("rotate_range", rotate_range, 0, 180)
        self.rotation_range = _number("rotation_range", rotation_range, 0, math.pi)
        self.flip_origin = flip_origin
        self.crop_resize_range = _range("crop_resize_range", crop_resize_range, 0, 1)
        self.crop_resize_min_frames = _count("crop_resize_min_frames", crop_resize_min_frames)
        self.crop_resize_frames = (
            None if crop_resize_frames is None else _count("crop_resize_frames", crop_resize_frames)
        )
        self.speed_range = _range("speed_range", speed_range, 0.01, 100)
        self.layout = None if layout is None else get_layout(layout)
        self.confidence_channel = confidence_channel
        self.vertical_axis = None if vertical_axis is None else _axis("vertical_axis", vertical_axis)
        self.flip_axis = None if flip_axis is None else _axis("flip_axis", flip_axis)
        needs = {"rotate": ("vertical_axis",), "flip": ("flip_axis", "layout")}
        for operator, arguments in needs.items():
            for argument in arguments:
                if operator in self.spatial and getattr(self, argument) is None:
                    raise ValueError(f"The operator {operator!r} needs the argument {argument}.")

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], layout: str | Mapping[str, Any] | SkeletonLayout | None = None
    ) -> SkeletonAugmentation:
        """Builds an augmentation from the section of a recipe.

        Args:
            values: arguments of the class.
            layout: layout of the data; a `layout` in `values` wins.

        Raises:
            ValueError: for an unknown key, with the known ones.
        """
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Unknown augmentation settings: {unknown}; known are {', '.join(known)}.")
        return cls(**{"layout": layout, **values})

    def __call__(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Changes one sequence.

        Args:
            keypoints: float32 `(persons, frames, joints, channels)`, 0 where absent, before any stream is computed.
            frame_mask: bool `(persons, frames)`.
            rng: source of all randomness.

        Returns:
            New keypoints and frame_mask, with another number of frames where the operator changes it; the arguments
            themselves where nothing is changed. Where a crop would leave frames without anybody, it is left out.
        """
        if rng.random() >= self.probability:
            return keypoints, frame_mask
        if self.spatial:
            operator = self._spatial[self.spatial[rng.integers(len(self.spatial))]]
            keypoints = self._apply_spatial(operator, keypoints, frame_mask, rng)
        if self.temporal:
            operator = self._temporal[self.temporal[rng.integers(len(self.temporal))]]
            new_keypoints, new_mask = operator(keypoints, frame_mask, rng)
            if new_mask.any():
                keypoints, frame_mask = new_keypoints, new_mask
        return keypoints, frame_mask

    def _apply_spatial(
        self, operator: Callable, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        num_coordinates = keypoints.shape[-1] - int(self.confidence_channel)
        points = operator(keypoints[..., :num_coordinates], rng)
        if self.confidence_channel:
            confidence = keypoints[..., num_coordinates:]
            if operator == self._flip:
                confidence = confidence[..., self._mirror(), :]
            points = np.concatenate([points, confidence], axis=-1)
        if not frame_mask.all():
            points[~frame_mask] = 0  # an offset would make somebody appear out of nothing
        return points

    # -- space: coordinates (persons, frames, joints, coordinates) -> a new array of the same shape ------------------
    def _scale(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return points * np.float32(rng.uniform(*self.scale_range))

    def _noise(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        joints = rng.choice(points.shape[2], size=min(self.noise_joints, points.shape[2]), replace=False)
        offsets = rng.uniform(-self.noise_range, self.noise_range, size=(len(joints), points.shape[3]))
        moved = points.copy()
        moved[:, :, joints] += offsets.astype(points.dtype)
        return moved

    def _shear(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = points.shape[3]
        matrix = rng.uniform(-self.shear_range, self.shear_range, size=(size, size))
        np.fill_diagonal(matrix, 1.0)
        return geometry.rotate(points, matrix)

    def _rotate(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self._need_space(points, "rotate")
        assert self.vertical_axis is not None
        axis = np.eye(3)[geometry.axis_index(self.vertical_axis)]
        angle = np.deg2rad(rng.uniform(-self.rotate_range, self.rotate_range))
        return geometry.rotate(points, geometry.rotation_about_axis(axis, angle))

    def _rotate_3d(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self._need_space(points, "rotate_3d")
        angles = rng.uniform(-self.rotation_range, self.rotation_range, size=3)
        return geometry.rotate(points, geometry.rotation_from_angles(angles))

    def _flip(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.flip_axis is not None
        axis = geometry.axis_index(self.flip_axis)
        if axis >= points.shape[3]:
            raise ValueError(
                f"flip_axis={self.flip_axis!r}, but the keypoints have {points.shape[3]} coordinates only."
            )
        mirror = self._mirror()
        if points.shape[2] != len(mirror):
            assert self.layout is not None
            raise ValueError(
                f"The keypoints have {points.shape[2]} joints, but the augmentation's layout {self.layout.name!r} has "
                f"{len(mirror)}; give the layout of the data."
            )
        flipped = points[:, :, mirror]
        # A joint that is written as all 0, because it was not found, stays so.
        found = (flipped != 0).any(axis=-1)
        flipped[..., axis] = np.where(found, 2 * self.flip_origin - flipped[..., axis], 0)
        return flipped

    def _mirror(self) -> np.ndarray:
        assert self.layout is not None
        return self.layout.mirror_permutation

    def _need_space(self, points: np.ndarray, operator: str) -> None:
        if points.shape[3] != 3:
            raise ValueError(f"The operator {operator!r} needs 3 coordinates; the keypoints have {points.shape[3]}.")

    # -- time: (keypoints, frame_mask) -> new ones -------------------------------------------------------------------
    def _interpolate(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        share = np.float32(rng.uniform(*self.interpolate_range))
        both = (frame_mask[:, 1:] & frame_mask[:, :-1])[:, :, None, None]  # (persons, frames - 1, 1, 1)
        moved = keypoints.copy()
        moved[:, :-1] += share * both * (keypoints[:, 1:] - keypoints[:, :-1])
        return moved, frame_mask

    def _crop(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        frames = frame_mask.shape[1]
        removed = min(round(frames * rng.uniform(0, self.crop_ratio)), frames - 1)
        head = rng.integers(removed + 1)
        kept = slice(head, frames - (removed - head))
        return keypoints[:, kept], frame_mask[:, kept]

    def _crop_resize(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        frames = frame_mask.shape[1]
        share = rng.uniform(*self.crop_resize_range)
        length = min(max(int(share * frames), self.crop_resize_min_frames), frames)
        start = rng.integers(frames - length + 1)
        part = slice(start, start + length)
        return geometry.resize_frames(keypoints[:, part], frame_mask[:, part], self.crop_resize_frames or frames)

    def _speed(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        factor = rng.uniform(*self.speed_range)
        return geometry.resize_frames(keypoints, frame_mask, max(1, round(frame_mask.shape[1] / factor)))


def _operators(name: str, values: Sequence[str], known: Mapping[str, Callable]) -> tuple[str, ...]:
    chosen = (values,) if isinstance(values, str) else tuple(values)
    for value in chosen:
        if value not in known:
            raise ValueError(f"{name} holds the unknown operator {value!r}; known are {', '.join(known)}.")
    return chosen


def _number(name: str, value: float, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}; got {value!r}.")
    return value


def _count(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
    return value


def _range(name: str, values: Sequence[float], low: float, high: float) -> tuple[float, float]:
    try:
        first, last = values
        _number(name, first, low, high)
        _number(name, last, first, high)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be two numbers (low, high) with {low} <= low <= high <= {high}; got {values!r}."
        ) from error
    return first, last


def _axis(name: str, value: str) -> str:
    try:
        geometry.axis_index(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return value


__all__ = ["SkeletonAugmentation"]
