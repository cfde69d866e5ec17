"""Pictures of results: what is drawn where."""

import numpy as np
import pytest
from PIL import Image

from skeleton_transformers.visualization.results import (
    plot_confusion,
    plot_per_class,
    plot_reliability,
    plot_timeline,
    render_prediction,
)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_confusion_marks_where_the_predictions_are(tmp_path):
    dark = []
    for name, counts in (("right", np.eye(3, dtype=int) * 5), ("wrong", np.roll(np.eye(3, dtype=int), 1, axis=1) * 5)):
        picture = pixels(plot_confusion(counts, ["a", "b", "c"], tmp_path / f"{name}.png"))
        dark.append((picture[..., 2] - picture[..., 0] > 60) & (picture.sum(axis=-1) < 400))  # full blue
    assert dark[0].sum() > 1000 and (dark[0] & dark[1])[:, : dark[0].shape[1] * 3 // 4].sum() < 0.05 * dark[0].sum()
    with pytest.raises(ValueError, match=r"of 2 classes cannot have the shape \(3, 3\)"):
        plot_confusion(np.eye(3), ["a", "b"], tmp_path / "x.png")


def test_bars_of_classes_are_as_long_as_their_accuracy(tmp_path):
    def blue(accuracy):
        path = plot_per_class(np.array([accuracy, np.nan]), np.array([4, 0]), ["a", "b"], tmp_path / "bars.png")
        picture = pixels(path)
        return ((abs(picture - [33, 113, 181])).sum(axis=-1) < 30).sum()

    assert blue(1.0) == pytest.approx(2 * blue(0.5), rel=0.1) and blue(0.0) < 10


def test_reliability_and_timeline_are_drawn(tmp_path):
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 1.0, "count": 8, "confidence": 0.8, "accuracy": 0.5},
    ]
    picture = pixels(plot_reliability(bins, 0.3, tmp_path / "reliability.png"))
    blue = (abs(picture - [33, 113, 181])).sum(axis=-1) < 30
    assert blue.any() and not blue[:, : picture.shape[1] // 3].any()  # nothing in the empty bin
    path = plot_timeline([(1, 0, 50)], [(1, 40, 60), (2, 60, 70)], ["background", "a", "b"], tmp_path / "take.png")
    assert len(np.unique(pixels(path).reshape(-1, 3), axis=0)) > 10


def test_prediction_stands_beside_the_truth(tmp_path):
    rng = np.random.default_rng(0)
    observed, true = rng.normal(size=(8, 20, 3)), rng.normal(size=(4, 20, 3))
    path = render_prediction(observed, true, true + 0.1, "kinect20", tmp_path / "motion.gif", frame_rate=25)
    with Image.open(path) as picture:
        assert picture.n_frames == 12 and picture.info["duration"] == 80  # half the speed
    with pytest.raises(ValueError, match="the latter two of one length"):
        render_prediction(observed, true, true[:2], "kinect20", tmp_path / "x.gif")
