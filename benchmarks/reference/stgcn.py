"""ST-GCN (Yan et al., AAAI 2018), plainly: Sec. 3.4."""

import torch
from torch import nn


class Convolution(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, config, inputs, outputs, stride, is_first):
        super().__init__()
        self.graph = nn.Module()
        self.graph.conv = nn.Conv2d(inputs, outputs * config.num_subsets, 1)
        self.graph.edge_importance = nn.Parameter(torch.ones(config.num_subsets, config.num_joints, config.num_joints))
        self.graph_norm = nn.BatchNorm2d(outputs)
        self.temporal = Convolution(outputs, outputs, config.temporal_kernel_size, stride)
        self.dropout = nn.Dropout(0.0 if is_first else config.hidden_dropout_prob)
        self.is_first = is_first
        self.residual = None
        if not is_first and (inputs != outputs or stride != 1):
            self.residual = Convolution(inputs, outputs, 1, stride)

    def forward(self, x, graph):
        subsets = self.graph.conv(x).unflatten(1, (len(graph), -1))
        h = torch.einsum("nkctv,kvw->nctw", subsets, graph * self.graph.edge_importance)
        h = self.dropout(self.temporal(torch.relu(self.graph_norm(h))))
        if self.is_first:
            return torch.relu(h)
        return torch.relu(h + (x if self.residual is None else self.residual(x)))


class PlainSTGCN(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.register_buffer("graph", torch.zeros(config.num_subsets, config.num_joints, config.num_joints))
        self.input_norm = nn.BatchNorm1d(config.num_joints * config.num_channels)
        sizes = [config.num_channels, *config.hidden_sizes]
        self.layers = nn.ModuleList(
            [
                Block(config, sizes[number], sizes[number + 1], stride, number == 0)
                for number, stride in enumerate(config.strides)
            ]
        )

    def forward(self, keypoints, frame_mask):
        """(batch, persons, frames, joints, channels), 0 where absent -> (batch, dim), the mean over all frames and bodies"""
        batch, persons, frames, joints, channels = keypoints.shape
        x = self.input_norm(keypoints.flatten(0, 1).flatten(2).transpose(1, 2))  # (tracks, joints * channels, frames)
        x = x.view(batch * persons, joints, channels, frames).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x, self.graph)
        return x.mean(dim=(2, 3)).view(batch, persons, -1).mean(1)
