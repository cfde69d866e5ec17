import numpy as np
import pytest

from skeleton_transformers.data.dataset_builder import SkeletonDatasetBuilder
from skeleton_transformers.data.shards import sample_schema
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


def make_store(path, count, seed=0):
    rng = np.random.default_rng(seed)
    with SkeletonStoreWriter(path, "kinect20", 30.0, label_names=("a", "b"), overwrite=True) as writer:
        for number in range(count):
            keypoints = rng.normal(size=(1 + number % 2, 5 + number % 3, 20, 3)).astype(np.float32)
            split = "test" if number % 4 == 3 else "train"
            frame_mask = np.ones(keypoints.shape[:2], bool)
            writer.add(SkeletonSample(keypoints, frame_mask, label=number % 2, name=f"take {number}", split=split))
    return SkeletonStore.open(path)


@pytest.mark.parametrize("processes", [None, 2])
def test_a_store_becomes_a_dataset(tmp_path, processes):
    store = make_store(tmp_path / "takes", 200)
    builder = SkeletonDatasetBuilder(store.path, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare(num_proc=processes)
    dataset = builder.as_dataset()
    assert {name: len(part) for name, part in dataset.items()} == {"train": 150, "test": 50}
    assert dataset["train"].features["label"].names == ["a", "b"]
    assert dataset["train"].features.arrow_schema.names == sample_schema(store.label_names).names
    for row in dataset["test"].with_format("numpy").select([0, 49]):
        sample = store[int(row["index"])]
        np.testing.assert_array_equal(row["keypoints"].reshape(row["shape"]), sample.keypoints)
        assert row["name"] == sample.name and row["label"] == sample.label
    assert sorted(dataset["train"]["index"]) == [i for i in range(200) if i % 4 != 3]


def test_a_changed_store_is_not_taken_from_the_cache(tmp_path):
    for count in (12, 8):
        builder = SkeletonDatasetBuilder(make_store(tmp_path / "takes", count), cache_dir=str(tmp_path / "cache"))
        builder.download_and_prepare()
        assert len(builder.as_dataset(split="train")) == count * 3 // 4
        assert len(list(builder.as_streaming_dataset(split="test"))) == count // 4
