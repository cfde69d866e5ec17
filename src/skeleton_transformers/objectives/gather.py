"""Gathering over the processes of a distributed run, with the right gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


class _AllGather(torch.autograd.Function):
    """All ranks' rows, in the order of ranks.

    Each rank adds its share to the gradient of every row. DistributedDataParallel afterwards averages the gradients of
    the parameters over the ranks, so the shares are summed here, not averaged.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.num_rows = rows.shape[0]
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, op=dist.ReduceOp.SUM)
        return gradient.narrow(0, dist.get_rank() * ctx.num_rows, ctx.num_rows)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenates the rows of all ranks, differentiably; the input itself where there is only one process.

    Args:
        rows: `(n, ...)`, the same shape on every rank.

    Returns:
        `(ranks * n, ...)`; the rows of this rank start at [`rank_offset`].
    """
    if not is_distributed():
        return rows
    return _AllGather.apply(rows)


def rank_offset(num_rows: int) -> int:
    """Index of this rank's first row in the result of [`gather_rows`]."""
    return dist.get_rank() * num_rows if is_distributed() else 0


@torch.no_grad()
def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Mean of a number over all processes, in float32 and without gradient.

    A sum divided by the mean count of all processes, averaged over the processes as DistributedDataParallel averages gradients,
    is the mean over everything that all of them counted.
    """
    value = value.detach().float()
    if not is_distributed():
        return value
    value = value.clone()
    dist.all_reduce(value, op=dist.ReduceOp.SUM)
    return value / dist.get_world_size()


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


__all__ = ["gather_rows", "is_distributed", "mean_over_processes", "rank_offset"]
