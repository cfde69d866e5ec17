"""MSR-Action3D."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.msr_action3d_text import read_msr_action3d_text
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable, name_numbers


_LABELS = (
    "high arm wave",
    "horizontal arm wave",
    "hammer",
    "hand catch",
    "forward punch",
    "high throw",
    "draw x",
    "draw tick",
    "draw circle",
    "hand clap",
    "two hand wave",
    "side boxing",
    "bend",
    "forward kick",
    "side kick",
    "jogging",
    "tennis swing",
    "tennis serve",
    "golf swing",
    "pick up and throw",
)
# Action numbers (from 1) of the three subsets of Li et al. 2010, Table 1.
_SUBSETS = {
    "as1": (2, 3, 5, 6, 10, 13, 18, 20),
    "as2": (1, 4, 7, 8, 9, 11, 12, 14),
    "as3": (6, 14, 15, 16, 17, 18, 19, 20),
}
_NAME = re.compile(r"a(?P<action>\d+)_s(?P<subject>\d+)_e(?P<replication>\d+)(_skeleton3D)?")


@dataclass(frozen=True)
class MSRAction3DCorpus(Corpus):
    """Files `aAA_sSS_eEE_skeleton3D.txt`; odd subjects train, even ones test.

    Protocol `xsub` takes all 20 classes, `as1`, `as2` and `as3` the eight of a subset each; labels stay those of the 20 classes.
    """

    protocols: ClassVar[tuple[str, ...]] = ("xsub", "as1", "as2", "as3")
    pattern: ClassVar[str] = "*.txt"

    def describe(self, path: Path, file: str) -> Recording:
        numbers = name_numbers(path.stem, _NAME, "aAA_sSS_eEE_skeleton3D")
        if not 1 <= numbers["action"] <= len(_LABELS):
            raise ValueError(f"action {numbers['action']} is outside 1..{len(_LABELS)}")
        return Recording(
            name=path.stem.removesuffix("_skeleton3D"),
            path=file,
            label=numbers["action"] - 1,
            subject=numbers["subject"],
            replication=numbers["replication"],
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        return read_msr_action3d_text(path)

    def members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "xsub":
            return super().members(table, protocol)
        return np.isin(table.labels + 1, _SUBSETS[protocol])

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.subjects % 2 == 0


MSR_ACTION3D = MSRAction3DCorpus(
    name="msr-action3d",
    title="MSR-Action3D",
    layout="msr20",
    frame_rate=15.0,
    units="metre",
    label_names=_LABELS,
    # of the 567 files, a13_s09_e02 holds zeros only
    expected=ExpectedCounts(
        samples=567,
        usable=566,
        protocols={"xsub": (291, 275), "as1": (119, 106), "as2": (118, 113), "as3": (114, 112)},
        label_counts=(27, 27, 27, 26, 26, 26, 28, 30, 30, 30, 30, 30, 29, 30, 20, *[30] * 5),
        subjects=tuple(range(1, 11)),
    ),
    citation="W. Li, Z. Zhang, Z. Liu: Action Recognition Based on a Bag of 3D Points. CVPR Workshops 2010.",
    terms="research use; see the owners' page",
)


__all__ = ["MSR_ACTION3D", "MSRAction3DCorpus"]
