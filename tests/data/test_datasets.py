"""Datasets and samplers: which items there are, and that they depend on seed and key alone."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.clips import number_of_clips
from skeleton_transformers.data.datasets import (
    EpochSampler,
    SampleKey,
    SkeletonCollator,
    SkeletonDataset,
    TokenBatchSampler,
    TrainingBatchSampler,
    minimum_frames,
)
from skeleton_transformers.data.geometry import resize_frames
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
from skeleton_transformers.skeletons import convert_layout, get_layout


JOINTS = 25


def make_sample(name, lengths, label=-1, seed=0):
    """A sample of one person per entry of `lengths`, `(first, last + 1)` present frames, in as many frames as needed."""
    rng = np.random.default_rng([seed, *name.encode()])
    frame_mask = np.zeros((len(lengths), max(stop for _, stop in lengths)), dtype=bool)
    for person, (start, stop) in enumerate(lengths):
        frame_mask[person, start:stop] = True
    keypoints = rng.standard_normal((*frame_mask.shape, JOINTS, 3)).astype(np.float32) * frame_mask[..., None, None]
    return SkeletonSample(keypoints=keypoints, frame_mask=frame_mask, label=label, name=name)


def write_store(path, samples, **options):
    with SkeletonStoreWriter(path, "ntu25", frame_rate=30.0, label_names=("a", "b", "c"), **options) as writer:
        for sample in samples:
            writer.add(sample)
    return SkeletonStore.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    samples = [
        make_sample("alone", [(0, 40)], label=0),
        make_sample("pair", [(0, 50), (10, 45)], label=1),
        make_sample("short", [(0, 12)], label=2),
        make_sample("ghost", [(0, 60), (20, 25), (0, 0)], label=0),
        make_sample("leaves", [(0, 30), (0, 60)], label=1),
    ]
    return write_store(tmp_path_factory.mktemp("stores") / "store", samples)


def names(dataset):
    return [dataset.name(i) for i in range(len(dataset))]


def test_items_hold_all_persons(store):
    dataset = SkeletonDataset(store, None, SkeletonFeatureExtractor())
    assert names(dataset) == ["alone", "pair", "short", "ghost", "leaves"]
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1]
    item = dataset[1]
    assert item["labels"] == 1 and item["key"] == SampleKey(1, 0)
    sample = store[1]
    assert np.array_equal(item["keypoints"], sample.keypoints)
    assert np.array_equal(item["frame_mask"], sample.frame_mask)


def test_single_person_items_are_the_persons_ever_seen(store):
    dataset = SkeletonDataset(store, None, SkeletonFeatureExtractor(), single_person=True)
    assert names(dataset) == [
        "alone",
        "pair",
        "pair (person 2)",
        "short",
        "ghost",
        "ghost (person 2)",
        "leaves",
        "leaves (person 2)",
    ]
    assert np.array_equal(dataset[2]["keypoints"][0], store[1].keypoints[1, :45])
    assert dataset[2]["frame_mask"].tolist() == store[1].frame_mask[1:, :45].tolist()
    assert dataset[6]["keypoints"].shape == (1, 30, JOINTS, 3)  # frames after the person has left are no data
    one = SkeletonDataset(store, None, SkeletonFeatureExtractor(max_persons=1), single_person=True)
    assert names(one) == ["alone", "pair", "short", "ghost", "leaves"]


@pytest.mark.parametrize("selection", ["energy", "presence", "all"])
def test_single_person_items_follow_the_selection_of_persons(store, selection):
    extractor = SkeletonFeatureExtractor(person_selection=selection)
    dataset = SkeletonDataset(store, None, extractor, single_person=True)
    assert len(dataset) == 8
    for i in range(8):
        assert dataset[i]["frame_mask"].any()


def test_short_sequences_are_dropped(store, caplog):
    caplog.set_level("INFO")
    dataset = SkeletonDataset(store, None, SkeletonFeatureExtractor(), single_person=True, min_frames=19)
    # the second person of "ghost" is last seen in frame 24, that makes 25 frames
    assert names(dataset) == [
        "alone",
        "pair",
        "pair (person 2)",
        "ghost",
        "ghost (person 2)",
        "leaves",
        "leaves (person 2)",
    ]
    assert dataset.num_dropped == 1
    assert "left out 1 sequences shorter than 19 frames" in caplog.text


def test_short_sequences_are_stretched(store):
    dataset = SkeletonDataset(store, [2], SkeletonFeatureExtractor(), min_frames=19, short_sequences="stretch")
    item = dataset[0]
    assert item["keypoints"].shape == (1, 19, JOINTS, 3) and item["frame_mask"].all()
    expected, _ = resize_frames(store[2].keypoints, store[2].frame_mask, 19)
    assert np.array_equal(item["keypoints"], expected)


def test_lengths_count_after_the_extractor_has_changed_them(store):
    halved = SkeletonDataset(store, None, SkeletonFeatureExtractor(frame_rate=15.0), min_frames=19)
    assert names(halved) == ["alone", "pair", "ghost", "leaves"]
    cut = SkeletonDataset(store, None, SkeletonFeatureExtractor(max_frames=15), single_person=True, min_frames=15)
    assert names(cut) == ["alone", "pair", "pair (person 2)", "ghost", "leaves", "leaves (person 2)"]
    for dataset in (halved, cut):
        for i in range(len(dataset)):
            assert dataset[i]["frame_mask"].shape[1] >= dataset.pipeline.min_frames


def test_nothing_left_is_an_error(store):
    with pytest.raises(ValueError, match="1 are shorter than 19 frames; use short_sequences='stretch'"):
        SkeletonDataset(store, [2], SkeletonFeatureExtractor(), min_frames=19)


@pytest.mark.parametrize("stride", range(1, 12))
def test_minimum_frames_leaves_three_clips_after_any_crop(stride):
    shortest = minimum_frames(stride)
    assert shortest > 2 * stride / 0.8 + 1 >= shortest - 1
    for num_frames in range(shortest, shortest + 60):
        assert number_of_clips(num_frames - round(0.2 * num_frames), 7, stride, 2) >= 3
    assert minimum_frames(7) == 19


def test_augmentation_is_a_function_of_seed_epoch_and_index(store):
    def build(seed=0):
        augmentation = SkeletonAugmentation(probability=1.0)
        return SkeletonDataset(store, None, SkeletonFeatureExtractor(), augmentation, seed=seed)

    first, again, other = build(), build(), build(seed=1)
    changed = 0
    for index in range(len(first)):
        key = SampleKey(index, 3)
        item = first[key]
        for _ in range(2):  # whatever was drawn before
            assert np.array_equal(item["keypoints"], again[key]["keypoints"])
        changed += not np.array_equal(item["keypoints"], other[key]["keypoints"])
        changed += not np.array_equal(item["keypoints"], first[SampleKey(index, 4)]["keypoints"])
    assert changed == 2 * len(first)


def test_a_sequence_that_a_crop_would_ruin_is_not_augmented(tmp_path):
    """A person who is seen only at both ends: a crop of one end leaves nearly nothing."""
    sample = make_sample("ends", [(0, 60)])
    frame_mask = sample.frame_mask.copy()
    frame_mask[:, 2:58] = False
    sample = SkeletonSample(sample.keypoints * frame_mask[..., None, None], frame_mask, name="ends")
    store = write_store(tmp_path / "store", [sample])
    augmentation = SkeletonAugmentation(probability=1.0, temporal=("crop",))
    options = {"single_person": True, "min_frames": 19}
    ruined = SkeletonDataset(store, None, SkeletonFeatureExtractor(), augmentation, **options)
    kept = SkeletonDataset(store, None, SkeletonFeatureExtractor(), augmentation, min_augmented_frames=15, **options)
    lengths = [ruined[SampleKey(0, epoch)]["frame_mask"].shape[1] for epoch in range(50)]
    assert min(lengths) < 15
    assert min(kept[SampleKey(0, epoch)]["frame_mask"].shape[1] for epoch in range(50)) >= 15


def test_stream_is_taken_after_augmentation(store):
    augmentation = SkeletonAugmentation(probability=1.0, spatial=("scale",), temporal=("crop",))
    joint = SkeletonDataset(store, [0], SkeletonFeatureExtractor(), augmentation)[SampleKey(0, 2)]["keypoints"]
    motion = SkeletonDataset(store, [0], SkeletonFeatureExtractor(stream="motion"), augmentation)[SampleKey(0, 2)]
    assert not motion["keypoints"][:, 0].any()
    np.testing.assert_allclose(motion["keypoints"][:, 1:], np.diff(joint, axis=1), atol=1e-6)


def test_views_are_augmented_independently_and_the_first_is_the_item(store):
    augmentation = SkeletonAugmentation(probability=1.0, spatial=("shear",), temporal=("crop",))
    one = SkeletonDataset(store, None, SkeletonFeatureExtractor(stream="motion"), augmentation, seed=5)
    two = SkeletonDataset(store, None, SkeletonFeatureExtractor(stream="motion"), augmentation, seed=5, num_views=2)
    key = SampleKey(1, 3)
    item, alone = two[key], one[key]
    assert "views" not in alone and len(item["views"]) == 2
    for name in ("keypoints", "frame_mask"):
        np.testing.assert_array_equal(item[name], alone[name])
        np.testing.assert_array_equal(item["views"][0][name], alone[name])
        np.testing.assert_array_equal(item["views"][1][name], two[key]["views"][1][name])
    first, second = (view["keypoints"] for view in item["views"])
    assert first.shape != second.shape or np.abs(first - second).max() > 1e-3


def test_several_stores(store, tmp_path):
    extra = write_store(tmp_path / "extra", [make_sample("extra", [(0, 33)])])
    dataset = SkeletonDataset([store, extra], [np.array([1, 0]), None], SkeletonFeatureExtractor())
    assert names(dataset) == ["pair", "alone", "extra"]
    assert dataset.labels.tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match="2 stores need one array of indices each, got 1"):
        SkeletonDataset([store, extra], [np.array([1])], SkeletonFeatureExtractor())
    with SkeletonStoreWriter(tmp_path / "kinect", "kinect20", frame_rate=30.0) as writer:
        writer.add(SkeletonSample(np.ones((1, 30, 20, 3), np.float32), np.ones((1, 30), bool), name="other"))
    with pytest.raises(ValueError, match="kinect20"):
        SkeletonDataset([store, SkeletonStore.open(tmp_path / "kinect")], None, SkeletonFeatureExtractor())


def test_collator_pads_persons_and_frames(store):
    dataset = SkeletonDataset(store, None, SkeletonFeatureExtractor())
    batch = SkeletonCollator()([dataset[0], dataset[1]])
    assert batch["keypoints"].shape == (2, 2, 50, JOINTS, 3) and batch["keypoints"].dtype == torch.float32
    assert batch["frame_mask"].sum(dim=2).tolist() == [[40, 0], [50, 35]]
    assert not batch["keypoints"][~batch["frame_mask"]].any()
    assert batch["labels"].tolist() == [0, 1] and batch["labels"].dtype == torch.int64
    assert "labels" not in SkeletonCollator()([dataset[0], {**dataset[1], "labels": -1}])


def test_epoch_sampler_is_a_permutation_per_epoch():
    sampler = EpochSampler(50, seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key.epoch for key in keys} == {epoch}
        assert sorted(key.index for key in keys) == list(range(50))
        orders.append([key.index for key in keys])
        assert orders[-1] == EpochSampler(50, seed=1).order(epoch).tolist()
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != EpochSampler(50, seed=2).order(0).tolist()
    assert [key.index for key in EpochSampler(4, shuffle=False)] == [0, 1, 2, 3]


def test_training_batches_cover_an_epoch_without_overlap_on_all_ranks():
    def sampler(rank):
        return TrainingBatchSampler(EpochSampler(53, 0), 3, 8, accumulation=2, rank=rank, world_size=2)

    batches = [list(sampler(rank)) for rank in range(2)]
    assert sampler(0).steps_per_epoch == 4 and len(sampler(0)) == 16
    assert [len(b) for b in batches] == [16, 16]
    for epoch in range(2):
        keys = [key for rank in batches for batch in rank[epoch * 8 : epoch * 8 + 8] for key in batch]
        assert {key.epoch for key in keys} == {epoch}
        assert len({key.index for key in keys}) == len(keys) == 48


@pytest.mark.parametrize("first_step", [1, 4, 7])
def test_training_batches_continue_at_any_step(first_step):
    def sampler(first):
        return TrainingBatchSampler(EpochSampler(53, 0), 3, 10, 2, rank=1, world_size=2, first_step=first)

    assert list(sampler(first_step)) == list(sampler(0))[first_step * 2 :]
    assert sampler(0).batch(first_step, 1) == list(sampler(0))[first_step * 2 + 1]


def test_training_batches_need_enough_sequences():
    with pytest.raises(ValueError, match="11 sequences are fewer than one optimiser step needs: batch size 3 x 2"):
        TrainingBatchSampler(EpochSampler(11), 3, 10, 2, world_size=2)


class Lengths:
    """As much of a data set as batches by length ask for."""

    def __init__(self, frame_counts):
        self.frame_counts = np.asarray(frame_counts)

    def name(self, index):
        return f"recording {index}"


def ntu_like(count):
    rng = np.random.default_rng(0)
    return Lengths(np.exp(rng.normal(np.log(73), 0.4, count)).clip(30, 258).astype(int))


def token_batches(lengths, budget=1000, num_steps=None, **options):
    return TokenBatchSampler(EpochSampler(len(lengths.frame_counts), 3), lengths, budget, num_steps, **options)


def test_batches_by_length_hold_every_sequence_once_and_at_most_the_budget():
    lengths = ntu_like(1000)
    sampler = token_batches(lengths, accumulation=3)
    epochs = []
    for epoch in range(2):
        sampler.sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 3 * sampler.steps_per_epoch
        assert {key.epoch for batch in batches for key in batch} == {epoch}
        assert sorted(key.index for batch in batches for key in batch) == list(range(1000))
        frames = [lengths.frame_counts[[key.index for key in batch]] for batch in batches]
        assert all(len(batch) * batch.max() <= 1000 for batch in frames)  # even padded
        assert np.mean([batch.sum() for batch in frames]) > 850
        assert np.median([batch.max() / batch.min() for batch in frames]) < 9 / 8
        assert sampler.mean_batch_size == pytest.approx(np.mean([len(batch) for batch in batches]))
        # neither the longest nor the shortest first
        assert abs(np.corrcoef(np.arange(len(frames)), [batch.mean() for batch in frames])[0, 1]) < 0.3
        epochs.append(batches)
    assert sorted(map(len, epochs[0])) == sorted(map(len, epochs[1]))
    together = [{frozenset(key.index for key in batch) for batch in batches} for batches in epochs]
    # Only where a length has few sequences do the same ones meet again.
    assert len(together[0] & together[1]) < 0.1 * len(together[0])


@pytest.mark.parametrize("first_step", [1, 5, 13])
def test_batches_by_length_continue_at_any_step(first_step):
    lengths = ntu_like(200)
    options = {"num_steps": 30, "accumulation": 2, "rank": 1, "world_size": 2}
    whole = token_batches(lengths, **options)
    assert whole.steps_per_epoch == 5
    rest = token_batches(lengths, first_step=first_step, **options)
    assert list(rest) == list(whole)[first_step * 2 :]


def test_ranks_share_batches_by_length_in_equal_parts():
    lengths = ntu_like(203)  # the last three do not go round
    ranks = [list(token_batches(lengths, rank=rank, world_size=4)) for rank in range(4)]
    indices = [key.index for rank in ranks for batch in rank for key in batch]
    assert len(indices) == len(set(indices)) == 200
    for micro_batch in zip(*ranks, strict=True):
        assert len({len(batch) for batch in micro_batch}) == 1
        frames = [lengths.frame_counts[[key.index for key in batch]].sum() for batch in micro_batch]
        assert max(frames) <= 1000 and max(frames) / min(frames) < 1.25
    left_out = set(range(203)) - set(indices)
    later = token_batches(lengths, num_steps=1000, world_size=4)
    again = {index for batch in later.epoch_batches(1) for index in batch.ravel().tolist()}
    assert len(again) == 200 and set(range(203)) - again != left_out


def test_a_budget_that_cannot_be_kept_names_the_recording():
    with pytest.raises(
        ValueError, match=r"tokens_per_batch=99 is less than the 120 frames of recording 1, .* set it to 120 or more"
    ):
        token_batches(Lengths([50, 120, 80]), 99)
    assert len(token_batches(Lengths([50, 120, 80]), 120)) == 3
    with pytest.raises(ValueError, match="3 batches of one sequence do not go into steps of 2 batches; raise tokens"):
        token_batches(Lengths([50, 120, 80]), 120, accumulation=2)
    with pytest.raises(ValueError, match="3 sequences are fewer than one optimiser step needs"):
        token_batches(Lengths([50, 120, 80]), 120, world_size=4)


def test_frames_are_counted_for_all_persons_of_an_item(store):
    extractor = SkeletonFeatureExtractor(max_persons=2)
    assert SkeletonDataset(store, None, extractor).frame_counts.tolist() == [40, 85, 12, 65, 90]
    alone = SkeletonDataset(store, None, extractor, single_person=True, min_frames=19)
    assert alone.frame_counts.tolist() == [40, 50, 35, 60, 5, 30, 60]
    stretched = SkeletonDataset(store, [2], extractor, min_frames=19, short_sequences="stretch")
    assert stretched.frame_counts.tolist() == [19]
    cropped = SkeletonDataset(store, None, SkeletonFeatureExtractor(max_persons=1, max_frames=32))
    assert cropped.frame_counts.tolist() == [32, 32, 12, 32, 30]
    for index in range(len(cropped)):
        assert cropped[index]["frame_mask"].sum() == cropped.frame_counts[index]


def test_batches_do_not_depend_on_workers(store):
    dataset = SkeletonDataset(
        store, None, SkeletonFeatureExtractor(), SkeletonAugmentation(), single_person=True, min_frames=19
    )
    sampler = TrainingBatchSampler(EpochSampler(len(dataset)), 3, 6)

    def batches(workers):
        np.random.seed(workers)
        torch.manual_seed(workers)
        collator = HiTRSPreTrainingCollator()
        return list(DataLoader(dataset, batch_sampler=sampler, collate_fn=collator, num_workers=workers))

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert alone.keys() == shared.keys()
        assert all(torch.equal(alone[name], shared[name]) for name in alone)


def test_stores_of_other_joints_are_brought_to_those_of_the_first(tmp_path):
    rng = np.random.default_rng(0)
    kinect = rng.normal(size=(1, 30, 25, 3)).astype(np.float32)
    folders = {}
    for layout, units in (
        ("ntu25", "metre"),
        ("kinect20", "metre"),
        ("msr20", "metre"),
        ("coco17", "metre"),
        ("ntu25", ""),
    ):
        path = folders.setdefault((layout, units), tmp_path / f"{layout}{units}")
        keypoints = convert_layout(kinect, "ntu25", layout)[0]
        with SkeletonStoreWriter(path, layout, 30.0, units=units) as writer:
            writer.add(SkeletonSample(keypoints, np.ones((1, 30), bool), -1, layout))
    stores = [SkeletonStore.open(folders[name, "metre"]) for name in ("msr20", "kinect20", "ntu25")]
    dataset = SkeletonDataset(stores, None, SkeletonFeatureExtractor(layout="msr20"))
    for position in range(3):
        item = dataset[position]["keypoints"]
        for joint, name in enumerate(get_layout("msr20").joints):
            np.testing.assert_array_equal(item[0, :, joint], kinect[0, :, get_layout("ntu25").index(name)])
    lacking = [SkeletonStore.open(folders["kinect20", "metre"]), SkeletonStore.open(folders["coco17", "metre"])]
    with pytest.raises(
        ValueError, match=r"coco17metre has layout 'coco17', which lacks spine_base.* name the store with fewer joints"
    ):
        SkeletonDataset(lacking, None, SkeletonFeatureExtractor(layout="kinect20"))
    other_unit = [SkeletonStore.open(folders["kinect20", "metre"]), SkeletonStore.open(folders["ntu25", ""])]
    with pytest.raises(ValueError, match="is in an unknown unit, .* in metre; prepare one of them again"):
        SkeletonDataset(other_unit, None, SkeletonFeatureExtractor(layout="kinect20"))
