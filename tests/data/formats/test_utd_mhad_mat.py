import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.utd_mhad_mat import read_utd_mhad_mat
from skeleton_transformers.skeletons import get_layout


@pytest.fixture
def values():
    """(joints, 3, frames) as in the files."""
    return np.random.default_rng(0).normal(size=(20, 3, 7))


@pytest.mark.parametrize("frames", [7, 1])
def test_the_head_comes_first_in_the_files(tmp_path, values, frames):
    values[..., 3] = 0
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    values = values[..., :frames]
    savemat(path, {"d_skel": values if frames > 1 else values[..., 0], "other": 1})  # MATLAB drops a last axis of 1
    keypoints, frame_mask = read_utd_mhad_mat(path)
    layout = get_layout("kinect20")
    assert keypoints.dtype == np.float32 and keypoints.shape == (1, frames, 20, 3)
    for place, joint in enumerate(("head", "spine_shoulder", "spine_mid", "spine_base", "left_shoulder")):
        np.testing.assert_array_equal(keypoints[0, :, layout.index(joint)], values[place].T.astype(np.float32))
    # arms and legs follow in the order of the layout
    np.testing.assert_array_equal(keypoints[0, :, 4:], values[4:].transpose(2, 0, 1).astype(np.float32))
    assert frame_mask.tolist() == [[True, True, True, False, True, True, True][:frames]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"skel": np.ones((20, 3, 4))}, "x.mat: no variable 'd_skel'"),
        (
            {"d_skel": np.ones((25, 3, 4))},
            r"'d_skel' has shape \(25, 3, 4\) and type float64, expected numbers \(20, 3, frames\)",
        ),
        ({"d_skel": "text"}, "expected numbers"),
        ({"d_skel": np.ones((20, 3, 4)) * 1j}, "and type complex128, expected numbers"),
        ({"d_skel": np.zeros((20, 3, 4))}, "all coordinates of all 4 frames are 0, nobody was tracked"),
        (
            {"d_skel": np.where(np.arange(240).reshape(20, 3, 4) == 99, np.nan, 1)},
            "frame 3, joint right_shoulder: .* is not three finite",
        ),
    ],
)
def test_what_is_no_skeleton(tmp_path, content, message):
    path = tmp_path / "x.mat"
    savemat(path, content)
    with pytest.raises(RecordingError, match=message):
        read_utd_mhad_mat(path)


def test_what_is_no_matlab_file(tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match="x.mat: not a MATLAB file of version 5 to 7.3"):
        read_utd_mhad_mat(path)
    with pytest.raises(RecordingError, match="gone.mat: cannot be read"):
        read_utd_mhad_mat(tmp_path / "gone.mat")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_in_full(tmp_path, values, data):
    path = tmp_path / "fuzz.mat"
    savemat(path, {"d_skel": values}, do_compression=data.draw(st.booleans()))
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 20)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=20)) + whole[stop:])
    try:
        keypoints, frame_mask = read_utd_mhad_mat(path)
    except RecordingError as error:
        assert "fuzz.mat" in str(error)
        return
    assert keypoints.shape[2:] == (20, 3) and np.isfinite(keypoints).all() and frame_mask.any()
