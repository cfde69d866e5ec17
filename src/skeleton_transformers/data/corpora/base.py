"""What every corpus has: a description, the listing of its recordings, their reader, and its protocols."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ...skeletons import SkeletonLayout
from ..formats.errors import RecordingError
from ..storage import SkeletonSample


class SampleTable(Protocol):
    """The columns of a [`SkeletonStore`] that protocols look at."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def subjects(self) -> np.ndarray: ...
    @property
    def cameras(self) -> np.ndarray: ...
    @property
    def setups(self) -> np.ndarray: ...
    @property
    def splits(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Recording:
    """One recording of a corpus before it is read.

    Attributes:
        name: unique name.
        path: file, relative to the folder of the corpus; "" for one that is made and not read.
        label, subject, camera, setup, replication: see `SkeletonSample`; -1 when unknown.
        split: see `SkeletonSample`.
        start, end: frames `start .. end - 1` are used; `end` -1 means to the last.
        number: place in a corpus that is made and not read.
        instances: the actions in an untrimmed recording: (label counted from 1, first frame, frame after the last).
    """

    name: str
    path: str = ""
    label: int = -1
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    split: str = ""
    start: int = 0
    end: int = -1
    number: int = -1
    instances: tuple[tuple[int, int, int], ...] = ()


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        recordings: what can be read, in the order of the store.
        skipped: (file, reason) of files that are no recordings of the corpus although they look like it.
        outside: number of files that belong to another part of the same data set.
        left_out: number of files on the list of recordings to leave out.
    """

    recordings: list[Recording] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    outside: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class PreparationOptions:
    """Choices of a preparation.

    Attributes:
        bodies: how people are chosen where a format lists several: "simple", "energy", "denoise" or "all" (see `body_selection`).
        missing: list of recordings to leave out (NTU RGB+D: `samples_with_missing_skeletons`), or None.
        labels: table of the recordings of a folder of arrays, or None.
        layout: JSON file with the joint layout wanted of a folder of recordings or the name of a known layout; None: that of the
            first recording.
        frame_rate: wanted of a folder of recordings; files that do not tell theirs have it.
        units, num_channels: wanted of a folder of recordings; None: those of the first one.
        image_size, min_confidence: see `read_skeletons`, for a folder of recordings.
        sequences, seed: size and seed of the synthetic corpus.
        takes: of an untrimmed corpus keep whole takes with a label in every frame, for detection; otherwise every action is cut out
            and becomes a sample of its own, for recognition.
        cleaning: switches of `CleaningOptions`, to clean every sample; None cleans nothing.
    """

    bodies: str = "simple"
    missing: str | None = None
    labels: str | None = None
    layout: str | None = None
    frame_rate: float = 30.0
    units: str | None = None
    num_channels: int | None = None
    image_size: tuple[float, float] | None = None
    min_confidence: float = 0.0
    sequences: int = 1200
    seed: int = 0
    takes: bool = False
    cleaning: dict[str, Any] | None = None


@dataclass(frozen=True)
class ExpectedCounts:
    """What the complete corpus holds. Whatever is not known is left at its default.

    Attributes:
        samples: recordings that the owners give.
        usable: recordings that can be used: without those that are listed as incomplete or show nobody.
        protocols: name to usable recordings for (training, test).
        labels: number of classes that have recordings.
        label_counts: usable recordings of every class; all recordings, where nobody says which classes the unusable ones are of.
        subjects, cameras, setups: the numbers that occur.
        frames: number of frames in all.
        names: names of the usable recordings.
        unsure: what of the above is from publications and was never counted on the files.
    """

    samples: int = 0
    usable: int = 0
    protocols: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    labels: int = 0
    label_counts: tuple[int, ...] = ()
    subjects: tuple[int, ...] = ()
    cameras: tuple[int, ...] = ()
    setups: tuple[int, ...] = ()
    frames: int = 0
    names: frozenset[str] = frozenset()
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Description of a corpus; subclasses read its files and know its protocols.

    Attributes:
        name: name in commands and recipes.
        title: the full name.
        layout: joint layout.
        frame_rate: frames per second.
        units: what one unit of a coordinate is.
        label_names: names of the classes in the order of the labels.
        expected: counts of the complete corpus, see [`ExpectedCounts`].
        expected_takes: the same for whole takes of an untrimmed corpus; None for one that is trimmed.
        citation: the publication to cite.
        terms: on which terms its owners give it.
        num_channels: coordinates per joint.
    """

    name: str
    title: str
    layout: str | SkeletonLayout
    frame_rate: float
    units: str
    label_names: tuple[str, ...]
    citation: str
    terms: str
    expected: ExpectedCounts = field(default_factory=ExpectedCounts)
    expected_takes: ExpectedCounts | None = None
    num_channels: int = 3

    protocols: ClassVar[tuple[str, ...]] = ()
    pattern: ClassVar[str] = "*"

    def configured(self, options: PreparationOptions, folder: Path | None = None) -> Corpus:
        """The corpus with what the user says about it, or the recordings in `folder` say, filled in."""
        return self

    def files(self, folder: Path) -> list[Path]:
        """All files below `folder` that look like recordings, in a fixed order."""
        return sorted(path for path in folder.rglob(self.pattern) if path.is_file())

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        """Find the recordings below `folder` without opening them."""
        listing = Listing()
        seen: dict[str, str] = {}
        for path in self.files(folder):
            file = path.relative_to(folder).as_posix()
            try:
                recording = self.describe(path, file)
            except ValueError as error:
                listing.skipped.append((file, str(error)))
                continue
            if recording.name in seen:
                listing.skipped.append((file, f"same name as {seen[recording.name]}, which is kept"))
                continue
            seen[recording.name] = file
            listing.recordings.append(recording)
        return listing

    def describe(self, path: Path, file: str) -> Recording:
        """What the name of a file says about the recording.

        Raises:
            ValueError: if the name is not one of the corpus.
        """
        raise NotImplementedError

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints `(persons, frames, joints, channels)` and frame mask `(persons, frames)` of a file.

        Raises:
            RecordingError: if the file is no usable recording.
        """
        raise NotImplementedError

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        """Read one recording."""
        keypoints, frame_mask = self.read(folder / recording.path, options)
        return make_sample(recording, keypoints, frame_mask)

    def members(self, table: SampleTable, protocol: str) -> np.ndarray:
        """bool `(samples,)`: who takes part in the protocol."""
        return np.ones(len(table.labels), dtype=bool)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        """bool `(samples,)`: the official test part of the protocol."""
        raise NotImplementedError


def make_sample(
    recording: Recording, keypoints: np.ndarray, frame_mask: np.ndarray, frame_labels: np.ndarray | None = None
) -> SkeletonSample:
    """A sample with what is known of the recording."""
    return SkeletonSample(
        keypoints=keypoints,
        frame_mask=frame_mask,
        label=recording.label,
        name=recording.name,
        subject=recording.subject,
        camera=recording.camera,
        setup=recording.setup,
        replication=recording.replication,
        split=recording.split,
        frame_labels=frame_labels,
    )


def file_state(path: Path) -> tuple[int, int]:
    """Size and time of a file, which tell whether what was read of it is still true; (0, 0) of one that is not there."""
    try:
        status = path.stat()
    except OSError:  # the reader says so
        return 0, 0
    return status.st_size, status.st_mtime_ns


def cut_recording(
    path: Path, keypoints: np.ndarray, frame_mask: np.ndarray, start: int = 0, end: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """Frames `start .. end - 1` of a recording and the people who are seen in them.

    Args:
        path: file of the recording, for the message.
        keypoints: `(persons, frames, joints, channels)`.
        frame_mask: bool `(persons, frames)`.
        start, end: frames to keep; `end` -1, or beyond the recording, means to the last.

    Returns:
        Copies of keypoints and frame_mask without the other frames, and without people who are in none of them.

    Raises:
        RecordingError: if the recording ends before `start` or nobody is seen in the frames.
    """
    frames = frame_mask.shape[1]
    if start >= frames:
        raise RecordingError(
            f"{path}: frames from {start} asked, the recording has {frames}; does the list of actions belong to it?"
        )
    stop = frames if end == -1 else min(end, frames)
    persons = frame_mask[:, start:stop].any(axis=1)
    if not persons.any():
        raise RecordingError(f"{path}: nobody was tracked in frames {start}..{stop - 1}")
    return keypoints[persons, start:stop].copy(), frame_mask[persons, start:stop].copy()


def label_frames(path: Path, instances: Sequence[tuple[int, int, int]], frames: int) -> np.ndarray:
    """The label of every frame of an untrimmed recording.

    Args:
        path: file of the recording, for the message.
        instances: (label counted from 1, first frame, frame after the last); where two overlap the later one counts.
        frames: length of the recording; an action that goes on beyond it is cut.

    Returns:
        int16 `(frames,)`, 0 where there is no action.

    Raises:
        RecordingError: if an action begins after the end of the recording.
    """
    labels = np.zeros(frames, dtype=np.int16)
    for label, start, end in instances:
        if start >= frames:
            raise RecordingError(
                f"{path}: an action begins in frame {start}, the recording has {frames}; does the list of actions belong to it?"
            )
        labels[start:end] = label
    return labels


def label_runs(frame_labels: np.ndarray) -> list[tuple[int, int, int]]:
    """The runs of equal labels other than 0: (label, first frame, frame after the last)."""
    edges = np.flatnonzero(np.diff(frame_labels)) + 1
    bounds = [0, *edges.tolist(), len(frame_labels)]
    return [(int(frame_labels[a]), a, b) for a, b in zip(bounds[:-1], bounds[1:]) if frame_labels[a] > 0]


def name_numbers(stem: str, pattern: re.Pattern[str], example: str) -> dict[str, int]:
    """The numbers in a file name.

    Raises:
        ValueError: if the name has another form than `example`.
    """
    match = pattern.fullmatch(stem)
    if match is None:
        raise ValueError(f"the name {stem!r} is not of the form {example}")
    return {key: int(value) for key, value in match.groupdict().items()}


def sample_by_label(
    labels: np.ndarray, members: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw a share of the members, in every class as near to the share as whole recordings allow, at least one in all.

    Args:
        labels: int `(samples,)`.
        members: bool `(samples,)`, who may be drawn.
        share: between 0 and 1.
        generator: source of randomness.

    Returns:
        bool `(samples,)`.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    order = generator.permutation(np.flatnonzero(members))
    order = order[np.argsort(labels[order], kind="stable")]
    # every (1/share)-th of the shuffled members sorted by class
    positions = np.arange(len(order))
    chosen[order[np.floor((positions + 1) * share + 0.5) > np.floor(positions * share + 0.5)]] = True
    if not chosen.any() and len(order) > 1:
        chosen[order[0]] = True
    return chosen


__all__ = [
    "Corpus",
    "ExpectedCounts",
    "Listing",
    "PreparationOptions",
    "Recording",
    "SampleTable",
    "cut_recording",
    "file_state",
    "label_frames",
    "label_runs",
    "make_sample",
    "name_numbers",
    "sample_by_label",
]
