"""Augmentation: ranges and shares over many draws, exact effects, people who are absent, determinism, messages."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers import SkeletonAugmentation, SkeletonLayout, get_layout


SPATIAL = ("scale", "noise", "shear", "rotate", "rotate_3d", "flip", "jitter", "corrupt", "drop_joints", "move")
TEMPORAL = ("interpolate", "crop", "crop_resize", "speed", "shuffle")
NTU = get_layout("ntu25")


def sequence(seed: int = 0, frames: int = 30, gaps: float = 0.2, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.random((3, frames)) >= gaps
    mask[0] = True
    mask[2] = False  # an empty slot
    keypoints = rng.normal(size=(3, frames, 25, channels)).astype(np.float32) * mask[..., None, None]
    return keypoints, mask


def only(operator: str, **options) -> SkeletonAugmentation:
    kinds = {"spatial": (), "temporal": ()}
    kinds["spatial" if operator in SPATIAL else "temporal"] = (operator,)
    defaults = {"vertical_axis": "y", "flip_axis": "x", "layout": "ntu25", "crop_resize_min_frames": 8}
    return SkeletonAugmentation(probability=1.0, **kinds, **{**defaults, **options})


def draws(operator: str, count: int, frames: int = 30, **options):
    """Input, mask and `count` results."""
    keypoints, mask = sequence(frames=frames, gaps=0.0)
    augmentation = only(operator, **options)
    rng = np.random.default_rng(7)
    return keypoints, mask, [augmentation(keypoints, mask, rng) for _ in range(count)]


def fitted_matrix(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The matrix R of after = before @ R.T."""
    return np.linalg.lstsq(before.reshape(-1, 3), after.reshape(-1, 3), rcond=None)[0].T


# -- ranges -----------------------------------------------------------------------------------------------------------
def check_uniform(values: np.ndarray, low: float, high: float) -> None:
    """All within the range, filling it, with the mean of a uniform distribution."""
    values, width = np.asarray(values), high - low
    assert values.min() >= low - 1e-3 * width and values.max() <= high + 1e-3 * width
    assert values.min() < low + 0.05 * width and values.max() > high - 0.05 * width
    standard_error = width / np.sqrt(12 * values.size)
    assert abs(values.mean() - (low + high) / 2) < 4 * standard_error


def test_scale_is_one_factor():
    keypoints, mask, results = draws("scale", 400)
    factors = [np.median(result[mask] / keypoints[mask]) for result, _ in results]
    for factor, (result, _) in zip(factors, results):
        np.testing.assert_allclose(result, keypoints * factor, rtol=1e-5)
    check_uniform(factors, 0.8, 1.2)


def test_noise_moves_five_joints_alike_in_all_frames_and_persons():
    keypoints, mask, results = draws("noise", 400)
    offsets, chosen = [], np.zeros(25)
    for result, _ in results:
        change = (result - keypoints)[:2]  # the third person is absent
        moved = (np.abs(change) > 1e-7).any(axis=(0, 1, 3))
        assert moved.sum() == 5
        chosen += moved
        np.testing.assert_allclose(change, np.broadcast_to(change[:1, :1], change.shape), atol=1e-5)
        offsets.append(change[0, 0, moved])
    check_uniform(np.concatenate(offsets).ravel(), -0.2, 0.2)
    # every joint is as likely as any other: 400 * 5 / 25 = 80 times, standard deviation 8
    assert np.abs(chosen - 80).max() < 4.5 * 8


def test_noise_takes_all_joints_of_a_small_skeleton():
    keypoints, mask = np.ones((1, 4, 3, 3), dtype=np.float32), np.ones((1, 4), dtype=bool)
    result, _ = only("noise", layout=None, noise_joints=9)(keypoints, mask, np.random.default_rng(0))
    assert (result != 1).any(axis=(0, 1, 3)).all()


def test_shear_has_a_unit_diagonal():
    keypoints, _, results = draws("shear", 300)
    matrices = np.array([fitted_matrix(keypoints, result) for result, _ in results])
    np.testing.assert_allclose(matrices[:, range(3), range(3)], 1, atol=1e-5)
    off_diagonal = matrices[:, ~np.eye(3, dtype=bool)]
    check_uniform(off_diagonal.ravel(), -0.5, 0.5)
    # six independent values
    assert np.abs(np.corrcoef(off_diagonal.T) - np.eye(6)).max() < 0.25


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotate_turns_about_the_vertical(axis):
    keypoints, _, results = draws("rotate", 300, vertical_axis=axis, rotate_range=30.0)
    index = "xyz".index(axis)
    angles = []
    for result, _ in results:
        np.testing.assert_allclose(result[..., index], keypoints[..., index], atol=1e-5)
        matrix = fitted_matrix(keypoints, result)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
        after, before = (index + 2) % 3, (index + 1) % 3
        angles.append(np.rad2deg(np.arctan2(matrix[after, before], matrix[before, before])))
    check_uniform(angles, -30, 30)


def test_rotate_3d_turns_about_three_axes():
    keypoints, _, results = draws("rotate_3d", 400)
    matrices = np.array([fitted_matrix(keypoints, result) for result, _ in results])
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (400, 3, 3)), atol=1e-5
    )
    # entries of Rz Ry Rx that give back the three angles
    about_y = -np.arcsin(-matrices[:, 2, 0])
    about_x = np.arctan2(-matrices[:, 2, 1], matrices[:, 2, 2])
    about_z = np.arctan2(-matrices[:, 1, 0], matrices[:, 0, 0])
    for angles in (about_x, about_y, about_z):
        check_uniform(angles, -0.3, 0.3)


def test_interpolate_is_one_share_of_the_step_to_the_next_frame():
    keypoints, mask, results = draws("interpolate", 400)
    steps = keypoints[:2, 1:] - keypoints[:2, :-1]
    shares = []
    for result, new_mask in results:
        np.testing.assert_array_equal(new_mask, mask)
        np.testing.assert_array_equal(result[:, -1], keypoints[:, -1])
        share = ((result - keypoints)[:2, :-1] * steps).sum() / (steps * steps).sum()
        np.testing.assert_allclose(result[:2, :-1], keypoints[:2, :-1] + share * steps, atol=1e-5)
        shares.append(share)
    check_uniform(shares, 0, 1)


def test_interpolate_does_not_reach_across_gaps():
    keypoints, mask = np.ones((1, 4, 25, 3), dtype=np.float32), np.array([[True, True, False, True]])
    keypoints[0, 1], keypoints[0, 2] = 3, 0
    result, new_mask = only("interpolate", interpolate_range=(0.5, 0.5))(keypoints, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(result[0, :, 0, 0], [2, 3, 0, 1])
    np.testing.assert_array_equal(new_mask, mask)


def test_crop_removes_up_to_a_fifth():
    keypoints, _, results = draws("crop", 2000, frames=100)
    lengths = np.array([mask.shape[1] for _, mask in results])
    heads = []
    for (result, _), length in zip(results, lengths):
        head = int(np.flatnonzero(keypoints[0, :, 0, 0] == result[0, 0, 0, 0])[0])
        np.testing.assert_array_equal(result, keypoints[:, head : head + length])
        heads.append(head)
    check_uniform(100 - lengths, 0, 20)
    removed = 100 - lengths[lengths < 90]
    # the head takes each share of what is removed equally often
    assert abs((np.array(heads)[lengths < 90] / removed).mean() - 0.5) < 0.05
    # the longest that 0.2 allows keeps three windows of 7 out of 19 frames
    assert min(mask.shape[1] for _, mask in draws("crop", 200, frames=19)[2]) == 15


def test_crop_resize():
    keypoints, _, results = draws(
        "crop_resize", 300, frames=100, crop_resize_range=(0.1, 1), crop_resize_min_frames=64
    )
    assert all(mask.shape == (3, 100) and mask[:2].all() for _, mask in results)
    seconds = np.broadcast_to(np.arange(1, 101, dtype=np.float32)[None, :, None, None], (1, 100, 25, 3))
    augmentation, rng = only("crop_resize", crop_resize_frames=50), np.random.default_rng(0)
    kept = []
    for _ in range(400):
        result, mask = augmentation(seconds, np.ones((1, 100), dtype=bool), rng)
        assert mask.shape == (1, 50) and mask.all()
        kept.append((result[0, 30, 0, 0] - result[0, 20, 0, 0]) / 10 * 50)  # speed of the result = frames kept / 50
    check_uniform(kept, 50, 100)
    short = only("crop_resize", crop_resize_min_frames=64)(keypoints[:, :40], np.ones((3, 40), dtype=bool), rng)[0]
    np.testing.assert_array_equal(short, keypoints[:, :40])  # nothing to choose below the minimum


def test_speed():
    _, _, results = draws("speed", 2000, frames=120, speed_range=(0.5, 2.0))
    check_uniform([120 / mask.shape[1] for _, mask in results], 0.5, 2.0)


def test_flip_is_an_involution_and_exchanges_the_sides():
    keypoints, mask = sequence()
    augmentation, rng = only("flip"), np.random.default_rng(0)
    flipped, new_mask = augmentation(keypoints, mask, rng)
    np.testing.assert_array_equal(new_mask, mask)
    left, right = NTU.index("left_hand"), NTU.index("right_hand")
    np.testing.assert_array_equal(flipped[:, :, left, 0], -keypoints[:, :, right, 0])
    np.testing.assert_array_equal(flipped[:, :, left, 1:], keypoints[:, :, right, 1:])
    np.testing.assert_array_equal(augmentation(flipped, new_mask, rng)[0], keypoints)


def test_flip_of_image_fractions_with_confidence():
    layout = get_layout("coco17")
    keypoints = np.random.default_rng(0).random((1, 5, 17, 3)).astype(np.float32)
    keypoints[0, 2, 9, :] = 0  # a joint that was not found
    augmentation = only("flip", layout="coco17", flip_origin=0.5, confidence_channel=True)
    flipped, _ = augmentation(keypoints, np.ones((1, 5), dtype=bool), np.random.default_rng(0))
    mirror = layout.mirror_permutation
    np.testing.assert_array_equal(flipped[..., 1:], keypoints[..., mirror, 1:])
    found = keypoints[..., mirror, :2].any(axis=-1)
    np.testing.assert_allclose(flipped[found][:, 0], 1 - keypoints[:, :, mirror][found][:, 0], atol=1e-6)
    assert not flipped[0, 2, layout.index("right_wrist")].any()


def test_the_default_is_the_list_of_hi_trs():
    """Probability 0.5; one of three spatial and one of two temporal operators, each equally likely."""
    keypoints, mask = sequence(frames=100, gaps=0.0)
    augmentation, rng = SkeletonAugmentation(), np.random.default_rng(3)
    names: list[str] = []

    def record(name, operator):
        def recorded(*arguments):
            names.append(name)
            return operator(*arguments)

        return recorded

    for operators in (augmentation._spatial, augmentation._temporal):
        for name, operator in operators.items():
            operators[name] = record(name, operator)
    unchanged = sum(augmentation(keypoints, mask, rng)[0] is keypoints for _ in range(3000))
    assert abs(unchanged - 1500) < 4 * np.sqrt(750)
    assert len(names) == 2 * (3000 - unchanged)
    counts = {name: names.count(name) for name in set(names)}
    assert set(counts) == {"scale", "noise", "shear", "interpolate", "crop"}
    for name, count in counts.items():
        share = 1 / 3 if name in ("scale", "noise", "shear") else 1 / 2
        expected = (3000 - unchanged) * share
        assert abs(count - expected) < 4 * np.sqrt(expected * (1 - share))


# -- absence, determinism ---------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.sampled_from(SPATIAL + TEMPORAL), st.integers(1, 40))
def test_absent_frames_stay_zero_and_arguments_are_not_changed(seed, operator, frames):
    keypoints, mask = sequence(seed, frames=frames, gaps=0.5)
    before, mask_before = keypoints.copy(), mask.copy()
    result, new_mask = only(operator)(keypoints, mask, np.random.default_rng(seed))
    np.testing.assert_array_equal(keypoints, before)
    np.testing.assert_array_equal(mask, mask_before)
    assert result.dtype == np.float32 and new_mask.dtype == bool
    assert result.shape == (3, new_mask.shape[1], 25, 3) and new_mask.any()
    assert not result[~new_mask].any()
    assert not new_mask[2].any() and not result[2].any()
    if operator in SPATIAL or operator == "interpolate":
        np.testing.assert_array_equal(new_mask, mask)


def test_a_crop_that_would_leave_nobody_is_left_out():
    keypoints, mask = np.zeros((1, 10, 25, 3), dtype=np.float32), np.zeros((1, 10), dtype=bool)
    keypoints[0, 9] = mask[0, 9] = True
    augmentation, rng = only("crop", crop_ratio=0.9), np.random.default_rng(0)
    lengths = set()
    for _ in range(200):
        _, new_mask = augmentation(keypoints, mask, rng)
        assert new_mask.any()
        lengths.add(new_mask.shape[1])
    assert 10 in lengths and len(lengths) > 3


def test_the_generator_decides_everything():
    keypoints, mask = sequence()
    augmentation = SkeletonAugmentation(0.9, SPATIAL, TEMPORAL, vertical_axis="y", flip_axis="x", layout="ntu25")
    other = pickle.loads(pickle.dumps(augmentation))
    np.random.seed(0)
    first = [augmentation(keypoints, mask, np.random.default_rng([1, index])) for index in range(50)]
    np.random.seed(1)
    second = [other(keypoints, mask, np.random.default_rng([1, index])) for index in range(50)]
    for (a, a_mask), (b, b_mask) in zip(first, second):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a_mask, b_mask)
    assert len({result.tobytes() for result, _ in first}) > 30


def test_a_confidence_is_left_alone():
    keypoints, mask = sequence(channels=4)
    for operator in ("scale", "noise", "shear", "rotate", "rotate_3d"):
        result, _ = only(operator, confidence_channel=True)(keypoints, mask, np.random.default_rng(0))
        np.testing.assert_array_equal(result[..., 3], keypoints[..., 3], err_msg=operator)
        assert (result[..., :3] != keypoints[..., :3]).any()


def test_probability_zero_and_empty_lists_change_nothing():
    keypoints, mask = sequence()
    for augmentation in (SkeletonAugmentation(0.0), SkeletonAugmentation(1.0, spatial=(), temporal=())):
        result, new_mask = augmentation(keypoints, mask, np.random.default_rng(0))
        assert result is keypoints and new_mask is mask


# -- settings ---------------------------------------------------------------------------------------------------------
def test_from_dict():
    augmentation = SkeletonAugmentation.from_dict(
        {"probability": 1, "spatial": ["flip"], "temporal": [], "flip_axis": "x", "scale_range": [0.9, 1.1]},
        layout="kinect20",
    )
    assert augmentation.layout == get_layout("kinect20") and augmentation.spatial == ("flip",)
    assert augmentation.scale_range == (0.9, 1.1)
    own = SkeletonAugmentation.from_dict({"layout": "msr20"}, layout=SkeletonLayout("point", ("a",), (0,)))
    assert own.layout == get_layout("msr20")
    with pytest.raises(
        ValueError, match=r"Unknown augmentation settings: \['noise'\]; known are probability, spatial, temporal"
    ):
        SkeletonAugmentation.from_dict({"noise": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "probability must be a number from 0 to 1; got 1.5"),
        ({"probability": "half"}, "probability must be a number"),
        ({"spatial": ("sheer",)}, "spatial holds the unknown operator 'sheer'; known are scale, noise, shear, rotate"),
        ({"temporal": "scale"}, "temporal holds the unknown operator 'scale'; known are interpolate, crop"),
        ({"scale_range": (1.2, 0.8)}, r"scale_range must be two numbers \(low, high\) .* got \(1.2, 0.8\)"),
        ({"scale_range": 0.2}, "scale_range must be two numbers"),
        ({"interpolate_range": (0, 2)}, "interpolate_range must be two numbers"),
        ({"noise_joints": 0}, "noise_joints must be a whole number of at least 1; got 0"),
        ({"crop_ratio": 1}, "crop_ratio must be a number from 0 to 0.99"),
        ({"spatial": ("rotate",)}, "The operator 'rotate' needs the argument vertical_axis"),
        ({"spatial": ("flip",), "layout": "ntu25"}, "The operator 'flip' needs the argument flip_axis"),
        ({"spatial": ("flip",), "flip_axis": "x"}, "The operator 'flip' needs the argument layout"),
        ({"vertical_axis": "up"}, "vertical_axis: An axis is 'x', 'y' or 'z'; got 'up'"),
    ],
)
def test_unusable_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SkeletonAugmentation(**options)


@pytest.mark.parametrize(
    ("operator", "options", "shape", "message"),
    [
        ("rotate", {}, (1, 2, 25, 2), "'rotate' needs 3 coordinates; the keypoints have 2"),
        ("rotate_3d", {}, (1, 2, 25, 2), "'rotate_3d' needs 3 coordinates"),
        ("flip", {"flip_axis": "z"}, (1, 2, 25, 2), "flip_axis='z', but the keypoints have 2 coordinates only"),
        ("flip", {}, (1, 2, 20, 3), "have 20 joints, but the augmentation's layout 'ntu25' has 25"),
    ],
)
def test_unusable_keypoints_are_named(operator, options, shape, message):
    with pytest.raises(ValueError, match=message):
        only(operator, **options)(
            np.ones(shape, dtype=np.float32), np.ones(shape[:2], dtype=bool), np.random.default_rng(0)
        )
