"""A user's own recordings: a folder of `.npy` arrays with a table of labels and a joint layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.numpy_folder import LabelRow, read_label_table, read_layout_file, read_numpy_sequence
from ..storage import SkeletonSample
from .base import Corpus, Listing, PreparationOptions, Recording, SampleTable, make_sample, sample_by_label


_TEST_SHARE = 0.2


def _label_order(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)


@dataclass(frozen=True)
class FolderCorpus(Corpus):
    """Arrays `(frames, joints, channels)` or `(persons, frames, joints, channels)`, listed in a CSV table.

    Protocols:

    * `split`: the column `split` of the table decides; rows "train" and "validation" together are the training part;
    * `subject`: a fifth of the subjects test, drawn by a seed: `subject` or `subject:3` for seed 3;
    * `random`: a fifth of the recordings of every class test, drawn by a seed: `random` or `random:3`.
    """

    protocols: ClassVar[tuple[str, ...]] = ("split", "subject", "random")
    pattern: ClassVar[str] = "*.npy"

    def configured(self, options: PreparationOptions) -> Corpus:
        if options.layout is None:
            raise ValueError(
                "a folder of arrays needs its joint layout: pass layout (--layout) as the name of a known one or as a JSON file "
                "with name, joints and parents"
            )
        names: tuple[str, ...] = ()
        if options.labels is not None:
            labels = {row.label for row in read_label_table(options.labels)} - {""}
            names = tuple(sorted(labels, key=_label_order))
        layout = read_layout_file(options.layout)
        return replace(
            self,
            layout=layout,
            label_names=names,
            frame_rate=options.frame_rate,
            units=options.units,
            num_channels=options.num_channels,
        )

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        if options.labels is None:
            rows = [LabelRow(path.relative_to(folder).as_posix()) for path in self.files(folder)]
        else:
            rows = read_label_table(options.labels)
        index = {name: number for number, name in enumerate(self.label_names)}
        listing = Listing()
        seen: set[str] = set()
        for row in rows:
            name = row.file.removesuffix(".npy")
            if row.start or row.end != -1:
                name += f"[{row.start}:{row.end if row.end != -1 else ''}]"
            if name in seen:
                listing.skipped.append((row.file, f"listed twice in {options.labels}; the first row is kept"))
                continue
            seen.add(name)
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

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        assert not isinstance(self.layout, str)  # `configured` read it
        joints = len(self.layout.joints)
        path = folder / recording.path
        keypoints, frame_mask = read_numpy_sequence(path, joints, self.num_channels, recording.start, recording.end)
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
    title="A folder of arrays",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=(),
    citation="",
    terms="the user's own",
)


__all__ = ["FOLDER", "FolderCorpus"]
