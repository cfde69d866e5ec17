"""Train an action recogniser: fine-tune a pre-trained encoder, train one from scratch, or train a linear head alone.

    python examples/finetune.py examples/configs/hitrs_demo_recognition.yaml
    python examples/finetune.py recipe.yaml data.label_fraction=0.1 seed=1 output_dir=runs/ten_percent
    python examples/finetune.py recipe.yaml --features.stream=motion --resume
    accelerate launch examples/finetune.py recipe.yaml

A recipe is a YAML file (see examples/configs); any of its fields can be changed on the command line, as `section.field=value`
with or without leading dashes. `output_dir` receives the model with its feature extractor and model card, `results.json`,
`predictions.npz` (scores of every evaluated recording), `label_subset.json` (which labels were seen) and `recipe.yaml`.

The model is the one after the last epoch. The test part is looked at once, after training; to compare settings, train on
`data.train_part=train-validation` and evaluate on `data.eval_part=validation`.
"""

import argparse
import json
import logging
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from skeleton_transformers import SkeletonAugmentation, SkeletonStore
from skeleton_transformers.data.datasets import EpochSampler, SkeletonCollator, SkeletonDataset
from skeleton_transformers.evaluation.fusion import save_predictions
from skeleton_transformers.evaluation.metrics import classification_metrics, top_k_accuracy
from skeleton_transformers.evaluation.protocols import check_parts, describe_data, labelled_part
from skeleton_transformers.evaluation.subsets import label_subset, save_label_subset
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.models.families import get_family
from skeleton_transformers.training.optimization import EPOCH_FACTORS, parameter_groups
from skeleton_transformers.training.recipes import (
    Recipe,
    RecipeError,
    build_feature_extractor,
    build_model_config,
    load_recipe,
    save_recipe,
)


logger = logging.getLogger("finetune")


@dataclass
class TrainingSection:
    """How to train; the defaults are the published fine-tuning recipe of Hi-TRS (128 sequences per step, 70 epochs).

    Args:
        mode: `finetune` or `scratch` (these differ in the schedule) train everything, `linear` trains the classifier only,
            on an encoder in evaluation mode.
        schedule: factor on the learning rate per epoch: `finetune`, `scratch`, `linear`, or `cosine` (down to 0 over all
            epochs, after `warmup_epochs`); default the one of the mode.
        schedule_epochs: epochs that the factors of the schedule are spread over, default `epochs`. A run of 35 epochs with
            `schedule_epochs: 70` passes through all factors of the published recipe, twice as fast.
        min_steps: least number of optimiser steps: few labels make short epochs, so `epochs` is raised until there are that many,
            and the schedule is stretched with it.
        warmup_epochs: epochs over which `cosine` rises linearly from 0.
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
    gradient_accumulation_steps: int = 4
    max_grad_norm: float = 1.0
    schedule: Literal["finetune", "scratch", "linear", "cosine"] | None = None
    schedule_epochs: int | None = None
    min_steps: int = 0
    warmup_epochs: float = 0.0
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


@dataclass
class RecognitionRecipe(Recipe):
    """A recipe of this script."""

    training: TrainingSection = field(default_factory=TrainingSection)


class RecognitionTrainer(Trainer):
    """Trainer whose data order depends on the seed and the epoch only, with the parameter groups and schedules of Hi-TRS."""

    def __init__(self, *args: Any, training: TrainingSection, seed: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.training = training
        self.data_seed = seed

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        # The training loop calls `set_epoch` on it, also after a resume.
        return EpochSampler(len(self.train_dataset), self.data_seed)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(model or self.model, self.training.weight_decay)
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]], lr=self.training.learning_rate
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            training = self.training
            schedule = training.schedule or training.mode
            epochs = training.schedule_epochs or training.epochs

            def factor(step: int) -> float:
                if schedule == "cosine":
                    warmup = training.warmup_epochs / epochs * num_training_steps
                    if step < warmup:
                        return (step + 1) / (warmup + 1)
                    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, num_training_steps - warmup))
                return EPOCH_FACTORS[schedule](step * epochs // num_training_steps + 1)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if self.training.mode == "linear":
            model.eval()  # the training loop has just switched dropout on, but the features of a probe are fixed
        return super().compute_loss(model, inputs, *args, **kwargs)


def build_model(recipe: RecognitionRecipe, store: SkeletonStore, num_channels: int) -> Any:
    """The recogniser that the recipe describes, with the label map of the store."""
    section = recipe.model
    labels = dict(enumerate(store.label_names))
    names = {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}
    if section.from_pretrained is None:
        if recipe.training.mode != "scratch":
            raise RecipeError(
                f"training.mode={recipe.training.mode} needs a trained encoder: set model.from_pretrained to its folder or "
                "Hub id, or train from random weights with training.mode=scratch"
            )
        config = build_model_config(section, store.layout, num_channels, **names)
        return get_family(section.family).load("action_recognition")(config)
    if recipe.training.mode == "scratch":
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
    config = build_model_config(section, store.layout, num_channels, **names)
    # A classifier that was trained for other classes is replaced; everything else has to be in the checkpoint and fit.
    model, report = (
        get_family(section.family)
        .load("action_recognition")
        .from_pretrained(
            section.from_pretrained, config=config, ignore_mismatched_sizes=True, output_loading_info=True
        )
    )
    absent = {
        key if isinstance(key, str) else key[0] for name in ("missing_keys", "mismatched_keys") for key in report[name]
    }
    unfit = sorted(key for key in absent if not key.startswith("classifier."))
    if unfit:
        raise RecipeError(
            f"{section.from_pretrained} does not fit the recipe: {len(unfit)} tensors are missing or of another shape, "
            f"the first is {unfit[0]!r}; leave the sizes in model.overrides and the joint layout as they were saved"
        )
    if saved_config.id2label != labels:
        model.classifier.reset_parameters()
    return model


def run(recipe: RecognitionRecipe, resume: bool = False) -> dict[str, Any]:
    """Train and evaluate; returns what `results.json` holds."""
    started = time.perf_counter()
    data, training, output = recipe.data, recipe.training, Path(recipe.output_dir)
    check_parts(data.train_part, data.eval_part)
    if training.eval_every and data.eval_part != "validation":
        raise RecipeError(
            f"training.eval_every={training.eval_every} would look at the {data.eval_part!r} part during training; "
            "use data.train_part=train-validation data.eval_part=validation, or training.eval_every=0"
        )
    if len(data.stores) != 1:
        raise RecipeError(f"recognition needs the labels of exactly one store, data.store names {len(data.stores)}")

    store = SkeletonStore.open(data.stores[0])
    if not store.label_names:
        raise RecipeError(f"{store.path} has no label names: recognition needs labelled recordings")
    train = labelled_part(store, data.protocol, data.train_part)
    evaluation = labelled_part(store, data.protocol, data.eval_part)
    train = train[label_subset(store.labels[train], data.label_fraction, recipe.seed, data.label_sampling)]

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
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        label_names=["labels"],
        eval_strategy="steps" if training.eval_every else "no",
        save_strategy="steps" if training.checkpoint_every else "no",
        save_total_limit=2,
        logging_strategy="epoch",
        report_to=training.report_to,
        disable_tqdm=not sys.stderr.isatty(),
    )
    set_seed(recipe.seed)  # initial weights of the classifier, dropout

    extractor = build_feature_extractor(
        recipe.features, store.layout, recipe.model.from_pretrained, store.num_channels
    )
    if recipe.model.from_pretrained is not None and "stream" in recipe.features:
        trained = build_feature_extractor({}, store.layout, recipe.model.from_pretrained).stream
        if trained != extractor.stream:
            logger.warning("the encoder was pre-trained on the %s stream, this run uses %s", trained, extractor.stream)
    augmentation = None
    if recipe.augmentation is not None:
        augmentation = SkeletonAugmentation.from_dict(recipe.augmentation, layout=store.layout)
    train_dataset = SkeletonDataset(store, train, extractor, augmentation, seed=recipe.seed)
    eval_dataset = SkeletonDataset(store, evaluation, extractor)

    steps_per_epoch = math.ceil(len(train_dataset) / (arguments.train_batch_size * arguments.world_size))
    steps_per_epoch = math.ceil(steps_per_epoch / training.gradient_accumulation_steps)
    epochs = max(training.epochs, math.ceil(training.min_steps / steps_per_epoch))
    arguments.num_train_epochs = epochs
    arguments.eval_steps = max(1, training.eval_every * steps_per_epoch)
    arguments.save_steps = max(1, training.checkpoint_every * steps_per_epoch)

    model = build_model(recipe, store, extractor.num_channels)
    if training.mode == "linear":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)

    trainer = RecognitionTrainer(
        model=model,
        args=arguments,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=SkeletonCollator(),
        processing_class=extractor,
        compute_metrics=lambda scored: {
            f"top{k}_accuracy": top_k_accuracy(scored.predictions, scored.label_ids, k) for k in (1, 5)
        },
        training=training,
        seed=recipe.seed,
    )
    if trainer.is_world_process_zero():
        output.mkdir(parents=True, exist_ok=True)
        save_recipe(recipe, output / "recipe.yaml")
        save_label_subset(
            output / "label_subset.json",
            store.names[train],
            store.labels[train],
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

    prediction = trainer.predict(eval_dataset)
    results = {
        "task": "action recognition",
        "mode": training.mode,
        "epochs": epochs,
        "optimiser_steps": trainer.state.global_step,
        **classification_metrics(prediction.predictions, prediction.label_ids),
        **describe_data(store, data.protocol, recipe.seed),
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
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.save_pretrained(output)
        extractor.save_pretrained(output)
        names = [eval_dataset.name(index) for index in range(len(eval_dataset))]
        save_predictions(
            output / "predictions.npz", prediction.predictions, prediction.label_ids, names, store.label_names
        )
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_card(output, recipe, results, store, extractor, model)
        logger.info("saved %s", output)
    return results


def write_card(
    output: Path, recipe: RecognitionRecipe, results: dict[str, Any], store: SkeletonStore, extractor: Any, model: Any
) -> None:
    """The model card of the trained recogniser."""
    start = (
        f"fine-tuned from `{recipe.model.from_pretrained}`" if recipe.model.from_pretrained else "trained from scratch"
    )
    if recipe.training.mode == "linear":
        start = f"a linear classifier on the frozen encoder of `{recipe.model.from_pretrained}`"
    write_model_card(
        output,
        model_name=output.name,
        model_summary=(
            f"{type(model).__name__} with {results['num_parameters']:,} parameters, {start}, "
            f"recognises {len(store.label_names)} actions in 3D skeleton sequences."
        ),
        task="action-recognition",
        layout=store.layout,
        preprocessing=extractor.to_dict(),
        training_data=(
            f"{store.corpus or 'recordings'}, split {recipe.data.protocol}, part {recipe.data.train_part}, "
            f"{results['num_train_samples']} labelled sequences"
        ),
        recipe=(output / "recipe.yaml").read_text(encoding="utf-8"),
        results={"Top-1 accuracy": results["top1_accuracy"], "Top-5 accuracy": results["top5_accuracy"]},
        dataset_name=store.corpus or "recordings",
        dataset_split=f"{recipe.data.protocol}, {recipe.data.eval_part}",
        provenance=results,
        citation=model.config.citation,
        base_model=recipe.model.from_pretrained,
    )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Entry point; `arguments` default to the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="YAML file")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in output_dir")
    known, overrides = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    overrides = [override.removeprefix("--") for override in overrides]
    results = run(load_recipe(known.recipe, RecognitionRecipe, overrides), resume=known.resume)
    if int(os.environ.get("RANK", 0)):
        return results
    print(
        f"{results['eval_part']}: top-1 {results['top1_accuracy']:.4f}, top-5 {results['top5_accuracy']:.4f} "
        f"({results['num_samples']} recordings, {results['num_train_samples']} for training, "
        f"{results['wall_time_seconds']:.0f} s)"
    )
    return results


if __name__ == "__main__":
    main()
