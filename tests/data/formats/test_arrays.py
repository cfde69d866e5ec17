import io
import pickle

import numpy as np
import pytest
from scipy.io import savemat

from skeleton_transformers import SkeletonLayout, get_layout, read_skeletons
from skeleton_transformers.data.formats import RecordingError


FIVE = SkeletonLayout("five", ("hip", "head", "left_hand", "right_hand", "tail"), (0, 0, 0, 0, 0))


@pytest.mark.parametrize("persons", [None, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", ">f4"])
def test_arrays_of_one_or_several_people(tmp_path, persons, dtype):
    shape = (6, 5, 3) if persons is None else (persons, 6, 5, 3)
    array = (100 * np.random.default_rng(0).normal(size=shape) + 1000).astype(dtype)
    array[..., 2, :, :] = 0
    np.save(tmp_path / "x.npy", array)
    recording = read_skeletons(tmp_path / "x.npy", layout=FIVE)
    np.testing.assert_array_equal(recording.keypoints, array.reshape(persons or 1, 6, 5, 3).astype(np.float32))
    assert recording.frame_mask.tolist() == [[True, True, False, True, True, True]] * (persons or 1)
    assert recording.units == "" and recording.frame_rate is None
    with_rate = read_skeletons(tmp_path / "x.npy", layout=FIVE, units="millimetre", frame_rate=50)
    assert with_rate.frame_rate == 50 and with_rate.units == "metre"
    np.testing.assert_allclose(with_rate.keypoints, recording.keypoints / 1000, rtol=1e-6)


def test_missing_values_and_confidence(tmp_path):
    array = np.random.default_rng(0).uniform(0.1, 1, (4, 5, 4)).astype(np.float32)
    array[1, 2, 0] = np.nan
    np.save(tmp_path / "x.npy", array)
    recording = read_skeletons(tmp_path / "x.npy", layout=FIVE)
    assert np.argwhere(~recording.joint_mask[0]).tolist() == [[1, 2]] and not recording.keypoints[0, 1, 2].any()
    there = recording.joint_mask[0]
    np.testing.assert_array_equal(recording.confidence[0][there], array[..., 3][there])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((6, 4, 3)), r"shape \(1, 6, 4, 3\), but layout 'five' has 5 joints"),
        (np.ones((6, 15)), r"x.npy: shape \(6, 15\), expected \(frames, 5, 2 to 4\) or \(persons"),
        (np.ones((0, 5, 3)), r"shape \(0, 5, 3\), expected"),
        (np.ones((6, 5, 7)), r"shape \(6, 5, 7\), expected"),
        (np.ones((2, 3, 6, 5, 2)), "a file is one recording, save each of several by itself"),
        (np.full((6, 5, 3), "a"), "values of type <U1, expected numbers"),
        (np.ones((6, 5, 3)) * 1j, "values of type complex128, expected numbers"),
        (np.full((6, 5, 3), None), "holds Python objects, which are never loaded"),
        (np.zeros((6, 5, 3)), "nobody is there in any of its 6 frames"),
        (np.full((6, 5, 3), np.inf), "person 0, frame 0, joint hip: coordinate x is infinite"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(RecordingError, match=message):
        read_skeletons(tmp_path / "x.npy", layout=FIVE)


def test_the_number_of_joints_tells_the_layout_where_it_can(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 33, 3)))
    assert read_skeletons(tmp_path / "x.npy").layout.name == "mediapipe33"
    np.save(tmp_path / "x.npy", np.ones((4, 20, 3)))
    with pytest.raises(RecordingError, match="20 joints without names; .*: kinect20 and msr20 have so many"):
        read_skeletons(tmp_path / "x.npy")
    assert read_skeletons(tmp_path / "x.npy", default_layout="msr20").layout.name == "msr20"
    with pytest.raises(RecordingError, match="which are not the 25 of 'ntu25'"):
        read_skeletons(tmp_path / "x.npy", default_layout="ntu25")


def test_a_head_that_promises_too_much(tmp_path):
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 5, 3)}
    np.lib.format.write_array_header_1_0(stream, header)
    (tmp_path / "x.npy").write_bytes(stream.getvalue() + bytes(60))
    with pytest.raises(RecordingError, match="its head says 60000000000000 bytes of values, but 60 follow"):
        read_skeletons(tmp_path / "x.npy", layout=FIVE)


def test_npz(tmp_path):
    path = tmp_path / "x.npz"
    keypoints = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    mask = np.array([[True] * 4, [True, False, True, True]])
    joints = ["head", "HipCenter", "ElbowLeft", "l_wrist", "tail"]
    scores = np.full((2, 4, 5), 0.25)
    np.savez_compressed(path, keypoints=keypoints, frame_mask=mask, fps=25, joints=joints, scores=scores, units="cm")
    recording = read_skeletons(path)
    assert recording.layout.joints == ("head", "spine_base", "left_elbow", "left_wrist", "tail")
    assert recording.frame_rate == 25 and recording.units == "metre"
    np.testing.assert_array_equal(recording.frame_mask, mask)
    np.testing.assert_allclose(recording.keypoints, keypoints * mask[..., None, None] / 100, rtol=1e-6)
    assert recording.confidence[0, 0, 0] == 0.25
    np.savez(path, a=keypoints, b=keypoints[:, ::-1])
    with pytest.raises(RecordingError, match=r"which array is the recording\? .*there are a \(2, 4, 5, 3\), b"):
        read_skeletons(path, layout=FIVE)
    np.testing.assert_array_equal(read_skeletons(path, layout=FIVE, item="b").keypoints, keypoints[:, ::-1])
    with pytest.raises(RecordingError, match="no array 'c'; there are a"):
        read_skeletons(path, layout=FIVE, item="c")
    np.savez(path, keypoints=keypoints, confidence=np.ones((2, 4, 6)))
    with pytest.raises(RecordingError, match=r"array 'confidence': shape \(2, 4, 6\), expected \(2, 4, 5\)"):
        read_skeletons(path, layout=FIVE)
    np.savez(path, keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordingError, match="array 'keypoints': holds Python objects"):
        read_skeletons(path, layout=FIVE)
    np.savez(path, keypoints=np.ones((2, 5, 3)), layout="nowhere")
    with pytest.raises(RecordingError, match="its layout 'nowhere' is not known here"):
        read_skeletons(path)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("compressed", [False, True])
def test_mat_in_any_order(tmp_path, order, compressed):
    keypoints = np.random.default_rng(0).normal(size=(40, 25, 3))
    savemat(tmp_path / "x.mat", {"S": {"pos": keypoints.transpose(order), "who": "ann"}}, do_compression=compressed)
    recording = read_skeletons(tmp_path / "x.mat", layout="ntu25")
    assert recording.format == "mat"
    np.testing.assert_array_equal(recording.keypoints[0], keypoints.astype(np.float32))


def test_mat_whose_axes_cannot_be_told(tmp_path):
    savemat(tmp_path / "x.mat", {"a": np.ones((3, 25, 25))})
    with pytest.raises(RecordingError, match="which axis is frames, joints and channels"):
        read_skeletons(tmp_path / "x.mat", layout="ntu25")
    savemat(tmp_path / "x.mat", {"a": np.ones((30, 24, 3))})
    with pytest.raises(RecordingError, match="no axes for the 25 joints of 'ntu25'"):
        read_skeletons(tmp_path / "x.mat", layout="ntu25")
    savemat(tmp_path / "x.mat", {"a": np.ones((4, 5))}, format="4")
    with pytest.raises(RecordingError, match="not a MATLAB file of version 5 to 7.3; save it with"):
        read_skeletons(tmp_path / "x.mat", layout="ntu25")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1"])
def test_mat_types_and_names(tmp_path, dtype):
    keypoints = np.random.default_rng(0).integers(1, 99, (6, 3, 3)).astype(dtype)
    names = np.array(["Head", "KneeLeft", "Hips"], dtype=object)
    savemat(tmp_path / "x.mat", {"keypoints": keypoints, "joints": names, "fps": 12.5, "units": "mm"})
    recording = read_skeletons(tmp_path / "x.mat")
    assert recording.layout.joints == ("head", "left_knee", "spine_base")
    assert recording.frame_rate == 12.5 and recording.units == "metre"
    np.testing.assert_allclose(recording.keypoints[0], keypoints.astype(float) / 1000, rtol=1e-6)


def test_utd_mhad_has_its_own_order(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 3, 7))
    savemat(tmp_path / "a1_s1_t1_skeleton.mat", {"d_skel": values})
    recording = read_skeletons(tmp_path / "a1_s1_t1_skeleton.mat")
    assert recording.layout is get_layout("kinect20") and recording.units == "metre"
    np.testing.assert_allclose(recording.keypoints[0, :, recording.layout.index("head")], values[0].T, rtol=1e-6)


def write_mat73(path, keypoints):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["S/skeleton"] = keypoints.T  # MATLAB counts axes the other way round
        file["fps"] = np.array([[30.0]])
        file["name"] = np.array([[ord(letter)] for letter in "walk"], dtype=np.uint16)
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_mat73(tmp_path, monkeypatch):
    keypoints = np.random.default_rng(0).normal(size=(12, 25, 3))
    path = tmp_path / "x.mat"
    write_mat73(path, keypoints)
    recording = read_skeletons(path, layout="ntu25")
    np.testing.assert_array_equal(recording.keypoints[0], keypoints.astype(np.float32))
    assert recording.frame_rate == 30
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(
        RecordingError, match=r"version 7.3; save it with `save\(name, variables, '-v7'\)`, or install h5py"
    ):
        read_skeletons(path, layout="ntu25")


def test_a_pickle_in_the_place_of_an_array_is_not_run(tmp_path):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    np.save(tmp_path / "x.npy", np.array([Boom()], dtype=object), allow_pickle=True)
    with pytest.raises(RecordingError, match="holds Python objects"):
        read_skeletons(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(RecordingError, match="y.npy"):
        read_skeletons(tmp_path / "y.npy")
