"""What every corpus has: a description, the listing of its recordings, their reader, and its protocols."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ...skeletons import SkeletonLayout
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
        bodies: how people are chosen where a format lists several: "simple", "energy" or "denoise" (see `body_selection`).
        missing: list of recordings to leave out (NTU RGB+D: `samples_with_missing_skeletons`), or None.
        labels: table of the recordings of a folder of arrays, or None.
        layout: JSON file with the joint layout of a folder of arrays or the name of a known layout, or None.
        frame_rate, units, num_channels: of a folder of arrays.
        sequences, seed: size and seed of the synthetic corpus.
        cleaning: switches of `CleaningOptions`, to clean every sample; None cleans nothing.
    """

    bodies: str = "simple"
    missing: str | None = None
    labels: str | None = None
    layout: str | None = None
    frame_rate: float = 30.0
    units: str = "metre"
    num_channels: int = 3
    sequences: int = 1200
    seed: int = 0
    cleaning: dict[str, Any] | None = None


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
        expected: counts of the complete corpus: "samples" (files), "usable" (what can be read), and "<protocol>": (train, test).
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
    expected: dict[str, Any] = field(default_factory=dict)
    num_channels: int = 3

    protocols: ClassVar[tuple[str, ...]] = ()
    pattern: ClassVar[str] = "*"

    def configured(self, options: PreparationOptions) -> Corpus:
        """The corpus with what the user says about it filled in."""
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


def make_sample(recording: Recording, keypoints: np.ndarray, frame_mask: np.ndarray) -> SkeletonSample:
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
    )


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
    "Listing",
    "PreparationOptions",
    "Recording",
    "SampleTable",
    "make_sample",
    "name_numbers",
    "sample_by_label",
]
