"""The operators of `augmentation` for whole batches, in torch, on whatever device the batch is.

Every operator is a function with the formula of its namesake in `augmentation`; what is random is an argument with one value per
sample. `BatchAugmentation` draws them with a `torch.Generator`. Batches are padded at the end of time: keypoints
`(batch, persons, frames, joints, channels)`, 0 where `frame_mask` `(batch, persons, frames)` is False.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import geometry
from .augmentation import SkeletonAugmentation, need_space


class BatchAugmentation:
    """Applies, with some probability, one random spatial and one random temporal operator to every sample of a batch.

    The samples are changed independently of each other, with the same distributions as by `SkeletonAugmentation`. All draws come from
    the generator, on the generator's device: with a generator on the CPU a batch on a GPU gets the same changes.

    Args:
        settings: what to draw, and in which ranges.
    """

    def __init__(self, settings: SkeletonAugmentation):
        self.settings = settings
        self._spatial: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
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

    def __call__(
        self,
        keypoints: Tensor,
        frame_mask: Tensor,
        generator: torch.Generator,
        num_frames: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Changes a batch.

        Args:
            keypoints: `(batch, persons, frames, joints, channels)`, 0 where absent, before any stream is computed.
            frame_mask: bool `(batch, persons, frames)`.
            generator: source of all randomness.
            num_frames: length of every sample, `(batch,)`; up to the last frame in which anybody is there if left out.

        Returns:
            New keypoints and frame_mask, padded to the longest changed sample. Where a temporal operator would leave frames without
            anybody, it is left out.
        """
        settings = self.settings
        if num_frames is None:
            num_frames = count_frames(frame_mask)
        batch = len(keypoints)
        changed = _uniform(0, 1, (batch,), generator, keypoints) < settings.probability
        spatial = _integers(max(1, len(settings.spatial)), (batch,), generator, keypoints)
        temporal = _integers(max(1, len(settings.temporal)), (batch,), generator, keypoints)
        keypoints = keypoints.clone()
        for number, name in enumerate(settings.spatial):
            rows = torch.nonzero(changed & (spatial == number))[:, 0]
            if len(rows):
                keypoints[rows] = self._apply_spatial(
                    name, keypoints[rows], frame_mask[rows], num_frames[rows], generator
                )
        if not settings.temporal:
            return keypoints, frame_mask
        starts, lengths, targets = torch.zeros_like(num_frames), num_frames.clone(), num_frames.clone()
        for number, name in enumerate(settings.temporal):
            rows = torch.nonzero(changed & (temporal == number))[:, 0]
            frames = num_frames[rows]
            if name == "interpolate":
                shares = _uniform(*settings.interpolate_range, (len(rows),), generator, keypoints)
                keypoints[rows] = interpolate(keypoints[rows], frame_mask[rows], shares)
            elif name == "crop":
                shares = _uniform(0, settings.crop_ratio, (len(rows),), generator, keypoints)
                removed = torch.minimum(torch.round(frames * shares).long(), frames - 1)
                starts[rows] = _below(removed + 1, generator)
                lengths[rows] = targets[rows] = frames - removed
            elif name == "crop_resize":
                shares = _uniform(*settings.crop_resize_range, (len(rows),), generator, keypoints)
                kept = (frames * shares).long().clamp(min=settings.crop_resize_min_frames)
                lengths[rows] = torch.minimum(kept, frames)
                starts[rows] = _below(frames - lengths[rows] + 1, generator)
                if settings.crop_resize_frames is not None:
                    targets[rows] = settings.crop_resize_frames
            elif name == "speed":
                factors = _uniform(*settings.speed_range, (len(rows),), generator, keypoints)
                targets[rows] = torch.round(frames / factors).long().clamp(min=1)
            else:
                order = shuffled_orders(frames, keypoints.shape[2], generator)
                keypoints[rows] = frames_at(keypoints[rows], order)
                frame_mask = frame_mask.index_copy(0, rows, mask_at(frame_mask[rows], order))
        return _resize_some(keypoints, frame_mask, num_frames, starts, lengths, targets)

    def _apply_spatial(
        self, name: str, keypoints: Tensor, frame_mask: Tensor, num_frames: Tensor, generator: torch.Generator
    ) -> Tensor:
        coordinates = keypoints.shape[-1] - int(self.settings.confidence_channel)
        points = self._spatial[name](keypoints[..., :coordinates], num_frames, generator)
        if self.settings.confidence_channel:
            confidence = keypoints[..., coordinates:]
            if name == "flip":
                confidence = confidence[..., self._permutation(points), :]
            if name in ("corrupt", "drop_joints"):
                confidence = confidence * points.any(dim=-1, keepdim=True)
            points = torch.cat([points, confidence], dim=-1)
        return points * frame_mask[..., None, None]

    def _scale(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        return scale(points, _uniform(*self.settings.scale_range, (len(points),), generator, points))

    def _noise(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        joints = _distinct(points, self.settings.noise_joints, generator)
        size = (*joints.shape, points.shape[-1])
        limit = self.settings.noise_range
        return shift_joints(points, joints, _uniform(-limit, limit, size, generator, points))

    def _shear(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        size, limit = points.shape[-1], self.settings.shear_range
        matrices = _uniform(-limit, limit, (len(points), size, size), generator, points)
        matrices.diagonal(dim1=1, dim2=2).fill_(1)
        return rotate(points, matrices)

    def _rotate(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        need_space(points, "rotate")
        assert self.settings.vertical_axis is not None
        limit = self.settings.rotate_range
        angles = torch.deg2rad(_uniform(-limit, limit, (len(points),), generator, points))
        return rotate(points, rotations_about_axis(geometry.axis_index(self.settings.vertical_axis), angles))

    def _rotate_3d(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        need_space(points, "rotate_3d")
        limit = self.settings.rotation_range
        return rotate(points, rotations_from_angles(_uniform(-limit, limit, (len(points), 3), generator, points)))

    def _flip(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        permutation = self._permutation(points)
        assert self.settings.flip_axis is not None
        return mirror(points, permutation, geometry.axis_index(self.settings.flip_axis), self.settings.flip_origin)

    def _permutation(self, points: Tensor) -> Tensor:
        return torch.as_tensor(self.settings.flip_permutation(points), device=points.device)

    def _jitter(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(points.shape, generator=generator, device=generator.device)
        return jitter(points, self.settings.jitter_deviation * noise.to(points))

    def _corrupt(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        joints = _distinct(points, self.settings.corrupt_joints, generator)
        chosen = torch.zeros(len(points), points.shape[3], dtype=torch.bool, device=points.device)
        chosen.scatter_(1, joints, True)
        zero = _uniform(0, 1, (len(points), 1, 1), generator, points) < 0.5
        size = points.shape[-1]
        matrices = _uniform(-1, 1, (len(points), size, size), generator, points)
        return transform_joints(points, chosen, matrices.masked_fill(zero, 0))

    def _drop_joints(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, _, joints, size = points.shape
        chosen = _uniform(0, 1, (batch, joints), generator, points) < self.settings.drop_probability
        return transform_joints(points, chosen, points.new_zeros(batch, size, size))

    def _move(self, points: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
        settings, nodes = self.settings, (len(points), self.settings.move_segments + 1)

        def choose(choices: Sequence[float], size: tuple[int, ...]) -> Tensor:
            return points.new_tensor(choices)[_integers(len(choices), size, generator, points)]

        angles, factors = choose(settings.move_angles, nodes), choose(settings.move_scales, nodes)
        shifts = choose(settings.move_shifts, (*nodes, 2))
        return move(points, num_frames, angles, factors, shifts, settings.move_center)


# -- what is there ----------------------------------------------------------------------------------------------------
def count_frames(frame_mask: Tensor) -> Tensor:
    """Length of every sample of a padded batch: up to the last frame in which anybody is there, at least 1; int64 `(batch,)`."""
    present = frame_mask.any(dim=1)  # (batch, frames)
    places = torch.arange(1, present.shape[1] + 1, device=present.device)
    return (present * places).amax(dim=1).clamp(min=1)


# -- space: points (batch, persons, frames, joints, coordinates) -> new points ----------------------------------------
def scale(points: Tensor, factors: Tensor) -> Tensor:
    """Points times a factor, `(batch,)`."""
    return points * _per_sample(factors, points)


def shift_joints(points: Tensor, joints: Tensor, offsets: Tensor) -> Tensor:
    """Different joints `(batch, n)` moved by offsets `(batch, n, coordinates)` in all frames."""
    batch, _, _, num_joints, size = points.shape
    shift = points.new_zeros(batch, num_joints, size).scatter(1, joints[..., None].expand_as(offsets), offsets)
    return points + shift[:, None, None]


def transform_joints(points: Tensor, chosen: Tensor, matrices: Tensor) -> Tensor:
    """Joints chosen by bool `(batch, joints)` multiplied, as row vectors, by a matrix `(batch, coordinates, coordinates)`."""
    return torch.where(chosen[:, None, None, :, None], rotate(points, matrices.mT), points)


def rotate(points: Tensor, matrices: Tensor) -> Tensor:
    """Points multiplied by a matrix `(batch, coordinates, coordinates)`: x <- matrix @ x."""
    # (B, M, T, V, C) -> (B, M * T * V, C): one product per sample instead of one per frame
    return (points.flatten(1, 3) @ matrices.mT).view(points.shape)


def mirror(points: Tensor, permutation: Tensor, axis: int, origin: float = 0.0) -> Tensor:
    """Joints in the order `permutation`, `(joints,)`, and one axis turned round about `origin`; joints that are all 0 stay so."""
    flipped = points[..., permutation, :]
    found = flipped.any(dim=-1)
    flipped[..., axis] = torch.where(found, 2 * origin - flipped[..., axis], 0)
    return flipped


def jitter(points: Tensor, noise: Tensor) -> Tensor:
    """Noise of the shape of the points added to the joints that were found."""
    return points + points.any(dim=-1, keepdim=True) * noise


def move(
    points: Tensor, num_frames: Tensor, angles: Tensor, factors: Tensor, shifts: Tensor, center: float = 0.0
) -> Tensor:
    """The first two coordinates turned, scaled and shifted by amounts that change evenly between nodes.

    Args:
        points: `(batch, persons, frames, joints, coordinates)`.
        num_frames: length of every sample, `(batch,)`, over which the nodes lie evenly.
        angles: degrees, `(batch, nodes)`.
        factors: `(batch, nodes)`.
        shifts: `(batch, nodes, 2)`.
        center: what is turned and scaled about, on both axes.
    """
    segments = angles.shape[1] - 1
    frames = _positions(len(points), points.shape[2], points)
    places = (frames * segments / (num_frames[:, None] - 1).clamp(min=1)).clamp(max=segments)  # (batch, frames)
    before = places.long().clamp(max=max(segments - 1, 0))
    weight = places - before

    def at(values: Tensor) -> Tensor:
        start = values.gather(1, before)
        return start + weight * (values.gather(1, (before + 1).clamp(max=segments)) - start)

    angle, factor = at(torch.deg2rad(angles)), at(factors)
    cos, sin, shift_x, shift_y = (
        values[:, None, :, None]  # (batch, frames) -> (batch, 1, frames, 1), for every person and joint
        for values in (factor * angle.cos(), factor * angle.sin(), at(shifts[..., 0]), at(shifts[..., 1]))
    )
    x, y = points[..., 0] - center, points[..., 1] - center
    plane = torch.stack([cos * x - sin * y + shift_x, sin * x + cos * y + shift_y], dim=-1) + center
    plane = torch.where(points.any(dim=-1, keepdim=True), plane, 0)
    return torch.cat([plane, points[..., 2:]], dim=-1)


def rotations_about_axis(axis: int, angles: Tensor) -> Tensor:
    """Right-handed rotations about a coordinate axis by radians `(batch,)`: `(batch, 3, 3)`."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrices = torch.eye(3, dtype=angles.dtype, device=angles.device).repeat(len(angles), 1, 1)
    cos, sin = angles.cos(), angles.sin()
    matrices[:, first, first], matrices[:, first, second] = cos, -sin
    matrices[:, second, first], matrices[:, second, second] = sin, cos
    return matrices


def rotations_from_angles(angles: Tensor) -> Tensor:
    """`Rz @ Ry @ Rx` of angles `(batch, 3)` as `geometry.rotation_from_angles` has them: `(batch, 3, 3)`."""
    about_x, about_y, about_z = (rotations_about_axis(axis, -angles[:, axis]) for axis in range(3))
    return about_z @ about_y @ about_x


# -- time: (keypoints, frame_mask) -> new ones ------------------------------------------------------------------------
def interpolate(keypoints: Tensor, frame_mask: Tensor, shares: Tensor) -> Tensor:
    """Every frame moved by a share `(batch,)` of the way to the next, where the person is there in both."""
    both = (frame_mask[:, :, 1:] & frame_mask[:, :, :-1])[..., None, None]
    moved = keypoints.clone()
    moved[:, :, :-1] += _per_sample(shares, keypoints) * both * (keypoints[:, :, 1:] - keypoints[:, :, :-1])
    return moved


def resize_part(
    keypoints: Tensor,
    frame_mask: Tensor,
    starts: Tensor,
    lengths: Tensor,
    targets: Tensor,
    width: int | None = None,
) -> tuple[Tensor, Tensor]:
    """A part of every sample, stretched or squeezed as by `geometry.resize_frames`.

    Args:
        keypoints: `(batch, persons, frames, joints, channels)`.
        frame_mask: bool `(batch, persons, frames)`.
        starts, lengths: first frame and number of frames of the part, int64 `(batch,)`.
        targets: wanted number of frames, int64 `(batch,)`.
        width: the largest of `targets`, if it is known; then no step depends on values, as in a graph to export.

    Returns:
        keypoints and frame_mask, padded to the largest of `targets`.
    """
    is_fixed = width is not None
    if width is None:
        width = int(targets.max()) if len(targets) else 1
    frames = torch.arange(width, dtype=torch.float64, device=keypoints.device)
    places = (frames + 0.5) * (lengths / targets.double())[:, None] - 0.5  # (batch, width)
    places = torch.where(
        (lengths == targets)[:, None], frames, places
    )  # exactly, without the rounding of the line above
    places = torch.minimum(places.clamp(min=0), (lengths - 1)[:, None])
    before = places.long()
    after = torch.minimum(before + 1, (lengths - 1)[:, None])
    weight = places - before
    before, after = before + starts[:, None], after + starts[:, None]
    mask = mask_at(frame_mask, torch.where(weight < 0.5, before, after)) & (frames < targets[:, None])[:, None]
    values = frames_at(keypoints, before)
    if is_fixed or bool((lengths != targets).any()):
        both = mask_at(frame_mask, before) & mask_at(frame_mask, after)
        # share of the frame after where both are present, else 0 or 1 for the nearest alone
        share = torch.where(both, weight[:, None], (weight >= 0.5).double()[:, None]).to(keypoints.dtype)
        values = torch.lerp(values, frames_at(keypoints, after), share[..., None, None])
    return values * mask[..., None, None], mask


def _resize_some(
    keypoints: Tensor, frame_mask: Tensor, num_frames: Tensor, starts: Tensor, lengths: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """`resize_part` of the samples in which it changes anything and leaves somebody; the others as they are."""
    rows = torch.nonzero((lengths != num_frames) | (targets != num_frames))[:, 0]
    part, part_mask = resize_part(keypoints[rows], frame_mask[rows], starts[rows], lengths[rows], targets[rows])
    kept = part_mask.any(dim=2).any(dim=1)
    if not bool(kept.all()):
        rows, part, part_mask = rows[kept], part[kept], part_mask[kept]
    final = num_frames.index_copy(0, rows, targets[rows])
    width = int(final.max())
    if len(rows) == len(keypoints):
        return part[:, :, :width], part_mask[:, :, :width]
    shared = min(width, keypoints.shape[2])
    result = keypoints.new_zeros(*keypoints.shape[:2], width, *keypoints.shape[3:])
    result[:, :, :shared] = keypoints[:, :, :shared]
    mask = frame_mask.new_zeros(*frame_mask.shape[:2], width)
    mask[:, :, :shared] = frame_mask[:, :, :shared]
    shared = min(width, part.shape[2])
    result[rows], mask[rows] = 0, False
    result[rows, :, :shared], mask[rows, :, :shared] = part[:, :, :shared], part_mask[:, :, :shared]
    return result, mask


def loop_clips(
    keypoints: Tensor, frame_mask: Tensor, num_frames: Tensor, starts: Tensor, speeds: Tensor, length: int
) -> tuple[Tensor, Tensor]:
    """Clips of every `speed`-th frame from `start` on, which begin again after the last frame.

    Args:
        keypoints: `(batch, persons, frames, joints, channels)`.
        frame_mask: bool `(batch, persons, frames)`.
        num_frames, starts, speeds: length of every sample, first frame and step, int64 `(batch,)`.
        length: frames of a clip.
    """
    steps = torch.arange(length, device=keypoints.device)
    places = (starts[:, None] + speeds[:, None] * steps) % num_frames[:, None]
    return frames_at(keypoints, places), mask_at(frame_mask, places)


def shuffled_orders(num_frames: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Random orders of the first `num_frames` of `width` frames, never the one they have; int64 `(batch, width)`."""
    frames = torch.arange(width, device=num_frames.device)
    inside = frames < num_frames[:, None]
    keys = torch.rand(len(num_frames), width, generator=generator, device=generator.device).to(num_frames.device)
    order = torch.where(inside, keys, 1 + frames).argsort(dim=1)
    same = (order == frames).all(dim=1) & (num_frames > 1)
    swapped = order.clone()
    swapped[:, :2] = order[:, :2].flip(1)
    return torch.where(same[:, None], swapped, order)


# -- helpers ----------------------------------------------------------------------------------------------------------
def frames_at(keypoints: Tensor, places: Tensor) -> Tensor:
    """The frames at places `(batch, new frames)`: `(batch, persons, new frames, joints, channels)`."""
    batch, persons, frames, joints, channels = keypoints.shape
    first = torch.arange(batch * persons, device=places.device).view(batch, persons, 1) * frames
    rows = keypoints.reshape(batch * persons * frames, joints * channels)  # (B, M, T, V, C) -> (B * M * T, V * C)
    chosen = rows.index_select(0, (first + places[:, None]).flatten())
    return chosen.view(batch, persons, places.shape[1], joints, channels)


def mask_at(frame_mask: Tensor, places: Tensor) -> Tensor:
    """The mask at places `(batch, new frames)`: `(batch, persons, new frames)`."""
    return frame_mask.gather(2, places[:, None].expand(-1, frame_mask.shape[1], -1))


def _positions(batch: int, frames: int, like: Tensor) -> Tensor:
    return torch.arange(frames, device=like.device).expand(batch, frames).clone()


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, 1, 1, 1, 1)


def _uniform(low: float, high: float, size: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(size, generator=generator, device=generator.device)).to(
        like.device, like.dtype
    )


def _integers(high: int, size: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randint(high, size, generator=generator, device=generator.device).to(like.device)


def _below(high: Tensor, generator: torch.Generator) -> Tensor:
    """A random whole number from 0 to below `high`, for every element."""
    share = torch.rand(high.shape, generator=generator, device=generator.device, dtype=torch.float64).to(high.device)
    return torch.minimum((share * high).long(), high - 1)


def _distinct(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Different joints for every sample, `(batch, count)` (all where there are fewer)."""
    keys = torch.rand(len(points), points.shape[3], generator=generator, device=generator.device)
    return keys.argsort(dim=1)[:, :count].to(points.device)


__all__ = [
    "BatchAugmentation",
    "count_frames",
    "interpolate",
    "jitter",
    "loop_clips",
    "mirror",
    "move",
    "resize_part",
    "rotate",
    "rotations_about_axis",
    "rotations_from_angles",
    "scale",
    "shift_joints",
    "shuffled_orders",
    "transform_joints",
]
