"""What holds for the reader of every format: it is found, it reads what was written, and no damage gets past it unseen."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data.recordings import RecordingError, get_format, list_formats, read_skeletons


FORMATS = list_formats()
few = settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=False
)
# the layout of those that do not name their joints
LAYOUTS = {"npy": "kinect20", "mat": "kinect20", "text-rows": "kinect20"}
# what the file holds of `points`: joints, channels, and the factor in the file that the reader takes away
EXPECTED = {
    **dict.fromkeys(
        ("npy", "npz", "mat", "parquet", "csv", "nw-ucla-json", "msr-action3d-text", "text-rows"), (20, 3)
    ),
    **dict.fromkeys(("alphapose-json", "mmpose-json", "coco-json", "pyskl-pickle"), (17, 2)),
    **{"ntu-skeleton": (25, 3), "gtu-text": (25, 3), "mediapipe-json": (33, 2), "openpose-json": (25, 2)},
    **{"trc": (3, 3), "c3d": (3, 3), "kinect-csv": (3, 3), "pose": (33, 2)},
}


@pytest.fixture(params=FORMATS)
def kind(request, sample_files):
    if request.param not in sample_files:
        pytest.skip(f"needs the extra {get_format(request.param).extra}")
    return request.param


def write(folder, sample_files, kind, content=None):
    name, original = sample_files[kind]
    path = folder / name
    path.write_bytes(original if content is None else content)
    return path


def check(recording):
    """What is true of every recording that a reader gives back."""
    persons, frames, joints, channels = recording.keypoints.shape
    assert recording.keypoints.dtype == np.float32 and np.isfinite(recording.keypoints).all()
    assert recording.frame_mask.shape == (persons, frames) and recording.frame_mask.dtype == bool
    assert recording.frame_mask.any(axis=1).all() and joints == recording.layout.num_joints and channels in (2, 3)
    there = recording.present_joints
    np.testing.assert_array_equal(there.any(axis=-1), recording.frame_mask)
    assert not recording.keypoints[~there].any()
    if recording.joint_mask is not None:
        assert recording.joint_mask.shape == (persons, frames, joints)
    if recording.confidence is not None:
        assert recording.confidence.shape == (persons, frames, joints)
        assert 0 <= recording.confidence.min() and recording.confidence.max() <= 1
    assert recording.frame_rate is None or recording.frame_rate > 0
    assert not recording.person_ids or len(recording.person_ids) == persons
    assert recording.format in FORMATS and recording.source


def test_format_is_found_and_read(tmp_path, sample_files, sample_points, kind):
    path = write(tmp_path, sample_files, kind)
    recording = read_skeletons(path, layout=LAYOUTS.get(kind), image_size=(100, 100))
    check(recording)
    assert recording.format == kind and recording.source == str(path)
    if kind not in EXPECTED:
        return  # its own test says more
    joints, channels = EXPECTED[kind]
    expected = sample_points(joints, 3 if kind in ("mediapipe-json", "pose") else channels)[..., :channels]
    if kind == "openpose-json":
        expected = expected[:1]
    if kind in ("kinect-csv", "trc", "c3d"):
        assert recording.keypoints.shape == (1, *expected.shape)
    found = recording.keypoints[0]
    if kind == "pose":
        found = found * (2, 1)  # its image is 200 wide
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    again = read_skeletons(path, format=kind, layout=LAYOUTS.get(kind), image_size=(100, 100))
    np.testing.assert_array_equal(again.keypoints, recording.keypoints)


@pytest.mark.parametrize("ending", ["", ".dat", ".JSON"])
def test_content_counts_more_than_the_ending(tmp_path, sample_files, kind, ending):
    if kind in ("pose", "c3d", "msr-action3d-text", "gtu-text", "ntu-skeleton", "mat"):
        pytest.skip("known by name")
    path = tmp_path / f"recording{ending}"
    path.write_bytes(sample_files[kind][1])
    assert read_skeletons(path, layout=LAYOUTS.get(kind)).format == kind


def read_or_refuse(path, kind, **options):
    """The recording of a damaged file, None if it is refused, which must be with its name."""
    try:
        recording = read_skeletons(path, layout=LAYOUTS.get(kind), **options)
    except RecordingError as error:
        assert str(path) in str(error)
        return None
    check(recording)
    return recording


@few
@given(data=st.data())
def test_truncation(tmp_path, sample_files, kind, data):
    content = sample_files[kind][1]
    length = data.draw(st.integers(0, len(content) - 1))
    path = write(tmp_path, sample_files, kind, content[:length])
    for format in (None, kind):
        found = read_or_refuse(path, kind, format=format)
        if found is None or not content[length:].strip():
            continue
        # Text that ends between two frames, or in the digits of its last number, cannot be told from a whole file;
        # all numbers before are right.
        assert kind in ("csv", "kinect-csv", "text-rows", "msr-action3d-text", "gtu-text", "c3d", "bvh", "trc"), (
            kind,
            length,
        )
        whole = read_skeletons(write(tmp_path, sample_files, kind), layout=LAYOUTS.get(kind))
        write(tmp_path, sample_files, kind, content[:length])
        frames = found.keypoints.shape[1]
        if kind == "c3d":
            frames += 1  # blocks are filled with zeros
        np.testing.assert_array_equal(found.keypoints[:, : frames - 1], whole.keypoints[:, : frames - 1])


@few
@given(data=st.data())
def test_flipped_and_inserted_bytes(tmp_path, sample_files, kind, data):
    content = bytearray(sample_files[kind][1])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content) - 1, 3000)))
        change = data.draw(st.binary(min_size=1, max_size=6))
        if data.draw(st.booleans()):
            content[place : place + len(change)] = change
        else:
            content[place:place] = change
    path = write(tmp_path, sample_files, kind, bytes(content))
    for format in (None, kind):
        read_or_refuse(path, kind, format=format)


@few
@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
)
def test_garbage(tmp_path, sample_files, kind, content):
    path = write(tmp_path, sample_files, kind, content)
    for format in (None, kind):
        read_or_refuse(path, kind, format=format)


HUGE = (
    b"99999999999999999999",
    b"-1",
    b"1e308",
    b"NaN",
    b"Infinity",
    b"4294967295",
    b"null",
    b"[]",
    b'"x"',
    b"0",
    b"",
)


@few
@given(data=st.data())
def test_huge_and_odd_counts(tmp_path, sample_files, kind, data):
    content = sample_files[kind][1]
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content[:20_000]))
    if not numbers or kind in ("npy", "npz", "mat", "parquet", "c3d", "pose", "pyskl-pickle", "mmpose-json"):
        numbers = list(re.finditer(rb".", content[:2000], re.DOTALL))
    number = data.draw(st.sampled_from(numbers))
    changed = content[: number.start()] + data.draw(st.sampled_from(HUGE)) + content[number.end() :]
    path = write(tmp_path, sample_files, kind, changed)
    read_or_refuse(path, kind)
    read_or_refuse(path, kind, format=kind)


@few
@given(data=st.data())
def test_shuffled_lines(tmp_path, sample_files, kind, data):
    content = sample_files[kind][1]
    lines = content.split(b"\n") if content.count(b"\n") > 3 else content.split(b",")
    lines = data.draw(st.permutations(lines[:60])) + lines[60:]
    path = write(tmp_path, sample_files, kind, (b"\n" if content.count(b"\n") > 3 else b",").join(lines))
    read_or_refuse(path, kind)
    read_or_refuse(path, kind, format=kind)


TEXT = [
    kind
    for kind in FORMATS
    if kind not in ("npy", "npz", "mat", "parquet", "c3d", "pose", "pyskl-pickle", "mmpose-json")
]


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "latin-1", "utf-32"])
def test_encodings(tmp_path, sample_files, kind, encoding):
    text = sample_files[kind][1].decode()
    path = write(tmp_path, sample_files, kind, text.encode(encoding))
    found = read_or_refuse(path, kind)
    whole = read_skeletons(write(tmp_path, sample_files, kind), layout=LAYOUTS.get(kind))
    if found is not None:
        np.testing.assert_array_equal(found.keypoints, whole.keypoints)
    numbers = ("ntu-skeleton", "msr-action3d-text", "gtu-text", "text-rows", "nw-ucla-json")
    if encoding in ("utf-8-sig", "utf-16") and kind not in numbers:
        assert found is not None
    path.write_bytes(text.replace(" ", " \xe9 ", 1).replace(",", ",\xe9", 1).encode("latin-1"))
    read_or_refuse(path, kind)


def test_windows_line_ends(tmp_path, sample_files):
    for kind in TEXT:
        path = write(tmp_path, sample_files, kind)
        whole = read_skeletons(path, layout=LAYOUTS.get(kind))
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        found = read_skeletons(path, layout=LAYOUTS.get(kind))
        assert found.format == kind
        np.testing.assert_array_equal(found.keypoints, whole.keypoints)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_described(kind):
    described = get_format(kind)
    assert described.title and described.suffixes and described.layout and described.units
