"""`skeleton-action-detection`: what is done when, in an untrimmed take."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.task_datasets import check_keeps_frames
from ..evaluation.detection import frames_to_segments
from .base import Sequence, SkeletonPipeline


class SkeletonActionDetectionPipeline(SkeletonPipeline):
    """Finds the actions in takes of any length, with any detection model of the package.

    The result is a list of actions in the order of time: `label`, `score`, `start` and `end` (frames of the input, the last one is
    `end - 1`), and `start_seconds` and `end_seconds` where the frame rate is known. With `per_person=True` it is a list of `person`
    and `detections`. `rule`, `radius`, `threshold` and `min_frames` say how frames become actions: see `frames_to_segments`. Inputs and
    further options: [`SkeletonPipeline`].
    """

    result_options = ("rule", "radius", "threshold", "min_frames")
    output_name = "logits"
    result_name = "detections"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        extractor = self.feature_extractor
        check_keeps_frames(extractor, extractor.frame_rate or 0)  # another rate is no loss: times are turned back

    def prepare(self, sequence: Sequence) -> dict[str, Any]:
        inputs = super().prepare(sequence)
        rate = self.feature_extractor.frame_rate or sequence.frame_rate
        inputs["about"] |= {
            "frames": inputs["frame_mask"].shape[2],
            "rate": rate,
            # frames of the input for one of the model
            "step": sequence.frame_rate / rate if rate and sequence.frame_rate else 1.0,
        }
        return inputs

    def describe(self, output: np.ndarray, about: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        logits = output[: about["frames"]]
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        found = []
        for segment in sorted(frames_to_segments(probabilities, **options), key=lambda segment: segment.start):
            if segment.label == 0:  # the other rule gives the background, too
                continue
            action = {"label": self.model.config.id2label[segment.label], "score": segment.confidence}
            action |= {name: round(getattr(segment, name) * about["step"]) for name in ("start", "end")}
            if about["rate"]:
                action |= {f"{name}_seconds": getattr(segment, name) / about["rate"] for name in ("start", "end")}
            found.append(action)
        return found


__all__ = ["SkeletonActionDetectionPipeline"]
