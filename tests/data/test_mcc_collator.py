"""The clips of MCC: which frames they have, how often each speed is drawn, and how motion is broken."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from skeleton_transformers import MCCConfig
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.mcc_collator import MCCPreTrainingCollator


JOINTS = 4


def item(index=0, epoch=0, frames=100, persons=1, channels=3, absent=()):
    """Frame t of person m has the value 1000 m + t + 1 in every joint and channel; (person, first, end) are absent."""
    number = 1000 * np.arange(persons)[:, None] + np.arange(frames) + 1
    keypoints = np.tile(number[..., None, None], (1, 1, JOINTS, channels)).astype(np.float32)
    mask = np.ones((persons, frames), dtype=bool)
    for person, first, end in absent:
        mask[person, first:end] = False
    keypoints[~mask] = 0
    return {"keypoints": keypoints, "frame_mask": mask, "labels": 0, "key": SampleKey(index, epoch)}


def numbers(clip, person=0):
    """Frame numbers of clips `(B, M, T, V, C)`."""
    return clip[:, person, :, 0, 0].numpy().round().astype(int) - 1


def speeds_of(clips, length):
    """The speed of every clip of sequences of a prime number of frames, or None where there is none."""
    steps = np.diff(clips, axis=1) % length
    return [int(row[0]) if (row == row[0]).all() else None for row in steps]


def test_basic_and_positive_clips_run_on_at_different_speeds_and_begin_again_at_the_end():
    length = 101
    batch = MCCPreTrainingCollator()([item(i, frames=length) for i in range(200)])
    assert batch["keypoints"].shape == (200, 1, 32, JOINTS, 3) and batch["frame_mask"].all()
    basic, positive = (numbers(batch[name]) for name in ("keypoints", "positive_keypoints"))
    first, second = speeds_of(basic, length), speeds_of(positive, length)
    assert set(first) == set(second) == {1, 2, 4, 8}
    assert all(one != other for one, other in zip(first, second, strict=True))
    assert (np.diff(basic, axis=1) < 0).any()  # some of them wrap
    starts = np.stack([numbers(batch[f"{name}keypoints"])[:, 0] for name in ("", "positive_", "negative_")])
    assert len(np.unique(starts[0])) > 60 and (starts[0] != starts[1]).mean() > 0.9
    same = MCCPreTrainingCollator(shared_start=True, negatives="rotated", rotation_range=0.0)
    batch = same([item(i, frames=length) for i in range(50)])
    starts = np.stack([numbers(batch[f"{name}keypoints"])[:, 0] for name in ("", "positive_", "negative_")])
    assert (starts == starts[0]).all()


def test_the_positive_clip_can_come_from_the_sequence_augmented_once_more():
    collate = MCCPreTrainingCollator(separate_augmentation=True)
    assert collate.num_views == 2 and MCCPreTrainingCollator().num_views == 1
    items = [item(i, frames=101) for i in range(20)]
    for one in items:
        second = item(frames=67)  # augmentation may leave another number of frames
        second["keypoints"] += 5000
        one["views"] = [{name: view[name] for name in ("keypoints", "frame_mask")} for view in (one, second)]
    batch = collate(items)
    for name in ("keypoints", "negative_keypoints", "target_keypoints"):
        assert (numbers(batch[name]) >= 0).all() and (numbers(batch[name]) < 101).all()
    for name in ("positive_keypoints", "positive_target_keypoints"):
        assert (numbers(batch[name]) >= 5000).all() and (numbers(batch[name]) < 5067).all()
    assert None not in speeds_of(numbers(batch["positive_keypoints"]), 67)
    assert batch["positive_mask"].all() and batch["positive_target_mask"].all()
    with pytest.raises(ValueError, match="num_views=2"):
        collate([item()])


def test_every_pair_of_speeds_is_equally_likely():
    first, second = MCCPreTrainingCollator().draw_speeds(120_000, np.random.default_rng(0))
    pairs, counts = np.unique(np.stack([first, second], axis=1), axis=0, return_counts=True)
    assert len(pairs) == 12 and (pairs[:, 0] != pairs[:, 1]).all()
    assert np.abs(counts / 10_000 - 1).max() < 0.05
    first, second = MCCPreTrainingCollator(changes_speed=False).draw_speeds(1000, np.random.default_rng(0))
    assert (first == second).all()


def test_shuffled_clips_hold_the_frames_of_a_clip_at_the_speed_of_the_basic_one_in_another_order():
    length = 509  # even the fastest clip shows no frame twice
    batch = MCCPreTrainingCollator()([item(i, frames=length) for i in range(100)])
    speeds = speeds_of(numbers(batch["keypoints"]), length)
    for row, speed in zip(numbers(batch["negative_keypoints"]), speeds, strict=True):
        ordered = {tuple((start + speed * np.arange(32)) % length) for start in row}
        assert tuple(sorted(row)) in {tuple(sorted(clip)) for clip in ordered}
        assert tuple(row) not in ordered


def test_orders_are_uniform_and_never_the_right_one():
    collator = MCCPreTrainingCollator(clip_frames=3)
    orders, counts = np.unique(collator.shuffle(60_000, np.random.default_rng(0)), axis=0, return_counts=True)
    assert len(orders) == 5 and [0, 1, 2] not in orders.tolist()
    others = {tuple(order): count for order, count in zip(orders.tolist(), counts, strict=True)}
    # What would have been the right order becomes the one shifted by one.
    assert others.pop((2, 0, 1)) == pytest.approx(20_000, rel=0.05)
    assert all(count == pytest.approx(10_000, rel=0.05) for count in others.values())


def test_jitter_moves_every_joint_of_whoever_is_there_by_normal_noise():
    collator = MCCPreTrainingCollator(negatives="jittered", jitter=0.05, num_coordinates=2)
    items = [item(i, persons=2, absent=[(1, 20, 60)]) for i in range(40)]
    batch = collator(items)
    clip, mask = batch["negative_keypoints"].double(), batch["negative_mask"]
    noise = clip[..., :2] - clip[..., 2:]  # the third channel is left alone
    assert torch.equal(clip[..., 2], clip[..., 2].round()) and not clip[~mask].any()
    assert noise[mask].mean().abs() < 1e-3 and noise[mask].std().item() == pytest.approx(0.05, rel=0.02)
    assert noise[mask].abs().amin() < 1e-3 and (noise[mask] != 0).float().mean() > 0.99
    # frames stand in their order, at the speed of the basic clip
    assert speeds_of(numbers(batch["negative_keypoints"][..., 2:]), 100) == speeds_of(numbers(batch["keypoints"]), 100)


def test_rotated_clips_are_seen_in_another_coordinate_frame():
    rng = np.random.default_rng(0)
    items = [item(i, persons=2, absent=[(1, 20, 60)]) for i in range(30)]
    for each in items:
        each["keypoints"] = np.where(
            each["frame_mask"][..., None, None], rng.normal(size=each["keypoints"].shape), 0
        ).astype(np.float32)
    turned = MCCPreTrainingCollator(negatives="rotated")(items)
    still = MCCPreTrainingCollator(negatives="rotated", rotation_range=0.0)(items)
    angles = []
    for row in range(30):
        mask = still["negative_mask"][row]
        before, after = (batch["negative_keypoints"][row][mask].reshape(-1, 3).double() for batch in (still, turned))
        matrix = torch.linalg.lstsq(before, after).solution
        torch.testing.assert_close(
            before @ matrix, after, atol=1e-4, rtol=1e-4
        )  # one matrix for all persons and frames
        torch.testing.assert_close(matrix.T @ matrix, torch.eye(3).double(), atol=1e-4, rtol=0)
        assert torch.linalg.det(matrix).item() == pytest.approx(1, abs=1e-4)
        angles.append(torch.arccos(((matrix.trace() - 1) / 2).clamp(-1, 1)).item())
    assert max(angles) > 2 and np.std(angles) > 0.3
    flat = [item(i, channels=3) for i in range(10)]  # x, y and a confidence
    batch = MCCPreTrainingCollator(negatives="rotated", num_coordinates=2)(flat)["negative_keypoints"]
    torch.testing.assert_close(batch[..., :2].norm(dim=-1), 2**0.5 * batch[..., 2])


def test_targets_fill_the_gaps_of_a_clip():
    """Twice as many frames in the same stretch of time: at speed 2 every frame; at speed 1 the clip, two times."""
    length = 101
    for factor in (1, 2, 4):
        batch = MCCPreTrainingCollator(interpolation_factor=factor)([item(i, frames=length) for i in range(60)])
        for kind in ("", "positive_"):
            clips = numbers(batch[f"{kind}keypoints"])
            targets = numbers(batch[f"{kind}target_keypoints"])
            assert targets.shape == (60, 32 * factor)
            for clip, target, speed in zip(clips, targets, speeds_of(clips, length), strict=True):
                if speed % factor:
                    assert target.tolist() == clip.tolist() * factor
                else:
                    assert target[::factor].tolist() == clip.tolist()
                    assert ((np.diff(target) % length) == speed // factor).all()
                if (speed, factor) == (2, 2):
                    assert target.tolist() == [(clip[0] + step) % length for step in range(64)]


def test_masks_follow_the_frames_and_clips_show_only_frames_with_somebody():
    """Frames 40 to 49 show nobody; the second person comes in frame 60."""
    absent = [(0, 40, 50), (1, 0, 60)]
    batch = MCCPreTrainingCollator()([item(i, persons=2, absent=absent) for i in range(50)])
    for kind in ("", "positive_", "negative_", "target_", "positive_target_"):
        clip, mask = batch[f"{kind}keypoints"], batch["frame_mask" if not kind else f"{kind}mask"]
        assert torch.equal(mask, (clip != 0).flatten(3).any(dim=3))
        assert mask[:, 0].all() and 0.3 < mask[:, 1].float().mean() < 0.6
        shown = numbers(clip)
        assert not ((shown >= 40) & (shown < 50)).any()
        assert torch.equal(mask[:, 1], torch.from_numpy(shown >= 60))
    # the next frame after 39 is 50
    slow = MCCPreTrainingCollator(speeds=[1], changes_speed=False)([item(i, absent=[(0, 40, 50)]) for i in range(50)])
    assert any(39 in row and row[(row == 39).argmax() + 1] == 50 for row in numbers(slow["keypoints"])[:, :-1])


def test_ragged_sequences_wrap_at_their_own_end():
    lengths = [23, 47, 100]
    batch = MCCPreTrainingCollator()([item(i, frames=length) for i, length in enumerate(lengths)])
    for row, length in enumerate(lengths):
        assert batch["keypoints"][row].amax() <= length
    assert batch["sequences"].tolist() == [0, 1, 2]


def test_a_batch_depends_on_seed_and_keys_only():
    collator = MCCPreTrainingCollator(seed=3)
    items = [item(i, epoch=2) for i in range(6)]
    first, again = collator(items), MCCPreTrainingCollator(seed=3)(items)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for others in (MCCPreTrainingCollator(seed=4)(items), collator([item(i, epoch=3) for i in range(6)])):
        assert not torch.equal(first["keypoints"], others["keypoints"])


def test_workers_change_nothing():
    items = [item(i) for i in range(8)]
    batches = [
        list(DataLoader(items, batch_size=4, collate_fn=MCCPreTrainingCollator(), num_workers=workers))
        for workers in (0, 2)
    ]
    for one, other in zip(*batches, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_follows_the_configuration():
    config = MCCConfig.from_preset("tiny", speeds=[1, 3], clip_frames=16, negatives="jittered", jitter=0.5)
    collator = MCCPreTrainingCollator.from_config(config, seed=9)
    assert collator.speeds.tolist() == [1, 3] and collator.min_frames == 4 and collator.seed == 9
    assert collator([item()])["target_keypoints"].shape[2] == 32


def test_short_sequences_are_named():
    with pytest.raises(ValueError, match=r"SampleKey\(index=7.* has 8 frames with somebody.*at least 9.*stretch"):
        MCCPreTrainingCollator()([item(1), item(7, frames=8)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speeds": []}, "speeds must be different whole numbers of at least 1"),
        ({"speeds": [2, 2]}, "speeds must be different"),
        ({"speeds": [2]}, "at least two speeds"),
        ({"clip_frames": 1}, "clip_frames must be at least 2"),
        ({"negatives": "broken"}, "negatives must be one of shuffled, jittered, rotated; got 'broken'"),
        ({"interpolation_factor": 0}, "interpolation_factor must be at least 1"),
        ({"num_coordinates": 4}, "num_coordinates must be 2 or 3"),
    ],
)
def test_wrong_arguments_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        MCCPreTrainingCollator(**fields)
