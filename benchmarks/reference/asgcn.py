"""The branch of AS-GCN (Li et al., CVPR 2019) that recognises, plainly: Sec. 3.1 for the action links, 3.2 and 3.3 for the rest."""

import torch
from torch import nn
from torch.nn.functional import elu, one_hot

from .stgcn import Convolution


class LinkMLP(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.dense, self.output, self.norm = (
            nn.Linear(inputs, hidden),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
        )

    def forward(self, x):
        x = elu(self.output(elu(self.dense(x))))
        return self.norm(x.flatten(0, 1)).view(x.shape)


class LinkInference(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, joints = config.link_hidden_size, config.num_joints
        self.types, self.joints, self.scale = config.num_link_types, joints, config.link_scale
        self.node = LinkMLP(config.link_frames * config.num_channels, hidden)
        self.pair = LinkMLP(2 * hidden, hidden)
        self.second_node = LinkMLP(hidden, hidden)
        self.second_pair = LinkMLP(3 * hidden, hidden)
        self.output = nn.Linear(hidden, 1 + self.types)
        self.sender, self.receiver = (~torch.eye(joints, dtype=torch.bool)).nonzero().T

    def forward(self, frames):
        """(tracks, frames, joints, channels) -> (tracks, types, joints, joints)"""
        sends, receives = (one_hot(ends, self.joints).to(frames) for ends in (self.sender, self.receiver))
        nodes = self.node(frames.transpose(1, 2).flatten(2))
        pairs = self.pair(torch.cat([receives @ nodes, sends @ nodes], dim=-1))
        nodes = self.second_node(receives.T @ pairs / self.joints)
        logits = self.output(self.second_pair(torch.cat([receives @ nodes, sends @ nodes, pairs], dim=-1)))
        edges = one_hot(logits.argmax(dim=-1), 1 + self.types).to(frames)
        links = []
        for kind in range(1, 1 + self.types):
            link = sends.T @ (edges[:, :, kind : kind + 1] * receives) + torch.eye(self.joints)
            links.append(self.scale * link * (1 / link.sum(dim=1, keepdim=True) + 1e-10))
        return torch.stack(links, dim=1)


class Block(nn.Module):
    def __init__(self, config, inputs, outputs, stride, is_first):
        super().__init__()
        self.structural, self.types = config.num_subsets, config.num_link_types
        self.graph = nn.Module()
        self.graph.conv = nn.Conv2d(inputs, outputs * (self.structural + self.types), 1)
        self.graph.edge_importance = nn.Parameter(torch.ones(self.structural, config.num_joints, config.num_joints))
        self.graph_norm = nn.BatchNorm2d(outputs)
        self.temporal = Convolution(outputs, outputs, config.temporal_kernel_size, stride)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.is_first = is_first
        self.residual = None
        if not is_first and (inputs != outputs or stride != 1):
            self.residual = Convolution(inputs, outputs, 1, stride)

    def forward(self, x, graph, links):
        structural, actional = (
            self.graph.conv(x)
            .unflatten(1, (self.structural + self.types, -1))
            .split([self.structural, self.types], dim=1)
        )
        h = torch.einsum("nkctv,kvw->nctw", structural, graph * self.graph.edge_importance)
        h = h + torch.einsum("nkctv,nkvw->nctw", actional, links)
        h = self.dropout(self.temporal(torch.relu(self.graph_norm(h))))
        if self.is_first:
            return torch.relu(h)
        return torch.relu(h + (x if self.residual is None else self.residual(x)))


class PlainASGCN(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("graph", torch.zeros(config.num_subsets, config.num_joints, config.num_joints))
        self.link_inference = LinkInference(config)
        self.input_norm = nn.BatchNorm1d(config.num_joints * config.num_channels)
        sizes = [config.num_channels, *config.hidden_sizes]
        self.layers = nn.ModuleList(
            [
                Block(config, sizes[number], sizes[number + 1], stride, number == 0)
                for number, stride in enumerate(config.strides)
            ]
        )

    def link_frames(self, tracks, lengths):
        """The first 50 frames of short tracks, over and over; of long ones 50 spread over all but the last ten."""
        count, margin = self.config.link_frames, self.config.future_frames
        chosen = []
        for track, length in zip(tracks, lengths.tolist(), strict=True):
            if length > count + margin:
                usable = length - margin
                places = [k * usable // count + (-(-usable // count) - 1) // 2 for k in range(count)]
            else:
                places = [k % max(1, length) for k in range(count)]
            chosen.append(track[places])
        return torch.stack(chosen)

    def forward(self, keypoints, frame_mask):
        """(batch, persons, frames, joints, channels), 0 where absent -> (batch, dim), the mean over all frames and bodies"""
        batch, persons, frames, joints, channels = keypoints.shape
        tracks = keypoints.flatten(0, 1)
        with torch.no_grad():
            links = self.link_inference(self.link_frames(tracks, frame_mask.flatten(0, 1).sum(dim=1)))
        links = self.config.action_link_weight * links
        x = self.input_norm(tracks.flatten(2).transpose(1, 2))  # (tracks, joints * channels, frames)
        x = x.view(batch * persons, joints, channels, frames).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x, self.graph, links)
        return x.mean(dim=(2, 3)).view(batch, persons, -1).mean(1)
