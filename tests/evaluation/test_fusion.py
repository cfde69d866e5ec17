"""Fusion of streams."""

import numpy as np
import pytest

from skeleton_transformers.evaluation.fusion import fuse_predictions, load_predictions, save_predictions
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
