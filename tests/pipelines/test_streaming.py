"""Live recognition and detection give what the model gives for the same frames at once."""

import numpy as np
import pytest
import torch

from skeleton_transformers import (
    HiTRSConfig,
    HiTRSForActionDetection,
    HiTRSForActionRecognition,
    SkeletonEnsembleFeatureExtractor,
    SkeletonFeatureExtractor,
    STGCNConfig,
    STGCNForActionDetection,
    STGCNForActionRecognition,
    StreamingRecognizer,
)
from skeleton_transformers.evaluation.detection import frames_to_segments, predict_frames
from skeleton_transformers.models.hitrs.caching_hitrs import remember_features
from skeleton_transformers.models.hitrs.modeling_hitrs import HiTRSClipEncoder, HiTRSFrameEncoder


LABELS = {0: "background", 1: "walk", 2: "run"}
MAP = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}


def make_model(model_class, config_class, **fields):
    torch.manual_seed(0)
    model = model_class(config_class.from_preset("tiny", **MAP, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.classifier.weight.normal_()
    return model


def make_take():
    """Two persons who walk away: the second comes later, both are lost for a while, and at the start nobody is there."""
    rng = np.random.default_rng(0)
    steps = rng.normal(scale=0.05, size=(2, 70, 1, 3)).cumsum(axis=1)
    keypoints = (rng.normal(size=(2, 1, 25, 3)) + steps + rng.normal(scale=0.1, size=(2, 70, 25, 3))).astype(
        np.float32
    )
    mask = np.ones((2, 70), dtype=bool)
    mask[:, :3] = mask[1, :20] = mask[:, 30:34] = mask[0, 50:62] = False
    keypoints[~mask] = 0
    return keypoints, mask


@pytest.fixture(scope="module")
def recognizer():
    return make_model(HiTRSForActionRecognition, HiTRSConfig)


@pytest.fixture(scope="module")
def detector():
    return make_model(HiTRSForActionDetection, HiTRSConfig)


@pytest.fixture
def take():
    return make_take()


def frames_of(take):
    """Frame by frame, with as many places as there are needed."""
    keypoints, mask = take
    for number in range(mask.shape[1]):
        there = np.flatnonzero(mask[:, number])
        yield keypoints[: there[-1] + 1, number] if len(there) else None


def scores(update, labels=LABELS):
    found = {row["label"]: row["score"] for row in update.predictions}
    return np.array([found[label] for label in labels.values()])


EXTRACTORS = {
    "none": {},
    "first_frame": {"center": "first_frame"},
    "every_frame, motion": {"center": "every_frame", "stream": "motion"},
    "view, bone, last motion": {"normalize_view": True, "stream": "motion", "motion_zero": "last"},
    "spine": {"scale": "spine", "center": "first_frame"},
    "resized": {"num_frames": 24, "center": "first_frame"},
    "one person": {"max_persons": 1, "person_selection": "presence"},
}


@pytest.mark.parametrize("options", EXTRACTORS.values(), ids=EXTRACTORS)
def test_every_prediction_is_that_of_the_window_at_once(recognizer, take, options):
    extractor = SkeletonFeatureExtractor(**options)
    live = StreamingRecognizer(recognizer, extractor, window=32)
    keypoints, mask = take
    start, starts = 0, []
    for number, frame in enumerate(frames_of(take)):
        update = live.push(frame)
        while number + 1 - start > 32:
            start += live.hop
        starts.append(start)
        part = slice(start, number + 1)
        if not mask[:, part].any():
            assert update.predictions == []
            continue
        if number % 3:
            continue
        inputs = extractor(keypoints[:, part], mask[:, part], return_tensors="pt")
        with torch.no_grad():
            expected = recognizer(**inputs).logits[0].softmax(-1)
        np.testing.assert_allclose(scores(update), expected, atol=1e-5)
        assert update.frames == number + 1
    expected_hop = {
        "none": 7,
        "every_frame, motion": 7,
        "first_frame": 14,
        "view, bone, last motion": 14,
        "one person": 7,
    }
    name = next(name for name, value in EXTRACTORS.items() if value is options)
    assert live.hop == expected_hop.get(name, 1) and starts[-1] > 30


def test_a_frame_and_a_clip_are_encoded_once(recognizer, monkeypatch):
    counts = {HiTRSFrameEncoder: 0, HiTRSClipEncoder: 0}
    for encoder, rows in ((HiTRSFrameEncoder, 0), (HiTRSClipEncoder, 1)):
        forward = encoder.forward

        def count(self, *arguments, _encoder=encoder, _rows=rows, _forward=forward):
            counts[_encoder] += len(arguments[_rows])
            return _forward(self, *arguments)

        monkeypatch.setattr(encoder, "forward", count)
    keypoints = np.random.default_rng(0).normal(size=(38, 25, 3))
    live = StreamingRecognizer(recognizer, SkeletonFeatureExtractor(), window=70)
    for frame in keypoints[:30]:
        live.push(frame)
    assert counts[HiTRSFrameEncoder] == 30 + 1  # and the zero frame
    before = counts[HiTRSClipEncoder]
    for frame in keypoints[30:]:
        live.push(frame)
    # Only the last two clips lack frames, and change with every new one.
    assert counts[HiTRSFrameEncoder] == 38 + 1 and counts[HiTRSClipEncoder] - before <= 2 * 8


def test_the_remembering_model_shares_weights_and_forgets_what_it_no_longer_sees(recognizer):
    remembering = remember_features(recognizer)
    assert (
        remembering.hitrs.frame.encoder is recognizer.hitrs.frame
        and recognizer.hitrs.frame is not remembering.hitrs.frame
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for length in (40, 20):
            batch = torch.randn(2, 2, length, 25, 3, generator=generator)
            mask = torch.rand(2, 2, length, generator=generator) > 0.3
            torch.testing.assert_close(
                remembering(batch, mask).logits, recognizer(batch, mask).logits, atol=1e-5, rtol=1e-5
            )
    assert len(remembering.hitrs.frame.features) == int(mask.sum()) + 1
    with pytest.raises(ValueError, match="does not have the states of all layers"):
        remembering(batch, output_hidden_states=True)


DETECTION = {
    name: EXTRACTORS[name] for name in ("none", "first_frame", "every_frame, motion", "view, bone, last motion")
}


@pytest.mark.parametrize("rule, min_frames", [("threshold", 1), ("argmax_runs", 1), ("argmax_runs", 3)])
@pytest.mark.parametrize("options", DETECTION.values(), ids=DETECTION)
def test_probabilities_and_actions_are_those_of_the_whole_take(detector, take, options, rule, min_frames):
    extractor = SkeletonFeatureExtractor(**options)
    inputs = extractor(take[0], take[1])
    with torch.no_grad():  # scores are shifted, so that something begins and ends
        logits = detector(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits[0]
        detector.classifier.bias.sub_(logits.median(dim=0).values)
    expected = predict_frames(detector, inputs["keypoints"][0], inputs["frame_mask"][0])
    live = StreamingRecognizer(
        detector, extractor, rule=rule, radius=2, threshold=0.6, min_frames=min_frames, frame_rate=30.0
    )
    updates = [live.push(frame) for frame in frames_of(take)]
    late = int(extractor.motion_zero == "last")
    assert [len(update.probabilities) for update in updates] == [0] * (6 + late) + [1] * (64 - late)
    updates.append(live.finish())
    found = np.concatenate([update.probabilities for update in updates])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    segments = [one for one in frames_to_segments(expected, "", rule, 2, 0.6, min_frames) if one.label]
    actions = [action for update in updates for action in update.finished]
    assert len(actions) == len(segments) >= 1
    for action, segment in zip(actions, sorted(segments, key=lambda one: one.start), strict=True):
        assert (action["label"], action["start"], action["end"]) == (LABELS[segment.label], segment.start, segment.end)
        assert action["score"] == pytest.approx(segment.confidence, abs=1e-5)
        assert action["start_seconds"] == pytest.approx(segment.start / 30)
    # An action was seen to run, with its beginning, before it had ended; the last frames come at once.
    began = {update.running["start"] for update in updates if update.running}
    assert began >= {action["start"] for action in actions if action["start"] < 55}
    assert len(live._buffer) <= 2 * 6 + 3 and updates[-1].running is None
    with pytest.raises(ValueError, match=r"call reset\(\)"):
        live.push(None)
    live.reset()
    assert live.push(take[0][:, 10]).frames == 1


@pytest.mark.parametrize("every", [1, 5])
def test_other_families_recompute_the_window_and_detect_block_by_block(take, every):
    extractor = SkeletonFeatureExtractor(center="first_frame", num_frames=20)
    model = make_model(STGCNForActionRecognition, STGCNConfig)
    live = StreamingRecognizer(model, extractor, every=every, top_k=3)
    for number, frame in enumerate(frames_of(take)):
        update = live.push(frame)
        if (number + 1) % every:
            assert update.predictions is None
    with torch.no_grad():
        expected = model(**extractor(take[0][:, -20:], take[1][:, -20:], return_tensors="pt")).logits[0].softmax(-1)
    np.testing.assert_allclose(scores(update), expected, atol=1e-5)

    extractor = SkeletonFeatureExtractor(center="first_frame")
    model = make_model(STGCNForActionDetection, STGCNConfig, frame_window=16)
    inputs = extractor(take[0], take[1])
    expected = predict_frames(model, inputs["keypoints"][0], inputs["frame_mask"][0])
    live = StreamingRecognizer(model, extractor, every=every)
    updates = [*(live.push(frame) for frame in frames_of(take)), live.finish()]
    found = [update.probabilities for update in updates if update.probabilities is not None]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    assert sum(len(part) for part in found[:-1]) >= 40


def test_another_rate_with_and_without_timestamps(detector, recognizer, take):
    extractor = SkeletonFeatureExtractor(frame_rate=20.0, center="first_frame")
    inputs = extractor(take[0], take[1], source_frame_rate=30.0)
    expected = predict_frames(detector, inputs["keypoints"][0], inputs["frame_mask"][0])
    regular = StreamingRecognizer(detector, extractor, frame_rate=30.0)
    stamped = StreamingRecognizer(detector, extractor)
    for live, times in ((regular, [None] * 70), (stamped, 100 + np.arange(70) / 30)):
        updates = [live.push(frame, timestamp=time) for frame, time in zip(frames_of(take), times)]
        updates.append(live.finish())
        found = np.concatenate([update.probabilities for update in updates])
        np.testing.assert_allclose(found, expected[: len(found)], atol=1e-4)
        assert len(expected) - len(found) <= (live is stamped)
        for action in (action for update in updates for action in update.finished):
            begin = 100.0 if live is stamped else 0.0
            step = 1.0 if live is stamped else 1.5
            assert action["start"] == pytest.approx((action["start_seconds"] - begin) * 20 * step, abs=0.51)

    # A window of what came in at an uneven rate, with a pause in which nobody was there.
    live = StreamingRecognizer(recognizer, extractor, window=20)
    still = np.repeat(take[0][:1, 10], 12, axis=0)
    for time, frame in zip([0.0, 0.04, 0.11, 0.16, 0.2, 0.24, 1.0, 1.03, 1.06, 1.1, 1.16, 1.21], still):
        live.push(frame, timestamp=time)
    there = [there.any() for _, there in live._buffer]
    assert there == [*[True] * 5, *[False] * 15, *[True] * 5][-len(there) :] and len(there) > 12


def test_bad_input_is_named(recognizer, detector):
    live = StreamingRecognizer(recognizer, SkeletonFeatureExtractor())
    frame = np.ones((2, 25, 3), dtype=np.float32)
    live.push(frame)
    with pytest.raises(
        ValueError,
        match=r"frame 1: has shape \(2, 20, 3\); a frame is \(persons, 25, 3\), 25 joints in layout 'ntu25'",
    ):
        live.push(frame[:, :20])
    frame[1, 4, 2] = np.nan
    with pytest.raises(
        ValueError, match="frame 1: coordinates of person 1 are not finite; repair them, or set present"
    ):
        live.push(frame)
    assert live.push(frame, present=[True, False]).frames == 2
    with pytest.raises(ValueError, match=r"frame 2: present has shape \(1,\), but there are 2 persons"):
        live.push(frame, present=[True])
    with pytest.raises(ValueError, match="frame 2: either all frames have a timestamp or none"):
        live.push(None, timestamp=1.0)
    live.reset()
    live.push(None, timestamp=1.0)
    with pytest.raises(ValueError, match="frame 1: its timestamp 0.5 is not after that of the frame before, 1.0"):
        live.push(None, timestamp=0.5)
    with pytest.raises(ValueError, match="resamples to 20 frames per second, but the rate of the frames is not known"):
        StreamingRecognizer(recognizer, SkeletonFeatureExtractor(frame_rate=20.0)).push(None)
    with pytest.raises(ValueError, match="scale='spine', which needs the whole take"):
        StreamingRecognizer(detector, SkeletonFeatureExtractor(scale="spine"))
    with pytest.raises(ValueError, match="gives 20 joints with 3 channels, but the model takes 25"):
        StreamingRecognizer(recognizer, SkeletonFeatureExtractor("kinect20"))
    with pytest.raises(ValueError, match="an ensemble has no single stream of frames; give one of its members"):
        StreamingRecognizer(recognizer, SkeletonEnsembleFeatureExtractor({"joint": SkeletonFeatureExtractor()}))
    with pytest.raises(ValueError, match="window=400, but the feature extractor keeps the first 300 frames"):
        StreamingRecognizer(recognizer, SkeletonFeatureExtractor(max_frames=300), window=400)
    with pytest.raises(ValueError, match="hop=9 is more than window=8"):
        StreamingRecognizer(recognizer, SkeletonFeatureExtractor(), window=8, hop=9)


def test_a_saved_model_is_found_by_what_it_is(detector, recognizer, tmp_path):
    for name, model in (("detector", detector), ("recognizer", recognizer)):
        model.save_pretrained(tmp_path / name)
        SkeletonFeatureExtractor().save_pretrained(tmp_path / name)
        live = StreamingRecognizer.from_pretrained(tmp_path / name, device="cpu")
        assert live.is_detector == (name == "detector")
    detector.base_model.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="was saved as HiTRSModel, which is neither a recogniser nor a detector"):
        StreamingRecognizer.from_pretrained(tmp_path / "encoder")
