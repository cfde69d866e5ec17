"""NTU RGB+D (60 classes) and NTU RGB+D 120."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..body_selection import select_bodies
from ..formats.errors import RecordingError
from ..formats.ntu_skeleton import read_ntu_skeleton
from .base import Corpus, ExpectedCounts, Listing, PreparationOptions, Recording, SampleTable, name_numbers


_LABELS = (
    "drink water",
    "eat meal",
    "brush teeth",
    "brush hair",
    "drop",
    "pick up",
    "throw",
    "sit down",
    "stand up",
    "clapping",
    "reading",
    "writing",
    "tear up paper",
    "put on jacket",
    "take off jacket",
    "put on a shoe",
    "take off a shoe",
    "put on glasses",
    "take off glasses",
    "put on a hat or cap",
    "take off a hat or cap",
    "cheer up",
    "hand waving",
    "kicking something",
    "reach into pocket",
    "hopping",
    "jump up",
    "phone call",
    "play with phone or tablet",
    "type on a keyboard",
    "point to something",
    "taking a selfie",
    "check time on watch",
    "rub two hands",
    "nod head or bow",
    "shake head",
    "wipe face",
    "salute",
    "put palms together",
    "cross hands in front",
    "sneeze or cough",
    "staggering",
    "falling down",
    "headache",
    "chest pain",
    "back pain",
    "neck pain",
    "nausea or vomiting",
    "fan self",
    "punch or slap",
    "kicking",
    "pushing",
    "pat on back",
    "point finger",
    "hugging",
    "giving object",
    "touch pocket",
    "shaking hands",
    "walking towards",
    "walking apart",
    "put on headphone",
    "take off headphone",
    "shoot at basket",
    "bounce ball",
    "tennis bat swing",
    "juggle table tennis ball",
    "hush",
    "flick hair",
    "thumb up",
    "thumb down",
    "make OK sign",
    "make victory sign",
    "staple book",
    "counting money",
    "cutting nails",
    "cutting paper",
    "snap fingers",
    "open bottle",
    "sniff or smell",
    "squat down",
    "toss a coin",
    "fold paper",
    "ball up paper",
    "play magic cube",
    "apply cream on face",
    "apply cream on hand",
    "put on bag",
    "take off bag",
    "put object into bag",
    "take object out of bag",
    "open a box",
    "move heavy objects",
    "shake fist",
    "throw up cap or hat",
    "capitulate",
    "cross arms",
    "arm circles",
    "arm swings",
    "run on the spot",
    "butt kicks",
    "cross toe touch",
    "side kick",
    "yawn",
    "stretch oneself",
    "blow nose",
    "hit with object",
    "wield knife",
    "knock over",
    "grab stuff",
    "shoot with gun",
    "step on foot",
    "high-five",
    "cheers and drink",
    "carry object",
    "take a photo",
    "follow",
    "whisper",
    "exchange things",
    "support somebody",
    "rock-paper-scissors",
)
# Shahroudy et al. 2016, section 4.3.1
_TRAIN_SUBJECTS_60 = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
# Liu et al. 2020, section 3.2.1: the above and these
_TRAIN_SUBJECTS_120 = _TRAIN_SUBJECTS_60 + (
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86),
    *(89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)
_NAME = re.compile(r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R(?P<replication>\d{3})A(?P<action>\d{3})")
_TERMS = "research use under the agreement of the ROSE Lab, Nanyang Technological University; not to be passed on"
# Numbers of the actions of two people: A050-A060 and A106-A120.
TWO_PERSON_ACTIONS = (*range(50, 61), *range(106, 121))


def parse_ntu_name(name: str) -> dict[str, int]:
    """The numbers in a name like `S001C002P003R002A050`: setup, camera, subject, replication and action (from 1).

    Raises:
        ValueError: if the name has another form.
    """
    return name_numbers(name, _NAME, "SsssCcccPpppRrrrAaaa")


def read_missing_list(path: str | Path) -> frozenset[str]:
    """Names in a list of recordings with missing skeletons; prose and empty lines are skipped.

    The official lists begin with two lines of prose; they name 302 recordings of NTU RGB+D and 535 of NTU RGB+D 120.

    Raises:
        ValueError: if the file names no recording.
    """
    names = frozenset(
        stem
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        if _NAME.fullmatch(stem := line.strip().removesuffix(".skeleton"))
    )
    if not names:
        raise ValueError(
            f"{path}: no line is a recording name like S001C002P005R002A008; is it the list of missing ones?"
        )
    return names


@dataclass(frozen=True)
class NTUCorpus(Corpus):
    """Files `SsssCcccPpppRrrrAaaa.skeleton`.

    Protocols: `xsub` (by subject), `xview` (NTU-60: cameras 2 and 3 train, camera 1 tests), `xset` (NTU-120: even setups train, odd
    ones test).
    """

    num_setups: int = 17
    train_subjects: tuple[int, ...] = _TRAIN_SUBJECTS_60
    protocols: ClassVar[tuple[str, ...]] = ("xsub", "xview")
    pattern: ClassVar[str] = "*.skeleton"

    def describe(self, path: Path, file: str) -> Recording:
        numbers = parse_ntu_name(path.stem)
        return Recording(
            name=path.stem,
            path=file,
            label=numbers["action"] - 1,
            subject=numbers["subject"],
            camera=numbers["camera"],
            setup=numbers["setup"],
            replication=numbers["replication"],
        )

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        listing = super().list_recordings(folder, options)
        missing = read_missing_list(options.missing) if options.missing else frozenset()
        kept = []
        for recording in listing.recordings:
            if not 0 <= recording.label < len(_LABELS):
                listing.skipped.append((recording.path, f"action {recording.label + 1} is outside 1..{len(_LABELS)}"))
            elif recording.label >= len(self.label_names) or recording.setup > self.num_setups:
                listing.outside += 1
            elif recording.name in missing:
                listing.left_out += 1
            else:
                kept.append(recording)
        listing.recordings = kept
        return listing

    def read(self, path: Path, options: PreparationOptions) -> tuple[np.ndarray, np.ndarray]:
        recording = read_ntu_skeleton(path)
        if not len(recording.keypoints):
            raise RecordingError(f"{path}: nobody was tracked in any of its {recording.num_frames} frames")
        return select_bodies(recording, options.bodies)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "xsub":
            return ~np.isin(table.subjects, self.train_subjects)
        if protocol == "xview":
            return table.cameras == 1
        return table.setups % 2 == 1


@dataclass(frozen=True)
class NTU120Corpus(NTUCorpus):
    """[`NTUCorpus`] with the protocols of NTU RGB+D 120."""

    protocols: ClassVar[tuple[str, ...]] = ("xsub", "xset")


NTU60 = NTUCorpus(
    name="ntu60",
    title="NTU RGB+D",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=_LABELS[:60],
    expected=ExpectedCounts(
        samples=56880,
        usable=56578,
        protocols={"xsub": (40091, 16487), "xview": (37646, 18932)},
        label_counts=(948,) * 60,
        subjects=tuple(range(1, 41)),
        cameras=(1, 2, 3),
        setups=tuple(range(1, 18)),
    ),
    citation=(
        "A. Shahroudy, J. Liu, T.-T. Ng, G. Wang: NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis. CVPR 2016."
    ),
    terms=_TERMS,
)

NTU120 = NTU120Corpus(
    name="ntu120",
    title="NTU RGB+D 120",
    layout="ntu25",
    frame_rate=30.0,
    units="metre",
    label_names=_LABELS,
    expected=ExpectedCounts(
        samples=114480,
        usable=113945,
        protocols={"xsub": (63026, 50919), "xset": (54468, 59477)},
        label_counts=(948,) * 60 + (960,) * 60,
        subjects=tuple(range(1, 107)),
        cameras=(1, 2, 3),
        setups=tuple(range(1, 33)),
    ),
    citation=(
        "J. Liu, A. Shahroudy, M. Perez, G. Wang, L.-Y. Duan, A. C. Kot: NTU RGB+D 120: A Large-Scale Benchmark for 3D Human "
        "Activity Understanding. IEEE TPAMI 42(10), 2020."
    ),
    terms=_TERMS,
    num_setups=32,
    train_subjects=_TRAIN_SUBJECTS_120,
)


__all__ = ["NTU60", "NTU120", "TWO_PERSON_ACTIONS", "NTU120Corpus", "NTUCorpus", "parse_ntu_name", "read_missing_list"]
