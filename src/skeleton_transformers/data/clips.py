"""The window rule of Hi-TRS: which frames make up which clip."""

from __future__ import annotations

from typing import overload

import numpy as np


@overload
def number_of_clips(num_frames: int, clip_length: int, clip_stride: int, clip_dilation: int) -> int: ...


@overload
def number_of_clips(num_frames: np.ndarray, clip_length: int, clip_stride: int, clip_dilation: int) -> np.ndarray: ...


def number_of_clips(num_frames, clip_length, clip_stride, clip_dilation):
    """Number of clips that a sequence is cut into.

    With `P = (clip_length // 2) * clip_dilation` zero frames at both ends, the number is
    `1 + ceil(max(0, N - min(P + 1, stride)) / stride)`; for the released values (7, 7, 2) this is `ceil(N / 7)`.

    Args:
        num_frames: real frames `N >= 1`, an integer or an array of integers.
        clip_length: frames in one clip, odd.
        clip_stride: frames between the starts of two clips.
        clip_dilation: frames between two neighbours in a clip.
    """
    padding = clip_length // 2 * clip_dilation
    uncovered = np.maximum(0, np.asarray(num_frames) - min(padding + 1, clip_stride))
    clips = 1 + -(-uncovered // clip_stride)
    return int(clips) if np.ndim(clips) == 0 else clips


def clip_frame_indices(num_frames: int, clip_length: int, clip_stride: int, clip_dilation: int) -> np.ndarray:
    """Frames of every clip of a sequence, in the coordinates of the unpadded sequence.

    Args:
        num_frames: real frames `N >= 1`.
        clip_length: frames in one clip, odd.
        clip_stride: frames between the starts of two clips; 1 gives one clip centred on every frame.
        clip_dilation: frames between two neighbours in a clip.

    Returns:
        int64 `(clips, clip_length)`; -1 stands for a zero frame outside the sequence.
    """
    padding = clip_length // 2 * clip_dilation
    starts = np.arange(number_of_clips(num_frames, clip_length, clip_stride, clip_dilation)) * clip_stride
    padded = starts[:, None] + np.arange(clip_length) * clip_dilation  # (clips, clip_length)
    # A window that runs past the padded end repeats its last frame (a zero frame unless clips have one frame only).
    frames = np.minimum(padded, num_frames + 2 * padding - 1) - padding
    return np.where((frames >= 0) & (frames < num_frames), frames, -1)


__all__ = ["clip_frame_indices", "number_of_clips"]
