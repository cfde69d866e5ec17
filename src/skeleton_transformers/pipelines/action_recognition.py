"""`skeleton-action-recognition`: what is done in a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import SkeletonPipeline


class SkeletonActionRecognitionPipeline(SkeletonPipeline):
    """Names the action in recordings, with any recognition model of the package.

    The result is a list of `label` and `score` (probability), best first: as many as `top_k` says (5 by default). With
    `per_person=True` it is a list of `person` and `predictions`. Inputs and further options: [`SkeletonPipeline`].

    ```python
    from transformers import pipeline
    import skeleton_transformers

    recognise = pipeline("skeleton-action-recognition", model="runs/hitrs_demo_recognition")
    recognise("take.skeleton", top_k=2)
    ```
    """

    result_options = ("top_k",)
    output_name = "logits"
    result_name = "predictions"

    def describe(self, output: np.ndarray, about: dict[str, Any], top_k: int = 5) -> list[dict[str, Any]]:
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        scores = np.exp(output - output.max())
        scores /= scores.sum()
        best = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return [{"label": self.model.config.id2label[index], "score": float(scores[index])} for index in best]


__all__ = ["SkeletonActionRecognitionPipeline"]
