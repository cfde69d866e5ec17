"""Pipelines: any recording in, an answer that is JSON out, the same in batches and from generators."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import pipeline

from skeleton_transformers import SkeletonFeatureExtractor, read_skeletons
from skeleton_transformers.models.families import FAMILIES
from skeleton_transformers.pipelines import PIPELINES


ROLES = {
    "skeleton-action-recognition": "action_recognition",
    "skeleton-action-detection": "action_detection",
    "skeleton-motion-prediction": "motion_prediction",
    "skeleton-feature-extraction": "encoder",
}
LABELS = ["background", "walk", "sit down", "throw"]


def make_model(family, role, **options):
    """A tiny model with random weights."""
    torch.manual_seed(0)
    labels = dict(enumerate(LABELS))
    config = (
        FAMILIES[family]
        .load("configuration")
        .from_preset("tiny", id2label=labels, label2id={name: index for index, name in labels.items()}, **options)
    )
    return FAMILIES[family].load(role)(config).eval()


def make(task, family="hitrs", extractor=None, **options):
    model = make_model(family, ROLES[task])
    return pipeline(
        task, model=model, feature_extractor=extractor or SkeletonFeatureExtractor(), device="cpu", **options
    )


@pytest.fixture(params=[name for name, family in FAMILIES.items() if family.encoder is not None])
def family(request):
    return request.param


@pytest.fixture
def takes():
    """Ragged: one or two persons, 20 to 90 frames; the first person of the third comes late."""
    rng = np.random.default_rng(0)
    takes = [rng.normal(size=(m, t, 25, 3)).astype(np.float32) for m, t in ((1, 35), (2, 90), (2, 50), (1, 20))]
    takes[2][0, :10] = 0
    return takes


def assert_same(first, second):
    """Equal structure and text, numbers that agree to single precision."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-3, abs=1e-4)
    else:
        assert first == second


@pytest.mark.parametrize("task", PIPELINES)
def test_lists_generators_and_batches_of_ragged_takes_agree(task, family, takes):
    pipe = make(task, family)
    single = [pipe(take) for take in takes]
    assert json.loads(json.dumps(single)) == single
    assert_same(pipe(takes), single)
    assert_same(pipe(takes, batch_size=3), single)
    assert_same(list(pipe((take for take in takes), batch_size=2)), single)
    assert_same(list(pipe(iter(takes))), single)
    assert_same(pipe(torch.from_numpy(takes[1])), single[1])
    assert_same(pipe({"keypoints": takes[2], "frame_mask": takes[2].any(axis=(2, 3))}), single[2])
    assert pipe([]) == []


def test_recognition_gives_the_probabilities_of_the_model(takes):
    pipe = make("skeleton-action-recognition")
    found = pipe(takes[1], top_k=9)
    with torch.no_grad():
        scores = pipe.model(**SkeletonFeatureExtractor()([takes[1]], return_tensors="pt")).logits[0].softmax(-1)
    assert [guess["score"] for guess in found] == pytest.approx(scores.sort(descending=True).values.tolist(), rel=1e-4)
    assert found[0]["label"] == LABELS[int(scores.argmax())]
    assert len(pipe(takes[1], top_k=2)) == 2


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    "task", ["skeleton-action-recognition", "skeleton-feature-extraction", "skeleton-action-detection"]
)
def test_each_person_alone_is_as_in_a_recording_of_her_own(task, batch_size, takes):
    pipe = make(task)
    results = pipe(takes, per_person=True, batch_size=batch_size)
    assert [[one["person"] for one in people] for people in results] == [[0], [0, 1], [0, 1], [0]]
    (name,) = set(results[1][1]) - {"person"}
    assert_same(results[1][1][name], pipe(takes[1][1:]))


def test_a_real_file_a_recording_and_its_arrays_are_one_input(fixtures):
    pipe = make("skeleton-feature-extraction", extractor=SkeletonFeatureExtractor(center="first_frame"))
    file = fixtures / "S001C001P001R001A050.skeleton"
    recording = read_skeletons(file, bodies="simple")
    result = pipe(str(file))
    assert_same(pipe(file), result)
    assert_same(pipe(recording), result)
    assert_same(pipe({"keypoints": recording.keypoints, "frame_mask": recording.frame_mask}), result)
    people = pipe(recording, per_person=True)
    assert [one["person"] for one in people] == list(range(len(recording.keypoints)))


def test_a_file_of_mediapipe_is_recognised_in_its_own_layout(tmp_path):
    points = np.random.default_rng(0).uniform(0.2, 0.8, (30, 33, 2))
    frames = [[{"x": x, "y": y, "z": 0.0, "visibility": 0.9} for x, y in frame.tolist()] for frame in points]
    (tmp_path / "video.json").write_text(json.dumps({"fps": 25, "frames": frames}))
    recording = read_skeletons(tmp_path / "video.json")
    channels = recording.keypoints.shape[-1]
    model = make_model("hitrs", "action_recognition", layout="mediapipe33", num_channels=channels)
    extractor = SkeletonFeatureExtractor(layout="mediapipe33", num_channels=channels)
    pipe = pipeline("skeleton-action-recognition", model=model, feature_extractor=extractor, device="cpu")
    found = pipe(str(tmp_path / "video.json"))
    assert_same(pipe({"keypoints": recording.keypoints, "frame_rate": recording.frame_rate}), found)
    assert_same(pipe(tmp_path / "video.json", per_person=True), [{"person": 0, "predictions": found}])


def test_detection_tells_frames_of_the_input_and_seconds(takes):
    extractor = SkeletonFeatureExtractor(frame_rate=15)
    pipe = make("skeleton-action-detection", extractor=extractor, rule="argmax_runs")
    take = takes[1]
    found = pipe({"keypoints": take, "frame_rate": 30})
    assert found and all(action["label"] in LABELS[1:] for action in found)
    for action in found:
        assert 0 <= action["start"] < action["end"] <= take.shape[1]
        assert action["start_seconds"] == pytest.approx(action["start"] / 30)
        assert action["end_seconds"] == pytest.approx(action["end"] / 30)
    assert [action["start"] for action in found] == sorted(action["start"] for action in found)
    assert make("skeleton-action-detection", threshold=1.0)(take) == []
    with pytest.raises(ValueError, match="num_frames=64"):
        make("skeleton-action-detection", extractor=SkeletonFeatureExtractor(num_frames=64))


@pytest.mark.parametrize("options", [{}, {"center": "first_frame"}, {"center": "first_frame", "normalize_view": True}])
def test_motion_goes_on_in_the_coordinates_of_the_input(options):
    """A model whose decoder predicts no change goes on with the last observed pose, wherever normalising has moved it."""
    pipe = make("skeleton-motion-prediction", extractor=SkeletonFeatureExtractor(**options))
    with torch.no_grad():
        pipe.model.decoder.output.weight.zero_()
        pipe.model.decoder.output.bias.zero_()
    take = np.random.default_rng(1).normal(size=(2, 80, 25, 3)).astype(np.float32) + [1.0, 2.0, 5.0]
    present = np.ones((2, 80), dtype=bool)
    present[1, 70:] = False
    people = pipe({"keypoints": take, "frame_mask": present, "frame_rate": 30})
    assert [one["person"] for one in people] == [0, 1] and people[0]["frame_rate"] == 30
    for one, last in zip(people, (79, 69), strict=True):
        predicted = np.array(one["keypoints"])
        assert predicted.shape == (pipe.model.config.prediction_frames, 25, 3)
        np.testing.assert_allclose(predicted, np.broadcast_to(take[one["person"], last], predicted.shape), atol=1e-4)
    with pytest.raises(ValueError, match="stream='bone'"):
        make("skeleton-motion-prediction", extractor=SkeletonFeatureExtractor(stream="bone"))


def test_what_is_no_input_is_named(takes, tmp_path):
    pipe = make("skeleton-action-recognition")
    for wrong, message in (
        (3, "an input is a path, .*; got int"),
        ({"points": takes[0]}, "a dictionary holds keypoints .*; got points"),
        (np.zeros((1, 5, 25, 3)), "nobody is present"),
        (takes[0][:, :, :20], "has 20 joints"),
    ):
        with pytest.raises(ValueError, match=message):
            pipe(wrong)
    with pytest.raises(ValueError, match="nobody is present"):
        pipe(np.zeros((1, 5, 25, 3)), per_person=True)
    with pytest.raises(FileNotFoundError, match="nothing.skeleton: there is no such file"):
        pipe(tmp_path / "nothing.skeleton")
    with pytest.raises(ValueError, match="has no option 'topk'; known: per_person"):
        pipe(takes[0], topk=3)
    with pytest.raises(
        ValueError, match="the feature extractor gives 20 joints with 3 channels, but the model takes 25"
    ):
        make("skeleton-action-recognition", extractor=SkeletonFeatureExtractor(layout="kinect20"))


def test_a_checkpoint_without_the_trained_task_or_the_feature_extractor_is_refused(tmp_path):
    make_model("hitrs", "pretraining").save_pretrained(tmp_path)
    with pytest.raises(OSError, match="feature extractor"):
        pipeline("skeleton-feature-extraction", model=str(tmp_path))
    SkeletonFeatureExtractor().save_pretrained(tmp_path)
    message = re.escape("it was saved as HiTRSForPreTraining and is not trained for skeleton-action-recognition")
    with pytest.raises(ValueError, match=message):
        pipeline("skeleton-action-recognition", model=str(tmp_path))
    features = pipeline("skeleton-feature-extraction", model=str(tmp_path))(np.ones((9, 25, 3)))
    assert len(features) == make_model("hitrs", "encoder").config.hidden_size


@pytest.mark.parametrize(
    "imports",
    [
        "from transformers import pipeline; import skeleton_transformers",
        "import skeleton_transformers.pipelines; from transformers import pipeline",
    ],
)
def test_tasks_are_known_in_any_order_of_imports(imports, tmp_path):
    make_model("hitrs", "action_recognition").save_pretrained(tmp_path)
    SkeletonFeatureExtractor().save_pretrained(tmp_path)
    np.save(tmp_path / "take.npy", np.ones((9, 25, 3), dtype=np.float32))
    code = (
        f"{imports}\npipe = pipeline('skeleton-action-recognition', model={str(tmp_path)!r})\n"
        f"print(len(pipe({str(tmp_path / 'take.npy')!r})))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "4"
