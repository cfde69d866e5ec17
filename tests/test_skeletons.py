"""Layouts: published lists, what is refused, round trips, conversion; sides and bones of real recordings."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers.skeletons import (
    SkeletonLayout,
    convert_layout,
    get_layout,
    is_built_in_layout,
    list_layouts,
    nearest_joints,
    register_layout,
)


NAMES = "ntu25 kinect20 msr20 openpose18 openpose25 coco17 halpe26 wholebody23 h36m17 h36m25 cmu28 mediapipe33 smpl22".split()

# child, parent; the root is listed with itself. The first two lists count from 1, as they were published.
BONES = {
    "ntu25": "(1,2)(2,21)(3,21)(4,3)(5,21)(6,5)(7,6)(8,7)(9,21)(10,9)(11,10)(12,11)(13,1)(14,13)(15,14)(16,15)(17,1)"
    "(18,17)(19,18)(20,19)(21,21)(22,23)(23,8)(24,25)(25,12)",
    "kinect20": "(1,2)(2,3)(3,3)(4,3)(5,3)(6,5)(7,6)(8,7)(9,3)(10,9)(11,10)(12,11)(13,1)(14,13)(15,14)(16,15)(17,1)"
    "(18,17)(19,18)(20,19)",
    "openpose18": "(0,0)(1,0)(2,1)(3,2)(4,3)(5,1)(6,5)(7,6)(8,2)(9,8)(10,9)(11,5)(12,11)(13,12)(14,0)(15,0)"
    "(16,14)(17,15)",
    "openpose25": "(0,1)(1,8)(2,1)(3,2)(4,3)(5,1)(6,5)(7,6)(8,8)(9,8)(10,9)(11,10)(12,8)(13,12)(14,13)(15,0)(16,0)"
    "(17,15)(18,16)(19,14)(20,19)(21,14)(22,11)(23,22)(24,11)",
    "coco17": "(0,0)(1,0)(2,0)(3,1)(4,2)(5,0)(6,0)(7,5)(8,6)(9,7)(10,8)(11,0)(12,0)(13,11)(14,12)(15,13)(16,14)",
    "h36m17": "(0,0)(1,0)(2,1)(3,2)(4,0)(5,4)(6,5)(7,0)(8,7)(9,8)(10,9)(11,8)(12,11)(13,12)(14,8)(15,14)(16,15)",
}
GRAPHS = {
    "openpose18": "(4,3)(3,2)(7,6)(6,5)(13,12)(12,11)(10,9)(9,8)(11,5)(8,2)(5,1)(2,1)(0,1)(15,0)(14,0)(17,15)(16,14)",
    "coco17": "(15,13)(13,11)(16,14)(14,12)(11,5)(12,6)(9,7)(7,5)(10,8)(8,6)(5,0)(6,0)(1,0)(3,1)(2,0)(4,2)",
}
GRAPHS["wholebody23"] = GRAPHS["coco17"] + "(17,15)(18,17)(19,15)(20,16)(21,20)(22,16)"


def pairs(text: str, first: int) -> list[tuple[int, int]]:
    return [(int(a) - first, int(b) - first) for a, b in re.findall(r"\((\d+),(\d+)\)", text)]


def test_list_layouts_begins_with_the_built_in_ones():
    assert list_layouts()[: len(NAMES)] == NAMES


@pytest.mark.parametrize("name", BONES)
def test_parents_are_the_published_bones(name):
    bones = dict(pairs(BONES[name], first=1 if name in ("ntu25", "kinect20") else 0))
    assert get_layout(name).parents == tuple(bones[joint] for joint in range(len(bones)))


@pytest.mark.parametrize("name", NAMES)
def test_edges_are_the_published_graph_or_the_bones(name):
    layout = get_layout(name)
    if name in GRAPHS:
        assert set(layout.edges) == set(pairs(GRAPHS[name], first=0))
    else:
        bones = {(joint, parent) for joint, parent in enumerate(layout.parents) if joint != parent}
        assert bones <= set(layout.edges)
        assert len(layout.edges) == layout.num_joints - 1 + (2 if name == "mediapipe33" else 0)


def test_special_joints():
    ntu = get_layout("ntu25")
    assert (ntu.center, ntu.graph_center, ntu.root) == (1, 20, 20)
    assert (ntu.spine, ntu.shoulders) == ((0, 1), (4, 8))
    assert [get_layout(name).graph_center for name in ("kinect20", "openpose18", "coco17", "h36m17")] == [2, 1, 0, 0]
    assert get_layout("coco17").spine is None


@pytest.mark.parametrize("name", NAMES)
def test_sides_agree_with_names_and_with_the_tree(name):
    layout = get_layout(name)
    sided = [joint for joint in layout.joints if joint.startswith(("left_", "right_"))]
    assert 2 * len(layout.left_right) == len(sided)
    for left, right in layout.left_right:
        assert layout.joints[left].removeprefix("left_") == layout.joints[right].removeprefix("right_")
    mirror = layout.mirror_permutation
    np.testing.assert_array_equal(mirror[mirror], np.arange(layout.num_joints))
    # mirroring the body maps the tree and the graph onto themselves
    np.testing.assert_array_equal(mirror[np.array(layout.parents)][mirror], layout.parents)
    edges = {frozenset(edge) for edge in layout.edges}
    assert {frozenset((int(mirror[a]), int(mirror[b]))) for a, b in layout.edges} == edges
    parts = layout.body_parts
    assert list(parts) == ["trunk", "left_arm", "right_arm", "left_leg", "right_leg"]
    assert sorted(mirror[list(parts["left_arm"])]) == sorted(parts["right_arm"])
    assert sorted(mirror[list(parts["left_leg"])]) == sorted(parts["right_leg"])


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_through_json_is_exact(name):
    layout = get_layout(name)
    again = SkeletonLayout.from_dict(json.loads(json.dumps(layout.to_dict())))
    assert again == layout and hash(again) == hash(layout)
    assert get_layout(layout.to_dict()) == layout
    assert is_built_in_layout(again)


def arm() -> dict:
    return {
        "name": "arm",
        "joints": ("left_shoulder", "left_elbow", "right_shoulder", "right_elbow", "chest"),
        "parents": (4, 0, 4, 2, 4),
    }


def test_three_fields_are_enough():
    layout = SkeletonLayout(**arm())
    assert layout.root == layout.center == layout.graph_center == 4
    assert layout.edges == ((0, 4), (1, 0), (2, 4), (3, 2))
    assert layout.left_right == ((0, 2), (1, 3))
    assert layout.body_parts == {"trunk": (4,), "left_arm": (0, 1), "right_arm": (2, 3)}
    assert layout.shoulders == (0, 2) and layout.spine is None
    assert SkeletonLayout("dots", ("a", "b"), (0, 0)).body_parts == {"body": (0, 1)}
    assert SkeletonLayout("point", ("a",), (0,)).edges == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"joints": ()}, "at least one joint"),
        ({"joints": "abcde"}, "list of joint names"),
        ({"joints": ("a", "b", "b", "c", "d")}, r"'joints': each joint name may be used once; got \['b'\]"),
        ({"parents": (4, 0, 4, 2)}, "one parent for each of the 5 joints; got '4 parents'"),
        ({"parents": (4, 0, 4, 2, 9)}, "joint indices run from 0 to 4; got 9"),
        ({"parents": (4, 0, 4, 2, 1.5)}, "whole numbers"),
        ({"parents": (4, 0, 4, 2, "x")}, "whole numbers"),
        ({"parents": (4, 0, 2, 2, 4)}, r"exactly one joint, the root.*got \['right_shoulder', 'chest'\]"),
        ({"parents": (1, 0, 4, 2, 4)}, "not in a cycle; got 'left_shoulder'"),
        ({"edges": ((0, 0),)}, "two different joints"),
        ({"edges": ((0, 1), (1, 0))}, "listed once"),
        ({"edges": ((0, 1, 2),)}, "pairs of joints"),
        ({"left_right": ((0, 2), (2, 3))}, r"one left/right pair only; got \['right_shoulder'\]"),
        ({"body_parts": {"arms": (0, 1, 2, 3)}}, r"exactly one body part; got {'missing': \['chest'\]"),
        ({"body_parts": {"arms": (0, 1, 2, 3), "rest": (3, 4)}}, r"'repeated': \['right_elbow'\]"),
        ({"center": 5}, "'center': joint indices run from 0 to 4; got 5"),
        ({"graph_center": -2}, "'graph_center'"),
        ({"spine": (0, 0)}, "two different joints"),
        ({"shoulders": (0, 1, 2)}, "two different joints"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SkeletonLayout(**{**arm(), **change})


def test_from_dict_names_unknown_and_missing_fields():
    with pytest.raises(
        ValueError, match=r"Unknown fields of a skeleton layout: \['root'\]; the fields are name, joints"
    ):
        SkeletonLayout.from_dict({**arm(), "root": 4})
    with pytest.raises(ValueError, match=r"missing: \['parents'\]"):
        SkeletonLayout.from_dict({"name": "arm", "joints": ["a"]})


def test_index_and_get_layout_list_what_there_is():
    assert get_layout("ntu25").index("spine_shoulder") == 20
    with pytest.raises(ValueError, match="no joint 'tail'; its joints are nose"):
        get_layout("coco17").index("tail")
    with pytest.raises(ValueError, match="Unknown skeleton layout 'ntu26'; known are ntu25, kinect20"):
        get_layout("ntu26")


def test_register_layout():
    layout = register_layout(SkeletonLayout("registered_here", ("a", "b"), (0, 0)))
    assert get_layout("registered_here") is layout and not is_built_in_layout(layout)
    register_layout(layout)  # the same again is no conflict
    other = SkeletonLayout("registered_here", ("a", "c"), (0, 0))
    with pytest.raises(ValueError, match="already registered.*exist_ok=True"):
        register_layout(other)
    assert register_layout(other, exist_ok=True) == get_layout("registered_here")
    with pytest.raises(ValueError, match="built-in skeleton layout and cannot be replaced"):
        register_layout(SkeletonLayout("ntu25", ("a",), (0,)), exist_ok=True)
    with pytest.raises(ValueError, match="takes a SkeletonLayout; got dict"):
        register_layout(layout.to_dict())


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 2**31))
def test_conversion_keeps_shared_joints(source, target, seed):
    source, target = get_layout(source), get_layout(target)
    keypoints = np.random.default_rng(seed).normal(size=(2, 3, source.num_joints, 3)).astype(np.float32)
    before = keypoints.copy()
    converted, joint_mask = convert_layout(keypoints, source, target)
    assert converted.shape == (2, 3, target.num_joints, 3) and converted.dtype == np.float32
    for index, joint in enumerate(target.joints):
        assert joint_mask[index] == (joint in source.joints)
        expected = keypoints[:, :, source.index(joint)] if joint_mask[index] else 0
        np.testing.assert_array_equal(converted[:, :, index], np.broadcast_to(expected, converted[:, :, index].shape))
    np.testing.assert_array_equal(keypoints, before)
    back, _ = convert_layout(converted, target, source)
    shared = [joint in target.joints for joint in source.joints]
    np.testing.assert_array_equal(back[:, :, shared], keypoints[:, :, shared])


def test_kinect20_to_ntu25_and_back_is_the_identity():
    keypoints = np.random.default_rng(0).normal(size=(2, 7, 20, 3)).astype(np.float32)
    there, found = convert_layout(keypoints, "kinect20", "ntu25")
    back, shared = convert_layout(there, "ntu25", "kinect20")
    assert shared.all() and not found.all()
    np.testing.assert_array_equal(back, keypoints)
    missing = {joint for joint, is_there in zip(get_layout("ntu25").joints, found) if not is_there}
    assert missing == {"neck", "left_hand_tip", "right_hand_tip", "left_thumb", "right_thumb"}
    assert not there[:, :, ~found].any()


# The joints of each pose tool in the words and the order of its own documentation, and what they are called here.
PUBLISHED = {
    "openpose25": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
    "halpe26": "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle "
    "RAnkle Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel",
    "wholebody23": "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee "
    "LAnkle RAnkle LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
}
WORDS = {
    "Neck": "spine_shoulder",
    "MidHip": "spine_base",
    "Hip": "spine_base",
    "BigToe": "foot",
    "SmallToe": "small_toe",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_joints_are_in_the_order_of_the_tool(name):
    expected = []
    for word in PUBLISHED[name].split():
        side = {"L": "left_", "R": "right_"}.get(word[0], "") if word[1].isupper() else ""
        rest = word[1:] if side else word
        expected.append(side + (rest.lower() if side and rest == "Hip" else WORDS.get(rest, rest.lower())))
    assert list(get_layout(name).joints) == expected


def test_kinect20_and_msr20_hold_the_same_joints():
    _, joint_mask = convert_layout(np.zeros((20, 3)), "kinect20", "msr20")
    assert joint_mask.all()


def test_conversion_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"'ntu25' has 25 joints, but the keypoints have shape \(4, 20, 3\)"):
        convert_layout(np.zeros((4, 20, 3)), "ntu25", "kinect20")
    with pytest.raises(ValueError, match="no joint name in common"):
        convert_layout(np.zeros((1, 3)), SkeletonLayout("point", ("tail",), (0,)), "ntu25")


# -- real recordings: is the order of the joints what the layouts say? ------------------------------------------------
def read_msr(path) -> np.ndarray:
    poses = np.loadtxt(path)[:, :3].reshape(-1, 20, 3)
    return poses[(poses != 0).any(axis=(1, 2))]


def recordings(folder, layout) -> list[np.ndarray]:
    if layout == "msr20":
        read = [read_msr(path) for path in sorted((folder / "msr-action3d").glob("*/a*.txt"))[::12]]
    elif layout == "kinect20":
        paths = sorted((folder / "nw-ucla" / "all_sqe").glob("*.json"))[::30]
        read = [np.array(json.loads(path.read_text())["skeletons"], dtype=float) for path in paths]
    else:
        paths = sorted((folder / "gtu-3d-actions").glob("*/*.txt"))[::15]
        read = [np.loadtxt(path).reshape(-1, 25, 3) for path in paths]
    return [poses for poses in read if len(poses) > 5]


@pytest.mark.parametrize("name", ["ntu25", "kinect20", "msr20"])
def test_order_of_joints_in_real_recordings(real_data, name):
    layout = get_layout(name)
    takes = recordings(real_data, name)
    assert len(takes) > 20
    joint = layout.index
    variation, facing, upright = [], [], []
    for poses in takes:
        bones = np.linalg.norm(poses - poses[:, layout.parents], axis=-1)  # (frames, joints)
        variation.append(np.delete(bones.std(axis=0) / bones.mean(axis=0).clip(1e-9), layout.root))
        right = poses[:, joint("right_shoulder")] - poses[:, joint("left_shoulder")]
        up = poses[:, joint("spine_shoulder")] - poses[:, joint("spine_base")]
        feet = sum(poses[:, joint(f"{s}_foot")] - poses[:, joint(f"{s}_ankle")] for s in ("left", "right"))
        # up x right points where the feet point, in a right-handed camera frame
        facing.append((np.einsum("tc,tc->t", np.cross(up, right), feet) > 0).mean())
        heights = [
            poses[:, joint(j), 1].mean() for j in ("head", "spine_shoulder", "spine_base", "left_knee", "left_foot")
        ]
        upright.append(heights == sorted(heights, reverse=True))
    # bones keep their length (hands of Kinect v2 are noisy, so the median joint and not the worst)
    assert np.median(variation, axis=0).max() < 0.3
    assert np.median(variation) < 0.12
    assert np.mean(facing) > 0.9
    assert np.mean(upright) > 0.9


def test_msr_right_side_does_the_one_sided_actions(real_data):
    """The subjects were told to act with the right arm (actions 1 to 9) and the right leg (14, 15: kicks)."""
    layout = get_layout("msr20")
    for actions, limb in ((range(1, 10), ("elbow", "wrist", "hand")), ((14, 15), ("knee", "ankle", "foot"))):
        wins = []
        for action in actions:
            for path in sorted((real_data / "msr-action3d").glob(f"*/a{action:02d}_*.txt"))[::4]:
                poses = read_msr(path)
                speed = np.abs(np.diff(poses - poses[:, [layout.index("spine_base")]], axis=0)).sum(axis=(0, 2))
                sides = [sum(speed[layout.index(f"{side}_{word}")] for word in limb) for side in ("left", "right")]
                wins.append(sides[1] > sides[0])
        assert len(wins) > 10 and np.mean(wins) > 0.95


def test_a_joint_that_is_missing_is_replaced_by_the_nearest_one_on_the_way_to_the_root():
    target = SkeletonLayout("target", ("root", "middle", "neck", "nose", "left_hand"), (0, 0, 1, 2, 1))
    source = SkeletonLayout("source", ("left_hand", "neck"), (1, 1))
    # root and middle have nothing above them: the nearest below, first come first served, is the neck
    assert nearest_joints(source, target) == [1, 1, 1, 1, 0]
    assert nearest_joints(target, target) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="'other' and 'target' have no joint name in common"):
        nearest_joints(SkeletonLayout("other", ("x", "y"), (0, 0)), target)
