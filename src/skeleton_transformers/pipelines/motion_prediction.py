"""`skeleton-motion-prediction`: how people will go on moving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..data.geometry import resample_frames
from .base import Sequence, SkeletonPipeline


class SkeletonMotionPredictionPipeline(SkeletonPipeline):
    """Predicts the frames that follow the last one of a recording, with any motion prediction model of the package.

    The result is one dictionary for everybody who was observed: `person`, `keypoints` (frames, joints, channels) as nested lists in the
    coordinates of the input, and `frame_rate`, None if unknown. The model sees the last `observed_frames` frames (60 by default, 2 s of
    the published setting) up to the last one in which that person was there. Inputs and further options: [`SkeletonPipeline`].

    A feature extractor that centres every frame takes the way people go away, so what it predicts is relative to the centre joint.
    """

    output_name = "predicted_keypoints"
    result_name = "keypoints"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        wanted = {"stream": "joint", "scale": "none", "num_frames": None, "max_frames": None, "center_crop": 1}
        extractor = self.feature_extractor
        found = {name: getattr(extractor, name) for name in wanted if getattr(extractor, name) != wanted[name]}
        if found:
            raise ValueError(
                "motion prediction goes on from positions in their own unit and time, but the feature extractor has "
                f"{', '.join(f'{name}={value!r}' for name, value in found.items())}; use the one that the model was trained with"
            )

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        observed = {name: options.pop(name) for name in ("observed_frames",) if name in options}
        preprocess, forward, result = super()._sanitize_parameters(**options)
        return preprocess | observed, forward, result

    def preprocess(
        self, inputs: Any, per_person: bool = True, observed_frames: int = 60, **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Model inputs of everybody; people are predicted one by one, whatever `per_person` says."""
        if observed_frames < 1:
            raise ValueError(f"observed_frames must be at least 1, got {observed_frames}")
        sequences = list(self.persons(inputs, **options))
        for number, sequence in enumerate(sequences):
            yield {**self._prepare_last(sequence, observed_frames), "is_last": number == len(sequences) - 1}

    def _prepare_last(self, sequence: Sequence, observed_frames: int) -> dict[str, Any]:
        extractor = self.feature_extractor
        keypoints, frame_mask, rate = sequence.keypoints, sequence.frame_mask, sequence.frame_rate
        assert frame_mask is not None  # persons come with one
        if extractor.frame_rate is not None and rate is not None and rate != extractor.frame_rate:
            keypoints, frame_mask = resample_frames(
                keypoints.astype(np.float32), frame_mask.astype(bool), rate, extractor.frame_rate
            )
            rate = extractor.frame_rate
        end = int(np.flatnonzero(frame_mask[0])[-1]) + 1
        part = slice(max(0, end - observed_frames), end)
        keypoints, frame_mask = keypoints[:, part], frame_mask[:, part]
        normalised, present = extractor.normalize(keypoints, frame_mask, rate, sequence.name)
        about: dict[str, Any] = {"person": sequence.person, "rate": rate, "back": None}
        if extractor.center != "every_frame":
            there = np.asarray(frame_mask, dtype=bool)
            about["back"] = _rigid_motion(normalised[there], np.asarray(keypoints, dtype=np.float32)[there])
        return self.batch_of_one(normalised, present, about)

    def postprocess(self, outputs: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """Frames, and their rate, for everybody."""
        people = super().postprocess(outputs, **options)
        return [{**one, "frame_rate": output["about"]["rate"]} for one, output in zip(people, outputs, strict=True)]

    def describe(self, output: np.ndarray, about: dict[str, Any]) -> list:
        poses = output[0].astype(np.float64)  # of the only person: (frames, joints, channels)
        if about["back"] is not None:
            rotation, shift = about["back"]
            poses = poses @ rotation + shift
        return poses.tolist()


def _rigid_motion(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and shift with `source @ rotation + shift == target` (Kabsch, 1976).

    Normalising turns and moves a sequence as a whole, so there is one, whatever the settings of the feature extractor are.

    Args:
        source: `(frames, joints, coordinates)`.
        target: the same.
    """
    source, target = (points.reshape(-1, points.shape[-1]).astype(np.float64) for points in (source, target))
    known = target.any(axis=1)  # joints that were not found stay 0
    source, target = source[known], target[known]
    centres = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((source - centres[0]).T @ (target - centres[1]))
    sign = np.ones(len(left))
    sign[-1] = np.sign(np.linalg.det(left @ right)) or 1.0
    rotation = (left * sign) @ right
    return rotation, centres[1] - centres[0] @ rotation


__all__ = ["SkeletonMotionPredictionPipeline"]
