"""Packed storage of skeleton sequences: one folder that is read through a memory map.

A store is a folder of four files, five if its recordings are labelled frame by frame:

| file | contents |
|---|---|
| `values.npy` | float32 `(rows, joints, channels)`; the rows of a sample are its persons one after the other, each with all frames |
| `masks.npy` | bool `(rows,)`; True where that person is really there |
| `frame_labels.npy` | int16 `(frames,)`; the labels of every frame, sample after sample, of those samples that have them |
| `index.npz` | one entry per sample: offset (first row), persons, frames, label, subject, camera, setup, replication, name, split |
| `store.json` | layout, frame rate, units, label names, corpus, counts and SHA-256 checksums |

Samples of any length and any number of persons lie end to end, so nothing is stored for padding, and reading a sample touches
only its own bytes. Nothing here needs the `datasets` package, and no file holds a pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..skeletons import SkeletonLayout, get_layout, list_layouts, nearest_joints


FORMAT_VERSION = 1
SPLIT_NAMES = ("", "train", "validation", "test")

_INTEGER_COLUMNS = ("label", "subject", "camera", "setup", "replication")
_COLUMN_TYPES = {
    "offset": np.int64,
    "persons": np.int64,
    "frames": np.int64,
    **dict.fromkeys(_INTEGER_COLUMNS, np.int64),
}
_FRAME_LABELS = "labelled_frames"  # this column and `frame_labels.npy` are there only if a sample has frame labels
_HEADER_BYTES = 128
_HASH_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class SkeletonSample:
    """One recording.

    Attributes:
        keypoints: float32 `(persons, frames, joints, channels)`; 0 where `frame_mask` is False.
        frame_mask: bool `(persons, frames)`; True where that person is really there.
        label: class index in `0 .. len(label_names) - 1`, or -1 when the recording has no label.
        name: name of the recording, unique in its store.
        subject, camera, setup, replication: numbers of the recording protocol, -1 when unknown.
        split: part of the data set that the owner of the recording put it into: "train", "validation", "test" or "" (none).
        frame_labels: int16 `(frames,)` of an untrimmed recording, or None: 0 where nothing of interest happens, `i` where
            `label_names[i - 1]` does, -1 where nobody has looked.
    """

    keypoints: np.ndarray
    frame_mask: np.ndarray
    label: int = -1
    name: str = ""
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    split: str = ""
    frame_labels: np.ndarray | None = None


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Header of a version 1.0 `.npy` file of always the same length, so that it can be rewritten when the number of rows is known."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    magic = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    body = text.encode("latin1").ljust(_HEADER_BYTES - 11) + b"\n"
    return magic + body


class _RowFile:
    """A `.npy` file that grows row by row; its header is completed on `close`."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype):
        self.path, self.row_shape, self.dtype = path, row_shape, dtype
        self.rows = 0
        self.hash = hashlib.sha256()
        self.file: BinaryIO = open(path, "wb")
        self.file.write(_npy_header((0, *row_shape), dtype))

    def append(self, rows: np.ndarray) -> None:
        data = np.ascontiguousarray(rows, dtype=self.dtype).data.cast("B")
        self.file.write(data)
        self.hash.update(data)
        self.rows += len(rows)

    def close(self) -> str:
        self.file.seek(0)
        self.file.write(_npy_header((self.rows, *self.row_shape), self.dtype))
        _sync(self.file)
        self.file.close()
        return self.hash.hexdigest()


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def layout_to_json(layout: SkeletonLayout) -> str | dict:
    """The name of a layout that this package knows, the whole layout of one that a user brought."""
    if layout.name in list_layouts() and get_layout(layout.name) == layout:
        return layout.name
    return layout.to_dict()


def _array_hash(array: np.ndarray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(array), _HASH_ROWS):
        digest.update(np.ascontiguousarray(array[start : start + _HASH_ROWS]).data.cast("B"))
    return digest.hexdigest()


def _index_hash(columns: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(columns):
        # the item size of a unicode column depends on its longest entry, so text is hashed as UTF-8
        column = columns[key]
        text = "\n".join(column.tolist()) if column.dtype.kind == "U" else ",".join(map(str, column.tolist()))
        digest.update(f"{key}:{text};".encode())
    return digest.hexdigest()


def description_checksum(description: dict) -> str:
    """SHA-256 of a JSON description, but for its own entry `checksum`."""
    content = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    """`np.savez` with a fixed date in every entry: equal contents give equal bytes."""
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, column in columns.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, column, version=(1, 0), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, buffer.getvalue())
        _sync(file)


class SkeletonStoreWriter:
    """Writes a [`SkeletonStore`] sample by sample, in constant memory.

    Everything goes to a working folder, by default `<path>.partial`, which takes the name `path` in `close`: a store that exists
    under its own name is complete. As a context manager it closes when the block ends and throws the working folder away when the
    block raises.

    Args:
        path: folder to make.
        layout: joint layout of the samples (a name, a dictionary or a `SkeletonLayout`).
        frame_rate: frames per second.
        units: what one unit of a coordinate is, "metre" for 3D and "image_fraction" for 2D.
        label_names: names of the classes; labels of the samples are indices into it. Empty: no sample may have a label.
        corpus: name of the corpus, which tells the splits to use (see `skeleton_transformers.data.corpora`).
        num_channels: coordinates per joint.
        overwrite: replace a store that is already there.
        working_folder: where to write until `close`; must be on the file system of `path`.
        details: facts about how the store was made (JSON-able), kept in `store.json`.

    Raises:
        FileExistsError: if `path` exists and is not a store, or is one and `overwrite` is False.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: str | dict | SkeletonLayout,
        frame_rate: float,
        units: str = "metre",
        label_names: Sequence[str] = (),
        corpus: str = "",
        num_channels: int = 3,
        overwrite: bool = False,
        working_folder: str | os.PathLike | None = None,
        details: dict[str, Any] | None = None,
    ):
        self.path = Path(path)
        self.layout = get_layout(layout)
        self.frame_rate = float(frame_rate)
        if not self.frame_rate > 0:
            raise ValueError(f"frame_rate must be positive (frames per second), got {frame_rate!r}")
        self.units, self.corpus = str(units), str(corpus)
        self.label_names = [str(name) for name in label_names]
        self.num_channels = int(num_channels)
        self.details = dict(details or {})
        self.overwrite = overwrite
        check_target(self.path, overwrite)
        self.working_folder = (
            Path(working_folder) if working_folder is not None else self.path.with_name(self.path.name + ".partial")
        )
        if self.working_folder.exists():
            shutil.rmtree(self.working_folder)
        self.working_folder.mkdir(parents=True)
        row_shape = (len(self.layout.joints), self.num_channels)
        self._values = _RowFile(self.working_folder / "values.npy", row_shape, np.dtype("<f4"))
        self._masks = _RowFile(self.working_folder / "masks.npy", (), np.dtype("bool"))
        self._frame_labels = _RowFile(self.working_folder / "frame_labels.npy", (), np.dtype("<i2"))
        self._columns: dict[str, list] = {key: [] for key in (*_COLUMN_TYPES, _FRAME_LABELS, "name", "split")}
        self._names: set[str] = set()
        self._finished = self._closed = False

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> SkeletonStoreWriter:
        return self

    def __exit__(self, error_type: Any, error: Any, traceback: Any) -> None:
        if error_type is None:
            self.close()
        else:
            self.abort()

    def add(self, sample: SkeletonSample) -> None:
        """Append one sample.

        Raises:
            ValueError: if the sample does not fit the layout, holds a number that is not finite, holds anything but 0 where its
                mask is False, has a label outside the label names, or a name that is missing or taken. Nothing is written then.
        """
        if self._finished or self._closed:
            raise ValueError(f"the writer of {self.path} is closed; make a new one")
        keypoints, frame_mask = check_sample(sample, self.layout, self.num_channels, len(self.label_names))
        if sample.name in self._names:
            raise ValueError(
                f"sample {sample.name!r}: a sample of that name is already in {self.path}; names must be unique"
            )
        self._names.add(sample.name)
        persons, frames = frame_mask.shape
        columns = self._columns
        columns["offset"].append(self._values.rows)
        columns["persons"].append(persons)
        columns["frames"].append(frames)
        for key in _INTEGER_COLUMNS:
            columns[key].append(int(getattr(sample, key)))
        columns["name"].append(sample.name)
        columns["split"].append(sample.split)
        columns[_FRAME_LABELS].append(0 if sample.frame_labels is None else frames)
        if sample.frame_labels is not None:
            self._frame_labels.append(np.asarray(sample.frame_labels))
        self._values.append(keypoints.reshape(persons * frames, *keypoints.shape[2:]))  # (M, T, V, C) -> (M*T, V, C)
        self._masks.append(frame_mask.reshape(persons * frames))

    def finish(self) -> Path:
        """Complete the files; returns the working folder, which is a whole store then and waits for its name.

        Raises:
            ValueError: if no sample was added.
        """
        if self._finished:
            return self.working_folder
        if not self._names:
            self.abort()
            raise ValueError(f"no sample was added to {self.path}: an empty store would be of no use")
        arrays = {"values": self._values.close(), "masks": self._masks.close()}
        index = {key: np.array(self._columns[key], dtype=kind) for key, kind in _COLUMN_TYPES.items()}
        frame_labels = self._frame_labels.close()
        if self._frame_labels.rows:
            arrays["frame_labels"] = frame_labels
            index[_FRAME_LABELS] = np.array(self._columns[_FRAME_LABELS], dtype=np.int64)
        else:
            self._frame_labels.path.unlink()
        index["name"] = np.array(self._columns["name"], dtype=np.str_)
        index["split"] = np.array([SPLIT_NAMES.index(split) for split in self._columns["split"]], dtype=np.int64)
        _write_npz(self.working_folder / "index.npz", index)
        description: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "corpus": self.corpus,
            "layout": layout_to_json(self.layout),
            "frame_rate": self.frame_rate,
            "units": self.units,
            "label_names": self.label_names,
            "counts": {
                "samples": len(self._names),
                "rows": self._values.rows,
                "frames": int(index["frames"].sum()),
                "joints": len(self.layout.joints),
                "channels": self.num_channels,
            },
            "sha256": {**arrays, "index": _index_hash(index)},
            "details": self.details,
        }
        description["checksum"] = description_checksum(description)
        with open(self.working_folder / "store.json", "w", encoding="utf-8") as file:
            json.dump(description, file, indent=2, ensure_ascii=False)
            file.write("\n")
            _sync(file)
        self._finished = True
        return self.working_folder

    def close(self) -> Path:
        """Complete the files and give the folder its name; returns `path`.

        Raises:
            ValueError: if no sample was added.
        """
        if self._closed:
            return self.path
        self.finish()
        self._closed = True
        check_target(self.path, self.overwrite)
        replace_folder(self.working_folder, self.path)
        return self.path

    def abort(self) -> None:
        """Give up: close the files and remove the working folder."""
        if not self._closed:
            self._closed = True
            self._values.file.close()
            self._masks.file.close()
            self._frame_labels.file.close()
            shutil.rmtree(self.working_folder, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Give a complete folder its name; what has that name is removed. A kill leaves at least one of the two whole."""
    retired = path.with_name(path.name + ".replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        shutil.rmtree(retired, ignore_errors=True)
        os.rename(path, retired)
    os.rename(new, path)
    shutil.rmtree(retired, ignore_errors=True)


def check_target(path: Path, overwrite: bool) -> None:
    """Check that a store can be made at `path`.

    Raises:
        FileExistsError: if something else is there, or a store and `overwrite` is False.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        if path.is_dir():
            path.rmdir()
        return
    if not (path / "store.json").is_file():
        raise FileExistsError(f"{path} exists and is not a skeleton store; choose another name or remove it yourself")
    if not overwrite:
        raise FileExistsError(f"{path} already holds a skeleton store; pass overwrite (--overwrite) to replace it")


def check_sample(
    sample: SkeletonSample, layout: SkeletonLayout, num_channels: int = 3, num_labels: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Check that a sample is canonical; returns its `keypoints` (float32) and `frame_mask` (bool).

    Args:
        sample: the sample to look at.
        layout: the joint layout it must have.
        num_channels: the coordinates per joint it must have.
        num_labels: number of classes, or None to accept any label.

    Raises:
        ValueError: naming the sample, what is wrong with it, where, and what would be right.
    """
    where = f"sample {sample.name!r}"
    if not sample.name or "\n" in sample.name:
        raise ValueError(f"{where}: a sample needs a name of one line")
    keypoints = np.asarray(sample.keypoints, dtype=np.float32)
    frame_mask = np.asarray(sample.frame_mask)
    joints = len(layout.joints)
    if keypoints.ndim != 4 or keypoints.shape[2:] != (joints, num_channels) or 0 in keypoints.shape:
        raise ValueError(
            f"{where}: keypoints have shape {keypoints.shape}, expected (persons, frames, {joints}, {num_channels}) "
            f"with at least one person and one frame, for layout {layout.name!r}"
        )
    if frame_mask.shape != keypoints.shape[:2] or frame_mask.dtype != np.bool_:
        raise ValueError(
            f"{where}: frame_mask is {frame_mask.dtype} of shape {frame_mask.shape}, expected bool of {keypoints.shape[:2]}"
        )
    finite = np.isfinite(keypoints).all(axis=-1)
    if not finite.all():
        person, frame, joint = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{where}: person {person}, frame {frame}, joint {layout.joints[joint]!r} is "
            f"{keypoints[person, frame, joint].tolist()}; coordinates must be finite (set frame_mask to False and the "
            "coordinates to 0 where nothing was seen)"
        )
    hidden = ~frame_mask & keypoints.any(axis=(2, 3))
    if hidden.any():
        person, frame = (int(i) for i in np.argwhere(hidden)[0])
        raise ValueError(
            f"{where}: person {person}, frame {frame} is masked out but holds coordinates; they must be 0 there"
        )
    if num_labels is not None and not -1 <= sample.label < num_labels:
        raise ValueError(
            f"{where}: label {sample.label} is outside the {num_labels} label names (allowed: 0..{num_labels - 1}, or -1 for none)"
            if num_labels
            else f"{where}: label {sample.label} given, but the store has no label names; use -1 or pass label_names"
        )
    if sample.split not in SPLIT_NAMES:
        raise ValueError(f"{where}: split {sample.split!r} is not one of {', '.join(map(repr, SPLIT_NAMES))}")
    if sample.frame_labels is not None:
        labels = np.asarray(sample.frame_labels)
        if labels.shape != keypoints.shape[1:2] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{where}: frame_labels is {labels.dtype} of shape {labels.shape}, expected integers of {keypoints.shape[1:2]}"
            )
        highest = np.iinfo(np.int16).max if num_labels is None else min(num_labels, np.iinfo(np.int16).max)
        wrong = np.flatnonzero((labels < -1) | (labels > highest))
        if len(wrong):
            raise ValueError(
                f"{where}: frame {wrong[0]} has label {labels[wrong[0]]}; allowed: 1..{highest} for the {highest} label names, "
                "0 for no action, -1 for unknown"
            )
    return keypoints, frame_mask


# Attributes of a store with an entry for every sample.
_PER_SAMPLE = (
    "_offsets",
    "num_persons",
    "num_frames",
    "labels",
    "subjects",
    "cameras",
    "setups",
    "replications",
    "names",
    "splits",
    "has_frame_labels",
    "_frame_label_stops",
)


class SkeletonStore:
    """A folder of packed skeleton sequences, read through a memory map.

    `store[i]` gives a [`SkeletonSample`] whose arrays are the caller's own copies. Opening reads the index only. A store can be
    pickled: a DataLoader worker opens the files again by itself.

    Attributes:
        path: folder of the store.
        layout: the `SkeletonLayout` of all samples.
        frame_rate: frames per second.
        units: what one unit of a coordinate is.
        label_names: names of the classes.
        corpus: name of the corpus.
        details: facts recorded when the store was made.
        checksum: SHA-256 over everything the store holds; equal stores have equal checksums.
        labels, subjects, cameras, setups, replications: int64 `(samples,)`, -1 where unknown.
        names: unicode `(samples,)`.
        splits: unicode `(samples,)`: "train", "validation", "test" or "".
        has_frame_labels: bool `(samples,)`.
        num_frames, num_persons: int64 `(samples,)`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._load()

    @classmethod
    def open(cls, path: str | os.PathLike) -> SkeletonStore:
        """Open the store in folder `path`.

        Raises:
            FileNotFoundError: if there is no store, or only one whose preparation was interrupted.
            ValueError: if a file of it is damaged or does not belong to the others.
        """
        return cls(path)

    def _load(self) -> None:
        description = _read_description(self.path)
        self._description = description
        self.layout = get_layout(description["layout"])
        self._joints: list[int] | None = None  # where the joints of another layout stand, see in_layout
        self._kept: np.ndarray | None = None  # which samples of the files there are, see only
        self.frame_rate = float(description["frame_rate"])
        self.units = str(description["units"])
        self.label_names: list[str] = list(description["label_names"])
        self.corpus = str(description["corpus"])
        self.details: dict[str, Any] = dict(description.get("details", {}))
        self.checksum = str(description["checksum"])
        counts = description["counts"]
        rows, joints, channels = counts["rows"], counts["joints"], counts["channels"]
        self.num_channels = int(channels)
        if joints != len(self.layout.joints):
            raise ValueError(
                f"{self.path / 'store.json'}: counts.joints is {joints}, but layout {self.layout.name!r} has "
                f"{len(self.layout.joints)} joints; prepare the store again"
            )
        labelled = "frame_labels" in description["sha256"]
        index = _read_index(self.path / "index.npz", counts["samples"], rows, labelled)
        self._index = index
        self._offsets = index["offset"]
        self.num_persons, self.num_frames = index["persons"], index["frames"]
        self.labels, self.subjects, self.cameras = index["label"], index["subject"], index["camera"]
        self.setups, self.replications, self.names = index["setup"], index["replication"], index["name"]
        self.splits = np.array(SPLIT_NAMES)[index["split"]]
        self._values = _map_array(self.path / "values.npy", (rows, joints, channels), np.dtype("<f4"))
        self._masks = _map_array(self.path / "masks.npy", (rows,), np.dtype("bool"))
        labelled_frames = index.get(_FRAME_LABELS, np.zeros(len(self), np.int64))
        self.has_frame_labels = labelled_frames > 0
        self._frame_label_stops = np.cumsum(labelled_frames)
        self._frame_labels: np.ndarray | None = None
        if labelled:
            total = (int(labelled_frames.sum()),)
            self._frame_labels = _map_array(self.path / "frame_labels.npy", total, np.dtype("<i2"))

    def in_layout(self, layout: str | Mapping[str, Any] | SkeletonLayout) -> SkeletonStore:
        """The same recordings in another joint layout, each when it is read; joints are matched by name.

        A joint that the recordings lack stands where its nearest ancestor in `layout` does (see `nearest_joints`).

        Raises:
            ValueError: the layouts share no joint.
        """
        other = object.__new__(SkeletonStore)  # a copy would open the files anew
        other.__dict__.update(self.__dict__)
        other._bring_to(get_layout(layout))
        return other

    def only(self, names: Iterable[str]) -> SkeletonStore:
        """The same store with some of its recordings alone, in the order that they have in it.

        Raises:
            ValueError: a name is not one of the store's, or there is none.
        """
        wanted = set(names)
        kept = np.flatnonzero(np.isin(self.names, list(wanted)))
        missing = sorted(wanted - set(self.names[kept].tolist()))
        if missing or not wanted:
            lacking = f"{len(missing)} of {len(wanted)} names, the first is {missing[0]!r}" if missing else "nothing"
            raise ValueError(f"the list of recordings asks {self.path} for {lacking}; draw it from this very store")
        other = object.__new__(SkeletonStore)
        other.__dict__.update(self.__dict__)
        other._keep(kept)
        return other

    def _keep(self, kept: np.ndarray | None) -> None:
        if kept is None:
            return
        self._kept = kept if self._kept is None else self._kept[kept]
        for name in _PER_SAMPLE:
            setattr(self, name, getattr(self, name)[kept])

    def _bring_to(self, target: SkeletonLayout) -> None:
        own = get_layout(self._description["layout"])
        self._joints = None if target.joints == own.joints else nearest_joints(own, target)
        self.layout = target

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> SkeletonSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} asked of {self.path}, which holds {len(self)}")
        persons, frames = int(self.num_persons[index]), int(self.num_frames[index])
        start = int(self._offsets[index])
        stop = start + persons * frames
        values = self._values[start:stop]  # (M*T, V, C)
        if self._joints is not None:
            values = values[:, self._joints]
        return SkeletonSample(
            keypoints=values.reshape(persons, frames, *values.shape[1:]).copy(),  # (M, T, V, C)
            frame_mask=self._masks[start:stop].reshape(persons, frames).copy(),  # (M, T)
            label=int(self.labels[index]),
            name=str(self.names[index]),
            subject=int(self.subjects[index]),
            camera=int(self.cameras[index]),
            setup=int(self.setups[index]),
            replication=int(self.replications[index]),
            split=str(self.splits[index]),
            frame_labels=self.frame_labels(index),
        )

    def frame_labels(self, index: int) -> np.ndarray | None:
        """The frame labels of a sample, a copy of int16 `(frames,)`, or None; does not read its keypoints."""
        if self._frame_labels is None or not self.has_frame_labels[index]:
            return None
        last = int(self._frame_label_stops[index])
        return self._frame_labels[last - int(self.num_frames[index]) : last].copy()

    def __iter__(self) -> Iterator[SkeletonSample]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"SkeletonStore({str(self.path)!r}, corpus={self.corpus!r}, layout={self.layout.name!r}, samples={len(self)}, "
            f"labels={len(self.label_names)}, checksum={self.checksum[:12]!r})"
        )

    def __getstate__(self) -> dict:
        state = {"path": os.path.abspath(self.path), "checksum": self.checksum, "layout": layout_to_json(self.layout)}
        return {**state, "kept": self._kept}

    def __setstate__(self, state: dict) -> None:
        self.path = Path(state["path"])
        self._load()
        if self.checksum != state["checksum"]:
            raise ValueError(
                f"{self.path} changed while it was in use: checksum {state['checksum'][:12]} was opened, {self.checksum[:12]} "
                "is there now; start the program again"
            )
        self._bring_to(get_layout(state["layout"]))
        self._keep(state["kept"])

    def release_memory(self) -> None:
        """Give the pages that were read back to the system; they are read again when they are needed.

        The system does so by itself when memory is short. This is for who goes through a large store once and is counted by
        what it holds.
        """
        for array in (self._values, self._masks):
            base: Any = array
            while not isinstance(base, mmap.mmap):
                base = base.base
            if hasattr(mmap, "MADV_DONTNEED"):
                base.madvise(mmap.MADV_DONTNEED)

    def verify(self) -> None:
        """Read everything and compare with the checksums of `store.json`.

        Raises:
            ValueError: naming the first file whose contents changed.
        """
        if description_checksum(self._description) != self.checksum:
            raise ValueError(
                f"{self.path / 'store.json'}: its own checksum does not match, so it was edited; prepare the store again"
            )
        found = {
            "values": _array_hash(self._values),
            "masks": _array_hash(self._masks),
            "index": _index_hash(self._index),
        }
        if self._frame_labels is not None:
            found["frame_labels"] = _array_hash(self._frame_labels)
        for key, value in found.items():
            expected = self._description["sha256"][key]
            if value != expected:
                file = self.path / ("index.npz" if key == "index" else f"{key}.npy")
                raise ValueError(
                    f"{file}: SHA-256 of its contents is {value[:16]}..., expected {expected[:16]}...; the file was damaged or "
                    "exchanged: copy the store again or prepare it again"
                )


def _read_description(path: Path) -> dict:
    file = path / "store.json"
    if not file.is_file():
        partial = path.with_name(path.name + ".partial")
        if partial.is_dir():
            raise FileNotFoundError(
                f"{path} is not complete: its preparation was interrupted ({partial} is there); run the same "
                "`skeleton-transformers prepare` command again to finish it"
            )
        raise FileNotFoundError(
            f"{file} not found: {path} is not a skeleton store; make one with `skeleton-transformers prepare`"
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        version = description["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not the description of a store ({error}); prepare the store again") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{file}: format_version is {version!r}, this release reads {FORMAT_VERSION}; prepare the store again or use the "
            "release that wrote it"
        )
    required = {"corpus", "layout", "frame_rate", "units", "label_names", "counts", "sha256", "checksum"}
    missing = sorted(required - description.keys())
    if missing:
        raise ValueError(f"{file}: missing {', '.join(missing)}; prepare the store again")
    return description


def _read_index(file: Path, samples: int, rows: int, labelled: bool) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise ValueError(f"{file} is missing; copy the store again or prepare it again")
    try:
        with np.load(file, allow_pickle=False) as archive:
            columns = (*_COLUMN_TYPES, "name", "split", *([_FRAME_LABELS] if labelled else []))
            index = {key: archive[key] for key in columns}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be read ({error}); copy the store again or prepare it again") from error
    for key, column in index.items():
        if column.shape != (samples,):
            raise ValueError(
                f"{file}: column {key!r} has shape {column.shape}, store.json says {samples} samples; the files do not belong "
                "together, copy the store again"
            )
    lengths = index["persons"] * index["frames"]
    expected = np.concatenate([[0], np.cumsum(lengths)])
    if expected[-1] != rows or not np.array_equal(expected[:-1], index["offset"]):
        raise ValueError(
            f"{file}: its samples fill {int(expected[-1])} rows, store.json says {rows}; the files do not belong together, "
            "copy the store again"
        )
    if labelled and not ((index[_FRAME_LABELS] == 0) | (index[_FRAME_LABELS] == index["frames"])).all():
        raise ValueError(f"{file}: column {_FRAME_LABELS!r} does not fit the column 'frames'; copy the store again")
    return index


def _map_array(file: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A plain read-only array over a memory map (a `np.memmap` object makes every slice several times slower)."""
    if not file.is_file():
        raise ValueError(f"{file} is missing; copy the store again or prepare it again")
    expected = _HEADER_BYTES + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    found = file.stat().st_size
    if found != expected:
        raise ValueError(
            f"{file} has {found} bytes, expected {expected} for shape {shape}; it is {'cut off' if found < expected else 'too long'}: "
            "copy the store again or prepare it again"
        )
    with open(file, "rb") as handle:
        header = handle.read(_HEADER_BYTES)
    if header != _npy_header(shape, dtype):
        raise ValueError(f"{file}: its header is not that of a {dtype} array of shape {shape}; copy the store again")
    return np.asarray(np.memmap(file, dtype=dtype, mode="r", offset=_HEADER_BYTES, shape=shape))


__all__ = [
    "FORMAT_VERSION",
    "SPLIT_NAMES",
    "SkeletonSample",
    "SkeletonStore",
    "SkeletonStoreWriter",
    "check_sample",
    "check_target",
    "description_checksum",
    "file_hash",
    "layout_to_json",
    "replace_folder",
]
