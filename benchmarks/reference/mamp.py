"""The encoder of MAMP (Mao et al., ICCV 2023), plainly: Sec. 3.2."""

import torch
from torch import nn
from torch.nn.functional import gelu


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config.hidden_size
        self.heads = config.num_attention_heads
        self.layernorm_attention = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.attention = nn.ModuleDict({"query_key_value": nn.Linear(dim, 3 * dim), "output": nn.Linear(dim, dim)})
        self.layernorm_output = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(dim, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, dim)

    def forward(self, x):
        h = self.attention["query_key_value"](self.layernorm_attention(x))
        q, k, v = h.view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = x + self.attention["output"]((weights @ v).transpose(1, 2).flatten(2))
        return x + self.output(gelu(self.intermediate(self.layernorm_output(x))))


class PlainMAMP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        dim, length = config.hidden_size, config.segment_length
        self.embeddings = nn.Module()
        self.embeddings.projection = nn.Linear(length * config.num_channels, dim)
        self.embeddings.positions = nn.Module()
        self.embeddings.positions.joint_embeddings = nn.Parameter(torch.zeros(config.num_joints, dim))
        self.embeddings.positions.segment_embeddings = nn.Parameter(torch.zeros(config.num_frames // length, dim))
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.num_layers)])
        self.layernorm = nn.LayerNorm(dim, eps=config.layer_norm_eps)

    def forward(self, keypoints, frame_mask):
        """(batch, persons, num_frames, joints, channels), 0 where absent -> (batch, dim), the mean over all tokens"""
        batch, length = len(keypoints), self.config.segment_length
        segments = keypoints.flatten(0, 1).unflatten(1, (-1, length)).transpose(2, 3).flatten(3)
        positions = self.embeddings.positions
        x = self.embeddings.projection(segments) + positions.joint_embeddings + positions.segment_embeddings[:, None]
        x = x.flatten(1, 2)  # (bodies, segments * joints, dim)
        for layer in self.layers:
            x = layer(x)
        return self.layernorm(x).view(batch, -1, x.shape[-1]).mean(1)
