"""`skeleton-transformers evaluate`: score a saved model on a store, by any protocol."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer


if TYPE_CHECKING:
    import numpy as np

    from ..training.finetuning import FineTuningRecipe


PROTOCOLS = ("accuracy", "calibration", "robustness", "knn", "linear", "detection", "prediction", "finetune", "semiN")

_MAX_TIMELINES = 12


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a saved model with its feature extractor.")],
    store: Annotated[Path, typer.Option(help="Folder made by `skeleton-transformers prepare`.")],
    split: Annotated[str | None, typer.Option(help="Split of the corpus, such as xsub or xview.")] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="Comma-separated. Of any encoder: knn, linear (frozen), finetune, semi1, semi5, semi10 (fine-tuned with so many percent "
            "of the labels), robustness. Of a recogniser: accuracy, calibration, robustness. Of others: detection, prediction."
        ),
    ] = "knn,linear",
    eval_part: Annotated[str, typer.Option(help="Part to score: test, or validation while tuning.")] = "test",
    train_part: Annotated[
        str | None, typer.Option(help="Gallery and training part; default train, train-validation when tuning.")
    ] = None,
    label_fraction: Annotated[float, typer.Option(help="Share of the training labels that knn and linear see.")] = 1.0,
    coordinates: Annotated[
        bool, typer.Option("--coordinates", help="knn and linear on the model's input instead: the baseline to beat.")
    ] = False,
    k: Annotated[str, typer.Option(help="Neighbours that vote in knn; several as 1,5,20.")] = "1",
    optimizer: Annotated[str, typer.Option(help="lbfgs (frozen protocol) or adamw (published recipe).")] = "lbfgs",
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="YAML recipe of finetune.py: how finetune and semiN train, how frames become segments, the windows of prediction; "
            "default that of the model, where it was saved with one of its task, else the published settings of Hi-TRS."
        ),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option(help="section.field=value of the recipe, such as training.epochs=5.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of label subsets, of training, and of damage to recordings.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Sequences per batch.")] = 64,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default cuda where there is one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the results here: as JSON (.json), or into a folder, with a table, pictures, predictions, the runs of finetune "
            "and semiN, and the model index for a card."
        ),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the scores of `accuracy` here (.npz, for fusion).")
    ] = None,
    card: Annotated[
        bool,
        typer.Option("--card", help="Add the results to the card and the results.json in the folder of the model."),
    ] = False,
) -> None:
    """Score a saved model by one or several protocols.

    The store may be of another corpus and of another joint layout than the model was trained on.
    """
    names = [name.strip() for name in protocol.split(",") if name.strip()]
    unknown = sorted(name for name in set(names) if name not in PROTOCOLS[:-1] and label_share(name) is None)
    if unknown or not names:
        raise typer.BadParameter(
            f"unknown protocol {', '.join(unknown) or '(none)'}; choose from {', '.join(PROTOCOLS)}",
            param_hint="--protocol",
        )
    neighbours = [int(one) if one.strip().isdigit() else 0 for one in k.split(",")]
    if min(neighbours) < 1:
        raise typer.BadParameter(f"{k!r} is no number of neighbours, nor several such as 1,5,20", param_hint="--k")
    folder = output if output is not None and output.suffix != ".json" else None
    if folder is None and any(label_share(name) is not None for name in names):
        raise typer.BadParameter(
            "finetune and semiN train models: name a folder for them, not a .json file", param_hint="--output"
        )
    if card and not Path(model).is_dir():
        raise typer.BadParameter(
            f"{model} is no folder on this machine, so it has no card to add to", param_hint="--card"
        )

    from ..evaluation.report import as_table
    from ..hub.results import add_results, model_index

    try:
        run = Evaluation(
            model,
            store,
            split,
            eval_part=eval_part,
            train_part=train_part or ("train-validation" if eval_part == "validation" else "train"),
            label_fraction=label_fraction,
            coordinates=coordinates,
            neighbours=neighbours,
            optimizer=optimizer,
            recipe_file=recipe,
            overrides=override or [],
            seed=seed,
            batch_size=batch_size,
            device=device,
            folder=folder,
            predictions=predictions,
        )
        results = {name: run.protocol(name) for name in names}
        table = as_table(results)
        if card:
            add_results(model, results)
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(table)
    if output is not None:
        file = output / "results.json" if folder is not None else output
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"model": model, "results": results}, indent=1) + "\n", encoding="utf-8")
    if folder is not None:
        (folder / "table.md").write_text(table + "\n", encoding="utf-8")
        (folder / "model_index.yaml").write_text(model_index(Path(model).name, results), encoding="utf-8")


def label_share(protocol: str) -> float | None:
    """Share of the labels that `finetune` and `semiN` train with; None for any other protocol."""
    if protocol == "finetune":
        return 1.0
    found = re.fullmatch(r"semi(\d+(\.\d+)?)", protocol)
    return float(found[1]) / 100 if found and 0 < float(found[1]) < 100 else None


@dataclass
class Evaluation:
    """One model and one store. What several protocols need is computed once; pictures go to `folder`, if there is one."""

    name: str
    store_folder: Path
    split: str | None
    eval_part: str
    train_part: str
    label_fraction: float
    coordinates: bool
    neighbours: list[int]
    optimizer: str
    recipe_file: Path | None
    overrides: list[str]
    seed: int
    batch_size: int
    device: str | None
    folder: Path | None
    predictions: Path | None
    store: Any = field(init=False)
    extractor: Any = field(init=False)

    def __post_init__(self) -> None:
        import torch
        from transformers import AutoFeatureExtractor
        from transformers.utils import logging

        import skeleton_transformers  # noqa: F401  # registers what the Auto classes shall find

        from ..data.storage import SkeletonStore

        # What loading reports (the heads that are not needed) would only worry the reader.
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.store = SkeletonStore.open(self.store_folder)
        self.extractor = AutoFeatureExtractor.from_pretrained(self.name)
        wanted = getattr(self.extractor, "skeleton_layout", self.store.layout)
        if wanted.joints != self.store.layout.joints:
            absent = [joint for joint in wanted.joints if joint not in self.store.layout.joints]
            typer.echo(
                f"{self.store_folder}: recordings of layout {self.store.layout.name} are brought to {wanted.name}, that of the model"
                + (f"; they lack {', '.join(absent)}, for which the nearest joints stand in" if absent else ""),
                err=True,
            )
            self.store = self.store.in_layout(wanted)

    def protocol(self, name: str) -> dict[str, Any]:
        """The results of one protocol."""
        share = label_share(name)
        return getattr(self, name)() if share is None else self.fine_tuned(name, share)

    @property
    def batches(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "device": self.device, "progress": True}

    @cached_property
    def recipe(self) -> FineTuningRecipe | None:
        """The recipe that was named, or that the model was trained by."""
        from transformers.utils import cached_file

        from ..training.finetuning import FineTuningRecipe
        from ..training.recipes import RecipeError, load_recipe

        file = self.recipe_file
        if file is None:
            saved = cached_file(self.name, "recipe.yaml", _raise_exceptions_for_missing_entries=False)
            # That of pre-training has no task.
            if saved is None or not re.search(r"^task:", Path(saved).read_text(encoding="utf-8"), re.MULTILINE):
                if self.overrides:
                    raise RecipeError(f"--override changes a recipe, but {self.name} was saved without one: name one")
                return None
            file = Path(saved)
        return load_recipe(file, FineTuningRecipe, self.overrides)

    def section(self, task: str) -> Any:
        """The section of a task in the recipe, or its defaults."""
        from ..training.finetuning import DetectionSection, PredictionSection

        if self.recipe is not None and self.recipe.task == task:
            return getattr(self.recipe, task)
        return {"detection": DetectionSection, "prediction": PredictionSection}[task]()

    # -- encoders ----------------------------------------------------------------------------------------------------
    @cached_property
    def encoder(self) -> Any:
        from transformers import AutoModel

        return AutoModel.from_pretrained(self.name)

    @cached_property
    def features(self) -> Any:
        from ..evaluation.protocols import protocol_features

        return protocol_features(
            None if self.coordinates else self.encoder,
            self.extractor,
            self.store,
            self.split,
            train_part=self.train_part,
            eval_part=self.eval_part,
            label_fraction=self.label_fraction,
            seed=self.seed,
            **self.batches,
        )

    def knn(self) -> dict[str, Any]:
        from ..evaluation.protocols import evaluate_knn

        return evaluate_knn(self.features, self.neighbours, "euclidean" if self.coordinates else "cosine")

    def linear(self) -> dict[str, Any]:
        from ..evaluation.protocols import evaluate_linear

        return evaluate_linear(self.features, optimizer=self.optimizer, seed=self.seed)

    def fine_tuned(self, name: str, share: float) -> dict[str, Any]:
        from ..training.runs import evaluate_fine_tuning

        assert self.folder is not None  # checked with the arguments
        recipe = self.recipe if self.recipe is not None and self.recipe.task == "recognition" else None
        return evaluate_fine_tuning(
            self.name,
            self.store_folder,
            self.folder / name,
            protocol=self.split,
            label_fraction=share,
            train_part=self.train_part,
            eval_part=self.eval_part,
            seed=self.seed,
            recipe=recipe,
        )

    # -- recognisers -------------------------------------------------------------------------------------------------
    @cached_property
    def recogniser(self) -> Any:
        from ..models.auto import AutoModelForActionRecognition

        return AutoModelForActionRecognition.from_pretrained(self.name)

    @cached_property
    def scored(self) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Results, scores and labels of a recogniser."""
        from ..evaluation.fusion import save_predictions
        from ..evaluation.protocols import evaluate_accuracy

        result, logits, indices = evaluate_accuracy(
            self.recogniser,
            self.extractor,
            self.store,
            self.split,
            eval_part=self.eval_part,
            seed=self.seed,
            **self.batches,
        )
        labels = self.store.labels[indices]
        files = [self.predictions, self.folder and self.folder / "predictions.npz"]
        for file in filter(None, files):
            file.parent.mkdir(parents=True, exist_ok=True)
            save_predictions(file, logits, labels, self.store.names[indices].tolist(), self.store.label_names)
        return result, logits, labels

    def accuracy(self) -> dict[str, Any]:
        from ..evaluation.metrics import confusion_matrix, per_class_accuracy

        result, logits, labels = self.scored
        names = self.store.label_names
        guesses = logits.argmax(axis=1)
        accuracy = per_class_accuracy(labels, guesses, len(names))
        if self.folder is not None:
            from ..visualization.results import plot_confusion, plot_per_class

            confusion = confusion_matrix(labels, guesses, len(names))
            plot_confusion(confusion, names, self.folder / "confusion.png")
            plot_per_class(accuracy, confusion.sum(axis=1), names, self.folder / "per_class.png")
        known = {name: float(value) for name, value in zip(names, accuracy, strict=True) if value == value}
        return {**result, "class_accuracy": known}

    def calibration(self) -> dict[str, Any]:
        result, _, _ = self.scored
        if self.folder is not None:
            from ..visualization.results import plot_reliability

            error = result["expected_calibration_error"]
            plot_reliability(result["reliability_bins"], error, self.folder / "reliability.png")
        return {**result, "protocol": "calibration"}

    def robustness(self) -> dict[str, Any]:
        """Of the recogniser, or of the nearest neighbour of a frozen encoder, whose gallery stays clean."""
        from ..evaluation.features import extract_features, run_batches
        from ..evaluation.retrieval import knn_predict
        from ..evaluation.robustness import evaluate_robustness

        recogniser = self.recogniser if self.is_for("ActionRecognition") else None

        def predict(dataset: Any) -> np.ndarray:
            if recogniser is not None:
                return run_batches(recogniser, dataset, "logits", **self.batches)[0].argmax(axis=1)
            query, _ = extract_features(self.encoder, dataset, **self.batches)
            return knn_predict(self.features.train_features, self.features.train_labels, query)

        result = evaluate_robustness(
            predict,
            self.extractor,
            self.store,
            self.split,
            eval_part=self.eval_part,
            seed=self.seed,
            classifier="its own" if recogniser is not None else "nearest neighbour in the clean training part",
        )
        if self.folder is not None:
            from ..visualization.results import plot_robustness

            plot_robustness(result, self.folder / "robustness.png")
        return result

    def is_for(self, task: str) -> bool:
        """Whether the model was saved with the head of a task."""
        from transformers import AutoConfig

        architectures = AutoConfig.from_pretrained(self.name).architectures or [""]
        return architectures[0].endswith(f"For{task}")

    # -- takes and motions -------------------------------------------------------------------------------------------
    def detection(self) -> dict[str, Any]:
        from ..evaluation.detection import detection_labels, evaluate_detection
        from ..models.auto import AutoModelForActionDetection

        section = self.section("detection")
        found = evaluate_detection(
            AutoModelForActionDetection.from_pretrained(self.name).to(self.device),
            self.extractor,
            self.store,
            self.split,
            eval_part=self.eval_part,
            rule=section.rule,
            radius=section.radius,
            threshold=section.threshold,
            min_frames=section.min_frames,
            progress=True,
            seed=self.seed,
        )
        if self.folder is not None:
            from ..visualization.results import plot_timeline

            names, takes = list(detection_labels(self.store).values()), found.takes()
            (self.folder / "timelines").mkdir(parents=True, exist_ok=True)
            content = {"label_names": names, "takes": takes}
            (self.folder / "detections.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
            for video in found.videos[:_MAX_TIMELINES]:
                file = self.folder / "timelines" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', video)}.png"
                segments: dict[str, Any] = takes[video]
                plot_timeline(segments["truth"], segments["detections"], names, file, title=video)
        return found.results

    def prediction(self) -> dict[str, Any]:
        from ..data.task_datasets import PredictionDataset
        from ..evaluation.motion_prediction import evaluate_prediction, prediction_part
        from ..models.auto import AutoModelForMotionPrediction

        section = self.section("prediction")
        model = AutoModelForMotionPrediction.from_pretrained(self.name)
        dataset = PredictionDataset(
            self.store,
            prediction_part(self.store, self.split, self.eval_part),
            self.extractor,
            observed_frames=section.observed_frames,
            predicted_frames=model.config.prediction_frames,
            random=False,
            window_every=section.eval_window_every,
        )
        result = evaluate_prediction(
            model, dataset, self.split, eval_part=self.eval_part, seed=self.seed, **self.batches
        )
        if self.folder is not None:
            self.draw_prediction(model, dataset)
        return result

    def draw_prediction(self, model: Any, dataset: Any) -> None:
        """An animation of the window in the middle of the data set."""
        import torch

        from ..data.task_datasets import PredictionCollator
        from ..visualization.results import render_prediction

        assert self.folder is not None
        item = dataset[len(dataset) // 2]
        batch = PredictionCollator()([item])
        with torch.no_grad():
            inputs = (batch[name].to(self.device) for name in ("keypoints", "frame_mask"))
            predicted = model.eval()(*inputs, num_frames=dataset.predicted_frames).predicted_keypoints
        render_prediction(
            item["keypoints"][0],
            item["future_keypoints"][0],
            predicted[0, 0].float().cpu().numpy(),
            self.store.layout,
            self.folder / "prediction.gif",
            dataset.frame_rate,
            title=dataset.name(len(dataset) // 2),
        )


__all__ = ["PROTOCOLS", "Evaluation", "evaluate", "label_share"]
