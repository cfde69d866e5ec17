"""The encoder of HiCo (Dong et al., AAAI 2023) with transformers, plainly: Sec. 3.2."""

import torch
from torch import nn
from torch.nn.functional import max_pool1d


class Embeddings(nn.Module):
    def __init__(self, config, inputs):
        super().__init__()
        dim = config.branch_size
        self.dense, self.layer_norm = nn.Linear(inputs, dim), nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.output = nn.Linear(dim, dim)

    def forward(self, x):
        return self.output(torch.relu(self.layer_norm(self.dense(x))))


class Downsampling(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, kernel = config.branch_size, config.downsampling_kernel_size
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.layer_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)

    def forward(self, x):
        x = torch.relu(self.layer_norm(self.conv(x.transpose(1, 2)).transpose(1, 2)))
        return max_pool1d(x.transpose(1, 2), 2).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config.branch_size
        self.heads = config.num_attention_heads
        self.attention = nn.ModuleDict({"query_key_value": nn.Linear(dim, 3 * dim), "output": nn.Linear(dim, dim)})
        self.layernorm_attention = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(dim, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, dim)
        self.layernorm_output = nn.LayerNorm(dim, eps=config.layer_norm_eps)

    def forward(self, x):
        q, k, v = self.attention["query_key_value"](x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = self.layernorm_attention(x + self.attention["output"]((weights @ v).transpose(1, 2).flatten(2)))
        return self.layernorm_output(x + self.output(torch.relu(self.intermediate(x))))


class Branch(nn.Module):
    def __init__(self, config, inputs):
        super().__init__()
        self.granularities = config.num_granularities
        self.embeddings, self.downsampling = Embeddings(config, inputs), Downsampling(config)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([Layer(config) for _ in range(config.num_layers)])

    def forward(self, x):
        x, vectors = self.embeddings(x), []
        for granularity in range(self.granularities):
            x = self.downsampling(x) if granularity else x
            encoded = x
            for layer in self.encoder.layers:
                encoded = layer(encoded)
            vectors.append(encoded.amax(dim=1))
        return torch.cat(vectors, dim=1)


class PlainHiCo(nn.Module):
    def __init__(self, config):
        super().__init__()
        bodies = config.num_persons * config.num_joints
        self.temporal = Branch(config, bodies * config.num_channels)
        self.spatial = Branch(config, config.num_frames * config.num_channels)

    def forward(self, keypoints, frame_mask):
        """(batch, num_persons, num_frames, joints, channels) -> (batch, 2 * granularities * dim)"""
        in_time = keypoints.transpose(1, 2).flatten(2)  # (batch, frames, persons * joints * channels)
        in_space = (
            keypoints.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
        )  # (batch, persons * joints, frames * channels)
        return torch.cat([self.temporal(in_time), self.spatial(in_space)], dim=1)
