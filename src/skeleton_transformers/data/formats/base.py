"""What all readers share: the recording they give back, the file they read, and the checks that every recording passes."""

from __future__ import annotations

import gzip
import json
import logging
import math
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...skeletons import SkeletonLayout, get_layout, list_layouts
from .errors import RecordingError


logger = logging.getLogger(__name__)

# Frame numbers may have gaps (nobody was seen), but a span so much wider than the number of frames is no frame count.
_LARGEST_SPAN = 50
# Coordinates of a whole body that all lie in here are fractions of the image and not pixels.
_FRACTIONS = (-1.0, 2.0)
# Keypoints of the whole body, of which the first ones are the body with its feet, then come face and hands.
_BODY_FIRST = {133: "wholebody23", 136: "halpe26"}
_PACKED = 256 * 2**20


@dataclass
class SkeletonRecording:
    """One recording, whatever file it came from.

    Attributes:
        keypoints: float32 `(persons, frames, joints, channels)`; channels are x, y or x, y, z. 0 where there is no value.
        frame_mask: bool `(persons, frames)`, True where that person was seen.
        layout: the joints.
        joint_mask: bool `(persons, frames, joints)`, False where the file has no value for a joint; None if every joint of every
            present person has one.
        confidence: float32 `(persons, frames, joints)` in [0, 1], 0 where there is no value; None if the file has none.
        frame_rate: frames per second, None if unknown.
        units: what 1 in a coordinate is: "metre", "image fraction" (x of the width, y of the height), "pixel"; "" if unknown.
        person_ids: names of the people; empty where the file has none.
        source: path of the file.
        format: name of its format, one of `list_formats()`.
        label: number of the class if the file has one, else -1.
        frame_labels: int `(frames,)`, a number per frame if the file has them: 0 background, 1 and up the actions.
    """

    keypoints: np.ndarray
    frame_mask: np.ndarray
    layout: SkeletonLayout
    joint_mask: np.ndarray | None = None
    confidence: np.ndarray | None = None
    frame_rate: float | None = None
    units: str = ""
    person_ids: tuple[str, ...] = ()
    source: str = ""
    format: str = ""
    label: int = -1
    frame_labels: np.ndarray | None = None

    @property
    def present_joints(self) -> np.ndarray:
        """bool `(persons, frames, joints)`: where there is a value."""
        if self.joint_mask is not None:
            return self.joint_mask
        return np.broadcast_to(self.frame_mask[..., None], self.keypoints.shape[:3])


@dataclass(frozen=True)
class ReadOptions:
    """What a user can say about a file that does not say it itself.

    Attributes:
        layout: joints of a file that does not name them.
        default_layout: the same, used only if neither the file nor its format tells them.
        image_size: width and height of the image in pixels.
        item: which array or recording of a file that holds several.
        landmarks: "world" or "image", where a file of MediaPipe holds both.
        bodies: people of NTU files: "all" by their ids, or "simple", "energy", "denoise" (see `body_selection`).
    """

    layout: SkeletonLayout | None = None
    default_layout: SkeletonLayout | None = None
    image_size: tuple[float, float] | None = None
    item: str | None = None
    landmarks: str = "world"
    bodies: str = "all"


@dataclass(frozen=True)
class FileFormat:
    """A format that `read_skeletons` knows.

    Attributes:
        name: its name.
        title: what writes such files.
        suffixes: usual endings of the names.
        layout: which layout the recordings have, in words.
        units: which units they have, in words.
        detect: says whether a file is of this format, by its content (or, where that says nothing, by its name). May raise
            `RecordingError` for content that cannot be parsed.
        read: reads it.
        extra: the optional dependency it needs, "" for none.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    layout: str
    units: str
    detect: Callable[[RecordingFile], bool]
    read: Callable[[RecordingFile, ReadOptions], SkeletonRecording]
    extra: str = ""


class RecordingFile:
    """A file, read and parsed once for all formats that look at it. A gzip file is unpacked."""

    def __init__(self, path: Path):
        self.path = path

    def error(self, message: str, place: str = "") -> RecordingError:
        """The error of this file at a place such as `"frame 3"`."""
        return RecordingError(f"{self.path}{', ' if place else ''}{place}: {message}")

    @cached_property
    def suffix(self) -> str:
        """Ending of the name in lower case, without `.gz`."""
        path = self.path
        return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()

    @cached_property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @cached_property
    def data(self) -> bytes:
        """The content; b"" for a folder."""
        if self.is_folder:
            return b""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise self.error(f"cannot be read ({error.strerror or error})") from error
        if not data.startswith(b"\x1f\x8b"):
            return data
        try:
            with gzip.open(self.path) as file:
                data = file.read(_PACKED + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise self.error(f"damaged gzip file ({error}); copy it again") from error
        if len(data) > _PACKED:
            raise self.error(f"unpacks to more than {_PACKED >> 20} MiB; unpack it with gunzip first if that is meant")
        return data

    @cached_property
    def text(self) -> str:
        """The content as text: UTF-8, or UTF-16 with its mark."""
        wide = self.data.startswith((b"\xff\xfe", b"\xfe\xff"))
        try:
            return self.data.decode("utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes, unpacked; b"" for a folder."""
        if self.is_folder:
            return b""
        try:
            with open(self.path, "rb") as file:
                head = file.read(4096)
        except OSError as error:
            raise self.error(f"cannot be read ({error.strerror or error})") from error
        return self.data[:4096] if head.startswith(b"\x1f\x8b") else head

    @cached_property
    def start(self) -> str:
        """The first characters of a text file after blanks, "" if it is none."""
        head = self.head
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return head.decode("utf-16", errors="ignore").lstrip()
        if b"\0" in head:
            return ""
        return head.decode("utf-8-sig", errors="replace").lstrip()

    @cached_property
    def is_json(self) -> bool:
        return self.start[:1] in ("{", "[")

    @cached_property
    def json(self) -> Any:
        """The parsed content, None if it does not begin as JSON does."""
        if not self.is_json:
            return None
        try:
            return json.loads(self.text)
        except RecursionError as error:
            raise self.error("not JSON of a recording: its lists are nested too deeply") from error
        except RecordingError:
            raise
        except ValueError as error:
            raise self.error(f"not JSON ({error}); the file is cut off or of another format") from error

    def numbers(self, values: Any, place: str, shape: tuple[int, ...]) -> np.ndarray:
        """A float64 array of nested lists.

        Args:
            values: the lists; None in them is a value that is missing, NaN in the array.
            place: where they stand, for the message.
            shape: wanted shape, -1 for any length.

        Raises:
            RecordingError: if they are no numbers or have another shape.
        """
        try:
            array = np.array(values, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            array = np.empty(())
        fits = array.ndim == len(shape) and all(w in (-1, n) for w, n in zip(shape, array.shape))
        if not fits:
            wanted = " x ".join("n" if length == -1 else str(length) for length in shape)
            text = repr(values)
            raise self.error(f"expected {wanted} numbers, got {text[:80]}{'...' if len(text) > 80 else ''}", place)
        return array

    def frame_places(self, numbers: Sequence[int] | np.ndarray, what: str) -> tuple[np.ndarray, int]:
        """Places on the frame axis of frames that carry numbers, which may begin anywhere and leave gaps.

        Returns:
            int64 `(observations,)`, from 0, and the number of frames.

        Raises:
            RecordingError: if the numbers span far more than there are frames.
        """
        distinct = sorted(set(int(number) for number in numbers))
        span = distinct[-1] - distinct[0] + 1
        if span > max(1000, _LARGEST_SPAN * len(distinct)):
            raise self.error(
                f"{what} run from {distinct[0]} to {distinct[-1]}, but there are only {len(distinct)} of them; "
                "number the frames 0, 1, 2, ..."
            )
        return np.array([int(number) - distinct[0] for number in numbers], dtype=np.int64), span

    def layout_by_count(self, joints: int, options: ReadOptions, *candidates: str) -> SkeletonLayout:
        """The layout of joints without names: the user's, or the only candidate of the format with so many.

        Args:
            joints: how many there are.
            options: what the user said.
            *candidates: layouts that the format is known to have; none where it may be any.

        Raises:
            RecordingError: if none or several fit.
        """
        if options.layout is not None:
            if options.layout.num_joints != joints:
                raise self.error(
                    f"{joints} joints, but layout {options.layout.name!r} has {options.layout.num_joints}; name the layout of the file"
                )
            return options.layout
        default = options.default_layout
        if not candidates and default is not None and default.num_joints == joints:
            return default
        names = candidates or tuple(list_layouts())
        fitting = [name for name in names if get_layout(name).num_joints == joints]
        if len(fitting) == 1:
            return get_layout(fitting[0])
        known = (
            f"{' and '.join(fitting)} have so many"
            if fitting
            else "known here are " + ", ".join(f"{name} ({get_layout(name).num_joints})" for name in names)
        )
        mismatch = (
            f", which are not the {default.num_joints} of {default.name!r}" if default and not candidates else ""
        )
        raise self.error(
            f"{joints} joints without names{mismatch}; say which layout they have (layout=..., --layout): {known}"
        )

    def body_layout(self, count: int, options: ReadOptions, *candidates: str) -> tuple[SkeletonLayout, int]:
        """The layout of the body among the keypoints of an estimator that may mark face and hands behind it.

        Returns:
            The layout, and how many keypoints from the first on belong to it.
        """
        if count in _BODY_FIRST and options.layout is None:
            layout = get_layout(_BODY_FIRST[count])
            return layout, layout.num_joints
        return self.layout_by_count(count, options, *candidates), count


def make_recording(
    file: RecordingFile,
    keypoints: np.ndarray,
    layout: SkeletonLayout,
    *,
    frame_mask: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    frame_rate: float | None = None,
    units: str = "",
    person_ids: Sequence[str] = (),
    label: int = -1,
    frame_labels: np.ndarray | None = None,
) -> SkeletonRecording:
    """The recording of a file, with masks and checks that are the same for all formats.

    Args:
        file: the file.
        keypoints: `(persons, frames, joints, channels)`; NaN in any coordinate means that the joint is missing.
        layout: the joints.
        frame_mask: bool `(persons, frames)`, who was seen; None: wherever a joint is there.
        confidence: `(persons, frames, joints)`, NaN like 0; clipped to [0, 1].
        frame_rate, units, person_ids, label, frame_labels: see `SkeletonRecording`.

    Raises:
        RecordingError: if a coordinate is infinite or beyond float32, or nobody is ever seen.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        keypoints = np.array(keypoints, dtype=np.float32)
    if keypoints.ndim != 4 or keypoints.shape[2] != layout.num_joints or keypoints.shape[3] not in (2, 3):
        shape = keypoints.shape
        raise file.error(
            f"shape {shape}, expected (persons, frames, {layout.num_joints} joints of layout {layout.name!r}, 2 or 3 coordinates)"
        )
    if np.isinf(keypoints).any():
        person, frame, joint, channel = (int(place) for place in np.argwhere(np.isinf(keypoints))[0])
        raise file.error(
            f"coordinate {'xyz'[channel]} is infinite or too large; coordinates must be finite, NaN where one is missing",
            f"person {person}, frame {frame}, joint {layout.joints[joint]}",
        )
    there = ~np.isnan(keypoints).any(axis=-1)
    if frame_mask is not None:
        there &= frame_mask[..., None]
    frame_mask = there.any(axis=-1)
    seen: np.ndarray = np.asarray(frame_mask.any(axis=1))
    if not seen.any():
        raise file.error(f"nobody is there in any of its {keypoints.shape[1]} frames")
    keypoints[~there] = 0
    if confidence is not None:
        confidence = np.clip(np.nan_to_num(np.asarray(confidence, dtype=np.float32), posinf=1.0), 0.0, 1.0)
        confidence[~there] = 0
        confidence = confidence[seen]
    there, frame_mask = there[seen], frame_mask[seen]
    if frame_rate is not None and not (math.isfinite(frame_rate) and 0 < frame_rate <= 100_000):
        raise file.error(f"the frame rate is {frame_rate}, expected frames per second above 0")
    return SkeletonRecording(
        keypoints=keypoints[seen],
        frame_mask=frame_mask,
        layout=layout,
        joint_mask=None if np.array_equal(there.all(axis=-1), frame_mask) else there,
        confidence=confidence,
        frame_rate=frame_rate,
        units=units,
        person_ids=tuple(name for name, kept in zip(person_ids, seen) if kept),
        source=str(file.path),
        label=label,
        frame_labels=frame_labels,
    )


def make_image_recording(
    file: RecordingFile,
    layout: SkeletonLayout,
    num_frames: int,
    frames: Sequence[int] | np.ndarray,
    poses: Sequence[np.ndarray],
    ids: Sequence[Hashable] | None = None,
    **options: Any,
) -> SkeletonRecording:
    """The recording of a pose estimator that lists people with confidence, image by image.

    A joint whose confidence is not above 0 was not found. People are followed over the frames if the file does not name them.

    Args:
        file: the file.
        layout: the joints.
        num_frames: frames of the recording.
        frames: frame of each pose, `(poses,)`.
        poses: `(joints, coordinates + 1)` each, the last value a confidence.
        ids: who each pose is; None, or the same person twice in a frame, if that is not known.
        **options: see `make_recording`. The units of flat coordinates are told by their size if left out.
    """
    from ..tracking import assemble_tracks, track_people  # imports scipy, which most readers do not need

    if not len(poses):
        raise file.error(f"nobody is there in any of its {num_frames} frames")
    values = np.array(poses, dtype=np.float64)  # (poses, V, C + 1)
    values[~(values[..., -1] > 0)] = np.nan
    frames = np.asarray(frames, dtype=np.int64)
    person_ids: tuple[str, ...] = ()
    try:
        if ids is not None and len(set(zip(frames.tolist(), ids))) == len(values):
            keypoints, mask, person_ids = assemble_tracks(num_frames, frames, ids, values)
        else:
            keypoints, mask = track_people(
                [values[frames == frame] for frame in range(num_frames)], confidence_channel=True
            )
    except RecordingError as error:
        raise file.error(str(error)) from error
    if "units" not in options and keypoints.shape[-1] == 3:
        options["units"] = image_units(values[..., :2])
    return make_recording(
        file,
        keypoints[..., :-1],
        layout,
        frame_mask=mask,
        confidence=keypoints[..., -1],
        person_ids=person_ids,
        **options,
    )


def image_units(points: np.ndarray) -> str:
    """ "image fraction" if all coordinates are small enough for that, else "pixel"; NaN is left out."""
    known = points[~np.isnan(points)]
    return (
        "image fraction" if known.size and known.min() >= _FRACTIONS[0] and known.max() <= _FRACTIONS[1] else "pixel"
    )


@contextmanager
def foreign_parser(file: RecordingFile, what: str) -> Iterator[None]:
    """Around a library that reads a file: whatever it raises for a damaged one becomes our error."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:  # libraries raise anything from AssertionError to zlib.error here
        raise file.error(
            f"not a readable {what} ({type(error).__name__}: {error}); the file is damaged or cut off"
        ) from error


def need_extra(module: str, extra: str, what: str) -> RecordingError:
    """The error of a format whose library is not installed."""
    return RecordingError(
        f"reading {what} needs the package {module}; install it with `pip install 'skeleton_transformers[{extra}]'`"
    )


__all__ = [
    "FileFormat",
    "ReadOptions",
    "RecordingFile",
    "SkeletonRecording",
    "foreign_parser",
    "image_units",
    "make_image_recording",
    "make_recording",
    "need_extra",
]
