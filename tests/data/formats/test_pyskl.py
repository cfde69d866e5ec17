import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError
from skeleton_transformers.data.formats.base import RecordingFile
from skeleton_transformers.data.formats.pyskl import load_annotations


def annotation(name="walk_1", joints=17, channels=2, persons=2, frames=5, dtype=np.float16, **changes):
    rng = np.random.default_rng(len(name))
    entry = {
        "frame_dir": name,
        "label": 3,
        "img_shape": (100, 200),
        "original_shape": (100, 200),
        "total_frames": frames,
        "keypoint": rng.uniform(1, 90, (persons, frames, joints, channels)).astype(dtype),
    }
    if channels == 2:
        entry["keypoint_score"] = rng.uniform(0.1, 1, (persons, frames, joints)).astype(dtype)
    return entry | changes


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.dtype(">f8")])
def test_annotations(tmp_path, protocol, dtype):
    entries = [annotation("walk_1", dtype=dtype), annotation("run_22", dtype=dtype)]
    content = {"split": {"train": ["walk_1"], "test": ["run_22"]}, "annotations": entries}
    path = write(tmp_path / "ntu60.pkl", content, protocol)
    recording = read_skeletons(path, item="run_22")
    assert recording.format == "pyskl-pickle" and recording.layout.name == "coco17" and recording.label == 3
    assert recording.units == "image fraction"
    expected = entries[1]["keypoint"].astype(np.float64) / (200, 100)  # img_shape is (height, width)
    np.testing.assert_allclose(recording.keypoints, expected, rtol=1e-5)
    np.testing.assert_allclose(recording.confidence, entries[1]["keypoint_score"].astype(float), rtol=1e-5)
    np.testing.assert_array_equal(read_skeletons(path, item="1").keypoints, recording.keypoints)
    found, split = load_annotations(RecordingFile(Path(path)))
    assert split == {"train": ["walk_1"], "test": ["run_22"]} and len(found) == 2
    with pytest.raises(
        RecordingError, match="holds 2 recordings; choose one with item=..., for example one of walk_1, run_22"
    ):
        read_skeletons(path)
    with pytest.raises(RecordingError, match="no recording 'sit' among its 2"):
        read_skeletons(path, item="sit")


def test_three_dimensions_and_absent_people(tmp_path):
    entry = annotation(joints=25, channels=3, dtype=np.float32)
    entry.pop("img_shape"), entry.pop("original_shape")
    entry["keypoint"][1, 2:] = 0
    recording = read_skeletons(write(tmp_path / "a.pkl", [entry]))
    assert recording.layout.name == "ntu25" and recording.units == "metre"
    assert recording.frame_mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    np.testing.assert_array_equal(recording.keypoints, entry["keypoint"])


def test_other_plain_values(tmp_path):
    entry = OrderedDict(annotation(), label=np.int64(7), valid=np.array(["a", "bc"]), box=(1, (2.0, None), True))
    recording = read_skeletons(write(tmp_path / "a.pkl", [entry]))
    assert recording.label == 7
    assert load_annotations(RecordingFile(tmp_path / "a.pkl"))[0][0]["valid"].tolist() == ["a", "bc"]


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Call(os.system, "touch was_run"), "system"),
        (Call(eval, "1 + 1"), "eval"),
        (Call(np.fromfile, "secret"), "fromfile"),
        (Call(np.load, "secret"), "load"),
        (Path("a"), "Path"),
        (np.array([{"a": 1}], dtype=object), "'O8'"),
        (np.zeros(2, dtype=[("a", "f4")]), "'V4'"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, monkeypatch, thing, name, protocol):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.pkl", [annotation(), thing], protocol)
    with pytest.raises(RecordingError, match=rf"a.pkl: .*{name}"):
        read_skeletons(path, format="pyskl-pickle")
    assert os.listdir(tmp_path) == ["a.pkl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "no annotations of PYSKL"),
        ([annotation(keypoint=[1, 2])], "recording 'walk_1': 'keypoint' is no array"),
        ([annotation(keypoint=np.ones((1, 5, 17, 2)))], "'keypoint_score' does not have the shape"),
        ([annotation(joints=16)], "16 joints without names"),
        ([annotation(keypoint=np.zeros((2, 5, 17, 2)), keypoint_score=np.zeros((2, 5, 17)))], "nobody is there"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read_skeletons(write(tmp_path / "a.pkl", content))
