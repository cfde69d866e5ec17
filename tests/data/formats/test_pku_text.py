import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.pku_text import (
    PKUInstance,
    read_pku_labels,
    read_pku_skeleton,
    read_pku_split,
)


def make(values):
    return "\n".join(" ".join(map(str, row)) for row in values.reshape(len(values), -1).tolist()) + "\n"


@pytest.fixture
def values():
    """(frames, persons, joints, 3): the second person is there in two frames."""
    values = np.random.default_rng(0).normal(size=(6, 2, 25, 3)).round(6)
    values[[0, 1, 2, 5], 1] = 0
    return values


def test_skeletons(tmp_path, values):
    path = tmp_path / "0002-L.txt"
    path.write_text(make(values) + "\n \n")
    keypoints, frame_mask = read_pku_skeleton(path)
    assert keypoints.dtype == np.float32 and keypoints.shape == (2, 6, 25, 3)
    np.testing.assert_array_equal(keypoints, values.swapaxes(0, 1).astype(np.float32))
    assert frame_mask[0].all() and frame_mask[1].tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [], "x.txt: the file is empty, expected a line of 150 numbers per frame"),
        (lambda rows: rows[:2] + [rows[2][:-20]] + rows[3:], r"line 3: 1\d\d values, expected 150"),
        (lambda rows: rows[:2] + [""] + rows[2:], r"line 3: 0 values, expected 150 \(2 persons x 25 joints x 3\)"),
        (
            lambda rows: rows[:2] + ["nan " + rows[2].split(" ", 1)[1]] + rows[3:],
            "line 3: 'nan' is not a finite number",
        ),
        (
            lambda rows: rows[:2] + ["1,5 " + rows[2].split(" ", 1)[1]] + rows[3:],
            "line 3: '1,5' is not a finite number",
        ),
        (lambda rows: [" ".join(["0"] * 150)] * 3, "all coordinates of all 3 frames are 0, nobody was tracked"),
    ],
)
def test_damaged_skeletons(tmp_path, values, change, message):
    path = tmp_path / "x.txt"
    path.write_text("\n".join(change(make(values).strip().split("\n"))))
    with pytest.raises(RecordingError, match=message):
        read_pku_skeleton(path)


def test_labels(tmp_path):
    path = tmp_path / "0002-L.txt"
    path.write_bytes(b"34,0,107,2\r\n 9, 200, 300, 1\n51,300,420\n\n4,500,501,1,\n\n")
    assert read_pku_labels(path) == [
        PKUInstance(34, 0, 107, 2),
        PKUInstance(9, 200, 300, 1),
        PKUInstance(51, 300, 420, 0),
        PKUInstance(4, 500, 501, 1),
    ]
    path.write_text("")
    assert read_pku_labels(path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("34,5", "x.txt, line 2: '34,5' is not label,start,end,confidence"),
        ("34,5,x,1", "is not label,start,end,confidence"),
        ("34,-5,7,1", "is not label,start,end,confidence"),
        ("34,5,7,1,9", "is not label,start,end,confidence"),
        ("34,5,99999999999999999999,1", "is not label,start,end,confidence"),
        ("0,5,7,1", "line 2: label 0 is outside 1..51"),
        ("52,5,7,1", "line 2: label 52 is outside 1..51"),
        ("34,7,7,1", "line 2: end 7 is not after start 7"),
    ],
)
def test_damaged_labels(tmp_path, line, message):
    path = tmp_path / "x.txt"
    path.write_text(f"1,0,3,2\n{line}\n")
    with pytest.raises(RecordingError, match=message):
        read_pku_labels(path)


def test_split_lists(tmp_path):
    path = tmp_path / "cross-subject.txt"
    path.write_text("Training videos: \n0002-L, 0002-M, 0003-R,\nValidataion videos: \n0004-L, 0004-M, \n")
    assert read_pku_split(path) == ({"0002-L", "0002-M", "0003-R"}, {"0004-L", "0004-M"})
    path.write_text("Training videos:\nA01N01-L\nA01N01-M\n\nTesting videos:\nA02N02-R")
    assert read_pku_split(path) == ({"A01N01-L", "A01N01-M"}, {"A02N02-R"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0002-L, 0002-M\n", "line 1: expected a heading like 'Training videos:', found '0002-L, 0002-M'"),
        (
            "Training videos:\n0002-L, 002-M\nValidation videos:\n0003-L",
            "line 2: '002-M' is no video name like 0002-L",
        ),
        ("Training videos:\n0002-L\n", r"found 1 headings over \[1\] names, expected two lists"),
        ("Training videos:\n0002-L\nTest:\n", "expected two lists"),
        ("Training videos:\n0002-L\nTest:\n0003-L,0002-L", "0002-L is in both lists"),
        ("", "expected two lists"),
    ],
)
def test_damaged_split_lists(tmp_path, text, message):
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(RecordingError, match=message):
        read_pku_split(path)


def test_a_file_that_is_not_there(tmp_path):
    for read in (read_pku_skeleton, read_pku_labels, read_pku_split):
        with pytest.raises(RecordingError, match="gone.txt: cannot be read"):
            read(tmp_path / "gone.txt")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_in_full(tmp_path, values, data):
    whole = make(values).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 200)))
    path = tmp_path / "fuzz.txt"
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=6)) + whole[stop:])
    try:
        keypoints, frame_mask = read_pku_skeleton(path)
    except RecordingError as error:
        assert "fuzz.txt" in str(error)
        return
    assert keypoints.shape[:2] == frame_mask.shape and keypoints.shape[2:] == (25, 3)
    assert np.isfinite(keypoints).all() and not keypoints[~frame_mask].any()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text("0123456789,-\n ", max_size=60).map(str.encode))
def test_any_label_file_is_read_or_refused(tmp_path, content):
    path = tmp_path / "fuzz.txt"
    path.write_bytes(content)
    try:
        instances = read_pku_labels(path)
    except RecordingError as error:
        assert "fuzz.txt, line" in str(error)
        return
    assert all(1 <= i.label <= 51 and 0 <= i.start < i.end for i in instances)
