"""PKU-MMD, phases I and II: long videos of many actions, and the actions cut out of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..formats.errors import RecordingError
from ..formats.pku_text import PKUInstance, read_pku_labels, read_pku_skeleton, read_pku_split
from ..storage import SkeletonSample
from .base import (
    Corpus,
    ExpectedCounts,
    Listing,
    PreparationOptions,
    Recording,
    SampleTable,
    cut_recording,
    file_state,
    label_frames,
    make_sample,
)


# In the order of the label numbers of the files. Phase II uses 41 of them.
_LABELS = (
    "bow",
    "brush hair",
    "brush teeth",
    "check time on watch",
    "cheer up",
    "clapping",
    "cross hands in front",
    "drink water",
    "drop",
    "eat meal",
    "falling",
    "giving object",
    "hand waving",
    "shaking hands",
    "hopping",
    "hugging",
    "jump up",
    "kicking",
    "kicking something",
    "phone call",
    "pat on back",
    "pick up",
    "play with phone or tablet",
    "point finger at somebody",
    "point to something",
    "punch or slap",
    "pushing",
    "put on a hat or cap",
    "put something into pocket",
    "reading",
    "rub two hands",
    "salute",
    "sit down",
    "stand up",
    "take off a hat or cap",
    "take off glasses",
    "take off jacket",
    "take something out of pocket",
    "taking a selfie",
    "tear up paper",
    "throw",
    "back pain",
    "chest pain",
    "headache",
    "neck pain",
    "type on a keyboard",
    "fan self",
    "put on jacket",
    "put on glasses",
    "wipe face",
    "writing",
)
_CAMERAS = {"L": 1, "M": 2, "R": 3}
_SUFFIXES = (".txt", ".skeleton", ".label")
# Subjects whose videos are in the second list of the cross-subject split of phase II.
_TEST_SUBJECTS_2 = (2, 3, 7)
# Videos that phase II does not have: the middle camera of these recordings.
_ABSENT_2 = ("A05N04-M", "A07N12-M", "A08N12-M", "A14N12-M", "A20N01-M")


@lru_cache(maxsize=1)
def _read_video(path: Path, state: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The actions of a video follow each other in a listing, so keeping the last one read saves reading it for each of them."""
    return read_pku_skeleton(path)


@dataclass(frozen=True)
class PKUMMDCorpus(Corpus):
    """Files of skeletons and files of labels, both named after the video, and the lists of the splits, anywhere below the folder.

    A sample is one action, or with `takes` a whole video with a label in every frame. `setup` is the number of the performance that the
    three cameras filmed, `camera` is 1 for left, 2 for middle and 3 for right.

    Protocols: `xview` (middle and right cameras train, the left one tests) and `xsub`. Phase I does not number its subjects; its `xsub`
    is the list `cross-subject.txt` of its owners, found below the folder. In phase II subjects 2, 3 and 7 test.
    """

    video: str = r"(?P<setup>\d{4})-(?P<camera>[LMR])"
    other_video: str = r"A\d{2}N\d{2}-[LMR]"
    test_subjects: tuple[int, ...] = ()
    protocols: ClassVar[tuple[str, ...]] = ("xsub", "xview")
    pattern: ClassVar[str] = "NNNN-X.txt or AxxNyy-X.txt"

    def list_recordings(self, folder: Path, options: PreparationOptions) -> Listing:
        listing = Listing()
        skeletons: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        lists: list[Path] = []
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()):
            if re.fullmatch(self.other_video, path.stem):
                listing.outside += 1
            elif re.fullmatch(self.video, path.stem):
                try:
                    kind = labels if _is_label_file(path) else skeletons
                except OSError as error:
                    listing.skipped.append((path.relative_to(folder).as_posix(), f"cannot be read ({error.strerror})"))
                    continue
                if path.stem in kind:
                    first = kind[path.stem].relative_to(folder).as_posix()
                    listing.skipped.append(
                        (path.relative_to(folder).as_posix(), f"same video as {first}, which is kept")
                    )
                else:
                    kind[path.stem] = path
            elif re.search("cross.?subject", path.stem, re.IGNORECASE):
                lists.append(path)
        splits = self._read_splits(folder, lists, listing)
        for video, path in skeletons.items():
            file = path.relative_to(folder).as_posix()
            if video not in labels:
                listing.skipped.append((file, "no file of labels of this video"))
                continue
            try:
                instances = read_pku_labels(labels[video], len(self.label_names))
            except RecordingError as error:
                place = str(error).removeprefix(str(labels[video])).lstrip(":, ")
                listing.skipped.append((labels[video].relative_to(folder).as_posix(), place))
                continue
            listing.recordings += self._recordings(video, file, instances, splits.get(video, ""), options.takes)
        for video in sorted(labels.keys() - skeletons.keys()):
            listing.skipped.append(
                (labels[video].relative_to(folder).as_posix(), "no file of skeletons of this video")
            )
        return listing

    def _recordings(
        self, video: str, file: str, instances: list[PKUInstance], split: str, takes: bool
    ) -> list[Recording]:
        match = re.fullmatch(self.video, video)
        assert match is not None  # the listing looked
        fields = match.groupdict()
        take = Recording(
            video,
            file,
            subject=int(fields.get("subject", -1)),
            camera=_CAMERAS[fields["camera"]],
            setup=int(fields["setup"]),
            split=split,
            instances=tuple((instance.label, instance.start, instance.end) for instance in instances),
        )
        if takes:
            return [take]
        return [
            replace(
                take,
                name=f"{video}_{number:02d}",
                label=label - 1,
                replication=number,
                start=start,
                end=end,
                instances=(),
            )
            for number, (label, start, end) in enumerate(take.instances)
        ]

    def _read_splits(self, folder: Path, lists: list[Path], listing: Listing) -> dict[str, str]:
        """ "train" or "test" of every video in the cross-subject list of this phase.

        Copies of the lists of phase II are in circulation under the names of those of phase I, so the names in a list tell whose it is.
        """
        splits: dict[str, str] = {}
        first = ""
        for path in lists:
            file = path.relative_to(folder).as_posix()
            try:
                train, test = read_pku_split(path)
            except RecordingError as error:
                listing.skipped.append((file, str(error).removeprefix(str(path)).lstrip(":, ")))
                continue
            ours = [name for name in train | test if re.fullmatch(self.video, name)]
            if not ours:
                listing.skipped.append(
                    (file, "lists the videos of the other phase of PKU-MMD, whatever its name says")
                )
                continue
            found = {**dict.fromkeys(train, "train"), **dict.fromkeys(test, "test")}
            if splits and found != splits:
                listing.skipped.append((file, f"divides the videos otherwise than {first}, which is used"))
                continue
            splits, first = found, file
        return splits

    def load(self, folder: Path, recording: Recording, options: PreparationOptions) -> SkeletonSample:
        path = folder / recording.path
        keypoints, frame_mask = _read_video(path, file_state(path))
        if not options.takes:
            return make_sample(recording, *cut_recording(path, keypoints, frame_mask, recording.start, recording.end))
        frame_labels = label_frames(path, recording.instances, frame_mask.shape[1])
        return make_sample(recording, *cut_recording(path, keypoints, frame_mask), frame_labels)

    def members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "xsub" and not self.test_subjects:
            return table.splits != ""
        return super().members(table, protocol)

    def test_members(self, table: SampleTable, protocol: str) -> np.ndarray:
        if protocol == "xview":
            return table.cameras == _CAMERAS["L"]
        if self.test_subjects:
            return np.isin(table.subjects, self.test_subjects)
        return table.splits == "test"


def _is_label_file(path: Path) -> bool:
    """Skeleton and label files have the same names; the numbers of labels are separated by commas."""
    if path.suffix != ".txt":
        return path.suffix == ".label"
    with open(path, "rb") as file:
        start = file.read(64).split(b"\n")[0]
    return b"," in start or not start.strip()


_COMMON = {
    "layout": "ntu25",
    "frame_rate": 30.0,
    "units": "metre",
    "label_names": _LABELS,
    "citation": (
        "C. Liu, Y. Hu, Y. Li, S. Song, J. Liu: PKU-MMD: A Large Scale Benchmark for Continuous Multi-Modal Human Action "
        "Understanding. ACM Multimedia Workshop 2017."
    ),
    "terms": "research use; see the owners' page (STRUCT group, Peking University)",
}

PKU_MMD_1 = PKUMMDCorpus(
    name="pku-mmd-1",
    title="PKU-MMD phase I",
    **_COMMON,  # type: ignore[arg-type]
    expected=ExpectedCounts(
        samples=21545,
        usable=21545,
        protocols={"xsub": (18841, 2704)},
        cameras=(1, 2, 3),
        unsure=("number of actions in each part of xsub",),
    ),
    expected_takes=ExpectedCounts(
        samples=1076,
        usable=1076,
        protocols={"xsub": (944, 132), "xview": (717, 359)},
        cameras=(1, 2, 3),
        frames=5312580,
        unsure=("number of videos in each part of xview",),
    ),
)

PKU_MMD_2 = PKUMMDCorpus(
    name="pku-mmd-2",
    title="PKU-MMD phase II",
    **_COMMON,  # type: ignore[arg-type]
    expected=ExpectedCounts(
        samples=6945,
        usable=6945,
        protocols={"xsub": (5332, 1613)},
        labels=41,
        subjects=tuple(range(1, 14)),
        cameras=(1, 2, 3),
        setups=tuple(range(1, 27)),
        unsure=("number of actions, in all and in each part of xsub",),
    ),
    expected_takes=ExpectedCounts(
        samples=1009,
        usable=1009,
        protocols={"xsub": (775, 234), "xview": (671, 338)},
        labels=41,
        subjects=tuple(range(1, 14)),
        cameras=(1, 2, 3),
        setups=tuple(range(1, 27)),
        names=frozenset(
            f"A{setup:02d}N{subject:02d}-{camera}"
            for setup in range(1, 27)
            for subject in range(1, 14)
            for camera in _CAMERAS
        ).difference(_ABSENT_2),
    ),
    video=r"A(?P<setup>\d{2})N(?P<subject>\d{2})-(?P<camera>[LMR])",
    other_video=r"\d{4}-[LMR]",
    test_subjects=_TEST_SUBJECTS_2,
)


__all__ = ["PKU_MMD_1", "PKU_MMD_2", "PKUMMDCorpus"]
