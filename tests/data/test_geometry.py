"""Rotations, view normalisation and resampling: exact properties, and agreement with recorded values."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skeleton_transformers.data.geometry import (
    axis_index,
    reference_centers,
    reference_person,
    resample_frames,
    resize_frames,
    rotate,
    rotation_about_axis,
    rotation_between,
    rotation_from_angles,
    sample_frames,
    subtract_centers,
    view_rotation,
)
from skeleton_transformers.skeletons import get_layout


vectors = arrays(np.float64, 3, elements=st.floats(-10, 10))
seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def golden(fixtures):
    return json.loads((fixtures / "golden.json").read_text())["data"]


def golden_input(*shape: int) -> np.ndarray:
    return np.sin(0.113 * np.arange(np.prod(shape)) + 0.3).reshape(shape)


def check_golden(value: np.ndarray, entry: dict) -> None:
    assert value.size == entry["numel"]
    np.testing.assert_allclose(value.ravel()[:8], entry["first8"], atol=2e-4)
    np.testing.assert_allclose(value.sum(), entry["sum"], rtol=1e-3, atol=2e-2)
    np.testing.assert_allclose(np.abs(value).mean(), entry["abs_mean"], rtol=1e-3)


def sequence(seed: int, persons: int = 2, frames: int = 12, gaps: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.random((persons, frames)) >= gaps
    mask[rng.integers(persons), rng.integers(frames)] = True
    keypoints = rng.normal(size=(persons, frames, 25, 3)).astype(np.float32) * mask[..., None, None]
    return keypoints, mask


# -- rotations --------------------------------------------------------------------------------------------------------
@quick
@given(vectors, st.floats(-7, 7), vectors)
def test_rotations_are_orthonormal_and_keep_lengths(axis, angle, point):
    assume(np.linalg.norm(axis) > 1e-3)
    for matrix in (rotation_about_axis(axis, angle), rotation_from_angles(axis)):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(matrix) == pytest.approx(1)
        assert np.linalg.norm(matrix @ point) == pytest.approx(np.linalg.norm(point), abs=1e-9)
    np.testing.assert_allclose(rotation_about_axis(axis, angle) @ axis, axis, atol=1e-8)


def test_rotation_about_axis_is_right_handed():
    np.testing.assert_allclose(rotation_about_axis([0, 0, 2], np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@quick
@given(vectors, vectors)
def test_rotation_between_turns_one_direction_into_the_other(source, target):
    assume(np.linalg.norm(source) > 1e-3 and np.linalg.norm(target) > 1e-3)
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    assume(np.linalg.norm(np.cross(a, b)) > 1e-5)
    matrix = rotation_between(source, target, half_turn_axis=np.eye(3)[0])
    np.testing.assert_allclose(matrix @ a, b, atol=1e-7)
    # the smallest one: its angle is the angle between the vectors
    assert np.trace(matrix) == pytest.approx(1 + 2 * (a @ b), abs=1e-7)


def test_rotation_between_special_cases():
    x, y, z = np.eye(3)
    np.testing.assert_array_equal(rotation_between(np.zeros(3), z, x), np.eye(3))
    np.testing.assert_array_equal(rotation_between(3 * z, z, x), np.eye(3))
    np.testing.assert_allclose(rotation_between(-2 * z, z, half_turn_axis=x), np.diag([1, -1, -1]), atol=1e-12)


def test_rotation_from_angles_equals_the_recorded_matrix(golden):
    np.testing.assert_allclose(
        rotation_from_angles([0.1, -0.2, 0.3]), golden["mamp_rot_matrix_0.1_-0.2_0.3"], atol=1e-5
    )


def test_rotate_leaves_a_confidence_alone():
    keypoints = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    turned = rotate(keypoints, rotation_about_axis([0, 0, 1], np.pi / 2))
    assert turned.dtype == np.float32
    np.testing.assert_allclose(turned[..., :2], np.stack([-keypoints[..., 1], keypoints[..., 0]], -1), atol=1e-6)
    np.testing.assert_array_equal(turned[..., 3], keypoints[..., 3])


def test_axis_index():
    assert [axis_index(axis) for axis in "xyz"] == [0, 1, 2]
    with pytest.raises(ValueError, match="'x', 'y' or 'z'; got 'up'"):
        axis_index("up")


# -- view and centre --------------------------------------------------------------------------------------------------
@quick
@given(seeds)
def test_view_rotation_puts_spine_and_shoulders_on_the_axes(seed):
    keypoints, mask = sequence(seed)
    layout = get_layout("ntu25")
    matrix = view_rotation(keypoints, mask, layout)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    person = reference_person(mask)
    pose = rotate(keypoints, matrix)[person, np.argmax(mask[person])]
    across = pose[layout.shoulders[1]] - pose[layout.shoulders[0]]
    assert across[0] > 0
    np.testing.assert_allclose(across[1:], 0, atol=1e-4)
    # a rotated recording comes out the same up to what the spine still allows: it keeps its lengths
    np.testing.assert_allclose(
        np.linalg.norm(rotate(keypoints, matrix), axis=-1), np.linalg.norm(keypoints, axis=-1), rtol=1e-4, atol=1e-5
    )


def test_view_rotation_of_an_upright_person_keeps_the_spine_vertical():
    layout = get_layout("ntu25")
    keypoints = np.zeros((1, 1, 25, 3), dtype=np.float32)
    keypoints[0, 0, layout.spine[1]] = [0, 0, -1]  # upside down
    keypoints[0, 0, layout.shoulders[0]] = [1, 0, 0]  # and seen from behind
    mask = np.ones((1, 1), dtype=bool)
    pose = rotate(keypoints, view_rotation(keypoints, mask, layout))[0, 0]
    np.testing.assert_allclose(pose[layout.spine[1]], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(pose[layout.shoulders[0]], [-1, 0, 0], atol=1e-6)


def test_view_rotation_needs_spine_and_shoulders():
    with pytest.raises(ValueError, match="'coco17' names no spine"):
        view_rotation(np.ones((1, 1, 17, 3)), np.ones((1, 1), dtype=bool), get_layout("coco17"))


def test_reference_centers_hold_through_gaps():
    keypoints = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1) + 1
    mask = np.array([[False, True, False, False, True]])
    np.testing.assert_array_equal(reference_centers(keypoints, mask, 0)[:, 0], [2, 2, 2, 2, 5])
    both = np.concatenate([np.zeros_like(keypoints), keypoints])
    np.testing.assert_array_equal(
        reference_centers(both, np.concatenate([mask & False, mask]), 0)[:, 0], [2, 2, 2, 2, 5]
    )


def test_subtract_centers_leaves_absent_frames_and_missing_joints():
    keypoints = np.ones((1, 2, 3, 3), dtype=np.float32)
    keypoints[0, 0, 1] = 0
    keypoints[0, 1] = 0
    moved = subtract_centers(keypoints, np.array([[True, False]]), np.full((2, 3), 4.0, dtype=np.float32))
    np.testing.assert_array_equal(moved[0, 0, :, 0], [-3, 0, -3])
    np.testing.assert_array_equal(moved[0, 1], 0)


def test_pre_normalisation_equals_the_recorded_one(golden):
    """The four steps of 2s-AGCN; the first (move, tile) and its treatment of missing people are written out here."""
    layout = get_layout("ntu25")
    keypoints = golden_input(1, 3, 300, 25, 2)[0].transpose(3, 1, 2, 0)  # C T V M -> M T V C
    keypoints[0, 40:] = keypoints[0, 10] = 0
    keypoints[1, :5] = keypoints[1, 30:] = 0
    check_golden(keypoints.transpose(3, 1, 2, 0), golden["agcn_pre_normalization_input"])

    for person in keypoints:
        present = (person != 0).any(axis=(1, 2))
        if not present[0]:
            moved = person[present]
            person[:] = 0
            person[: len(moved)] = moved
        length = np.flatnonzero((person != 0).any(axis=(1, 2)))[-1] + 1
        person[length:] = person[np.arange(length, 300) % length]
    mask = (keypoints != 0).any(axis=(2, 3))
    centers = reference_centers(keypoints, mask, layout.center)
    centers[~mask[0]] = 0  # the original does not centre a second person while the first is missing
    keypoints = subtract_centers(keypoints, mask, centers)
    result = rotate(keypoints, view_rotation(keypoints, mask, layout))

    check_golden(result.transpose(3, 1, 2, 0), golden["agcn_pre_normalization"])
    check_golden(result[0, 0].T, golden["agcn_pre_normalization_frame0_body0"])
    check_golden(result[1, 50].T, golden["agcn_pre_normalization_frame50_body1"])
    check_golden(result[0, 10].T, golden["agcn_pre_normalization_frame10_body0"])


# -- resampling -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("entry", "length"), [("hico_center_crop_n100_T64", 64), ("mamp_center_crop_n100_T120", 120)])
def test_centre_crop_and_resize_equal_the_recorded_ones(golden, entry, length):
    keypoints = golden_input(3, 300, 25, 2).transpose(3, 1, 2, 0)[:, 2:98]  # M T V C, the central 95 % of 100 frames
    resized, mask = resize_frames(keypoints, np.ones((2, 96), dtype=bool), length)
    assert mask.all()
    check_golden(resized.transpose(3, 1, 2, 0), golden[entry])


@quick
@given(seeds, st.integers(1, 40))
def test_resizing_makes_nobody_appear(seed, length):
    keypoints, mask = sequence(seed)
    resized, new_mask = resize_frames(keypoints, mask, length)
    assert resized.shape == (2, length, 25, 3) and new_mask.shape == (2, length)
    np.testing.assert_array_equal((resized != 0).any(axis=(2, 3)), new_mask)
    assert not new_mask[~mask.any(axis=1)].any()
    assert new_mask.any(axis=1)[mask.all(axis=1)].all()
    # values stay between those that are there: nobody is drawn towards the zeros of a gap
    for person in range(2):
        if new_mask[person].any():
            low, high = keypoints[person, mask[person]].min(axis=0), keypoints[person, mask[person]].max(axis=0)
            assert (resized[person, new_mask[person]] >= low - 1e-5).all()
            assert (resized[person, new_mask[person]] <= high + 1e-5).all()


@quick
@given(seeds, st.floats(1, 200))
def test_same_rate_and_same_length_are_the_identity(seed, rate):
    keypoints, mask = sequence(seed)
    for same, same_mask in (
        resample_frames(keypoints, mask, rate, rate),
        resize_frames(keypoints, mask, 12),
        sample_frames(keypoints, mask, np.arange(12)),
    ):
        np.testing.assert_array_equal(same, keypoints)
        np.testing.assert_array_equal(same_mask, mask)
        assert same is not keypoints


@pytest.mark.parametrize(("source", "target", "frames"), [(30, 15, 20), (15, 30, 80), (25, 30, 48), (120, 30, 10)])
def test_resampling_keeps_time(source, target, frames):
    """A motion that is linear in time still is at the new rate, with the speed per second unchanged."""
    seconds = np.arange(40, dtype=np.float32) / source
    keypoints = np.broadcast_to(seconds[None, :, None, None], (1, 40, 25, 3)) + np.float32(1)
    resampled, mask = resample_frames(keypoints, np.ones((1, 40), dtype=bool), source, target)
    assert mask.shape == (1, frames)
    expected = np.minimum(np.arange(frames) / target, seconds[-1]) + 1
    np.testing.assert_allclose(resampled[0, :, 0, 0], expected, atol=1e-5)


def test_a_single_frame_can_be_stretched():
    keypoints, mask = np.ones((1, 1, 2, 3), dtype=np.float32), np.ones((1, 1), dtype=bool)
    stretched, new_mask = resize_frames(keypoints, mask, 5)
    assert (stretched == 1).all() and new_mask.all() and stretched.shape == (1, 5, 2, 3)


def test_between_a_present_and_an_absent_frame_the_nearer_counts():
    keypoints = np.array([4, 0], dtype=np.float32).reshape(1, 2, 1, 1)
    values, mask = sample_frames(keypoints, np.array([[True, False]]), np.array([0, 0.4, 0.6, 1]))
    np.testing.assert_array_equal(values.ravel(), [4, 4, 0, 0])
    np.testing.assert_array_equal(mask, [[True, True, False, False]])
