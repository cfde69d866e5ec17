"""Preparation: raw recordings in, a [`SkeletonStore`] out.

The work is cut into chunks of recordings, which processes read in parallel. A finished chunk is a file below `<out>.partial`; when all
are there they are joined in order into the store. So the result does not depend on the number of processes, and a preparation that was
interrupted goes on where it stopped, as long as the raw files and the options are the same. Memory holds one chunk per process.
The chunks are removed at the end; until then the disk holds the recordings twice.

Several machines that see the same files share the work: each makes one part of the chunks (`shard=(3, 8)`), a folder
`<out>.part-00003-of-00008`, and [`merge_parts`] joins all of them into the store that one machine would have made, byte by byte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..skeletons import get_layout
from .body_selection import BODY_SCHEMES
from .cleaning import CleaningOptions, clean_sample
from .corpora import Corpus, Listing, PreparationOptions, Recording, get_corpus, list_corpora, split_indices
from .corpora.base import label_runs
from .corpora.completeness import check_completeness
from .formats.errors import RecordingError
from .processes import run_in_processes
from .shards import check_shards_folder, write_shards
from .storage import (
    SPLIT_NAMES,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
    check_sample,
    check_target,
    file_hash,
    layout_to_json,
)


try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


logger = logging.getLogger(__name__)

# Raise it when the result of a preparation changes: chunks of an older one are then made again.
_PREPARATION_VERSION = 1
_CHUNK_VERSION = 3  # of the files of the chunks alone
_PART_VERSION = 1
_CHUNK = 64
_WORKING_FILES = {
    "lock",
    "state.json",
    "state.json.writing",
    "chunks",
    "store",
    "part.json",
    "part.json.writing",
    "report.json",
}
_PATHS = ("missing", "labels", "layout")  # options that name files, which lie elsewhere on another machine
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


@dataclass(frozen=True)
class _Plan:
    """What joining the chunks needs to know, without the raw files; the same on every machine that makes a part.

    Attributes:
        fingerprint: changes when anything changes that the chunks depend on, but for the folder and the dates of the files.
        num_chunks: chunks of all parts together.
        store: arguments of the `SkeletonStoreWriter`.
        skipped, outside, left_out: see `Listing`.
    """

    fingerprint: str
    num_chunks: int
    store: dict[str, Any]
    skipped: list[tuple[str, str]]
    outside: int
    left_out: int


def prepare_corpus(
    corpus: str,
    raw: str | os.PathLike | None,
    out: str | os.PathLike,
    options: PreparationOptions | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    shard: tuple[int, int] | None = None,
    parquet: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Turn a folder of recordings into a store.

    Every file that cannot be used is named with the reason in `<out>/report.json` and left out; it is never replaced by zeros.

    Args:
        corpus: name of the corpus, see `skeleton_transformers.data.corpora.list_corpora`.
        raw: folder with the recordings, searched with all folders below it; None for the synthetic corpus.
        out: folder of the store to make.
        options: choices that change the result.
        workers: processes; None for one per core.
        overwrite: replace a store (or a part) that is there.
        progress: show a progress bar.
        shard: `(number, count)`, 1 to count: make only this part of the work, as `<out>.part-<number>-of-<count>`, for
            [`merge_parts`]. None makes the store.
        parquet: folder to make with the same samples as parquet files (see [`write_shards`]); None makes none.

    Returns:
        The report: counts, skipped files, and what is missing against the counts of the complete corpus; of a part its `part`
        (the folder), number of `recordings` and `skipped` files.

    Raises:
        PreparationError: if no recording could be read, or another process is preparing the same store.
        ValueError: if an option does not fit.
        FileExistsError: if `out` is there already and `overwrite` is False.
    """
    options = options or PreparationOptions()
    description = get_corpus(corpus).configured(options, None if raw is None else Path(raw))
    if options.takes and description.expected_takes is None:
        raise ValueError(
            f"takes (--takes): {description.title} has no untrimmed takes; its recordings are single actions"
        )
    if options.bodies not in BODY_SCHEMES:
        raise ValueError(f"unknown body selection {options.bodies!r}; choose one of {', '.join(BODY_SCHEMES)}")
    if options.cleaning is not None:
        CleaningOptions.from_dict(options.cleaning)  # before the work, not in every worker
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    number, count = shard or (1, 1)
    if not 1 <= number <= count:
        raise ValueError(f"shard {number}/{count}: the number must be one of 1 to {count}")
    if shard is not None and parquet is not None:
        raise ValueError(
            "parquet files are made of the whole corpus: pass parquet (--parquet) when the parts are merged"
        )
    if parquet is not None:
        check_shards_folder(Path(parquet))
    target = _part_folder(Path(out), number, count) if shard is not None else Path(out)
    folder = Path(raw) if raw is not None else Path()
    if corpus == "synthetic":
        if options.sequences < 1:
            raise ValueError(f"sequences must be at least 1, got {options.sequences}")
    elif raw is None or not folder.is_dir():
        raise PreparationError(f"{raw} is not a folder; give the folder with the recordings of {description.title}")

    with _working_folder(target) as partial:
        if shard is None and not (partial / "state.json").is_file():
            check_target(
                target, overwrite
            )  # before much work is done; the end of an interrupted run is looked at below
        listing = description.list_recordings(folder, options)
        if not listing.recordings:
            raise PreparationError(_nothing_to_read(description, folder, listing))
        plan, local_fingerprint = _make_plan(description, folder, listing, options)
        if shard is not None and _same_part_is_there(target, plan, overwrite):
            return _describe_part(target)
        if shard is None and _was_finished(target, partial, local_fingerprint):
            return json.loads((target / "report.json").read_text(encoding="utf-8"))
        if shard is None:
            check_target(target, overwrite)
        _open_partial(partial, local_fingerprint)
        mine = range(number - 1, plan.num_chunks, count)
        chunks = _make_chunks(description, folder, listing.recordings, options, partial, mine, workers, progress)
        if shard is None:
            return _join(plan, chunks, target, partial, overwrite, parquet, workers, progress)
        _write_json(
            partial / "part.json",
            {
                "format_version": _PART_VERSION,
                "part": [number, count],
                "plan": dataclasses.asdict(plan),
                "sha256": {chunk.name: file_hash(chunk) for chunk in chunks},
            },
        )
        if target.exists():
            shutil.rmtree(target)
        os.rename(partial, target)
        for leftover in ("state.json", "lock"):
            (target / leftover).unlink(missing_ok=True)
        return _describe_part(target)


def merge_parts(
    out: str | os.PathLike,
    parts: Sequence[str | os.PathLike] = (),
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    parquet: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Join the parts that several machines prepared into the store that one machine would have made.

    Args:
        out: folder of the store to make.
        parts: folders of all parts; by default those beside `out` that belong to it.
        workers: processes that write parquet files; None for one per core.
        overwrite: replace a store that is there.
        progress: show a progress bar.
        parquet: see [`prepare_corpus`].

    Returns:
        The report, see [`prepare_corpus`].

    Raises:
        PreparationError: if a part is missing, damaged or of another preparation.
        FileExistsError: if `out` is there already and `overwrite` is False.
    """
    out = Path(out)
    if parquet is not None:
        check_shards_folder(Path(parquet))
    folders = [Path(part) for part in parts] or sorted(out.parent.glob(f"{glob.escape(out.name)}.part-*-of-*[0-9]"))
    if not folders:
        raise PreparationError(
            f"no part of {out} found (expected {_part_folder(out, 1, 2)}, ...); name the folders of all"
        )
    found: dict[int, Path] = {}
    plans: list[_Plan] = []
    counts: set[int] = set()
    chunks: dict[str, tuple[Path, str]] = {}
    for folder in folders:
        content = _read_part(folder)
        (number, count), plan = content["part"], _Plan(**content["plan"])
        if number in found:
            raise PreparationError(f"{found[number]} and {folder} are both part {number}; leave one of them out")
        if plans and plan.fingerprint != plans[0].fingerprint:
            raise PreparationError(
                f"{folder} was prepared from other recordings or with other options than {folders[0]}; prepare it again"
            )
        found[number] = folder
        plans.append(plan)
        counts.add(count)
        chunks |= {name: (folder / "chunks" / name, digest) for name, digest in content["sha256"].items()}
    count = max(counts)
    missing = [str(number) for number in range(1, count + 1) if number not in found]
    if len(counts) > 1 or missing:
        reason = "they are cut in different ways" if len(counts) > 1 else f"missing of {count}: {', '.join(missing)}"
        raise PreparationError(f"the parts {', '.join(map(str, folders))} do not make up a whole: {reason}")
    for file, digest in tqdm(chunks.values(), desc="checking", unit="chunk", disable=not progress, leave=False):
        if not file.is_file() or file_hash(file) != digest:
            raise PreparationError(f"{file} is damaged or missing; copy or prepare the part again")
    with _working_folder(out) as partial:
        plan = plans[0]
        if _was_finished(out, partial, plan.fingerprint):
            return json.loads((out / "report.json").read_text(encoding="utf-8"))
        check_target(out, overwrite)
        _open_partial(partial, plan.fingerprint)
        ordered = [chunks[name][0] for name in sorted(chunks)]
        return _join(plan, ordered, out, partial, overwrite, parquet, workers, progress)


def _join(
    plan: _Plan,
    chunks: list[Path],
    out: Path,
    partial: Path,
    overwrite: bool,
    parquet: str | os.PathLike | None,
    workers: int | None,
    progress: bool,
) -> dict[str, Any]:
    """Make the store, and the parquet files if asked for, of all chunks; removes the working folder."""
    skipped = sorted([(file, reason) for file, reason in plan.skipped] + [e for c in chunks for e in _read_skipped(c)])
    if sum(_chunk_size(chunk) for chunk in chunks) == 0:
        report_file = partial / "report.json"
        _write_json(report_file, {"corpus": plan.store["corpus"], "samples": 0, "skipped": _as_records(skipped)})
        raise PreparationError(
            f"none of the {len(skipped) - len(plan.skipped)} recordings could be read; all reasons are in {report_file}; the first: "
            + "; ".join(reason for _, reason in skipped[:3])
        )
    writer = SkeletonStoreWriter(out, **plan.store, overwrite=overwrite, working_folder=partial / "store")
    row_shape = (len(writer.layout.joints), writer.num_channels)
    try:
        for chunk in tqdm(chunks, desc="joining", unit="chunk", disable=not progress, leave=False):
            for sample in _read_chunk(chunk, row_shape):
                writer.add(sample)
        store = SkeletonStore.open(writer.finish())
        report = describe_store(store)
        report |= {
            "missing": check_completeness(store).remarks,
            "left_out": plan.left_out,
            "outside": plan.outside,
            "skipped": _as_records(skipped),
        }
        if "cleaning" in plan.store["details"]["options"]:
            report["cleaning"] = dict(sum((_read_cleaning(chunk) for chunk in chunks), Counter()))
        _write_json(writer.working_folder / "report.json", report)
        if parquet is not None:
            write_shards(store, parquet, overwrite=overwrite, workers=workers, progress=progress)
        # tells a run that was killed between the next two lines that nothing is left to do
        _write_json(partial / "state.json", _read_state(partial) | {"finished": store.checksum})
        writer.close()
    except BaseException:
        writer.abort()
        raise
    shutil.rmtree(partial)
    return report


def _part_folder(out: Path, number: int, count: int) -> Path:
    return out.with_name(f"{out.name}.part-{number:05d}-of-{count:05d}")


def _read_part(folder: Path) -> dict[str, Any]:
    file = folder / "part.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format_version"] != _PART_VERSION:
            raise ValueError(f"format_version is {content['format_version']!r}, this release reads {_PART_VERSION}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreparationError(
            f"{folder} is not a finished part of a preparation ({error}); prepare it again"
        ) from error
    return content


def _same_part_is_there(folder: Path, plan: _Plan, overwrite: bool) -> bool:
    """Whether the part was made before, of the same recordings.

    Raises:
        FileExistsError: if something else is there.
    """
    if not folder.exists():
        return False
    if not (folder / "part.json").is_file():
        raise FileExistsError(f"{folder} exists and is not a part of a preparation; move it away")
    if _read_part(folder)["plan"]["fingerprint"] == plan.fingerprint:
        return True
    if not overwrite:
        raise FileExistsError(
            f"{folder} holds a part made from other recordings or options; pass overwrite (--overwrite) to replace it"
        )
    return False


def _describe_part(folder: Path) -> dict[str, Any]:
    content = _read_part(folder)
    chunks = sorted((folder / "chunks").glob("*.npz"))
    skipped = [entry for chunk in chunks for entry in _read_skipped(chunk)]
    return {
        "part": str(folder),
        "number": content["part"][0],
        "count": content["part"][1],
        "recordings": sum(_chunk_size(chunk) for chunk in chunks),
        "skipped": _as_records(skipped),
    }


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
    cleaning = {} if options.cleaning is None else {"cleaning": options.cleaning}
    if corpus.name == "synthetic":
        takes = {"takes": True} if options.takes else {}
        return {"sequences": options.sequences, "seed": options.seed, **takes, **cleaning}
    if corpus.name.startswith("ntu"):
        return {"bodies": options.bodies, "missing": options.missing is not None, **cleaning}
    if corpus.expected_takes is not None:
        return {"takes": options.takes, **cleaning}
    return cleaning


def _make_plan(corpus: Corpus, folder: Path, listing: Listing, options: PreparationOptions) -> tuple[_Plan, str]:
    """The plan, and a fingerprint for this machine that also changes when a file was touched."""
    layout = get_layout(corpus.layout)
    store = {
        "layout": layout_to_json(layout),
        "frame_rate": corpus.frame_rate,
        "units": corpus.units,
        "label_names": list(corpus.label_names),
        "corpus": corpus.name,
        "num_channels": corpus.num_channels,
        "details": {"preparation_version": _PREPARATION_VERSION, "options": _result_options(corpus, options)},
    }
    if options.cleaning is not None:
        cleaning = CleaningOptions.from_dict(options.cleaning)
        store["frame_rate"] = cleaning.frame_rate or corpus.frame_rate
        store["units"] = "metre" if cleaning.units == "convert" else corpus.units
    choices = {
        key: value is not None if key in _PATHS else value for key, value in dataclasses.asdict(options).items()
    }
    content = {"version": [_PREPARATION_VERSION, _CHUNK_VERSION, _CHUNK], "store": store, "options": choices}
    content["layout"] = layout.to_dict()
    everywhere = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    here = hashlib.sha256(json.dumps([os.path.abspath(folder), dataclasses.asdict(options)]).encode())
    for recording in listing.recordings:
        everywhere.update(repr(recording).encode())
        if recording.path:
            try:
                status = os.stat(folder / recording.path)
            except OSError:
                continue  # the reader reports it
            everywhere.update(f"{status.st_size}".encode())
            here.update(f"{status.st_mtime_ns} ".encode())
    here.update(everywhere.digest())
    num_chunks = -(-len(listing.recordings) // _CHUNK)
    plan = _Plan(everywhere.hexdigest(), num_chunks, store, list(listing.skipped), listing.outside, listing.left_out)
    return plan, here.hexdigest()


@contextlib.contextmanager
def _working_folder(out: Path) -> Iterator[Path]:
    """`<out>.partial`, kept for one process at a time; it is removed if nothing was put into it.

    Raises:
        PreparationError: if another process works in it.
        FileExistsError: if it holds something else.
    """
    partial = out.with_name(out.name + ".partial")
    if partial.is_dir() and not (partial / "state.json").is_file():
        if any(entry.name not in _WORKING_FILES for entry in partial.iterdir()):
            raise FileExistsError(f"{partial} exists and is not the work of an earlier preparation; move it away")
    partial.mkdir(parents=True, exist_ok=True)
    with open(partial / "lock", "wb") as lock:
        if fcntl is not None:
            try:
                # belongs to this process alone: unlike that of flock it does not outlive a kill in a forked worker
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    logger.info("%s cannot be locked (%s): start one preparation of it at a time", partial, error)
                else:
                    raise PreparationError(f"another process is preparing {out}; wait for it or stop it") from error
        try:
            yield partial
        finally:
            if partial.is_dir() and [entry.name for entry in partial.iterdir()] == ["lock"]:
                shutil.rmtree(partial)


def _read_state(partial: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((partial / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _was_finished(out: Path, partial: Path, fingerprint: str) -> bool:
    """Whether a run with this fingerprint was killed after the store had got its name; removes what it left."""
    state = _read_state(partial)
    if state.get("fingerprint") != fingerprint or not (out / "store.json").is_file():
        return False
    if SkeletonStore.open(out).checksum != state.get("finished"):
        return False
    shutil.rmtree(partial)
    return True


def _open_partial(partial: Path, fingerprint: str) -> None:
    """Empty the working folder, but for the chunks of an interrupted preparation of the same recordings with the same options."""
    state = _read_state(partial)
    if state.get("fingerprint") == fingerprint:
        done = len(list((partial / "chunks").glob("*.npz")))
        logger.info("going on with the interrupted preparation in %s: %d chunks are there", partial, done)
    else:
        if state:
            logger.info("starting anew: recordings or options differ from those of %s", partial)
        # first, or a kill would leave chunks beside the fingerprint of others
        shutil.rmtree(partial / "chunks", ignore_errors=True)
    (partial / "chunks").mkdir(exist_ok=True)
    for leftover in (partial / "chunks").glob("*.writing"):
        leftover.unlink(missing_ok=True)
    _write_json(partial / "state.json", {"fingerprint": fingerprint})


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
    numbers: range,
    workers: int | None,
    progress: bool,
) -> list[Path]:
    """Make those of the numbered chunks that are not there yet; returns all of them in order."""
    targets, tasks = [], []
    done = total = 0
    for number in numbers:
        target = partial / "chunks" / f"{number:06d}.npz"
        members = recordings[number * _CHUNK : (number + 1) * _CHUNK]
        total += len(members)
        targets.append(target)
        if target.is_file():
            done += len(members)
        else:
            tasks.append(_Task(corpus, folder, options, members, target))
    with tqdm(total=total, initial=done, desc=corpus.name, unit="recording", disable=not progress) as bar:
        for count in run_in_processes(_make_chunk, tasks, workers):
            bar.update(count)
    return targets


def _make_chunk(task: _Task) -> int:
    """Read the recordings of a chunk and write it; returns how many it looked at."""
    corpus = task.corpus
    layout = get_layout(corpus.layout)
    cleaning = None if task.options.cleaning is None else CleaningOptions.from_dict(task.options.cleaning)
    found: Counter[str] = Counter()
    samples: list[SkeletonSample] = []
    skipped: list[tuple[str, str]] = []
    for recording in task.recordings:
        try:
            sample = corpus.load(task.folder, recording, task.options)
            try:
                check_sample(sample, layout, corpus.num_channels, len(corpus.label_names))
            except ValueError as error:
                raise RecordingError(str(error)) from error
            if cleaning is not None:
                sample, remarks = clean_sample(sample, layout, corpus.frame_rate, corpus.units, cleaning)
                found.update(remarks.counts())
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
        "cleaning": np.array(json.dumps(found)),
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


def _read_cleaning(path: Path) -> Counter[str]:
    return Counter(json.loads(str(_load_chunk(path, ("cleaning",))[0])))


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
    if store.has_frame_labels.any():
        description["actions"] = _action_counts(store)
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


def _action_counts(store: SkeletonStore) -> dict[str, int]:
    """Runs of every label in the frames of untrimmed takes."""
    counts = np.zeros(len(store.label_names), dtype=np.int64)
    for index in range(len(store)):
        if (frame_labels := store.frame_labels(index)) is not None:
            for label, _, _ in label_runs(frame_labels):
                counts[label - 1] += 1
    return dict(zip(store.label_names, counts.tolist()))


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
    for key in ("labels", "actions"):
        if key in description:
            parts.append(f"{key:<11} {len(description[key])}")
            parts += [f"  {count:>7}  {name}" for name, count in description[key].items() if count]
    return "\n".join(parts)


__all__ = ["PreparationError", "describe_store", "format_description", "merge_parts", "prepare_corpus"]
