"""UTD-MHAD: 27 actions of one person before Kinect v1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.utd_mhad_mat import read_utd_mhad_mat
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable, name_numbers


_LABELS = (
    "right arm swipe to the left",
    "right arm swipe to the right",
    "right hand wave",
    "two hand front clap",
    "right arm throw",
    "cross arms in front of the chest",
    "basketball shoot",
    "draw x with the right hand",
    "draw circle clockwise with the right hand",
    "draw circle counter-clockwise with the right hand",
    "draw triangle with the right hand",
    "bowling with the right hand",
    "front boxing",
    "baseball swing from the right",
    "tennis forehand swing with the right hand",
    "arm curl with two arms",
    "tennis serve",
    "two hand push",
    "knock on door with the right hand",
    "catch with the right hand",
    "pick up and throw with the right hand",
    "jogging in place",
    "walking in place",
    "sit to stand",
    "stand to sit",
    "forward lunge with the left foot",
    "squat",
)
_NAME = re.compile(r"a(?P<action>\d+)_s(?P<subject>\d+)_t(?P<replication>\d+)(_skeleton)?")
# Recordings that the owners left out because they are damaged.
_ABSENT = ("a8_s1_t4", "a23_s6_t4", "a27_s8_t4")


@dataclass(frozen=True)
class UTDMHADCorpus(Corpus):
    """Files `aA_sS_tT_skeleton.mat`; protocol `xsub`: odd subjects train, even ones test."""

    protocols: ClassVar[tuple[str, ...]] = ("xsub",)
    pattern: ClassVar[str] = "*.mat"

    def describe(self, path: Path, file: str) -> Recording:
        numbers = name_numbers(path.stem, _NAME, "aA_sS_tT_skeleton")
        if not 1 <= numbers["action"] <= len(_LABELS):
            raise ValueError(f"action {numbers['action']} is outside 1..{len(_LABELS)}")
        return Recording(
            name=path.stem.removesuffix("_skeleton"),
            path=file,
            label=numbers["action"] - 1,
            subject=numbers["subject"],
            replication=numbers["replication"],
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        return read_utd_mhad_mat(path)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.subjects % 2 == 0


UTD_MHAD = UTDMHADCorpus(
    name="utd-mhad",
    title="UTD-MHAD",
    layout="kinect20",
    frame_rate=30.0,
    units="metre",
    label_names=_LABELS,
    expected=ExpectedCounts(
        samples=861,
        usable=861,
        protocols={"xsub": (431, 430)},
        subjects=tuple(range(1, 9)),
        names=frozenset(
            f"a{action}_s{subject}_t{trial}"
            for action in range(1, 28)
            for subject in range(1, 9)
            for trial in range(1, 5)
        ).difference(_ABSENT),
    ),
    citation=(
        "C. Chen, R. Jafari, N. Kehtarnavaz: UTD-MHAD: A Multimodal Dataset for Human Action Recognition Utilizing a Depth Camera and "
        "a Wearable Inertial Sensor. ICIP 2015."
    ),
    terms="research use; see the owners' page (University of Texas at Dallas)",
)


__all__ = ["UTD_MHAD", "UTDMHADCorpus"]
