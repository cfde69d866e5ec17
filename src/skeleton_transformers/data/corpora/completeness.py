"""Is a prepared corpus complete? Compares a store with what its owners give."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..storage import SkeletonStore
from . import get_corpus, list_corpora, split_indices
from .base import ExpectedCounts


_SHOWN = 8


@dataclass
class Completeness:
    """What a store lacks against the complete corpus.

    Attributes:
        corpus: name of the corpus.
        known: whether anything is known about the complete corpus.
        samples, expected_samples: recordings in the store and in the complete corpus.
        remarks: what differs, in words: the number of recordings, classes without any, and the sizes of the splits.
        details: classes, subjects, cameras, setups and frames that are missing or too few, in words.
        missing_names: names of the recordings that are not there, where the corpus names them by a fixed rule.
        unsure: which of the expected counts are from publications and were never counted on the files.
    """

    corpus: str
    known: bool
    samples: int
    expected_samples: int = 0
    remarks: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    missing_names: list[str] = field(default_factory=list)
    unsure: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that is known of."""
        return not (self.remarks or self.details or self.missing_names)


def check_completeness(store: SkeletonStore) -> Completeness:
    """Compare a store with the expected counts of its corpus.

    A store with frame labels is compared with the whole takes of its corpus, any other with the trimmed recordings.

    Args:
        store: the store to look at.
    """
    result = Completeness(store.corpus, False, len(store))
    if store.corpus not in list_corpora():
        return result
    corpus = get_corpus(store.corpus)
    expected = corpus.expected
    if corpus.expected_takes is not None and store.has_frame_labels.any():
        expected = corpus.expected_takes
    result.known = expected != ExpectedCounts()
    result.expected_samples, result.unsure = expected.usable, expected.unsure
    _compare_samples(store, expected, result)
    _compare_labels(store, expected, result)
    for protocol, (train, test) in expected.protocols.items():
        found = [_part_size(store, protocol, part) for part in ("train", "test")]
        if found != [train, test]:
            result.remarks.append(f"{protocol}: {found[0]} train and {found[1]} test, complete {train} and {test}")
    if store.corpus.startswith("ntu") and len(store) > expected.usable:
        result.remarks.append(
            "more than the usable recordings: pass the list of those with missing skeletons (--missing)"
        )
    for what, numbers in (("subject", "subjects"), ("camera", "cameras"), ("setup", "setups")):
        absent = sorted(set(getattr(expected, numbers)) - set(getattr(store, numbers).tolist()))
        if absent:
            result.details.append(f"no recording of {what} {_in_words(absent)}")
    if expected.frames and int(store.num_frames.sum()) != expected.frames:
        result.details.append(f"{int(store.num_frames.sum())} frames, complete {expected.frames}")
    result.missing_names = sorted(expected.names - set(store.names.tolist()))
    return result


def _compare_samples(store: SkeletonStore, expected: ExpectedCounts, result: Completeness) -> None:
    if expected.usable and len(store) != expected.usable:
        result.remarks.append(
            f"{len(store)} recordings, the complete corpus has {expected.usable} usable ones of {expected.samples}"
        )


def _compare_labels(store: SkeletonStore, expected: ExpectedCounts, result: Completeness) -> None:
    names = store.label_names
    counts = np.bincount(store.labels[store.labels >= 0], minlength=len(names))
    if store.has_frame_labels.any():
        seen: set[int] = set()
        for index in range(len(store)):
            if (frame_labels := store.frame_labels(index)) is not None:
                seen |= set(np.unique(frame_labels).tolist())
        counts = np.array([int(label + 1 in seen) for label in range(len(names))])
    wanted = expected.labels or len(names)
    empty = [name for name, count in zip(names, counts) if not count]
    if len(names) - len(empty) < wanted:
        result.remarks.append(
            f"no recording of {len(empty)} of {len(names)} classes: {', '.join(empty[:5])}"
            + (", ..." if len(empty) > 5 else "")
        )
    # where the unusable recordings are counted too, nobody says in which classes they are missing
    tolerance = sum(expected.label_counts) - expected.usable
    for name, count, complete in zip(names, counts.tolist(), expected.label_counts):
        if count and (count < complete - tolerance or count > complete):
            result.details.append(f"{count} recordings of class {name!r}, complete {complete}")


def _part_size(store: SkeletonStore, protocol: str, part: str) -> int:
    try:
        return len(split_indices(store, protocol, part))
    except ValueError:  # the part is empty
        return 0


def _in_words(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")


def format_completeness(result: Completeness, all_names: bool = False) -> str:
    """The lines that `skeleton-transformers check` prints.

    Args:
        result: of [`check_completeness`].
        all_names: name every missing recording, not only the first few.
    """
    if not result.known:
        lines = [
            f"corpus {result.corpus or '(none)'!r}: {result.samples} recordings, no published counts to compare with"
        ]
    elif result.complete:
        lines = [f"complete: all {result.samples} recordings of {result.corpus} that can be used are there"]
    else:
        lines = []
    lines += [f"not complete: {text}" for text in (*result.remarks, *result.details)]
    names = result.missing_names
    if names:
        lines.append(f"missing recordings: {len(names)}")
        lines += [f"  {name}" for name in (names if all_names else names[:_SHOWN])]
        if not all_names and len(names) > _SHOWN:
            lines.append(f"  ... and {len(names) - _SHOWN} more (--all names them)")
    if result.unsure:
        lines.append(f"from publications, never counted on the files: {', '.join(result.unsure)}")
    return "\n".join(lines)


__all__ = ["Completeness", "check_completeness", "format_completeness"]
