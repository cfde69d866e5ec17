import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.kinetics_json import read_kinetics_json, read_kinetics_labels


def person(rng, score=0.5):
    return {"pose": rng.uniform(0, 1, 36).round(3).tolist(), "score": [score] * 18}


def points(person):
    return np.concatenate([np.reshape(person["pose"], (18, 2)), np.reshape(person["score"], (18, 1))], axis=1)


def write(path, frames, **more):
    path.write_text(json.dumps({"data": frames, **more}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clip.json"


def test_the_most_certain_people_of_every_frame(path):
    rng = np.random.default_rng(0)
    a, b, c, d, e, f = (person(rng, score) for score in (0.2, 0.9, 0.5, 0.4, 0.3, 1.0))
    frames = [
        {"frame_index": 1, "skeleton": [a]},
        {"frame_index": 2, "skeleton": [a, b, c, d, e, f]},  # f is the sixth, which nobody reads
        {"frame_index": 3, "skeleton": []},
        {"frame_index": 5, "skeleton": [c, b]},
    ]
    write(path, frames, label="yoga", label_index=398)
    keypoints, frame_mask, label = read_kinetics_json(path)
    assert label == ("yoga", 398) and keypoints.dtype == np.float32 and keypoints.shape == (2, 5, 18, 3)
    assert frame_mask.tolist() == [[True, True, False, False, True], [False, True, False, False, True]]
    np.testing.assert_allclose(keypoints[0, 0], points(a), rtol=1e-6)
    np.testing.assert_allclose(keypoints[:, 1], [points(b), points(c)], rtol=1e-6)
    np.testing.assert_allclose(keypoints[:, 4], [points(b), points(c)], rtol=1e-6)
    assert not keypoints[~frame_mask].any()
    assert read_kinetics_json(path, max_persons=1)[0].shape[0] == 1
    assert read_kinetics_json(path, max_persons=9)[0].shape[0] == 5


def test_joints_that_were_not_found_hold_zeros(path):
    body = person(np.random.default_rng(0))
    body["score"][4] = 0
    nobody = {"pose": [0.3] * 36, "score": [0] * 18}
    write(path, [{"frame_index": 7, "skeleton": [body, nobody]}])
    keypoints, frame_mask, label = read_kinetics_json(path)
    assert keypoints.shape == (1, 1, 18, 3) and frame_mask.all() and label == ("", -1)
    assert not keypoints[0, 0, 4].any() and keypoints[0, 0, 5].all()


GOOD = person(np.random.default_rng(1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "clip.json: not JSON"),
        ("[" * 100_000, "clip.json: not JSON"),
        ("[1, 2]", "no list of frames under the key 'data'"),
        ('{"data": []}', "no list of frames under the key 'data'"),
        ({"data": [5]}, "entry 0 of 'data': 'frame_index' is None"),
        (
            {"data": [{"frame_index": 10**12, "skeleton": []}]},
            "'frame_index' is 1000000000000, expected a whole number from 0",
        ),
        ({"data": [{"frame_index": True, "skeleton": []}]}, "'frame_index' is True"),
        ({"data": [{"frame_index": 1.5, "skeleton": []}]}, "'frame_index' is 1.5"),
        ({"data": [{"frame_index": 1, "skeleton": [GOOD]}] * 2}, "entry 1 of 'data': frame_index 1 is there twice"),
        ({"data": [{"frame_index": 1}]}, r"entry 0 of 'data' \(frame 1\): no list of people"),
        ({"data": [{"frame_index": 1, "skeleton": []}]}, "nobody was found in any of its 1 frames"),
        ({"data": [{"frame_index": 1, "skeleton": [3]}]}, "person 0: expected 'pose' with 36 and 'score' with 18"),
        ({"data": [{"frame_index": 1, "skeleton": [{**GOOD, "score": [1] * 17}]}]}, "'score' with 18 numbers"),
        ({"data": [{"frame_index": 1, "skeleton": [{**GOOD, "pose": ["x"] * 36}]}]}, "'pose' with 36"),
        ({"data": [{"frame_index": 1, "skeleton": [{**GOOD, "pose": [10**400] * 36}]}]}, "'pose' with 36"),
        (
            {"data": [{"frame_index": 1, "skeleton": [{**GOOD, "pose": [float("nan")] * 36}]}]},
            "joint 0: x, y, score are",
        ),
        (
            {"data": [{"frame_index": 1, "skeleton": [{**GOOD, "pose": [0.5, 240.0] * 18}]}]},
            "expected fractions of the image",
        ),
        ({"data": [{"frame_index": 1, "skeleton": [{**GOOD, "score": [-0.1] * 18}]}]}, "a score from 0"),
        ({"data": [{"frame_index": 1, "skeleton": [GOOD]}], "label_index": "x"}, "label '' with label_index 'x'"),
    ],
)
def test_damage_is_named_with_its_place(path, content, message):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(RecordingError, match=message):
        read_kinetics_json(path)


def test_label_files(tmp_path):
    path = tmp_path / "kinetics_val_label.json"
    path.write_text(
        '{"x_1": {"has_skeleton": true, "label": "yoga", "label_index": 398}, "y": {"has_skeleton": false, "label": "zumba", "label_index": 399}}'
    )
    assert read_kinetics_labels(path) == {"x_1": (True, "yoga", 398), "y": (False, "zumba", 399)}
    for content, message in (
        ("[]", "expected a table of clips, found a list"),
        ('{"x": {"has_skeleton": 1, "label": "yoga", "label_index": 398}}', "clip 'x': .* has not the fields"),
        ('{"x": 3}', "clip 'x': 3 has not the fields"),
        ("{", "not JSON"),
    ):
        path.write_text(content)
        with pytest.raises(RecordingError, match=message):
            read_kinetics_labels(path)
    with pytest.raises(RecordingError, match="gone.json: cannot be read"):
        read_kinetics_labels(tmp_path / "gone.json")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_in_full(path, data):
    frames = [{"frame_index": i, "skeleton": [GOOD] * (i % 3)} for i in range(1, 5)]
    whole = json.dumps({"data": frames, "label": "yoga", "label_index": 398}).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 12)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=3)) + whole[stop:])
    try:
        keypoints, frame_mask, _ = read_kinetics_json(path)
    except RecordingError as error:
        assert "clip.json" in str(error)
        return
    assert np.isfinite(keypoints).all() and frame_mask.any() and not keypoints[~frame_mask].any()
    assert keypoints[..., :2].min() >= -1 and keypoints[..., :2].max() <= 2
