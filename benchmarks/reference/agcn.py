"""2s-AGCN (Shi et al., CVPR 2019), plainly: Sec. 3.2 and 3.3."""

import torch
from torch import nn

from .stgcn import Convolution


class AdaptiveGraph(nn.Module):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        self.embedding = outputs // config.embedding_factor
        self.learnt_graph = nn.Parameter(torch.zeros(3, config.num_joints, config.num_joints))
        self.source = nn.ModuleList([nn.Conv2d(inputs, self.embedding, 1) for _ in range(3)])
        self.target = nn.ModuleList([nn.Conv2d(inputs, self.embedding, 1) for _ in range(3)])
        self.output = nn.ModuleList([nn.Conv2d(inputs, outputs, 1) for _ in range(3)])
        self.norm = nn.BatchNorm2d(outputs)
        self.residual = Convolution(inputs, outputs, 1, 1) if inputs != outputs else None

    def forward(self, x, graph):
        tracks, channels, frames, joints = x.shape
        total = None
        for k in range(3):
            source = self.source[k](x).permute(0, 3, 1, 2).contiguous().view(tracks, joints, self.embedding * frames)
            target = self.target[k](x).view(tracks, self.embedding * frames, joints)
            likeness = torch.softmax(source @ target / (self.embedding * frames), dim=-2)
            mixed = x.view(tracks, channels * frames, joints) @ (likeness + graph[k] + self.learnt_graph[k])
            received = self.output[k](mixed.view(tracks, channels, frames, joints))
            total = received if total is None else total + received
        return torch.relu(self.norm(total) + (x if self.residual is None else self.residual(x)))


class Unit(nn.Module):
    def __init__(self, config, inputs, outputs, stride, is_first):
        super().__init__()
        self.graph = AdaptiveGraph(config, inputs, outputs)
        self.temporal = Convolution(outputs, outputs, config.temporal_kernel_size, stride)
        self.is_first = is_first
        self.residual = None
        if not is_first and (inputs != outputs or stride != 1):
            self.residual = Convolution(inputs, outputs, 1, stride)

    def forward(self, x, graph):
        h = self.temporal(self.graph(x, graph))
        if self.is_first:
            return torch.relu(h)
        return torch.relu(h + (x if self.residual is None else self.residual(x)))


class PlainAGCN(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.register_buffer("graph", torch.zeros(3, config.num_joints, config.num_joints))
        self.input_norm = nn.BatchNorm1d(config.num_joints * config.num_channels)
        sizes = [config.num_channels, *config.hidden_sizes]
        self.layers = nn.ModuleList(
            [
                Unit(config, sizes[number], sizes[number + 1], stride, number == 0)
                for number, stride in enumerate(config.strides)
            ]
        )

    def forward(self, keypoints, frame_mask):
        """(batch, persons, frames, joints, channels), 0 where absent -> (batch, dim), the mean over all frames and bodies"""
        batch, persons, frames, joints, channels = keypoints.shape
        x = self.input_norm(keypoints.flatten(0, 1).flatten(2).transpose(1, 2))  # (tracks, joints * channels, frames)
        x = x.view(batch * persons, joints, channels, frames).permute(0, 2, 3, 1).contiguous()
        for layer in self.layers:
            x = layer(x, self.graph)
        return x.mean(dim=(2, 3)).view(batch, persons, -1).mean(1)
