import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter, check_sample
from skeleton_transformers.skeletons import SkeletonLayout, get_layout


LABELS = ("walk", "run", "jump")


def random_sample(rng, name, persons=1, frames=5, joints=25, **fields):
    keypoints = rng.normal(size=(persons, frames, joints, 3)).astype(np.float32)
    frame_mask = rng.random((persons, frames)) < 0.8
    frame_mask[0, 0] = True
    keypoints[~frame_mask] = 0
    return SkeletonSample(keypoints, frame_mask, name=name, **fields)


def write_store(path, samples, layout="ntu25", **options):
    with SkeletonStoreWriter(path, layout, 30.0, **{"label_names": LABELS, "corpus": "ntu60", **options}) as writer:
        for sample in samples:
            writer.add(sample)
    return SkeletonStore.open(path)


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return [
        random_sample(
            rng, f"S001C00{i % 3 + 1}P00{i}R001A001", 1 + i % 2, 4 + i, label=i % 3, subject=i, camera=i % 3 + 1
        )
        for i in range(6)
    ]


def assert_same(sample, other):
    assert sample.keypoints.dtype == np.float32 and sample.frame_mask.dtype == np.bool_
    np.testing.assert_array_equal(sample.keypoints, other.keypoints)
    np.testing.assert_array_equal(sample.frame_mask, other.frame_mask)
    for field in ("label", "name", "subject", "camera", "setup", "replication", "split"):
        assert getattr(sample, field) == getattr(other, field), field
    assert (sample.frame_labels is None) == (other.frame_labels is None)
    if sample.frame_labels is not None:
        assert sample.frame_labels.dtype == np.int16
        np.testing.assert_array_equal(sample.frame_labels, other.frame_labels)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=8),
    seed=st.integers(0, 2**32 - 1),
    names=st.lists(st.text("abcä漢/-. 0", min_size=1, max_size=12), min_size=8, max_size=8, unique=True),
    numbers=st.tuples(*[st.integers(-1, 10**6)] * 4),
    split=st.sampled_from(["", "train", "validation", "test"]),
    labelled=st.sampled_from([(False, False), (True, False), (True, True)]),
)
def test_what_is_written_is_read(tmp_path, sizes, seed, names, numbers, split, labelled):
    rng = np.random.default_rng(seed)
    keys = ("subject", "camera", "setup", "replication")
    written = [
        random_sample(
            rng,
            name,
            *size,
            label=int(rng.integers(-1, 3)),
            split=split,
            frame_labels=rng.integers(-1, 4, size[1]).astype(np.int16) if labelled[i % 2] else None,
            **dict(zip(keys, numbers)),
        )
        for i, (size, name) in enumerate(zip(sizes, names))
    ]
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    store = write_store(tmp_path / "store", written)
    assert len(store) == len(written)
    for index, sample in enumerate(written):
        assert_same(store[index], sample)
    assert store.num_frames.tolist() == [size[1] for size in sizes]
    assert store.num_persons.tolist() == [size[0] for size in sizes]
    assert store.names.tolist() == names[: len(written)]
    store.verify()


def test_columns_and_description(tmp_path, samples):
    store = write_store(tmp_path / "store", samples, details={"bodies": "simple"})
    assert store.layout == get_layout("ntu25")
    assert (store.frame_rate, store.units, store.corpus) == (30.0, "metre", "ntu60")
    assert store.label_names == list(LABELS) and store.details == {"bodies": "simple"}
    assert store.labels.tolist() == [0, 1, 2, 0, 1, 2] and store.subjects.tolist() == list(range(6))
    assert store.cameras.tolist() == [1, 2, 3, 1, 2, 3]
    assert store.setups.tolist() == store.replications.tolist() == [-1] * 6
    assert_same(store[-1], samples[-1])
    assert [sample.name for sample in store] == store.names.tolist()
    with pytest.raises(IndexError, match="sample 6 asked of .*store, which holds 6"):
        store[6]


def test_frame_labels(tmp_path, samples):
    labels = np.array([-1, 0, 3, 3, 0], dtype=np.int64)
    plain = write_store(tmp_path / "plain", samples)
    assert not (plain.path / "frame_labels.npy").exists() and not plain.has_frame_labels.any()
    store = write_store(tmp_path / "store", [samples[0], _changed(samples[1], frame_labels=labels), *samples[2:]])
    assert store.has_frame_labels.tolist() == [False, True, False, False, False, False]
    assert store[0].frame_labels is None and store[1].frame_labels.tolist() == labels.tolist()
    store[1].frame_labels[:] = 1
    assert store[1].frame_labels.tolist() == labels.tolist()
    assert store.checksum != plain.checksum
    data = bytearray((store.path / "frame_labels.npy").read_bytes())
    data[-1] ^= 1
    (store.path / "frame_labels.npy").write_bytes(data)
    with pytest.raises(ValueError, match="frame_labels.npy: SHA-256 of its contents is"):
        SkeletonStore.open(store.path).verify()
    (store.path / "frame_labels.npy").unlink()
    with pytest.raises(ValueError, match="frame_labels.npy is missing; copy the store again"):
        SkeletonStore.open(store.path)


def test_a_store_of_the_first_release_still_opens(fixtures):
    store = SkeletonStore.open(fixtures / "store_version1")
    store.verify()
    assert store.checksum == "ba8a6bbaf3b0bc14626bdd30844e24ea36f8c8a41b2e30aa8940bf2230d04bad"
    assert store.names.tolist() == ["one", "two"] and store.num_persons.tolist() == [1, 2]
    assert store[1].frame_labels is None and store.splits.tolist() == ["train", "test"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at memory through /proc")
def test_released_memory_is_read_again(tmp_path):
    rng = np.random.default_rng(0)
    written = [random_sample(rng, str(number), frames=2000) for number in range(60)]
    store = write_store(tmp_path / "store", written)

    def mapped():
        maps = open("/proc/self/smaps").read().split("\n")
        start = next(i for i, line in enumerate(maps) if line.endswith(f"{store.path}/values.npy"))
        return int(next(line for line in maps[start:] if line.startswith("Rss:")).split()[1])

    for sample in store:
        assert sample.keypoints.any()
    assert mapped() > 30_000  # kilobytes
    store.release_memory()
    assert mapped() < 1000
    assert_same(store[59], written[59])


def test_a_sample_is_the_callers_own_copy(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    store[0].keypoints[:] = 7
    assert_same(store[0], samples[0])


def test_a_layout_of_the_users_travels_with_the_store(tmp_path):
    layout = SkeletonLayout(name="two_points", joints=("a", "b"), parents=(0, 0))
    rng = np.random.default_rng(0)
    write_store(tmp_path / "store", [random_sample(rng, "x", joints=2)], layout=layout)
    code = (
        "from skeleton_transformers.data.storage import SkeletonStore; "
        f"print(SkeletonStore.open({str(tmp_path / 'store')!r}).layout.joints)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "('a', 'b')"


def test_equal_contents_give_equal_bytes(tmp_path, samples):
    first = write_store(tmp_path / "first", samples)
    second = write_store(tmp_path / "second", samples)
    third = write_store(tmp_path / "third", samples[::-1])
    assert first.checksum == second.checksum != third.checksum
    for file in ("values.npy", "masks.npy", "index.npz", "store.json"):
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file


def test_arrays_are_ordinary_npy_files(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    values = np.load(store.path / "values.npy", allow_pickle=False)
    assert values.dtype == np.float32 and values.shape == ((store.num_frames * store.num_persons).sum(), 25, 3)
    np.testing.assert_array_equal(values[: samples[0].keypoints.shape[1]], samples[0].keypoints[0])
    assert np.load(store.path / "masks.npy", allow_pickle=False).dtype == np.bool_


class _Names(Dataset):
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return len(self.store)

    def __getitem__(self, index):
        sample = self.store[index]
        return sample.name, float(sample.keypoints.sum())


def test_a_store_is_pickled_by_its_path_and_works_in_worker_processes(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert_same(pickle.loads(data)[3], samples[3])
    loader = DataLoader(_Names(store), num_workers=1, batch_size=None, multiprocessing_context="spawn")
    for (name, total), sample in zip(loader, samples, strict=True):
        assert name == sample.name and total == pytest.approx(float(sample.keypoints.sum()), abs=1e-4)
    write_store(tmp_path / "store", samples[:2], overwrite=True)
    with pytest.raises(ValueError, match="changed while it was in use: checksum .* start the program again"):
        pickle.loads(data)


def test_recordings_in_another_layout(tmp_path):
    rng = np.random.default_rng(0)
    source, target = get_layout("kinect20"), get_layout("ntu25")
    keypoints = rng.normal(size=(2, 5, 20, 3)).astype(np.float32)
    with SkeletonStoreWriter(tmp_path / "store", source, 30.0) as writer:
        writer.add(SkeletonSample(keypoints, np.ones((2, 5), dtype=bool), name="a"))
    store = SkeletonStore.open(tmp_path / "store")
    other = store.in_layout("ntu25")
    assert (store.layout, other.layout) == (source, target)
    np.testing.assert_array_equal(store[0].keypoints, keypoints)
    for one in (other, pickle.loads(pickle.dumps(other))):
        found = one[0].keypoints
        assert found.shape == (2, 5, 25, 3) and one.checksum == store.checksum
        for joint in source.joints:
            np.testing.assert_array_equal(
                found[:, :, target.index(joint)], keypoints[:, :, source.index(joint)], err_msg=joint
            )
        # Kinect v1 has no neck and no thumbs: they stand where what they hang on stands.
        for absent, stand_in in (("neck", "spine_shoulder"), ("left_thumb", "left_hand")):
            np.testing.assert_array_equal(found[:, :, target.index(absent)], keypoints[:, :, source.index(stand_in)])
    np.testing.assert_array_equal(other.in_layout(source)[0].keypoints, keypoints)
    other.verify()


def test_works_without_the_datasets_package(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    code = (
        "import sys; sys.modules['datasets'] = None; sys.modules['pyarrow'] = None\n"
        "from skeleton_transformers.data.storage import SkeletonStore\n"
        f"print(len(SkeletonStore.open({str(store.path)!r})), 'torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["6", "False"]


def test_nothing_is_there_until_the_store_is_complete(tmp_path, samples):
    path = tmp_path / "store"
    writer = SkeletonStoreWriter(path, "ntu25", 30.0, label_names=LABELS)
    writer.add(samples[0])
    assert not path.exists() and (tmp_path / "store.partial").is_dir()
    with pytest.raises(
        FileNotFoundError, match="store is not complete: its preparation was interrupted .*run the same"
    ):
        SkeletonStore.open(path)
    assert writer.close() == path
    assert not (tmp_path / "store.partial").exists()
    SkeletonStore.open(path).verify()
    with pytest.raises(ValueError, match="is closed"):
        writer.add(samples[1])


def test_an_error_leaves_nothing_behind(tmp_path, samples):
    with pytest.raises(RuntimeError, match="stop"):
        with SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0, label_names=LABELS) as writer:
            writer.add(samples[0])
            raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_existing_folders_are_not_overwritten_by_chance(tmp_path, samples):
    write_store(tmp_path / "store", samples)
    with pytest.raises(FileExistsError, match="already holds a skeleton store; pass overwrite"):
        SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0)
    assert len(write_store(tmp_path / "store", samples[:2], overwrite=True)) == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    with pytest.raises(FileExistsError, match="is not a skeleton store; choose another name"):
        SkeletonStoreWriter(tmp_path / "thesis", "ntu25", 30.0, overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()
    with pytest.raises(ValueError, match="no sample was added to .*empty"):
        SkeletonStoreWriter(tmp_path / "empty", "ntu25", 30.0).close()
    assert not (tmp_path / "empty").exists()


def _changed(sample, **changes):
    fields = {name: getattr(sample, name) for name in sample.__dataclass_fields__}
    return SkeletonSample(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keypoints": np.zeros((1, 4, 20, 3))},
            r"shape \(1, 4, 20, 3\), expected \(persons, frames, 25, 3\).*'ntu25'",
        ),
        ({"keypoints": np.zeros((4, 25, 3))}, "keypoints have shape"),
        ({"frame_mask": np.ones((1, 3), bool)}, r"frame_mask is bool of shape \(1, 3\), expected bool of \(1, 4\)"),
        ({"frame_mask": np.ones((1, 4))}, "frame_mask is float64"),
        ({"label": 3}, r"label 3 is outside the 3 label names \(allowed: 0..2, or -1 for none\)"),
        ({"label": -2}, "label -2 is outside"),
        ({"name": ""}, "needs a name"),
        ({"frame_labels": np.zeros(3, int)}, r"frame_labels is int64 of shape \(3,\), expected integers of \(4,\)"),
        ({"frame_labels": np.zeros(4)}, r"frame_labels is float64"),
        ({"frame_labels": np.array([0, 3, 4, 0])}, r"frame 2 has label 4; allowed: 1..3 for the 3 label names"),
        ({"frame_labels": np.array([-2, 0, 0, 0])}, r"frame 0 has label -2; allowed"),
        ({"split": "dev"}, "split 'dev' is not one of '', 'train'"),
    ],
)
def test_what_is_not_canonical_is_refused(tmp_path, changes, message):
    rng = np.random.default_rng(0)
    good = random_sample(rng, "S001", frames=4)
    with SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0, label_names=LABELS) as writer:
        with pytest.raises(ValueError, match="sample '.*" + message):
            writer.add(_changed(good, **changes))
        writer.add(good)
    assert_same(SkeletonStore.open(tmp_path / "store")[0], good)


def test_a_number_that_is_not_finite_is_named_with_its_place():
    sample = random_sample(np.random.default_rng(0), "take 3", persons=2, frames=6)
    sample.frame_mask[:] = True
    sample.keypoints[1, 4, 6, 2] = np.nan
    with pytest.raises(ValueError, match="sample 'take 3': person 1, frame 4, joint 'left_wrist' is .*nan.*finite"):
        check_sample(sample, get_layout("ntu25"))


def test_coordinates_behind_the_mask_and_taken_names_are_refused(tmp_path, samples):
    sample = random_sample(np.random.default_rng(0), "x", frames=3)
    sample.frame_mask[:] = True
    hidden = _changed(sample, frame_mask=np.array([[True, False, True]]))
    with SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0) as writer:
        writer.add(sample)
        with pytest.raises(ValueError, match="person 0, frame 1 is masked out but holds coordinates"):
            writer.add(_changed(hidden, name="y"))
        with pytest.raises(ValueError, match="sample 'x': a sample of that name is already in"):
            writer.add(sample)
        with pytest.raises(ValueError, match="label 0 given, but the store has no label names"):
            writer.add(_changed(sample, name="z", label=0))
    with pytest.raises(ValueError, match="frame_rate must be positive"):
        SkeletonStoreWriter(tmp_path / "other", "ntu25", 0)


def _cut(path, file, bytes_left):
    data = (path / file).read_bytes()
    (path / file).write_bytes(data[:bytes_left])


def _edit(path, **changes):
    description = json.loads((path / "store.json").read_text())
    description.update(changes)
    (path / "store.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: _cut(path, "values.npy", 5000),
            r"values.npy has 5000 bytes, expected \d+ .*cut off: copy the store again",
        ),
        (lambda path: _cut(path, "masks.npy", 130), "masks.npy has 130 bytes"),
        (lambda path: _cut(path, "index.npz", 300), "index.npz cannot be read"),
        (lambda path: (path / "values.npy").unlink(), "values.npy is missing"),
        (lambda path: (path / "index.npz").unlink(), "index.npz is missing"),
        (lambda path: _cut(path, "store.json", 100), "store.json is not the description of a store"),
        (lambda path: _edit(path, format_version=99), "format_version is 99, this release reads 1"),
        (lambda path: _edit(path, layout="kinect20"), "counts.joints is 25, but layout 'kinect20' has 20 joints"),
    ],
)
def test_damage_is_seen_when_the_store_is_opened(tmp_path, samples, damage, message):
    store = write_store(tmp_path / "store", samples)
    damage(store.path)
    with pytest.raises(ValueError, match=message):
        SkeletonStore.open(store.path)


def test_files_of_two_stores_do_not_mix(tmp_path, samples):
    first, second = write_store(tmp_path / "first", samples), write_store(tmp_path / "second", samples[:3])
    shutil.copy(second.path / "index.npz", first.path / "index.npz")
    with pytest.raises(ValueError, match="index.npz: column 'offset' has shape .* store.json says 6 samples"):
        SkeletonStore.open(first.path)
    with pytest.raises(
        FileNotFoundError, match="is not a skeleton store; make one with `skeleton-transformers prepare`"
    ):
        SkeletonStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize(("file", "place"), [("values.npy", 4000), ("masks.npy", 140)])
def test_verify_finds_a_changed_byte(tmp_path, samples, file, place):
    store = write_store(tmp_path / "store", samples)
    data = bytearray((store.path / file).read_bytes())
    data[place] ^= 1
    (store.path / file).write_bytes(data)
    with pytest.raises(ValueError, match=f"{file}: SHA-256 of its contents is .* expected .*prepare it again"):
        SkeletonStore.open(store.path).verify()


def test_verify_finds_an_edited_description(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    _edit(store.path, label_names=["run", "walk", "jump"])
    with pytest.raises(ValueError, match="store.json: its own checksum does not match"):
        SkeletonStore.open(store.path).verify()


def test_a_store_of_some_recordings_only(tmp_path, samples):
    store = write_store(tmp_path / "store", samples)
    chosen = [samples[4].name, samples[1].name]
    some = store.only(chosen)
    assert len(some) == 2 and list(some.names) == [samples[1].name, samples[4].name]
    assert some.labels.tolist() == [1, 1] and some.num_frames.tolist() == [5, 8]
    for other in (some, pickle.loads(pickle.dumps(some)), some.in_layout(some.layout)):
        assert_same(other[0], samples[1])
        assert_same(other[1], samples[4])
        assert len(other.only([samples[4].name])) == 1
    assert_same(pickle.loads(pickle.dumps(some.only([samples[4].name])))[0], samples[4])
    assert len(store) == 6 and some.checksum == store.checksum
    with pytest.raises(
        ValueError, match="asks .* for 1 of 2 names, the first is 'nobody'; draw it from this very store"
    ):
        store.only([samples[0].name, "nobody"])
    with pytest.raises(ValueError, match="for nothing"):
        store.only([])
