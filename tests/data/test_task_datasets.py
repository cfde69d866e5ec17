"""Windows of takes with frame labels, and windows of motion to predict."""

import numpy as np
import pytest

from skeleton_transformers import (
    SkeletonAugmentation,
    SkeletonFeatureExtractor,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
)
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.task_datasets import (
    DetectionCollator,
    DetectionDataset,
    PredictionCollator,
    PredictionDataset,
)


SPATIAL = SkeletonAugmentation(probability=1.0, temporal=())
TEMPORAL = SkeletonAugmentation(probability=1.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three takes of 100, 260 and 30 frames; the x coordinate is the number of the frame, y and z that of the person."""
    path = tmp_path_factory.mktemp("takes") / "store"
    with SkeletonStoreWriter(path, "ntu25", 30.0, label_names=("a", "b"), corpus="folder") as writer:
        for number, frames in enumerate((100, 260, 30)):
            keypoints = np.zeros((2, frames, 25, 3), dtype=np.float32)
            keypoints[..., 0] = np.arange(1, frames + 1)[:, None]
            keypoints[0, ..., 1:], keypoints[1, ..., 1:] = 10, 20
            mask = np.ones((2, frames), dtype=bool)
            mask[1, frames // 2 :] = False
            mask[0, 12] = False
            labels = (np.arange(frames) // 10 % 3).astype(np.int16)
            labels[5] = -1
            keypoints[~mask] = 0
            writer.add(SkeletonSample(keypoints, mask, name=f"take{number}", frame_labels=labels))
        writer.add(SkeletonSample(np.ones((1, 40, 25, 3), np.float32), np.ones((1, 40), bool), name="trimmed"))
    return SkeletonStore.open(path)


TAKES = [0, 1, 2]


def frame_numbers(item):
    """Frames of the take that an item holds."""
    return np.where(item["frame_mask"][0], item["keypoints"][0, :, 0, 0].round() - 1, -1).astype(int)


def test_windows_hold_frames_with_their_own_labels(store):
    dataset = DetectionDataset(store, TAKES, SkeletonFeatureExtractor(), window=64, context=6)
    assert [dataset.items[:, 0].tolist().count(take) for take in TAKES] == [2, 5, 1]
    for index in range(len(dataset)):
        for epoch in range(4):
            item = dataset[SampleKey(index, epoch)]
            truth = store[int(dataset.items[index, 0])].frame_labels
            frames = frame_numbers(item)
            labelled = item["labels"] != -100
            there = frames >= 0
            assert (item["labels"][labelled & there] == truth[frames[labelled & there]]).all()
            places = np.flatnonzero(labelled)
            assert places[-1] - places[0] < 64 and labelled.sum() >= min(64, len(truth)) - 1
            assert (item["labels"] >= -100).all() and not (item["labels"] == -1).any()
            # 6 frames of context on either side, where the take goes on
            if len(truth) > 64:
                first, last = frames[there][0], frames[there][-1]
                assert first == 0 or not labelled[:6].any()
                assert last == len(truth) - 1 or not labelled[-6:].any()


def test_all_frames_are_trained_on_in_some_epoch_and_windows_move(store):
    dataset = DetectionDataset(store, TAKES, SkeletonFeatureExtractor(), window=64)
    seen, starts = set(), set()
    for epoch in range(12):
        for index in np.flatnonzero(dataset.items[:, 0] == 1):
            item = dataset[SampleKey(int(index), epoch)]
            frames = frame_numbers(item)
            starts.add(int(frames[0]))
            seen |= set(frames[item["labels"] != -100].tolist())
    assert seen >= set(range(260)) - {5, 12}
    assert len(starts) > 20


def test_a_share_of_the_labels_is_drawn_anew_every_epoch(store):
    dataset = DetectionDataset(store, TAKES, SkeletonFeatureExtractor(), window=None, label_share=0.25, seed=3)
    first, again, later = (dataset[SampleKey(1, epoch)]["labels"] != -100 for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert 0.15 < first.mean() < 0.35


def test_a_window_is_the_same_piece_of_the_normalised_take(store):
    extractor = SkeletonFeatureExtractor(center="first_frame", stream="motion")
    whole = DetectionDataset(store, [1], extractor, SPATIAL, window=None, seed=1)[SampleKey(0, 0)]
    dataset = DetectionDataset(store, [1], extractor, SPATIAL, window=64, context=6, seed=1)
    part = dataset[SampleKey(0, 0)]  # the same key, so the same augmentation
    length = part["keypoints"].shape[1]
    matches = [
        start
        for start in range(260 - length + 1)
        if np.array_equal(whole["keypoints"][:, start : start + length], part["keypoints"])
        and np.array_equal(whole["frame_mask"][:, start : start + length], part["frame_mask"])
    ]
    assert matches


def test_detection_batches_pad_with_labels_that_do_not_count(store):
    dataset = DetectionDataset(store, TAKES, SkeletonFeatureExtractor(), window=64)
    batch = DetectionCollator()([dataset[0], dataset[7]])
    assert batch["keypoints"].shape == (2, 2, 64, 25, 3) and batch["labels"].shape == (2, 64)
    assert (batch["labels"][1, 30:] == -100).all() and not batch["frame_mask"][1, :, 30:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_extractor": SkeletonFeatureExtractor(num_frames=64)}, r"changes the frames \(num_frames=64\)"),
        ({"feature_extractor": SkeletonFeatureExtractor(frame_rate=15)}, r"changes the frames \(frame_rate=15\)"),
        (
            {"feature_extractor": SkeletonFeatureExtractor(center_crop=0.95)},
            r"changes the frames \(center_crop=0.95\); set .* and center_crop to 1",
        ),
        ({"augmentation": TEMPORAL}, r"has the temporal operators \['interpolate', 'crop'\]; set temporal to \[\]"),
        ({"indices": [0, 3]}, "trimmed of .* has no frame labels; prepare the corpus with --takes"),
        ({"window": 0}, "window must be at least 1 or None, got 0"),
        ({"label_share": 0.0}, r"label_share must lie in \(0, 1\], got 0.0"),
        ({"indices": []}, "there is no take"),
    ],
)
def test_detection_refuses_what_would_part_frames_and_labels(store, options, message):
    arguments = {"indices": TAKES, "feature_extractor": SkeletonFeatureExtractor(), **options}
    with pytest.raises(ValueError, match=message):
        DetectionDataset(store, **arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Motion prediction


def prediction(store, **options):
    arguments = {"observed_frames": 20, "predicted_frames": 5, **options}
    extractor = arguments.pop("feature_extractor", SkeletonFeatureExtractor())
    return PredictionDataset(store, TAKES, extractor, **arguments)


def test_windows_are_whole_and_the_future_follows(store):
    dataset = prediction(store)
    # person 0 misses frame 12: 17 frames remain of the short take; person 1 is there for 50, 130 and 15 frames
    assert dataset.items[:, :2].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and dataset.num_dropped == 2
    for index in range(len(dataset)):
        item = dataset[index]
        assert item["keypoints"].shape == (1, 20, 25, 3) and item["future_keypoints"].shape == (1, 5, 25, 3)
        assert item["frame_mask"].all()
        frames = np.concatenate([item["keypoints"], item["future_keypoints"]], axis=1)[0, :, 0, 0]
        assert np.array_equal(np.diff(frames), np.ones(24))
        assert set(np.unique(item["future_keypoints"][..., 1:])) == {10.0 if dataset.items[index, 1] == 0 else 20.0}


def test_evaluation_takes_the_middle_and_training_draws(store):
    dataset = prediction(store)
    # windows of person 0 in the first take begin in frames 13 .. 75
    assert frame_numbers(dataset[0])[0] == 44
    assert frame_numbers(dataset[SampleKey(0, 5)])[0] == 44
    drawn = prediction(store, random=True)
    starts = {int(frame_numbers(drawn[SampleKey(0, epoch)])[0]) for epoch in range(200)}
    assert min(starts) >= 13 and max(starts) <= 75 and len(starts) > 40
    first, again = (frame_numbers(prediction(store, random=True)[SampleKey(0, 7)]) for _ in range(2))
    assert np.array_equal(first, again)


def test_long_recordings_can_give_several_windows(store):
    dataset = prediction(store, window_every=50)
    starts = [frame_numbers(dataset[i])[0] for i in np.flatnonzero((dataset.items[:, :2] == [1, 0]).all(axis=1))]
    # 223 places from 13 on, 5 windows in the middles of 5 equal parts
    assert len(starts) == 5 and np.allclose(starts, 13 + (np.arange(5) + 0.5) * 223 / 5, atol=1)


def test_the_frame_rate_of_the_extractor_holds(store):
    dataset = prediction(store, feature_extractor=SkeletonFeatureExtractor(frame_rate=15.0))
    assert dataset.frame_rate == 15.0
    item = dataset[2]
    frames = np.concatenate([item["keypoints"], item["future_keypoints"]], axis=1)[0, :, 0, 0]
    assert np.allclose(np.diff(frames), 2)


def test_a_window_is_centred_on_what_is_observed(store):
    item = prediction(store, feature_extractor=SkeletonFeatureExtractor(center="first_frame"))[0]
    center = 1  # any joint: all lie at the same place
    # A joint at the origin counts as not found and is left where it is, so look at the second frame.
    assert item["keypoints"][0, 1, center].tolist() == [1, 0, 0]
    assert item["future_keypoints"][0, 0, center].tolist() == [20, 0, 0]


def test_augmentation_changes_past_and_future_alike(store):
    dataset = prediction(store, augmentation=SkeletonAugmentation(1.0, spatial=("scale",), temporal=()))
    plain, changed = prediction(store)[0], dataset[0]
    factor = changed["keypoints"][0, 0, 0, 0] / plain["keypoints"][0, 0, 0, 0]
    assert factor != 1
    np.testing.assert_allclose(changed["future_keypoints"], factor * plain["future_keypoints"], rtol=1e-5)


def test_prediction_batches(store):
    dataset = prediction(store)
    batch = PredictionCollator()([dataset[0], dataset[3]])
    assert batch["keypoints"].shape == (2, 1, 20, 25, 3) and batch["future_keypoints"].shape == (2, 1, 5, 25, 3)
    assert batch["frame_mask"].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"feature_extractor": SkeletonFeatureExtractor(stream="motion")},
            "the feature extractor has stream='motion'",
        ),
        ({"feature_extractor": SkeletonFeatureExtractor(scale="spine")}, "the feature extractor has scale='spine'"),
        ({"feature_extractor": SkeletonFeatureExtractor(max_frames=9)}, "the feature extractor has max_frames=9"),
        (
            {"feature_extractor": SkeletonFeatureExtractor(center_crop=0.5)},
            "the feature extractor has center_crop=0.5",
        ),
        ({"augmentation": TEMPORAL}, "temporal operators"),
        ({"observed_frames": 0}, "observed_frames must be at least 1, got 0"),
        ({"window_every": 0}, "window_every must be at least 1 or None, got 0"),
        ({"observed_frames": 300}, "is present in 305 frames in a row at 30 frames per second"),
    ],
)
def test_prediction_refuses_what_makes_no_sense(store, options, message):
    with pytest.raises(ValueError, match=message):
        prediction(store, **options)
