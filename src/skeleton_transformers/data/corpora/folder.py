"""A user's own recordings: a folder of files of any format, with a table of labels."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..cleaning import CleaningOptions
from ..formats.base import RecordingFile
from ..formats.errors import RecordingError
from ..formats.label_table import LabelRow, read_label_table, read_layout_file
from ..formats.openpose import FORMAT as OPENPOSE
from ..geometry import resample_frames
from ..recordings import SkeletonRecording, as_sequence, get_format, list_formats, read_skeletons
from ..storage import SkeletonSample
from .base import (
    Corpus,
    Listing,
    PreparationOptions,
    Recording,
    SampleTable,
    cut_recording,
    make_sample,
    sample_by_label,
)


# Frame rates nearer than this are the same: files round theirs.
_SAME_RATE = 0.01
_SUFFIXES = sorted(
    {s for name in list_formats() for s in get_format(name).suffixes if s.startswith(".")}, key=len, reverse=True
)
_TEST_SHARE = 0.2


def _without_suffix(file: str) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if file.lower().endswith(suffix)), "")
    return file[: len(file) - len(suffix)]


def _is_openpose(folder: Path) -> bool:
    try:
        return OPENPOSE.detect(RecordingFile(folder))
    except RecordingError:
        return False  # its files are reported one by one


def _label_order(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


@dataclass(frozen=True)
class FolderCorpus(Corpus):
    """Files that `read_skeletons` knows, listed in a CSV table; a folder with the JSON frames of OpenPose counts as one file.

    All recordings are brought to one layout (by joint names), number of channels, unit and frame rate: those that the user names, else
    those of the first recording.

    Protocols:

    * `split`: the column `split` of the table decides; rows "train" and "validation" together are the training part;
    * `subject`: a fifth of the subjects test, drawn by a seed: `subject` or `subject:3` for seed 3;
    * `random`: a fifth of the recordings of every class test, drawn by a seed: `random` or `random:3`.
    """

    protocols: ClassVar[tuple[str, ...]] = ("split", "subject", "random")

    def configured(self, options: PreparationOptions, folder: Path | None = None) -> Corpus:
        names: tuple[str, ...] = ()
        if options.labels is not None:
            labels = {row.label for row in read_label_table(options.labels)} - {""}
            names = tuple(sorted(labels, key=_label_order))
        corpus = replace(self, label_names=names, frame_rate=options.frame_rate)
        if options.layout is not None:
            corpus = replace(corpus, layout=read_layout_file(options.layout))
        first = None if folder is None else corpus._first_recording(folder, options)
        if first is None:
            return replace(corpus, units=options.units or self.units, num_channels=options.num_channels or 3)
        # pixels say nothing without the size of the image: such files are refused unless the user wants just that
        fractions = first.units == "pixel" and options.units != "pixel"
        return replace(
            corpus,
            layout=first.layout if options.layout is None else corpus.layout,
            units="image fraction" if fractions else first.units or self.units,
            num_channels=options.num_channels or first.keypoints.shape[-1],
        )

    def _first_recording(self, folder: Path, options: PreparationOptions) -> SkeletonRecording | None:
        """The first recording that can be read; None if there is none, which the preparation reports file by file."""
        for recording in self.list_recordings(folder, options).recordings:
            try:
                return self._read(folder / recording.path, options)
            except (RecordingError, FileNotFoundError):
                continue
        return None

    def _read(self, path: Path, options: PreparationOptions) -> SkeletonRecording:
        return read_skeletons(
            path,
            default_layout=self.layout if options.layout is not None else None,
            image_size=options.image_size,
            min_confidence=options.min_confidence,
            units=options.units,
            bodies=options.bodies,
        )

    def files(self, folder: Path) -> list[Path]:
        found: list[Path] = []
        for place, folders, names in os.walk(folder):
            folders.sort()
            path = Path(place)
            if path != folder and any(n.lower().endswith(".json") for n in names) and _is_openpose(path):
                found.append(path)
                folders.clear()
                continue
            found += [path / name for name in names if name.lower().endswith(tuple(_SUFFIXES))]
        return sorted(found)

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        if options.labels is not None:
            rows = read_label_table(options.labels)
        else:
            described = {Path(path).resolve() for path in (options.layout,) if path is not None}
            files = [path for path in self.files(folder) if path.resolve() not in described]
            rows = [LabelRow(path.relative_to(folder).as_posix()) for path in files]
        index = {name: number for number, name in enumerate(self.label_names)}
        listing = Listing()
        seen: dict[str, str] = {}
        for row in rows:
            part = f"[{row.start}:{row.end if row.end != -1 else ''}]" if row.start or row.end != -1 else ""
            name = _without_suffix(row.file) + part
            if name in seen and seen[name] != row.file:
                name = row.file + part  # two formats of the same take
            if name in seen:
                listing.skipped.append((row.file, f"listed twice in {options.labels}; the first row is kept"))
                continue
            seen[name] = row.file
            listing.recordings.append(
                Recording(
                    name=name,
                    path=row.file,
                    label=index.get(row.label, -1),
                    subject=row.subject,
                    camera=row.camera,
                    split=row.split,
                    start=row.start,
                    end=row.end,
                )
            )
        return listing

    def _max_gap(self, recording: SkeletonRecording, options: PreparationOptions) -> int | None:
        """The longest gap to fill, in frames, if the user chose a cleaning."""
        if options.cleaning is None:
            return None
        return CleaningOptions.from_dict(options.cleaning).longest_gap(recording.frame_rate or self.frame_rate)

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        path = folder / recording.path
        try:
            found = self._read(path, options)
        except FileNotFoundError as error:
            raise RecordingError(f"{path}: no such file") from error
        keypoints, frame_mask = as_sequence(
            found, self.layout, self.num_channels, units=self.units, max_gap=self._max_gap(found, options)
        )
        frames = frame_mask.shape[1]
        if recording.end > frames or recording.start >= frames:
            wanted = f"{recording.start}.." + ("" if recording.end == -1 else str(recording.end - 1))
            raise RecordingError(f"{path}: frames {wanted} asked, the file has {frames} (0..{frames - 1})")
        keypoints, frame_mask = cut_recording(path, keypoints, frame_mask, recording.start, recording.end)
        rate = found.frame_rate or self.frame_rate
        if abs(rate / self.frame_rate - 1) > _SAME_RATE:
            keypoints, frame_mask = resample_frames(keypoints, frame_mask, rate, self.frame_rate)
        return make_sample(recording, keypoints, frame_mask)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        kind, _, text = protocol.partition(":")
        if text and not text.isdigit():
            raise ValueError(f"protocol {protocol!r}: {text!r} is not a seed, write for example '{kind}:3'")
        if kind == "split":
            return table.splits == "test"
        generator = np.random.default_rng([int(text or 0), 0x74657374])
        if kind == "subject":
            if (table.subjects < 0).any():
                raise ValueError(
                    f"protocol 'subject' needs the subject of every recording; {int((table.subjects < 0).sum())} have none: fill the "
                    "column 'subject' of the table of labels and prepare again, or use protocol 'random'"
                )
            subjects = np.unique(table.subjects)
            if len(subjects) < 2:
                raise ValueError("protocol 'subject' needs at least two subjects; use protocol 'random'")
            count = max(1, round(_TEST_SHARE * len(subjects)))
            return np.isin(table.subjects, generator.choice(subjects, size=count, replace=False))
        return sample_by_label(table.labels, np.ones(len(table.labels), dtype=bool), _TEST_SHARE, generator)

    def members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "split":
            return table.splits != ""
        return super().members(table, protocol)


FOLDER = FolderCorpus(
    name="folder",
    title="A folder of recordings",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=(),
    citation="",
    terms="the user's own",
)


__all__ = ["FOLDER", "FolderCorpus"]
