"""Train a recogniser, a detector or a predictor: fine-tune a pre-trained encoder, train from scratch, or train the head alone.

    python examples/finetune.py examples/configs/hitrs_demo_recognition.yaml
    python examples/finetune.py examples/configs/hitrs_precog_detection.yaml
    python examples/finetune.py recipe.yaml data.label_fraction=0.1 seed=1 output_dir=runs/ten_percent
    python examples/finetune.py recipe.yaml --features.stream=motion --resume
    accelerate launch examples/finetune.py recipe.yaml

A recipe is a YAML file (see examples/configs); any of its fields can be changed on the command line, as `section.field=value`
with or without leading dashes. `output_dir` receives the model with its feature extractor and model card, `results.json`,
`label_subset.json` (which recordings were seen), `recipe.yaml`, and for recognition `predictions.npz` (scores of every evaluated
recording), for detection `detections.json` (the segments).

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
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from skeleton_transformers import SkeletonAugmentation, SkeletonStore
from skeleton_transformers.evaluation.protocols import check_parts
from skeleton_transformers.evaluation.subsets import label_subset, save_label_subset
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.hub.publishing import full_repository_name, publish
from skeleton_transformers.training.finetuning import FineTuningRecipe, FineTuningTrainer, build_model
from skeleton_transformers.training.recipes import RecipeError, build_feature_extractor, load_recipe, save_recipe
from skeleton_transformers.training.tasks import TASKS, Task


logger = logging.getLogger("finetune")


def run(recipe: FineTuningRecipe, resume: bool = False) -> dict[str, Any]:
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
        raise RecipeError(f"{recipe.task} needs exactly one store, data.store names {len(data.stores)}")

    store = SkeletonStore.open(data.stores[0])
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
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.save_pretrained(output)
        extractor.save_pretrained(output)
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_card(output, recipe, results, task, model)
        logger.info("saved %s", output)
    return results


def write_card(output: Path, recipe: FineTuningRecipe, results: dict[str, Any], task: Task, model: Any) -> None:
    """The model card of the trained model."""
    store = task.store
    start = (
        f"fine-tuned from `{recipe.model.from_pretrained}`" if recipe.model.from_pretrained else "trained from scratch"
    )
    if recipe.training.mode == "linear":
        start = f"a head on the frozen encoder of `{recipe.model.from_pretrained}`"
    write_model_card(
        output,
        model_name=output.name,
        model_summary=(
            f"{type(model).__name__} with {results['num_parameters']:,} parameters, {start}, {task.ability()}."
        ),
        task=task.title,
        layout=store.layout,
        preprocessing=task.extractor.to_dict(),
        training_data=(
            f"{store.corpus or 'recordings'}, split {recipe.data.protocol}, part {recipe.data.train_part}, "
            f"{results['num_train_samples']} sequences"
        ),
        recipe=(output / "recipe.yaml").read_text(encoding="utf-8"),
        results=task.headline(results),
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
    parser.add_argument("--push_to_hub", action="store_true", help="publish the trained model on the Hub")
    parser.add_argument("--hub_model_id", help="where: owner/name; default the name of output_dir under your account")
    parser.add_argument("--hub_private_repo", action="store_true", help="make a new repository private")
    known, overrides = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    overrides = [override.removeprefix("--") for override in overrides]
    recipe = load_recipe(known.recipe, FineTuningRecipe, overrides)
    if known.push_to_hub:  # a missing token is better known before than after hours of training
        repository = full_repository_name(known.hub_model_id or Path(recipe.output_dir).name)
    results = run(recipe, resume=known.resume)
    if int(os.environ.get("RANK", 0)):
        return results
    if known.push_to_hub:
        print(publish(recipe.output_dir, repository, private=known.hub_private_repo))
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in TASKS[recipe.task].headline(results).items())
    print(
        f"{results['eval_part']}: {numbers} ({results['num_train_samples']} items for training, "
        f"{results['wall_time_seconds']:.0f} s)"
    )
    return results


if __name__ == "__main__":
    main()
