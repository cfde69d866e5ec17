"""Errors of predicted motion, and the baselines beside them."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from skeleton_transformers import (
    HiTRSConfig,
    HiTRSForMotionPrediction,
    SkeletonFeatureExtractor,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
)
from skeleton_transformers.data.task_datasets import PredictionDataset
from skeleton_transformers.evaluation.motion_prediction import (
    at_horizons,
    constant_velocity,
    euler_angle_error,
    evaluate_prediction,
    mpjpe,
    prediction_part,
    zero_velocity,
)


def test_mpjpe_is_the_mean_distance_in_millimetres():
    true = np.zeros((2, 3, 4, 3))
    predicted = true.copy()
    predicted[0, 1] = [0.03, 0.04, 0]  # all joints of one sample 50 mm off
    predicted[:, 2, 0] = [0, 0, 0.2]  # one of four joints of both 200 mm off
    assert mpjpe(predicted, true) == pytest.approx([0, 25, 50])


def test_errors_between_two_frames_are_interpolated():
    at_25 = at_horizons(np.arange(1.0, 11.0), 25)  # a frame every 40 ms
    assert at_25 == pytest.approx({"80": 2, "160": 4, "320": 8, "400": 10})
    at_30 = at_horizons(np.arange(1.0, 13.0), 30)
    assert at_30 == pytest.approx({"80": 2.4, "160": 4.8, "320": 9.6, "400": 12})
    assert at_horizons(np.array([10.0]), 5, (100, 200, 201)) == pytest.approx({"100": 5, "200": 10})


def test_baselines_stay_or_go_on():
    observed = np.cumsum(np.ones((1, 5, 2, 3)), axis=1)
    assert np.array_equal(zero_velocity(observed, 3), np.full((1, 3, 2, 3), 5.0))
    assert np.array_equal(constant_velocity(observed, 3)[0, :, 0, 0], [6, 7, 8])
    assert np.array_equal(constant_velocity(observed[:, :1], 2)[0, :, 0, 0], [1, 1])


def martinez_euler(expmap):
    """Euler angles by the formulas of the paper's supplement, one matrix after the other."""
    angle = np.linalg.norm(expmap)
    axis = expmap / (angle + np.finfo(np.float32).eps)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    second = -np.arcsin(matrix[0, 2])
    first = np.arctan2(matrix[1, 2] / np.cos(second), matrix[2, 2] / np.cos(second))
    third = np.arctan2(matrix[0, 1] / np.cos(second), matrix[0, 0] / np.cos(second))
    return np.array([first, second, third])


def test_angle_error_agrees_with_the_formulas_of_its_authors():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(0, 0.4, (2, 3, 5, 6, 3))  # (samples, frames, 1 + nodes, 3)
    true[:, :, 4] = true[:, :1, 4]  # a joint that does not move does not count
    expected = np.zeros((3, 5))
    for sample in range(3):
        angles = [
            np.array([[martinez_euler(e) for e in frame[2:]] for frame in values[sample]]).reshape(5, -1)
            for values in (true, predicted)
        ]
        moving = angles[0].std(axis=0) > 1e-4
        assert moving.sum() == 9
        expected[sample] = np.linalg.norm((angles[0] - angles[1])[:, moving], axis=1)
    assert euler_angle_error(predicted, true) == pytest.approx(expected.mean(axis=0), abs=1e-5)


def test_the_root_does_not_count_in_the_angle_error():
    true = np.random.default_rng(1).normal(0, 0.3, (1, 4, 5, 3))
    predicted = true.copy()
    predicted[:, :, :2] += 7
    assert euler_angle_error(predicted, true) == pytest.approx(np.zeros(4), abs=1e-12)
    predicted[:, :, 3] = Rotation.from_euler("xyz", [0.3, 0, 0]).as_rotvec()
    assert (euler_angle_error(predicted, true) > 0.01).all()


@pytest.mark.parametrize("measure", [mpjpe, euler_angle_error])
def test_shapes_that_do_not_fit_are_named(measure):
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 3\).*\(1, 2, 4, 3\)"):
        measure(np.zeros((1, 2, 3, 3)), np.zeros((1, 2, 4, 3)))
    with pytest.raises(ValueError, match="no sample"):
        measure(np.zeros((0, 2, 3, 3)), np.zeros((0, 2, 3, 3)))


def walking_store(path, units="metre"):
    """Everybody drifts at a constant speed, so constant velocity is right."""
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(25, 3)).astype(np.float32)
    with SkeletonStoreWriter(path, "ntu25", 30.0, units=units, corpus="folder") as writer:
        for number in range(8):
            frames, speed = 30 + number, rng.normal(0, 0.02, 3)
            keypoints = pose + np.arange(frames)[:, None, None] * speed
            split = "test" if number % 2 else "train"
            writer.add(
                SkeletonSample(
                    keypoints[None].astype(np.float32), np.ones((1, frames), bool), name=f"t{number}", split=split
                )
            )
    return SkeletonStore.open(path)


def test_evaluation_puts_the_baselines_beside_the_model(tmp_path):
    store = walking_store(tmp_path / "store")
    part = prediction_part(store, "split", "test")
    dataset = PredictionDataset(
        store, part, SkeletonFeatureExtractor(), observed_frames=20, predicted_frames=6, window_every=4
    )
    torch.manual_seed(0)
    model = HiTRSForMotionPrediction(HiTRSConfig.from_preset("tiny", num_layers=1, decoder_hidden_size=32))
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.output.bias.zero_()
    results = evaluate_prediction(model, dataset, "split", batch_size=3)
    errors = results["mpjpe_mm"]
    assert errors["model"] == pytest.approx(errors["zero_velocity"])  # the model just made says that nothing moves
    assert max(errors["constant_velocity"].values()) < 0.01
    assert set(errors["model"]) == {"80", "160", "mean"}  # 6 frames are 200 ms
    assert errors["zero_velocity"]["160"] == pytest.approx(2 * errors["zero_velocity"]["80"], rel=1e-4)
    assert results["num_samples"] == len(dataset) and results["split"] == "split"
    assert model.training  # as before
    alone = evaluate_prediction(None, dataset, "split")
    assert set(alone["mpjpe_mm"]) == {"zero_velocity", "constant_velocity"}
    assert alone["mpjpe_mm"]["zero_velocity"] == pytest.approx(errors["zero_velocity"])


def test_random_windows_and_other_units_are_refused(tmp_path):
    store = walking_store(tmp_path / "store")
    dataset = PredictionDataset(
        store, None, SkeletonFeatureExtractor(), observed_frames=9, predicted_frames=6, random=True
    )
    with pytest.raises(ValueError, match="make the dataset with random=False"):
        evaluate_prediction(None, dataset)
    pixels = walking_store(tmp_path / "pixels", units="image_fraction")
    with pytest.raises(ValueError, match="has the unit 'image_fraction'"):
        prediction_part(pixels, "split", "test")
