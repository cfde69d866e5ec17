"""The families of models. A new family adds one line here and one folder beside this file."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Family:
    """One family of models: its folder under `models/` (the model type) and the names of its classes.

    `shared_module` is the module beside the folder that its models are built from, if that is more than layers.
    """

    model_type: str
    configuration: str
    encoder: str | None
    pretraining: str | None = None
    action_recognition: str | None = None
    action_detection: str | None = None
    motion_prediction: str | None = None
    shared_module: str | None = None

    @property
    def modeling_module(self) -> str:
        """Full name of the module with the models."""
        return f"{__package__}.{self.model_type}.modeling_{self.model_type}"

    @property
    def modules(self) -> list[str]:
        """Full names of the modules with the models."""
        shared = [] if self.shared_module is None else [f"{__package__}.{self.shared_module}"]
        return [*shared, self.modeling_module]

    @property
    def is_being_imported(self) -> bool:
        """Whether a module with the models has started to execute but has not reached its end yet, where its `__all__` is."""
        started = [sys.modules[name] for name in self.modules if name in sys.modules]
        return not all(hasattr(module, "__all__") for module in started)

    def load(self, role: str) -> Any:
        """Class of this family for a role (a field of this dataclass), or None where it has none."""
        name = getattr(self, role)
        if name is None:
            return None
        prefix = "configuration" if role == "configuration" else "modeling"
        return getattr(importlib.import_module(f".{self.model_type}.{prefix}_{self.model_type}", __package__), name)

    @property
    def has_converter(self) -> bool:
        """Whether there are checkpoints of the family's authors, and so a converter."""
        return (Path(__file__).parent / self.model_type / f"convert_{self.model_type}_original.py").exists()

    def load_converter(self) -> Any:
        """Module that converts the checkpoints of the family's authors, with `convert_original_checkpoint(source, folder)`."""
        return importlib.import_module(f".{self.model_type}.convert_{self.model_type}_original", __package__)


# What a family can have a model class for.
ROLES = ("encoder", "pretraining", "action_recognition", "action_detection", "motion_prediction")

FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "hitrs",
            "HiTRSConfig",
            "HiTRSModel",
            "HiTRSForPreTraining",
            "HiTRSForActionRecognition",
            "HiTRSForActionDetection",
            "HiTRSForMotionPrediction",
        ),
        Family(
            "hico",
            "HiCoConfig",
            "HiCoModel",
            "HiCoForPreTraining",
            "HiCoForActionRecognition",
            "HiCoForActionDetection",
            "HiCoForMotionPrediction",
        ),
        Family(
            "agcn",
            "AGCNConfig",
            "AGCNModel",
            None,
            "AGCNForActionRecognition",
            "AGCNForActionDetection",
            "AGCNForMotionPrediction",
        ),
        Family(
            "asgcn",
            "ASGCNConfig",
            "ASGCNModel",
            "ASGCNForPreTraining",
            "ASGCNForActionRecognition",
            "ASGCNForActionDetection",
            "ASGCNForMotionPrediction",
        ),
        Family(
            "mamp",
            "MAMPConfig",
            "MAMPModel",
            "MAMPForPreTraining",
            "MAMPForActionRecognition",
            "MAMPForActionDetection",
            "MAMPForMotionPrediction",
            "segment_layers",
        ),
        Family("mcc", "MCCConfig", None, "MCCForPreTraining"),
        Family(
            "stgcn",
            "STGCNConfig",
            "STGCNModel",
            None,
            "STGCNForActionRecognition",
            "STGCNForActionDetection",
            "STGCNForMotionPrediction",
        ),
        Family(
            "student_teacher",
            "StudentTeacherConfig",
            "StudentTeacherModel",
            "StudentTeacherForPreTraining",
            "StudentTeacherForActionRecognition",
            "StudentTeacherForActionDetection",
            "StudentTeacherForMotionPrediction",
            "segment_layers",
        ),
    )
}

# Several recognisers of any families in one model. Its inputs are those of its members, so it is no family to train.
ENSEMBLE = Family(
    "skeleton_ensemble", "SkeletonEnsembleConfig", None, action_recognition="SkeletonEnsembleForActionRecognition"
)


def get_family(model_type: str) -> Family:
    """The family of a `model_type`.

    Raises:
        ValueError: no family has that name.
    """
    if model_type not in FAMILIES:
        raise ValueError(f"There is no model family {model_type!r}; known families: {', '.join(FAMILIES)}.")
    return FAMILIES[model_type]


__all__ = ["ENSEMBLE", "FAMILIES", "ROLES", "Family", "get_family"]
