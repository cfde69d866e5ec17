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
        has_sources: keep beside each feature the number of the sequence that it comes from.
    """

    features: torch.Tensor
    pointer: torch.Tensor
    sources: torch.Tensor | None

    def __init__(self, size: int, dim: int, refreshed: int | None = None, has_sources: bool = False):
        super().__init__()
        if size < 1 or dim < 1 or not 1 <= (refreshed or size) <= size:
            raise ValueError(
                f"a queue needs size and dim of at least 1 and refreshed <= size; got {size, dim, refreshed}"
            )
        self.refreshed = refreshed or size
        self.register_buffer("features", torch.empty(size, dim))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("sources", torch.empty(size, dtype=torch.int64) if has_sources else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random unit vectors; entries that were loaded from a checkpoint stay."""
        init.copy_(self.features, nn.functional.normalize(torch.randn_like(self.features), dim=1))
        init.zeros_(self.pointer)
        if self.sources is not None:
            init.constant_(self.sources, -1)

    def candidates(self) -> torch.Tensor:
        """The features `(size, dim)`, as a copy: what is pushed before the backward pass must not change them."""
        return self.features.clone()

    def come_from(self, sources: torch.Tensor) -> torch.Tensor:
        """Which features come from which sequence: bool `(n, size)` for the numbers `(n,)` of sequences, 0 and more."""
        if self.sources is None:
            raise ValueError("this queue does not know where its features come from; make it with has_sources=True")
        return sources[:, None] == self.sources

    @torch.no_grad()
    def push(self, features: torch.Tensor, sources: torch.Tensor | None = None) -> None:
        """Replaces the oldest features by those of all processes, in the order of ranks.

        Args:
            features: `(n, dim)`, of any length, normalised here; the same `n` on every process. Of more than fit the
                last ones are kept.
            sources: int64 `(n,)`, with `has_sources`: the numbers of the sequences that they come from.
        """
        rows = gather_rows(nn.functional.normalize(features.detach().float(), dim=1))
        kept = torch.arange(max(0, len(rows) - self.refreshed), len(rows), device=rows.device)
        places = (self.pointer + kept) % self.refreshed
        self.features.index_copy_(0, places, rows[kept].to(self.features.dtype))
        if self.sources is not None:
            if sources is None:
                raise ValueError("this queue remembers where its features come from; push them with their sources")
            self.sources.index_copy_(0, places, gather_rows(sources)[kept])
        self.pointer.add_(len(rows)).remainder_(self.refreshed)


__all__ = ["FeatureQueue"]
