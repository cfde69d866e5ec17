"""Northwestern-UCLA Multiview Action 3D."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.nw_ucla_json import read_nw_ucla_json
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable, name_numbers


# The files number the actions 1 2 3 4 5 6 8 9 11 12.
_LABELS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
_INDEX = {number: index for index, number in enumerate(_LABELS)}
_NAME = re.compile(r"a(?P<action>\d+)_s(?P<subject>\d+)_e(?P<replication>\d+)_v(?P<camera>\d+)")


@dataclass(frozen=True)
class NWUCLACorpus(Corpus):
    """Files `aAA_sSS_eEE_vVV.json`; protocol `xview`: views 1 and 2 train, view 3 tests.

    Two of its recordings have one frame only. They are valid and kept; the published counts hold them.
    """

    protocols: ClassVar[tuple[str, ...]] = ("xview",)
    pattern: ClassVar[str] = "*.json"

    def describe(self, path: Path, file: str) -> Recording:
        numbers = name_numbers(path.stem, _NAME, "aAA_sSS_eEE_vVV")
        if numbers["action"] not in _INDEX:
            raise ValueError(f"action {numbers['action']} is not one of {', '.join(map(str, _INDEX))}")
        return Recording(
            name=path.stem,
            path=file,
            label=_INDEX[numbers["action"]],
            subject=numbers["subject"],
            camera=numbers["camera"],
            replication=numbers["replication"],
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        return read_nw_ucla_json(path)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.cameras == 3


NW_UCLA = NWUCLACorpus(
    name="nw-ucla",
    title="Northwestern-UCLA Multiview Action 3D",
    layout="kinect20",
    frame_rate=30.0,
    units="metre",
    label_names=tuple(_LABELS.values()),
    expected=ExpectedCounts(
        samples=1484,
        usable=1484,
        protocols={"xview": (1020, 464)},
        label_counts=(150, 152, 141, 173, 148, 149, 142, 142, 145, 142),
        subjects=tuple(range(1, 11)),
        cameras=(1, 2, 3),
    ),
    citation=(
        "J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu: Cross-view Action Modeling, Learning and Recognition. CVPR 2014."
    ),
    terms="research use; see the owners' page",
)


__all__ = ["NW_UCLA", "NWUCLACorpus"]
