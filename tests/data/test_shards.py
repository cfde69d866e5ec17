import json
import os
import pickle
import shutil

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data import shards as shards_module
from skeleton_transformers.data.corpora import split_indices
from skeleton_transformers.data.shards import SkeletonShards, sample_schema, shards_to_store, write_shards
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


LABELS = ("walk", "run", "jump")


def make_store(path, count=150, splits=("",), labels=LABELS, seed=0, labelled=True):
    rng = np.random.default_rng(seed)
    with SkeletonStoreWriter(path, "kinect20", 30.0, label_names=labels, corpus="folder", details={"a": 1}) as writer:
        for number in range(count):
            persons, frames = int(rng.integers(1, 4)), int(rng.integers(1, 12))
            keypoints = rng.normal(size=(persons, frames, 20, 3)).astype(np.float32)
            frame_mask = rng.random((persons, frames)) < 0.8
            keypoints[~frame_mask] = 0
            writer.add(
                SkeletonSample(
                    keypoints,
                    frame_mask,
                    label=int(rng.integers(-1, len(labels))),
                    name=f"Aufnahme ü{number}",
                    subject=number % 5,
                    camera=-1,
                    split=splits[number % len(splits)],
                    frame_labels=rng.integers(-1, 4, frames).astype(np.int16)
                    if labelled and number % 3 == 0
                    else None,
                )
            )
    return SkeletonStore.open(path)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(store, folder, **options):
    return write_shards(store, folder, **{"progress": False, "shard_bytes": 100_000, "workers": 1, **options})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("stores") / "store", 420, splits=("train", "test", ""))


@pytest.fixture
def folder(store, tmp_path):
    return tmp_path / write(store, tmp_path / "shards").path


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 150),
    seed=st.integers(0, 1000),
    splits=st.sampled_from([("",), ("train",), ("", "test"), ("test", "train", "validation", "")]),
    labels=st.sampled_from([(), ("eins", "zwei, drei", 'q"')]),
    shard_bytes=st.integers(1, 200_000),
)
def test_a_store_comes_back_byte_by_byte(tmp_path, count, seed, splits, labels, shard_bytes):
    for name in ("store", "shards", "again"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    store = make_store(tmp_path / "store", count, splits, labels, seed, labelled=bool(labels))
    shards = write(store, tmp_path / "shards", shard_bytes=shard_bytes)
    assert len(shards) == count and sum(sum(entry["groups"]) for entry in shards.shards) == count
    shards.verify()
    again = shards_to_store(shards, tmp_path / "again", progress=False)
    assert contents(store.path) == contents(again.path)


def test_the_files_do_not_depend_on_processes(store, tmp_path):
    one, two = write(store, tmp_path / "one"), write(store, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and len(one.shards) > 3
    assert one.parts == two.parts == ["unassigned", "train", "test"]
    assert one.counts == {"samples": 420, "frames": int(store.num_frames.sum()), "max_persons": 3}
    assert (one.layout, one.frame_rate, one.label_names) == (store.layout, store.frame_rate, store.label_names)
    for column in ("labels", "subjects", "cameras", "setups", "splits"):
        np.testing.assert_array_equal(getattr(one, column), getattr(store, column))
    assert split_indices(one, "split", "test").tolist() == list(range(1, 420, 3))
    assert repr(one).endswith(f"corpus='folder', layout='kinect20', samples=420, files={len(one.shards)})")
    assert [sample.name for sample in pickle.loads(pickle.dumps(one))] == store.names.tolist()


def test_datasets_loads_the_folder(store, folder):
    loaded = datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"unassigned": 140, "train": 140, "test": 140}
    part = loaded["test"].with_format("numpy")
    assert part.features["label"].names == list(LABELS)
    assert part.features.arrow_schema.metadata is not None
    for row in (part[0], part[139]):
        sample = store[int(row["index"])]
        np.testing.assert_array_equal(row["keypoints"].reshape(row["shape"]), sample.keypoints)
        np.testing.assert_array_equal(row["frame_mask"].reshape(row["shape"][:2]), sample.frame_mask)
        assert (row["name"], row["label"], row["subject"]) == (sample.name, sample.label, sample.subject)
    labelled = {row["index"]: row["frame_labels"] for row in loaded["test"]}
    assert all((labels is None) == (store[index].frame_labels is None) for index, labels in labelled.items())
    stream = datasets.load_dataset(str(folder), split="train", streaming=True)
    assert [row["index"] for row in stream] == list(range(0, 420, 3))
    assert datasets.Features.from_arrow_schema(sample_schema(LABELS)) == part.features


def test_the_card(store, folder):
    text = (folder / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["size_categories"] == ["n<1K"] and "kinect20" in metadata["tags"]
    assert metadata["configs"][0]["data_files"][2] == {"split": "test", "path": "data/test-*.parquet"}
    for words in ("420 recordings", "20 joints x 3", "3 classes", "| train | 140 |", "`spine_mid`", "the user's own"):
        assert words in text, words
    code = text.split("```python\n")[1].split("```")[0].replace("this/folder", str(folder))
    scope = {}
    exec(code, scope)  # the example runs
    assert scope["keypoints"].shape == store[2].keypoints.shape == (*scope["frame_mask"].shape, 20, 3)


def test_an_interrupted_run_goes_on(store, tmp_path, monkeypatch):
    whole = write(store, tmp_path / "whole")
    written = []

    def stop_at_the_third(task, write_shard=shards_module._write_shard):
        if len(written) == 2:
            task.target.with_name(task.target.name + ".7.writing").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written.append(task.target)
        write_shard(task)

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "_write_shard", stop_at_the_third)
        with pytest.raises(OSError, match="No space left"):
            write(store, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    times = {path.name: path.stat().st_mtime_ns for path in written}
    write(store, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    data = tmp_path / "shards" / "data"
    assert {name: (data / name).stat().st_mtime_ns for name in times} == times
    assert not list(tmp_path.glob("*.partial")) and len(whole.shards) > 3


def test_folders_are_not_overwritten_by_chance(store, folder, tmp_path):
    times = [path.stat().st_mtime_ns for path in folder.rglob("*")]
    write(store, folder)  # these shards are there already
    assert times == [path.stat().st_mtime_ns for path in folder.rglob("*")]
    other = make_store(tmp_path / "other", 5)
    with pytest.raises(FileExistsError, match="holds shards of another store; pass overwrite"):
        write(other, folder)
    assert len(write(other, folder, overwrite=True)) == 5
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    with pytest.raises(FileExistsError, match="thesis exists and holds no shards; choose another name"):
        write(store, tmp_path / "thesis", overwrite=True)
    (tmp_path / "thesis").rename(tmp_path / "new.partial")
    with pytest.raises(FileExistsError, match="new.partial exists and is not the work of an earlier run"):
        write(store, tmp_path / "new")
    assert (tmp_path / "new.partial" / "chapter1.tex").exists()


def _flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)


def test_damage_is_seen(store, folder, tmp_path):
    files = sorted((folder / "data").iterdir())
    _flip(files[1])
    message = f"{files[1].name}: SHA-256 is .*, expected .*damaged or exchanged: copy or write the shards again"
    with pytest.raises(ValueError, match=message):
        SkeletonShards(folder).verify()
    with pytest.raises(ValueError, match=f"{files[1].name} is damaged or missing"):
        list(SkeletonShards(folder))  # the pages of a file have checksums of their own
    with pytest.raises(ValueError, match=f"{files[1].name} is damaged or missing"):
        shards_to_store(folder, tmp_path / "again", progress=False)
    assert not (tmp_path / "again").exists() and not (tmp_path / "again.partial").exists()
    files[1].unlink()
    with pytest.raises(ValueError, match=f"{files[1].name}: SHA-256 is missing, expected"):
        SkeletonShards(folder).verify()
    with pytest.raises(ValueError, match=f"{files[1].name} is damaged or missing"):
        list(SkeletonShards(folder))


def test_files_of_other_shards_do_not_mix(store, folder, tmp_path):
    other = write(make_store(tmp_path / "other", 420, seed=1, splits=("train", "test", "")), tmp_path / "others")
    mine = next(entry for entry in SkeletonShards(folder).shards if entry["split"] == "test")
    theirs = next(entry for entry in other.shards if entry["split"] == "test")
    shutil.copy(tmp_path / "others" / theirs["file"], folder / mine["file"])
    with pytest.raises(ValueError, match="the files do not belong together|a file is missing or of other shards"):
        shards_to_store(folder, tmp_path / "again", progress=False)
    description = json.loads((folder / "shards.json").read_text())
    description["store"]["label_names"] = ["run", "walk", "jump"]
    (folder / "shards.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="not the description of shards .its own checksum does not match"):
        SkeletonShards(folder)
    (folder / "shards.json").write_text('{"format_version": 9}')
    with pytest.raises(ValueError, match="format_version is 9, this release reads 1"):
        SkeletonShards(folder)
    with pytest.raises(
        FileNotFoundError, match="nowhere holds no shards; make them with `skeleton-transformers prepare"
    ):
        SkeletonShards(tmp_path / "nowhere")


def test_rows_that_do_not_fit_their_shape_are_refused(store, folder):
    shards = SkeletonShards(folder)
    file = folder / shards.shards[0]["file"]
    table = pq.read_table(file)
    shapes = table["shape"].to_pylist()
    shapes[0][1] += 1
    column = table.schema.get_field_index("shape")
    field = table.schema.field("shape")
    table = table.set_column(column, field, pa.array(shapes, field.type))
    pq.write_table(table, file, row_group_size=shards.shards[0]["groups"][0])
    with pytest.raises(ValueError, match=r"sample 'Aufnahme ü\d+' has \d+ values and \d+ mask entries for shape"):
        list(shards)


def test_shards_are_read_from_any_file_system(store, folder):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/far/away", recursive=True)
    shards = SkeletonShards("memory://far/away")
    shards.verify()
    for sample, expected in zip(shards, store, strict=True):
        assert sample.name == expected.name
        np.testing.assert_array_equal(sample.keypoints, expected.keypoints)
    memory.rm("/far/away", recursive=True)
    assert os.fspath(shards.path) == "memory://far/away"
