import json

import numpy as np
import pytest

from skeleton_transformers.data.formats import RecordingError, read_label_table, read_layout_file, read_numpy_sequence
from skeleton_transformers.data.formats.numpy_folder import LabelRow
from skeleton_transformers.skeletons import get_layout


@pytest.mark.parametrize("persons", [None, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_reads_arrays_of_one_or_several_people(tmp_path, persons, dtype):
    shape = (6, 5, 3) if persons is None else (persons, 6, 5, 3)
    array = (100 * np.random.default_rng(0).normal(size=shape) + 1000).astype(dtype)
    array[..., 2, :, :] = 0
    np.save(tmp_path / "x.npy", array)
    keypoints, frame_mask = read_numpy_sequence(tmp_path / "x.npy", 5)
    np.testing.assert_array_equal(keypoints, array.reshape(persons or 1, 6, 5, 3).astype(np.float32))
    assert frame_mask.tolist() == [[True, True, False, True, True, True]] * (persons or 1)
    part, _ = read_numpy_sequence(tmp_path / "x.npy", 5, start=1, end=4)
    np.testing.assert_array_equal(part, keypoints[:, 1:4])


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.ones((6, 4, 3)), {}, r"x.npy: shape \(6, 4, 3\), expected \(frames, 5, 3\) or \(persons, frames, 5, 3\)"),
        (np.ones((6, 15)), {}, r"shape \(6, 15\), expected"),
        (np.ones((0, 5, 3)), {}, r"shape \(0, 5, 3\), expected"),
        (np.full((6, 5, 3), "a"), {}, "values of type <U1, expected numbers"),
        (np.full((6, 5, 3), None), {}, "not a .npy array of numbers"),
        (np.zeros((6, 5, 3)), {}, "all coordinates are 0 in frames 0..5"),
        (np.ones((6, 5, 3)), {"end": 7}, r"frames 0..6 asked, the file has 6 \(0..5\)"),
        (np.ones((6, 5, 3)), {"start": 6}, r"frames 6.. asked, the file has 6"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, options, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(RecordingError, match=message):
        read_numpy_sequence(tmp_path / "x.npy", 5, **options)


def test_damaged_arrays(tmp_path):
    array = np.ones((2, 6, 5, 3))
    array[1, 3, 2] = np.nan
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(
        RecordingError, match=r"person 1, frame 3, joint 2 is \[nan, nan, nan\]; .*write 0 in all joints"
    ):
        read_numpy_sequence(tmp_path / "x.npy", 5, start=1)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:500])
    with pytest.raises(RecordingError, match="cut.npy: not a .npy array of numbers"):
        read_numpy_sequence(tmp_path / "cut.npy", 5)
    with pytest.raises(RecordingError, match="gone.npy: no such file"):
        read_numpy_sequence(tmp_path / "gone.npy", 5)


def test_reads_the_table(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufefffile, label ,subject,camera,split,start,end\n"
        'a/1.npy,"lift, both hands",Zoe,2,train,,\n'
        "a/2.npy,walk,Ann,,Val,10,50\n"
        "a/2.npy,,,1,TEST,50,\n",
        encoding="utf-8",
    )
    assert read_label_table(path) == [
        LabelRow("a/1.npy", "lift, both hands", 2, 2, "train"),
        LabelRow("a/2.npy", "walk", 1, -1, "validation", 10, 50),
        LabelRow("a/2.npy", "", -1, 1, "test", 50, -1),
    ]
    path.write_text("file,label,subject\n1.npy,walk,7\n")
    assert read_label_table(path) == [LabelRow("1.npy", "walk", 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv: its first line is ''; it must name the column 'file' and may name label, subject"),
        ("name,label\nx,y\n", "first line is 'name,label'.*not 'name'"),
        ("file,label,person\nx,y,z\n", "not 'person'"),
        ("file,label\n", "no row below the names of the columns"),
        ("file,label\na.npy,walk\n,run\n", "labels.csv, line 3: no file given"),
        ("file,start\na.npy,ten\n", "line 2: start is 'ten', expected a number from 0"),
        ("file,camera\na.npy,-1\n", "line 2: camera is '-1'"),
        (
            "file,start,end\na.npy,10,10\n",
            r"line 2: end 10 is not after start 10 \(frames start .. end - 1 are used\)",
        ),
        ("file,split\na.npy,dev\n", "line 2: split is 'dev', expected train, validation, test or nothing"),
    ],
)
def test_tables_with_faults(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_table(tmp_path / "labels.csv")


def test_reads_layouts(tmp_path):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps({"name": "mine", "joints": ["hip", "head"], "parents": [0, 0]}))
    layout = read_layout_file(path)
    assert layout.name == "mine" and layout.joints == ("hip", "head") and layout.parents == (0, 0)
    assert read_layout_file("coco17") == get_layout("coco17")
    with pytest.raises(ValueError, match="layout 'nowhere.json' is neither a JSON file nor one of ntu25"):
        read_layout_file("nowhere.json")
    for text in (
        "{",
        "[1]",
        '{"name": "mine", "joints": ["hip", "head"]}',
        '{"name": "m", "joints": ["a"], "parents": [5]}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="layout.json: not a joint layout .*; expected .*parents"):
            read_layout_file(path)
