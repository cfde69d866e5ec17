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
import logging
from pathlib import Path
from typing import Any

from skeleton_transformers.hub.background import BackgroundPublisher, PublishingCallback
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.hub.publishing import full_repository_name, publish
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.recipes import load_recipe
from skeleton_transformers.training.runs import fine_tune
from skeleton_transformers.training.tasks import Task


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
        measured=results,
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
    parser.add_argument(
        "--push_to_hub", action="store_true", help="publish every checkpoint, and then the model, on the Hub"
    )
    parser.add_argument("--hub_model_id", help="where: owner/name; default the name of output_dir under your account")
    parser.add_argument("--hub_private_repo", action="store_true", help="make a new repository private")
    known, overrides = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    overrides = [override.removeprefix("--") for override in overrides]
    recipe = load_recipe(known.recipe, FineTuningRecipe, overrides)
    if known.push_to_hub:  # a missing token is better known before than after hours of training
        repository = full_repository_name(known.hub_model_id or Path(recipe.output_dir).name)
    callbacks = []
    if known.push_to_hub:
        publisher = BackgroundPublisher(repository, private=known.hub_private_repo)
        callbacks = [PublishingCallback(publisher, [Path(recipe.output_dir) / "recipe.yaml"])]
    results, task, model, is_main = fine_tune(recipe, known.resume, callbacks)
    if not is_main:
        return results
    write_card(Path(recipe.output_dir), recipe, results, task, model)
    if known.push_to_hub:
        publisher.finish()
        print(publish(recipe.output_dir, repository, private=known.hub_private_repo))
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in task.headline(results).items())
    print(
        f"{results['eval_part']}: {numbers} ({results['num_train_samples']} items for training, "
        f"{results['wall_time_seconds']:.0f} s)"
    )
    return results


if __name__ == "__main__":
    main()
