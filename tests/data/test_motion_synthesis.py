"""The embedded corpus: reproducible, anatomically sound, labelled, and hard enough to be worth learning."""

import numpy as np
import pytest

from skeleton_transformers.data.motion_synthesis import (
    ACTIONS,
    SYNTHETIC_ACTIONS,
    camera_pose,
    reference_motion,
    subject_traits,
    synthesize_corpus,
    synthesize_sequence,
    synthesize_take,
)
from skeleton_transformers.skeletons import get_layout


LAYOUT = get_layout("ntu25")
CLASSES = len(SYNTHETIC_ACTIONS)


def joint(positions, name):
    return positions[..., LAYOUT.index(name), :]


def true_bones():
    """Bones of a body (the layout's own bone from the wrist's thumb to the palm is none)."""
    return [(a, b) for a, b in LAYOUT.edges if "thumb" not in LAYOUT.joints[a] and "hand_tip" not in LAYOUT.joints[a]]


def bone_lengths(keypoints):
    a, b = np.array(true_bones()).T
    return np.linalg.norm(keypoints[..., a, :] - keypoints[..., b, :], axis=-1)


@pytest.fixture(scope="module")
def corpus():
    return list(synthesize_corpus(8 * CLASSES, seed=3))


@pytest.fixture(scope="module")
def exact():
    return list(synthesize_corpus(2 * CLASSES, seed=3, noise=False))


def test_at_least_24_actions_of_one_and_two_persons():
    assert CLASSES >= 24
    assert {action.num_persons for action in ACTIONS.values()} == {1, 2}
    for name in ("walk", "sit_down", "wave_left", "wave_right", "drink", "phone_call", "hand_over", "handshake"):
        assert name in SYNTHETIC_ACTIONS


def test_same_seed_same_bytes_in_any_order(corpus):
    for index in (217, 5, 29, 5):
        again = synthesize_sequence(index, seed=3)
        assert again.keypoints.tobytes() == corpus[index].keypoints.tobytes()
        assert again.frame_mask.tobytes() == corpus[index].frame_mask.tobytes()
        assert again.name == corpus[index].name
    tail = list(synthesize_corpus(2, seed=3, start=100))
    assert [sample.name for sample in tail] == [sample.name for sample in corpus[100:102]]
    np.testing.assert_array_equal(tail[1].keypoints, corpus[101].keypoints)


def test_other_seed_other_corpus():
    first, second = synthesize_sequence(7, seed=0), synthesize_sequence(7, seed=1)
    assert first.label == second.label
    assert first.keypoints.shape != second.keypoints.shape or not np.allclose(first.keypoints, second.keypoints)
    assert not np.allclose(subject_traits(1, 0).offsets, subject_traits(1, 1).offsets)


def test_classes_subjects_and_cameras_are_balanced():
    count = CLASSES * 4 * 3 * 2
    arguments = dict(num_subjects=4, num_cameras=3, num_setups=2, noise=False)
    samples = [synthesize_sequence(index, **arguments) for index in range(count)]
    assert np.bincount([sample.label for sample in samples]).tolist() == [24] * CLASSES
    assert np.bincount([sample.subject for sample in samples]).tolist() == [0] + [count // 4] * 4
    assert np.bincount([sample.camera for sample in samples]).tolist() == [0] + [count // 3] * 3
    assert np.bincount([sample.setup for sample in samples]).tolist() == [0] + [count // 2] * 2
    assert len({sample.name for sample in samples}) == count
    assert {sample.replication for sample in samples} == {1}
    # every class is seen by every camera, also within one subject
    assert {s.camera for s in samples if s.label == 3 and s.subject == 2} == {1, 2, 3}
    following = synthesize_sequence(count, **arguments)
    assert following.replication == 2 and following.name not in {sample.name for sample in samples}


def test_names_tell_the_protocol(corpus):
    sample = corpus[95]
    expected = (
        f"S{sample.setup:03d}C{sample.camera:03d}P{sample.subject:03d}R{sample.replication:03d}A{sample.label + 1:03d}"
    )
    assert sample.name == expected


def test_shapes_masks_and_values(corpus):
    lengths = []
    for sample in corpus:
        persons, frames, joints, channels = sample.keypoints.shape
        assert persons == ACTIONS[SYNTHETIC_ACTIONS[sample.label]].num_persons
        assert (joints, channels) == (25, 3)
        assert sample.keypoints.dtype == np.float32 and sample.frame_mask.dtype == bool
        assert sample.frame_mask.shape == (persons, frames)
        assert np.isfinite(sample.keypoints).all()
        assert (sample.keypoints[~sample.frame_mask] == 0).all()
        assert np.any(sample.keypoints[sample.frame_mask] != 0, axis=(1, 2)).all()
        assert sample.frame_mask.any(axis=1).all()
        lengths.append(frames)
    assert min(lengths) >= 30 and max(lengths) <= 110
    assert len(set(lengths)) > 30


def test_some_frames_are_lost_but_few(corpus):
    lost = np.array([1 - sample.frame_mask.mean() for sample in corpus])
    assert 0.1 < (lost > 0).mean() < 0.5
    assert lost.mean() < 0.05


def test_without_noise_nothing_is_lost_and_bones_are_rigid(exact):
    for sample in exact:
        assert sample.frame_mask.all()
        lengths = bone_lengths(sample.keypoints.astype(np.float64))
        assert np.ptp(lengths, axis=1).max() < 1e-5
        assert (lengths > 0.02).all() and (lengths < 0.7).all()


def test_noise_is_larger_on_hands_than_on_the_trunk():
    errors = []
    for index in range(0, 2 * CLASSES, 3):
        noisy, clean = synthesize_sequence(index, seed=3), synthesize_sequence(index, seed=3, noise=False)
        assert noisy.keypoints.shape == clean.keypoints.shape
        difference = np.abs(noisy.keypoints - clean.keypoints)[noisy.frame_mask]
        errors.append(np.median(difference, axis=(0, 2)))
    error = np.mean(errors, axis=0)
    assert 0.001 < error[LAYOUT.index("spine_mid")] < 0.01
    assert error[LAYOUT.index("left_hand_tip")] > 2 * error[LAYOUT.index("spine_mid")]


def test_noise_is_correlated_in_time():
    noisy, clean = synthesize_sequence(12, seed=5), synthesize_sequence(12, seed=5, noise=False)
    both = noisy.frame_mask[0, 1:] & noisy.frame_mask[0, :-1]
    error = (noisy.keypoints - clean.keypoints)[0]
    error = error - error[noisy.frame_mask[0]].mean(axis=0)
    correlation = np.mean((error[1:] * error[:-1])[both]) / np.mean((error**2)[noisy.frame_mask[0]])
    assert 0.4 < correlation < 0.98


def test_people_stand_upright_in_front_of_the_camera(exact):
    for sample in exact:
        points = sample.keypoints
        height = np.ptp(points[..., 1], axis=2)
        assert 0.7 < height.max() < 2.6
        assert points[..., 2].min() > 0.5 and points[..., 2].max() < 8
        spine = joint(points, "spine_shoulder") - joint(points, "spine_base")
        assert spine[:, 0, 1].min() > 0.2  # everybody starts upright


def test_left_is_left():
    """In the frame of the camera, somebody who faces it has the left shoulder at the smaller x."""
    aside = []
    for index in range(4 * CLASSES):
        sample = synthesize_sequence(index, noise=False, num_cameras=1)
        if len(sample.keypoints) == 1:
            aside.append(
                (joint(sample.keypoints, "left_shoulder") - joint(sample.keypoints, "right_shoulder"))[0, 0, 0]
            )
    assert np.mean(np.array(aside) < 0) > 0.95


def test_speeds_are_human(exact):
    for sample in exact:
        speed = np.linalg.norm(np.diff(sample.keypoints.astype(np.float64), axis=1), axis=-1) * 30
        assert speed.max() < 25, SYNTHETIC_ACTIONS[sample.label]  # m/s; the fastest hands and feet of athletes
        trunk = speed[:, :, LAYOUT.index("spine_base")]
        assert trunk.max() < 7


def test_feet_touch_the_ground_except_when_jumping():
    def lowest(name):
        return reference_motion(name)[0][..., 1].min(axis=-1)

    assert np.abs(lowest("drink")).max() < 1e-6
    assert np.abs(lowest("squat")).max() < 1e-6
    assert lowest("jump").max() > 0.2


@pytest.mark.parametrize("name", SYNTHETIC_ACTIONS)
def test_mirrored_script_is_the_mirror_image(name):
    for variant in range(len(ACTIONS[name].scripts)):
        plain, mirrored = reference_motion(name, variant), reference_motion(name, variant, mirrored=True)
        image = plain[:, :, LAYOUT.mirror_permutation] * np.array([-1, 1, 1], dtype=np.float32)
        np.testing.assert_allclose(mirrored, image, atol=1e-6)


def test_waving_left_mirrors_waving_right():
    left, right = reference_motion("wave_left"), reference_motion("wave_right")
    image = right[:, :, LAYOUT.mirror_permutation] * np.array([-1, 1, 1], dtype=np.float32)
    np.testing.assert_allclose(left, image, atol=1e-6)
    moved = np.ptp(left[0], axis=0).max(axis=-1)
    assert moved[LAYOUT.index("left_wrist")] > 0.5 > moved[LAYOUT.index("right_wrist")]


def test_scripts_reach_what_they_name():
    middle = 30

    def distance(name, first, second, variant=0, frame=middle, persons=(0, 0)):
        motion = reference_motion(name, variant)
        return np.linalg.norm(joint(motion[persons[0]], first)[frame] - joint(motion[persons[1]], second)[frame])

    assert distance("drink", "right_hand", "head") < 0.25
    assert distance("phone_call", "right_hand", "head") < 0.25
    assert distance("salute", "right_hand", "head") < 0.3
    assert distance("wipe_face", "right_hand", "head") < 0.25
    assert distance("clap", "left_hand", "right_hand", frame=33) < 0.5
    assert distance("handshake", "right_hand", "right_hand", persons=(0, 1)) < 0.4
    assert distance("hug", "spine_mid", "spine_mid", persons=(0, 1)) < 0.65
    seated = reference_motion("sit_down")[0]
    assert joint(seated, "spine_base")[0, 1] - joint(seated, "spine_base")[-1, 1] > 0.25
    np.testing.assert_allclose(reference_motion("stand_up")[0, 0], seated[-1], atol=1e-5)
    bow = reference_motion("bow")[0]
    assert joint(bow, "head")[0, 1] - joint(bow, "head")[middle, 1] > 0.2
    pick = reference_motion("pick_up")[0]
    assert joint(pick, "right_hand_tip")[middle, 1] < 0.35
    walk = joint(reference_motion("walk")[0], "spine_base")
    assert walk[-1, 2] - walk[0, 2] > 1.0 and abs(walk[-1, 0] - walk[0, 0]) < 0.1


def test_interactions_face_each_other():
    for name, action in ACTIONS.items():
        if action.num_persons == 2:
            start = reference_motion(name)[:, 0]
            across = joint(start, "left_shoulder") - joint(start, "right_shoulder")
            forward = np.cross(across, [0, 1, 0])
            towards = joint(start, "spine_base")[::-1] - joint(start, "spine_base")
            cosine = (forward * towards).sum(-1) / np.linalg.norm(forward, axis=-1) / np.linalg.norm(towards, axis=-1)
            assert (cosine > 0.95).all(), name


def test_both_persons_of_an_interaction_move(exact):
    for sample in exact:
        if len(sample.keypoints) == 2:
            relative = sample.keypoints - joint(sample.keypoints, "spine_base")[:, :, None]
            assert (np.ptp(relative, axis=1).max(axis=(1, 2)) > 0.1).all()


def test_subjects_differ_in_body_and_keep_theirs():
    heights = [np.linalg.norm(subject_traits(number).offsets, axis=-1).sum() for number in range(1, 30)]
    assert np.std(heights) / np.mean(heights) > 0.03
    lengths = []
    for index in (0, CLASSES * 20):  # the same performer, another recording of the same class
        sample = synthesize_sequence(index, noise=False)
        assert sample.subject == 1
        lengths.append(bone_lengths(sample.keypoints[0, 0]))
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-5)
    hands = [subject_traits(number).right_handed for number in range(1, 101)]
    assert 0.7 < np.mean(hands) < 0.97


def test_cameras_are_rotations_that_look_at_the_stage():
    for setup in range(1, 7):
        yaws = []
        for camera in range(1, 6):
            rotation, place = camera_pose(camera, setup)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(rotation) > 0
            stage = rotation @ (np.array([0, 0.95, 0]) - place)
            assert stage[2] > 2.5 and abs(stage[1]) < 0.8 and abs(stage[0]) < 0.8
            yaws.append(np.degrees(np.arctan2(place[0], -place[2])))
        assert np.ptp(yaws[:3]) > 60


def test_frame_rate_changes_the_sampling_not_the_duration():
    slow, fast = synthesize_sequence(4, noise=False, frame_rate=15), synthesize_sequence(4, noise=False, frame_rate=60)
    assert abs(fast.keypoints.shape[1] / slow.keypoints.shape[1] - 4) < 0.3


def test_a_choice_of_actions_defines_the_labels():
    actions = ("clap", "kick")
    samples = list(synthesize_corpus(4, actions=actions, num_subjects=2))
    assert [sample.label for sample in samples] == [0, 1, 0, 1]
    assert all(len(sample.keypoints) == 1 for sample in samples)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="juggle"):
        synthesize_sequence(0, actions=["juggle"])
    with pytest.raises(ValueError, match="index"):
        synthesize_sequence(-1)
    with pytest.raises(ValueError, match="num_subjects"):
        synthesize_sequence(0, num_subjects=0)
    with pytest.raises(ValueError, match="differ"):
        synthesize_sequence(0, actions=["clap", "clap"])
    with pytest.raises(ValueError, match="variant 9"):
        reference_motion("walk", 9)
    with pytest.raises(ValueError, match="two persons"):
        synthesize_take(0, 2, actions=["hug"])
    with pytest.raises(ValueError, match="num_persons"):
        synthesize_take(0, 2, num_persons=3)


def test_classes_overlap_but_can_be_told_apart(corpus):
    """Nearest neighbours on raw coordinates across subjects: far above chance, far from solved."""

    def feature(sample):
        points = sample.keypoints[0][sample.frame_mask[0]]
        points = points - points[:, LAYOUT.center][:, None]
        frames = np.linspace(0, len(points) - 1, 32).round().astype(int)
        second = sample.keypoints[-1].mean(axis=(0, 1)) if len(sample.keypoints) == 2 else np.zeros(3)
        return np.concatenate([points[frames].ravel(), second])

    features = np.stack([feature(sample) for sample in corpus])
    labels = np.array([sample.label for sample in corpus])
    odd = np.array([sample.subject % 2 == 1 for sample in corpus])
    distance = ((features[~odd][:, None] - features[odd][None]) ** 2).sum(-1)
    accuracy = (labels[odd][distance.argmin(axis=1)] == labels[~odd]).mean()
    assert 4 / CLASSES < accuracy < 0.65


# -- untrimmed takes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_persons", [1, 2])
def test_take_is_continuous_and_labelled(num_persons):
    sample, labels = synthesize_take(2, 8, num_persons=num_persons, noise=False)
    assert sample.keypoints.shape == (num_persons, len(labels), 25, 3)
    assert sample.frame_mask.all() and sample.label == -1
    assert labels.dtype == np.int64 and labels[0] == -1
    assert set(labels) <= set(range(-1, CLASSES))
    runs = np.flatnonzero(np.diff(labels)) + 1
    lengths = np.diff(np.concatenate([runs, [len(labels)]]))[labels[runs] >= 0]
    assert len(lengths) == 8 and lengths.min() >= 20
    assert 0.2 < (labels == -1).mean() < 0.75
    speed = np.linalg.norm(np.diff(sample.keypoints.astype(np.float64), axis=1), axis=-1) * 30
    assert speed.max() < 25
    assert speed[:, :, LAYOUT.index("spine_base")].max() < 5
    assert np.ptp(bone_lengths(sample.keypoints.astype(np.float64)), axis=1).max() < 1e-5


def test_labelled_frames_of_a_take_move_more_than_pauses():
    action, pause = [], []
    for index in range(6):
        sample, labels = synthesize_take(0, 6, index=index, actions=["kick", "throw", "squat", "jump"], noise=False)
        relative = sample.keypoints[0] - joint(sample.keypoints[0], "spine_base")[:, None]
        speed = np.linalg.norm(np.diff(relative, axis=0), axis=-1).mean(axis=-1) * 30
        action.append(speed[labels[1:] >= 0].mean())
        pause.append(speed[labels[1:] < 0].mean())
    assert np.mean(action) > 1.5 * np.mean(pause)


def test_takes_are_reproducible_and_different():
    first, first_labels = synthesize_take(4, 3, index=1)
    again, again_labels = synthesize_take(4, 3, index=1)
    other, _ = synthesize_take(4, 3, index=2)
    assert first.keypoints.tobytes() == again.keypoints.tobytes()
    np.testing.assert_array_equal(first_labels, again_labels)
    assert other.keypoints.shape != first.keypoints.shape or not np.allclose(other.keypoints, first.keypoints)
    assert (first.keypoints[~first.frame_mask] == 0).all()


def test_a_wanderer_stays_in_the_room():
    sample, _ = synthesize_take(1, 12, actions=["walk", "run"], noise=False, camera=1)
    place = joint(sample.keypoints, "spine_base")[0]
    assert np.ptp(place[:, 0]) < 8 and np.ptp(place[:, 2]) < 8
