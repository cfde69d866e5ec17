"""The feature extractor: streams, options, every error message, saving and loading."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skeleton_transformers import (
    SkeletonFeatureExtractor,
    SkeletonLayout,
    get_layout,
    list_layouts,
    read_skeletons,
    register_layout,
)
from skeleton_transformers.data.geometry import rotate, rotation_between, rotation_from_angles


seeds = st.integers(0, 2**31)
quick = settings(deadline=None, max_examples=30)
NTU = get_layout("ntu25")


def sequence(
    seed: int = 0, persons: int = 2, frames: int = 20, joints: int = 25, channels: int = 3, gaps: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """Random people who are missing in some frames; the first one is there in frame 3."""
    rng = np.random.default_rng(seed)
    mask = rng.random((persons, frames)) >= gaps
    mask[0, 3] = True
    keypoints = rng.normal(size=(persons, frames, joints, channels)).astype(np.float32) * mask[..., None, None]
    return keypoints, mask


# -- the call ---------------------------------------------------------------------------------------------------------
def test_call_pads_ragged_sequences():
    long, mask = sequence(1, persons=2, frames=20)
    short, _ = sequence(2, persons=1, frames=8, gaps=0)
    inputs = SkeletonFeatureExtractor()([long, short[0]], return_tensors="pt")
    assert list(inputs) == SkeletonFeatureExtractor.model_input_names
    assert inputs["keypoints"].shape == (2, 2, 20, 25, 3) and inputs["keypoints"].dtype == torch.float32
    assert inputs["frame_mask"].shape == (2, 2, 20) and inputs["frame_mask"].dtype == torch.bool
    np.testing.assert_array_equal(inputs["keypoints"][0], long)
    np.testing.assert_array_equal(inputs["frame_mask"][0], mask)
    np.testing.assert_array_equal(inputs["keypoints"][1, 0, :8], short[0])
    assert inputs["frame_mask"][1].sum() == 8
    assert not inputs["keypoints"][1, 1].any() and not inputs["keypoints"][1, 0, 8:].any()


def test_every_form_of_a_sequence_gives_the_same(tmp_path):
    keypoints, mask = sequence()
    extractor = SkeletonFeatureExtractor(center="first_frame")
    expected = extractor(keypoints)
    path = tmp_path / "walk.npy"
    np.save(path, keypoints)
    forms = {
        "list of one": [keypoints],
        "torch": torch.tensor(keypoints),
        "torch with gradient": torch.tensor(keypoints, requires_grad=True),
        "float64": keypoints.astype(np.float64),
        "batch": keypoints[None],
        "batch of torch": torch.tensor(keypoints)[None],
        "nested lists": [keypoints.tolist()],
        "tuple": (keypoints,),
        "path": path,
        "text path": str(path),
        "list of paths": [path],
    }
    for form, value in forms.items():
        inputs = extractor(value)
        np.testing.assert_array_equal(inputs["keypoints"], expected["keypoints"], err_msg=form)
        np.testing.assert_array_equal(inputs["frame_mask"], mask[None], err_msg=form)


def test_one_person_may_leave_out_her_axis():
    keypoints, mask = sequence(persons=1)
    extractor = SkeletonFeatureExtractor()
    for value in (keypoints[0], keypoints[0].tolist(), torch.tensor(keypoints[0]), [keypoints[0].tolist()]):
        for given_mask in (None, mask[0], mask, mask[0].tolist(), torch.tensor(mask), mask.astype(int)):
            inside_list = isinstance(value, list) and len(value) == 1
            inputs = extractor(value, frame_mask=[given_mask] if inside_list else given_mask)
            np.testing.assert_array_equal(inputs["keypoints"], keypoints[None])
            np.testing.assert_array_equal(inputs["frame_mask"], mask[None])


def test_half_precision_tensors_are_read():
    keypoints = torch.ones(1, 4, 25, 3, dtype=torch.bfloat16)
    assert SkeletonFeatureExtractor()(keypoints)["keypoints"].dtype == np.float32


def test_the_mask_hides_what_lies_under_it():
    keypoints, mask = sequence(gaps=0)
    mask[0, 5] = mask[1, :7] = False
    keypoints[0, 5] = np.nan
    before = keypoints.copy()
    inputs = SkeletonFeatureExtractor()(keypoints, frame_mask=mask)
    assert not inputs["keypoints"][0][~mask].any()
    np.testing.assert_array_equal(inputs["keypoints"][0][mask], keypoints[mask])
    np.testing.assert_array_equal(keypoints, before)  # the caller's array is not touched


def test_a_present_frame_may_be_all_zero_if_the_mask_says_so():
    keypoints, mask = np.zeros((1, 3, 25, 3)), np.ones((1, 3), dtype=bool)
    assert SkeletonFeatureExtractor()(keypoints, frame_mask=mask)["frame_mask"].all()


@quick
@given(
    seeds,
    st.sampled_from(["joint", "motion", "bone"]),
    st.sampled_from(["none", "first_frame", "every_frame"]),
    st.booleans(),
    st.sampled_from(["none", "spine"]),
    st.sampled_from([{}, {"num_frames": 13}, {"frame_rate": 12.5}, {"max_frames": 9}]),
)
def test_absent_frames_stay_zero_and_nobody_appears(seed, stream, center, normalize_view, scale, length):
    keypoints, mask = sequence(seed, gaps=0.4)
    extractor = SkeletonFeatureExtractor(
        stream=stream, center=center, normalize_view=normalize_view, scale=scale, **length
    )
    inputs = extractor(keypoints, source_frame_rate=30)
    new_mask = inputs["frame_mask"][0]
    assert np.isfinite(inputs["keypoints"]).all() and inputs["keypoints"].dtype == np.float32
    assert not inputs["keypoints"][0][~new_mask].any()
    assert new_mask.shape[1] == length.get("num_frames", length.get("max_frames", 8 if "frame_rate" in length else 20))
    if not length:
        np.testing.assert_array_equal(new_mask, mask)


@quick
@given(seeds)
def test_the_result_does_not_depend_on_the_batch(seed):
    samples = [sequence(seed + index, persons=1 + index, frames=5 + 7 * index)[0] for index in range(3)]
    extractor = SkeletonFeatureExtractor(stream="motion", center="every_frame", max_persons=3)
    together = extractor(samples)
    for index, sample in enumerate(samples):
        alone = extractor(sample)
        m, t = sample.shape[:2]
        np.testing.assert_array_equal(together["keypoints"][index, :m, :t], alone["keypoints"][0])
        assert not together["frame_mask"][index, m:].any() and not together["frame_mask"][index, :, t:].any()


# -- streams ----------------------------------------------------------------------------------------------------------
@quick
@given(seeds, st.sampled_from(list_layouts()[:8]))
def test_bones_sum_back_to_joints_along_the_tree(seed, name):
    layout = get_layout(name)
    keypoints, mask = sequence(seed, joints=layout.num_joints)
    bones = SkeletonFeatureExtractor(layout=name, stream="bone").apply_stream(keypoints, mask)
    assert not bones[:, :, layout.root].any()
    for joint in range(layout.num_joints):
        total, ancestor = keypoints[:, :, layout.root].copy(), joint
        while ancestor != layout.root:
            total += bones[:, :, ancestor]
            ancestor = layout.parents[ancestor]
        np.testing.assert_allclose(total, keypoints[:, :, joint], atol=1e-5)


@quick
@given(seeds, st.sampled_from(["first", "last"]))
def test_motion_is_the_change_between_two_present_frames(seed, zero):
    keypoints, mask = sequence(seed)
    motion = SkeletonFeatureExtractor(stream="motion", motion_zero=zero).apply_stream(keypoints, mask)
    for person in range(2):
        for frame in range(20):
            before, after = (frame - 1, frame) if zero == "first" else (frame, frame + 1)
            inside = before >= 0 and after < 20 and mask[person, before] and mask[person, after]
            expected = keypoints[person, after] - keypoints[person, before] if inside else np.zeros((25, 3))
            np.testing.assert_array_equal(motion[person, frame], expected)


def test_motion_of_one_frame_is_zero():
    extractor = SkeletonFeatureExtractor(stream="motion")
    assert not extractor(np.ones((1, 25, 3)))["keypoints"].any()
    assert extractor(np.ones((1, 25, 3)))["frame_mask"].all()


# -- normalisation ----------------------------------------------------------------------------------------------------
@quick
@given(seeds)
def test_centring(seed):
    keypoints, mask = sequence(seed)
    every, _ = SkeletonFeatureExtractor(center="every_frame").normalize(keypoints)
    assert not every[0, mask[0], NTU.center].any()
    both = mask.all(axis=0)
    np.testing.assert_allclose(
        every[1, both] - every[0, both], keypoints[1, both] - keypoints[0, both], atol=1e-5
    )  # people keep their places relative to each other
    once, _ = SkeletonFeatureExtractor(center="first_frame").normalize(keypoints)
    first = keypoints[0, np.argmax(mask[0]), NTU.center]
    np.testing.assert_allclose(once[mask], keypoints[mask] - first, atol=1e-6)


def test_centring_follows_the_first_person_who_is_there():
    keypoints, _ = sequence(gaps=0)
    keypoints[0] = 0
    centred, _ = SkeletonFeatureExtractor(center="every_frame").normalize(keypoints)
    assert not centred[1, :, NTU.center].any() and not centred[0].any()


@quick
@given(seeds)
def test_normalize_view_forgets_the_camera(seed):
    """Where the shoulder line is perpendicular to the spine, the result does not depend on the camera."""
    keypoints, mask = sequence(seed)
    pose = keypoints[0, np.argmax(mask[0])]
    lower, upper = NTU.spine
    left, right = NTU.shoulders
    spine = pose[upper] - pose[lower]
    pose[right] -= spine * ((pose[right] - pose[left]) @ spine) / (spine @ spine)
    turned = rotate(keypoints, rotation_from_angles(np.random.default_rng(seed).uniform(-3, 3, size=3)))
    for view in (keypoints, turned):
        # float32 does not tell the direction between two joints in almost one place, nor the axis of almost a half turn
        first = view[0, np.argmax(mask[0])].astype(np.float64)
        upright = rotation_between(first[upper] - first[lower], np.eye(3)[2], half_turn_axis=np.eye(3)[0])
        across = upright @ (first[right] - first[left])
        assume(min(np.linalg.norm(spine), np.linalg.norm(across)) > 0.3)
        assume(across[0] > -0.99 * np.linalg.norm(across))
    extractor = SkeletonFeatureExtractor(normalize_view=True, center="first_frame")
    expected, _ = extractor.normalize(keypoints)
    np.testing.assert_allclose(extractor.normalize(turned)[0], expected, atol=1e-4)
    pose = expected[0, np.argmax(mask[0])]
    np.testing.assert_allclose(pose[upper] - pose[lower], [0, 0, np.linalg.norm(spine)], atol=1e-4)
    np.testing.assert_allclose((pose[right] - pose[left])[1:], 0, atol=1e-4)
    assert pose[right, 0] > pose[left, 0]


def test_scale_makes_the_spine_one():
    keypoints, mask = sequence()
    scaled, _ = SkeletonFeatureExtractor(scale="spine").normalize(keypoints)
    lengths = np.linalg.norm(scaled[0, :, NTU.spine[1]] - scaled[0, :, NTU.spine[0]], axis=-1)
    assert lengths[mask[0]].mean() == pytest.approx(1, abs=1e-5)
    twice, _ = SkeletonFeatureExtractor(scale="spine").normalize(2 * keypoints)
    np.testing.assert_allclose(twice, scaled, rtol=1e-5)


def test_frame_rate():
    keypoints, _ = sequence(frames=20, gaps=0)
    extractor = SkeletonFeatureExtractor(frame_rate=30)
    np.testing.assert_array_equal(extractor(keypoints, source_frame_rate=30)["keypoints"][0], keypoints)
    assert extractor([keypoints, keypoints], source_frame_rate=[60, 15])["frame_mask"].sum(axis=2).tolist() == [
        [10, 10],
        [40, 40],
    ]
    np.testing.assert_array_equal(extractor(keypoints, source_frame_rate=60)["keypoints"][0], keypoints[:, ::2])


@pytest.mark.parametrize("frames, removed", [(100, 2), (40, 1), (39, 0), (1, 0), (300, 7)])
def test_center_crop_keeps_the_middle(frames, removed):
    keypoints = np.random.default_rng(0).standard_normal((1, frames + 5, 25, 3)).astype(np.float32)
    mask = np.arange(frames + 5)[None] < frames  # the end is padding
    values, present = SkeletonFeatureExtractor(center_crop=0.95).normalize(keypoints, mask)
    np.testing.assert_array_equal(values, keypoints[:, removed : frames - removed])
    assert present.all()
    resized, _ = SkeletonFeatureExtractor(center_crop=0.95, num_frames=16).normalize(keypoints, mask)
    np.testing.assert_array_equal(resized, SkeletonFeatureExtractor(num_frames=16).normalize(values, present)[0])


def test_a_center_crop_that_would_leave_nobody_is_left_out():
    keypoints, mask = np.ones((1, 100, 25, 3), dtype=np.float32), np.zeros((1, 100), dtype=bool)
    mask[:, [0, 99]] = True
    assert SkeletonFeatureExtractor(center_crop=0.5).normalize(keypoints, mask)[1].shape == (1, 100)


def test_num_frames_leaves_trailing_padding_out():
    keypoints, _ = sequence(frames=20, gaps=0)
    padded = np.concatenate([keypoints, np.zeros((2, 80, 25, 3))], axis=1)
    inputs = SkeletonFeatureExtractor(num_frames=20)(padded)
    np.testing.assert_array_equal(inputs["keypoints"][0], keypoints)
    assert inputs["frame_mask"].all()


def test_max_frames_keeps_the_first():
    keypoints, _ = sequence(frames=20, gaps=0)
    np.testing.assert_array_equal(SkeletonFeatureExtractor(max_frames=6)(keypoints)["keypoints"][0], keypoints[:, :6])


def test_person_selection():
    keypoints = np.zeros((4, 10, 25, 3), dtype=np.float32)
    rng = np.random.default_rng(0)
    keypoints[0, :3] = 5 + 0.1 * rng.normal(size=(3, 25, 3))
    keypoints[1] = 5 + 0.2 * rng.normal(size=(10, 25, 3))
    keypoints[3, :6] = 5 + 2 * rng.normal(size=(6, 25, 3))
    expected = {"first": [0, 1], "presence": [1, 3], "energy": [3, 1], "all": [0, 1, 2, 3]}
    for selection, people in expected.items():
        inputs = SkeletonFeatureExtractor(person_selection=selection)(keypoints)
        np.testing.assert_array_equal(inputs["keypoints"][0], keypoints[people], err_msg=selection)
    one = SkeletonFeatureExtractor(person_selection="energy", max_persons=1)(keypoints)
    np.testing.assert_array_equal(one["keypoints"][0], keypoints[[3]])
    # one who does not move at all still comes before an empty slot
    keypoints[1] = 7
    keypoints[3] = 0
    still = SkeletonFeatureExtractor(person_selection="energy")(keypoints)
    assert still["frame_mask"][0].any(axis=1).all()


def test_a_confidence_is_carried_along():
    keypoints, mask = sequence(joints=17, channels=3, gaps=0.3)
    for options in ({"stream": "motion"}, {"stream": "bone"}, {"center": "every_frame"}):
        extractor = SkeletonFeatureExtractor(layout="coco17", confidence_channel=True, **options)
        plain = SkeletonFeatureExtractor(layout="coco17", num_channels=2, **options)
        inputs = extractor(keypoints)
        np.testing.assert_array_equal(inputs["keypoints"][..., 2], keypoints[None, ..., 2])
        np.testing.assert_array_equal(inputs["keypoints"][..., :2], plain(keypoints[..., :2])["keypoints"])
    # presence follows the coordinates: a confidence alone makes nobody present
    keypoints[0, 3, :, :2] = 0
    assert not extractor(keypoints)["frame_mask"][0, 0, 3]


# -- what is refused --------------------------------------------------------------------------------------------------
def poisoned(value: float) -> np.ndarray:
    keypoints, _ = sequence(gaps=0)
    keypoints[1, 12, 6, 2] = value
    return keypoints


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (
            [np.ones((4, 25, 3)), poisoned(np.nan)],
            r"^sequence 1: 1 joints are not finite, the first is nan at person 1, frame 12, "
            r"joint 6 \(left_wrist\), channel 2; "
            r"repair the recording, or set frame_mask to False",
        ),
        (poisoned(-np.inf), "sequence 0: 1 joints are not finite, the first is -inf at person 1, frame 12"),
        ([np.zeros((1, 0, 25, 3))], r"sequence 0: has no frame, shape \(1, 0, 25, 3\); leave it out"),
        ([np.zeros((0, 4, 25, 3))], "has no person"),
        (np.zeros((2, 4, 25, 3)), r"nobody is present in any of the 4 frames \(all coordinates are 0\)"),
        (
            np.ones((4, 20, 3)),
            r"has 20 joints, shape \(4, 20, 3\), but layout .ntu25. has 25; "
            "layouts with 20 joints are kinect20, msr20",
        ),
        (np.ones((4, 19, 3)), "no known layout has 19 joints"),
        (np.ones((4, 25, 4)), "has 4 channels per joint, .* but the extractor expects 3; drop the other channels"),
        (np.ones((25, 3)), r"has 2 axes, shape \(25, 3\); a sequence is \(persons, frames, joints, channels\)"),
        ([[[[1.0, 2.0, 3.0]], [[1.0, 2.0]]]], "sequence 0: is no array of numbers"),
        ([["a.npy"]], "sequence 0: is no array of numbers"),
        ([], "There is no sequence: the list is empty"),
    ],
)
def test_unusable_sequences_are_named(sequences, message):
    with pytest.raises(ValueError, match=message):
        SkeletonFeatureExtractor()(sequences)


def test_unusable_files_are_named(tmp_path):
    extractor = SkeletonFeatureExtractor()
    with pytest.raises(FileNotFoundError, match="nowhere.npy: there is no such file"):
        extractor(tmp_path / "nowhere.npy")
    (tmp_path / "broken.npy").write_text("not an array")
    with pytest.raises(ValueError, match="broken.npy: not a readable .npy array of numbers"):
        extractor(tmp_path / "broken.npy")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects.npy: holds Python objects, which are never loaded"):
        extractor(tmp_path / "objects.npy")
    np.save(tmp_path / "poisoned.npy", poisoned(np.inf))
    with pytest.raises(ValueError, match="poisoned.npy, person 1, frame 12, joint .*: coordinate . is infinite"):
        extractor([tmp_path / "poisoned.npy"])
    with pytest.raises(FileNotFoundError, match="walk.skeleton: there is no such file"):
        extractor("walk.skeleton")


def test_a_missing_joint_of_a_file_is_put_between_its_neighbours(tmp_path):
    keypoints = poisoned(np.nan)
    ((person, frame, joint, _),) = np.argwhere(np.isnan(keypoints))
    np.save(tmp_path / "gap.npy", keypoints)
    extractor = SkeletonFeatureExtractor()
    values = extractor(tmp_path / "gap.npy")["keypoints"][0]
    between = (keypoints[person, frame - 1, joint] + keypoints[person, frame + 1, joint]) / 2
    np.testing.assert_allclose(values[person, frame, joint], between, rtol=1e-5)
    np.testing.assert_array_equal(
        extractor(read_skeletons(tmp_path / "gap.npy", layout="ntu25"))["keypoints"][0], values
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"frame_mask": np.ones((1, 20), dtype=bool)},
            r"frame_mask has shape \(1, 20\), but .* \(persons, frames\) = \(2, 20\)",
        ),
        ({"frame_mask": np.ones(20, dtype=bool)}, r"frame_mask has shape \(20,\)"),
        ({"frame_mask": np.full((2, 20), 0.5)}, "frame_mask holds .*0.5.*; its values are True and False"),
        (
            {"frame_mask": np.zeros((2, 20), dtype=bool)},
            "nobody is present in any of the 20 frames .frame_mask is False",
        ),
        ({}, "resamples to 10 frames per second, but the rate of the sequence is not known; pass source_frame_rate"),
        ({"source_frame_rate": 0}, "source_frame_rate must be a positive number of frames per second; got 0"),
        ({"source_frame_rate": [30.0, 30.0]}, "There are 1 sequences but 2 source frame rates"),
    ],
)
def test_unusable_masks_and_rates_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SkeletonFeatureExtractor(frame_rate=10)(sequence(gaps=0)[0], **arguments)


def test_number_of_masks_must_fit():
    with pytest.raises(ValueError, match="There are 2 sequences but 1 frame masks"):
        SkeletonFeatureExtractor()([np.ones((4, 25, 3))] * 2, frame_mask=[np.ones(4, dtype=bool)])


def test_people_outside_the_selection_are_named():
    keypoints = np.zeros((3, 4, 25, 3))
    keypoints[2] = 1
    with pytest.raises(
        ValueError, match="nobody is present among the first 2 of 3 persons; use person_selection='presence'"
    ):
        SkeletonFeatureExtractor()(keypoints)
    late = np.zeros((1, 9, 25, 3))
    late[0, 8] = 1
    with pytest.raises(ValueError, match="nobody is present in the 4 frames that are left"):
        SkeletonFeatureExtractor(max_frames=4)(late)


def test_a_spine_without_length_gives_no_scale():
    with pytest.raises(ValueError, match="the spine of person 0, from spine_base to spine_mid, has length 0.0"):
        SkeletonFeatureExtractor(scale="spine")(np.ones((4, 25, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": "bones"}, "stream must be one of 'joint', 'motion', 'bone'; got 'bones'"),
        ({"motion_zero": "middle"}, "motion_zero must be one of 'first', 'last'"),
        ({"center": True}, "center must be one of 'none', 'first_frame', 'every_frame'; got True"),
        ({"scale": "height"}, "scale must be one of"),
        ({"person_selection": "best"}, "person_selection must be one of"),
        ({"num_channels": 5}, "num_channels=5 .* leaves 5 coordinates; joints have 2 or 3"),
        ({"num_channels": 2, "confidence_channel": True}, "leaves 1 coordinates"),
        ({"center_crop": 0.0}, "center_crop must be a share .*; got 0.0"),
        ({"num_frames": 0}, "num_frames must be a whole number of at least 1; got 0"),
        ({"max_frames": 2.5}, "max_frames must be a whole number"),
        ({"max_persons": None}, "max_persons must be a whole number"),
        ({"num_frames": 64, "max_frames": 300}, "Give num_frames .* or max_frames .*, not both"),
        ({"frame_rate": -1}, "frame_rate must be a positive number"),
        ({"num_channels": 2, "normalize_view": True}, "needs 3 coordinates; got num_channels=2"),
        (
            {"layout": "coco17", "normalize_view": True},
            "normalize_view=True needs a layout that names its spine; 'coco17'",
        ),
        ({"layout": "coco17", "scale": "spine"}, "scale='spine' needs a layout that names its spine"),
        ({"layout": "ntu"}, "Unknown skeleton layout 'ntu'"),
        (
            {"centre": "none"},
            r"Unknown arguments of SkeletonFeatureExtractor: \['centre'\]; known are layout, num_channels",
        ),
    ],
)
def test_unusable_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SkeletonFeatureExtractor(**options)


# -- saving and loading -----------------------------------------------------------------------------------------------
OPTIONS = {
    "layout": "kinect20",
    "stream": "motion",
    "motion_zero": "last",
    "center": "every_frame",
    "normalize_view": True,
    "scale": "spine",
    "frame_rate": 15.0,
    "num_frames": 32,
    "max_persons": 3,
    "person_selection": "energy",
}


def test_save_and_load_keep_every_setting(tmp_path):
    extractor = SkeletonFeatureExtractor(**OPTIONS)
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved == {
        **OPTIONS,
        "num_channels": 3,
        "max_frames": None,
        "center_crop": 1.0,
        "confidence_channel": False,
        "feature_extractor_type": "SkeletonFeatureExtractor",
    }
    again = SkeletonFeatureExtractor.from_pretrained(tmp_path)
    assert again.to_dict() == extractor.to_dict()
    keypoints, _ = sequence(joints=20)
    for name in ("keypoints", "frame_mask"):
        np.testing.assert_array_equal(
            again(keypoints, source_frame_rate=30)[name], extractor(keypoints, source_frame_rate=30)[name]
        )
    changed = SkeletonFeatureExtractor.from_pretrained(tmp_path, stream="bone", layout="msr20")
    assert changed.stream == "bone" and changed.skeleton_layout == get_layout("msr20")
    assert pickle.loads(pickle.dumps(extractor)).to_dict() == extractor.to_dict()


def test_a_custom_layout_loads_where_it_was_never_registered(tmp_path):
    layout = SkeletonLayout("robot_arm", ("base", "shoulder", "elbow", "hand"), (0, 0, 1, 2), center=1)
    register_layout(layout)
    SkeletonFeatureExtractor(layout="robot_arm", stream="bone").save_pretrained(tmp_path)
    code = (
        "import sys; from skeleton_transformers import SkeletonFeatureExtractor, list_layouts\n"
        "extractor = SkeletonFeatureExtractor.from_pretrained(sys.argv[1])\n"
        "assert 'robot_arm' not in list_layouts()\n"
        "print(extractor.skeleton_layout.to_dict(), extractor.stream)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{layout.to_dict()} bone"


# -- real recordings --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_real_recordings_go_through(real_data: Path, stream):
    paths = sorted((real_data / "nw-ucla" / "all_sqe").glob("*.json"))[::150]
    takes = [np.array(json.loads(path.read_text())["skeletons"], dtype=np.float32) for path in paths]
    extractor = SkeletonFeatureExtractor(
        layout="kinect20", stream=stream, center="first_frame", normalize_view=True, scale="spine"
    )
    inputs = extractor(takes, return_tensors="pt")
    assert inputs["keypoints"].shape == (len(takes), 1, max(map(len, takes)), 20, 3)
    assert inputs["frame_mask"].sum(dim=2).flatten().tolist() == [len(take) for take in takes]
    assert torch.isfinite(inputs["keypoints"]).all()
    if stream == "joint":
        layout = get_layout("kinect20")
        head, feet = layout.index("head"), [layout.index("left_foot"), layout.index("right_foot")]
        poses = inputs["keypoints"][:, 0, 0]
        assert (poses[:, head, 2] > poses[:, feet, 2].amax(dim=1) + 1).all()  # upright, in spine lengths
