"""TRC and C3D."""

import io

import numpy as np
import pytest

from skeleton_transformers import get_layout, read_skeletons
from skeleton_transformers.data.formats import RecordingError


HALPE = (
    "Hip RHip RKnee RAnkle RBigToe RSmallToe RHeel LHip LKnee LAnkle LBigToe LSmallToe LHeel Neck Head Nose RShoulder RElbow "
    "RWrist LShoulder LElbow LWrist"
).split()


def trc(markers, values, units="mm", rate=50, frames=None):
    lines = [
        "PathFileType\t4\t(X/Y/Z)\ttake.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{len(values) if frames is None else frames}\t{len(markers)}\t{units}\t{rate}\t1\t{len(values)}",
        "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, len(markers) + 1) for axis in "XYZ"),
        "",
    ]
    for number, row in enumerate(np.asarray(values, dtype=float)):
        cells = ["" if np.isnan(v) else f"{v:.6f}" for v in row.ravel()]
        lines.append("\t".join([str(number + 1), f"{number / rate:.3f}", *cells]))
    return "\n".join(lines) + "\n"


def test_trc(tmp_path):
    values = 1000 * np.random.default_rng(0).normal(size=(5, 3, 3))
    values[2, 1] = np.nan
    values[4, 2] = np.nan
    path = tmp_path / "take.trc"
    path.write_text(trc(["RKnee", "C7", "Pelvis"], values))
    recording = read_skeletons(path)
    assert recording.format == "trc" and recording.layout.joints == ("right_knee", "c7", "spine_base")
    assert recording.layout.parents == (2, 2, 2)
    assert recording.units == "metre" and recording.frame_rate == 50
    np.testing.assert_allclose(recording.keypoints[0], np.nan_to_num(values) / 1000, rtol=1e-5, atol=1e-9)
    assert np.argwhere(~recording.joint_mask[0]).tolist() == [[2, 1], [4, 2]]


def test_markers_of_a_known_layout_are_that_layout(tmp_path):
    names = [*HALPE, "LEye", "REye", "LEar", "REar"]
    values = np.random.default_rng(0).normal(size=(2, len(names), 3))
    (tmp_path / "take.trc").write_text(trc(names, values, units="m"))
    recording = read_skeletons(tmp_path / "take.trc")
    assert recording.layout is get_layout("halpe26")
    np.testing.assert_allclose(
        recording.keypoints[0, :, recording.layout.index("left_foot")], values[:, 10], rtol=1e-4
    )
    (tmp_path / "take.trc").write_text(trc(HALPE, values[:, :22], units="m"))
    recording = read_skeletons(tmp_path / "take.trc")
    parents = {
        joint: recording.layout.joints[parent]
        for joint, parent in zip(recording.layout.joints, recording.layout.parents)
    }
    assert parents["left_wrist"] == "left_elbow" and parents["right_small_toe"] == "right_foot"
    assert parents["left_shoulder"] == "spine_shoulder" and parents["spine_base"] == "spine_base"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("\t5\t3\tmm", "\t6\t3\tmm"), "5 rows, but NumFrames is 6; is the file cut off?"),
        (lambda t: t.replace("\t5\t3\tmm", "\t5\t4\tmm"), "line 4: 3 markers, but NumMarkers is 4"),
        (lambda t: t.replace("DataRate", "Rate", 1), "lines 2 and 3: expected the numbers DataRate"),
        (lambda t: t.rsplit("\t", 2)[0] + "\n", "line 11: 9 cells, expected frame, time and 9 coordinates"),
        (lambda t: t.rsplit("\t", 1)[0] + "\tx\n", "line 11: expected 9 numbers"),
        (lambda t: t[:60], "fewer than five lines"),
        (lambda t: t.replace("50\t50", "0\t50"), "the frame rate is 0.0"),
    ],
)
def test_faults_of_trc(tmp_path, change, message):
    path = tmp_path / "take.trc"
    path.write_text(change(trc(["a", "b", "c"], np.ones((5, 3, 3)))))
    with pytest.raises(RecordingError, match=message):
        read_skeletons(path)


@pytest.mark.parametrize("scale", [-1.0, 0.1])  # real and integer coordinates
def test_c3d(tmp_path, scale):
    c3d = pytest.importorskip("c3d")
    values = np.round(1000 * np.random.default_rng(0).normal(size=(6, 3, 3)), 1)
    writer = c3d.Writer(point_rate=120.0, point_scale=scale)
    writer.set_point_labels(["LKNE", "Right Knee", "SACR"])
    for number, frame in enumerate(values):
        points = np.concatenate([frame, np.zeros((3, 2))], axis=1).astype(np.float32)
        if number == 3:
            points[1, 3] = -1  # not seen
        writer.add_frames([(points, np.zeros((0, 0)))])
    stream = io.BytesIO()
    writer.write(stream)
    path = tmp_path / "take.c3d"
    path.write_bytes(stream.getvalue())
    recording = read_skeletons(path)
    assert recording.format == "c3d" and recording.layout.joints == ("lkne", "right_knee", "sacr")
    assert recording.units == "metre" and recording.frame_rate == 120
    assert np.argwhere(~recording.joint_mask[0]).tolist() == [[3, 1]]
    expected = values / 1000
    expected[3, 1] = 0
    np.testing.assert_allclose(recording.keypoints[0], expected, atol=1e-4)
    path.write_bytes(stream.getvalue()[:-700])
    with pytest.raises(RecordingError, match="take.c3d: .*cut off"):
        read_skeletons(path)


def test_c3d_without_its_library(tmp_path, monkeypatch):
    path = tmp_path / "take.c3d"
    path.write_bytes(b"\x02\x50" + bytes(600))
    monkeypatch.setitem(__import__("sys").modules, "c3d", None)
    with pytest.raises(
        RecordingError, match=r"reading C3D files needs the package c3d; .*skeleton_transformers\[c3d\]"
    ):
        read_skeletons(path)
