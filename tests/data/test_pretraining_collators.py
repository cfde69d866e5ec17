"""Pretext tasks of Hi-TRS: statistics of the corruption, rules of the swaps, and what never may happen."""

import numpy as np
import pytest
import torch

from skeleton_transformers.data.clips import clip_frame_indices, number_of_clips
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator, TwoViewCollator


JOINTS = 25


def make_items(lengths, seed=0, epoch=0, absent=()):
    """Random sequences in which no two coordinates are equal; `absent` frames are masked out in every sequence."""
    rng = np.random.default_rng(seed)
    items = []
    for index, length in enumerate(lengths):
        keypoints = rng.standard_normal((1, length, JOINTS, 3)).astype(np.float32)
        frame_mask = np.ones((1, length), dtype=bool)
        frame_mask[:, list(absent)] = False
        keypoints[~frame_mask] = 0
        items.append({"keypoints": keypoints, "frame_mask": frame_mask, "key": SampleKey(index, epoch)})
    return items


@pytest.fixture(scope="module")
def large():
    """About 1.2e5 joints in sequences of many lengths, with a gap of two absent frames."""
    items = make_items(np.random.default_rng(1).integers(30, 120, size=64), absent=(5, 6))
    return items, HiTRSPreTrainingCollator(seed=3)(items)


def test_shapes_and_types(large):
    items, batch = large
    frames = max(item["keypoints"].shape[1] for item in items)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in batch.items()}
    assert shapes == {
        "keypoints": ((64, 1, frames, JOINTS, 3), torch.float32),
        "frame_mask": ((64, 1, frames), torch.bool),
        "target_keypoints": ((64, 1, frames, JOINTS, 3), torch.float32),
        "masked_joints": ((64, 1, frames, JOINTS), torch.bool),
        "order_clip": ((64, 7), torch.int64),
        "swapped_clip": ((64, 7), torch.int64),
        "order_clip_mask": ((64,), torch.bool),
        "clip_permutation": ((64, number_of_clips(frames, 7, 7, 2)), torch.int64),
    }


def test_targets_are_the_uncorrupted_sequences(large):
    items, batch = large
    for row, item in enumerate(items):
        length = item["keypoints"].shape[1]
        assert np.array_equal(batch["target_keypoints"][row, :, :length], item["keypoints"])
        assert not batch["target_keypoints"][row, :, length:].any()
        assert np.array_equal(batch["frame_mask"][row, :, :length], item["frame_mask"])
        assert not batch["frame_mask"][row, :, length:].any()


def test_absent_frames_are_neither_changed_nor_selected(large):
    _, batch = large
    absent = ~batch["frame_mask"]
    assert absent.any()
    assert not batch["masked_joints"][absent].any()
    assert not batch["keypoints"][absent].any()


def test_shares_of_selected_replaced_copied_and_unchanged_joints(large):
    _, batch = large
    candidates = int(batch["frame_mask"].sum()) * JOINTS
    assert candidates > 1e5
    selected = batch["masked_joints"]
    share = selected.sum().item() / candidates
    assert share == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / candidates) ** 0.5)

    new, old = batch["keypoints"][selected], batch["target_keypoints"][selected]
    replaced = (new == 1).all(dim=1)
    unchanged = (new == old).all(dim=1)
    for found, expected in ((replaced, 0.8), (unchanged, 0.1), (~replaced & ~unchanged, 0.1)):
        deviation = (expected * (1 - expected) / len(new)) ** 0.5
        assert found.float().mean().item() == pytest.approx(expected, abs=4 * deviation)
    assert torch.equal(batch["keypoints"][~selected], batch["target_keypoints"][~selected])


def test_copies_come_from_another_frame_and_another_joint_of_the_same_sequence(large):
    items, batch = large
    sources_frame, sources_joint = [], []
    for row, item in enumerate(items):
        where = {tuple(v): (t, j) for t, frame in enumerate(item["keypoints"][0]) for j, v in enumerate(frame)}
        for t, j in batch["masked_joints"][row, 0].nonzero().tolist():
            value = tuple(batch["keypoints"][row, 0, t, j].numpy())
            if value == (1, 1, 1) or value == tuple(item["keypoints"][0, t, j]):
                continue
            source_frame, source_joint = where[value]
            assert source_frame != t and source_joint != j
            assert item["frame_mask"][0, source_frame]
            sources_frame.append(source_frame / item["keypoints"].shape[1])
            sources_joint.append(source_joint)
    # Sources are spread evenly over time and joints.
    assert len(sources_frame) > 1000
    assert np.mean(sources_frame) == pytest.approx(0.5, abs=0.05)
    counts = np.bincount(sources_joint, minlength=JOINTS)
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()


@pytest.mark.parametrize("replacement", ["uniform", "normal"])
def test_random_replacements_follow_the_sequence(replacement):
    items = make_items([200] * 4, absent=(0,))
    for item in items:
        item["keypoints"] = item["keypoints"] * 2 + np.float32(5) * item["frame_mask"][..., None, None]
    batch = HiTRSPreTrainingCollator(mask_replacement=replacement, mask_probability=0.9)(items)
    selected = batch["masked_joints"]
    new, old = batch["keypoints"][selected], batch["target_keypoints"][selected]
    changed = new[(new != old).any(dim=1)]
    assert not (changed == 1).all(dim=1).any()
    if replacement == "uniform":
        assert changed.min() >= old.min() and changed.max() <= old.max()
        assert changed.std() > 1.3 * old.std()
    else:
        assert changed.mean().item() == pytest.approx(5, abs=0.1)
        assert changed.std().item() == pytest.approx(2, abs=0.1)


def test_order_clip_is_centred_on_a_frame_and_swaps_two_distant_positions(large):
    items, batch = large
    distances = []
    for row, item in enumerate(items):
        length = item["keypoints"].shape[1]
        windows = clip_frame_indices(length, 7, 1, 2)
        clip, swapped = batch["order_clip"][row].numpy(), batch["swapped_clip"][row].numpy()
        assert (windows == clip).all(axis=1).any()
        assert sorted(clip) == sorted(swapped)
        # Two padding frames may change places, which leaves no trace in the indices.
        changed = np.flatnonzero(clip != swapped)
        assert len(changed) in (0, 2) if (clip == -1).sum() > 1 else len(changed) == 2
        if len(changed):
            distances.append(changed[1] - changed[0])
    assert min(distances) == 2 and max(distances) > 3
    assert batch["order_clip_mask"].all()


def test_pairs_of_positions_are_uniform():
    collator = HiTRSPreTrainingCollator()
    first, second = collator._distant_pair(np.full(30_000, 7), np.random.default_rng(0))
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    assert {tuple(pair) for pair in pairs.T} == {(i, j) for i in range(7) for j in range(i + 2, 7)}
    assert counts.min() > 0.9 * counts.mean() and counts.max() < 1.1 * counts.mean()


def test_order_clip_is_drawn_uniformly_among_clips_with_motion():
    """Only frames 40 and 41 differ from their predecessors, so the clips that hold one of them are the candidates."""
    item = make_items([80])[0]
    item["keypoints"][:] = item["keypoints"][:, :1]
    item["keypoints"][:, 40] += 1
    candidates = set(np.flatnonzero(np.isin(clip_frame_indices(80, 7, 1, 2), (40, 41)).any(axis=1)).tolist())
    items = [{**item, "key": SampleKey(i, 0)} for i in range(2000)]
    batch = HiTRSPreTrainingCollator()(items)
    centers, counts = np.unique(batch["order_clip"][:, 3].numpy(), return_counts=True)
    assert set(centers.tolist()) == candidates
    assert batch["order_clip_mask"].all()
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()


def test_a_sequence_without_motion_is_left_out_of_the_order_task():
    items = make_items([40, 40])
    items[1]["keypoints"][:] = items[1]["keypoints"][:, :1]
    # Somebody who is away for a while and comes back to the same place has not moved either.
    items[1]["frame_mask"][:, 10:15] = False
    items[1]["keypoints"][:, 10:15] = 0
    batch = HiTRSPreTrainingCollator()(items)
    assert batch["order_clip_mask"].tolist() == [True, False]
    assert batch["order_clip"][1].tolist() == clip_frame_indices(40, 7, 1, 2)[0].tolist()


@pytest.mark.parametrize("num_clips", range(3, 12))
def test_permutation_rules(num_clips):
    permutation = HiTRSPreTrainingCollator().permute_clips(np.full(500, num_clips), np.random.default_rng(0))
    identity = np.arange(num_clips)
    assert (np.sort(permutation, axis=1) == identity).all()
    assert (permutation[:, -1] == num_clips - 1).all()
    changed = permutation != identity
    assert (changed.sum(axis=1) == 2).all()
    pairs = {tuple(np.flatnonzero(row)) for row in changed}
    if num_clips == 3:
        assert pairs == {(0, 1)}
    else:
        assert pairs == {(i, j) for i in range(num_clips - 1) for j in range(i + 2, num_clips - 1)}


def test_permutation_leaves_padded_clips_and_the_last_real_one_in_place():
    items = make_items([20, 100, 43])
    permutation = HiTRSPreTrainingCollator()(items)["clip_permutation"].numpy()
    for row, clips in zip(permutation, (3, 15, 7), strict=True):
        assert np.array_equal(row[clips - 1 :], np.arange(clips - 1, 15))
        assert (row[: clips - 1] != np.arange(clips - 1)).sum() == 2


def test_frames_after_the_person_has_left_are_padding():
    items = make_items([100, 60])
    items[0]["frame_mask"][:, 50:] = False
    items[0]["keypoints"][:, 50:] = 0
    batch = HiTRSPreTrainingCollator()(items)
    assert batch["keypoints"].shape[2] == 60
    assert batch["clip_permutation"].shape == (2, 9)
    assert batch["order_clip"][0].max() < 50


def test_a_batch_is_a_function_of_seed_and_keys():
    items = make_items([40, 50, 60])
    first, again = (HiTRSPreTrainingCollator(seed=1)(items) for _ in range(2))
    np.random.random(3)
    torch.rand(3)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other_seed = HiTRSPreTrainingCollator(seed=2)(items)
    other_epoch = HiTRSPreTrainingCollator(seed=1)(
        [{**item, "key": SampleKey(item["key"].index, 1)} for item in items]
    )
    for other in (other_seed, other_epoch):
        assert not torch.equal(first["masked_joints"], other["masked_joints"])


@pytest.mark.parametrize(("clip_length", "stride", "dilation"), [(5, 5, 1), (7, 7, 2), (3, 2, 1), (9, 4, 3)])
def test_other_clip_settings(clip_length, stride, dilation):
    items = make_items([30, 57])
    batch = HiTRSPreTrainingCollator(clip_length, stride, dilation)(items)
    assert batch["order_clip"].shape == (2, clip_length)
    assert batch["clip_permutation"].shape[1] == number_of_clips(57, clip_length, stride, dilation)
    windows = [clip_frame_indices(n, clip_length, 1, dilation) for n in (30, 57)]
    for row in range(2):
        assert (windows[row] == batch["order_clip"][row].numpy()).all(axis=1).any()


def test_too_short_sequences_are_named():
    with pytest.raises(ValueError, match=r"SampleKey\(index=1, epoch=0\) has 14 frames and 2 clips.*min_frames"):
        HiTRSPreTrainingCollator()(make_items([20, 14]))


def test_several_persons_are_refused():
    item = make_items([30])[0]
    pair = {name: np.concatenate([item[name]] * 2) for name in ("keypoints", "frame_mask")}
    with pytest.raises(ValueError, match="one person, got 2"):
        HiTRSPreTrainingCollator()([pair])


@pytest.mark.parametrize(
    "arguments",
    [{"clip_length": 1}, {"mask_probability": -0.1}, {"mask_probability": 1.0}, {"mask_replacement": "zeros"}],
)
def test_settings_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        HiTRSPreTrainingCollator(**arguments)


def test_two_views_are_padded_each_to_its_own_length():
    views = [[make_items([length])[0] for length in pair] for pair in ((7, 5), (4, 9))]
    items = [{**pair[0], "views": pair} for pair in views]
    batch = TwoViewCollator()(items)
    assert batch["keypoints"].shape == (2, 1, 7, JOINTS, 3) and batch["second_keypoints"].shape == (2, 1, 9, JOINTS, 3)
    assert batch["frame_mask"].sum(dim=(1, 2)).tolist() == [7, 4]
    assert batch["second_frame_mask"].sum(dim=(1, 2)).tolist() == [5, 9]
    np.testing.assert_array_equal(batch["second_keypoints"][1, 0], views[1][1]["keypoints"][0])


def test_items_without_views_are_refused():
    with pytest.raises(ValueError, match="no views; make the data set with num_views=2"):
        TwoViewCollator()(make_items([5]))
