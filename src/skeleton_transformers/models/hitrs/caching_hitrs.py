"""Hi-TRS that remembers: what F-TRS said about a frame and C-TRS about a clip is computed once, however often they are seen.

Frames arrive one by one, and a model that sees the last few seconds sees nearly the same frames and clips every time. Which
ones are the same is decided by their normalised coordinates alone, so results are those of the model itself, whatever the feature
extractor does: where it changes all frames with every new one, everything is computed again.
"""

import copy
from typing import Any

import torch
from torch import nn

from ...modeling_attention import LayerRecord
from .modeling_hitrs import HiTRSClipEncoder, HiTRSFrameEncoder, HiTRSPreTrainedModel


def remember_features(model: HiTRSPreTrainedModel) -> Any:
    """A model with the same weights (not a copy of them) that remembers the frames and clips of its last call.

    Args:
        model: an encoder, a recogniser or a detector, in evaluation mode. It stays as it is.
    """
    encoder = copy.copy(model.base_model)
    frames = _RememberedFrames(encoder.frame)
    encoder._modules = {**encoder._modules, "frame": frames, "clip": _RememberedClips(encoder.clip, frames)}
    if model.base_model is model:
        return encoder
    remembering = copy.copy(model)
    remembering._modules = {**model._modules, model.base_model_prefix: encoder}
    return remembering


class _RememberedFrames(nn.Module):
    """Stands for F-TRS. Instead of features it gives the number under which each frame is remembered."""

    def __init__(self, encoder: HiTRSFrameEncoder):
        super().__init__()
        self.encoder = encoder
        self.numbers: dict[bytes, int] = {}  # content -> number
        self.features: dict[int, torch.Tensor] = {}  # number -> (joints, hidden_sizes[0])
        self.next_number = 0

    def forward(self, frames: torch.Tensor, record: LayerRecord | None = None) -> torch.Tensor:
        """`(rows, joints, channels)` -> int64 `(rows,)`."""
        if record is not None and record.is_needed:
            raise ValueError("a model that remembers its features does not have the states of all layers")
        contents = [frame.tobytes() for frame in frames.detach().float().cpu().numpy()]
        seen = {content: row for row, content in enumerate(contents)}
        new = [row for content, row in seen.items() if content not in self.numbers]
        numbers = {content: self.numbers[content] for content in seen if content in self.numbers}
        features = {number: self.features[number] for number in numbers.values()}
        if new:
            for row, feature in zip(new, self.encoder(frames[new]), strict=True):
                numbers[contents[row]] = self.next_number
                features[self.next_number] = feature
                self.next_number += 1
        self.numbers, self.features = numbers, features  # what was not seen is forgotten
        return torch.tensor([numbers[content] for content in contents])


class _RememberedClips(nn.Module):
    """Stands for C-TRS."""

    def __init__(self, encoder: HiTRSClipEncoder, frames: _RememberedFrames):
        super().__init__()
        self.encoder = encoder
        self.remembered_frames = [frames]  # in a list, for it is no part of this module
        self.features: dict[tuple[int, ...], torch.Tensor] = {}  # numbers of the frames -> (hidden_sizes[1],)

    def forward(self, numbers: torch.Tensor, clips: torch.Tensor, record: LayerRecord | None = None) -> torch.Tensor:
        """Encodes clips of frames that are remembered.

        Args:
            numbers: int64 `(rows,)` of `_RememberedFrames`.
            clips: int64 `(clips, clip_length)`, rows of `numbers`.
            record: not used, see `_RememberedFrames`.

        Returns:
            `(clips, hidden_sizes[1])`.
        """
        keys = [tuple(clip) for clip in numbers[clips.cpu()].tolist()]
        new = [key for key in dict.fromkeys(keys) if key not in self.features]
        features = {key: self.features[key] for key in keys if key in self.features}
        if new:
            frames = self.remembered_frames[0].features
            needed = sorted({number for key in new for number in key})
            row = {number: position for position, number in enumerate(needed)}
            parts = torch.tensor([[row[number] for number in key] for key in new], device=clips.device)
            encoded = self.encoder(torch.stack([frames[number] for number in needed]), parts)
            features |= dict(zip(new, encoded, strict=True))
        self.features = features
        if not keys:
            return next(self.encoder.parameters()).new_zeros(0, self.encoder.config.hidden_sizes[1])
        return torch.stack([features[key] for key in keys])


__all__ = ["remember_features"]
