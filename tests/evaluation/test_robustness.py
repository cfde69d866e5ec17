"""Each kind of damage does what it says, to the right part of a recording, and the same for the same seed."""

import numpy as np
import pytest

from skeleton_transformers import (
    SkeletonFeatureExtractor,
    SkeletonLayout,
    SkeletonSample,
    SkeletonStoreWriter,
    get_layout,
)
from skeleton_transformers.data.datasets import SkeletonDataset
from skeleton_transformers.data.storage import SkeletonStore
from skeleton_transformers.evaluation.robustness import CORRUPTIONS, CorruptedDataset, corrupt, evaluate_robustness


LAYOUT = get_layout("kinect20")


def person(rng, frames=60):
    """Somebody upright along y, 1.6 m tall."""
    pose = rng.uniform(-0.3, 0.3, (20, 3))
    pose[:, 1] = np.linspace(0.1, 0.9, 20)
    pose[LAYOUT.index("spine_base")], pose[LAYOUT.index("head")] = (0, 0.8, 3), (0, 1.6, 3)
    pose[LAYOUT.index("spine_shoulder")], pose[LAYOUT.index("left_foot")] = (0.05, 1.4, 3), (0, 0.0, 3)
    return pose[None] + rng.normal(0, 0.01, (frames, 1, 3))


@pytest.fixture
def sample():
    """Two people; the second one is there in the frames 20 to 39."""
    rng = np.random.default_rng(0)
    keypoints = np.stack([person(rng), person(rng)]).astype(np.float32)
    mask = np.ones((2, 60), dtype=bool)
    mask[1, :20] = mask[1, 40:] = False
    keypoints[~mask] = 0
    return SkeletonSample(keypoints, mask, label=1, name="two")


def spoil(sample, kind, amount, seed=0):
    before = sample.keypoints.copy(), sample.frame_mask.copy()
    spoilt = corrupt(sample, LAYOUT, kind, amount, np.random.default_rng(seed))
    np.testing.assert_array_equal(sample.keypoints, before[0])
    np.testing.assert_array_equal(sample.frame_mask, before[1])
    assert spoilt.keypoints.dtype == np.float32 and not spoilt.keypoints[~spoilt.frame_mask].any()
    assert (spoilt.label, spoilt.name) == (1, "two")
    return spoilt


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_nothing_happens_at_amount_zero_and_the_seed_decides_the_rest(sample, kind):
    np.testing.assert_allclose(spoil(sample, kind, 0).keypoints, sample.keypoints, atol=1e-6)
    one, again, other = (spoil(sample, kind, CORRUPTIONS[kind][1][-1], seed) for seed in (1, 1, 4))
    np.testing.assert_array_equal(one.keypoints, again.keypoints)
    assert not np.array_equal(one.keypoints, sample.keypoints)
    if kind != "rotated_view":  # which knows two sides only
        assert not np.array_equal(one.keypoints, other.keypoints)


def test_noise_is_a_share_of_the_size(sample):
    moved = spoil(sample, "noise", 3).keypoints[0] - sample.keypoints[0]
    size = np.ptp(sample.keypoints[0], axis=1).max(axis=-1)
    assert moved.std() == pytest.approx(0.03 * np.median(size), rel=0.05)


def test_dropped_frames_are_gaps_for_everybody_and_nobody_vanishes(sample):
    spoilt = spoil(sample, "dropped_frames", 30)
    lost = ~spoilt.frame_mask[0]
    assert 8 <= lost.sum() <= 28
    np.testing.assert_array_equal(spoilt.frame_mask[1], sample.frame_mask[1] & ~lost)
    np.testing.assert_array_equal(spoilt.keypoints[:, ~lost], sample.keypoints[:, ~lost])
    all_lost = spoil(sample, "dropped_frames", 100)
    assert all_lost.frame_mask.any(axis=1).all() and all_lost.frame_mask.sum() <= 4


def test_missing_joints_are_zero_and_the_others_stay(sample):
    spoilt = spoil(sample, "missing_joints", 15)
    gone = ~spoilt.keypoints[0].any(axis=-1)
    assert gone.mean() == pytest.approx(0.15, abs=0.04)
    np.testing.assert_array_equal(spoilt.keypoints[0][~gone], sample.keypoints[0][~gone])
    np.testing.assert_array_equal(spoilt.frame_mask, sample.frame_mask)


@pytest.mark.parametrize("seed", range(4))
def test_one_limb_is_gone_for_a_run_of_frames(sample, seed):
    gone = ~spoil(sample, "occluded_limb", 50, seed).keypoints[0].any(axis=-1)  # (frames, joints)
    joints = tuple(np.flatnonzero(gone.any(axis=0)).tolist())
    assert joints in [part for name, part in LAYOUT.body_parts.items() if name != "trunk"]
    frames = np.flatnonzero(gone.any(axis=1))
    assert len(frames) == 30 == frames[-1] - frames[0] + 1
    assert gone[np.ix_(frames, joints)].all()


def test_a_turned_view_keeps_heights_and_distances(sample):
    spoilt = spoil(sample, "rotated_view", 30)
    present = sample.frame_mask
    np.testing.assert_allclose(spoilt.keypoints[present][..., 1], sample.keypoints[present][..., 1], atol=1e-5)
    before, after = (one.keypoints[present].reshape(-1, 3).astype(np.float64) for one in (sample, spoilt))
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    np.testing.assert_allclose(after @ after[0], before @ before[0], atol=1e-4)
    flat = [0, 2]
    cosine = (before[:, flat] * after[:, flat]).sum(axis=1) / (np.linalg.norm(before[:, flat], axis=1) ** 2)
    np.testing.assert_allclose(cosine, np.cos(np.radians(30)), atol=1e-3)


def test_what_cannot_happen_is_said(sample):
    with pytest.raises(ValueError, match="unknown corruption 'rain'; choose from noise, dropped_frames"):
        corrupt(sample, LAYOUT, "rain", 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="rotated_view needs three coordinates; got layout 'kinect20' and 2"):
        corrupt(sample, LAYOUT, "rotated_view", 1, np.random.default_rng(0), num_coordinates=2)
    chain = SkeletonLayout("chain", ("a", "b"), (0, 0))
    with pytest.raises(ValueError, match="occluded_limb needs a layout with several body parts"):
        corrupt(sample, chain, "occluded_limb", 1, np.random.default_rng(0))


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(1)
    with SkeletonStoreWriter(tmp_path / "store", LAYOUT, 30.0, label_names=["low", "high"], corpus="folder") as writer:
        for number in range(20):
            keypoints = person(rng)[None] + np.array([0, number % 2, 0])
            mask = np.ones((1, 60), dtype=bool)
            split = "test" if number >= 6 else "train"
            writer.add(SkeletonSample(keypoints.astype(np.float32), mask, number % 2, f"take_{number}", split=split))
    return SkeletonStore.open(tmp_path / "store")


def test_a_classifier_of_heights_minds_noise_only_where_it_should(store):
    """The class is how high the head is: turning changes nothing, and losing the head changes much."""
    head = LAYOUT.index("head")

    def predict(dataset):
        heights = [
            dataset[n]["keypoints"][0, :, head, 1][dataset[n]["frame_mask"][0]].mean() for n in range(len(dataset))
        ]
        return (np.array(heights) > 2.1).astype(int)

    extractor = SkeletonFeatureExtractor(layout="kinect20", max_persons=1)
    found = evaluate_robustness(predict, extractor, store, "split", seed=3, model="heights")
    assert found["top1_accuracy"] == 1.0 and found["num_eval_samples"] == 14 and found["model"] == "heights"
    accuracy = {kind: one["top1_accuracy"] for kind, one in found["corruptions"].items()}
    assert list(accuracy) == list(CORRUPTIONS)
    for harmless in ("noise", "dropped_frames", "occluded_limb", "rotated_view"):
        assert accuracy[harmless] == [1.0, 1.0, 1.0]
    assert accuracy["missing_joints"][-1] < 0.9  # the mean height falls with every frame in which the head is at 0
    assert found["mean_corrupted_accuracy"] == pytest.approx(np.mean(list(accuracy.values())))
    assert found["data_checksum"] == store.checksum and found["seed"] == 3
    assert list(evaluate_robustness(predict, extractor, store, "split", corruptions=["noise"])["corruptions"]) == [
        "noise"
    ]
    with pytest.raises(ValueError, match="rain cannot be measured on .*; these can: noise"):
        evaluate_robustness(predict, extractor, store, "split", corruptions=["rain"])


def test_an_item_depends_on_its_recording_alone(store):
    extractor = SkeletonFeatureExtractor(layout="kinect20", max_persons=1)
    whole = CorruptedDataset(store, np.arange(20), extractor, "noise", 3, seed=5)
    part = CorruptedDataset(store, np.array([7, 3]), extractor, "noise", 3, seed=5)
    np.testing.assert_array_equal(whole[3]["keypoints"], part[1]["keypoints"])
    clean = SkeletonDataset(store, None, extractor)
    assert not np.array_equal(whole[3]["keypoints"], clean[3]["keypoints"])
    assert len(whole) == len(clean)
