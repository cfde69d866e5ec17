import json

import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError


def person(joints, x, missing=(), person_id=None, columns=3):
    """A person whose joint j is at (x + j, 10 j)."""
    values = np.stack([x + np.arange(joints), 10.0 * np.arange(joints) + 1], axis=1)
    values = np.concatenate([values, np.full((joints, columns - 2), 0.75)], axis=1)
    values[list(missing)] = 0
    found = {f"pose_keypoints_{columns - 1}d": values.ravel().tolist(), "hand_left_keypoints_2d": [1.0, 1.0, 0.5] * 21}
    return found | ({} if person_id is None else {"person_id": [person_id]})


def write(folder, frames, video="clip"):
    folder.mkdir(exist_ok=True)
    for number, people in frames.items():
        content = {"version": 1.3, "people": people}
        (folder / f"{video}_{number:012d}_keypoints.json").write_text(json.dumps(content))
    return folder


def test_people_are_followed_though_their_order_changes(tmp_path):
    frames = {n: [person(25, 100 + n, person_id=-1), person(25, 900 - n)][:: 1 if n % 2 else -1] for n in range(6)}
    recording = read_skeletons(write(tmp_path / "clip", frames), image_size=(1000, 500))
    assert recording.format == "openpose-json" and recording.layout.name == "openpose25"
    assert recording.units == "image fraction" and recording.keypoints.shape == (2, 6, 25, 2)
    for start, step in ((100, 1), (900, -1)):
        row = next(row for row in recording.keypoints if abs(row[0, 0, 0] * 1000 - start) < 1)
        np.testing.assert_allclose(
            row[:, :, 0] * 1000, start + step * np.arange(6)[:, None] + np.arange(25), rtol=1e-5
        )
        np.testing.assert_allclose(row[0, :, 1] * 500, 10 * np.arange(25) + 1, rtol=1e-5)
    assert recording.joint_mask is None and np.all(recording.confidence == 0.75)


def test_gaps_missing_joints_and_persons_with_hands_only(tmp_path):
    hands = {"pose_keypoints_2d": [], "hand_left_keypoints_2d": [1, 1, 0.5] * 21}
    frames = {100: [person(18, 5, missing=(3, 9))], 101: [hands], 103: [person(18, 6)]}
    recording = read_skeletons(write(tmp_path / "clip", frames))
    assert recording.layout.name == "openpose18" and recording.units == "pixel"
    assert recording.frame_mask.tolist() == [[True, False, False, True]]
    assert np.argwhere(~recording.joint_mask[0, 0]).ravel().tolist() == [3, 9]
    assert not recording.keypoints[0, 0, [3, 9]].any() and recording.joint_mask[0, 3].all()
    confident = read_skeletons(write(tmp_path / "clip", frames), min_confidence=0.75)
    np.testing.assert_array_equal(confident.joint_mask, recording.joint_mask)
    with pytest.raises(RecordingError, match="no joint has a confidence of 0.8 or more, the best has 0.75"):
        read_skeletons(tmp_path / "clip", min_confidence=0.8)


def test_ids_of_the_tracker_are_kept(tmp_path):
    frames = {n: [person(25, 50, person_id=7), person(25, 52, person_id=3)][:: 1 if n else -1] for n in range(3)}
    recording = read_skeletons(write(tmp_path / "clip", frames))
    assert recording.person_ids == ("3", "7")
    assert recording.keypoints[:, :, 0, 0].tolist() == [[52] * 3, [50] * 3]


def test_three_dimensions(tmp_path):
    recording = read_skeletons(write(tmp_path / "clip", {0: [person(25, 5, columns=4)]}))
    assert recording.keypoints.shape == (1, 1, 25, 3) and recording.units == ""


def test_two_videos_in_a_folder(tmp_path):
    folder = write(tmp_path / "clips", {0: [person(25, 5)]}, "a")
    write(folder, {0: [person(25, 8)], 1: [person(25, 9)]}, "b")
    with pytest.raises(RecordingError, match=r"holds the frames of 2 videos \('a', 'b'\); choose one with item"):
        read_skeletons(folder)
    assert read_skeletons(folder, item="b").keypoints[0, :, 0, 0].tolist() == [8, 9]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({0: []}, "nobody is there in any of its 1 frames"),
        (
            {0: [person(25, 5)], 1: [person(18, 5)]},
            r"_000000000001_keypoints.json, person 0: 18 joints where others have 25",
        ),
        ({0: [person(15, 5)]}, r"15 joints without names; .*: known here are openpose25 \(25\), openpose18 \(18\)"),
        ({0: [{"pose_keypoints_2d": [1.0, 2.0]}]}, "person 0, pose_keypoints_2d: 2 values, expected 3 per joint"),
        ({0: [{"pose_keypoints_2d": [1, 2, "x"]}]}, "expected n numbers, got"),
        ({0: [7]}, "person 0: expected an object"),
        ({0: [person(25, 5)], 10**9: [person(25, 5)]}, "frame numbers run from 0 to 1000000000, but there are only 2"),
        ({0: [person(25, 1e300)]}, "person 0, frame 0, joint nose: coordinate x is infinite or too large"),
    ],
)
def test_faults(tmp_path, frames, message):
    with pytest.raises(RecordingError, match=message):
        read_skeletons(write(tmp_path / "clip", frames))


def test_other_folders(tmp_path):
    with pytest.raises(RecordingError, match="a folder is a recording only if it holds the JSON files of OpenPose"):
        read_skeletons(tmp_path)
    folder = write(tmp_path / "clip", {0: [person(25, 5)]})
    (folder / "clip_000000000001_keypoints.json").write_text("{")
    with pytest.raises(RecordingError, match="clip_000000000001_keypoints.json: not JSON"):
        read_skeletons(folder)
    (folder / "clip_000000000001_keypoints.json").unlink()
    (folder / "notes_keypoints.json").write_text("{}")
    with pytest.raises(RecordingError, match="the name holds no frame number"):
        read_skeletons(folder)
