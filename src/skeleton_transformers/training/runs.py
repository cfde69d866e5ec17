"""One run of fine-tuning, from a recipe to a saved model with its numbers."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..data.augmentation import SkeletonAugmentation
from ..data.storage import SkeletonStore
from ..evaluation.protocols import check_parts, default_protocol
from ..evaluation.subsets import label_subset, save_label_subset
from ..feature_extraction_skeleton import SkeletonFeatureExtractor
from .finetuning import FineTuningRecipe, FineTuningTrainer, build_model
from .recipes import (
    DataSection,
    ModelSection,
    RecipeError,
    build_feature_extractor,
    layout_reference,
    save_recipe,
)
from .recomputation import recompute_long_batches
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


def fine_tune(recipe: FineTuningRecipe, resume: bool = False, callbacks: Sequence[TrainerCallback] = ()) -> FineTuned:
    """Train as a recipe says, and evaluate.

    `output_dir` receives the model with its feature extractor, `results.json`, `label_subset.json` (which recordings were seen),
    `recipe.yaml`, and what the task writes. The model is the one after the last epoch.

    Args:
        recipe: what to train, on what, and how.
        resume: continue from the last checkpoint in `output_dir`, if there is one.
        callbacks: of the Trainer, such as one that publishes checkpoints.

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
        use_cpu=not torch.accelerator.is_available(),
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
    if training.recompute_from_frames is not None:
        recompute_long_batches(model, training.recompute_from_frames)
    train_dataset: Any = task.train_dataset(train, augmentation, model)
    eval_dataset = task.eval_dataset(evaluation)

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
        callbacks=list(callbacks),
    )
    epochs = max(training.epochs, math.ceil(training.min_steps / trainer.steps_per_epoch))
    epochs += math.ceil(training.head_steps / trainer.steps_per_epoch)
    arguments.num_train_epochs = epochs
    arguments.eval_steps = max(1, training.eval_every * trainer.steps_per_epoch)
    arguments.save_steps = max(1, training.checkpoint_every * trainer.steps_per_epoch)
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


def evaluate_fine_tuning(
    checkpoint: str,
    store: str | Path,
    output_dir: str | Path,
    *,
    protocol: str | None = None,
    label_fraction: float = 1.0,
    train_part: str = "train",
    eval_part: str = "test",
    seed: int = 0,
    recipe: FineTuningRecipe | None = None,
) -> dict[str, Any]:
    """Fine-tune a recogniser from an encoder with a share of the labels, and score it: the semi-supervised and transfer protocols.

    The store may be of another corpus than the encoder's, and of another joint layout: its recordings are then brought to that of
    the encoder. `label_subset.json` in `output_dir` lists the recordings whose labels were used.

    Args:
        checkpoint: folder or Hub id of an encoder with its feature extractor.
        store: folder of the recordings.
        output_dir: folder for the run.
        protocol: split of the corpus; None takes the first one.
        label_fraction: share of the labels, such as 0.01, 0.05 or 0.1.
        train_part, eval_part: parts of the split.
        seed: of the share of the labels, the head, the order and dropout.
        recipe: how to train, with its own features and augmentation; default [`TrainingSection`] (Hi-TRS, Sec. 4.2, without
            augmentation) on the features of the encoder. Its data, checkpoint, seed and folder are replaced.

    Returns:
        What `results.json` holds.

    Raises:
        RecipeError: the encoder cannot be trained so.
    """
    opened = SkeletonStore.open(store)
    layout = SkeletonFeatureExtractor.from_pretrained(checkpoint).skeleton_layout
    data = replace(
        DataSection("") if recipe is None else recipe.data,
        store=str(store),
        protocol=default_protocol(opened) if protocol is None else protocol,
        train_part=train_part,
        eval_part=eval_part,
        label_fraction=label_fraction,
        layout=None if layout.joints == opened.layout.joints else layout_reference(layout),
    )
    model = ModelSection() if recipe is None else recipe.model
    model = replace(model, family=AutoConfig.from_pretrained(checkpoint).model_type, from_pretrained=str(checkpoint))
    changes: dict[str, Any] = {"model": model, "data": data, "output_dir": str(output_dir), "seed": seed}
    chosen = FineTuningRecipe(**changes) if recipe is None else replace(recipe, **changes)
    if chosen.task != "recognition" or chosen.training.mode != "finetune":
        raise RecipeError(
            f"the recipe is for task: {chosen.task} with training.mode={chosen.training.mode}; this protocol fine-tunes recognisers"
        )
    return {**fine_tune(chosen).results, "protocol": "fine-tuning"}


__all__ = ["FineTuned", "evaluate_fine_tuning", "fine_tune"]
