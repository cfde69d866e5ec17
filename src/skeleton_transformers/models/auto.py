"""Auto classes: the model of whatever family a checkpoint belongs to.

`transformers` has no Auto class for skeletons. Each task therefore has one of ours (`AutoModelForActionRecognition`), and is
registered in the fitting one of `transformers`, too, where there is one: `AutoModelForVideoClassification` for recognition,
`AutoModelForAudioFrameClassification` (one label per frame) for detection, `AutoModelForTimeSeriesPrediction` for prediction.
"""

from collections import OrderedDict

from transformers import (
    AutoModel,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
    AutoModelForTimeSeriesPrediction,
    AutoModelForVideoClassification,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .families import ENSEMBLE, FAMILIES


class AutoModelForActionRecognition(_BaseAutoModelClass):
    """Loads the action recognition model of whatever family a checkpoint belongs to."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


class AutoModelForActionDetection(_BaseAutoModelClass):
    """Loads the action detection model of whatever family a checkpoint belongs to."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


class AutoModelForMotionPrediction(_BaseAutoModelClass):
    """Loads the motion prediction model of whatever family a checkpoint belongs to."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


_AUTO_CLASSES = {
    "encoder": (AutoModel,),
    "pretraining": (AutoModelForPreTraining,),
    "action_recognition": (AutoModelForActionRecognition, AutoModelForVideoClassification),
    "action_detection": (AutoModelForActionDetection, AutoModelForAudioFrameClassification),
    "motion_prediction": (AutoModelForMotionPrediction, AutoModelForTimeSeriesPrediction),
}


def register_models() -> None:
    """Register every model class of the package in every Auto class that fits it.

    A family whose module is just being imported (modules of `transformers` that it needs import the Auto classes) is left
    out; it is registered when its import ends.
    """
    for family in (*FAMILIES.values(), ENSEMBLE):
        if family.is_being_imported:
            continue
        configuration = family.load("configuration")
        for role, auto_classes in _AUTO_CLASSES.items():
            model = family.load(role)
            if model is not None:
                for auto_class in auto_classes:
                    auto_class.register(configuration, model, exist_ok=True)


register_models()

__all__ = [
    "AutoModelForActionDetection",
    "AutoModelForActionRecognition",
    "AutoModelForMotionPrediction",
    "register_models",
]
