"""A small recording in every format, written as its documentation says."""

import gzip
import io
import json
import pickle

import numpy as np
import pytest
from scipy.io import savemat

from skeleton_transformers import get_layout


FRAMES = 4


def points(joints: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random keypoints `(frames, joints, channels)` between 0 and 1 that survive four decimals."""
    return np.random.default_rng(seed).integers(1, 10_000, (FRAMES, joints, channels)) / 10_000


def table(names, values, separator=",") -> bytes:
    lines = [separator.join(names), *(separator.join(map(str, row)) for row in values)]
    return ("\n".join(lines) + "\n").encode()


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def mat(**arrays) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays)
    return stream.getvalue()


def parquet(columns: dict) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def ntu() -> bytes:
    lines = [str(FRAMES)]
    for frame in points(25):
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.1 0.1 2", "25"]
        lines += [" ".join(map(str, joint)) + " 0 0 0 0 0 0 0 0 2" for joint in frame]
    return ("\n".join(lines) + "\n").encode()


BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT LeftUpLeg
  {
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT LeftLeg
    {
      OFFSET 0 -2 0
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 -3 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
5 6 7 0 0 0 0 0 0 0 0 0
5 6 7 90 0 0 0 90 0 0 0 30
"""


def trc(frames=FRAMES, markers=("RKnee", "LKnee", "Hip")) -> bytes:
    values = 1000 * points(len(markers))[:frames]
    lines = [
        "PathFileType\t4\t(X/Y/Z)\ttake.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"50.00\t50.00\t{frames}\t{len(markers)}\tmm\t50.00\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, len(markers) + 1) for axis in "XYZ"),
        "",
    ]
    lines += [
        "\t".join([str(frame + 1), f"{frame / 50:.3f}", *(f"{value:.4f}" for value in values[frame].ravel())])
        for frame in range(frames)
    ]
    return ("\n".join(lines) + "\n").encode()


def c3d_bytes() -> bytes:
    c3d = pytest.importorskip("c3d")
    writer = c3d.Writer(point_rate=100.0)
    writer.set_point_labels(["LKNE", "RKNE", "SACR"])
    for frame in 1000 * points(3):
        writer.add_frames([(np.concatenate([frame, np.zeros((3, 2))], axis=1).astype(np.float32), np.zeros((0, 0)))])
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def pose_bytes() -> bytes:
    pytest.importorskip("pose_format")
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    names = [name.upper() for name in get_layout("mediapipe33").joints]
    component = PoseHeaderComponent("POSE_LANDMARKS", names, [(0, 1)], [(255, 0, 0)], "XYZC")
    header = PoseHeader(0.2, PoseHeaderDimensions(200, 100, 100), [component])
    body = NumPyPoseBody(25.0, 100 * points(33)[:, None], np.full((FRAMES, 1, 33), 0.5))
    stream = io.BytesIO()
    Pose(header, body).write(stream)
    return stream.getvalue()


def with_confidence(values: np.ndarray, confidence: float = 0.5) -> np.ndarray:
    return np.concatenate([values, np.full((*values.shape[:-1], 1), confidence)], axis=-1)


def flat(values: np.ndarray) -> list:
    return with_confidence(values).ravel().tolist()


def build() -> dict[str, tuple[str, bytes]]:
    """Format to file name and content of one that holds `points` of one person; an OpenPose file holds one frame."""
    landmarks = [[dict(zip("xyz", map(float, p)), visibility=0.5) for p in frame] for frame in points(33)]
    people = [[{"keypoints": f.tolist(), "keypoint_scores": [0.5] * 17}] for f in points(17, 2)]
    results = [
        {"image_id": f"{number}.jpg", "category_id": 1, "keypoints": flat(100 * f), "score": 2.0, "idx": [1.0]}
        for number, f in enumerate(points(17, 2))
    ]
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 200, "height": 100} for n in range(FRAMES)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "keypoints": with_confidence(100 * f, 2).ravel().tolist()}
            for n, f in enumerate(points(17, 2))
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(get_layout("coco17").joints)}],
    }
    annotation = {
        "frame_dir": "walk_1",
        "label": 3,
        "img_shape": (100, 200),
        "total_frames": FRAMES,
        "keypoint": (100 * points(17, 2))[None].astype(np.float32),
        "keypoint_score": np.full((1, FRAMES, 17), 0.5, dtype=np.float16),
    }
    columns = {
        f"{joint}_{axis}": points(20)[:, j, c]
        for j, joint in enumerate(get_layout("kinect20").joints)
        for c, axis in enumerate("xyz")
    }
    kinect = ";".join(["HipCenter", "Head", "KneeLeft"])
    kinect_rows = [";".join(" ".join(map(str, joint)) for joint in frame) + ";0" for frame in points(3)]
    kinetics = [
        {"frame_index": n, "skeleton": [{"pose": f.ravel().tolist(), "score": [0.5] * 18}]}
        for n, f in enumerate(points(18, 2), 1)
    ]
    pku = np.concatenate([points(25), np.zeros((FRAMES, 25, 3))], axis=1).reshape(FRAMES, -1)
    files = {
        "npy": ("take.npy", npy(points(20).astype(np.float32))),
        "npz": ("take.npz", npz(keypoints=points(20), frame_rate=25.0, layout="kinect20", units="metre")),
        "mat": ("take.mat", mat(skeleton=points(20), fps=25.0)),
        "parquet": ("take.parquet", parquet(columns)),
        "pyskl-pickle": ("takes.pkl", pickle.dumps({"split": {"train": ["walk_1"]}, "annotations": [annotation]})),
        "openpose-json": (
            "take_000000000000_keypoints.json",
            json.dumps(
                {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": flat(points(25, 2)[0])}]}
            ).encode(),
        ),
        "nw-ucla-json": ("a01_s01_e01_v01.json", json.dumps({"skeletons": points(20).tolist()}).encode()),
        "alphapose-json": ("alphapose-results.json", json.dumps(results).encode()),
        "coco-json": ("person_keypoints.json", json.dumps(coco).encode()),
        "mmpose-json": ("take.json.gz", gzip.compress(json.dumps(people).encode(), mtime=0)),
        "mediapipe-json": ("take.json", json.dumps({"fps": 25, "frames": landmarks}).encode()),
        "bvh": ("take.bvh", BVH.encode()),
        "trc": ("take.trc", trc()),
        "kinect-csv": ("take.csv", ("\n".join([kinect, *kinect_rows]) + "\n").encode()),
        "kinetics-json": ("clip.json", json.dumps({"data": kinetics, "label": "yoga", "label_index": 398}).encode()),
        "pku-mmd-text": ("0002-L.txt", table([], pku, " ")[1:]),
        "expmap-text": ("walking_1.txt", table([], points(33).reshape(FRAMES, -1))[1:]),
        "ntu-skeleton": ("S001C001P001R001A001.skeleton", ntu()),
        "msr-action3d-text": (
            "a01_s01_e01_skeleton3D.txt",
            table([], with_confidence(points(20)).reshape(-1, 4), " ")[1:],
        ),
        "gtu-text": ("movement1.txt", table([], points(25).reshape(-1, 3), " ")[1:]),
        "csv": ("take.csv", table(columns, np.stack(list(columns.values()), axis=1))),
        "text-rows": ("take.txt", table([], points(20).reshape(-1, 3), " ")[1:]),
    }
    try:
        files["c3d"] = ("take.c3d", c3d_bytes())
        files["pose"] = ("take.pose", pose_bytes())
    except pytest.skip.Exception:
        pass  # the extras are not installed
    return files


class SampleFiles(dict):
    """Format to file name and content."""

    def __repr__(self) -> str:
        return "SampleFiles()"  # hypothesis prints its arguments


@pytest.fixture(scope="session")
def sample_files() -> dict[str, tuple[str, bytes]]:
    return SampleFiles(build())


@pytest.fixture(scope="session")
def sample_points():
    return points
