import numpy as np
import pytest

from skeleton_transformers import SkeletonLayout, get_layout, read_skeletons
from skeleton_transformers.data.formats import RecordingError


KINECT = (
    "HipCenter Spine ShoulderCenter Head ShoulderLeft ElbowLeft WristLeft HandLeft ShoulderRight ElbowRight WristRight "
    "HandRight HipLeft KneeLeft AnkleLeft FootLeft HipRight KneeRight AnkleRight FootRight"
).split()
KINECT2 = (
    "SpineBase SpineMid Neck Head ShoulderLeft ElbowLeft WristLeft HandLeft ShoulderRight ElbowRight WristRight HandRight "
    "HipLeft KneeLeft AnkleLeft FootLeft HipRight KneeRight AnkleRight FootRight SpineShoulder HandTipLeft ThumbLeft "
    "HandTipRight ThumbRight"
).split()
MEDIAPIPE = (
    "NOSE LEFT_EYE_INNER LEFT_EYE LEFT_EYE_OUTER RIGHT_EYE_INNER RIGHT_EYE RIGHT_EYE_OUTER LEFT_EAR RIGHT_EAR MOUTH_LEFT "
    "MOUTH_RIGHT LEFT_SHOULDER RIGHT_SHOULDER LEFT_ELBOW RIGHT_ELBOW LEFT_WRIST RIGHT_WRIST LEFT_PINKY RIGHT_PINKY LEFT_INDEX "
    "RIGHT_INDEX LEFT_THUMB RIGHT_THUMB LEFT_HIP RIGHT_HIP LEFT_KNEE RIGHT_KNEE LEFT_ANKLE RIGHT_ANKLE LEFT_HEEL RIGHT_HEEL "
    "LEFT_FOOT_INDEX RIGHT_FOOT_INDEX"
).split()


def points(joints, channels=3, frames=4):
    return np.random.default_rng(joints).integers(1, 1000, (frames, joints, channels)) / 1000


def read(tmp_path, header, rows, separator=",", **options):
    path = tmp_path / "take.csv"
    lines = [header, *rows]
    path.write_text("\n".join(separator.join(map(str, line)) for line in lines) + "\n")
    return read_skeletons(path, **options)


@pytest.mark.parametrize(
    ("names", "layout"),
    [(KINECT, "kinect20"), (KINECT2, "ntu25"), (MEDIAPIPE, "mediapipe33"), (get_layout("smpl22").joints, "smpl22")],
)
@pytest.mark.parametrize("column", ["{}_{}", "{}.{}", "{} {}", "{1}_{0}", "{}_pos_{}"])
def test_names_of_every_tool(tmp_path, names, layout, column):
    values = points(len(names)) + 5
    header = [column.format(name, axis) for name in names for axis in "xyz"]
    recording = read(tmp_path, header, values.reshape(4, -1))
    assert recording.format == "csv" and recording.layout.name == layout
    found = recording.keypoints[0]
    if layout == "mediapipe33":
        values = values[..., :2]  # not around the hips: landmarks of the image
    np.testing.assert_allclose(found, values, rtol=1e-6)


def test_columns_in_any_order_and_others_beside_them(tmp_path):
    header = [
        "label",
        "head_z",
        "frame",
        "left_knee_x",
        "head_x",
        "left_knee_y",
        "head_y",
        "left_knee_z",
        "left_knee_score",
    ]
    rows = [["walk", 3, 10, 4, 1, 5, 2, 6, 0.5], ["walk", 3, 12, 4, 1, "", 2, "nan", 0.2]]
    recording = read(tmp_path, header, rows)
    assert set(recording.layout.joints) == {"head", "left_knee"}
    knee, head = recording.layout.index("left_knee"), recording.layout.index("head")
    assert recording.frame_mask.tolist() == [[True, False, True]]
    assert recording.keypoints[0, 0, knee].tolist() == [4, 5, 6] and recording.keypoints[0, 2, head].tolist() == [
        1,
        2,
        3,
    ]
    assert not recording.joint_mask[0, 2, knee] and not recording.keypoints[0, 2, knee].any()
    assert recording.confidence[0, 0, knee] == 0.5


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("column", ["{1}{0}", "{1}_{0}", "landmark_{0:02d}_{1}", "{0}_{1}"])
def test_numbered_landmarks(tmp_path, first, column):
    values = points(33)
    header = ["class", *(column.format(number + first, axis) for number in range(33) for axis in ("x", "y", "z", "v"))]
    rows = [["sit", *np.concatenate([frame, np.full((33, 1), 0.5)], axis=1).ravel()] for frame in values]
    recording = read(tmp_path, header, rows)
    assert recording.layout.name == "mediapipe33" and recording.units == "image fraction"
    np.testing.assert_allclose(recording.keypoints[0], values[..., :2], rtol=1e-6)
    assert np.all(recording.confidence == 0.5)


def test_numbered_joints_need_a_layout(tmp_path):
    header = [f"{axis}{number}" for number in range(17) for axis in "xy"]
    with pytest.raises(RecordingError, match="17 joints without names; .*coco17 and h36m17 have so many"):
        read(tmp_path, header, points(17, 2).reshape(4, -1))
    recording = read(tmp_path, header, 500 * points(17, 2).reshape(4, -1), layout="coco17", image_size=(1000, 500))
    assert recording.units == "image fraction"
    np.testing.assert_allclose(recording.keypoints[0], points(17, 2) * (0.5, 1), rtol=1e-5)
    with pytest.raises(RecordingError, match="its joints are numbered 0 to 17 with gaps"):
        read(tmp_path, [*header[:-2], "x17", "y17"], points(17, 2).reshape(4, -1), layout="coco17")


def test_the_users_layout_chooses_and_orders_joints(tmp_path):
    layout = SkeletonLayout("mine", ("pelvis", "tail", "left_knee"), (0, 0, 0))
    header = [f"{joint}_{axis}" for joint in ("left_knee", "tail", "head", "pelvis") for axis in "xyz"]
    recording = read(tmp_path, header, points(4).reshape(4, -1), layout=layout)
    assert recording.layout == layout
    np.testing.assert_allclose(recording.keypoints[0], points(4)[:, [3, 1, 0]], rtol=1e-6)


def test_long_tables(tmp_path):
    rows = [
        [frame, person, joint, frame, 1 + (person == "b"), number]
        for frame in (3, 4, 6)
        for person in ("a", "b")
        for number, joint in enumerate(("Head", "KneeLeft"))
        if (frame, person) != (4, "b")
    ]
    np.random.default_rng(0).shuffle(rows)
    recording = read(tmp_path, ["Frame", "person", "Joint", "X", "Y", "Z"], rows)
    assert sorted(recording.person_ids) == ["a", "b"] and recording.keypoints.shape == (2, 4, 2, 3)
    a, b = recording.person_ids.index("a"), recording.person_ids.index("b")
    assert recording.frame_mask[[a, b]].tolist() == [[True, True, False, True], [True, False, False, True]]
    numbers = [[row[0], row[2], 1, 2] for row in rows if row[1] == "a"]
    alone = read(tmp_path, ["frame", "joint", "x", "y"], numbers)
    assert alone.keypoints.shape == (1, 4, 2, 2)
    with pytest.raises(RecordingError, match="several rows for the same joint, frame and person"):
        read(tmp_path, ["frame", "joint", "x", "y"], [*numbers, numbers[0]])
    with pytest.raises(RecordingError, match="a column 'frame' must say which frame it belongs to"):
        read(tmp_path, ["joint", "x", "y"], [["head", 1, 2]])


def test_times_and_people(tmp_path):
    header = ["timestamp_ms", "track_id", "head_x", "head_y", "head_z"]
    rows = [[40 * n, person, n, 1, 2] for n in range(5) for person in (7, 9)]
    recording = read(tmp_path, header, rows)
    assert recording.frame_rate == pytest.approx(25) and recording.person_ids == ("7", "9")
    assert recording.keypoints[1, :, 0, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(RecordingError, match="several rows for the same frame and person"):
        read(tmp_path, header, [rows[0], rows[0]])


def test_semicolons_and_decimal_commas(tmp_path):
    path = tmp_path / "take.csv"
    path.write_text("Head_X;Head_Y;Head_Z;\n0,5;1,25;-2,0;\n1;2;3;\n", encoding="utf-8-sig")
    assert read_skeletons(path).keypoints[0, :, 0].tolist() == [[0.5, 1.25, -2.0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head_x,head_y\n", "no row below the names of the columns"),
        ("head_x,head_y\n1\n", "line 2: 1 cells, the header has 2; is the file cut off?"),
        ("head_x,head_y\n1,2\n1,2,3\n", "line 3: 3 cells"),
        ("head_x,head_y\n1,2\n1,two\n", "line 3, column 'head_y': 'two' is no number"),
        ("head_x,head_y\n1,inf\n", "frame 0, joint head: coordinate y is infinite"),
        ("head_x,head_x,head_y\n1,2,3\n", "two columns are called 'head_x'"),
        ("frame,head_x,head_y\n1.5,1,2\n", "column 'frame': frame numbers must be whole numbers"),
        ("frame,head_x,head_y\n0,1,2\n9999999,1,2\n", "frame numbers run from 0 to 9999999, but there are only 2"),
        ("person,head_x,head_y\na,1,2\n", "a column 'frame' must say which frame"),
        ("head_x,head_y\n,\n , \n", "no row below"),
        ("head_x,head_y\nnan,nan\n", "nobody is there in any of its 1 frames"),
    ],
)
def test_faults(tmp_path, text, message):
    path = tmp_path / "take.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=message):
        read_skeletons(path, format="csv")


def test_parquet_and_csv_are_the_same(tmp_path):
    pandas = pytest.importorskip("pandas")
    values = points(20)
    names = [f"{joint}_{axis}" for joint in KINECT for axis in "xyz"]
    frame = pandas.DataFrame(values.reshape(4, -1), columns=names).assign(frame=range(4), person="ann")
    frame.iloc[2, 5] = np.nan
    frame.to_parquet(tmp_path / "take.parquet")
    frame.to_csv(tmp_path / "take.csv", index=False)
    one, other = read_skeletons(tmp_path / "take.parquet"), read_skeletons(tmp_path / "take.csv")
    assert one.format == "parquet" and other.format == "csv" and one.person_ids == other.person_ids == ("ann",)
    np.testing.assert_array_equal(one.keypoints, other.keypoints)
    np.testing.assert_array_equal(one.joint_mask, other.joint_mask)


def test_real_kinect_tables(real_data):
    path = sorted((real_data / "precog2016" / "CSV").glob("*.csv"))[0]
    recording = read_skeletons(path)
    assert recording.format == "kinect-csv" and recording.layout.name == "kinect20" and recording.units == "metre"
    first = path.read_text().splitlines()[1].split(";")
    np.testing.assert_allclose(recording.keypoints[0, 0, 3], [float(v) for v in first[3].split()], rtol=1e-6)
    assert recording.frame_labels.shape == recording.frame_mask.shape[1:] and set(recording.frame_labels) <= set(
        range(9)
    )
    heights = [
        recording.keypoints[0, :, recording.layout.index(j), 1].mean() for j in ("head", "spine_base", "left_foot")
    ]
    assert heights == sorted(heights, reverse=True)
