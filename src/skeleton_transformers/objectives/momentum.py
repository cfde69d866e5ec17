"""The momentum encoder, also called teacher: a copy that follows the trained network slowly (MoCo, BYOL, data2vec)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import initialization as init


@dataclass(frozen=True)
class MomentumSchedule:
    """A momentum that changes with the number of updates, from `start` to `end`, and then stays.

    Args:
        start: momentum of the first update, in [0, 1].
        end: momentum after `steps` updates, in [0, 1].
        steps: number of updates on the way, at least 1.
        shape: `"linear"` (I-JEPA) or half a `"cosine"` (BYOL).
    """

    start: float
    end: float
    steps: int
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1 and self.steps >= 1):
            raise ValueError(f"momenta lie in [0, 1] and there is at least one step; got {self}")
        if self.shape not in ("linear", "cosine"):
            raise ValueError(f"shape must be 'linear' or 'cosine', got {self.shape!r}")

    def __call__(self, update: int) -> float:
        """Momentum of an update, 0 for the first one."""
        progress = min(update / self.steps, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * progress


class MomentumEncoder(nn.Module):
    """A copy of a network whose parameters follow it: `copy <- m * copy + (1 - m) * network`. It gets no gradient.

    When it follows is the owner's choice: before it encodes a batch (HiCo), or after every optimiser step (see
    `after_optimizer_step` of [`PreTrainingObjective`]). In training mode its dropout is on.

    Args:
        network: what to copy and to follow; it is not kept.
        momentum: m, in [0, 1], or a schedule.
    """

    num_updates: torch.Tensor

    def __init__(self, network: nn.Module, momentum: float | MomentumSchedule = 0.999):
        super().__init__()
        if not isinstance(momentum, MomentumSchedule) and not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], got {momentum}")
        self.momentum = momentum
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("num_updates", torch.zeros(1, dtype=torch.int64))

    def restart(self, network: nn.Module) -> None:
        """Becomes a copy again; entries that were loaded from a checkpoint stay."""
        for own, other in self._pairs(network):
            init.copy_(own, other)
        init.zeros_(self.num_updates)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """One update of the parameters; buffers are copied.

        Args:
            network: the network that was copied.
        """
        momentum = self.momentum
        if isinstance(momentum, MomentumSchedule):
            momentum = momentum(int(self.num_updates))
        for own, other in self._pairs(network):
            if isinstance(other, nn.Parameter):
                own.mul_(momentum).add_(other, alpha=1 - momentum)
            else:
                own.copy_(other)
        self.num_updates += 1

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the copy, without gradient."""
        return self.network(*args, **kwargs)

    def _pairs(self, network: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
        others = [*network.parameters(), *network.buffers()]
        return list(zip([*self.network.parameters(), *self.network.buffers()], others, strict=True))


__all__ = ["MomentumEncoder", "MomentumSchedule"]
