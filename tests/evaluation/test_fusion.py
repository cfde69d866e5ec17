"""Fusion of streams."""

import numpy as np
import pytest

from skeleton_transformers.evaluation.fusion import (
    fuse_predictions,
    load_predictions,
    save_predictions,
    search_weights,
)
from skeleton_transformers.evaluation.metrics import softmax


NAMES = ["c", "a", "d", "b"]
CLASSES = ["walk", "run", "sit"]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    joint, motion = rng.normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 1])
    save_predictions(tmp_path / "joint.npz", joint, labels, NAMES, CLASSES)
    order = [2, 0, 3, 1]
    save_predictions(tmp_path / "motion.npz", motion[order], labels[order], [NAMES[i] for i in order], CLASSES)
    return tmp_path, joint, motion, labels


def test_mean_of_logits_matches_samples_by_name(files):
    folder, joint, motion, labels = files
    fused = fuse_predictions([folder / "joint.npz", folder / "motion.npz"])
    order = np.argsort(NAMES)
    np.testing.assert_allclose(fused.logits, ((joint + motion) / 2)[order], rtol=1e-6)
    assert fused.top1_accuracy == np.mean((joint + motion).argmax(1) == labels)
    assert fused.single == [np.mean(joint.argmax(1) == labels), np.mean(motion.argmax(1) == labels)]


def test_weights_and_softmax(files):
    folder, joint, motion, _ = files
    fused = fuse_predictions([folder / "joint.npz", folder / "motion.npz"], weights=[3, 1], mode="softmax")
    expected = (3 * softmax(joint) + softmax(motion)) / 4
    np.testing.assert_allclose(fused.logits, expected[np.argsort(NAMES)], rtol=1e-6)


def test_files_about_other_samples_are_refused(files, tmp_path):
    folder, joint, _, labels = files
    save_predictions(tmp_path / "other.npz", joint, labels, ["c", "a", "d", "x"], CLASSES)
    with pytest.raises(ValueError, match="not about the same samples: their names differ"):
        fuse_predictions([folder / "joint.npz", tmp_path / "other.npz"])
    save_predictions(tmp_path / "other.npz", joint, labels[::-1], NAMES, CLASSES)
    with pytest.raises(ValueError, match="their labels differ"):
        fuse_predictions([folder / "joint.npz", tmp_path / "other.npz"])
    np.savez(tmp_path / "bad.npz", logits=joint)
    with pytest.raises(ValueError, match=r"bad.npz is no file of predictions: the fields \['labels', 'names'"):
        load_predictions(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="as many weights"):
        fuse_predictions([folder / "joint.npz"], weights=[1, 2])


@pytest.mark.parametrize("mode", ["logits", "softmax"])
def test_searched_weights_are_the_best_of_all_that_there_are(mode):
    rng = np.random.default_rng(3)
    labels = rng.integers(3, size=60)
    # One classifier is good, one is useless, one is confidently wrong.
    right = np.eye(3)[labels]
    scores = np.stack([right + rng.normal(size=(60, 3)), rng.normal(size=(60, 3)), 4 * np.roll(right, 1, axis=1)])
    found = search_weights(scores, labels, mode, steps=5)
    values = softmax(scores) if mode == "softmax" else scores

    def quality(weights):
        fused = sum(weight * score for weight, score in zip(weights, values))
        probabilities = fused if mode == "softmax" else softmax(fused)
        return np.mean(fused.argmax(1) == labels), np.log(
            np.clip(probabilities, 1e-12, 1)[np.arange(60), labels]
        ).mean()

    grid = [(a / 5, b / 5, (5 - a - b) / 5) for a in range(6) for b in range(6 - a)]
    assert sum(found) == pytest.approx(1) and found[0] == max(found) and found[2] == 0
    assert quality(found) == pytest.approx(max(map(quality, grid)))
    with pytest.raises(ValueError, match="20 classifiers have 20030010 weights in steps of 1/10; take fewer steps"):
        search_weights(np.zeros((20, 4, 3)), np.zeros(4, dtype=int))


def test_weights_are_searched_on_other_recordings_than_they_are_judged_by(files, tmp_path):
    folder, joint, motion, labels = files
    both = [folder / "joint.npz", folder / "motion.npz"]
    with pytest.raises(ValueError, match="have 4 recordings in common, such as 'a': weights searched on what"):
        fuse_predictions(both, validation_files=both)
    for name, scores in (("joint", joint), ("motion", 5 * np.eye(3)[labels])):
        save_predictions(tmp_path / f"{name}_val.npz", scores, labels, ["w", "x", "y", "z"], CLASSES)
    validation = [tmp_path / "joint_val.npz", tmp_path / "motion_val.npz"]
    fused = fuse_predictions(both, validation_files=validation)
    weights = search_weights(np.stack([joint, 5 * np.eye(3)[labels]]), labels)
    assert fused.weights == weights
    np.testing.assert_allclose(
        fused.logits, (weights[0] * joint + weights[1] * motion)[np.argsort(NAMES)], rtol=1e-6, atol=1e-7
    )
    with pytest.raises(ValueError, match="not both"):
        fuse_predictions(both, weights=[1, 1], validation_files=validation)
    with pytest.raises(ValueError, match="2 files need as many of the validation part"):
        fuse_predictions(both, validation_files=validation[:1])
