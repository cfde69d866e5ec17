import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_transformers import get_layout, list_layouts
from skeleton_transformers.data.formats.joint_names import (
    canonical_joint_name,
    canonical_joint_names,
    layout_of_joints,
)


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        (
            "left_shoulder",
            "ShoulderLeft LShoulder l_shoulder Left_Shoulder left-shoulder lshoulder LEFT_SHOULDER leftShoulder",
        ),
        ("right_knee", "KneeRight RKnee r.knee Knee_R rightKnee RIGHT_KNEE mixamorig:RightLeg Bip01_R_Calf"),
        ("spine_base", "Hips Pelvis HipCenter MidHip SpineBase Hip"),
        ("left_foot", "FootLeft LBigToe left_foot_index LeftToeBase l_big_toe"),
        ("left_eye_inner", "LEFT_EYE_INNER left_eye_inner LeftEyeInner"),
        ("right_hand_tip", "HandTipRight HANDTIP_RIGHT"),
        ("left_mouth", "mouth_left MouthLeft"),
        ("right_collar", "CLAVICLE_RIGHT RightCollar"),
        ("left_hip", "HipLeft LHip LeftUpLeg left_hip"),
        ("head", "Head HeadTop head"),
    ],
)
def test_spellings(expected, names):
    for name in names.split():
        assert canonical_joint_name(name) == expected


@pytest.mark.parametrize("name", list_layouts())
def test_names_of_layouts_stay(name):
    joints = get_layout(name).joints
    assert canonical_joint_names(joints) == list(joints)
    layout, order = layout_of_joints(joints, "x")
    assert layout.joints == joints and order == list(range(len(joints)))


def test_the_neck_of_a_pose_estimator_is_the_middle_of_the_shoulders():
    assert canonical_joint_names(["Nose", "Neck", "LHip"]) == ["nose", "spine_shoulder", "left_hip"]
    assert canonical_joint_names(["Head", "Neck", "LHip"]) == ["head", "neck", "left_hip"]


def test_a_layout_of_any_joints():
    names = ["left_wrist", "left_shoulder", "spine_base", "head", "c7", "right_foot", "right_knee"]
    layout, order = layout_of_joints(names, "markers")
    assert layout.name == "markers7" and layout.joints == tuple(names) and order == list(range(7))
    parents = {joint: layout.joints[parent] for joint, parent in zip(layout.joints, layout.parents)}
    assert parents == {
        **dict.fromkeys(("left_shoulder", "spine_base", "head", "c7", "right_knee"), "spine_base"),
        **{"left_wrist": "left_shoulder", "right_foot": "right_knee"},
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=12))
def test_any_names_give_a_layout(names):
    canonical = canonical_joint_names(names)
    assert len(set(canonical)) == len(names) and all(canonical)
    layout, order = layout_of_joints(canonical, "any")
    assert sorted(order) == list(range(len(names))) and [canonical[place] for place in order] == list(layout.joints)
