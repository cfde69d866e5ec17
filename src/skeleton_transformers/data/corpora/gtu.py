"""GTU-3D actions: recordings of Kinect v2 for pre-training without labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.gtu_text import read_gtu_text
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable, name_numbers


_CLASSES = 14
_NAME = re.compile(r"movement(?P<number>\d+)")


@dataclass(frozen=True)
class GTUCorpus(Corpus):
    """Files `<class>/movementN.txt`.

    The recordings say nothing about who is seen, so there is no test part: protocol `all` trains on everything. The label is the
    number of the folder; the classes have no names.
    """

    protocols: ClassVar[tuple[str, ...]] = ("all",)
    pattern: ClassVar[str] = "movement*.txt"

    def files(self, folder: Path) -> list[Path]:
        def order(path: Path) -> tuple:
            return tuple(int(part) if part.isdigit() else -1 for part in re.findall(r"\d+|\D+", str(path))), str(path)

        return sorted(super().files(folder), key=order)

    def describe(self, path: Path, file: str) -> Recording:
        number = name_numbers(path.stem, _NAME, "movementN")["number"]
        folder = path.parent.name
        if not (folder.isdigit() and 1 <= int(folder) <= _CLASSES):
            raise ValueError(f"the folder {folder!r} is not a class number 1..{_CLASSES}")
        return Recording(
            name=f"a{int(folder):02d}_m{number:03d}", path=file, label=int(folder) - 1, replication=number
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        return read_gtu_text(path)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return np.zeros(len(table.labels), dtype=bool)


GTU = GTUCorpus(
    name="gtu",
    title="GTU-3D actions",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=tuple(f"action {number}" for number in range(1, _CLASSES + 1)),
    expected=ExpectedCounts(
        samples=508, usable=508, label_counts=(37, 38, 39, 38, 39, 39, 37, 26, 49, 40, 42, 32, 25, 27)
    ),
    citation="GTU-3D action recordings (Kinect v2).",
    terms="research use; see the owners' page",
)


__all__ = ["GTU", "GTUCorpus"]
