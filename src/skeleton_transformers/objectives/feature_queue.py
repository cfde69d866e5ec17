"""A queue of features of earlier batches, the negatives of a contrast (MoCo, He et al., CVPR 2020)."""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization as init

from .gather import gather_rows


class FeatureQueue(nn.Module):
    """The newest features of all processes, first in, first out. It starts as random unit vectors.

    The contents are buffers: a checkpoint of the training state has them, and they are the same on every process.

    Args:
        size: number of features, at least 1; the number that is pushed at a time need not divide it.
        dim: width of a feature.
        refreshed: only so many features, the first ones, are ever replaced; default all. Fewer than `size` reproduce the
            pointer of HiCo's released code, where most of a long queue stays random for ever.
    """

    features: torch.Tensor
    pointer: torch.Tensor

    def __init__(self, size: int, dim: int, refreshed: int | None = None):
        super().__init__()
        if size < 1 or dim < 1 or not 1 <= (refreshed or size) <= size:
            raise ValueError(
                f"a queue needs size and dim of at least 1 and refreshed <= size; got {size, dim, refreshed}"
            )
        self.refreshed = refreshed or size
        self.register_buffer("features", torch.empty(size, dim))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random unit vectors; entries that were loaded from a checkpoint stay."""
        init.copy_(self.features, nn.functional.normalize(torch.randn_like(self.features), dim=1))
        init.zeros_(self.pointer)

    def candidates(self) -> torch.Tensor:
        """The features `(size, dim)`, as a copy: what is pushed before the backward pass must not change them."""
        return self.features.clone()

    @torch.no_grad()
    def push(self, features: torch.Tensor) -> None:
        """Replaces the oldest features by those of all processes, in the order of ranks.

        Args:
            features: `(n, dim)`, of any length, normalised here; the same `n` on every process. Of more than fit the
                last ones are kept.
        """
        rows = gather_rows(nn.functional.normalize(features.detach().float(), dim=1))
        kept = torch.arange(max(0, len(rows) - self.refreshed), len(rows), device=rows.device)
        self.features.index_copy_(0, (self.pointer + kept) % self.refreshed, rows[kept].to(self.features.dtype))
        self.pointer.add_(len(rows)).remainder_(self.refreshed)


__all__ = ["FeatureQueue"]
