"""Less memory for long batches, at the price of computing their activations twice."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_long_batches(model: PreTrainedModel, num_frames: int) -> None:
    """Lets a model keep only what goes into its layers, where a batch is long, and compute the rest again in the backward pass.

    Gradients stay the same. Batches decide one by one, so that memory is bounded by the long ones while short ones take no more time
    than before. Running statistics of batch norms see a batch twice that is computed twice.

    Args:
        model: any model of the package; its batches come as keyword arguments.
        num_frames: batches with so many frames or more, those of all persons and of padding counted, are computed twice.
    """
    # transformers 5.17 has the second name only, later ones deprecate it.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]

    def choose(module: nn.Module, arguments: Any, batch: dict[str, Any]) -> None:
        is_long = batch["keypoints"].shape[:3].numel() >= num_frames
        for layer in layers:
            layer.gradient_checkpointing = is_long

    model.register_forward_pre_hook(choose, with_kwargs=True)


__all__ = ["recompute_long_batches"]
