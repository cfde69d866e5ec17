"""What the graph networks are built of: tracks of persons, normalisation that knows which frames are there, and blocks.

Inside the networks a batch is a set of tracks, one for each person who is there, as convolutions want them:
`(tracks, channels, frames, joints)`. A frame in which a person is absent is 0 in front of every convolution over time, which is
how a convolution sees what lies beyond the ends of a sequence.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..modeling_inputs import check_inputs, is_exporting, pack, unpack


@dataclass
class Tracks:
    """The persons of a batch.

    Args:
        keypoints: `(tracks, frames, joints, channels)`, 0 where a person is absent.
        mask: bool `(tracks, frames)`, True where the person is there; None where all of them always are.
        chosen: bool `(batch, persons)`, which person of which sample is a track; in this order.
    """

    keypoints: torch.Tensor
    mask: torch.Tensor | None
    chosen: torch.Tensor


def make_tracks(config: Any, keypoints: torch.Tensor, frame_mask: torch.Tensor | None) -> Tracks:
    """Checks what a model is given and takes the persons out of it.

    With `config.ignore_absent_person`, the tracks are the persons who are ever there. Without, all person slots are, and
    everything in the batch counts as there, as in the released codes; each person slot is brought to `config.padded_frames`
    frames, with zeros or by repetition of the person's frames.

    Args:
        config: configuration of a graph network.
        keypoints: `(batch, persons, frames, joints, channels)`.
        frame_mask: bool `(batch, persons, frames)`, or None.

    Raises:
        ValueError: the shapes do not fit, or nobody is present in a sample.
    """
    frame_mask, _ = check_inputs(config, keypoints, frame_mask)
    keypoints = keypoints.masked_fill(~frame_mask[..., None, None], 0)
    if config.ignore_absent_person:
        chosen = frame_mask.any(dim=2)
        mask = pack(frame_mask, chosen)
        is_complete = not is_exporting() and bool(mask.all())
        return Tracks(pack(keypoints, chosen), None if is_complete else mask, chosen)
    if config.padded_frames is not None:
        keypoints = pad_to(keypoints, frame_mask, config.padded_frames, repeat=config.padding == "repeat")
    chosen = torch.ones_like(frame_mask[:, :, 0])
    return Tracks(keypoints.flatten(0, 1), None, chosen)


def pad_to(keypoints: torch.Tensor, frame_mask: torch.Tensor, length: int, repeat: bool) -> torch.Tensor:
    """Brings sequences to a length: longer ones are cut, shorter ones continued.

    Args:
        keypoints: `(batch, persons, frames, joints, channels)`, 0 where a person is absent.
        frame_mask: bool `(batch, persons, frames)`.
        length: frames wanted.
        repeat: continue with the person's frames from the first to the last one in which she is there, over and over;
            otherwise with zeros.
    """
    if not repeat:
        return nn.functional.pad(keypoints, (0, 0, 0, 0, 0, length))[:, :, :length]
    places = torch.arange(1, frame_mask.shape[2] + 1, device=keypoints.device)
    ends = (frame_mask * places).amax(dim=2, keepdim=True).clamp(min=1)  # (batch, persons, 1)
    frames = torch.arange(length, device=keypoints.device) % ends  # (batch, persons, length)
    return keypoints.gather(2, frames[..., None, None].expand(-1, -1, -1, *keypoints.shape[3:]))


def stride_mask(mask: torch.Tensor | None, stride: int) -> torch.Tensor | None:
    """Mask of the steps behind a convolution with a stride: a step is there where any of its `stride` frames is."""
    if mask is None or stride == 1:
        return mask
    missing = -mask.shape[1] % stride
    return nn.functional.pad(mask, (0, missing)).unflatten(1, (-1, stride)).any(dim=2)


def pool_tracks(
    states: torch.Tensor, mask: torch.Tensor | None, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Averages over joints, then over the steps that are there, then over the persons who are there.

    Args:
        states: `(tracks, channels, steps, joints)`, 0 where `mask` is False.
        mask: bool `(tracks, steps)` or None.
        chosen: bool `(batch, persons)` of [`Tracks`].

    Returns:
        `(batch, persons, steps, channels)`, mean over joints; bool `(batch, persons, steps)`, which of them are there;
        `(batch, channels)`.
    """
    steps = states.mean(dim=3).transpose(1, 2)  # (tracks, steps, channels)
    if mask is None:
        mask = steps.new_ones(steps.shape[:2], dtype=torch.bool)
    tracks = steps.sum(dim=1) / mask.sum(dim=1, keepdim=True)
    persons = unpack(tracks, chosen)
    pooled = persons.sum(dim=1) / chosen.sum(dim=1, keepdim=True)
    return unpack(steps, chosen), unpack(mask, chosen), pooled


class FrameBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the frames that are there; the others become 0."""

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`(tracks, channels, frames, joints)` -> the same; `mask` bool `(tracks, frames)`."""
        if mask is None:
            return super().forward(states)
        if not self.training:
            return super().forward(states) * mask[:, None, :, None]
        frames = super().forward(states.transpose(1, 2)[mask][:, :, None])[:, :, 0]  # (frames, channels, joints)
        result = frames.new_zeros(states.shape[0], states.shape[2], states.shape[1], states.shape[3])
        result[mask] = frames
        return result.transpose(1, 2)


class InputNorm(FrameBatchNorm):
    """Normalises every channel of every joint, over time and over the batch."""

    def forward(self, keypoints: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """`(tracks, frames, joints, channels)` -> `(tracks, channels, frames, joints)`."""
        values = keypoints.flatten(2).transpose(1, 2)[..., None]  # (tracks, joints * channels, frames, 1)
        values = super().forward(values, mask)[..., 0].unflatten(1, keypoints.shape[2:])
        return values.permute(0, 2, 3, 1)  # (tracks, joints, channels, frames) -> (tracks, channels, frames, joints)


class TemporalConvolution(nn.Module):
    """Convolution along the track of every joint, and batch normalisation."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, stride: int, padded: bool = True):
        super().__init__()
        padding = (kernel_size // 2 if padded else 0, 0)
        self.conv = nn.Conv2d(input_size, output_size, (kernel_size, 1), (stride, 1), padding)
        self.norm = FrameBatchNorm(output_size)

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`(tracks, channels, frames, joints)`; `mask` is that of the result."""
        return self.norm(self.conv(states), mask)


def make_residual(input_size: int, output_size: int, stride: int) -> nn.Module | None:
    """What a residual connection needs where it changes the shape; None where it changes nothing."""
    if input_size == output_size and stride == 1:
        return None
    return TemporalConvolution(input_size, output_size, 1, stride)


class PartitionedGraphConvolution(nn.Module):
    """A weight for each subset of neighbours, and a learnable importance of each edge.

    The last `num_link_types` subsets have no fixed graph; theirs comes with the input (AS-GCN).
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        num_subsets: int,
        num_joints: int,
        edge_importance: bool = True,
        num_link_types: int = 0,
        transposed: bool = False,
    ):
        super().__init__()
        self.num_subsets = num_subsets
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = kind(input_size, output_size * (num_subsets + num_link_types), 1)
        self.edge_importance: nn.Parameter | None = None
        if edge_importance:
            self.edge_importance = nn.Parameter(torch.ones(num_subsets, num_joints, num_joints))

    def forward(self, states: torch.Tensor, graph: torch.Tensor, links: torch.Tensor | None = None) -> torch.Tensor:
        """Sums up what every joint receives.

        Args:
            states: `(tracks, input_size, frames, joints)`.
            graph: `(num_subsets, joints, joints)`.
            links: `(tracks, num_link_types, joints, joints)`.
        """
        if self.edge_importance is not None:
            graph = graph * self.edge_importance
        if links is not None:
            graph = torch.cat([graph.expand(links.shape[0], -1, -1, -1), links], dim=1)
        values = self.conv(states).unflatten(
            1, (graph.shape[-3], -1)
        )  # (tracks, subsets, output_size, frames, joints)
        # What a joint receives is one sum over subsets and sources together, so one matrix product.
        sources = values.permute(0, 2, 3, 1, 4).flatten(3)  # (tracks, output_size, frames, subsets * joints)
        graph = graph.flatten(-3, -2)
        if links is None:
            return sources @ graph
        return (sources.flatten(1, 2) @ graph).unflatten(1, sources.shape[1:3])  # every track has a graph of its own


class GraphBlock(nn.Module):
    """Graph convolution, convolution over time, residual connection (ST-GCN, Sec. 3.4).

    Families make it their layer by putting `GradientCheckpointingLayer` in front.

    Args:
        graph: maps `input_size` to `output_size` channels.
        input_size: channels of the input.
        output_size: channels of the output.
        kernel_size: frames that the convolution over time sees.
        stride: of the convolution over time.
        dropout: share of values to drop behind the convolution over time.
        residual: whether there is a residual connection.
        padded: whether the convolution over time is padded with zeros.
    """

    def __init__(
        self,
        graph: nn.Module,
        input_size: int,
        output_size: int,
        kernel_size: int,
        stride: int,
        dropout: float,
        residual: bool = True,
        padded: bool = True,
    ):
        super().__init__()
        self.graph = graph
        self.graph_norm = FrameBatchNorm(output_size)
        self.temporal = TemporalConvolution(output_size, output_size, kernel_size, stride, padded)
        self.dropout = nn.Dropout(dropout)
        self.has_residual = residual
        self.residual = make_residual(input_size, output_size, stride) if residual else None

    def forward(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None,
        next_mask: torch.Tensor | None,
        graph: torch.Tensor,
        links: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`(tracks, input_size, frames, joints)` -> `(tracks, output_size, steps, joints)`; masks of frames and of steps."""
        hidden = self.graph(states, graph) if links is None else self.graph(states, graph, links)
        hidden = torch.relu(self.graph_norm(hidden, mask))
        hidden = self.dropout(self.temporal(hidden, next_mask))
        if self.has_residual:
            hidden = hidden + (states if self.residual is None else self.residual(states, next_mask))
        return torch.relu(hidden)


__all__ = [
    "FrameBatchNorm",
    "GraphBlock",
    "InputNorm",
    "PartitionedGraphConvolution",
    "TemporalConvolution",
    "Tracks",
    "make_residual",
    "make_tracks",
    "pad_to",
    "pool_tracks",
    "stride_mask",
]
