"""What a self-supervised objective tells the script that trains it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from .data.pretraining_collators import PreTrainingCollator


class PreTrainingObjective:
    """Put it in front of the base class of a family, and name the collator and the tasks.

    ```python
    class HiTRSForPreTraining(PreTrainingObjective, HiTRSPreTrainedModel):
        collator_class = HiTRSPreTrainingCollator
        tasks = {"spatial_loss_weight": ("spatial_loss", "spatial_error"), ...}
    ```

    Attributes:
        collator_class: makes the batches that `forward` takes; it also says which items they are made of.
        tasks: name of a task's weight in the configuration -> fields of the output that it fills. A task with weight 0 is
            not computed.
    """

    collator_class: ClassVar[type[PreTrainingCollator]]
    tasks: ClassVar[Mapping[str, tuple[str, ...]]]
    config: Any
    # The loss is a plain mean; without this the Trainer takes it for a sum that it has to normalise itself.
    accepts_loss_kwargs = False

    @property
    def metrics(self) -> list[str]:
        """Fields of the output to report: the loss, and what the tasks that are switched on fill."""
        return [
            "loss",
            *(name for weight in self.tasks if getattr(self.config, weight) for name in self.tasks[weight]),
        ]

    @property
    def has_idle_parameters(self) -> bool:
        """Whether a task is switched off, which leaves its head without a gradient."""
        return not all(getattr(self.config, weight) for weight in self.tasks)

    def before_training(self, num_steps: int) -> None:
        """Called in every process before a run of `num_steps` optimiser steps, for what changes over its length."""

    def after_optimizer_step(self) -> None:
        """Called in every process after every optimiser step, for what follows the parameters, such as a teacher."""

    def published(self, state_dict: dict[str, torch.Tensor]) -> tuple[Any, dict[str, torch.Tensor]]:
        """What a run leaves behind: a model and its weights, out of all weights of this one. By default all of it."""
        return self, state_dict


__all__ = ["PreTrainingObjective"]
