"""What differs between fine-tuning for recognition, for detection and for prediction: labels, items, and the evaluation."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset
from transformers import Trainer

from ..data.datasets import Augmentation, SkeletonCollator, SkeletonDataset
from ..data.storage import SkeletonStore
from ..data.task_datasets import DetectionCollator, DetectionDataset, PredictionCollator, PredictionDataset
from ..evaluation.calibration import calibration_metrics
from ..evaluation.detection import detection_labels, evaluate_detection, take_part
from ..evaluation.fusion import save_predictions
from ..evaluation.metrics import classification_metrics, top_k_accuracy
from ..evaluation.motion_prediction import evaluate_prediction, prediction_part
from ..evaluation.protocols import describe_data, labelled_part
from .finetuning import FineTuningRecipe
from .recipes import RecipeError


class Task(ABC):
    """One task on one store.

    Attributes:
        role: the family's class for it (see `models.families`).
        title: what the model card calls it.
        target: name of what the batch holds to be predicted.
        collator: makes batches.
        unused_parameters: whether some parameters of the model take no part in the loss.
    """

    role: ClassVar[str]
    title: ClassVar[str]
    target: ClassVar[str] = "labels"
    collator: ClassVar[Callable]
    unused_parameters: ClassVar[bool] = False

    def __init__(self, recipe: FineTuningRecipe, store: SkeletonStore, extractor: Any):
        self.recipe = recipe
        self.store = store
        self.extractor = extractor
        self.protocol = recipe.data.protocol

    @abstractmethod
    def part(self, part: str) -> np.ndarray:
        """Indices of the recordings of one part of the split that can be used."""

    def sampling_labels(self, indices: np.ndarray) -> np.ndarray:
        """Classes that a share of the recordings is drawn by."""
        return np.maximum(self.store.labels[indices], 0)

    @abstractmethod
    def config_fields(self) -> dict[str, Any]:
        """Fields of the model's config that follow from the data."""

    @abstractmethod
    def train_dataset(self, indices: np.ndarray, augmentation: Augmentation | None, model: Any) -> Dataset:
        """Items to train on."""

    @abstractmethod
    def eval_dataset(self, indices: np.ndarray) -> Dataset:
        """Items to evaluate on during training."""

    def compute_metrics(self) -> Callable[[Any], dict[str, float]] | None:
        """What the Trainer computes beside the loss when it evaluates during training."""
        return None

    @abstractmethod
    def evaluate(self, trainer: Trainer, dataset: Any, output: Path) -> dict[str, Any]:
        """Evaluates the trained model; writes what is worth keeping to `output` and returns what `results.json` holds."""

    @staticmethod
    @abstractmethod
    def headline(results: dict[str, Any]) -> dict[str, float]:
        """The numbers for the model card, by name."""

    @abstractmethod
    def ability(self) -> str:
        """What the model does, as the end of the sentence "The model ..."."""


class Recognition(Task):
    """One label for a recording."""

    role = "action_recognition"
    title = "action-recognition"
    collator = SkeletonCollator

    def part(self, part: str) -> np.ndarray:
        return labelled_part(self.store, self.protocol, part)

    def config_fields(self) -> dict[str, Any]:
        return label_map(dict(enumerate(self.store.label_names)))

    def train_dataset(self, indices: np.ndarray, augmentation: Augmentation | None, model: Any) -> Dataset:
        return SkeletonDataset(self.store, indices, self.extractor, augmentation, seed=self.recipe.seed)

    def eval_dataset(self, indices: np.ndarray) -> Dataset:
        return SkeletonDataset(self.store, indices, self.extractor)

    def compute_metrics(self) -> Callable[[Any], dict[str, float]]:
        return lambda scored: {
            f"top{k}_accuracy": top_k_accuracy(scored.predictions, scored.label_ids, k) for k in (1, 5)
        }

    def evaluate(self, trainer: Trainer, dataset: Any, output: Path) -> dict[str, Any]:
        """Scores of every recording go to `predictions.npz`."""
        prediction = trainer.predict(dataset)
        if trainer.is_world_process_zero():
            names = [dataset.name(index) for index in range(len(dataset))]
            save_predictions(
                output / "predictions.npz",
                prediction.predictions,
                prediction.label_ids,
                names,
                self.store.label_names,
            )
        return {
            "task": "action recognition",
            **classification_metrics(prediction.predictions, prediction.label_ids),
            **calibration_metrics(prediction.predictions, prediction.label_ids),
            **describe_data(self.store, self.protocol, self.recipe.seed),
        }

    @staticmethod
    def headline(results: dict[str, Any]) -> dict[str, float]:
        return {
            "Top-1 accuracy": results["top1_accuracy"],
            "Top-5 accuracy": results["top5_accuracy"],
            "Expected calibration error": results["expected_calibration_error"],
        }

    def ability(self) -> str:
        return f"recognises {len(self.store.label_names)} actions in skeleton sequences"


class Detection(Task):
    """A label for every frame of untrimmed takes."""

    role = "action_detection"
    title = "action-detection"
    collator = DetectionCollator
    unused_parameters = True  # Hi-TRS: V-TRS sees no single frames

    def part(self, part: str) -> np.ndarray:
        return take_part(self.store, self.protocol, part)

    def sampling_labels(self, indices: np.ndarray) -> np.ndarray:
        return np.zeros(len(indices), dtype=np.int64)  # a take has many labels

    def config_fields(self) -> dict[str, Any]:
        return label_map(detection_labels(self.store))

    def train_dataset(self, indices: np.ndarray, augmentation: Augmentation | None, model: Any) -> Dataset:
        section = self.recipe.detection
        return DetectionDataset(
            self.store,
            indices,
            self.extractor,
            augmentation,
            seed=self.recipe.seed,
            window=section.window,
            context=model.base_model.frame_context,
            label_share=section.label_share,
        )

    def eval_dataset(self, indices: np.ndarray) -> Dataset:
        return DetectionDataset(self.store, indices, self.extractor, window=None)

    def evaluate(self, trainer: Trainer, dataset: Any, output: Path) -> dict[str, Any]:
        """Detected and true actions go to `detections.json`: label (0 is the background), first frame, end, confidence."""
        section = self.recipe.detection
        found = evaluate_detection(
            trainer.accelerator.unwrap_model(trainer.model),
            self.extractor,
            self.store,
            self.protocol,
            eval_part=self.recipe.data.eval_part,
            rule=section.rule,
            radius=section.radius,
            threshold=section.threshold,
            min_frames=section.min_frames,
            seed=self.recipe.seed,
        )
        if trainer.is_world_process_zero():
            content = {"label_names": list(detection_labels(self.store).values()), "takes": found.takes()}
            (output / "detections.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
        return {"task": "action detection", **found.results}

    @staticmethod
    def headline(results: dict[str, Any]) -> dict[str, float]:
        names = ("mAP_a", "mAP_v", "segment_F1@0.5")
        return {f"{name}@0.5" if name.startswith("mAP") else name: results[name] for name in names}

    def ability(self) -> str:
        return (
            f"finds {len(self.store.label_names)} actions in untrimmed skeleton takes, with their beginnings and ends"
        )


class Prediction(Task):
    """The next poses of a person."""

    role = "motion_prediction"
    title = "motion-prediction"
    target = "future_keypoints"
    collator = PredictionCollator

    def __init__(self, recipe: FineTuningRecipe, store: SkeletonStore, extractor: Any):
        super().__init__(recipe, store, extractor)
        if recipe.training.label_smoothing:
            raise RecipeError("training.label_smoothing is for classes; motion prediction has none: set it to 0")

    def part(self, part: str) -> np.ndarray:
        return prediction_part(self.store, self.protocol, part)

    def config_fields(self) -> dict[str, Any]:
        return {"prediction_frames": self.recipe.prediction.predicted_frames}

    def train_dataset(self, indices: np.ndarray, augmentation: Augmentation | None, model: Any) -> Dataset:
        return self._dataset(indices, augmentation, random=True, every=self.recipe.prediction.train_window_every)

    def eval_dataset(self, indices: np.ndarray) -> Dataset:
        return self._dataset(indices, None, random=False, every=self.recipe.prediction.eval_window_every)

    def _dataset(
        self, indices: np.ndarray, augmentation: Augmentation | None, random: bool, every: int | None
    ) -> Dataset:
        section = self.recipe.prediction
        return PredictionDataset(
            self.store,
            indices,
            self.extractor,
            augmentation,
            seed=self.recipe.seed,
            observed_frames=section.observed_frames,
            predicted_frames=section.predicted_frames,
            random=random,
            window_every=every,
        )

    def evaluate(self, trainer: Trainer, dataset: Any, output: Path) -> dict[str, Any]:
        found = evaluate_prediction(
            trainer.accelerator.unwrap_model(trainer.model),
            dataset,
            self.protocol,
            eval_part=self.recipe.data.eval_part,
            batch_size=self.recipe.training.eval_batch_size,
            seed=self.recipe.seed,
        )
        return {"task": "motion prediction", **found}

    @staticmethod
    def headline(results: dict[str, Any]) -> dict[str, float]:
        errors = results["mpjpe_mm"]
        found = {f"MPJPE in mm at {horizon} ms": value for horizon, value in errors["model"].items()}
        found["MPJPE in mm, mean over all frames"] = found.pop("MPJPE in mm at mean ms")
        return {**found, "the same of a pose that stays": errors["zero_velocity"]["mean"]}

    def ability(self) -> str:
        milliseconds = (
            1000 * self.recipe.prediction.predicted_frames / (self.extractor.frame_rate or self.store.frame_rate)
        )
        return f"predicts the next {milliseconds:.0f} ms of a skeleton sequence"


TASKS: dict[str, type[Task]] = {"recognition": Recognition, "detection": Detection, "prediction": Prediction}


def label_map(id2label: dict[int, str]) -> dict[str, Any]:
    """The two fields of a config that name the classes."""
    return {"id2label": id2label, "label2id": {name: label for label, name in id2label.items()}}


__all__ = ["TASKS", "Detection", "Prediction", "Recognition", "Task", "label_map"]
