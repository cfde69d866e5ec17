import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.precog_csv import read_precog_csv
from skeleton_transformers.skeletons import get_layout


NAMES = [
    *("HipCenter", "Spine", "ShoulderCenter", "Head"),
    *("ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft", "ShoulderRight", "ElbowRight", "WristRight", "HandRight"),
    *("HipLeft", "KneeLeft", "AnkleLeft", "FootLeft", "HipRight", "KneeRight", "AnkleRight", "FootRight"),
]


def make(values, labels, names=NAMES):
    rows = [";".join(" ".join(map(str, point)) for point in frame) for frame in values.tolist()]
    return "\n".join(["; ".join(names), *(f"{row};{label}" for row, label in zip(rows, labels))]) + "\n"


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(5, 20, 3)).round(5)


def test_reads_positions_and_labels(tmp_path, values):
    values[2] = 0
    path = tmp_path / "Seq1_1.csv"
    path.write_text(make(values, [0, 1, 8, 8, 0]))
    keypoints, frame_mask, labels = read_precog_csv(path)
    np.testing.assert_array_equal(keypoints, values[None].astype(np.float32))
    assert frame_mask.tolist() == [[True, True, False, True, True]]
    assert labels.dtype == np.int16 and labels.tolist() == [0, 1, 8, 8, 0]


def test_joints_are_found_by_their_names(tmp_path, values):
    order = np.random.default_rng(1).permutation(20)
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + make(values[:, order], [0] * 5, [NAMES[i] for i in order]).encode() + b"\n\n")
    keypoints, _, _ = read_precog_csv(path)
    np.testing.assert_array_equal(keypoints[0], values.astype(np.float32))
    assert get_layout("kinect20").joints[NAMES.index("WristRight")] == "right_wrist"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "x.csv, line 1: '' does not name the 20 joints"),
        (lambda text: text.replace("KneeLeft", "KneeRight"), "line 1: .* does not name the 20 joints"),
        (lambda text: text.split("\n")[0], "no frame below the names of the joints"),
        (lambda text: text.replace(";3\n", "\n"), "line 4: 20 fields, expected 20 joints and the label"),
        (
            lambda text: text.replace(";3\n", ";9\n"),
            "line 4: the label of the frame is '9', expected a number from 0 to 8",
        ),
        (lambda text: text.replace(";3\n", ";-1\n"), "line 4: the label of the frame is '-1'"),
        (lambda text: text.replace("\n", "\n1 2;", 1), "line 2: 22 fields"),
        (lambda text: text[: len(text) - 40], r"line 6.*(fields|three finite numbers)"),
        (lambda text: text.replace("0.5 0.5 0.5;", "0.5 0.5 inf;"), "joint Head: '0.5 0.5 inf' is not three finite"),
        (lambda text: text.replace("0.5 0.5 0.5;", "0.5 0,5 0.5;"), "joint Head: '0.5 0,5 0.5' is not three finite"),
        (lambda text: text.replace("0.5 0.5 0.5;", "0.5 0.5;"), "joint Head: '0.5 0.5' is not three finite"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, values, change, message):
    values[3, 3] = 0.5
    path = tmp_path / "x.csv"
    path.write_text(change(make(values, [1, 2, 3, 4, 5])))
    with pytest.raises(RecordingError, match=message):
        read_precog_csv(path)


def test_nobody(tmp_path, values):
    path = tmp_path / "x.csv"
    path.write_text(make(values * 0, [1] * 5))
    with pytest.raises(RecordingError, match="all coordinates of all 5 frames are 0, nobody was tracked"):
        read_precog_csv(path)
    with pytest.raises(RecordingError, match="gone.csv: cannot be read"):
        read_precog_csv(tmp_path / "gone.csv")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_in_full(tmp_path, values, data):
    whole = make(values, [0, 1, 2, 3, 4]).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 30)))
    path = tmp_path / "fuzz.csv"
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=6)) + whole[stop:])
    try:
        keypoints, frame_mask, labels = read_precog_csv(path)
    except RecordingError as error:
        assert "fuzz.csv" in str(error)
        return
    assert keypoints.shape == (1, len(labels), 20, 3) and np.isfinite(keypoints).all()
    assert frame_mask.shape == keypoints.shape[:2] and (0 <= labels).all() and (labels <= 8).all()


def test_real_takes(real_data):
    folder = real_data / "precog2016" / "CSV"
    keypoints, frame_mask, labels = read_precog_csv(folder / "Seq1_1.csv")
    assert keypoints.shape == (1, len(labels), 20, 3) and frame_mask.all()
    head, hips = (keypoints[0, :, get_layout("kinect20").index(name), 1] for name in ("head", "spine_base"))
    assert ((head - hips > 0.4) & (head - hips < 0.9)).all()  # metres, y upwards
    with pytest.raises(RecordingError, match="all coordinates of all 206 frames are 0"):
        read_precog_csv(folder / "Seq2_10.csv")
