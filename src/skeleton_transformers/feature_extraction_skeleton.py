"""From raw skeleton sequences to model inputs: validation, normalisation, stream, padding."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .data import geometry
from .skeletons import SkeletonLayout, get_layout, is_built_in_layout, list_layouts


if TYPE_CHECKING:
    from .data.recordings import SkeletonRecording

_CHOICES = {
    "stream": ("joint", "motion", "bone"),
    "motion_zero": ("first", "last"),
    "center": ("none", "first_frame", "every_frame"),
    "scale": ("none", "spine"),
    "person_selection": ("first", "energy", "presence", "all"),
}

# Keys that the Hugging Face tools write into a preprocessor_config.json beside our own.
_FOREIGN_KEYS = ("feature_extractor_type", "processor_class", "auto_map", "custom_pipelines", "_commit_hash")


class SkeletonFeatureExtractor(FeatureExtractionMixin):
    """Turns raw skeleton sequences of any length and any number of people into the inputs of a model.

    The work has three steps, which a call does one after the other: `normalize` (validate, select persons, resample,
    turn to a common view, centre, scale), `apply_stream` (joint, motion or bone) and `pad`. Data sets call the steps
    themselves, to put augmentation between the first and the second.

    Args:
        layout: name of a joint layout, a `SkeletonLayout`, or the fields of one. `save_pretrained` writes the name of
            a built-in layout and all fields of any other, so a saved extractor loads anywhere.
        num_channels: values per joint: 3 for x, y, z; 2 for x, y; one more with a confidence.
        stream: `"joint"` the coordinates; `"motion"` the change from frame to frame; `"bone"` each joint minus its
            parent in the layout (the root is 0).
        motion_zero: which frame of the motion stream is 0: `"first"`, m_t = x_t - x_(t-1) (Hi-TRS), or `"last"`,
            m_t = x_(t+1) - x_t (2s-AGCN, CrosSCLR, HiCo, MAMP). Motion into or out of a frame where the person is
            absent is 0.
        center: subtract the layout's `center` joint of the first person who is ever present: `"none"`, `"first_frame"`
            (where that joint is in the person's first frame) or `"every_frame"` (2s-AGCN, frame by frame; while that
            person is absent, the last place holds). Joints whose coordinates are all 0 count as not found and stay 0.
        normalize_view: turn the whole sequence so that, in the first frame of the first person, the layout's spine
            points along +z and then the shoulder line, left to right, along +x (2s-AGCN, Shi et al., CVPR 2019). Needs
            three coordinates.
        scale: `"spine"` divides by the first person's spine length, averaged over the frames in which she is present.
        frame_rate: resample to this many frames per second; `normalize` and calls then need `source_frame_rate`.
        num_frames: resize every sequence, up to the last frame in which anybody is present, to this length by linear
            interpolation.
        center_crop: keep this share of the frames, in the middle, up to the last frame in which anybody is present: from
            frame `floor((1 - center_crop) / 2 * frames)` on and as many less at the end (HiCo and MAMP evaluate with 0.95).
            A crop that would leave nobody is left out.
        max_frames: keep the first `max_frames` frames (as the released code of Hi-TRS does with 300). Not together
            with `num_frames`.
        max_persons: keep at most this many persons.
        person_selection: which: the `"first"` ones; those with the most `"energy"`, the sum of the standard deviations
            of the coordinates over all joints of the frames where a person is present, most first (2s-AGCN, HiCo);
            those with the most frames of `"presence"`, most first; or `"all"`, whatever `max_persons` says.
        confidence_channel: the last channel is the confidence of an estimator, not a coordinate. It is carried along:
            it is neither rotated nor centred nor differenced.

    Raises:
        ValueError: for an unknown argument or value, or one that the layout does not support.
    """

    model_input_names = ["keypoints", "frame_mask"]

    def __init__(
        self,
        layout: str | Mapping[str, Any] | SkeletonLayout = "ntu25",
        num_channels: int = 3,
        stream: str = "joint",
        motion_zero: str = "first",
        center: str = "none",
        normalize_view: bool = False,
        scale: str = "none",
        frame_rate: float | None = None,
        num_frames: int | None = None,
        center_crop: float = 1.0,
        max_frames: int | None = None,
        max_persons: int = 2,
        person_selection: str = "first",
        confidence_channel: bool = False,
        **kwargs: Any,
    ):
        unknown = sorted(set(kwargs) - set(_FOREIGN_KEYS))
        if unknown:
            known = [
                name for name in SkeletonFeatureExtractor.__init__.__annotations__ if name not in ("kwargs", "return")
            ]
            raise ValueError(
                f"Unknown arguments of SkeletonFeatureExtractor: {unknown}; known are {', '.join(known)}."
            )
        kwargs.pop("feature_extractor_type", None)
        super().__init__(**kwargs)
        self._layout = get_layout(layout)
        # What is saved: the name where the name alone finds the layout in every process, else the whole layout.
        self.layout = self._layout.name if is_built_in_layout(self._layout) else self._layout.to_dict()
        self.num_channels = num_channels
        self.stream = stream
        self.motion_zero = motion_zero
        self.center = center
        self.normalize_view = normalize_view
        self.scale = scale
        self.frame_rate = frame_rate
        self.num_frames = num_frames
        self.center_crop = center_crop
        self.max_frames = max_frames
        self.max_persons = max_persons
        self.person_selection = person_selection
        self.confidence_channel = confidence_channel
        self._validate()
        self._parents = np.array(self._layout.parents)

    def _validate(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
        if self.num_coordinates not in (2, 3):
            raise ValueError(
                f"num_channels={self.num_channels} with confidence_channel={self.confidence_channel} leaves "
                f"{self.num_coordinates} coordinates; joints have 2 or 3."
            )
        for name in ("num_frames", "max_frames", "max_persons"):
            value = getattr(self, name)
            if (value is None and name != "max_persons") or (type(value) is int and value >= 1):
                continue
            raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}.")
        if self.num_frames is not None and self.max_frames is not None:
            raise ValueError(
                "Give num_frames (every sequence resized to it) or max_frames (longer ones cut), not both; got "
                f"num_frames={self.num_frames} and max_frames={self.max_frames}."
            )
        if not (isinstance(self.center_crop, int | float) and 0 < self.center_crop <= 1):
            raise ValueError(
                f"center_crop must be a share of the frames, more than 0 and at most 1; got {self.center_crop!r}."
            )
        if self.frame_rate is not None:
            _check_rate("frame_rate", self.frame_rate)
        if self.normalize_view and self.num_coordinates != 3:
            raise ValueError(
                "normalize_view turns sequences in space and needs 3 coordinates; got "
                f"num_channels={self.num_channels} with confidence_channel={self.confidence_channel}. Use "
                "normalize_view=False for 2D data."
            )
        needed = {"spine": self.normalize_view or self.scale == "spine", "shoulders": self.normalize_view}
        for name, is_needed in needed.items():
            if is_needed and getattr(self._layout, name) is None:
                option = "normalize_view=True" if self.normalize_view else "scale='spine'"
                raise ValueError(
                    f"{option} needs a layout that names its {name}; {self._layout.name!r} does not. Switch the "
                    f"option off, or give a layout with the field {name!r}."
                )

    @property
    def skeleton_layout(self) -> SkeletonLayout:
        """The joint layout of the sequences."""
        return self._layout

    @property
    def num_coordinates(self) -> int:
        """Coordinates per joint: the channels without the confidence."""
        return self.num_channels - int(self.confidence_channel)

    def to_dict(self) -> dict[str, Any]:
        """All settings, JSON-able, as `save_pretrained` writes them."""
        output = {key: copy.deepcopy(value) for key, value in self.__dict__.items() if not key.startswith("_")}
        output["feature_extractor_type"] = type(self).__name__
        return output

    def __call__(
        self,
        sequences: Any,
        frame_mask: Any = None,
        source_frame_rate: float | Sequence[float] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prepares one sequence or a batch of sequences.

        Args:
            sequences: one sequence, or a list of sequences of any lengths and numbers of people. A sequence is an
                array `(persons, frames, joints, channels)`, or `(frames, joints, channels)` for one person, of numpy,
                torch or nested lists; a recording of `read_skeletons`; or the path of any file that it reads. Nested
                lists of depth 3 are one sequence, of depth 4 or 5 a list of sequences. An array of five axes is a
                batch. Recordings and files bring their own mask and frame rate, and their joints are matched by name.
            frame_mask: bool `(persons, frames)`, True where that person is there; for a list of sequences, a list of
                masks (or None where a sequence needs none). Without a mask a frame counts as present when any
                coordinate of it is not 0.
            source_frame_rate: frames per second of the sequences, or of each one; needed if the extractor changes
                the rate.
            return_tensors: `"pt"` or `"np"`; numpy arrays if left out.

        Returns:
            `keypoints` float32 `(batch, persons, frames, joints, channels)` and `frame_mask` bool
            `(batch, persons, frames)`, padded with 0 and False to the largest sequence.

        Raises:
            ValueError: for a sequence that cannot be used; the message names it, the place in it, the value and
                the remedy.
            FileNotFoundError: if a path does not exist.
        """
        is_single = _is_single_sequence(sequences)
        items = [sequences] if is_single else list(sequences)
        if not items:
            raise ValueError("There is no sequence: the list is empty.")
        masks = [frame_mask] if is_single else [None] * len(items) if frame_mask is None else list(frame_mask)
        if len(masks) != len(items):
            raise ValueError(
                f"There are {len(items)} sequences but {len(masks)} frame masks; give one mask for each, or None."
            )
        if isinstance(source_frame_rate, Sequence | np.ndarray):
            rates: list[float | None] = list(source_frame_rate)
        else:
            rates = [source_frame_rate] * len(items)
        if len(rates) != len(items):
            raise ValueError(
                f"There are {len(items)} sequences but {len(rates)} source frame rates; give one, or one for each."
            )
        samples = []
        for index, (item, mask, rate) in enumerate(zip(items, masks, rates)):
            name = os.fspath(item) if isinstance(item, str | os.PathLike) else f"sequence {index}"
            keypoints, present = self.normalize(item, mask, rate, name=name)
            samples.append((self.apply_stream(keypoints, present), present))
        return self.pad(samples, return_tensors=return_tensors)

    def normalize(
        self, keypoints: Any, frame_mask: Any = None, source_frame_rate: float | None = None, name: str = "sequence 0"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Validates one sequence, then selects persons, resamples, and normalises view, centre and scale.

        Args:
            keypoints: one sequence, see `__call__`. It is not changed.
            frame_mask: bool `(persons, frames)`, or `(frames,)` for one person.
            source_frame_rate: frames per second of the sequence.
            name: what error messages call it.

        Returns:
            keypoints float32 `(persons, frames, joints, channels)`, 0 where a person is absent, and frame_mask bool
            `(persons, frames)`.

        Raises:
            ValueError: if the sequence cannot be used.
        """
        if isinstance(keypoints, str | os.PathLike) or hasattr(keypoints, "person_ids"):
            keypoints, present, known_rate = self._from_recording(keypoints)
            frame_mask = present if frame_mask is None else frame_mask
            source_frame_rate = known_rate if source_frame_rate is None else source_frame_rate
        values, mask = self._check(keypoints, frame_mask, name)
        values, mask = self._select_persons(values, mask, name)

        if self.frame_rate is not None:
            if source_frame_rate is None:
                raise ValueError(
                    f"{name}: the extractor resamples to {self.frame_rate} frames per second, but the rate of the "
                    "sequence is not known; pass source_frame_rate."
                )
            _check_rate(f"{name}: source_frame_rate", source_frame_rate)
            values, mask = geometry.resample_frames(values, mask, source_frame_rate, self.frame_rate)
        if self.num_frames is not None or self.center_crop < 1:
            length = int(np.flatnonzero(mask.any(axis=0))[-1]) + 1 if mask.any() else 1
            removed = int((1 - self.center_crop) * length / 2)  # from each end
            if not mask[:, removed : length - removed].any():
                removed = 0
            values, mask = values[:, removed : length - removed], mask[:, removed : length - removed]
        if self.num_frames is not None:
            values, mask = geometry.resize_frames(values, mask, self.num_frames)
        if self.max_frames is not None and mask.shape[1] > self.max_frames:
            values, mask = values[:, : self.max_frames].copy(), mask[:, : self.max_frames].copy()
        if not mask.any():
            raise ValueError(
                f"{name}: nobody is present in the {mask.shape[1]} frames that are left after resampling and cutting; "
                "raise max_frames, num_frames or frame_rate, or cut the empty start off."
            )

        if self.normalize_view:
            values = geometry.rotate(values, geometry.view_rotation(values, mask, self._layout))
        if self.center != "none":
            points = values[..., : self.num_coordinates]
            centers = geometry.reference_centers(points, mask, self._layout.center)
            if self.center == "first_frame":
                # Before the first person's first frame, its place there is held; so row 0 is the place in that frame.
                centers = centers[:1]
            values = self._with_coordinates(values, geometry.subtract_centers(points, mask, centers))
        if self.scale == "spine":
            values = self._with_coordinates(
                values, values[..., : self.num_coordinates] / self._spine_length(values, mask, name)
            )
        return values, mask

    def apply_stream(self, keypoints: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
        """Computes the extractor's stream from normalised keypoints.

        Args:
            keypoints: float32 `(persons, frames, joints, channels)`, 0 where absent.
            frame_mask: bool `(persons, frames)`.

        Returns:
            An array of the same shape; `keypoints` itself for the joint stream.
        """
        if self.stream == "joint":
            return keypoints
        points = keypoints[..., : self.num_coordinates]
        if self.stream == "bone":
            return self._with_coordinates(keypoints, points - np.take(points, self._parents, axis=-2))
        if self.stream != "motion":
            raise ValueError(f"stream must be one of {', '.join(map(repr, _CHOICES['stream']))}; got {self.stream!r}.")
        steps = points[:, 1:] - points[:, :-1]  # (persons, frames - 1, joints, coordinates)
        steps *= (frame_mask[:, 1:] & frame_mask[:, :-1])[:, :, None, None]
        motion = np.zeros_like(points)
        motion[:, slice(1, None) if self.motion_zero == "first" else slice(0, -1)] = steps
        return self._with_coordinates(keypoints, motion)

    def pad(self, samples: Sequence[tuple[np.ndarray, np.ndarray]], return_tensors: str | None = None) -> BatchFeature:
        """Pads prepared sequences to the most persons and the most frames among them.

        Args:
            samples: pairs of keypoints `(persons, frames, joints, channels)` and frame_mask `(persons, frames)`.
            return_tensors: `"pt"` or `"np"`; numpy arrays if left out.

        Returns:
            `keypoints` float32 `(batch, persons, frames, joints, channels)`, `frame_mask` bool
            `(batch, persons, frames)`.
        """
        if not samples:
            raise ValueError("There is no sequence to pad: the list is empty.")
        persons = max(mask.shape[0] for _, mask in samples)
        frames = max(mask.shape[1] for _, mask in samples)
        keypoints = np.zeros((len(samples), persons, frames, *samples[0][0].shape[2:]), dtype=np.float32)
        frame_mask = np.zeros((len(samples), persons, frames), dtype=bool)
        for row, (values, mask) in enumerate(samples):
            keypoints[row, : mask.shape[0], : mask.shape[1]] = values
            frame_mask[row, : mask.shape[0], : mask.shape[1]] = mask
        return BatchFeature({"keypoints": keypoints, "frame_mask": frame_mask}, tensor_type=return_tensors)

    def read(self, recording: SkeletonRecording) -> tuple[np.ndarray, np.ndarray]:
        """The arrays of a recording, in the layout and with the channels of the extractor, as `normalize` takes them.

        Raises:
            RecordingError: joints, channels or units do not fit.
        """
        from .data.recordings import as_sequence

        return as_sequence(recording, self._layout, self.num_channels, self.confidence_channel)

    def check_model(self, config: Any) -> None:
        """Raises a `ValueError` if a model with this configuration takes other joints or channels."""
        mine = (self._layout.num_joints, self.num_channels)
        if mine != (config.num_joints, config.num_channels):
            raise ValueError(
                f"the feature extractor gives {mine[0]} joints with {mine[1]} channels, but the model takes {config.num_joints} "
                f"joints with {config.num_channels}; take the one that the model was trained and saved with"
            )

    # -- parts of normalize ------------------------------------------------------------------------------------------
    def _from_recording(
        self, source: str | os.PathLike | SkeletonRecording
    ) -> tuple[np.ndarray, np.ndarray, float | None]:
        """Keypoints, frame mask and frame rate (None: unknown) of a recording or a file."""
        if isinstance(source, str | os.PathLike):
            from .data.recordings import read_skeletons

            source = read_skeletons(source, default_layout=self._layout, bodies="simple")
        return *self.read(source), source.frame_rate

    def _check(self, keypoints: Any, frame_mask: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Own float32 keypoints `(M, T, V, C)` and bool mask `(M, T)` of a usable sequence."""
        values = _to_array(keypoints, name)
        shape = values.shape
        if values.ndim not in (3, 4):
            raise ValueError(
                f"{name}: has {values.ndim} axes, shape {shape}; a sequence is (persons, frames, joints, channels) "
                "or, for one person, (frames, joints, channels)."
            )
        if values.ndim == 3:
            values = values[None]
        persons, frames, joints, channels = values.shape
        if persons == 0 or frames == 0:
            raise ValueError(f"{name}: has no {'person' if persons == 0 else 'frame'}, shape {shape}; leave it out.")
        if joints != self._layout.num_joints:
            fitting = [known for known in list_layouts() if get_layout(known).num_joints == joints]
            hint = (
                f"layouts with {joints} joints are {', '.join(fitting)}"
                if fitting
                else f"no known layout has {joints} joints"
            )
            raise ValueError(
                f"{name}: has {joints} joints, shape {shape}, but layout {self._layout.name!r} has "
                f"{self._layout.num_joints}; {hint}. Name the right layout, or convert the sequence with "
                "convert_layout."
            )
        if channels != self.num_channels:
            raise ValueError(
                f"{name}: has {channels} channels per joint, shape {shape}, but the extractor expects "
                f"{self.num_channels}; drop the other channels or set num_channels."
            )
        if frame_mask is None:
            points = values[..., : self.num_coordinates]
            # (M, T, V, C) -> (M, T, V * C)
            mask = np.asarray(points.reshape(persons, frames, -1).any(axis=2))
        else:
            mask = self._check_mask(frame_mask, (persons, frames), name)
        # The sum of finite numbers of any sensible size is finite, so the place is looked for only where
        # there is one.
        if not math.isfinite(values.sum(dtype=np.float64)):
            self._refuse_non_finite(values, mask, name)
        if not mask.any():
            reason = "all coordinates are 0" if frame_mask is None else "frame_mask is False everywhere"
            raise ValueError(f"{name}: nobody is present in any of the {frames} frames ({reason}); leave it out.")
        if not mask.all():
            values[~mask] = 0
        return values, mask

    def _check_mask(self, frame_mask: Any, expected: tuple[int, int], name: str) -> np.ndarray:
        mask = _as_numpy(frame_mask)
        if mask.ndim == 1 and expected[0] == 1:
            mask = mask[None]
        if mask.shape != expected:
            raise ValueError(
                f"{name}: frame_mask has shape {mask.shape}, but the sequence has (persons, frames) = {expected}; "
                "give one value for each person and frame."
            )
        if mask.dtype != bool:
            odd = mask[(mask != 0) & (mask != 1)]
            if odd.size:
                raise ValueError(
                    f"{name}: frame_mask holds {odd.flat[0]!r}; its values are True and False (or 1 and 0)."
                )
        return mask.astype(bool)

    def _refuse_non_finite(self, values: np.ndarray, mask: np.ndarray, name: str) -> None:
        bad = ~np.isfinite(values) & mask[:, :, None, None]
        if not bad.any():
            return
        person, frame, joint, channel = np.argwhere(bad)[0]
        raise ValueError(
            f"{name}: {bad.any(axis=-1).sum()} joints are not finite, the first is "
            f"{values[person, frame, joint, channel]} at person {person}, frame {frame}, joint {joint} "
            f"({self._layout.joints[joint]}), channel {channel}; repair the recording, or set frame_mask to False for "
            "these frames."
        )

    def _select_persons(self, values: np.ndarray, mask: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        if self.person_selection == "all":
            return values, mask
        if self.person_selection == "first":
            if mask.shape[0] <= self.max_persons:
                return values, mask
            if not mask[: self.max_persons].any():
                raise ValueError(
                    f"{name}: nobody is present among the first {self.max_persons} of {mask.shape[0]} persons; use "
                    "person_selection='presence' or 'energy', or raise max_persons."
                )
            return values[: self.max_persons], mask[: self.max_persons]
        if self.person_selection == "presence":
            rank = mask.sum(axis=1).astype(np.float64)
        else:
            rank = np.zeros(mask.shape[0])
            for person in np.flatnonzero(mask.any(axis=1)):
                seen = values[person, mask[person], :, : self.num_coordinates].reshape(-1, self.num_coordinates)
                rank[person] = seen.std(axis=0, dtype=np.float64).sum()
        rank[~mask.any(axis=1)] = -1  # one who stands still still comes before one who is not there
        order = np.argsort(-rank, kind="stable")[: self.max_persons]
        return values[order], mask[order]

    def _spine_length(self, values: np.ndarray, mask: np.ndarray, name: str) -> np.float32:
        assert self._layout.spine is not None  # checked in _validate
        lower, upper = self._layout.spine
        person = geometry.reference_person(mask)
        seen = values[person, mask[person], :, : self.num_coordinates]  # (frames, joints, coordinates)
        length = float(np.linalg.norm(seen[:, upper] - seen[:, lower], axis=-1).mean())
        if length < 1e-6:
            joints = self._layout.joints
            raise ValueError(
                f"{name}: the spine of person {person}, from {joints[lower]} to {joints[upper]}, has length {length}, "
                "so it gives no scale; repair the recording or use scale='none'."
            )
        return np.float32(length)

    def _with_coordinates(self, values: np.ndarray, points: np.ndarray) -> np.ndarray:
        """`values` with its coordinates replaced; a confidence stays."""
        if not self.confidence_channel:
            return points
        return np.concatenate([points, values[..., self.num_coordinates :]], axis=-1)


def _check_rate(name: str, rate: float) -> None:
    if not (isinstance(rate, int | float | np.number) and math.isfinite(rate) and rate > 0):
        raise ValueError(f"{name} must be a positive number of frames per second; got {rate!r}.")


def _as_numpy(value: Any) -> np.ndarray:
    """Array of a numpy array, a torch tensor or nested lists."""
    if hasattr(value, "detach"):  # a tensor, known without importing torch
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value)


def _depth(value: Any) -> int:
    """Axes of an array or of nested lists, following the first elements."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if isinstance(value, list | tuple):
        return 1 + (_depth(value[0]) if value else 0)
    return 0


def _is_single_sequence(sequences: Any) -> bool:
    if isinstance(sequences, str | os.PathLike) or hasattr(sequences, "person_ids"):
        return True
    if hasattr(sequences, "ndim"):
        return sequences.ndim != 5
    # A list: of numbers or frames it is one sequence, else each element is one.
    first = next(iter(sequences), None)
    return isinstance(first, list | tuple | int | float) and _depth(sequences) <= 3


def _to_array(sequence: Any, name: str) -> np.ndarray:
    """A float32 copy of one sequence."""
    try:
        return np.array(_as_numpy(sequence), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: is no array of numbers ({error}); every frame needs the same joints and every joint the same "
            "channels."
        ) from error


__all__ = ["SkeletonFeatureExtractor"]
