import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from skeleton_transformers.data.kinematics import forward_kinematics


def test_an_arm_of_two_bones():
    parents = [-1, 0, 1]
    offsets = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    rotations = np.stack([np.stack([turn, turn, np.eye(3)]), np.stack([np.eye(3), turn, turn])])
    positions = forward_kinematics(parents, offsets, rotations, np.array([[0.0, 0, 5], [1.0, 1, 1]]))
    np.testing.assert_allclose(positions[0], [[0, 0, 5], [0, 1, 5], [-2, 1, 5]], atol=1e-12)
    np.testing.assert_allclose(positions[1], [[1, 1, 1], [2, 1, 1], [2, 3, 1]], atol=1e-12)


def test_the_order_of_the_joints_is_checked():
    for parents in ([-1, 2, 0], [0, 0], [-1, -1], [-1, 1]):
        with pytest.raises(ValueError, match="the root comes first, every joint after its parent"):
            count = len(parents)
            forward_kinematics(parents, np.zeros((count, 3)), np.zeros((1, count, 3, 3)), np.zeros((1, 3)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_bones_keep_their_lengths_and_the_tree_is_followed(joints, seed):
    rng = np.random.default_rng(seed)
    parents = [-1, *(int(rng.integers(joint)) for joint in range(1, joints))]
    offsets = rng.normal(size=(joints, 3))
    rotations = Rotation.random(4 * joints, rng=rng).as_matrix().reshape(4, joints, 3, 3)
    root = rng.normal(size=(4, 3))
    positions = forward_kinematics(parents, offsets, rotations, root)
    bones = positions[:, 1:] - positions[:, parents[1:]]
    np.testing.assert_allclose(np.linalg.norm(bones, axis=-1), np.tile(np.linalg.norm(offsets[1:], axis=-1), (4, 1)))
    # a joint's place is the sum of the turned offsets on the way to the root
    joint = joints - 1
    place, turned = offsets[joint], joint
    while parents[turned] != -1:
        turned = parents[turned]
        place = offsets[turned] + rotations[0, turned] @ place
    np.testing.assert_allclose(positions[0, joint], root[0] + place)
    # offsets that change with the frames are the same thing
    moving = np.broadcast_to(offsets, (4, joints, 3))
    np.testing.assert_array_equal(forward_kinematics(parents, moving, rotations, root), positions)
