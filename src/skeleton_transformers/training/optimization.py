"""Parameter groups and learning-rate schedules of the published recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


# Parameters that are no weights of a layer, by the names that all our models use for them.
NO_DECAY_NAMES = frozenset({"bias", "position_embeddings", "cls_token"})


def parameter_groups(model: nn.Module, weight_decay: float, decay_all: bool = False) -> list[dict[str, Any]]:
    """Splits the trainable parameters into those with and those without weight decay.

    Not decayed are all biases, everything that belongs to a LayerNorm, position embeddings and cls tokens, as in the
    pre-training of Hi-TRS (Chen et al., ECCV 2022, released code).

    Args:
        model: network; parameters that do not require a gradient are left out.
        weight_decay: decay of the first group.
        decay_all: put everything into the first group.

    Returns:
        two groups for an optimizer, `[decayed, not decayed]`, in the order of `model.named_parameters()`.
    """
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            free = id(parameter) in norms or name.rpartition(".")[2] in NO_DECAY_NAMES
            (kept if free and not decay_all else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def layer_decay_groups(
    groups: Sequence[dict[str, Any]], model: nn.Module, learning_rate: float, decay: float
) -> list[dict[str, Any]]:
    """Splits parameter groups by depth: the deeper under the head, the lower the learning rate (BEiT, MAE).

    With n layers, layer i (from 0) gets `decay ** (n - i)` of the rate, the embeddings in front of them `decay ** (n + 1)`, and what
    follows the layers, as well as every head, all of it.

    Args:
        groups: of an optimizer; those that have a rate of their own keep their share of it.
        model: a task model whose encoder has `embeddings` and one stack of `layers`.
        learning_rate: rate of groups that have none.
        decay: factor from layer to layer, in (0, 1].

    Raises:
        ValueError: the encoder is built in another way, or `decay` is out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay must be more than 0 and at most 1, got {decay}")
    encoder: Any = getattr(model, "base_model", model)
    if not isinstance(getattr(encoder, "layers", None), nn.ModuleList) or not hasattr(encoder, "embeddings"):
        raise ValueError(
            f"layer_decay={decay} needs an encoder with embeddings and one stack of layers, which {type(encoder).__name__} is not; "
            "leave it at 1"
        )
    depth = len(encoder.layers)
    exponents = {id(parameter): depth + 1 for parameter in encoder.embeddings.parameters()}
    for number, layer in enumerate(encoder.layers):
        exponents |= {id(parameter): depth - number for parameter in layer.parameters()}
    split = []
    for group in groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(exponents.get(id(parameter), 0), []).append(parameter)
        rate = group.get("lr", learning_rate)
        split += [{**group, "params": by_depth[e], "lr": rate * decay**e} for e in sorted(by_depth)]
    return split


def pretraining_factor(
    step: int, warmup_steps: int, total_steps: int, final_factor: float, shape: str = "linear"
) -> float:
    """Factor on the peak learning rate at an optimiser step: linear up from 0, then down, linearly or as half a cosine.

    Args:
        step: optimiser step, 0 for the first one (whose rate is 0 when there is a warm-up).
        warmup_steps: step at which the factor is 1.
        total_steps: step at which the factor is `final_factor`; it stays there.
        final_factor: final rate / peak rate. Hi-TRS: 2e-6 / 4e-4 after 50,000 steps with 1000 steps of warm-up.
        shape: `"linear"`, or `"cosine"` (MAMP, Mao et al., ICCV 2023).
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return final_factor
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    if shape == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return 1.0 + (final_factor - 1.0) * progress


def steps_factor(step: int, warmup_steps: int, decay_steps: Sequence[int]) -> float:
    """Factor on the peak learning rate at a step (or epoch): linear up from 0, then 0.1 for every entry reached.

    Args:
        step: 0 for the first one.
        warmup_steps: step at which the factor is 1.
        decay_steps: steps from which on the rate is a tenth of the one before. HiCo: epoch 351 of 451.
    """
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return warmup * 0.1 ** sum(step >= decay for decay in decay_steps)


def finetuning_factor(epoch: int) -> float:
    """Factor in epoch 1, 2, ... of fine-tuning: 1 up to epoch 20, then halved every 10 epochs, never below 0.0025."""
    return max(0.5 ** max(0, math.ceil((epoch - 20) / 10)), 0.0025)


def from_scratch_factor(epoch: int) -> float:
    """Factor in epoch 1, 2, ... of training from scratch: 1 to epoch 30, .5 to 40, .25 to 50, .125 to 55, .0125 after."""
    for last_epoch, factor in ((30, 1.0), (40, 0.5), (50, 0.25), (55, 0.125)):
        if epoch <= last_epoch:
            return factor
    return 0.0125


def linear_probe_factor(epoch: int) -> float:
    """Factor in epoch 1, 2, ... of a linear probe: 1 up to epoch 100, then halved every 10 epochs, never below 0.01."""
    return max(0.5 ** max(0, math.ceil((epoch - 100) / 10)), 0.01)


EPOCH_FACTORS: dict[str, Callable[[int], float]] = {
    "finetune": finetuning_factor,
    "scratch": from_scratch_factor,
    "linear": linear_probe_factor,
}


def pretraining_schedule(
    optimizer: Optimizer,
    learning_rate: float,
    warmup_steps: int,
    total_steps: int,
    final_learning_rate: float,
    shape: str = "linear",
) -> LambdaLR:
    """Schedule of Hi-TRS pre-training, to be stepped once per optimiser step (see [`pretraining_factor`]).

    Args:
        optimizer: its groups have `lr=learning_rate`.
        learning_rate: peak rate, reached after `warmup_steps`.
        warmup_steps: steps of linear warm-up from 0.
        total_steps: length of the run in optimiser steps, more than `warmup_steps`.
        final_learning_rate: rate at `total_steps`.
        shape: how it falls, `"linear"` or `"cosine"`.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"warmup_steps={warmup_steps} must be at least 0 and less than total_steps={total_steps}")
    return LambdaLR(
        optimizer,
        partial(
            pretraining_factor,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
            final_factor=final_learning_rate / learning_rate,
            shape=shape,
        ),
    )


def step_schedule(optimizer: Optimizer, warmup_steps: int, decay_steps: Sequence[int]) -> LambdaLR:
    """Schedule of HiCo pre-training, to be stepped once per optimiser step (see [`steps_factor`])."""
    return LambdaLR(optimizer, partial(steps_factor, warmup_steps=warmup_steps, decay_steps=tuple(decay_steps)))


__all__ = [
    "EPOCH_FACTORS",
    "NO_DECAY_NAMES",
    "finetuning_factor",
    "from_scratch_factor",
    "layer_decay_groups",
    "linear_probe_factor",
    "parameter_groups",
    "pretraining_factor",
    "pretraining_schedule",
    "step_schedule",
    "steps_factor",
]
