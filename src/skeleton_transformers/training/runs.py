"""One run of fine-tuning, from a recipe to a saved model with its numbers."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..data.augmentation import SkeletonAugmentation
from ..evaluation.protocols import check_parts
from ..evaluation.subsets import label_subset, save_label_subset
from .finetuning import FineTuningRecipe, FineTuningTrainer, build_model
from .recipes import RecipeError, build_feature_extractor, save_recipe
from .tasks import TASKS, Task


logger = logging.getLogger(__name__)


class FineTuned(NamedTuple):
    """What a run has made.

    Attributes:
        results: what `results.json` holds.
        task: the task, with its store and feature extractor.
        model: the trained model.
        is_main: whether this process is the one that writes files.
    """

    results: dict[str, Any]
    task: Task
    model: Any
    is_main: bool


def fine_tune(recipe: FineTuningRecipe, resume: bool = False) -> FineTuned:
    """Train as a recipe says, and evaluate.

    `output_dir` receives the model with its feature extractor, `results.json`, `label_subset.json` (which recordings were seen),
    `recipe.yaml`, and what the task writes. The model is the one after the last epoch.

    Args:
        recipe: what to train, on what, and how.
        resume: continue from the last checkpoint in `output_dir`, if there is one.

    Raises:
        RecipeError: the recipe cannot be carried out.
    """
    started = time.perf_counter()
    data, training, output = recipe.data, recipe.training, Path(recipe.output_dir)
    check_parts(data.train_part, data.eval_part)
    if training.eval_every and data.eval_part != "validation":
        raise RecipeError(
            f"training.eval_every={training.eval_every} would look at the {data.eval_part!r} part during training; "
            "use data.train_part=train-validation data.eval_part=validation, or training.eval_every=0"
        )
    if len(data.stores) != 1:
        raise RecipeError(f"{recipe.task} needs exactly one store, data.store names {len(data.stores)}")

    (store,) = data.open_stores()
    if not store.label_names and recipe.task != "prediction":
        raise RecipeError(f"{store.path} has no label names: {recipe.task} needs labelled recordings")
    extractor = build_feature_extractor(
        recipe.features, store.layout, recipe.model.from_pretrained, store.num_channels
    )
    if recipe.model.from_pretrained is not None and "stream" in recipe.features:
        trained = build_feature_extractor({}, store.layout, recipe.model.from_pretrained).stream
        if trained != extractor.stream:
            logger.warning("the encoder was pre-trained on the %s stream, this run uses %s", trained, extractor.stream)
    task = TASKS[recipe.task](recipe, store, extractor)
    train, evaluation = task.part(data.train_part), task.part(data.eval_part)
    train = train[label_subset(task.sampling_labels(train), data.label_fraction, recipe.seed, data.label_sampling)]

    arguments = TrainingArguments(
        output_dir=str(output / "checkpoints"),
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        label_smoothing_factor=training.label_smoothing,
        seed=recipe.seed,
        bf16=training.precision == "bf16",
        fp16=training.precision == "fp16",
        dataloader_num_workers=training.num_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=task.unused_parameters,
        remove_unused_columns=False,
        label_names=[task.target],
        eval_strategy="steps" if training.eval_every else "no",
        save_strategy="steps" if training.checkpoint_every else "no",
        save_total_limit=2,
        logging_strategy="epoch",
        report_to=training.report_to,
        disable_tqdm=not sys.stderr.isatty(),
    )
    set_seed(recipe.seed)  # initial weights of the head, dropout

    augmentation = None
    if recipe.augmentation is not None:
        augmentation = SkeletonAugmentation.from_dict(recipe.augmentation, layout=store.layout)
    model: Any = build_model(recipe, task.role, store.layout, extractor.num_channels, **task.config_fields())
    if training.mode == "linear":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
    train_dataset: Any = task.train_dataset(train, augmentation, model)
    eval_dataset = task.eval_dataset(evaluation)

    steps_per_epoch = math.ceil(len(train_dataset) / (arguments.train_batch_size * arguments.world_size))
    steps_per_epoch = math.ceil(steps_per_epoch / training.gradient_accumulation_steps)
    epochs = max(training.epochs, math.ceil(training.min_steps / steps_per_epoch))
    arguments.num_train_epochs = epochs
    arguments.eval_steps = max(1, training.eval_every * steps_per_epoch)
    arguments.save_steps = max(1, training.checkpoint_every * steps_per_epoch)

    trainer = FineTuningTrainer(
        model=model,
        args=arguments,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=task.collator(),
        processing_class=extractor,
        compute_metrics=task.compute_metrics(),
        training=training,
        seed=recipe.seed,
    )
    if trainer.is_world_process_zero():
        output.mkdir(parents=True, exist_ok=True)
        save_recipe(recipe, output / "recipe.yaml")
        save_label_subset(
            output / "label_subset.json",
            store.names[train],
            task.sampling_labels(train),
            data.label_fraction,
            recipe.seed,
            data.label_sampling,
        )
    checkpoint = None
    if resume:
        checkpoint = get_last_checkpoint(arguments.output_dir) if Path(arguments.output_dir).is_dir() else None
        if checkpoint is None:
            logger.warning("no checkpoint in %s: starting from the beginning", arguments.output_dir)
    trained = trainer.train(resume_from_checkpoint=checkpoint)

    results = {
        **task.evaluate(trainer, eval_dataset, output),
        "mode": training.mode,
        "epochs": epochs,
        "optimiser_steps": trainer.state.global_step,
        "train_part": data.train_part,
        "eval_part": data.eval_part,
        "label_fraction": data.label_fraction,
        "label_sampling": data.label_sampling,
        "stream": extractor.stream,
        "pretrained": recipe.model.from_pretrained,
        "num_train_samples": len(train_dataset),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_loss": trained.training_loss,
        "device": str(arguments.device),
        "num_processes": trainer.accelerator.num_processes,
        "wall_time_seconds": round(time.perf_counter() - started, 1),
    }
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        model.save_pretrained(output)
        extractor.save_pretrained(output)
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        logger.info("saved %s", output)
    return FineTuned(results, task, model, trainer.is_world_process_zero())


__all__ = ["FineTuned", "fine_tune"]
