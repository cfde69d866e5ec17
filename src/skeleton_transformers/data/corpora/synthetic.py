"""The synthetic corpus: recordings made from nothing, to try every protocol without a download. Never a published result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..motion_synthesis import SYNTHETIC_ACTIONS, synthesize_sequence, synthesize_take
from ..storage import SkeletonSample
from .base import Corpus, ExpectedCounts, Listing, PreparationOptions, Recording, SampleTable


_TAKE_ACTIONS = 12  # in a take, which then lasts somewhat more than a minute
_SETUPS = 4


@dataclass(frozen=True)
class SyntheticCorpus(Corpus):
    """Recordings of `motion_synthesis`, single actions or with `takes` long takes of one or two people with a label in every frame.

    Protocols: `xsub` (odd subjects train, even ones test), `xview` (cameras 2 and up train, camera 1 tests), `xset` (even setups
    train, odd ones test).
    """

    protocols: ClassVar[tuple[str, ...]] = ("xsub", "xview", "xset")

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        # named when they are made; these names only tell them apart until then
        return Listing([Recording(name=f"synthetic {number}", number=number) for number in range(options.sequences)])

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        if not options.takes:
            return synthesize_sequence(recording.number, options.seed)
        sample, actions = synthesize_take(
            options.seed,
            _TAKE_ACTIONS,
            index=recording.number,
            num_persons=1 + recording.number % 4 // 3,  # every fourth take shows two people
            setup=1 + recording.number // 4 % _SETUPS,
        )
        return replace(sample, frame_labels=(actions + 1).astype(np.int16))

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "xsub":
            return table.subjects % 2 == 0
        if protocol == "xview":
            return table.cameras == 1
        return table.setups % 2 == 1


SYNTHETIC = SyntheticCorpus(
    name="synthetic",
    title="Synthetic motion",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=SYNTHETIC_ACTIONS,
    expected_takes=ExpectedCounts(),
    citation="made by this package (skeleton_transformers.data.motion_synthesis)",
    terms="free",
)


__all__ = ["SYNTHETIC", "SyntheticCorpus"]
