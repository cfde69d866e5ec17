"""`skeleton-feature-extraction`: recordings to vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import SkeletonPipeline


class SkeletonFeatureExtractionPipeline(SkeletonPipeline):
    """Turns recordings into vectors, with the encoder of any model of the package.

    The result is the `pooler_output` of the encoder, a list of `config.hidden_size` numbers. With `per_person=True` it is a list of
    `person` and `features`. Inputs and further options: [`SkeletonPipeline`].
    """

    output_name = "pooler_output"
    result_name = "features"

    def describe(self, output: np.ndarray, about: dict[str, Any]) -> list[float]:
        return output.tolist()


__all__ = ["SkeletonFeatureExtractionPipeline"]
