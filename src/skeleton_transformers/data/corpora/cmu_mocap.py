"""CMU motion capture as exponential maps, the form in which motion prediction uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.errors import RecordingError
from ..formats.expmap_text import expmap_positions, read_expmap_text
from .base import Corpus, ExpectedCounts, PreparationOptions, Recording, SampleTable


_LABELS = (
    "basketball",
    "basketball_signal",
    "directing_traffic",
    "jumping",
    "running",
    "soccer",
    "walking",
    "washwindow",
)
_NAME = re.compile(r"(?P<action>[a-z_]+)_(?P<take>\d+)")


@dataclass(frozen=True)
class CMUMocapCorpus(Corpus):
    """Files `train/<action>/<action>_N.txt` and `test/<action>/<action>_N.txt` of exponential maps; protocol `split`.

    Joint positions come from them by forward kinematics. The first line of every file is no recorded frame but the pose in which the
    skeleton was modelled, all joints in line; it is left out.
    """

    protocols: ClassVar[tuple[str, ...]] = ("split",)
    pattern: ClassVar[str] = "*.txt"

    def describe(self, path: Path, file: str) -> Recording:
        match = _NAME.fullmatch(path.stem)
        parts = Path(file).parts
        if match is None or match["action"] not in _LABELS:
            raise ValueError(f"the name {path.stem!r} is not of the form action_N with one of {', '.join(_LABELS)}")
        if len(parts) < 3 or parts[-3] not in ("train", "test") or parts[-2] != match["action"]:
            raise ValueError(f"not in a folder train/{match['action']} or test/{match['action']}")
        return Recording(
            name=f"{parts[-3]}/{path.stem}",
            path=file,
            label=_LABELS.index(match["action"]),
            replication=int(match["take"]),
            split=parts[-3],
        )

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        values, skeleton = read_expmap_text(path, "cmu")
        if is_model_pose(values[0]):
            values = values[1:]
        if not len(values):
            raise RecordingError(f"{path}: holds only the pose in which the skeleton was modelled")
        keypoints = expmap_positions(values, skeleton)
        return keypoints, np.ones(keypoints.shape[:2], dtype=bool)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        return table.splits == "test"


def is_model_pose(frame: np.ndarray) -> bool:
    """Whether a frame `(1 + nodes, 3)` is the pose in which the skeleton was modelled and not a recorded one.

    Every joint turns about one axis at most there, and most not at all; in a recorded frame most turn about three.
    """
    turning = (frame[1:] != 0).sum(axis=1)
    return bool((turning <= 1).all())


CMU_MOCAP = CMUMocapCorpus(
    name="cmu-mocap",
    title="CMU motion capture (exponential maps)",
    layout="cmu28",
    frame_rate=120.0,
    units="metre",
    label_names=_LABELS,
    # nobody says how many files there are; every action has at least one in either part
    expected=ExpectedCounts(
        names=frozenset(f"{part}/{action}_1" for part in ("train", "test") for action in _LABELS),
        unsure=("one file of every action in either part",),
    ),
    citation=(
        "CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu), made with support of NSF EIA-0196217. Selection and exponential "
        "maps: C. Li, Z. Zhang, W. S. Lee, G. H. Lee: Convolutional Sequence to Sequence Model for Human Dynamics. CVPR 2018."
    ),
    terms="free for all uses; the motions themselves may not be resold",
)


__all__ = ["CMU_MOCAP", "CMUMocapCorpus", "is_model_pose"]
