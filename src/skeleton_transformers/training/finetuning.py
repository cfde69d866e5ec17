"""What a fine-tuning recipe holds, and the model and the trainer that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import AutoConfig, Trainer

from ..data.datasets import EpochSampler, TokenBatchSampler
from ..models.families import get_family
from ..skeletons import SkeletonLayout
from .optimization import EPOCH_FACTORS, layer_decay_groups, parameter_groups, steps_factor
from .recipes import Recipe, RecipeError, build_model_config


@dataclass
class TrainingSection:
    """How to train; the defaults are the published fine-tuning recipe of Hi-TRS (128 sequences per step, 70 epochs).

    Args:
        mode: `finetune` or `scratch` (these differ in the schedule) train everything, `linear` trains the head only, on an
            encoder in evaluation mode.
        optimizer: `adamw`, or `sgd` with `sgd_momentum`.
        sgd_momentum: momentum of SGD.
        encoder_learning_rate: rate of the encoder, where it differs from the one of the head.
        head_steps: with mode `finetune`, optimiser steps before all others in which the head alone learns, on an encoder in evaluation
            mode: a head that knows nothing yet bends good features out of shape (Kumar et al., "Fine-tuning can distort pretrained
            features and underperform out-of-distribution", ICLR 2022). The other modes have none.
        head_learning_rate: rate of the head in these steps, the same in all of them.
        layer_decay: factor on the rate from each layer of the encoder to the one below it, 1 for none (MAMP: 0.8); for encoders with
            one stack of layers (see `layer_decay_groups`).
        max_grad_norm: norm that gradients are clipped to; 0 leaves them.
        tokens_per_batch: recognition only: frames of all persons in one micro-batch of one process, instead of `batch_size`: sequences of
            similar length together, as many as this budget holds, each once an epoch and with the same weight (see
            [`TokenBatchSampler`]).
        recompute_from_frames: micro-batches with so many frames or more, those of all persons and of padding counted, keep few activations
            and compute them again in the backward pass: less memory, more time (see [`recompute_long_batches`]). Null: none.
        schedule: factor on the learning rate per epoch: `finetune`, `scratch`, `linear`, `cosine` (down to
            `final_learning_rate` over all epochs, after `warmup_epochs`), or `steps` (a tenth after each of `decay_epochs`); default the one of the mode.
        decay_epochs: see `schedule`.
        schedule_epochs: epochs that the factors of the schedule are spread over, default `epochs`. A run of 35 epochs with
            `schedule_epochs: 70` passes through all factors of the published recipe, twice as fast.
        min_steps: least number of optimiser steps beside `head_steps`: few labels make short epochs, so `epochs` is raised until there
            are that many, and the schedule is stretched with it.
        warmup_epochs: epochs over which `cosine` rises linearly from 0.
        final_learning_rate: where `cosine` ends.
        label_smoothing: weight of the uniform distribution in the target.
        eval_every: epochs between evaluations during training, on the part named by `data.eval_part`, which must then be
            `validation`; 0 evaluates only at the end.
        checkpoint_every: epochs between checkpoints from which `--resume` continues; 0 writes none.
        num_workers: processes that read ahead.
        precision: `no`, `bf16` or `fp16`.
    """

    mode: Literal["finetune", "scratch", "linear"] = "finetune"
    epochs: int = 70
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    batch_size: int = 32
    tokens_per_batch: int | None = None
    recompute_from_frames: int | None = None
    gradient_accumulation_steps: int = 4
    max_grad_norm: float = 1.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    sgd_momentum: float = 0.9
    encoder_learning_rate: float | None = None
    head_steps: int = 0
    head_learning_rate: float = 1e-2
    layer_decay: float = 1.0
    schedule: Literal["finetune", "scratch", "linear", "cosine", "steps"] | None = None
    decay_epochs: list[int] = field(default_factory=list)
    schedule_epochs: int | None = None
    min_steps: int = 0
    warmup_epochs: float = 0.0
    final_learning_rate: float = 0.0
    label_smoothing: float = 0.0
    eval_batch_size: int = 128
    eval_every: int = 0
    checkpoint_every: int = 0
    num_workers: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    report_to: str = "none"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tokens_per_batch", "recompute_from_frames"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.head_steps < 0 or not self.head_learning_rate > 0:
            raise ValueError(
                f"head_steps must be at least 0 and head_learning_rate more than 0, got {self.head_steps} and {self.head_learning_rate}"
            )
        if self.mode != "finetune":
            self.head_steps = 0
        if self.final_learning_rate and (
            self.schedule != "cosine" or not 0 < self.final_learning_rate <= self.learning_rate
        ):
            raise ValueError(
                f"final_learning_rate={self.final_learning_rate} is where schedule: cosine ends, from 0 to learning_rate="
                f"{self.learning_rate}; got schedule={self.schedule}"
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be more than 0 and at most 1, got {self.layer_decay}")
        if bool(self.decay_epochs) != (self.schedule == "steps"):
            raise ValueError(
                f"decay_epochs={self.decay_epochs} does not go with schedule={self.schedule}: the rate falls at these epochs "
                "with schedule: steps, and with that alone"
            )


@dataclass
class DetectionSection:
    """Action detection only.

    Args:
        window: frames of a take in one training item; null takes whole takes.
        label_share: share of the frames of a window that the loss sees, drawn anew every epoch.
        rule: how frames become segments, `threshold` or `argmax_runs` (see `frames_to_segments`).
        radius: frames on either side to average probabilities over; default 10 for `threshold`, 0 for `argmax_runs`.
        threshold: least probability of any action, of `threshold`.
        min_frames: a run of fewer frames is no action.
    """

    window: int | None = 256
    label_share: float = 0.25
    rule: Literal["threshold", "argmax_runs"] = "threshold"
    radius: int | None = None
    threshold: float = 0.4
    min_frames: int = 1


@dataclass
class PredictionSection:
    """Motion prediction only; frames are those of the feature extractor's frame rate.

    Args:
        observed_frames: frames to observe: 2 s (Hi-TRS).
        predicted_frames: frames to predict: 400 ms.
        train_window_every: training windows of a recording, one for every so many frames; null takes one an epoch.
        eval_window_every: the same for evaluation; null takes the one in the middle.
    """

    observed_frames: int = 60
    predicted_frames: int = 12
    train_window_every: int | None = None
    eval_window_every: int | None = None


@dataclass
class FineTuningRecipe(Recipe):
    """A recipe of `examples/finetune.py`.

    Args:
        task: what to train.
        training: how.
        detection: of the task `detection`.
        prediction: of the task `prediction`.
    """

    task: Literal["recognition", "detection", "prediction"] = "recognition"
    training: TrainingSection = field(default_factory=TrainingSection)
    detection: DetectionSection = field(default_factory=DetectionSection)
    prediction: PredictionSection = field(default_factory=PredictionSection)

    def __post_init__(self) -> None:
        for task in ("detection", "prediction"):
            section = getattr(self, task)
            if self.task != task and section != type(section)():
                raise RecipeError(f"the section {task!r} is for task: {task}, but the recipe has task: {self.task}")
        if self.task != "recognition" and self.training.tokens_per_batch is not None:
            raise RecipeError(
                f"training.tokens_per_batch={self.training.tokens_per_batch} is for task: recognition; the windows of {self.task} have one "
                "length: set training.batch_size"
            )


class FineTuningTrainer(Trainer):
    """Trainer whose data order depends on the seed and the epoch only, with the parameter groups and schedules of Hi-TRS."""

    optimizer: Any
    lr_scheduler: Any

    def __init__(self, *args: Any, training: TrainingSection, seed: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.training = training
        self.data_seed = seed
        self.token_batches: TokenBatchSampler | None = None
        if training.tokens_per_batch is not None:
            self.token_batches = TokenBatchSampler(
                self._get_train_sampler(),
                self.train_dataset,
                training.tokens_per_batch,
                accumulation=self.args.gradient_accumulation_steps,
                rank=self.args.process_index,
                world_size=self.args.world_size,
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the data."""
        if self.token_batches is not None:
            return self.token_batches.steps_per_epoch
        micro_batches = math.ceil(len(self.train_dataset) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(micro_batches / self.args.gradient_accumulation_steps)

    @property
    def trains_head_alone(self) -> bool:
        """Whether the encoder stays as it is in the step that comes next."""
        return self.training.mode == "linear" or self.state.global_step < self.training.head_steps

    def get_train_dataloader(self) -> DataLoader:
        """The batches of the recipe; those of equal numbers of frames know their process, so nobody shares them out again."""
        if self.token_batches is None:
            return super().get_train_dataloader()
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.token_batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return prepare_data_loader(loader, num_processes=1, process_index=0)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        # The training loop calls `set_epoch` on it, also after a resume.
        return EpochSampler(len(self.train_dataset), self.data_seed)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser of the recipe, on the parameter groups of Hi-TRS, those of encoder and head apart."""
        if self.optimizer is None:
            training, model = self.training, model or self.model
            encoder = {id(parameter) for parameter in self.accelerator.unwrap_model(model).base_model.parameters()}
            groups: list[dict[str, Any]] = []
            for group in parameter_groups(model, training.weight_decay):
                if training.encoder_learning_rate is not None:
                    inside = [parameter for parameter in group["params"] if id(parameter) in encoder]
                    groups.append({**group, "params": inside, "lr": training.encoder_learning_rate})
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in encoder]
                groups.append(group)
            groups = [group for group in groups if group["params"]]
            if training.layer_decay != 1:
                model = self.accelerator.unwrap_model(model)
                groups = layer_decay_groups(groups, model, training.learning_rate, training.layer_decay)
            if training.optimizer == "sgd":
                self.optimizer = torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.sgd_momentum)
            else:
                self.optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the recipe, spread over the steps of the run."""
        if self.lr_scheduler is None:
            training = self.training
            schedule = training.schedule or training.mode
            epochs = training.schedule_epochs or training.epochs

            head_steps = training.head_steps
            num_training_steps -= head_steps

            def factor(step: int) -> float:
                if step < head_steps:
                    return training.head_learning_rate / training.learning_rate
                step -= head_steps
                if schedule == "cosine":
                    warmup = training.warmup_epochs / epochs * num_training_steps
                    if step < warmup:
                        return (step + 1) / (warmup + 1)
                    fallen = 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, num_training_steps - warmup))
                    final = training.final_learning_rate / training.learning_rate
                    return final + (1 - final) * fallen
                epoch = step * epochs // num_training_steps  # that many are finished
                if schedule == "steps":
                    return steps_factor(epoch, 0, training.decay_epochs)
                return EPOCH_FACTORS[schedule](epoch + 1)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One forward and backward pass.

        Raises:
            FloatingPointError: the loss is not finite. `transformers` would go on, with weights that are lost.
        """
        loss = super().training_step(*args, **kwargs)
        if self.trains_head_alone:
            # Without a gradient the optimiser passes over a parameter, with its moments and its weight decay.
            for parameter in self.accelerator.unwrap_model(self.model).base_model.parameters():
                parameter.grad = None
        if not loss.isfinite():
            raise FloatingPointError(
                f"the loss of optimiser step {self.state.global_step} is not finite ({float(loss)}). Look at the recordings "
                "(`skeleton-transformers check`), lower training.learning_rate, or set training.precision=no; what "
                "was saved before is good, and --resume continues from it"
            )
        return loss

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss of the model, in batches of different sizes with the weight that every sequence counts the same by; where the head
        learns alone, on features without dropout."""
        if self.trains_head_alone:
            # The training loop has just switched dropout on, but the features of a probe are fixed. A head may have a batch norm.
            self.accelerator.unwrap_model(model).base_model.eval()
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.token_batches is not None and model.training:
            loss = loss * (len(inputs["keypoints"]) / self.token_batches.mean_batch_size)
        return loss


def build_model(
    recipe: FineTuningRecipe, role: str, layout: SkeletonLayout, num_channels: int, **fields: Any
) -> torch.nn.Module:
    """The model that a recipe describes, with random weights or on top of a trained encoder.

    Args:
        recipe: names the family, its sizes or a checkpoint.
        role: which class of the family, see `models.families`.
        layout: of the recordings.
        num_channels: of the recordings.
        fields: of the config, for example `id2label`.

    Raises:
        RecipeError: the mode and the checkpoint contradict each other, or the checkpoint does not fit.
    """
    section, mode = recipe.model, recipe.training.mode
    model_class = get_family(section.family).load(role)
    if model_class is None:
        raise RecipeError(f"the family {section.family!r} has no model for task: {recipe.task}")
    if section.from_pretrained is None:
        if mode != "scratch":
            raise RecipeError(
                f"training.mode={mode} needs a trained encoder: set model.from_pretrained to its folder or "
                "Hub id, or train from random weights with training.mode=scratch"
            )
        return model_class(build_model_config(section, layout, num_channels, **fields))
    if mode == "scratch":
        raise RecipeError(
            f"training.mode=scratch starts from random weights, but model.from_pretrained is {section.from_pretrained}; "
            "set it to null, or choose another mode"
        )
    saved_config = AutoConfig.from_pretrained(section.from_pretrained)
    if saved_config.model_type != section.family:
        raise RecipeError(
            f"{section.from_pretrained} holds a model of the family {saved_config.model_type!r}, the recipe asks for {section.family!r}; "
            f"set model.family to the family of the checkpoint"
        )
    config = build_model_config(section, layout, num_channels, **fields)
    # A head that was trained for something else is replaced; everything else has to be in the checkpoint and fit.
    model, report = model_class.from_pretrained(
        section.from_pretrained, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    absent = {
        key if isinstance(key, str) else key[0] for name in ("missing_keys", "mismatched_keys") for key in report[name]
    }
    unfit = sorted(key for key in absent if key.startswith(f"{model.base_model_prefix}."))
    if unfit:
        raise RecipeError(
            f"{section.from_pretrained} does not fit the recipe: {len(unfit)} tensors are missing or of another shape, "
            f"the first is {unfit[0]!r}; leave the sizes in model.overrides and the joint layout as they were saved"
        )
    if hasattr(model, "classifier") and saved_config.id2label != config.id2label:
        for tensor in [*model.classifier.parameters(), *model.classifier.buffers()]:
            tensor._is_hf_initialized = False  # or what was loaded would stay
        model.classifier.apply(model._init_weights)
    return model


__all__ = [
    "DetectionSection",
    "FineTuningRecipe",
    "FineTuningTrainer",
    "PredictionSection",
    "TrainingSection",
    "build_model",
]
