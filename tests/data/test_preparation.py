import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.data.corpora import PreparationOptions, split_indices
from skeleton_transformers.data.formats import read_ntu_skeleton
from skeleton_transformers.data.motion_synthesis import SYNTHETIC_ACTIONS, synthesize_sequence
from skeleton_transformers.data.preparation import PreparationError, merge_parts, prepare_corpus
from skeleton_transformers.data.shards import SkeletonShards, shards_to_store
from skeleton_transformers.data.storage import SkeletonStore, SkeletonStoreWriter


REPOSITORY = Path(__file__).resolve().parents[2]


def prepare(*arguments, **options):
    return prepare_corpus(*arguments, progress=False, **options)


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def msr_file(path, seed, frames=6):
    values = np.random.default_rng(seed).normal(size=(frames * 20, 4)).round(4)
    path.write_text("\n".join(" ".join(map(str, row)) for row in values))


@pytest.fixture
def msr(tmp_path):
    """A folder of 150 small recordings (3 chunks), of which three are of no use."""
    folder = tmp_path / "raw"
    folder.mkdir()
    number = 0
    for subject in range(1, 6):
        for action in range(1, 16):
            for take in (1, 2):
                msr_file(folder / f"a{action:02d}_s{subject:02d}_e{take:02d}_skeleton3D.txt", number, 3 + number % 5)
                number += 1
    (folder / "a01_s01_e01_skeleton3D.txt").write_text("0 0 0 1\n" * 40)
    (folder / "a02_s03_e01_skeleton3D.txt").write_text("1 2 3 1\n" * 39)
    text = (folder / "a07_s05_e02_skeleton3D.txt").read_text()
    (folder / "a07_s05_e02_skeleton3D.txt").write_text(text.replace(text.split()[8], "nan", 1))
    (folder / "a21_s01_e01_skeleton3D.txt").write_text("1 2 3 1\n" * 40)
    (folder / "readme.txt").write_text("see the web page")
    return folder


def test_recordings_go_into_the_store_and_faults_into_the_report(tmp_path, msr):
    report = prepare("msr-action3d", msr, tmp_path / "store")
    store = SkeletonStore.open(tmp_path / "store")
    store.verify()
    assert len(store) == report["samples"] == 147
    assert store.corpus == "msr-action3d" and store.layout.name == "msr20" and store.frame_rate == 15
    index = store.names.tolist().index("a03_s02_e01")
    rows = np.loadtxt(msr / "a03_s02_e01_skeleton3D.txt").reshape(-1, 20, 4)
    np.testing.assert_array_equal(store[index].keypoints[0], rows[..., :3].astype(np.float32))
    sample = store[index]
    assert (sample.label, sample.subject, sample.replication, sample.camera) == (2, 2, 1, -1)
    assert {entry["file"]: entry["reason"] for entry in report["skipped"]} == {
        "a01_s01_e01_skeleton3D.txt": "all coordinates of all 2 frames are 0, nobody was tracked",
        "a02_s03_e01_skeleton3D.txt": "39 rows are not whole frames of 20 joints; the file is cut off or of another layout",
        "a07_s05_e02_skeleton3D.txt": "line 3: 'nan' is not a finite number",
        "a21_s01_e01_skeleton3D.txt": "action 21 is outside 1..20",
        "readme.txt": "the name 'readme' is not of the form aAA_sSS_eEE_skeleton3D",
    }
    assert json.loads((tmp_path / "store" / "report.json").read_text()) == report
    assert report["missing"] == [
        "147 recordings, the complete corpus has 566 usable ones of 567",
        "no recording of 5 of 20 classes: jogging, tennis swing, tennis serve, golf swing, pick up and throw",
        "xsub: 87 train and 60 test, complete 291 and 275",
        "as1: 35 train and 24 test, complete 119 and 106",
        "as2: 46 train and 32 test, complete 118 and 113",
        "as3: 18 train and 12 test, complete 114 and 112",
    ]
    assert report["protocols"]["xsub"] == {"train": 87, "validation": 29, "test": 60}
    assert not (tmp_path / "store.partial").exists()


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, msr):
    prepare("msr-action3d", msr, tmp_path / "one", workers=1)
    prepare("msr-action3d", msr, tmp_path / "three", workers=3)
    moved = shutil.copytree(msr, tmp_path / "elsewhere" / "raw")  # nor on where the recordings lie
    prepare("msr-action3d", moved, tmp_path / "moved", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "three") == contents(tmp_path / "moved")


def test_parts_of_many_machines_make_the_store_of_one(tmp_path, msr):
    prepare("msr-action3d", msr, tmp_path / "whole")
    reports = [prepare("msr-action3d", msr, tmp_path / "store", shard=(number, 2)) for number in (1, 2)]
    assert [report["recordings"] for report in reports] == [84, 63] and sum(len(r["skipped"]) for r in reports) == 3
    # a part that is there is not made again, wherever the files lie and whenever they were copied there
    moved = shutil.copytree(msr, tmp_path / "elsewhere" / "raw", copy_function=shutil.copyfile)
    times = [file.stat().st_mtime_ns for file in (tmp_path / "store.part-00002-of-00002" / "chunks").iterdir()]
    assert prepare("msr-action3d", moved, tmp_path / "store", shard=(2, 2)) == reports[1]
    assert times == [file.stat().st_mtime_ns for file in (tmp_path / "store.part-00002-of-00002" / "chunks").iterdir()]
    # more parts than chunks, made elsewhere
    others = [
        Path(prepare("msr-action3d", moved, tmp_path / "elsewhere" / "x", shard=(n, 5))["part"]) for n in range(1, 6)
    ]
    assert merge_parts(tmp_path / "store", progress=False)["samples"] == 147
    merge_parts(tmp_path / "other", others[::-1], progress=False)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole") == contents(tmp_path / "other")
    with pytest.raises(FileExistsError, match="already holds a skeleton store; pass overwrite"):
        merge_parts(tmp_path / "store", progress=False)
    assert not list(tmp_path.glob("*.partial"))


def test_parquet_files_are_made_with_the_store(tmp_path, msr, monkeypatch):
    prepare("msr-action3d", msr, tmp_path / "whole", parquet=tmp_path / "parquet")
    shards = SkeletonShards(tmp_path / "parquet")
    assert shards.store_checksum == SkeletonStore.open(tmp_path / "whole").checksum and len(shards) == 147
    shards_to_store(shards, tmp_path / "again", progress=False).verify()
    made = shards.path / Path(shards.shards[0]["file"])
    with monkeypatch.context() as patch:  # stopped when the parquet files are there and the store has no name yet
        patch.setattr(SkeletonStoreWriter, "close", _out_of_space)
        with pytest.raises(OSError, match="No space left"):
            prepare("msr-action3d", msr, tmp_path / "store", parquet=tmp_path / "other")
    before = (tmp_path / "other" / shards.shards[0]["file"]).stat().st_mtime_ns
    prepare("msr-action3d", msr, tmp_path / "store", parquet=tmp_path / "other")
    assert (tmp_path / "other" / shards.shards[0]["file"]).stat().st_mtime_ns == before
    assert made.read_bytes() == (tmp_path / "other" / shards.shards[0]["file"]).read_bytes()
    for number in (1, 2):
        prepare("msr-action3d", msr, tmp_path / "merged", shard=(number, 2))
    merge_parts(tmp_path / "merged", parquet=tmp_path / "third", progress=False)
    assert made.read_bytes() == (tmp_path / "third" / shards.shards[0]["file"]).read_bytes()
    with pytest.raises(FileExistsError, match="raw exists and holds no shards; choose another name"):
        prepare("msr-action3d", msr, tmp_path / "fourth", parquet=msr)
    assert not list(tmp_path.glob("*.partial"))


def test_parts_that_do_not_fit_are_not_merged(tmp_path, msr):
    out = tmp_path / "store"
    with pytest.raises(PreparationError, match="no part of .*store found .expected .*store.part-00001-of-00002"):
        merge_parts(out, progress=False)
    first = Path(prepare("msr-action3d", msr, out, shard=(1, 3))["part"])
    third = Path(prepare("msr-action3d", msr, out, shard=(3, 3))["part"])
    with pytest.raises(PreparationError, match="do not make up a whole: missing of 3: 2"):
        merge_parts(out, progress=False)
    half = Path(prepare("msr-action3d", msr, tmp_path / "half", shard=(2, 2))["part"])
    with pytest.raises(PreparationError, match="do not make up a whole: they are cut in different ways"):
        merge_parts(out, [first, half, third], progress=False)
    with pytest.raises(PreparationError, match="are both part 3; leave one of them out"):
        merge_parts(out, [first, third, third], progress=False)
    msr_file(msr / "a03_s09_e01_skeleton3D.txt", 999)
    second = Path(prepare("msr-action3d", msr, out, shard=(2, 3))["part"])
    with pytest.raises(
        PreparationError, match="00002-of-00003 was prepared from other recordings or with other options"
    ):
        merge_parts(out, progress=False)
    with pytest.raises(FileExistsError, match="holds a part made from other recordings or options; pass overwrite"):
        prepare("msr-action3d", msr, out, shard=(1, 3))
    for number in (1, 3):
        prepare("msr-action3d", msr, out, shard=(number, 3), overwrite=True)
    chunk = second / "chunks" / "000001.npz"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(PreparationError, match="000001.npz is damaged or missing; copy or prepare the part again"):
        merge_parts(out, progress=False)
    (second / "part.json").write_text("{")
    with pytest.raises(PreparationError, match="00002-of-00003 is not a finished part of a preparation"):
        merge_parts(out, progress=False)
    with pytest.raises(ValueError, match="shard 3/2: the number must be one of 1 to 2"):
        prepare("msr-action3d", msr, out, shard=(3, 2))
    with pytest.raises(ValueError, match="pass parquet .* when the parts are merged"):
        prepare("msr-action3d", msr, out, shard=(1, 2), parquet=tmp_path / "parquet")
    assert not out.exists() and not list(tmp_path.glob("*.partial"))


def test_two_processes_do_not_prepare_the_same_store(tmp_path, msr):
    (tmp_path / "store.partial").mkdir()
    code = "import fcntl, sys; lock = open(sys.argv[1], 'wb'); fcntl.lockf(lock, fcntl.LOCK_EX); print('locked', flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path / "store.partial" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(PreparationError, match="another process is preparing .*store; wait for it or stop it"):
            prepare("msr-action3d", msr, tmp_path / "store")
        other.communicate("\n")
    assert prepare("msr-action3d", msr, tmp_path / "store")["samples"] == 147


def test_a_kill_after_the_store_got_its_name_is_seen(tmp_path, msr, monkeypatch):
    close = SkeletonStoreWriter.close

    def close_and_stop(writer):
        close(writer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SkeletonStoreWriter, "close", close_and_stop)
        with pytest.raises(KeyboardInterrupt):
            prepare("msr-action3d", msr, tmp_path / "store")
    before = contents(tmp_path / "store")
    assert (tmp_path / "store.partial").is_dir()
    assert prepare("msr-action3d", msr, tmp_path / "store")["samples"] == 147
    assert contents(tmp_path / "store") == before and not (tmp_path / "store.partial").exists()


_SCRIPT = """
import sys
from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.preparation import prepare_corpus
prepare_corpus("synthetic", None, sys.argv[1], PreparationOptions(sequences=640, seed=3), workers=2, progress=False)
"""


def _children(process_id):
    with open(f"/proc/{process_id}/task/{process_id}/children") as file:
        return [int(child) for child in file.read().split()]


def _is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc")
def test_a_killed_preparation_goes_on_where_it_stopped(tmp_path, caplog):
    out, chunks = tmp_path / "store", tmp_path / "store.partial" / "chunks"
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(out)])
    deadline = time.monotonic() + 120
    while len(list(chunks.glob("*.npz"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline, "ended before it could be killed"
        time.sleep(0.002)
    workers = _children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(_is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.05)
    done = {chunk: chunk.stat().st_mtime_ns for chunk in chunks.glob("*.npz")}
    assert 2 <= len(done) < 10 and not out.exists()
    with pytest.raises(FileNotFoundError, match="is not complete: its preparation was interrupted"):
        SkeletonStore.open(out)

    # what a kill while the store is joined would leave
    (tmp_path / "store.partial" / "store").mkdir()
    (tmp_path / "store.partial" / "store" / "values.npy").write_bytes(b"rubbish")
    (chunks / "000009.npz.123.writing").write_bytes(b"half a chunk")
    options = PreparationOptions(sequences=640, seed=3)
    with caplog.at_level("INFO", logger="skeleton_transformers.data.preparation"):
        prepare("synthetic", None, out, options=options, workers=1)
    assert f"going on with the interrupted preparation in {out}.partial: {len(done)} chunks are there" in caplog.text
    prepare("synthetic", None, tmp_path / "whole", options=options, workers=2)
    assert contents(out) == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "whole"]


_NTU_SCRIPT = """
import sys
from skeleton_transformers.data.preparation import prepare_corpus
prepare_corpus("ntu60", sys.argv[1], sys.argv[2], parquet=sys.argv[2] + "-parquet", workers=2, progress=False)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills processes as Linux does")
@pytest.mark.parametrize(("files", "frames", "kills"), [(320, 1, 3), pytest.param(5000, 6, 5, marks=pytest.mark.slow)])
def test_killed_at_random_and_resumed_it_gives_the_same_bytes(tmp_path, files, frames, kills):
    write_tree = runpy.run_path(str(REPOSITORY / "benchmarks" / "preparation.py"))["write_tree"]
    write_tree(tmp_path / "raw", files, frames)
    out = tmp_path / "store"
    chunks = -(-files // 64)
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed of the kills: {seed}")  # shown if the test fails
    rng = np.random.default_rng(seed)
    # after so many chunks, and the last one while the chunks are joined
    moments = [*sorted(rng.integers(0, chunks, kills - 1).tolist()), None]
    for moment in moments:
        command = [sys.executable, "-c", _NTU_SCRIPT, str(tmp_path / "raw"), str(out)]
        process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 300
        while not _has_come(out, moment):
            assert process.poll() is None and time.monotonic() < deadline, "ended before it could be killed"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05 if moment is not None else 0.01))
        # either the process alone, or all of its workers with it
        (os.kill if rng.random() < 0.5 else os.killpg)(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "ended before it could be killed"
        assert not out.exists()
    prepare("ntu60", tmp_path / "raw", out, workers=2, parquet=tmp_path / "store-parquet")
    prepare("ntu60", tmp_path / "raw", tmp_path / "whole", workers=2, parquet=tmp_path / "whole-parquet")
    assert len(SkeletonStore.open(out)) == files
    assert contents(out) == contents(tmp_path / "whole")
    assert contents(tmp_path / "store-parquet") == contents(tmp_path / "whole-parquet")
    expected = ["raw", "store", "store-parquet", "whole", "whole-parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def _has_come(out, moment):
    partial = out.with_name(out.name + ".partial")
    if moment is None:
        return (partial / "store" / "values.npy").exists()
    return (partial / "state.json").exists() and len(list((partial / "chunks").glob("*.npz"))) >= moment


def _interrupt(folder, out, monkeypatch):
    """Stop a preparation after its chunks are made, as an error while joining does."""
    with monkeypatch.context() as patch:
        patch.setattr("skeleton_transformers.data.storage.SkeletonStoreWriter.finish", _out_of_space)
        with pytest.raises(OSError, match="No space left"):
            prepare("msr-action3d", folder, out)
    return {
        chunk.name: chunk.stat().st_mtime_ns for chunk in (out.parent / f"{out.name}.partial" / "chunks").iterdir()
    }


def _out_of_space(self):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("change", ["nothing", "file", "new file", "options"])
def test_chunks_are_used_again_only_if_nothing_changed(tmp_path, msr, monkeypatch, caplog, change):
    out = tmp_path / "store"
    assert len(_interrupt(msr, out, monkeypatch)) == 3
    if change == "file":
        msr_file(msr / "a03_s02_e01_skeleton3D.txt", 999)
    elif change == "new file":
        msr_file(msr / "a03_s09_e01_skeleton3D.txt", 999)
    options = PreparationOptions(bodies="energy" if change == "options" else "simple")
    with caplog.at_level("INFO", logger="skeleton_transformers.data.preparation"):
        prepare("msr-action3d", msr, out, options=options)
    assert ("going on" in caplog.text) == (change == "nothing") and ("starting anew" in caplog.text) == (
        change != "nothing"
    )
    prepare("msr-action3d", msr, tmp_path / "again", options=options)
    assert contents(out) == contents(tmp_path / "again")


def test_a_damaged_chunk_is_named(tmp_path, msr, monkeypatch):
    out = tmp_path / "store"
    _interrupt(msr, out, monkeypatch)
    chunk = tmp_path / "store.partial" / "chunks" / "000001.npz"
    chunk.write_bytes(chunk.read_bytes()[:200])
    with pytest.raises(PreparationError, match="000001.npz is damaged .*remove it and run the same command again"):
        prepare("msr-action3d", msr, out)
    chunk.unlink()
    assert prepare("msr-action3d", msr, out)["samples"] == 147


def test_nothing_of_somebody_else_is_removed(tmp_path, msr):
    other = tmp_path / "store.partial"
    other.mkdir()
    (other / "thesis.tex").write_text("...")
    with pytest.raises(
        FileExistsError, match="store.partial exists and is not the work of an earlier preparation; move it away"
    ):
        prepare("msr-action3d", msr, tmp_path / "store")
    assert (other / "thesis.tex").exists()
    prepare("msr-action3d", msr, tmp_path / "mine")
    with pytest.raises(FileExistsError, match="already holds a skeleton store; pass overwrite"):
        prepare("msr-action3d", msr, tmp_path / "mine")
    (msr / "a03_s02_e01_skeleton3D.txt").unlink()
    assert prepare("msr-action3d", msr, tmp_path / "mine", overwrite=True)["samples"] == 146
    assert len(SkeletonStore.open(tmp_path / "mine")) == 146


def test_when_nothing_can_be_read(tmp_path):
    raw = tmp_path / "raw"
    with pytest.raises(
        PreparationError, match="raw is not a folder; give the folder with the recordings of MSR-Action3D"
    ):
        prepare("msr-action3d", raw, tmp_path / "store")
    raw.mkdir()
    with pytest.raises(PreparationError, match=r"no recording of NTU RGB\+D in .*raw: expected files '\*.skeleton'$"):
        prepare("ntu60", raw, tmp_path / "store")
    (raw / "S020C001P001R001A001.skeleton").write_text("1\n0\n")
    (raw / "x.skeleton").touch()
    with pytest.raises(
        PreparationError, match="; 1 files belong to another part .*; 1 files were skipped, the first is x.skeleton"
    ):
        prepare("ntu60", raw, tmp_path / "store")
    with pytest.raises(
        PreparationError, match="none of the 1 recordings .* all reasons are in .*report.json; the first: nobody was"
    ):
        prepare("ntu120", raw, tmp_path / "store")
    report = json.loads((tmp_path / "store.partial" / "report.json").read_text())
    assert {entry["file"] for entry in report["skipped"]} == {"S020C001P001R001A001.skeleton", "x.skeleton"}
    with pytest.raises(ValueError, match="unknown body selection 'best'; choose one of simple, energy, denoise"):
        prepare("ntu60", raw, tmp_path / "store", options=PreparationOptions(bodies="best"))
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        prepare("ntu60", raw, tmp_path / "store", workers=0)
    with pytest.raises(ValueError, match="sequences must be at least 1, got 0"):
        prepare("synthetic", None, tmp_path / "store", options=PreparationOptions(sequences=0))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("bodies", ["simple", "energy", "denoise"])
def test_ntu_files(tmp_path, fixtures, bodies):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("S001C001P001R001A050", "S001C002P003R002A060", "S002C003P003R002A060"):
        shutil.copy(fixtures / "S001C001P001R001A050.skeleton", raw / f"{name}.skeleton")
    (raw / "S001C001P001R001A001.skeleton").write_text((raw / "S001C001P001R001A050.skeleton").read_text()[:30000])
    (tmp_path / "missing.txt").write_text("two lines\nof prose\nS001C002P003R002A060\n")
    report = prepare(
        "ntu60",
        raw,
        tmp_path / "store",
        options=PreparationOptions(bodies=bodies, missing=str(tmp_path / "missing.txt")),
    )
    store = SkeletonStore.open(tmp_path / "store")
    assert store.names.tolist() == ["S001C001P001R001A050", "S002C003P003R002A060"]
    assert store.labels.tolist() == [49, 59] and store.setups.tolist() == [1, 2] and store.cameras.tolist() == [1, 3]
    assert store.num_frames.tolist() == [39 if bodies == "denoise" else 40] * 2 and store.num_persons.tolist() == [
        2,
        2,
    ]
    assert store.details["options"] == {"bodies": bodies, "missing": True}
    assert report["left_out"] == 1 and [entry["file"] for entry in report["skipped"]] == [
        "S001C001P001R001A001.skeleton"
    ]
    assert "it is cut off" in report["skipped"][0]["reason"] or "values, expected 12" in report["skipped"][0]["reason"]


def test_synthetic(tmp_path):
    report = prepare("synthetic", None, tmp_path / "store", options=PreparationOptions(sequences=70, seed=5))
    store = SkeletonStore.open(tmp_path / "store")
    assert len(store) == report["samples"] == 70 and store.label_names == list(SYNTHETIC_ACTIONS)
    expected = synthesize_sequence(66, 5)
    np.testing.assert_array_equal(store[66].keypoints, expected.keypoints)
    assert (
        store[66].name == expected.name and store[66].subject == expected.subject and store[66].label == expected.label
    )
    for protocol in ("xsub", "xview", "xset"):
        assert len(split_indices(store, protocol, "train")) and len(split_indices(store, protocol, "test"))


@pytest.fixture
def folder(tmp_path):
    """Ten takes of a user, a table and a layout of her own."""
    rng = np.random.default_rng(0)
    raw = tmp_path / "takes"
    raw.mkdir()
    rows = ["file,label,subject,split,start,end"]
    for number in range(10):
        shape = (2, 30, 5, 3) if number % 2 else (30, 5, 3)
        np.save(raw / f"take{number}.npy", rng.normal(size=shape).astype(np.float32))
        rows.append(
            f"take{number}.npy,{('lift', 'carry')[number % 2]},{number % 4},{'test' if number > 7 else 'train'},,"
        )
    rows += ["take0.npy,rest,0,train,5,12", "gone.npy,lift,1,train,,"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    layout = {"name": "five", "joints": ["hip", "head", "left_hand", "right_hand", "foot"], "parents": [0, 0, 0, 0, 0]}
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    return tmp_path


def test_a_users_folder(folder):
    options = PreparationOptions(labels=str(folder / "labels.csv"), layout=str(folder / "layout.json"), frame_rate=50)
    report = prepare("folder", folder / "takes", folder / "store", options=options)
    store = SkeletonStore.open(folder / "store")
    assert store.layout.name == "five" and store.frame_rate == 50 and store.label_names == ["carry", "lift", "rest"]
    assert len(store) == 11 and store.num_persons.tolist() == [1, 2] * 5 + [1]
    assert report["skipped"] == [{"file": "gone.npy", "reason": "no such file"}]
    part = store[10]
    assert part.name == "take0[5:12]" and part.label == 2
    np.testing.assert_array_equal(part.keypoints, store[0].keypoints[:, 5:12])
    assert split_indices(store, "split", "test").tolist() == [8, 9]
    with pytest.raises(PreparationError, match="5 joints without names; say which layout they have"):
        prepare("folder", folder / "takes", folder / "other")
    report = prepare(
        "folder", folder / "takes", folder / "plain", options=PreparationOptions(layout=str(folder / "layout.json"))
    )
    assert report["samples"] == 10 and set(SkeletonStore.open(folder / "plain").labels) == {-1}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands(tmp_path, msr, folder):
    result = run("prepare", "msr-action3d", msr, tmp_path / "msr", "--quiet", "--workers", 1)
    assert result.exit_code == 0, result.output
    for text in (
        "recordings  147",
        "layout      msr20, 20 joints x 3 (metre), 15 frames per second",
        "xsub        87 train (of these 29 for validation), 60 test",
        "not complete: 147 recordings, the complete corpus has 566 usable ones of 567",
        "5 files could not be used",
        "a07_s05_e02_skeleton3D.txt: line 3: 'nan' is not a finite number",
        f"store: {tmp_path / 'msr'}",
    ):
        assert text in result.output
    options = ("--labels", folder / "labels.csv", "--layout", folder / "layout.json", "--frame-rate", 50)
    result = run("prepare", "folder", folder / "takes", tmp_path / "mine", "--quiet", *options)
    assert result.exit_code == 0 and "layout      five, 5 joints x 3 (metre), 50 frames per second" in result.output
    result = run("prepare", "synthetic", tmp_path / "synthetic", "--sequences", 8, "--seed", 2, "--quiet")
    assert result.exit_code == 0 and "recordings  8" in result.output

    for number in (1, 2):
        result = run("prepare", "msr-action3d", msr, tmp_path / "merged", "--shard", f"{number}/2", "--quiet")
        assert result.exit_code == 0 and f"part {number} of 2: {tmp_path / 'merged.part-0000'}" in result.output
    assert f"when all 2 are there: skeleton-transformers merge {tmp_path / 'merged'}" in result.output
    result = run("merge", tmp_path / "merged", "--quiet", "--parquet", tmp_path / "parquet")
    assert f"parquet: {tmp_path / 'parquet'}" in result.output and len(SkeletonShards(tmp_path / "parquet")) == 147
    assert result.exit_code == 0 and "5 files could not be used" in result.output
    assert contents(tmp_path / "merged") == contents(tmp_path / "msr")

    result = run("inspect", tmp_path / "msr", "--verify")
    assert result.exit_code == 0 and "recordings  147" in result.output and "checksums   all match" in result.output
    assert json.loads(run("inspect", tmp_path / "msr", "--json").stdout)["protocols"]["xsub"]["train"] == 87
    values = tmp_path / "msr" / "values.npy"
    values.write_bytes(values.read_bytes()[:-1] + b"x")
    result = run("inspect", tmp_path / "msr", "--verify")
    assert result.exit_code == 1 and "values.npy: SHA-256" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("prepare", "synthetic", "a", "b"), 2, "2 folders given; usage: skeleton-transformers prepare synthetic OUT"),
        (("prepare", "ntu60", "a"), 2, "1 folders given; usage: skeleton-transformers prepare ntu60 RAW OUT"),
        (("prepare", "hmdb", "a", "b"), 1, "unknown corpus 'hmdb'; known: ntu60"),
        (("prepare", "ntu60", "nowhere", "b"), 1, "nowhere is not a folder"),
        (("prepare", "synthetic", "a", "--shard", "3-8"), 1, "--shard 3-8: expected I/N, for example 3/8"),
        (("prepare", "synthetic", "a", "--shard", "0/8"), 1, "shard 0/8: the number must be one of 1 to 8"),
        (("merge", "a"), 1, "no part of a found"),
        (("inspect", "nowhere"), 1, "nowhere is not a skeleton store; make one with"),
    ],
)
def test_commands_say_what_is_wrong(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code and message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("corpus", "raw", "protocol", "train", "test"),
    [("nw-ucla", "nw-ucla", "xview", 1020, 464), ("msr-action3d", "msr-action3d", "xsub", 291, 275)],
)
def test_real_corpora_have_their_published_counts(tmp_path, real_data, corpus, raw, protocol, train, test):
    report = prepare(corpus, real_data / raw, tmp_path / "store")
    assert report["missing"] == [] and report["samples"] == train + test
    store = SkeletonStore.open(tmp_path / "store")
    assert (
        len(split_indices(store, protocol, "train")) == train and len(split_indices(store, protocol, "test")) == test
    )
    if corpus == "nw-ucla":
        assert store.names[store.num_frames == 1].tolist() == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
        assert report["skipped"] == [] and store.num_frames.max() == 201 and len(set(store.subjects)) == 10
    else:
        assert [entry["file"].split("/")[-1] for entry in report["skipped"]] == ["a13_s09_e02_skeleton3D.txt"]
        assert sum(not sample.frame_mask.all() for sample in store) == 19  # and the one that holds nothing else


def test_real_ntu_and_gtu_recordings(tmp_path, real_data):
    prepare("ntu60", real_data / "ntu-samples", tmp_path / "ntu")
    store = SkeletonStore.open(tmp_path / "ntu")
    assert store.num_frames.tolist() == [103, 158, 104, 99, 54] and store.labels.tolist() == [0, 1, 2, 3, 4]
    recording = read_ntu_skeleton(real_data / "ntu-samples" / "S001C001P001R001A003.skeleton")
    np.testing.assert_array_equal(store[2].keypoints[0], recording.keypoints)
    report = prepare("gtu", real_data / "gtu-3d-actions", tmp_path / "gtu")
    assert report["samples"] == 508 and report["skipped"] == [] and report["missing"] == []
    assert np.bincount(SkeletonStore.open(tmp_path / "gtu").labels).tolist()[:3] == [37, 38, 39]
