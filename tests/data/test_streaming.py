import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.corpora import split_indices
from skeleton_transformers.data.datasets import SampleKey, SequencePipeline, SkeletonCollator, SkeletonDataset
from skeleton_transformers.data.shards import SkeletonShards, write_shards
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
from skeleton_transformers.data.streaming import SkeletonStream


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A store of 300 samples, one to three persons each, some of them too short, and its shards."""
    path = tmp_path_factory.mktemp("stream")
    rng = np.random.default_rng(0)
    with SkeletonStoreWriter(path / "store", "kinect20", 30.0, label_names=("a", "b"), corpus="folder") as writer:
        for number in range(300):
            persons, frames = int(rng.integers(1, 4)), int(rng.integers(5, 16))
            keypoints = rng.normal(size=(persons, frames, 20, 3)).astype(np.float32)
            frame_mask = np.ones((persons, frames), bool)
            split = "test" if number % 4 == 3 else "train"
            writer.add(SkeletonSample(keypoints, frame_mask, label=number % 2, name=str(number), split=split))
    store = SkeletonStore.open(path / "store")
    return store, write_shards(store, path / "shards", shard_bytes=150_000, workers=1, progress=False)


@pytest.fixture
def shards(corpus):
    return corpus[1]


PLAIN = SequencePipeline(SkeletonFeatureExtractor(layout="kinect20"))


def places(items):
    return [item["key"].index for item in items]


@settings(max_examples=20, deadline=None)
@given(
    world_size=st.integers(1, 7),
    shuffle=st.booleans(),
    buffer_size=st.sampled_from([1, 10, 100, 1000]),
    epoch=st.integers(0, 3),
    chosen=st.sampled_from([None, range(0, 300, 2), [7], range(290, 300)]),
)
def test_every_sample_exactly_once_over_all_ranks(corpus, world_size, shuffle, buffer_size, epoch, chosen):
    expected = list(range(300) if chosen is None else chosen)
    counts, seen = [], []
    for rank in range(world_size):
        stream = SkeletonStream(corpus[1], PLAIN, chosen, shuffle, buffer_size, rank=rank, world_size=world_size)
        stream.set_epoch(epoch)
        counts.append(len(part := places(stream)))
        seen += part
        assert part == places(stream)
    assert sorted(seen) == expected and max(counts) - min(counts) <= 1


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_sample_exactly_once_over_all_workers(shards, world_size):
    seen = []
    for rank in range(world_size):
        stream = SkeletonStream(shards, PLAIN, rank=rank, world_size=world_size, buffer_size=50)
        loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
        first = places(loader)
        stream.set_epoch(1)  # persistent workers hear of it
        second = places(loader)
        assert first != second
        assert {key.epoch for key in (item["key"] for item in loader)} == {1}
        seen += second
    assert sorted(seen) == list(range(300))


def test_the_order_follows_from_seed_and_epoch(shards):
    def order(epoch=0, **options):
        stream = SkeletonStream(shards, PLAIN, **{"buffer_size": 64, **options})
        stream.set_epoch(epoch)
        return places(stream)

    assert order() == order() and order() != order(epoch=1) and order() != order(seed=1)
    assert order(shuffle=False) == shards.file_order.tolist()
    steps = np.abs(np.diff(order(buffer_size=1000)))
    assert steps.mean() > 80  # 100 for a perfect shuffle of 300, 1 for none
    assert (
        np.abs(np.diff(order(buffer_size=1))).mean() < 20
    )  # files and row groups are shuffled, what is in them is not


def test_items_are_those_of_the_store(corpus):
    store, shards = corpus
    extractor = SkeletonFeatureExtractor(layout="kinect20", stream="motion")
    augmentation = SkeletonAugmentation(probability=1.0, layout="kinect20")
    dataset = SkeletonDataset(store, None, extractor, augmentation, seed=3)
    stream = SkeletonStream(shards, SequencePipeline(extractor, augmentation, seed=3))
    stream.set_epoch(2)
    for item in stream:
        expected = dataset[SampleKey(item["key"].index, 2)]
        assert item["key"] == expected["key"] and item["labels"] == expected["labels"]
        np.testing.assert_array_equal(item["keypoints"], expected["keypoints"])
        np.testing.assert_array_equal(item["frame_mask"], expected["frame_mask"])
    batch = next(iter(DataLoader(stream, batch_size=32, collate_fn=SkeletonCollator())))
    assert batch["keypoints"].shape[0] == 32 and batch["labels"].shape == (32,)


def test_persons_become_items_and_short_ones_are_dropped(corpus):
    store, shards = corpus
    extractor = SkeletonFeatureExtractor(layout="kinect20", max_persons=3)
    options = {"single_person": True, "min_frames": 9}
    dataset = SkeletonDataset(store, None, extractor, **options)
    keys = places(SkeletonStream(shards, SequencePipeline(extractor, **options)))
    assert len(set(keys)) == len(keys) == len(dataset) < int(store.num_persons.sum())
    assert sorted(divmod(key, 3) for key in keys) == [(index, slot) for _, index, slot in dataset.items.tolist()]


def test_parts_of_a_protocol(corpus):
    store, shards = corpus
    chosen = split_indices(shards, "split", "test")
    assert sorted(places(SkeletonStream(shards, PLAIN, chosen))) == chosen.tolist() == list(range(3, 300, 4))
    with pytest.raises(ValueError, match="no sample of .*shards is left: none of its 300 is among the indices"):
        SkeletonStream(shards, PLAIN, [300])


@pytest.mark.parametrize("stop", [0, 1, 2, 50, 151, 399, 10_000])
def test_goes_on_where_it_stopped(shards, stop):
    pipeline = SequencePipeline(
        SkeletonFeatureExtractor(layout="kinect20", max_persons=3), single_person=True, min_frames=7
    )

    def stream():
        return SkeletonStream(shards, pipeline, buffer_size=40, rank=1, world_size=2)

    first = stream()
    first.set_epoch(4)
    whole = places(first)
    before = []
    for item in first:
        if len(before) == stop:
            break
        before.append(item["key"].index)
        state = json.loads(json.dumps(first.state_dict()))
    if not before:
        state = SkeletonStream.state_dict(stream()) | {"epoch": 4}
    again = stream()
    again.load_state_dict(state)
    assert again.state_dict() == state
    after = places(again)
    assert before + after == whole and len(before) == min(stop, len(whole))
    again.set_epoch(5)
    assert sorted(places(again)) != sorted(after) and len(places(again)) > 200


def test_what_was_done_is_not_read_again(shards, monkeypatch):
    read = []
    read_group = SkeletonShards.read_group

    def count(self, shard, group):
        read.append((shard, group))
        return read_group(self, shard, group)

    monkeypatch.setattr(SkeletonShards, "read_group", count)
    stream = SkeletonStream(shards, PLAIN, buffer_size=20)
    iterator = iter(stream)
    for _ in range(250):
        next(iterator)
    state, groups = stream.state_dict(), len(read)
    read.clear()
    again = SkeletonStream(shards, PLAIN, buffer_size=20)
    again.load_state_dict(state)
    assert len(list(again)) == 50 and len(read) < groups / 2
    read.clear()
    next(iter(stream))
    assert len(read) == 1  # nothing is read before it is needed


def test_what_does_not_fit_is_refused(shards):
    stream = SkeletonStream(shards, PLAIN)
    with pytest.raises(ValueError, match="the state is of a stream with order .*, this one has"):
        SkeletonStream(shards, PLAIN, seed=1).load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match=r"the state is of a stream with process \[0, 1, 0, 1\], this one has \[1, 2"):
        SkeletonStream(shards, PLAIN, rank=1, world_size=2).load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match="rank 2 of 2 processes: it must be 0 to 1"):
        SkeletonStream(shards, PLAIN, rank=2, world_size=2)
    with pytest.raises(ValueError, match="buffer_size must be at least 1, got 0"):
        SkeletonStream(shards, PLAIN, buffer_size=0)
