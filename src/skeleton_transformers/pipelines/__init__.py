"""Pipelines: a recording in, an answer out.

`import skeleton_transformers` makes their tasks known to `transformers.pipeline`.
"""

from typing import Any

from transformers import AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from ..modeling_loading import CheckpointError
from ..models.auto import AutoModelForActionDetection, AutoModelForActionRecognition, AutoModelForMotionPrediction
from .action_detection import SkeletonActionDetectionPipeline
from .action_recognition import SkeletonActionRecognitionPipeline
from .base import SkeletonPipeline
from .feature_extraction import SkeletonFeatureExtractionPipeline
from .motion_prediction import SkeletonMotionPredictionPipeline


PIPELINES = {
    "skeleton-action-recognition": (SkeletonActionRecognitionPipeline, AutoModelForActionRecognition),
    "skeleton-action-detection": (SkeletonActionDetectionPipeline, AutoModelForActionDetection),
    "skeleton-motion-prediction": (SkeletonMotionPredictionPipeline, AutoModelForMotionPrediction),
    "skeleton-feature-extraction": (SkeletonFeatureExtractionPipeline, AutoModel),
}


def register_pipelines() -> None:
    """Make the tasks known to `transformers.pipeline`."""
    for task, (pipeline_class, auto_class) in PIPELINES.items():
        if task not in PIPELINE_REGISTRY.supported_tasks:
            PIPELINE_REGISTRY.register_pipeline(task, pipeline_class, pt_model=_trained(auto_class, task))


def _trained(auto_class: Any, task: str) -> Any:
    """An Auto class that refuses checkpoints of which a part would start from random numbers: nobody trains in a pipeline."""

    class TrainedModel(auto_class):
        @classmethod
        def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
            name = pretrained_model_name_or_path
            model, report = super().from_pretrained(name, *args, **kwargs, output_loading_info=True)
            missing = sorted(report["missing_keys"])
            if missing:
                raise CheckpointError(
                    f"{name} lacks {', '.join(missing[:3])}: it was saved as {', '.join(model.config.architectures or ('?',))} and is "
                    f"not trained for {task}; fine-tune it first, or name another checkpoint"
                )
            return model

    TrainedModel.__name__ = auto_class.__name__
    return TrainedModel


register_pipelines()

__all__ = [
    "PIPELINES",
    "SkeletonActionDetectionPipeline",
    "SkeletonActionRecognitionPipeline",
    "SkeletonFeatureExtractionPipeline",
    "SkeletonMotionPredictionPipeline",
    "SkeletonPipeline",
    "register_pipelines",
]
