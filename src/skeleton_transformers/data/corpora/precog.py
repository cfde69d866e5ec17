"""PRECOG-2016: untrimmed takes of punches and kicks with a label in every frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...skeletons import get_layout
from ..formats.errors import RecordingError
from ..recordings import read_skeletons
from ..storage import SkeletonSample
from .base import (
    Corpus,
    ExpectedCounts,
    Listing,
    PreparationOptions,
    Recording,
    SampleTable,
    cut_recording,
    file_state,
    label_runs,
    make_sample,
    name_numbers,
)


_LABELS = (
    "right punch",
    "left punch",
    "front right kick",
    "front left kick",
    "side right kick",
    "side left kick",
    "back fist",
    "elbow strike",
)
_NAME = re.compile(r"Seq(?P<sequence>\d+)_(?P<subject>\d+)")
# Two takes hold labels but no coordinates: all of them are 0.
_EMPTY = ("Seq2_10", "Seq4_10")
_SUBJECTS = tuple(range(1, 13))
_SEQUENCES = tuple(range(1, 7))


@lru_cache(maxsize=1)
def _read_take(path: Path, state: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, frame mask and labels of the frames of a take.

    The actions of a take follow each other in a listing, so keeping the last one read saves reading it for each of them.
    """
    take = read_skeletons(path, format="kinect-csv")
    if take.layout != get_layout("kinect20"):
        raise RecordingError(
            f"{path}, line 1: names the {take.layout.num_joints} joints {', '.join(take.layout.joints)}"
        )
    if take.frame_labels is None or take.frame_labels.max() > len(_LABELS):
        found = "no labels" if take.frame_labels is None else f"the label {take.frame_labels.max()}"
        raise RecordingError(f"{path}: {found} at the ends of its lines, expected numbers from 0 to {len(_LABELS)}")
    return take.keypoints, take.frame_mask, take.frame_labels.astype(np.int16)


@dataclass(frozen=True)
class PRECOGCorpus(Corpus):
    """Files `SeqN_S.csv` of sequence N and subject S; protocol `xsub`: odd subjects train, even ones test.

    A sample is one action, a run of frames with the same label, or with `takes` a whole file with a label in every frame. `setup` is the
    number of the sequence.
    """

    protocols: ClassVar[tuple[str, ...]] = ("xsub",)
    pattern: ClassVar[str] = "*.csv"

    def describe(self, path: Path, file: str) -> Recording:
        numbers = name_numbers(path.stem, _NAME, "SeqN_S")
        return Recording(name=path.stem, path=file, subject=numbers["subject"], setup=numbers["sequence"])

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        listing = super().list_recordings(folder, options)
        if options.takes:
            return listing
        takes, listing.recordings = listing.recordings, []
        for take in takes:  # where the actions are is only in the files themselves, which are small
            path = folder / take.path
            try:
                _, _, frame_labels = _read_take(path, file_state(path))
            except RecordingError as error:
                listing.skipped.append((take.path, str(error).removeprefix(str(path)).lstrip(":, ")))
                continue
            for number, (label, start, end) in enumerate(label_runs(frame_labels)):
                listing.recordings.append(
                    Recording(
                        name=f"{take.name}_{number:02d}",
                        path=take.path,
                        label=label - 1,
                        subject=take.subject,
                        setup=take.setup,
                        replication=number,
                        start=start,
                        end=end,
                    )
                )
        return listing

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        path = folder / recording.path
        keypoints, frame_mask, frame_labels = _read_take(path, file_state(path))
        if options.takes:
            return make_sample(recording, keypoints, frame_mask, frame_labels)
        return make_sample(recording, *cut_recording(path, keypoints, frame_mask, recording.start, recording.end))

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.subjects % 2 == 0


PRECOG = PRECOGCorpus(
    name="precog",
    title="PRECOG-2016",
    layout="kinect20",
    frame_rate=30.0,
    units="metre",
    label_names=_LABELS,
    expected=ExpectedCounts(
        samples=363,
        usable=353,
        protocols={"xsub": (181, 172)},
        label_counts=(47, 35, 47, 35, 58, 72, 47, 12),
        subjects=_SUBJECTS,
        setups=_SEQUENCES,
    ),
    expected_takes=ExpectedCounts(
        samples=72,
        usable=70,
        protocols={"xsub": (36, 34)},
        subjects=_SUBJECTS,
        setups=_SEQUENCES,
        frames=18784,
        names=frozenset(f"Seq{sequence}_{subject}" for sequence in _SEQUENCES for subject in _SUBJECTS).difference(
            _EMPTY
        ),
    ),
    citation="PRECOG-2016 recordings of punches and kicks (Kinect v1).",
    terms="research use; see the owners' page",
)


__all__ = ["PRECOG", "PRECOGCorpus"]
