"""Preparation: raw recordings in, a [`SkeletonStore`] out.

The work is cut into chunks of recordings, which processes read in parallel. A finished chunk is a file below `<out>.partial`; when all
are there they are joined in order into the store. So the result does not depend on the number of processes, and a preparation that was
interrupted goes on where it stopped, as long as the raw files and the options are the same. Memory holds one chunk per process.
The chunks are removed at the end; until then the disk holds the recordings twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..skeletons import get_layout
from .body_selection import BODY_SCHEMES
from .corpora import Corpus, Listing, PreparationOptions, Recording, get_corpus, list_corpora, split_indices
from .formats.errors import RecordingError
from .storage import SPLIT_NAMES, SkeletonSample, SkeletonStore, SkeletonStoreWriter, check_sample, check_target


logger = logging.getLogger(__name__)

# Raise it when the result of a preparation changes: chunks of an older one are then made again.
_PREPARATION_VERSION = 1
_CHUNK_VERSION = 2  # of the files of the chunks alone
_CHUNK = 64
_INTEGERS = ("label", "subject", "camera", "setup", "replication")


class PreparationError(RuntimeError):
    """Nothing could be prepared. The message says why."""


@dataclass(frozen=True)
class _Task:
    """What a worker needs to make one chunk."""

    corpus: Corpus
    folder: Path
    options: PreparationOptions
    recordings: list[Recording]
    target: Path


def prepare_corpus(
    corpus: str,
    raw: str | os.PathLike | None,
    out: str | os.PathLike,
    options: PreparationOptions | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Turn a folder of recordings into a store.

    Every file that cannot be used is named with the reason in `<out>/report.json` and left out; it is never replaced by zeros.

    Args:
        corpus: name of the corpus, see `skeleton_transformers.data.corpora.list_corpora`.
        raw: folder with the recordings, searched with all folders below it; None for the synthetic corpus.
        out: folder of the store to make.
        options: choices that change the result.
        workers: processes; None for one per core.
        overwrite: replace a store that is there.
        progress: show a progress bar.

    Returns:
        The report: counts, skipped files, and what is missing against the counts of the complete corpus.

    Raises:
        PreparationError: if no recording could be read.
        ValueError: if an option does not fit.
        FileExistsError: if `out` is there already and `overwrite` is False.
    """
    options = options or PreparationOptions()
    description = get_corpus(corpus).configured(options)
    if options.bodies not in BODY_SCHEMES:
        raise ValueError(f"unknown body selection {options.bodies!r}; choose one of {', '.join(BODY_SCHEMES)}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    out = Path(out)
    partial = out.with_name(out.name + ".partial")
    check_target(out, overwrite)
    folder = Path(raw) if raw is not None else Path()
    if corpus == "synthetic":
        if options.sequences < 1:
            raise ValueError(f"sequences must be at least 1, got {options.sequences}")
    elif raw is None or not folder.is_dir():
        raise PreparationError(f"{raw} is not a folder; give the folder with the recordings of {description.title}")

    listing = description.list_recordings(folder, options)
    if not listing.recordings:
        raise PreparationError(_nothing_to_read(description, folder, listing))
    _open_partial(partial, _fingerprint(description, folder, listing, options))

    chunks = _make_chunks(description, folder, listing.recordings, options, partial, workers, progress)
    skipped = list(listing.skipped)
    for chunk in chunks:
        skipped += _read_skipped(chunk)
    skipped = sorted(skipped)
    if sum(_chunk_size(chunk) for chunk in chunks) == 0:
        report_file = partial / "report.json"
        _write_json(report_file, {"corpus": corpus, "samples": 0, "skipped": _as_records(skipped)})
        raise PreparationError(
            f"none of the {len(listing.recordings)} recordings in {folder} could be read; all reasons are in {report_file}; the first: "
            + "; ".join(reason for _, reason in skipped[:3])
        )

    writer = SkeletonStoreWriter(
        out,
        layout=description.layout,
        frame_rate=description.frame_rate,
        units=description.units,
        label_names=description.label_names,
        corpus=description.name,
        num_channels=description.num_channels,
        overwrite=overwrite,
        working_folder=partial / "store",
        details={"preparation_version": _PREPARATION_VERSION, "options": _result_options(description, options)},
    )
    row_shape = (len(writer.layout.joints), description.num_channels)
    try:
        for chunk in tqdm(chunks, desc="joining", unit="chunk", disable=not progress, leave=False):
            for sample in _read_chunk(chunk, row_shape):
                writer.add(sample)
        report = describe_store(SkeletonStore.open(writer.finish()))
        report |= {
            "missing": _compare(description, listing, report),
            "left_out": listing.left_out,
            "outside": listing.outside,
            "skipped": _as_records(skipped),
        }
        _write_json(writer.working_folder / "report.json", report)
        writer.close()
    except BaseException:
        writer.abort()
        raise
    shutil.rmtree(partial)
    return report


def _nothing_to_read(corpus: Corpus, folder: Path, listing: Listing) -> str:
    text = f"no recording of {corpus.title} in {folder}: expected files {corpus.pattern!r}"
    if listing.outside:
        text += f"; {listing.outside} files belong to another part of the data set"
    if listing.skipped:
        file, reason = listing.skipped[0]
        text += f"; {len(listing.skipped)} files were skipped, the first is {file}: {reason}"
    return text


def _result_options(corpus: Corpus, options: PreparationOptions) -> dict[str, Any]:
    """The options that changed the result, without paths, which say nothing on another machine."""
    if corpus.name == "synthetic":
        return {"sequences": options.sequences, "seed": options.seed}
    if corpus.name.startswith("ntu"):
        return {"bodies": options.bodies, "missing": options.missing is not None}
    return {}


def _fingerprint(corpus: Corpus, folder: Path, listing: Listing, options: PreparationOptions) -> str:
    """Changes when anything changes that the chunks depend on."""
    digest = hashlib.sha256()
    content = {
        "version": [_PREPARATION_VERSION, _CHUNK_VERSION, _CHUNK],
        "corpus": corpus.name,
        "layout": get_layout(corpus.layout).to_dict(),
        "labels": corpus.label_names,
        "channels": corpus.num_channels,
        "options": dataclasses.asdict(options),
        "folder": os.path.abspath(folder),
    }
    digest.update(json.dumps(content, sort_keys=True).encode())
    for recording in listing.recordings:
        digest.update(repr(recording).encode())
        if recording.path:
            try:
                status = os.stat(folder / recording.path)
            except OSError:
                continue  # the reader reports it
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _open_partial(partial: Path, fingerprint: str) -> None:
    """Make the working folder, or keep the one of an interrupted preparation of the same recordings with the same options."""
    state = partial / "state.json"
    if partial.exists():
        if not state.is_file() and any(partial.iterdir()):
            raise FileExistsError(f"{partial} exists and is not the work of an earlier preparation; move it away")
        try:
            same = json.loads(state.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
        except (OSError, ValueError, KeyError):
            same = False
        if same:
            done = len(list((partial / "chunks").glob("*.npz")))
            logger.info("going on with the interrupted preparation in %s: %d chunks are there", partial, done)
        else:
            logger.info("starting anew: recordings or options differ from those of %s", partial)
            shutil.rmtree(partial)
    (partial / "chunks").mkdir(parents=True, exist_ok=True)
    for leftover in (partial / "chunks").glob("*.writing"):
        leftover.unlink()
    _write_json(state, {"fingerprint": fingerprint})


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_name(path.name + ".writing")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _as_records(skipped: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"file": file, "reason": reason} for file, reason in skipped]


def _make_chunks(
    corpus: Corpus,
    folder: Path,
    recordings: list[Recording],
    options: PreparationOptions,
    partial: Path,
    workers: int | None,
    progress: bool,
) -> list[Path]:
    """Make the chunks that are not there yet; returns all in order."""
    targets, tasks = [], []
    done = 0
    for number, start in enumerate(range(0, len(recordings), _CHUNK)):
        target = partial / "chunks" / f"{number:06d}.npz"
        members = recordings[start : start + _CHUNK]
        targets.append(target)
        if target.is_file():
            done += len(members)
        else:
            tasks.append(_Task(corpus, folder, options, members, target))
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers, len(tasks))
    with tqdm(total=len(recordings), initial=done, desc=corpus.name, unit="recording", disable=not progress) as bar:
        if workers <= 1:
            for task in tasks:
                bar.update(_make_chunk(task))
        else:
            # Workers only read files with numpy, for which a forked process is safe and starts at once; elsewhere they are spawned.
            method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            with ProcessPoolExecutor(
                workers, mp_context=context, initializer=_follow_parent, initargs=(os.getpid(),)
            ) as pool:
                for count in _completed(pool, tasks):
                    bar.update(count)
    return targets


def _completed(pool: Executor, tasks: list[_Task]) -> Iterator[int]:
    futures: list[Future[int]] = [pool.submit(_make_chunk, task) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _follow_parent(parent: int) -> None:
    """End this worker when the process that started it is gone: a killed parent would leave it waiting for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make_chunk(task: _Task) -> int:
    """Read the recordings of a chunk and write it; returns how many it looked at."""
    layout = get_layout(task.corpus.layout)
    samples: list[SkeletonSample] = []
    skipped: list[tuple[str, str]] = []
    for recording in task.recordings:
        try:
            sample = task.corpus.load(task.folder, recording, task.options)
            try:
                check_sample(sample, layout, task.corpus.num_channels, len(task.corpus.label_names))
            except ValueError as error:
                raise RecordingError(str(error)) from error
        except RecordingError as error:
            # the report names files relative to the folder, which makes it the same wherever the folder lies
            reason = str(error).removeprefix(str(task.folder / recording.path)).lstrip(":, ")
            skipped.append((recording.path, reason))
            continue
        samples.append(sample)
    arrays: dict[str, np.ndarray] = {
        "shapes": np.array([sample.frame_mask.shape for sample in samples], dtype=np.int64).reshape(-1, 2),
        "numbers": np.array([[getattr(s, key) for key in _INTEGERS] for s in samples], dtype=np.int64).reshape(-1, 5),
        "names": np.array([sample.name for sample in samples], dtype=np.str_),
        "splits": np.array([SPLIT_NAMES.index(sample.split) for sample in samples], dtype=np.int64),
        "skipped": np.array(skipped, dtype=np.str_).reshape(-1, 2),
        "values": np.concatenate(
            [np.zeros(0, np.float32)] + [sample.keypoints.astype(np.float32).ravel() for sample in samples]
        ),
        "masks": np.concatenate([np.zeros(0, bool)] + [sample.frame_mask.ravel() for sample in samples]),
        "labelled": np.array([sample.frame_labels is not None for sample in samples], dtype=bool),
        "frame_labels": np.concatenate(
            [np.zeros(0, np.int16)] + [s.frame_labels.astype(np.int16) for s in samples if s.frame_labels is not None]
        ),
    }
    temporary = task.target.with_name(f"{task.target.name}.{os.getpid()}.writing")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, task.target)
    return len(task.recordings)


def _load_chunk(path: Path, keys: tuple[str, ...]) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise PreparationError(f"{path} is damaged ({error}); remove it and run the same command again") from error


def _chunk_size(path: Path) -> int:
    return len(_load_chunk(path, ("names",))[0])


def _read_skipped(path: Path) -> list[tuple[str, str]]:
    return [(str(file), str(reason)) for file, reason in _load_chunk(path, ("skipped",))[0]]


def _read_chunk(path: Path, row_shape: tuple[int, int]) -> Iterator[SkeletonSample]:
    shapes, numbers, names, splits, values, masks, labelled, frame_labels = _load_chunk(
        path, ("shapes", "numbers", "names", "splits", "values", "masks", "labelled", "frame_labels")
    )
    values = values.reshape(-1, *row_shape)  # (rows * V * C,) -> (rows, V, C)
    row = label = 0
    for (persons, frames), columns, name, split, has_labels in zip(
        shapes.tolist(), numbers.tolist(), names, splits.tolist(), labelled.tolist()
    ):
        stop, label_stop = row + persons * frames, label + (frames if has_labels else 0)
        yield SkeletonSample(
            keypoints=values[row:stop].reshape(persons, frames, *row_shape),  # (M * T, V, C) -> (M, T, V, C)
            frame_mask=masks[row:stop].reshape(persons, frames),
            name=str(name),
            split=SPLIT_NAMES[split],
            frame_labels=frame_labels[label:label_stop] if has_labels else None,
            **dict(zip(_INTEGERS, columns)),
        )
        row, label = stop, label_stop


def describe_store(store: SkeletonStore) -> dict[str, Any]:
    """Counts of a store: samples, lengths, persons, labels, and the size of every part of every protocol."""
    corpus = get_corpus(store.corpus if store.corpus in list_corpora() else "folder")
    frames, persons = store.num_frames, store.num_persons
    description: dict[str, Any] = {
        "corpus": store.corpus,
        "layout": store.layout.name,
        "joints": len(store.layout.joints),
        "channels": store.num_channels,
        "units": store.units,
        "frame_rate": store.frame_rate,
        "samples": len(store),
        "frames": {
            "total": int(frames.sum()),
            "shortest": int(frames.min()),
            "median": float(np.median(frames)),
            "longest": int(frames.max()),
        },
        "persons": {str(key): count for key, count in sorted(Counter(persons.tolist()).items())},
        "labels": _label_counts(store.labels, store.label_names),
    }
    for key in ("subjects", "cameras", "setups"):
        values = getattr(store, key)
        description[key] = int(len(np.unique(values[values >= 0])))
    description["protocols"] = {}
    for protocol in corpus.protocols:
        sizes = {}
        for part in ("train", "validation", "test"):
            try:
                sizes[part] = len(split_indices(store, protocol, part))
            except ValueError:  # a part that is empty, or a protocol that needs what this store lacks
                sizes[part] = 0
        if any(sizes.values()):
            description["protocols"][protocol] = sizes
    description["checksum"] = store.checksum
    return description


def _label_counts(labels: np.ndarray, names: list[str]) -> dict[str, int]:
    counts = {name: int((labels == index).sum()) for index, name in enumerate(names)}
    unlabelled = int((labels < 0).sum())
    return counts | ({"(none)": unlabelled} if unlabelled else {})


def _compare(corpus: Corpus, listing: Listing, description: dict[str, Any]) -> list[str]:
    """What differs from the complete corpus, in words."""
    remarks = []
    expected = corpus.expected
    found = description["samples"]
    if "usable" in expected and found != expected["usable"]:
        remarks.append(
            f"{found} recordings, the complete corpus has {expected['usable']} usable ones of {expected['samples']}"
        )
    empty = [name for name, count in description["labels"].items() if not count]
    if empty:
        remarks.append(
            f"no recording of {len(empty)} of {len(description['labels'])} classes: {', '.join(empty[:5])}"
            + (", ..." if len(empty) > 5 else "")
        )
    for protocol, sizes in description["protocols"].items():
        if protocol in expected and (sizes["train"], sizes["test"]) != expected[protocol]:
            train, test = expected[protocol]
            remarks.append(f"{protocol}: {sizes['train']} train and {sizes['test']} test, complete {train} and {test}")
    if corpus.name.startswith("ntu") and not listing.left_out and found > expected["usable"]:
        remarks.append("more than the usable recordings: pass the list of those with missing skeletons (--missing)")
    return remarks


def format_description(description: dict[str, Any]) -> str:
    """The lines that `inspect` and `prepare` print."""
    frames = description["frames"]
    parts = [
        f"corpus      {description['corpus'] or '(none)'}",
        f"layout      {description['layout']}, {description['joints']} joints x {description['channels']} ({description['units']}), "
        f"{description['frame_rate']:g} frames per second",
        f"recordings  {description['samples']}",
        f"frames      {frames['total']} in all; {frames['shortest']} to {frames['longest']}, median {frames['median']:g}",
        "persons     " + ", ".join(f"{count} x {number}" for number, count in description["persons"].items()),
        "recorded    "
        + (
            ", ".join(f"{description[key]} {key}" for key in ("subjects", "cameras", "setups") if description[key])
            or "subjects, cameras and setups unknown"
        ),
    ]
    for protocol, sizes in description["protocols"].items():
        parts.append(
            f"{protocol:<11} {sizes['train']} train (of these {sizes['validation']} for validation), {sizes['test']} test"
        )
    parts.append(f"labels      {len(description['labels'])}")
    parts += [f"  {count:>7}  {name}" for name, count in description["labels"].items() if count]
    return "\n".join(parts)


__all__ = ["PreparationError", "describe_store", "format_description", "prepare_corpus"]
