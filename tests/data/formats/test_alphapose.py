import json
import logging

import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError


def entry(image, x=100.0, joints=17, idx=None, **extra):
    values = np.stack([x + np.arange(joints), np.arange(joints) + 50, np.full(joints, 0.5)], axis=1)
    found = {
        "image_id": image,
        "category_id": 1,
        "keypoints": values.ravel().tolist(),
        "score": 2.5,
        "box": [1, 2, 3, 4],
    }
    return found | extra | ({} if idx is None else {"idx": idx})


def write(path, entries):
    path.write_text(json.dumps(entries))
    return path


def test_frames_are_numbered_by_their_images(tmp_path):
    path = write(tmp_path / "r.json", [entry("5.jpg", 1), entry("7.jpg", 3), entry("6.jpg", 2), entry("10.jpg", 4)])
    recording = read_skeletons(path)
    assert recording.frame_mask.tolist() == [[True, True, True, False, False, True]]
    assert recording.keypoints[0, :, 0, 0].tolist() == [1, 2, 3, 0, 0, 4]
    assert recording.layout.name == "coco17" and recording.units == "pixel"


@pytest.mark.parametrize(
    ("joints", "layout", "kept"), [(26, "halpe26", 26), (136, "halpe26", 26), (133, "wholebody23", 23)]
)
def test_more_joints(tmp_path, joints, layout, kept):
    recording = read_skeletons(write(tmp_path / "r.json", [entry("0.jpg", 10, joints)]))
    assert recording.layout.name == layout
    assert recording.keypoints[0, 0, :, 0].tolist() == [10 + joint for joint in range(kept)]


def test_identities(tmp_path):
    entries = [entry(f"{n}.jpg", x + n, idx=idx) for n in range(3) for x, idx in ((300, [[4.0]]), (100, [[2.0]]))]
    assert read_skeletons(write(tmp_path / "r.json", entries)).person_ids == ("4", "2")
    # merged or repeated identities say nothing
    for first in ([0.0], [[0.0], [1.0]]):
        entries = [entry(f"{n}.jpg", x + n, idx=idx) for n in range(3) for x, idx in ((300, first), (100, [0.0]))]
        recording = read_skeletons(write(tmp_path / "r.json", entries))
        assert recording.person_ids == () and recording.keypoints.shape == (2, 3, 17, 2)


def test_names_that_are_no_numbers(tmp_path, caplog):
    path = write(tmp_path / "r.json", [entry("b.png", 1), entry("a.png", 2), entry("2021-09-27 161106.png", 3)])
    with caplog.at_level(logging.WARNING):
        recording = read_skeletons(path)
    assert recording.keypoints[0, :, 0, 0].tolist() == [1, 2, 3]
    assert "are no frame numbers; they are taken in the order of the file" in caplog.text


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("0.jpg"), entry("1.jpg", joints=26)], "entry 1: 26 joints where others have 17"),
        ([entry("0.jpg") | {"keypoints": [1.0, 2.0]}], "entry 0, keypoints: 2 values, expected x, y and confidence"),
        ([entry("0.jpg", joints=5)], "5 joints without names"),
    ],
)
def test_faults(tmp_path, entries, message):
    with pytest.raises(RecordingError, match=message):
        read_skeletons(write(tmp_path / "r.json", entries))


def test_real_results(real_data):
    path = real_data / "pose-files" / "alphapose" / "alphapose-results_old.json"
    entries = json.loads(path.read_text())
    recording = read_skeletons(path)
    assert recording.format == "alphapose-json" and recording.layout.name == "coco17"
    assert recording.frame_mask.sum() == len(entries) == 15
    assert recording.frame_mask.shape[1] == len({entry["image_id"] for entry in entries})
    values = np.array(entries[0]["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(recording.keypoints[0, 0], values[:, :2], rtol=1e-6)
    np.testing.assert_allclose(recording.confidence[0, 0], values[:, 2].clip(0, 1), rtol=1e-5)
    crowd = read_skeletons(path.with_name("alphapose-results.json"))
    assert crowd.frame_mask.sum() == 449 and crowd.frame_mask.shape[1] == 206
