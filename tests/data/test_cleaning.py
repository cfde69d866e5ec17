import dataclasses
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.data.cleaning import (
    CleaningOptions,
    clean,
    clean_sample,
    fill_gaps,
    find_spikes,
    upright_axis,
)
from skeleton_transformers.data.formats.base import SkeletonRecording
from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.motion_synthesis import reference_motion
from skeleton_transformers.data.recordings import read_skeletons
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore
from skeleton_transformers.skeletons import convert_layout, get_layout


@pytest.fixture(scope="module")
def moving():
    """A clean synthetic person in metres, y up: `(1, 80, 25, 3)`."""
    return reference_motion("throw", num_frames=80).astype(np.float32)[:1]


def make(keypoints, layout="ntu25", mask=None, **values):
    mask = np.ones(keypoints.shape[:2], dtype=bool) if mask is None else mask
    values = {"units": "metre", "frame_rate": 30.0, "source": "walk.npy", **values}
    return SkeletonRecording(np.where(mask[..., None, None], keypoints, 0), mask, get_layout(layout), **values)


def quiet(recording, **switches):
    """Cleaned, with the warnings only in the report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clean(recording, switches)


# -- gaps -------------------------------------------------------------------------------------------------------------
@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.floats(0.1, 0.9))
def test_gaps_of_a_straight_motion_are_filled_exactly_up_to_the_limit(seed, limit, share):
    rng = np.random.default_rng(seed)
    start, speed = rng.normal(size=(2, 1, 3, 2)), rng.normal(size=(2, 1, 3, 2))
    points = (start + speed * np.arange(15)[None, :, None, None]).astype(np.float32)
    known = rng.random(points.shape[:3]) < share
    filled, there = fill_gaps(np.where(known[..., None], points, 0), known, limit)
    np.testing.assert_allclose(filled[there], points[there], atol=1e-4)
    for person, joint in np.ndindex(2, 3):
        text = "".join("x" if k else "." for k in known[person, :, joint])
        inner = text.strip(".").split("x")
        expected = known[person].sum(axis=0)[joint] + sum(len(gap) for gap in inner if len(gap) <= limit)
        assert there[person, :, joint].sum() == expected


def test_frames_without_the_person_come_back_and_long_gaps_stay(moving):
    mask = np.ones(moving.shape[:2], dtype=bool)
    mask[0, 10:13], mask[0, 30:42] = False, False
    cleaned, report = quiet(make(moving, mask=mask), max_gap_seconds=0.1)
    assert report.filled_frames == 3 and report.filled == 75
    assert cleaned.frame_mask[0, 10:13].all() and not cleaned.frame_mask[0, 30:42].any()
    assert not cleaned.keypoints[0, 30:42].any() and cleaned.joint_mask is None
    np.testing.assert_allclose(cleaned.keypoints[0, 10:13], moving[0, 10:13], atol=0.1)
    assert quiet(make(moving, mask=mask), max_gap_frames=0)[1].filled == 0


def test_confidence_masks_and_filled_joints_have_none(moving):
    confidence = np.ones(moving.shape[:3], dtype=np.float32)
    confidence[0, 20:22, 4], confidence[0, 30:50, 6] = 0.1, 0.2
    cleaned, report = quiet(make(moving, confidence=confidence), min_confidence=0.3)
    assert report.low_confidence == 22 and report.filled == 2 and report.missing_after == 20
    assert not cleaned.joint_mask[0, 30:50, 6].any() and not cleaned.keypoints[0, 30:50, 6].any()
    assert cleaned.joint_mask[0, 20:22, 4].all() and (cleaned.confidence[0, 20:22, 4] == 0).all()


def test_zero_joints_are_counted_and_masked_only_when_asked(moving):
    broken = moving.copy()
    broken[0, 5, 7] = 0
    kept, report = quiet(make(broken))
    assert report.zero_joints == 1 and not kept.keypoints[0, 5, 7].any()
    repaired, _ = quiet(make(broken), zeros="missing")
    np.testing.assert_allclose(repaired.keypoints[0, 5, 7], moving[0, [4, 6], 7].mean(axis=0), atol=1e-5)


# -- spikes and bones -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [1, 2, 3])
def test_spikes_are_found_reported_and_repaired(moving, length):
    broken = moving.copy()
    broken[0, 40 : 40 + length, 11] += [0.9, 1.3, -0.6]
    unchanged, report = quiet(make(broken), bones="off")
    assert {(f.person, f.frame, f.joint) for f in report.spikes} == {
        (0, frame, "right_hand") for frame in range(40, 40 + length)
    }
    np.testing.assert_array_equal(unchanged.keypoints, broken)
    repaired, report = quiet(make(broken), bones="off", spikes="repair")
    assert report.repaired == report.filled == length and repaired.joint_mask is None
    np.testing.assert_allclose(repaired.keypoints[0, 40:43, 11], moving[0, 40:43, 11], atol=0.15)
    others = np.arange(25) != 11
    np.testing.assert_array_equal(repaired.keypoints[:, :, others], moving[:, :, others])


def test_fast_motion_and_a_jump_that_stays_are_no_spikes(moving):
    assert quiet(make(moving))[1].spikes == []
    jumped = moving.copy()
    jumped[:, 30:] += np.float32(2.0)
    assert quiet(make(jumped))[1].spikes == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4))
def test_what_moves_below_the_limit_is_never_a_spike(seed, frames, joints):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(1, frames, joints, 3))
    steps /= np.linalg.norm(steps, axis=-1, keepdims=True)
    points = np.cumsum(0.99 * steps, axis=1)
    assert not find_spikes(points, rng.random(points.shape[:3]) < 0.9, np.array([1.0])).any()


def test_a_joint_that_stretches_its_bones_is_blamed_and_repaired(moving):
    layout = get_layout("ntu25")
    elbow = layout.index("left_elbow")
    broken = moving.copy()
    broken[0, 20:24, elbow] += [0.5, 0.0, 0.4]
    _, report = quiet(make(broken), spikes="off")
    assert {(f.frame, f.joint) for f in report.bones} == {
        (frame, joint) for frame in range(20, 24) for joint in ("left_elbow", "left_wrist")
    }
    assert all(fault.amount > 1.5 for fault in report.bones)
    repaired, report = quiet(make(broken), spikes="off", bones="repair")
    assert report.repaired == 4 and report.filled == 4
    np.testing.assert_allclose(repaired.keypoints[0, 20:24, elbow], moving[0, 20:24, elbow], atol=0.1)


def test_bones_are_compared_within_a_person_and_not_in_flat_data(moving):
    child = moving * np.float32(0.6)
    both = np.concatenate([moving, child])
    assert quiet(make(both))[1].bones == []
    flat = make(moving[..., :2] * [1, -1], units="image fraction")
    flat.keypoints[0, 20, 5] += 0.8
    assert quiet(flat, spikes="off")[1].bones == []


# -- unit and axis ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["ntu25", "kinect20", "h36m17", "mediapipe33", "smpl22"])
@pytest.mark.parametrize(("unit", "factor"), [("metre", 1), ("centimetre", 100), ("millimetre", 1000)])
def test_the_unit_is_told_from_arms_and_legs(moving, layout, unit, factor):
    keypoints, joints = convert_layout(moving, "ntu25", layout)
    mask = np.broadcast_to(joints, keypoints.shape[:3]).copy()
    recording = make(keypoints * factor, layout, units="", joint_mask=mask)
    cleaned, report = quiet(recording, units="convert", spikes="off", bones="off")
    assert report.unit == unit and cleaned.units == "metre"
    np.testing.assert_allclose(cleaned.keypoints, keypoints, rtol=1e-5, atol=1e-6)


def test_units_that_contradict_the_recording_warn(moving):
    with pytest.warns(
        UserWarning, match="walk.npy: by the length of arms and legs the unit is millimetre, the recording says metre"
    ):
        cleaned, _ = clean(make(moving * 1000), {"units": "convert"})
    np.testing.assert_allclose(cleaned.keypoints, moving, atol=1e-5)
    with pytest.warns(UserWarning, match="the unit is centimetre; models expect metres"):
        clean(make(moving * 100, units="cm"))
    with pytest.warns(UserWarning, match="fits neither metre nor centimetre nor millimetre"):
        clean(make(moving * 7, units=""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean(make(moving, units="Meters"))
        clean(make(moving * 1000), {"units": "off"})


@pytest.mark.parametrize("up", ["+x", "-x", "+y", "-y", "+z", "-z"])
@pytest.mark.parametrize("wanted", ["y", "z"])
def test_the_upright_axis_is_told_and_turned_without_mirroring(moving, up, wanted):
    axis, sign = "xyz".index(up[1]), 1 if up[0] == "+" else -1
    basis = np.zeros((3, 3), dtype=np.float32)  # a rotation that puts y on the axis
    basis[axis, 1] = sign
    basis[(axis + 1) % 3, 2] = 1
    basis[:, 0] = np.cross(basis[:, 1], basis[:, 2])
    assert np.linalg.det(basis) == pytest.approx(1)
    recording = make(moving @ basis.T)
    assert upright_axis(recording.keypoints, np.ones(moving.shape[:3], bool), recording.layout) == up
    cleaned, report = quiet(recording, up=wanted, max_gap_frames=0)
    assert report.up == up and report.turned == (up != f"+{wanted}")
    now = upright_axis(cleaned.keypoints, np.ones(moving.shape[:3], bool), recording.layout)
    assert now == f"+{wanted}"

    # a rotation keeps the sense of every triple of directions, a mirror does not
    def triple(points):
        return np.linalg.det((points[0, :, [5, 9, 3]] - points[0, :, [0, 0, 0]]).swapaxes(0, 1))

    np.testing.assert_allclose(triple(cleaned.keypoints), triple(moving), atol=1e-5)


def test_another_upright_axis_than_usual_warns(moving):
    turned = moving[..., [0, 2, 1]] * np.float32([1, -1, 1])
    with pytest.warns(UserWarning, match=r"\+z is up, usual is \+y"):
        clean(make(turned))
    lying = moving[..., [1, 0, 2]] + moving
    with pytest.warns(UserWarning, match="which one is up cannot be told"):
        clean(make(lying), {"units": "off"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean(make(moving[..., :2] * [0.2, -0.2], units="image fraction"))


# -- frame rate -------------------------------------------------------------------------------------------------------
def test_frame_rate_changes_everything_along(moving):
    labels = np.arange(moving.shape[1])
    confidence = np.full(moving.shape[:3], 0.5, dtype=np.float32)
    mask = np.ones(moving.shape[:3], dtype=bool)
    mask[0, 20:40, 3] = False
    recording = make(moving, confidence=confidence, joint_mask=mask, frame_labels=labels)
    cleaned, report = quiet(recording, frame_rate=15.0, max_gap_frames=0)
    frames = (moving.shape[1] + 1) // 2
    assert cleaned.frame_rate == 15.0 and report.frame_rates == (30.0, 15.0)
    assert abs(cleaned.frame_mask.shape[1] - frames) <= 1
    frames = cleaned.frame_mask.shape[1]
    np.testing.assert_array_equal(cleaned.frame_labels, labels[::2][:frames])
    np.testing.assert_array_equal(cleaned.joint_mask, mask[:, ::2][:, :frames])
    np.testing.assert_allclose(cleaned.keypoints[cleaned.joint_mask], moving[:, ::2][:, :frames][cleaned.joint_mask])
    assert (cleaned.confidence[cleaned.joint_mask] == 0.5).all()
    faster, _ = quiet(recording, frame_rate=60.0, max_gap_frames=0)
    assert not faster.keypoints[~faster.joint_mask].any()
    np.testing.assert_allclose(faster.keypoints[0, 1, 0], moving[0, :2, 0].mean(axis=0), atol=1e-5)


def test_switches_that_need_a_frame_rate_say_so(moving):
    recording = make(moving, frame_rate=None)
    for switches in ({"frame_rate": 25.0}, {"max_gap_seconds": 0.2}):
        with pytest.raises(
            ValueError, match=f"walk.npy: the cleaning switch {next(iter(switches))} needs the frame rate"
        ):
            clean(recording, switches)


# -- the whole --------------------------------------------------------------------------------------------------------
def test_everything_off_changes_nothing(moving):
    mask = np.ones(moving.shape[:2], dtype=bool)
    mask[0, 10] = False
    recording = make(moving * 55, mask=mask, units="", label=4, person_ids=("7",), format="npy")
    before = {key: np.copy(value) for key, value in vars(recording).items() if isinstance(value, np.ndarray)}
    cleaned, _ = quiet(recording, units="off", up="off", spikes="off", bones="off", max_gap_frames=0)
    for attribute in dataclasses.fields(recording):
        np.testing.assert_equal(getattr(cleaned, attribute.name), getattr(recording, attribute.name))
    quiet(recording, units="convert", up="z", spikes="repair", bones="repair", zeros="missing", frame_rate=10.0)
    for key, value in before.items():
        np.testing.assert_array_equal(getattr(recording, key), value)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_is_wrong_the_result_is_sound(moving, seed):
    rng = np.random.default_rng(seed)
    persons, frames = int(rng.integers(1, 4)), int(rng.integers(1, 12))
    keypoints = np.repeat(moving[:, :frames], persons, axis=0)
    keypoints = keypoints + rng.normal(scale=rng.choice([0.0, 0.01, 3.0]), size=(persons, frames, 25, 3))
    joint_mask = rng.random((persons, frames, 25)) < rng.choice([0.0, 0.3, 1.0])
    mask = joint_mask.any(axis=2)
    keypoints = np.where(joint_mask[..., None], keypoints, 0).astype(np.float32)
    recording = make(keypoints, mask=mask, joint_mask=joint_mask, confidence=joint_mask.astype(np.float32))
    cleaned, report = quiet(
        recording, units="convert", up="z", spikes="repair", bones="repair", min_confidence=0.5, frame_rate=20.0
    )
    assert np.isfinite(cleaned.keypoints).all() and cleaned.keypoints.dtype == np.float32
    assert not cleaned.keypoints[~cleaned.present_joints].any()
    np.testing.assert_array_equal(cleaned.present_joints.any(axis=2), cleaned.frame_mask)
    json.dumps(report.to_dict())
    assert "missing" in str(report)


def test_the_report_says_what_was_done(moving):
    broken = moving.copy()
    broken[0, 40, 11] += 1
    report = quiet(make(broken * 1000, units=""), units="convert", spikes="repair", bones="off", frame_rate=15.0)[1]
    text = str(report)
    assert "walk.npy: persons 1" in text and "millimetre (the recording says nothing" in text and "metre now" in text
    assert "1 masked: 1 right_hand; worst right_hand of person 0 in frame 40" in text
    assert "30 -> 15" in text and "1 joints filled" in text
    assert report.counts()["spikes"] == 1


# -- on the way into a store -------------------------------------------------------------------------------------------
def test_samples_keep_confidence_and_labels_and_lose_who_is_gone(moving):
    keypoints = np.concatenate([moving, moving + 1], axis=0)
    confidence = np.ones((*keypoints.shape[:3], 1), dtype=np.float32)
    confidence[1], confidence[0, 30:33, 4] = 0.1, 0.2
    labels = np.arange(moving.shape[1], dtype=np.int16)
    sample = SkeletonSample(
        np.concatenate([keypoints, confidence], axis=-1),
        np.ones(keypoints.shape[:2], bool),
        3,
        "x",
        frame_labels=labels,
    )
    options = CleaningOptions(min_confidence=0.5, frame_rate=15)
    cleaned, report = clean_sample(sample, get_layout("ntu25"), 30.0, "metre", options)
    assert cleaned.keypoints.shape == (1, 40, 25, 4) and cleaned.label == 3 and cleaned.name == "x"
    np.testing.assert_array_equal(cleaned.frame_labels, labels[::2])
    np.testing.assert_allclose(cleaned.keypoints[0, :, 3, :3], moving[0, ::2, 3], atol=1e-5)
    assert (cleaned.keypoints[0, :, 3, 3] == 1).all()
    assert report.low_confidence == 3 + confidence[1].size
    for broken, switches, message in (
        (moving * 7, {"units": "convert"}, "its unit cannot be told"),
        (moving[..., [1, 0, 2]] + moving, {"up": "z", "units": "off"}, "which axis is up cannot be told"),
    ):
        sample = SkeletonSample(broken, np.ones(broken.shape[:2], bool), -1, "x")
        with pytest.raises(RecordingError, match=message):
            clean_sample(sample, get_layout("ntu25"), 30.0, "metre", CleaningOptions(**switches))


def test_a_joint_that_stays_missing_never_enters_a_store_as_a_place(moving):
    keypoints = moving.copy()
    keypoints[0, 20:40, 7] = 0  # too long to fill
    keypoints[0, 60:63, 9] = 0  # short enough
    sample = SkeletonSample(keypoints, np.ones((1, 80), dtype=bool), 0, "x")
    options = CleaningOptions(zeros="missing", max_gap_frames=5)
    cleaned, report = clean_sample(sample, get_layout("ntu25"), 30.0, "metre", options)
    gone = np.isin(np.arange(80), np.arange(20, 40))
    np.testing.assert_array_equal(cleaned.frame_mask[0], ~gone)
    assert (cleaned.keypoints[0, gone] == 0).all() and (cleaned.keypoints[0, ~gone] != 0).any(axis=-1).all()
    assert report.dropped_frames == report.counts()["frames left out for a missing joint"] == 20
    keypoints[0, :, 7] = 0
    with pytest.raises(RecordingError, match="a joint is missing in every frame; fill longer gaps"):
        clean_sample(
            SkeletonSample(keypoints, np.ones((1, 80), bool), 0, "x"), get_layout("ntu25"), 30.0, "metre", options
        )


def test_prepare_cleans_what_goes_into_a_store(tmp_path, moving):
    raw = tmp_path / "raw"
    raw.mkdir()
    broken = moving * 1000
    broken[0, 40, 11] += 1500
    np.save(raw / "good.npy", moving * 1000)
    np.save(raw / "spike.npy", broken)
    np.save(raw / "odd.npy", moving * 7)
    words = ["units=convert", "spikes=repair", "frame_rate=15"]
    arguments = ["prepare", "folder", raw, tmp_path / "store", "--layout", "ntu25", "--units", "millimetre", "--quiet"]
    result = CliRunner().invoke(app, [*map(str, arguments), *(part for word in words for part in ("--clean", word))])
    assert result.exit_code == 0, result.output
    assert "1 spikes" in result.output and "1 joints filled" in result.output
    assert "odd.npy: its unit cannot be told from the length of arms and legs" in result.output
    store = SkeletonStore.open(tmp_path / "store")
    assert store.units == "metre" and store.frame_rate == 15 and len(store) == 2
    for sample in store:
        np.testing.assert_allclose(sample.keypoints[0], moving[0, ::2], atol=0.1)
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert report["cleaning"]["spikes"] == report["cleaning"]["joints filled"] == 1
    assert store.details["options"]["cleaning"]["spikes"] == "repair"
    result = CliRunner().invoke(app, [*map(str, arguments), "--clean", "spikes=mend"])
    assert result.exit_code == 2 and "spikes must be one of" in result.output


def test_switches_are_read_from_words_and_checked():
    options = CleaningOptions.from_words(["spikes=repair", "max_gap_frames=10", "min_confidence=0.3", "frame_rate=25"])
    assert options == CleaningOptions(spikes="repair", max_gap_frames=10, min_confidence=0.3, frame_rate=25)
    for words, message in {
        ("spikes",): "'spikes' is no switch=value",
        ("spike=repair",): r"unknown switches \['spike'\]; known are min_confidence",
        ("spikes=fix",): "spikes must be one of 'report', 'repair', 'off'; got 'fix'",
        ("max_gap_frames=2.5",): "max_gap_frames must be a whole number of at least 0; got 2.5",
        ("frame_rate=0",): "frame_rate must be a number above 0; got 0",
        ("frame_rate=nan",): "frame_rate must be a number above 0; got nan",
        ("min_confidence=2",): "min_confidence must be from 0 to 1; got 2",
    }.items():
        with pytest.raises(ValueError, match=message):
            CleaningOptions.from_words(words)


def test_real_recordings_are_metres_and_upright(real_data):
    files = [
        *sorted((real_data / "ntu-samples").glob("*.skeleton")),
        *sorted(real_data.glob("nw-ucla/*/a0[24]_s0[12]_e00*")),
    ]
    assert len(files) > 5
    for path in files:
        recording = read_skeletons(path)
        cleaned, report = quiet(recording, bones="repair")
        assert report.unit == "metre" and report.up == "+y" and not report.warnings
        assert report.repaired < 0.05 * recording.keypoints[..., 0].size
        np.testing.assert_array_equal(cleaned.frame_mask[recording.frame_mask], True)


def test_the_longest_gap_is_told_in_frames_or_seconds():
    assert CleaningOptions(max_gap_frames=7).longest_gap(None) == 7
    assert CleaningOptions(max_gap_seconds=0.29).longest_gap(100.0) == 29  # 0.29 * 100 is a little less than 29
