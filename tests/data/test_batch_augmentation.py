"""Batch operators against those for one sequence with the same numbers drawn, and what BatchAugmentation promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers import SkeletonAugmentation
from skeleton_transformers.data import augmentation as single
from skeleton_transformers.data import batch_augmentation as batched
from skeleton_transformers.data import geometry
from skeleton_transformers.data.batch_augmentation import BatchAugmentation
from skeleton_transformers.skeletons import get_layout


LENGTHS = (30, 17, 1, 24)
SPATIAL = ("scale", "noise", "shear", "rotate", "rotate_3d", "flip", "jitter", "corrupt", "drop_joints", "move")
TEMPORAL = ("interpolate", "crop", "crop_resize", "speed", "shuffle")


def sequences(seed=0, lengths=LENGTHS, gaps=0.2, channels=3):
    """Sequences of two people with gaps, whose last frame is taken and of which some joints were not found."""
    rng = np.random.default_rng(seed)
    result = []
    for frames in lengths:
        mask = rng.random((2, frames)) >= gaps
        mask[0, -1] = True
        keypoints = rng.normal(size=(2, frames, 25, channels)).astype(np.float32) * mask[..., None, None]
        keypoints[rng.random(keypoints.shape[:3]) < 0.05] = 0
        result.append((keypoints, mask))
    return result


def pad(items, frames=None):
    """A batch as tensors: keypoints, frame_mask."""
    width = frames or max(mask.shape[1] for _, mask in items)
    keypoints = np.zeros((len(items), 2, width, *items[0][0].shape[2:]), dtype=np.float32)
    mask = np.zeros(keypoints.shape[:3], dtype=bool)
    for row, (values, there) in enumerate(items):
        keypoints[row, :, : there.shape[1]], mask[row, :, : there.shape[1]] = values, there
    return torch.from_numpy(keypoints), torch.from_numpy(mask)


def check(result, expected, lengths=LENGTHS):
    """Row by row up to its length."""
    for row, (values, frames) in enumerate(zip(expected, lengths)):
        np.testing.assert_allclose(result[row, :, :frames].numpy(), values, atol=2e-5)


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays]


# -- the same numbers, the same result --------------------------------------------------------------------------------
def test_scale_and_shifted_joints():
    items, rng = sequences(), np.random.default_rng(1)
    points, _ = pad(items)
    factors = rng.uniform(0.5, 2, 4)
    check(batched.scale(points, *tensors(factors)), [single.scale(k, f) for (k, _), f in zip(items, factors)])
    joints = np.stack([rng.choice(25, 5, replace=False) for _ in items])
    offsets = rng.uniform(-1, 1, (4, 5, 3))
    result = batched.shift_joints(points, torch.from_numpy(joints), *tensors(offsets))
    check(result, [single.shift_joints(k, j, o) for (k, _), j, o in zip(items, joints, offsets)])


def test_matrices_and_corrupted_joints():
    items, rng = sequences(), np.random.default_rng(2)
    points, _ = pad(items)
    matrices = rng.uniform(-1, 1, (4, 3, 3))
    check(batched.rotate(points, *tensors(matrices)), [geometry.rotate(k, m) for (k, _), m in zip(items, matrices)])
    chosen = rng.random((4, 25)) < 0.5
    result = batched.transform_joints(points, torch.from_numpy(chosen), *tensors(matrices))
    expected = [single.transform_joints(k, np.flatnonzero(c), m) for (k, _), c, m in zip(items, chosen, matrices)]
    check(result, expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-7, 7), min_size=3, max_size=3), st.integers(0, 2))
def test_rotations(angles, axis):
    (tensor,) = tensors([angles])
    np.testing.assert_allclose(
        batched.rotations_from_angles(tensor)[0], geometry.rotation_from_angles(angles), atol=1e-5
    )
    one = geometry.rotation_about_axis(np.eye(3)[axis], angles[0])
    np.testing.assert_allclose(batched.rotations_about_axis(axis, tensor[:, 0])[0], one, atol=1e-5)


@pytest.mark.parametrize("origin", [0.0, 0.5])
def test_mirror(origin):
    items = sequences()
    permutation = get_layout("ntu25").mirror_permutation
    result = batched.mirror(pad(items)[0], torch.from_numpy(permutation), 0, origin)
    check(result, [single.mirror(k, permutation, 0, origin) for k, _ in items])


def test_jitter():
    items = sequences()
    points, _ = pad(items)
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    result = batched.jitter(points, noise)
    check(result, [single.jitter(k, noise[i, :, : k.shape[1]].numpy()) for i, (k, _) in enumerate(items)])
    assert not result[~points.any(dim=-1)].any()


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("channels", [2, 3])
def test_move(segments, channels):
    items, rng = sequences(channels=channels), np.random.default_rng(3)
    points, _ = pad(items)
    angles, factors = rng.uniform(-20, 20, (4, segments + 1)), rng.uniform(0.5, 2, (4, segments + 1))
    shifts = rng.uniform(-1, 1, (4, segments + 1, 2))
    result = batched.move(points, torch.tensor(LENGTHS), *tensors(angles, factors, shifts), center=0.5)
    expected = [single.move(k, *row, center=0.5) for (k, _), *row in zip(items, angles, factors, shifts)]
    check(result, expected)


def test_interpolate():
    items, shares = sequences(), np.array([0.0, 0.3, 0.7, 1.0])
    result = batched.interpolate(*pad(items), *tensors(shares))
    check(result, [single.interpolate(k, m, share) for (k, m), share in zip(items, shares)])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_are_resized_as_in_geometry(data):
    seed = data.draw(st.integers(0, 1000))
    items = sequences(seed, gaps=0.4)
    starts, lengths, targets = [], [], []
    for frames in LENGTHS:
        lengths.append(data.draw(st.integers(1, frames)))
        starts.append(data.draw(st.integers(0, frames - lengths[-1])))
        targets.append(data.draw(st.integers(1, 50)))
    result, mask = batched.resize_part(*pad(items), *(torch.tensor(x) for x in (starts, lengths, targets)))
    assert result.shape[2] == max(targets)
    for row, (keypoints, there) in enumerate(items):
        part = slice(starts[row], starts[row] + lengths[row])
        expected, expected_mask = geometry.resize_frames(keypoints[:, part], there[:, part], targets[row])
        np.testing.assert_array_equal(mask[row, :, : targets[row]], expected_mask)
        np.testing.assert_allclose(result[row, :, : targets[row]], expected, atol=1e-5)
        assert not mask[row, :, targets[row] :].any() and not result[row, :, targets[row] :].any()


def test_clips_that_loop():
    items = sequences()
    starts, speeds = [3, 16, 0, 5], [1, 2, 8, 4]
    result, mask = batched.loop_clips(
        *pad(items), torch.tensor(LENGTHS), torch.tensor(starts), torch.tensor(speeds), 32
    )
    for row, (keypoints, there) in enumerate(items):
        expected = single.loop_clip(keypoints, there, starts[row], speeds[row], 32)
        np.testing.assert_array_equal(result[row], expected[0])
        np.testing.assert_array_equal(mask[row], expected[1])


# -- drawing ----------------------------------------------------------------------------------------------------------
def only(operator, **options):
    kinds = {"spatial": (), "temporal": ()}
    kinds["spatial" if operator in SPATIAL else "temporal"] = (operator,)
    defaults = {"vertical_axis": "y", "flip_axis": "x", "layout": "ntu25", "crop_resize_min_frames": 8}
    return SkeletonAugmentation(probability=1.0, **kinds, **{**defaults, **options})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("operator", SPATIAL + TEMPORAL)
def test_what_every_operator_keeps(operator):
    keypoints, mask = pad(sequences(seed=4))
    before = keypoints.clone(), mask.clone()
    augment = BatchAugmentation(only(operator))
    result, new_mask = augment(keypoints, mask, generator(1))
    assert torch.equal(keypoints, before[0]) and torch.equal(mask, before[1])
    assert result.shape[:3] == new_mask.shape and result.dtype == torch.float32 and new_mask.dtype == torch.bool
    assert not result[~new_mask].any() and torch.isfinite(result).all() and new_mask.any(dim=(1, 2)).all()
    if operator in SPATIAL:
        assert torch.equal(new_mask, mask)
    again = augment(keypoints, mask, generator(1))
    assert torch.equal(result, again[0]) and torch.equal(new_mask, again[1])
    assert (
        not all(torch.equal(a, b) for a, b in zip(augment(keypoints, mask, generator(2)), again)) or operator == "flip"
    )


@pytest.mark.parametrize("operator", sorted({*SPATIAL, *TEMPORAL} - {"jitter", "shuffle"}))
def test_padding_changes_nothing(operator):
    items = sequences(seed=5)
    augment = BatchAugmentation(only(operator, crop_resize_frames=20))
    short = augment(*pad(items), generator(3))
    long = augment(*pad(items, frames=45), generator(3))
    frames = min(short[0].shape[2], long[0].shape[2])
    torch.testing.assert_close(short[0][:, :, :frames], long[0][:, :, :frames])
    for values, mask in (short, long):
        assert not mask[:, :, frames:].any() and not values[:, :, frames:].any()


@pytest.mark.parametrize("operator", SPATIAL + TEMPORAL)
def test_each_sample_is_changed_as_one_sequence_can_be(operator):
    """Same distribution as the numpy operators: mean, spread and length over many draws of one sequence."""
    ((keypoints, mask),) = sequences(seed=6, lengths=(20,), gaps=0.0)
    augmentation = only(operator)
    rng = np.random.default_rng(0)
    singles = [augmentation(keypoints, mask, rng) for _ in range(400)]
    result, new_mask = BatchAugmentation(augmentation)(*pad([(keypoints, mask)] * 1500), generator(0))
    lengths = batched.count_frames(new_mask).float()
    expected = np.array([m.shape[1] for _, m in singles], dtype=np.float64)
    assert lengths.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / 18 + 1e-6)
    for statistic in (lambda x: x[0, 0, 3], lambda x: np.abs(x[1, 1, :, 0])):
        ours = np.array([statistic(x) for x in result.numpy()])
        theirs = np.array([statistic(x) for x, _ in singles])
        error = np.sqrt(theirs.var(axis=0) / 400 + ours.var(axis=0) / 1500) + 1e-5
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * error).all()
        assert ours.std() == pytest.approx(theirs.std(), rel=0.15, abs=1e-4)


def test_some_samples_are_changed_and_operators_are_drawn_evenly():
    keypoints, mask = pad(sequences(lengths=(20,), gaps=0.0) * 3000)
    augmentation = SkeletonAugmentation(
        probability=0.6, spatial=("scale", "flip"), temporal=(), flip_axis="x", layout="ntu25"
    )
    result, _ = BatchAugmentation(augmentation)(keypoints, mask, generator(5))
    same = (result == keypoints).flatten(1).all(dim=1)
    joint = int(keypoints[0, 0, 0, :, 0].abs().argmax())  # one that was found
    factors = result[:, 0, 0, joint] / keypoints[:, 0, 0, joint]
    scaled = (factors.std(dim=1) < 1e-5) & ~same
    assert same.float().mean() == pytest.approx(0.4, abs=0.04)
    assert scaled.float().mean() == pytest.approx(0.3, abs=0.04)


def test_a_crop_that_would_leave_nobody_is_left_out():
    keypoints, mask = pad(sequences(lengths=(20,) * 200, gaps=0.0))
    mask[:, :, 1:19], mask[:, :, 0] = False, False
    keypoints = keypoints * mask[..., None, None]
    result, new_mask = BatchAugmentation(only("crop", crop_ratio=0.9))(keypoints, mask, generator(1))
    assert new_mask.any(dim=(1, 2)).all()
    lost = batched.count_frames(new_mask) == 20
    assert 0 < lost.sum() < 200 and torch.equal(result[lost][:, :, :20], keypoints[lost])


def test_shuffles_are_never_the_order_itself():
    order = batched.shuffled_orders(torch.tensor([1, 2, 3] * 200), 5, generator())
    assert (order[0::3] == torch.arange(5)).all()
    for start, frames in ((1, 2), (2, 3)):
        rows = order[start::3]
        assert not (rows == torch.arange(5)).all(dim=1).any()
        assert (rows[:, frames:] == torch.arange(frames, 5)).all() and (
            rows.sort(dim=1).values == torch.arange(5)
        ).all()


def test_confidence_is_carried_along():
    keypoints, mask = pad(sequences(channels=4, gaps=0.0))
    keypoints[..., 3] = (torch.arange(25) + 1) * mask[..., None]
    for operator, expected in {
        "scale": torch.arange(25),
        "flip": torch.from_numpy(get_layout("ntu25").mirror_permutation),
    }.items():
        result, _ = BatchAugmentation(only(operator, confidence_channel=True))(keypoints, mask, generator())
        torch.testing.assert_close(result[0, 0, 0, :, 3], expected + 1.0)
    result, _ = BatchAugmentation(only("drop_joints", confidence_channel=True, drop_probability=0.5))(
        keypoints, mask, generator()
    )
    gone = ~result[..., :3].any(dim=-1)
    assert gone.float().mean() > 0.4 and not result[gone].any()


def test_messages():
    keypoints, mask = pad(sequences(channels=2))
    with pytest.raises(ValueError, match="The operator 'rotate_3d' needs 3 coordinates; the keypoints have 2"):
        BatchAugmentation(only("rotate_3d"))(keypoints, mask, generator())
    with pytest.raises(
        ValueError, match="The keypoints have 25 joints, but the augmentation's layout 'coco17' has 17"
    ):
        BatchAugmentation(only("flip", layout="coco17"))(keypoints, mask, generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("operator", SPATIAL + TEMPORAL)
def test_the_same_on_a_gpu(operator):
    keypoints, mask = pad(sequences())
    augment = BatchAugmentation(only(operator))
    here = augment(keypoints, mask, generator(1))
    there = augment(keypoints.cuda(), mask.cuda(), generator(1))
    assert there[0].is_cuda and torch.equal(there[1].cpu(), here[1])
    torch.testing.assert_close(there[0].cpu(), here[0], atol=1e-5, rtol=1e-4)
