"""Random changes to skeleton sequences for training.

The default is the list of Hi-TRS (Chen et al., ECCV 2022, as released): with probability 0.5, one spatial operator out
of scale, noise and shear and one temporal operator out of interpolate and crop. More operators, used by other systems,
are off until they are named.

Every operator is a function here, whose arguments hold what is random; `SkeletonAugmentation` draws them for one
sequence in numpy. `batch_augmentation` has the same functions for whole batches in torch.
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
    vertical axis; `"rotate_3d"` turns about all three axes (with `rotation_range=math.pi` the change of view of MCC's
    ablation, Su et al., ICCV 2021); `"flip"` mirrors the person: left and right joints change names and the lateral
    axis its sign; `"jitter"` moves every joint in every frame by Gaussian noise (the jittered negatives of MCC's
    ablation); `"corrupt"` sets some joints to 0 or multiplies them by a random matrix, in all frames (HiCo, Dong et
    al., AAAI 2023); `"drop_joints"` sets every joint to 0, as if it had not been found, with some probability;
    `"move"` turns, scales and shifts the image plane, more or less from frame to frame (the random move of ST-GCN, Yan
    et al., AAAI 2018, for Kinetics-Skeleton).

    Temporal operators: `"interpolate"` moves every frame towards the next by one random share,
    x_t + r (x_(t+1) - x_t), the last frame and the length stay; `"crop"` removes frames at head and tail;
    `"crop_resize"` keeps a random part and stretches it; `"speed"` plays the sequence faster or slower; `"shuffle"`
    puts the frames into another order (the motion-broken negatives of MCC).

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
        jitter_deviation: standard deviation of `"jitter"`, in the units of the data.
        corrupt_joints: number of joints that `"corrupt"` changes (HiCo: 15 of 25).
        drop_probability: chance that `"drop_joints"` drops a joint.
        move_angles: angles that `"move"` chooses from, in degrees.
        move_scales: factors that it chooses from.
        move_shifts: shifts along each axis that it chooses from, in the units of the data.
        move_center: what it turns and scales about, on both axes: 0, or 0.5 for image fractions.
        move_segments: parts of the sequence in each of which angle, factor and shift change evenly from one choice to
            the next.
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
        jitter_deviation: float = 0.02,
        corrupt_joints: int = 15,
        drop_probability: float = 0.1,
        move_angles: Sequence[float] = (-10.0, -5.0, 0.0, 5.0, 10.0),
        move_scales: Sequence[float] = (0.9, 1.0, 1.1),
        move_shifts: Sequence[float] = (-0.2, -0.1, 0.0, 0.1, 0.2),
        move_center: float = 0.0,
        move_segments: int = 1,
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
            "jitter": self._jitter,
            "corrupt": self._corrupt,
            "drop_joints": self._drop_joints,
            "move": self._move,
        }
        self._temporal: dict[str, Callable] = {
            "interpolate": self._interpolate,
            "crop": self._crop,
            "crop_resize": self._crop_resize,
            "speed": self._speed,
            "shuffle": self._shuffle,
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
        self.jitter_deviation = _number("jitter_deviation", jitter_deviation, 0, math.inf)
        self.corrupt_joints = _count("corrupt_joints", corrupt_joints)
        self.drop_probability = _number("drop_probability", drop_probability, 0, 1)
        self.move_angles = _choices("move_angles", move_angles)
        self.move_scales = _choices("move_scales", move_scales)
        self.move_shifts = _choices("move_shifts", move_shifts)
        self.move_center = move_center
        self.move_segments = _count("move_segments", move_segments)
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
                confidence = confidence[..., self.flip_permutation(points), :]
            if operator in (self._corrupt, self._drop_joints):  # a joint that is gone is not sure
                confidence = np.where(points.any(axis=-1, keepdims=True), confidence, 0)
            points = np.concatenate([points, confidence], axis=-1)
        if not frame_mask.all():
            points[~frame_mask] = 0  # an offset would make somebody appear out of nothing
        return points

    # -- space: coordinates (persons, frames, joints, coordinates) -> a new array of the same shape ------------------
    def _scale(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return scale(points, rng.uniform(*self.scale_range))

    def _noise(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        joints = rng.choice(points.shape[2], size=min(self.noise_joints, points.shape[2]), replace=False)
        return shift_joints(
            points, joints, rng.uniform(-self.noise_range, self.noise_range, size=(len(joints), points.shape[3]))
        )

    def _shear(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = points.shape[3]
        matrix = rng.uniform(-self.shear_range, self.shear_range, size=(size, size))
        np.fill_diagonal(matrix, 1.0)
        return geometry.rotate(points, matrix)

    def _rotate(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        need_space(points, "rotate")
        assert self.vertical_axis is not None
        axis = np.eye(3)[geometry.axis_index(self.vertical_axis)]
        angle = np.deg2rad(rng.uniform(-self.rotate_range, self.rotate_range))
        return geometry.rotate(points, geometry.rotation_about_axis(axis, angle))

    def _rotate_3d(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        need_space(points, "rotate_3d")
        angles = rng.uniform(-self.rotation_range, self.rotation_range, size=3)
        return geometry.rotate(points, geometry.rotation_from_angles(angles))

    def _flip(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        permutation = self.flip_permutation(points)
        assert self.flip_axis is not None
        return mirror(points, permutation, geometry.axis_index(self.flip_axis), self.flip_origin)

    def flip_permutation(self, points: Any) -> np.ndarray:
        """Joints with left and right exchanged; checks that points `(..., joints, coordinates)` can be mirrored."""
        assert self.flip_axis is not None and self.layout is not None
        if geometry.axis_index(self.flip_axis) >= points.shape[-1]:
            raise ValueError(
                f"flip_axis={self.flip_axis!r}, but the keypoints have {points.shape[-1]} coordinates only."
            )
        permutation = self.layout.mirror_permutation
        if points.shape[-2] != len(permutation):
            raise ValueError(
                f"The keypoints have {points.shape[-2]} joints, but the augmentation's layout {self.layout.name!r} "
                f"has {len(permutation)}; give the layout of the data."
            )
        return permutation

    def _jitter(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return jitter(points, rng.normal(0, self.jitter_deviation, size=points.shape))

    def _corrupt(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = points.shape[3]
        chosen = rng.choice(points.shape[2], size=min(self.corrupt_joints, points.shape[2]), replace=False)
        matrix = np.zeros((size, size)) if rng.random() < 0.5 else rng.uniform(-1, 1, size=(size, size))
        return transform_joints(points, chosen, matrix)

    def _drop_joints(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = np.flatnonzero(rng.random(points.shape[2]) < self.drop_probability)
        return transform_joints(points, chosen, np.zeros((points.shape[3], points.shape[3])))

    def _move(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        nodes = self.move_segments + 1
        angles, factors = rng.choice(self.move_angles, nodes), rng.choice(self.move_scales, nodes)
        shifts = rng.choice(self.move_shifts, (nodes, 2))
        return move(points, angles, factors, shifts, self.move_center)

    # -- time: (keypoints, frame_mask) -> new ones -------------------------------------------------------------------
    def _interpolate(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return interpolate(keypoints, frame_mask, rng.uniform(*self.interpolate_range)), frame_mask

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

    def _shuffle(
        self, keypoints: np.ndarray, frame_mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        frames = frame_mask.shape[1]
        order = rng.permutation(frames)
        while frames > 1 and (order == np.arange(frames)).all():
            order = rng.permutation(frames)
        return keypoints[:, order], frame_mask[:, order]


# -- the operators: points (persons, frames, joints, coordinates) -> new points --------------------------------------
def scale(points: np.ndarray, factor: float) -> np.ndarray:
    """Points times a factor."""
    return points * np.float32(factor)


def shift_joints(points: np.ndarray, joints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Joints `(n,)` moved by offsets `(n, coordinates)` in all frames."""
    moved = points.copy()
    moved[:, :, joints] += offsets.astype(points.dtype)
    return moved


def transform_joints(points: np.ndarray, joints: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Joints `(n,)` multiplied by a matrix `(coordinates, coordinates)` in all frames, each as a row vector from the left."""
    changed = points.copy()
    changed[:, :, joints] = points[:, :, joints] @ matrix.astype(points.dtype)
    return changed


def mirror(points: np.ndarray, permutation: np.ndarray, axis: int, origin: float = 0.0) -> np.ndarray:
    """Joints in the order `permutation`, `(joints,)`, and one axis turned round about `origin`.

    A joint that is written as all 0, because it was not found, stays so.
    """
    flipped = points[:, :, permutation]
    found = (flipped != 0).any(axis=-1)
    flipped[..., axis] = np.where(found, 2 * origin - flipped[..., axis], 0)
    return flipped


def jitter(points: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise of the shape of the points added to the joints that were found."""
    found = (points != 0).any(axis=-1, keepdims=True)
    return points + found * noise.astype(points.dtype)


def move(
    points: np.ndarray, angles: np.ndarray, factors: np.ndarray, shifts: np.ndarray, center: float = 0.0
) -> np.ndarray:
    """The first two coordinates turned, scaled and shifted by amounts that change evenly between nodes.

    The nodes lie evenly over the frames, the first on the first frame and the last on the last one. Joints that are
    all 0 stay so.

    Args:
        points: `(persons, frames, joints, coordinates)`.
        angles: degrees, counter-clockwise where x points right and y up, `(nodes,)`.
        factors: `(nodes,)`.
        shifts: `(nodes, 2)`.
        center: what is turned and scaled about, on both axes.
    """
    frames = points.shape[1]
    places = np.linspace(0, len(angles) - 1, frames)
    angle, factor, *shift = (
        np.interp(places, np.arange(len(angles)), values) for values in (np.deg2rad(angles), factors, *shifts.T)
    )
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    matrix = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)  # (frames, 2, 2)
    plane = points[..., :2] - np.float32(center)
    plane = plane @ matrix.swapaxes(1, 2).astype(points.dtype) + np.stack(shift, axis=-1)[:, None].astype(points.dtype)
    found = (points != 0).any(axis=-1, keepdims=True)
    moved = points.copy()
    moved[..., :2] = np.where(found, plane + np.float32(center), 0)
    return moved


def interpolate(keypoints: np.ndarray, frame_mask: np.ndarray, share: float) -> np.ndarray:
    """Every frame moved by a share of the way to the next, where the person is there in both."""
    both = (frame_mask[:, 1:] & frame_mask[:, :-1])[:, :, None, None]  # (persons, frames - 1, 1, 1)
    moved = keypoints.copy()
    moved[:, :-1] += np.float32(share) * both * (keypoints[:, 1:] - keypoints[:, :-1])
    return moved


def loop_clip(
    keypoints: np.ndarray, frame_mask: np.ndarray, start: int, speed: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """A clip of every `speed`-th frame from `start` on, which begins again at the first frame after the last one.

    The clips of MCC (Su et al., ICCV 2021): 32 frames at speeds 1, 2, 4 or 8.

    Args:
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`.
        start: first frame.
        speed: step from frame to frame.
        num_frames: length of the clip.
    """
    chosen = (start + speed * np.arange(num_frames)) % frame_mask.shape[1]
    return keypoints[:, chosen], frame_mask[:, chosen]


def need_space(points: Any, operator: str) -> None:
    """Raises ValueError unless points have 3 coordinates."""
    if points.shape[-1] != 3:
        raise ValueError(f"The operator {operator!r} needs 3 coordinates; the keypoints have {points.shape[-1]}.")


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


def _choices(name: str, values: Sequence[float]) -> tuple[float, ...]:
    chosen = tuple(values)
    if not chosen:
        raise ValueError(f"{name} must hold at least one number.")
    return tuple(_number(name, value, -math.inf, math.inf) for value in chosen)


def _axis(name: str, value: str) -> str:
    try:
        geometry.axis_index(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return value


__all__ = [
    "SkeletonAugmentation",
    "interpolate",
    "jitter",
    "loop_clip",
    "mirror",
    "move",
    "need_space",
    "scale",
    "shift_joints",
    "transform_joints",
]
