import json

import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError


def landmarks(frame=0, world=False, form=dict):
    """33 landmarks; world landmarks have the middle of the hips at the origin."""
    values = np.random.default_rng(frame).uniform(0.2, 0.8, (33, 3))
    if world:
        values -= (values[23] + values[24]) / 2
    if form is dict:
        return [dict(zip("xyz", map(float, point)), visibility=0.9) for point in values]
    return [[*map(float, point), 0.9] for point in values]


def values(frame=0, world=False):
    return np.array([point[:3] for point in landmarks(frame, world, list)])


def read(tmp_path, content, **options):
    path = tmp_path / "take.json"
    path.write_text(json.dumps(content))
    recording = read_skeletons(path, **options)
    assert recording.format == "mediapipe-json" and recording.layout.name == "mediapipe33"
    return recording


@pytest.mark.parametrize(
    "wrap",
    [
        lambda frames: frames,
        lambda frames: [[person] for person in frames],  # people of a frame
        lambda frames: {"fps": 25, "frames": frames},
        lambda frames: [{"landmarks": person} for person in frames],
        lambda frames: [{"frame": n + 7, "pose_landmarks": person} for n, person in enumerate(frames)],
        lambda frames: [{"poseLandmarks": [person]} for person in frames],
        lambda frames: [{"pose_landmarks": {"landmark": person}} for person in frames],
        lambda frames: {"pose_landmarks": frames},
        lambda frames: {
            "results": [{"pose_landmarks": person, "timestamp_ms": 40 * n} for n, person in enumerate(frames)]
        },
    ],
)
@pytest.mark.parametrize("form", [dict, list])
def test_every_form(tmp_path, wrap, form):
    recording = read(tmp_path, wrap([landmarks(n, form=form) for n in range(3)]))
    expected = np.stack([values(n)[:, :2] for n in range(3)])
    assert recording.units == "image fraction" and recording.keypoints.shape == (1, 3, 33, 2)
    np.testing.assert_allclose(recording.keypoints[0], expected, rtol=1e-6)
    np.testing.assert_allclose(recording.confidence, 0.9, rtol=1e-6)


def test_world_landmarks_are_told_by_name_or_by_their_origin(tmp_path):
    both = [{"pose_landmarks": landmarks(n), "pose_world_landmarks": landmarks(n, True)} for n in range(2)]
    world = read(tmp_path, both)
    assert world.units == "metre"
    np.testing.assert_allclose(world.keypoints[0, 1], values(1, True), rtol=1e-6)
    image = read(tmp_path, both, landmarks="image")
    np.testing.assert_allclose(image.keypoints[0, 1], values(1)[:, :2], rtol=1e-6)
    nameless = read(tmp_path, [landmarks(n, True) for n in range(2)])
    np.testing.assert_array_equal(nameless.keypoints, world.keypoints)


def test_frames_without_anybody_and_several_people(tmp_path):
    recording = read(tmp_path, {"frames": [landmarks(0), None, [], [landmarks(1), landmarks(2)]], "fps": 12.5})
    assert recording.frame_mask.tolist() == [[True, False, False, True], [False, False, False, True]]
    assert recording.frame_rate == 12.5
    numbered = [{"frame": n, "landmarks": landmarks(n)} for n in (10, 12)]
    assert read(tmp_path, numbered).frame_mask.tolist() == [[True, False, True]]


def test_pixels_of_a_browser(tmp_path):
    frames = [{"keypoints": [{"x": 640 * p[0], "y": 480 * p[1], "score": 0.5} for p in values(n)]} for n in range(2)]
    recording = read(tmp_path, frames, image_size=(640, 480))
    np.testing.assert_allclose(recording.keypoints[0, 0], values(0)[:, :2], rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([landmarks(0), landmarks(0)[:20]], "frame 1, person 0: 20 landmarks, expected the 33 of the pose"),
        ([{"pose_landmarks": landmarks()[:21]}], "frame 0, person 0: 21 landmarks"),
        ([landmarks(0)[:-1] + [{"x": "a", "y": 1}]], "expected 33 x 4 numbers"),
        ({"fps": "fast", "frames": [landmarks()]}, "the frame rate is 'fast', expected a number"),
        ({"fps": 0, "frames": [landmarks()]}, "the frame rate is 0.0"),
        ([{"frame": 1, "landmarks": landmarks()}] * 2, "two frames have the same number"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content)
