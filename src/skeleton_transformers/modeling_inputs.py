"""Checks of what a model is given, the same for all families."""

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


__all__ = ["check_inputs", "check_shapes"]
