"""Corpora: what they hold, how their files are named, and how they are split.

Every corpus has its own file. Splits are functions of the columns of a store, so that they need no list of names:

```python
store = SkeletonStore.open("stores/nw-ucla")
train = split_indices(store, "xview", "train")          # the whole official training part
test = split_indices(store, "xview", "test")
held_out = split_indices(store, "xview", "validation")  # some subjects of the training part
rest = split_indices(store, "xview", "train-validation")
```
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from ..storage import SkeletonStore
from .base import Corpus, ExpectedCounts, Listing, PreparationOptions, Recording, SampleTable, sample_by_label


_CORPORA = {
    "ntu60": ("ntu", "NTU60"),
    "ntu120": ("ntu", "NTU120"),
    "nw-ucla": ("nw_ucla", "NW_UCLA"),
    "msr-action3d": ("msr_action3d", "MSR_ACTION3D"),
    "gtu": ("gtu", "GTU"),
    "pku-mmd-1": ("pku_mmd", "PKU_MMD_1"),
    "pku-mmd-2": ("pku_mmd", "PKU_MMD_2"),
    "kinetics": ("kinetics", "KINETICS"),
    "utd-mhad": ("utd_mhad", "UTD_MHAD"),
    "precog": ("precog", "PRECOG"),
    "human36m": ("human36m", "HUMAN36M"),
    "cmu-mocap": ("cmu_mocap", "CMU_MOCAP"),
    "folder": ("folder", "FOLDER"),
    "synthetic": ("synthetic", "SYNTHETIC"),
}
PARTS = ("train", "validation", "test", "train-validation", "all")
VALIDATION_SHARE = 0.1


def list_corpora() -> list[str]:
    """Names that `get_corpus` knows."""
    return list(_CORPORA)


def get_corpus(name: str) -> Corpus:
    """The description of a corpus.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in _CORPORA:
        raise ValueError(f"unknown corpus {name!r}; known: {', '.join(_CORPORA)}")
    module, attribute = _CORPORA[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def split_indices(store: SkeletonStore, protocol: str, part: str, seed: int = 0) -> np.ndarray:
    """Indices of the samples of one part of a protocol.

    The validation part is carved out of the training part and never touches the test part. It takes whole subjects, one in ten
    and at least one, also in protocols that split by camera or setup, so that it tells how a model does on people it has not
    seen. Where the training part has one known subject or none, it takes one recording in ten, spread evenly over the classes.

    Args:
        store: the store; its `corpus` names the protocols. A store of an unknown corpus has those of "folder".
        protocol: for example "xsub", "xview" or "xset".
        part: "train" (the whole official training part), "test", "validation", "train-validation" (the training part without
            the validation part) or "all".
        seed: chooses the validation subjects or recordings. Training and test parts do not depend on it.

    Returns:
        int64 indices, ascending.

    Raises:
        ValueError: if the protocol or the part is unknown, or the part is empty.
    """
    corpus = get_corpus(store.corpus if store.corpus in _CORPORA else "folder")
    base_protocol = protocol.split(":")[0]
    if base_protocol not in corpus.protocols:
        raise ValueError(
            f"protocol {protocol!r} is not one of corpus {corpus.name!r} (store {store.path}): choose one of "
            f"{', '.join(corpus.protocols)}"
        )
    if part not in PARTS:
        raise ValueError(f"part {part!r} is not one of {', '.join(PARTS)}")
    members = corpus.members(store, protocol)
    test = corpus.test_members(store, protocol) & members
    train = members & ~test
    if part == "all":
        chosen = members
    elif part == "test":
        chosen = test
    elif part == "train":
        chosen = train
    else:
        validation = _validation_members(store, train, base_protocol, seed)
        chosen = validation if part == "validation" else train & ~validation
    indices = np.flatnonzero(chosen).astype(np.int64)
    if not len(indices):
        raise ValueError(
            f"part {part!r} of protocol {protocol!r} is empty in {store.path} ({len(store.labels)} samples of corpus {store.corpus!r})"
        )
    return indices


def _validation_members(store: SkeletonStore, train: np.ndarray, protocol: str, seed: int) -> np.ndarray:
    """bool `(samples,)`: the samples of the training part that are held out."""
    if protocol == "split" and (store.splits == "validation").any():
        return train & (store.splits == "validation")  # the owner of the recordings chose
    generator = np.random.default_rng([seed, 0x76616C])
    subjects = np.unique(store.subjects[train & (store.subjects >= 0)])
    if len(subjects) > 1 and (store.subjects[train] >= 0).all():
        count = max(1, round(VALIDATION_SHARE * len(subjects)))
        return train & np.isin(store.subjects, generator.choice(subjects, size=count, replace=False))
    return sample_by_label(store.labels, train, VALIDATION_SHARE, generator)


__all__ = [
    "PARTS",
    "VALIDATION_SHARE",
    "Corpus",
    "ExpectedCounts",
    "Listing",
    "PreparationOptions",
    "Recording",
    "SampleTable",
    "get_corpus",
    "list_corpora",
    "sample_by_label",
    "split_indices",
]
