"""Human3.6M as exponential maps, the form in which motion prediction uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.expmap_text import expmap_positions, read_expmap_text
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable


_LABELS = (
    "directions",
    "discussion",
    "eating",
    "greeting",
    "phoning",
    "posing",
    "purchases",
    "sitting",
    "sittingdown",
    "smoking",
    "takingphoto",
    "waiting",
    "walking",
    "walkingdog",
    "walkingtogether",
)
_SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
_TEST_SUBJECT = 5
_NAME = re.compile(r"(?P<action>[a-z]+)_(?P<take>[12])")


@dataclass(frozen=True)
class Human36MCorpus(Corpus):
    """Files `S<subject>/<action>_<take>.txt` of exponential maps; joint positions come from them by forward kinematics.

    Protocol `xsub`: subject 5 tests, the other six train (Martinez et al., CVPR 2017). Bone lengths are the same for everybody.
    """

    protocols: ClassVar[tuple[str, ...]] = ("xsub",)
    pattern: ClassVar[str] = "*.txt"

    def describe(self, path: Path, file: str) -> Recording:
        match = _NAME.fullmatch(path.stem)
        folder = path.parent.name
        if match is None or match["action"] not in _LABELS:
            raise ValueError(
                f"the name {path.stem!r} is not of the form action_1 or action_2 with one of {', '.join(_LABELS)}"
            )
        if not re.fullmatch(r"S\d{1,2}", folder):
            raise ValueError(f"the folder {folder!r} is not a subject S1, S5, ...")
        return Recording(
            name=f"{folder}_{path.stem}",
            path=file,
            label=_LABELS.index(match["action"]),
            subject=int(folder[1:]),
            replication=int(match["take"]),
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        values, skeleton = read_expmap_text(path, "h36m")
        keypoints = expmap_positions(values, skeleton)
        return keypoints, np.ones(keypoints.shape[:2], dtype=bool)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.subjects == _TEST_SUBJECT


HUMAN36M = Human36MCorpus(
    name="human36m",
    title="Human3.6M (exponential maps)",
    layout="h36m25",
    frame_rate=50.0,
    units="metre",
    label_names=_LABELS,
    expected=ExpectedCounts(
        samples=210,
        usable=210,
        protocols={"xsub": (180, 30)},
        label_counts=(14,) * 15,
        subjects=_SUBJECTS,
        names=frozenset(
            f"S{subject}_{action}_{take}" for subject in _SUBJECTS for action in _LABELS for take in (1, 2)
        ),
    ),
    citation=(
        "C. Ionescu, D. Papava, V. Olaru, C. Sminchisescu: Human3.6M: Large Scale Datasets and Predictive Methods for 3D Human Sensing "
        "in Natural Environments. IEEE TPAMI 36(7), 2014. Exponential maps: A. Jain, A. R. Zamir, S. Savarese, A. Saxena: "
        "Structural-RNN: Deep Learning on Spatio-Temporal Graphs. CVPR 2016."
    ),
    terms="academic use under the agreement of the owners (vision.imar.ro/human3.6m); not to be passed on",
)


__all__ = ["HUMAN36M", "Human36MCorpus"]
