"""What all pipelines share: any recording in, batches through the model, one result per recording or per person out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers.pipelines.base import ChunkPipeline, no_collate_fn
from transformers.pipelines.pt_utils import PipelineChunkIterator, PipelineIterator, PipelinePackIterator

from ..data.formats.errors import RecordingError
from ..data.recordings import SkeletonRecording, read_skeletons


logger = logging.getLogger(__name__)

# What a file may not tell, see `read_skeletons`.
_READING = ("format", "layout", "image_size", "min_confidence", "units", "item", "landmarks")


class Sequence(NamedTuple):
    """A recording, or one person of it, as the feature extractor takes it.

    Attributes:
        keypoints: `(persons, frames, joints, channels)`, or `(frames, joints, channels)` for one person.
        frame_mask: bool `(persons, frames)`; None: wherever any coordinate is not 0.
        frame_rate: frames per second, None if unknown.
        name: what error messages call it.
        person: name or number of the person, None for a whole recording.
    """

    keypoints: np.ndarray
    frame_mask: np.ndarray | None
    frame_rate: float | None
    name: str
    person: str | int | None = None


class SkeletonPipeline(ChunkPipeline):
    """Base class of the pipelines.

    An input is the path of any file that `read_skeletons` knows, a `SkeletonRecording`, an array `(persons, frames, joints,
    channels)` or `(frames, joints, channels)`, or a dictionary with the array under `keypoints` and, where they are known,
    `frame_mask` and `frame_rate`. A list of inputs gives a list of results, a generator gives results one by one. With
    `batch_size` above 1, sequences of any lengths are computed together; results do not depend on it.

    Options of a call, or of `pipeline(...)` for all calls:

    * `per_person`: one result for each person alone instead of one for the group;
    * `frame_rate`: frames per second of inputs that do not tell it;
    * `format`, `layout`, `image_size`, `min_confidence`, `units`, `item`, `landmarks`: see `read_skeletons`.
    """

    _load_feature_extractor = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_tokenizer = False

    # Options that `postprocess` takes.
    result_options: ClassVar[tuple[str, ...]] = ()
    # Field of the model's output that is the result, and what it is called in the results of persons.
    output_name: ClassVar[str]
    result_name: ClassVar[str]
    # describe(output, about, **options): the JSON-able result that the output of the model for one sequence means.
    describe: Callable[..., Any]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        extractor, config = self.feature_extractor, self.model.config
        if not hasattr(extractor, "check_model"):
            raise ValueError(
                f"{self.task} needs a SkeletonFeatureExtractor, got {type(extractor).__name__}; load the one that was saved with the model"
            )
        extractor.check_model(config)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Results of one input, a list of them or a generator of them; see the class."""
        if isinstance(inputs, list | tuple) and not len(inputs):
            return []
        if isinstance(inputs, tuple) or getattr(inputs, "ndim", 0) == 5:
            inputs = list(inputs)
        elif isinstance(inputs, Iterator):
            inputs = (item for item in inputs)  # an iterator of any kind is streamed like a generator
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        known = ("per_person", "frame_rate", *_READING, *self.result_options)
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(
                f"{self.task or type(self).__name__} has no option {unknown[0]!r}; known: {', '.join(known)}"
            )
        result = {name: options.pop(name) for name in self.result_options if name in options}
        return options, {}, result

    def preprocess(self, inputs: Any, per_person: bool = False, **options: Any) -> Iterator[dict[str, Any]]:
        """Model inputs of one recording: one for the group, or one for each person."""
        sequences = list(self.persons(inputs, **options) if per_person else [self.sequence(inputs, **options)])
        for number, sequence in enumerate(sequences):
            yield {**self.prepare(sequence), "is_last": number == len(sequences) - 1}

    def prepare(self, sequence: Sequence) -> dict[str, Any]:
        """Model inputs, and under `about` what the result needs to know."""
        extractor = self.feature_extractor
        keypoints, frame_mask = extractor.normalize(*sequence[:4])
        return self.batch_of_one(keypoints, frame_mask, {"person": sequence.person})

    def batch_of_one(self, keypoints: np.ndarray, frame_mask: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
        """Stream, and a batch axis in front."""
        stream = self.feature_extractor.apply_stream(keypoints, frame_mask)
        inputs = self.feature_extractor.pad([(stream, frame_mask)], return_tensors="pt")
        return {**inputs, "about": about}

    def sequence(self, inputs: Any, **options: Any) -> Sequence:
        """The whole recording."""
        source, given_rate = self._open(inputs, **options)
        if isinstance(source, SkeletonRecording):
            keypoints, frame_mask = self.feature_extractor.read(source)
            return Sequence(keypoints, frame_mask, source.frame_rate or given_rate, source.source or "the recording")
        return source

    def persons(self, inputs: Any, **options: Any) -> Iterator[Sequence]:
        """Everybody who is ever present, alone.

        Raises:
            ValueError: nobody is.
        """
        source, given_rate = self._open(inputs, **options)
        found, problem = 0, None
        if isinstance(source, SkeletonRecording):
            name, rate = source.source or "the recording", source.frame_rate or given_rate
            for number in np.flatnonzero(source.frame_mask.any(axis=1)).tolist():
                try:
                    keypoints, frame_mask = self.feature_extractor.read(_only(source, number))
                except RecordingError as error:  # joints of this person are never seen; those of others may be
                    problem = error
                    logger.warning("person %s is left out: %s", number, error)
                    continue
                found += 1
                person = source.person_ids[number] if number < len(source.person_ids) else number
                yield Sequence(keypoints, frame_mask, rate, f"{name}, person {person}", person)
        else:
            name, rate = source.name, source.frame_rate
            keypoints = source.keypoints if source.keypoints.ndim != 3 else source.keypoints[None]
            if keypoints.ndim == 4:
                # (persons, frames, joints, channels) -> (persons, frames)
                seen = (keypoints != 0).any(axis=(2, 3)) if source.frame_mask is None else source.frame_mask
                mask: np.ndarray = np.atleast_2d(np.asarray(seen, dtype=bool))
                if mask.shape != keypoints.shape[:2]:
                    raise ValueError(
                        f"{name}: frame_mask has shape {mask.shape}, but the keypoints have (persons, frames) = {keypoints.shape[:2]}"
                    )
                for number in np.flatnonzero(mask.any(axis=1)).tolist():
                    found += 1
                    one = slice(number, number + 1)
                    yield Sequence(keypoints[one], mask[one], rate, f"{name}, person {number}", number)
        if not found:
            raise problem or ValueError(f"{name}: nobody is present in any frame")

    def _open(self, inputs: Any, frame_rate: float | None = None, **options: Any) -> tuple[Any, float | None]:
        """A recording, or the sequence that arrays are, and the frame rate that was given."""
        if isinstance(inputs, str | os.PathLike):
            layout = self.feature_extractor.skeleton_layout
            options = {"bodies": "simple", "default_layout": layout, **options}
            return read_skeletons(inputs, frame_rate=frame_rate, **options), frame_rate
        if isinstance(inputs, SkeletonRecording):
            return inputs, frame_rate
        mask = None
        if isinstance(inputs, Mapping):
            unknown = sorted(set(inputs) - {"keypoints", "frame_mask", "frame_rate"})
            if unknown or "keypoints" not in inputs:
                raise ValueError(
                    "a dictionary holds keypoints and, where they are known, frame_mask and frame_rate; got "
                    f"{', '.join(map(str, inputs)) or 'nothing'}"
                )
            frame_rate = inputs.get("frame_rate") or frame_rate
            mask = inputs.get("frame_mask")
            inputs = inputs["keypoints"]
        if not isinstance(inputs, np.ndarray | torch.Tensor):
            raise ValueError(
                "an input is a path, a SkeletonRecording, an array (persons, frames, joints, channels) of numpy or torch, or a "
                f"dictionary with such an array under 'keypoints'; got {type(inputs).__name__}"
            )
        return Sequence(_numpy(inputs), None if mask is None else _numpy(mask), frame_rate, "the sequence"), frame_rate

    def _forward(self, inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        output = self.model(inputs["keypoints"], inputs["frame_mask"], **options)
        # The first entry is the one by which `transformers` takes a batch apart.
        return {
            self.output_name: output[self.output_name],
            "about": inputs["about"],
            "is_last": inputs["is_last"],
        }

    def postprocess(self, outputs: list[dict[str, Any]], **options: Any) -> Any:
        """The result of a recording, or of each of its persons."""
        results = []
        for output in outputs:
            about = output["about"]
            result = self.describe(output[self.output_name][0].float().numpy(), about, **options)
            results.append(
                result if about["person"] is None else {"person": about["person"], self.result_name: result}
            )
        return results[0] if outputs[0]["about"]["person"] is None else results

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict,
        forward_params: dict,
        postprocess_params: dict,
    ) -> Iterator[Any]:
        # As in `ChunkPipeline`, but sequences are padded in persons and frames, and persons have masks.
        chunks = PipelineChunkIterator(inputs, self.preprocess, preprocess_params)
        collate = (
            no_collate_fn if batch_size == 1 else partial(_collate, pad=self.feature_extractor.pad)
        )  # single chunks are not taken apart again
        batches = DataLoader(chunks, num_workers=min(num_workers, 1), batch_size=batch_size, collate_fn=collate)
        packed = PipelinePackIterator(batches, self.forward, forward_params, loader_batch_size=batch_size)
        # A generator has no length, and the number of chunks is not that of the inputs.
        return (result for result in PipelineIterator(packed, self.postprocess, postprocess_params))


def _numpy(array: Any) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array


def _only(recording: SkeletonRecording, person: int) -> SkeletonRecording:
    """The recording of one person."""
    one = slice(person, person + 1)
    return replace(
        recording,
        keypoints=recording.keypoints[one],
        frame_mask=recording.frame_mask[one],
        joint_mask=None if recording.joint_mask is None else recording.joint_mask[one],
        confidence=None if recording.confidence is None else recording.confidence[one],
    )


def _collate(chunks: list[dict[str, Any]], pad: Callable[..., Any]) -> dict[str, Any]:
    """One batch, padded by the feature extractor."""
    samples = [(_without_batch_axis(chunk["keypoints"]), _without_batch_axis(chunk["frame_mask"])) for chunk in chunks]
    return {
        **pad(samples, return_tensors="pt"),
        "about": [chunk["about"] for chunk in chunks],
        "is_last": [chunk["is_last"] for chunk in chunks],
    }


def _without_batch_axis(values: Any) -> Any:
    """The only item of a batch; of an ensemble, that of each of its members."""
    return [member[0] for member in values] if isinstance(values, list) else values[0]


__all__ = ["Sequence", "SkeletonPipeline"]
