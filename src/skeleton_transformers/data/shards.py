"""Parquet shards: a store in the form in which data sets are shared, and back.

A folder of shards is what `datasets.load_dataset` and the Hub understand:

| file | contents |
|---|---|
| `data/<split>-00000-of-00004.parquet` | the samples, one per row (see [`sample_schema`]) |
| `shards.json` | layout, frame rate, units, label names, corpus, and SHA-256 checksums of the files and of the store |
| `README.md` | the dataset card |

The same store always gives the same files, however many processes write them; a run that was killed goes on where it stopped; and
[`shards_to_store`] gives the very store back. The samples lie in parts ("train", "validation", "test") if the owner of
the recordings made such parts; the protocols of a corpus (`split_indices`) need no parts, as they follow from the columns.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import heapq
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from tqdm.auto import tqdm

from ..skeletons import get_layout
from .corpora import get_corpus, list_corpora
from .processes import run_in_processes
from .storage import (
    SPLIT_NAMES,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
    description_checksum,
    file_hash,
    layout_to_json,
    replace_folder,
)


if TYPE_CHECKING:
    import pyarrow


logger = logging.getLogger(__name__)

SHARDS_VERSION = 1
CARD_REPOSITORY = "this/folder"  # what the example of a card loads until the shards have a place on the Hub
_GROUP_SAMPLES = 64
_GROUP_BYTES = 16 << 20
_NUMBERS = ("label", "subject", "camera", "setup", "replication")
_WORKING_FILES = {"state.json", "data", "shards.json", "README.md"}


@dataclass(frozen=True)
class _Task:
    """What a worker needs to write one shard: `groups` are the samples of its row groups."""

    store: Path
    groups: list[list[int]]
    target: Path


def _features(label_names: Sequence[str]) -> dict[str, Any]:
    """The columns as `datasets` describes them."""

    def value(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "_type": "Value"}

    def many(dtype: str) -> dict[str, Any]:
        return {"feature": value(dtype), "_type": "List"}

    return {
        "index": value("int64"),
        "name": value("string"),
        "label": {"names": list(label_names), "_type": "ClassLabel"} if label_names else value("int64"),
        **{key: value("int64") for key in _NUMBERS[1:]},
        "split": value("string"),
        "shape": {**many("int32"), "length": 4},
        "keypoints": many("float32"),
        "frame_mask": many("bool"),
        "frame_labels": many("int16"),
    }


def sample_schema(label_names: Sequence[str]) -> pyarrow.Schema:
    """Columns of a shard.

    `keypoints` is the flat array of `shape` `(persons, frames, joints, channels)`, `frame_mask` that of `(persons, frames)`,
    `frame_labels` has one entry per frame or is null, `index` is the place in the store; the others are those of
    [`SkeletonSample`]. Flat lists are read several times faster than nested ones.
    """
    import pyarrow as pa

    return pa.schema(
        {
            "index": pa.int64(),
            "name": pa.string(),
            **dict.fromkeys(_NUMBERS, pa.int64()),
            "split": pa.string(),
            "shape": pa.list_(pa.int32(), 4),
            "keypoints": pa.list_(pa.float32()),
            "frame_mask": pa.list_(pa.bool_()),
            "frame_labels": pa.list_(pa.int16()),
        },
        # `datasets` looks for the names of the classes here
        metadata={"huggingface": json.dumps({"info": {"features": _features(label_names)}})},
    )


def samples_table(store: SkeletonStore, indices: Sequence[int]) -> pyarrow.Table:
    """Samples of a store as a table of the columns of [`sample_schema`]."""
    import pyarrow as pa

    samples = [store[index] for index in indices]
    schema = sample_schema(store.label_names)

    def lists(arrays: list[np.ndarray]) -> pa.ListArray:
        offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])]).astype(np.int32)
        return pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(np.concatenate([array.ravel() for array in arrays]))
        )

    shapes = np.array([sample.keypoints.shape for sample in samples], dtype=np.int32)  # (samples, 4)
    frame_labels = [sample.frame_labels for sample in samples]
    columns = [
        pa.array(indices, pa.int64()),
        pa.array([sample.name for sample in samples], pa.string()),
        *(pa.array([getattr(sample, key) for sample in samples], pa.int64()) for key in _NUMBERS),
        pa.array([sample.split for sample in samples], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(shapes.ravel()), 4),
        lists([sample.keypoints for sample in samples]),
        lists([sample.frame_mask for sample in samples]),
        pa.array([None if labels is None else labels.tolist() for labels in frame_labels], pa.list_(pa.int16())),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def table_samples(table: pyarrow.Table, where: str) -> Iterator[tuple[int, SkeletonSample]]:
    """Place in the store and sample of every row; the arrays are views into the table.

    Args:
        table: rows of a shard.
        where: the file, for messages.

    Raises:
        ValueError: if the lists of a row do not fit its shape.
    """
    columns = {key: table[key].combine_chunks() for key in table.column_names}
    plain = {key: columns[key].to_pylist() for key in ("index", "name", "split", "frame_labels", *_NUMBERS)}
    shapes = columns["shape"].flatten().to_numpy().reshape(-1, 4)  # (rows * 4,) -> (rows, 4)
    values, value_offsets = columns["keypoints"].values.to_numpy(), columns["keypoints"].offsets.to_numpy()
    masks = columns["frame_mask"].values.to_numpy(zero_copy_only=False)
    mask_offsets = columns["frame_mask"].offsets.to_numpy()
    for row, shape in enumerate(shapes.tolist()):
        name, labels = plain["name"][row], plain["frame_labels"][row]
        keypoints = values[value_offsets[row] : value_offsets[row + 1]]
        frame_mask = masks[mask_offsets[row] : mask_offsets[row + 1]]
        if (
            min(shape) < 1
            or keypoints.size != np.prod(shape, dtype=np.int64)
            or frame_mask.size != shape[0] * shape[1]
        ):
            raise ValueError(
                f"{where}: sample {name!r} has {keypoints.size} values and {frame_mask.size} mask entries for shape {shape}; "
                "write the shards again"
            )
        yield (
            plain["index"][row],
            SkeletonSample(
                keypoints=keypoints.reshape(shape),  # (M*T*V*C,) -> (M, T, V, C)
                frame_mask=frame_mask.reshape(shape[:2]),  # (M*T,) -> (M, T)
                name=name,
                split=plain["split"][row],
                frame_labels=None if labels is None else np.array(labels, dtype=np.int16),
                **{key: plain[key][row] for key in _NUMBERS},
            ),
        )


def row_groups(store: SkeletonStore, indices: np.ndarray) -> list[list[int]]:
    """Cut samples into runs that are read at once: 64, or fewer if they are long."""
    sizes = _sizes(store)
    groups: list[list[int]] = []
    group_size = 0
    for index in indices.tolist():
        if not groups or len(groups[-1]) == _GROUP_SAMPLES or group_size + sizes[index] > _GROUP_BYTES:
            groups.append([])
            group_size = 0
        groups[-1].append(index)
        group_size += sizes[index]
    return groups


def _cut(store: SkeletonStore, indices: np.ndarray, shard_bytes: int) -> list[list[list[int]]]:
    """Cut samples into shards of about `shard_bytes`, each of whole row groups."""
    sizes = _sizes(store)
    shards: list[list[list[int]]] = []
    shard_size = 0
    for group in row_groups(store, indices):
        size = sum(sizes[index] for index in group)
        if not shards or shard_size + size > shard_bytes:
            shards.append([])
            shard_size = 0
        shards[-1].append(group)
        shard_size += size
    return shards


def _sizes(store: SkeletonStore) -> list[int]:
    """Bytes of the coordinates of every sample."""
    return (store.num_persons * store.num_frames * len(store.layout.joints) * store.num_channels * 4).tolist()


def split_members(store: SkeletonStore) -> dict[str, np.ndarray]:
    """The parts that the owner of the recordings made: name -> indices; one part "train" if there are none."""
    present = [name for name in SPLIT_NAMES if (store.splits == name).any()]
    if present == [""]:
        return {"train": np.arange(len(store))}
    return {name or "unassigned": np.flatnonzero(store.splits == name) for name in present}


def write_shards(
    store: SkeletonStore,
    folder: str | os.PathLike,
    shard_bytes: int = 256 << 20,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> SkeletonShards:
    """Write the samples of a store as a folder of parquet files that `datasets.load_dataset` reads.

    Args:
        store: the store.
        folder: folder to make; it gets its name when it is complete.
        shard_bytes: about how many bytes of coordinates a file holds; streams are cut at row groups, not at files.
        overwrite: replace a folder of shards that is there.
        workers: processes; None for one per core.
        progress: show a progress bar.

    Returns:
        The shards.

    Raises:
        FileExistsError: if something else is at `folder`, or shards and `overwrite` is False.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    check_shards_folder(folder)
    if (folder / "shards.json").is_file():
        if SkeletonShards(folder).store_checksum == store.checksum:
            return SkeletonShards(folder)
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds shards of another store; pass overwrite (--overwrite) to replace them"
            )
    state = {"store_checksum": store.checksum, "shard_bytes": shard_bytes, "format_version": SHARDS_VERSION}
    try:
        same = json.loads((partial / "state.json").read_text(encoding="utf-8")) == state
    except (OSError, ValueError):
        same = False
    if partial.exists() and not same:
        shutil.rmtree(partial)
    (partial / "data").mkdir(parents=True, exist_ok=True)
    for leftover in (partial / "data").glob("*.writing"):
        leftover.unlink(missing_ok=True)
    (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")

    tasks: list[_Task] = []
    entries: list[dict[str, Any]] = []
    for split, indices in split_members(store).items():
        shards = _cut(store, indices, shard_bytes)
        for number, groups in enumerate(shards):
            name = f"data/{split}-{number:05d}-of-{len(shards):05d}.parquet"
            tasks.append(_Task(store.path, groups, partial / name))
            entries.append({"file": name, "split": split, "groups": [len(group) for group in groups]})
    with tqdm(total=len(tasks), desc="parquet", unit="file", disable=not progress) as bar:
        for _ in run_in_processes(_write_shard, tasks, workers):
            bar.update()
    for entry in tqdm(entries, desc="checksums", unit="file", disable=not progress, leave=False):
        path = partial / entry["file"]
        entry |= {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    description: dict[str, Any] = {
        "format_version": SHARDS_VERSION,
        "store": {
            "layout": layout_to_json(store.layout),
            "frame_rate": store.frame_rate,
            "units": store.units,
            "label_names": store.label_names,
            "corpus": store.corpus,
            "num_channels": store.num_channels,
            "details": store.details,
        },
        "store_checksum": store.checksum,
        "counts": {
            "samples": len(store),
            "frames": int(store.num_frames.sum()),
            "max_persons": int(store.num_persons.max()),
        },
        "shards": entries,
    }
    description["checksum"] = description_checksum(description)
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (partial / "shards.json").write_text(text, encoding="utf-8")
    (partial / "README.md").write_text(dataset_card(store, entries), encoding="utf-8")
    (partial / "state.json").unlink()
    replace_folder(partial, folder)
    return SkeletonShards(folder)


def check_shards_folder(folder: Path) -> None:
    """Check that nothing but shards, or what is left of an interrupted run, is where shards are to be made.

    Raises:
        FileExistsError: if something else is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / "shards.json").is_file():
        raise FileExistsError(f"{folder} exists and holds no shards; choose another name or remove it yourself")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists() and any(entry.name not in _WORKING_FILES for entry in partial.iterdir()):
        raise FileExistsError(f"{partial} exists and is not the work of an earlier run; move it away")


def _write_shard(task: _Task) -> None:
    """Write one parquet file, unless it is there from a run that was interrupted."""
    import pyarrow.parquet as pq

    if task.target.is_file():
        return
    store = SkeletonStore.open(task.store)
    temporary = task.target.with_name(f"{task.target.name}.{os.getpid()}.writing")
    with open(temporary, "wb") as file:
        # splitting the bytes of a float apart makes movements a quarter smaller, and no slower to read
        with pq.ParquetWriter(
            file,
            sample_schema(store.label_names),
            compression="zstd",
            use_dictionary=["name", "split", *_NUMBERS],
            column_encoding={"keypoints.list.element": "BYTE_STREAM_SPLIT"},
            write_page_checksum=True,
        ) as writer:
            for group in task.groups:
                writer.write_table(samples_table(store, group), row_group_size=len(group))
                store.release_memory()
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, task.target)


class SkeletonShards:
    """A folder of parquet shards, here or wherever `fsspec` can read (`"hf://datasets/me/takes"`, `"s3://..."`).

    Attributes:
        path: the folder.
        layout, frame_rate, units, label_names, corpus, num_channels, details: see [`SkeletonStore`].
        store_checksum: checksum of the store that the shards were made of.
        counts: numbers of `samples` and `frames`, and `max_persons`, the most persons in a sample.
        labels, subjects, cameras, setups, splits: columns in the order of the store, as those of [`SkeletonStore`]; they are read when
            they are first asked for.
        shards: `file`, `split`, samples of every row group (`groups`), `bytes` and `sha256` of every file.

    Raises:
        FileNotFoundError: if there are no shards.
        ValueError: if their description cannot be read.
    """

    _last: tuple[int, Any] | None = None

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        file = f"{self.path}/shards.json"
        try:
            with self._files.open(self._locate("shards.json"), "rb") as handle:
                text = handle.read()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{file} not found: {self.path} holds no shards; make them with `skeleton-transformers prepare --parquet`"
            ) from error
        try:
            description = json.loads(text)
            version = description["format_version"]
            if version != SHARDS_VERSION:
                raise ValueError(f"format_version is {version!r}, this release reads {SHARDS_VERSION}")
            if description_checksum(description) != description["checksum"]:
                raise ValueError("its own checksum does not match, so it was edited")
            store = description["store"]
            self.layout = get_layout(store["layout"])
            self.frame_rate, self.units = float(store["frame_rate"]), str(store["units"])
            self.label_names: list[str] = list(store["label_names"])
            self.corpus, self.num_channels = str(store["corpus"]), int(store["num_channels"])
            self.details: dict[str, Any] = dict(store["details"])
            self.store_checksum = str(description["store_checksum"])
            self.counts: dict[str, int] = description["counts"]
            self.shards: list[dict[str, Any]] = description["shards"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is not the description of shards ({error}); copy or write them again") from error

    def __len__(self) -> int:
        return self.counts["samples"]

    def __repr__(self) -> str:
        return (
            f"SkeletonShards({self.path!r}, corpus={self.corpus!r}, layout={self.layout.name!r}, samples={len(self)}, "
            f"files={len(self.shards)})"
        )

    def __getstate__(self) -> dict:
        # an open file must not be shared with another process
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    @property
    def parts(self) -> list[str]:
        """Names of the parts that the files are named after."""
        return list(dict.fromkeys(entry["split"] for entry in self.shards))

    @property
    def labels(self) -> np.ndarray:
        return self._columns["label"]

    @property
    def subjects(self) -> np.ndarray:
        return self._columns["subject"]

    @property
    def cameras(self) -> np.ndarray:
        return self._columns["camera"]

    @property
    def setups(self) -> np.ndarray:
        return self._columns["setup"]

    @property
    def splits(self) -> np.ndarray:
        return self._columns["split"]

    @cached_property
    def file_order(self) -> np.ndarray:
        """int64 `(samples,)`: place in the store of every row, file after file."""
        return np.concatenate([self._read_columns(shard, ["index"])["index"] for shard in range(len(self.shards))])

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        keys = ["label", "subject", "camera", "setup", "split"]
        files = [self._read_columns(shard, keys) for shard in range(len(self.shards))]
        order = np.argsort(self.file_order)
        return {key: np.concatenate([columns[key] for columns in files])[order] for key in keys}

    def _read_columns(self, shard: int, keys: list[str]) -> dict[str, np.ndarray]:
        with self._opened(shard) as file:
            table = file.read(keys, use_threads=False)
        return {key: np.array(table[key].to_pylist()) for key in keys}

    @cached_property
    def _location(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        return url_to_fs(self.path)

    @property
    def _files(self) -> Any:
        return self._location[0]

    def _locate(self, file: str) -> str:
        return f"{self._location[1].rstrip('/')}/{file}"

    def read_group(self, shard: int, group: int) -> Iterator[tuple[int, SkeletonSample]]:
        """Place in the store and sample of every row of one row group; the arrays are read-only.

        Raises:
            ValueError: if the file is damaged or missing.
        """
        entry = self.shards[shard]
        where = f"{self.path}/{entry['file']}"
        with self._opened(shard) as file:
            table = file.read_row_group(group, use_threads=False)
        if table.num_rows != entry["groups"][group]:
            raise ValueError(
                f"{where}: row group {group} has {table.num_rows} rows, shards.json says {entry['groups'][group]}; the files "
                "do not belong together, copy the shards again"
            )
        return table_samples(table, where)

    @contextlib.contextmanager
    def _opened(self, shard: int) -> Iterator[Any]:
        """The parquet file; the last one stays open, as its row groups are read one after the other."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        entry = self.shards[shard]
        try:
            if self._last is None or self._last[0] != shard:
                file = self._locate(entry["file"])
                source = file if "file" in _protocols(self._files) else self._files.open(file, "rb")
                self._last = (shard, pq.ParquetFile(source, page_checksum_verification=True))
            yield self._last[1]
        except (OSError, pa.ArrowException) as error:
            raise ValueError(
                f"{self.path}/{entry['file']} is damaged or missing ({error}); copy or write the shards again"
            ) from error

    def verify(self) -> None:
        """Read all files and compare them with the checksums of `shards.json`.

        Raises:
            ValueError: naming the first file that is missing or has changed.
        """
        for entry in self.shards:
            try:
                with self._files.open(self._locate(entry["file"]), "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                digest = "missing"
            if digest != entry["sha256"]:
                raise ValueError(
                    f"{self.path}/{entry['file']}: SHA-256 is {digest[:16]}, expected {entry['sha256'][:16]}...; the file was damaged "
                    "or exchanged: copy or write the shards again"
                )

    def __iter__(self) -> Iterator[SkeletonSample]:
        """All samples in the order of the store."""
        return (sample for _, sample in heapq.merge(*map(self._iterate_part, self.parts), key=lambda item: item[0]))

    def _iterate_part(self, part: str) -> Iterator[tuple[int, SkeletonSample]]:
        reader = copy.copy(self)  # keeps its own file open
        for shard, entry in enumerate(self.shards):
            if entry["split"] == part:
                for group in range(len(entry["groups"])):
                    yield from reader.read_group(shard, group)


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def shards_to_store(
    shards: SkeletonShards | str | os.PathLike,
    out: str | os.PathLike,
    overwrite: bool = False,
    progress: bool = True,
) -> SkeletonStore:
    """Make the store again that shards were written from, in constant memory.

    Args:
        shards: the shards or their folder.
        out: folder of the store to make.
        overwrite: replace a store that is there.
        progress: show a progress bar.

    Raises:
        ValueError: if a file is damaged, or what comes out is not the store that the shards were made of.
        FileExistsError: if `out` is there already and `overwrite` is False.
    """
    if not isinstance(shards, SkeletonShards):
        shards = SkeletonShards(shards)
    with SkeletonStoreWriter(
        out,
        layout=shards.layout,
        frame_rate=shards.frame_rate,
        units=shards.units,
        label_names=shards.label_names,
        corpus=shards.corpus,
        num_channels=shards.num_channels,
        overwrite=overwrite,
        details=shards.details,
    ) as writer:
        for sample in tqdm(
            shards, total=len(shards), desc="unpacking", unit="sample", disable=not progress, leave=False
        ):
            writer.add(sample)
        found = SkeletonStore.open(writer.finish()).checksum
        if found != shards.store_checksum:
            raise ValueError(
                f"{shards.path}: the store made of it has checksum {found[:12]}, expected {shards.store_checksum[:12]}; a file is "
                "missing or of other shards, copy them again"
            )
    return SkeletonStore.open(out)


_CARD = """# {title}

{samples} recordings of human movement as skeleton sequences: {frames} frames, layout `{layout}` ({joints} joints x {channels},
{units}), {frame_rate:g} frames per second. Written by [skeleton_transformers](https://pypi.org/project/skeleton_transformers).

## Use

```python
from datasets import load_dataset
import numpy as np

recordings = load_dataset("{repo}", split="{split}").with_format("numpy")
row = recordings[0]
keypoints = row["keypoints"].reshape(row["shape"])           # (persons, frames, joints, channels)
frame_mask = row["frame_mask"].reshape(row["shape"][:2])     # (persons, frames), True where that person is really there
```

For training, turn a copy of this folder into a memory-mapped store or stream it:

```python
from skeleton_transformers.data.shards import SkeletonShards, shards_to_store

store = shards_to_store("folder", "stores/{corpus}")
```

## Columns

| column | contents |
|---|---|
| `keypoints` | float32, flat; `shape` is (persons, frames, joints, channels); 0 where `frame_mask` is False |
| `frame_mask` | bool, flat, (persons, frames) |
| `label` | class, -1 without one{classes} |
| `frame_labels` | per frame: 0 no action, `i` for class `i - 1`, -1 unknown; null for recordings without |
| `name`, `subject`, `camera`, `setup`, `replication`, `split` | facts of the recording, -1 where unknown |
| `index` | place in the store |

Joints: {joint_names}.

| part | recordings |
|---|---|
{parts}

`shards.json` holds the layout and the SHA-256 checksums of all files.

## Source and terms

{source}. Terms of its owners: {terms}.
{citation}"""


def dataset_card(store: SkeletonStore, entries: Sequence[dict[str, Any]]) -> str:
    """The `README.md` of a folder of shards, with the metadata by which `load_dataset` finds the parts."""
    corpus = get_corpus(store.corpus if store.corpus in list_corpora() else "folder")
    title = "Skeleton recordings" if corpus.name == "folder" else corpus.title
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry["split"]] = sizes.get(entry["split"], 0) + sum(entry["groups"])
    metadata: dict[str, Any] = {
        "pretty_name": title,
        "license": "other",
        "license_name": "terms-of-the-owners",
        "tags": ["skeleton", "human-motion", "action-recognition", store.layout.name],
        "size_categories": [_size_category(len(store))],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in sizes],
            }
        ],
    }
    if store.label_names:
        metadata["task_categories"] = ["video-classification"]
    text = _CARD.format(
        title=title,
        samples=len(store),
        frames=int(store.num_frames.sum()),
        layout=store.layout.name,
        joints=len(store.layout.joints),
        channels=store.num_channels,
        units=store.units,
        frame_rate=store.frame_rate,
        repo=CARD_REPOSITORY,
        split=next(iter(sizes)),
        corpus=store.corpus or "mine",
        classes=f": {len(store.label_names)} classes" if store.label_names else "",
        joint_names=", ".join(f"`{joint}`" for joint in store.layout.joints),
        parts="\n".join(f"| {split} | {size} |" for split, size in sizes.items()),
        source="Recordings of the publisher" if corpus.name == "folder" else corpus.title,
        terms=corpus.terms,
        citation=f"\nCite: {corpus.citation}\n" if corpus.citation else "",
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _size_category(samples: int) -> str:
    """The Hub's name for a number of rows."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if samples < bound), "10M<n<100M")


__all__ = [
    "CARD_REPOSITORY",
    "SHARDS_VERSION",
    "SkeletonShards",
    "check_shards_folder",
    "dataset_card",
    "row_groups",
    "sample_schema",
    "samples_table",
    "shards_to_store",
    "split_members",
    "table_samples",
    "write_shards",
]
