"""What every family does with its inputs: checks, and packing of what is there.

Packed rows are as many as the values of a mask say. An exported graph has no such shapes: there, every entry is a row, absent
ones are rows of zeros, and whoever takes rows by [`packed_rows`] or [`unpack`] gets the same.
"""

from typing import Any

import torch


def check_shapes(config: Any, keypoints: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """Checks shapes and completes the mask.

    Args:
        config: what the model expects.
        keypoints: `(batch, persons, frames, joints, channels)`.
        frame_mask: bool `(batch, persons, frames)`; None means present wherever a coordinate is not 0.

    Raises:
        ValueError: the shapes do not fit.
    """
    if keypoints.ndim != 5:
        raise ValueError(
            "keypoints must have shape (batch, persons, frames, joints, channels); got "
            f"{tuple(keypoints.shape)}. SkeletonFeatureExtractor makes such a batch from recordings."
        )
    if keypoints.shape[3:] != (config.num_joints, config.num_channels):
        raise ValueError(
            f"keypoints have {keypoints.shape[3]} joints and {keypoints.shape[4]} channels, but the model expects "
            f"{config.num_joints} joints (layout {config.skeleton_layout.name!r}) and {config.num_channels} channels. "
            "Convert the recordings with convert_layout, or make a model with their layout."
        )
    if frame_mask is None:
        frame_mask = (keypoints != 0).flatten(3).any(dim=-1)
    if frame_mask.shape != keypoints.shape[:3]:
        raise ValueError(
            f"frame_mask must have shape (batch, persons, frames) = {tuple(keypoints.shape[:3])}; got "
            f"{tuple(frame_mask.shape)}."
        )
    return frame_mask.to(keypoints.device, torch.bool)


def check_inputs(
    config: Any, keypoints: torch.Tensor, frame_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Checks shapes and finds the length of each sample; for the arguments see [`check_shapes`].

    Returns:
        the mask, and int64 `(batch,)`: 1 + last frame in which somebody is present.

    Raises:
        ValueError: the shapes do not fit, or nobody is present in a sample.
    """
    frame_mask = check_shapes(config, keypoints, frame_mask)
    ends = torch.arange(1, keypoints.shape[2] + 1, device=keypoints.device)
    num_frames = (frame_mask.any(dim=1) * ends).amax(dim=1)
    if not torch.compiler.is_compiling() and not bool(num_frames.all()):
        raise ValueError(
            f"nobody is present in any frame of sample {int(num_frames.argmin())} of the batch: its frame_mask is False "
            "throughout. Leave such recordings out."
        )
    return frame_mask, num_frames


def is_exporting() -> bool:
    """Whether `torch.export` is tracing, so that no shape and no decision may depend on the values of a tensor."""
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()  # torch 2.6 has no such function


def pack(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The entries of `values` that `mask` chooses, one after the other; in an exported graph all of them, the others 0.

    Args:
        values: `(*mask.shape, ...)`.
        mask: bool, of any shape.

    Returns:
        `(rows, ...)`.
    """
    if not is_exporting():
        return values[mask]
    return _clear(values, mask).flatten(0, mask.ndim - 1)


def packed_rows(mask: torch.Tensor) -> torch.Tensor:
    """Which row of [`pack`] each entry is, counted from 1; 0 where `mask` is False. int64, of the shape of `mask`."""
    chosen = torch.ones_like(mask) if is_exporting() else mask
    return chosen.flatten().cumsum(0).view_as(mask) * mask


def unpack(rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Undoes [`pack`]: `(rows, ...)` -> `(*mask.shape, ...)`, 0 where `mask` is False."""
    if is_exporting():
        return _clear(rows.unflatten(0, mask.shape), mask)
    result = rows.new_zeros(*mask.shape, *rows.shape[1:])
    result[mask] = rows
    return result


def present_first(mask: torch.Tensor) -> torch.Tensor:
    """Positions of what is there, in their order, then of the rest: a stable sort, which exported graphs do not have.

    Args:
        mask: bool `(rows, positions)`.

    Returns:
        int64 `(rows, positions)`.
    """
    absent = ~mask
    rank = torch.where(mask, mask.cumsum(1) - 1, mask.sum(dim=1, keepdim=True) + absent.cumsum(1) - 1)
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape[0], -1)
    return torch.zeros_like(rank).scatter(1, rank, positions)


def _clear(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`values` `(*mask.shape, ...)`, 0 where `mask` is False."""
    mask = mask.view(*mask.shape, *[1] * (values.ndim - mask.ndim))
    return values & mask if values.dtype == torch.bool else values.masked_fill(~mask, 0)


__all__ = ["check_inputs", "check_shapes", "is_exporting", "pack", "packed_rows", "present_first", "unpack"]
