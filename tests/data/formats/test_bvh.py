import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError


HIERARCHY = """HIERARCHY
ROOT Hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition {order}
  JOINT LeftUpLeg
  {{
    OFFSET 1 0 0
    CHANNELS 3 {order}
    JOINT LeftLeg
    {{
      OFFSET 0 -2 0
      CHANNELS 3 {order}
      End Site
      {{
        OFFSET 0 0 3
      }}
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: {time}
"""


def write(path, rows, order="Zrotation Xrotation Yrotation", frames=None, time="0.04"):
    head = HIERARCHY.format(order=order, frames=len(rows) if frames is None else frames, time=time)
    path.write_text(head + "\n".join(" ".join(map(str, row)) for row in rows) + "\n")
    return path


def turn(axis, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "Y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "Z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_forward_kinematics_by_hand(tmp_path):
    rows = [[5, 6, 7] + [0] * 9, [5, 6, 7, 90, 0, 0] + [0] * 6, [0, 0, 0] + [0] * 3 + [0, 90, 0] + [0] * 3]
    recording = read_skeletons(write(tmp_path / "a.bvh", rows))
    assert recording.layout.joints == ("spine_base", "left_hip", "left_knee", "left_leg_end")
    assert (
        recording.layout.parents == (0, 0, 1, 2)
        and recording.frame_rate == pytest.approx(25)
        and recording.units == ""
    )
    expected = [
        [[5, 6, 7], [6, 6, 7], [6, 4, 7], [6, 4, 10]],
        [[5, 6, 7], [5, 7, 7], [7, 7, 7], [7, 7, 10]],  # a quarter turn about z takes x to y and -y to x
        [[0, 0, 0], [1, 0, 0], [1, 0, -2], [1, -3, -2]],  # about x: y to z and z to -y, below the hip only
    ]
    np.testing.assert_allclose(recording.keypoints[0], expected, atol=1e-5)


@pytest.mark.parametrize("order", ["XYZ", "ZXY", "ZYX", "YXZ"])
def test_rotations_follow_the_order_of_the_channels(tmp_path, order):
    rng = np.random.default_rng(0)
    angles = rng.uniform(-180, 180, (3, 3))  # joints, channels
    row = np.concatenate([[1, 2, 3], *angles])
    channels = " ".join(f"{axis}rotation" for axis in order)
    found = read_skeletons(write(tmp_path / "a.bvh", [row], channels)).keypoints[0, 0]
    place, above, expected = np.array([1.0, 2, 3]), np.eye(3), []
    for joint, offset in enumerate(([0, 0, 0], [1, 0, 0], [0, -2, 0])):
        place = place + above @ np.array(offset)
        expected.append(place)
        for axis, angle in zip(order, angles[joint]):
            above = above @ turn(axis, angle)
    expected.append(place + above @ np.array([0, 0, 3]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_units_are_the_users(tmp_path):
    path = write(tmp_path / "a.bvh", [[100] * 3 + [0] * 9])
    recording = read_skeletons(path, units="centimetre")
    assert recording.units == "metre" and recording.keypoints[0, 0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.replace("Frames: 2", "Frames: 3"),
            "24 values, expected 3 frames x 12 channels = 36; the file is cut off",
        ),
        (lambda t: t.replace("Frames: 2", "Frames: 99999999999999"), "24 values, expected 99999999999999 frames"),
        (lambda t: t.replace("Frames: 2", "Frames: two"), "line 21: expected 'Frames: <number>'"),
        (lambda t: t.replace("Time: 0.04", "Time: 0"), "2 frames of 0.0 seconds; both must be above 0"),
        (lambda t: t.split("MOTION")[0], "no MOTION after the hierarchy"),
        (lambda t: t.replace("OFFSET 1 0 0", "OFFSET 1 x 0"), "line 8: 'x' is no finite number"),
        (lambda t: t.replace("Zrotation", "Wrotation", 1), "line 5: channel 'Wrotation' is unknown"),
        (lambda t: t.replace("CHANNELS 3", "CHANNELS 9", 1), "line 9: 9 channels, expected 0 to 6"),
        (lambda t: t.replace("}\nMOTION", "MOTION"), "the hierarchy ends in the middle"),
        (lambda t: t.replace("}\nMOTION", "}\nROOT a { }\nMOTION"), "'ROOT' after the end of the skeleton"),
        (lambda t: t.replace("\n0 ", "\nnan "), "frame 0, channel 0: nan is not finite"),
        (lambda t: t.replace("\n0 ", "\nzero "), "the motion holds a word that is no number"),
    ],
)
def test_faults(tmp_path, change, message):
    path = write(tmp_path / "a.bvh", [[0] * 12] * 2)
    path.write_text(change(path.read_text()))
    with pytest.raises(RecordingError, match=message):
        read_skeletons(path)


def test_a_skeleton_too_deep_or_too_large(tmp_path):
    deep = "HIERARCHY\nROOT a\n" + "{ OFFSET 0 0 0 CHANNELS 0 JOINT b " * 20_000
    (tmp_path / "a.bvh").write_text(deep + "\nMOTION\nFrames: 1\nFrame Time: 1\n")
    with pytest.raises(RecordingError, match="more than 1000 joints"):
        read_skeletons(tmp_path / "a.bvh")


@pytest.mark.parametrize(("name", "frames", "up"), [("wave_hello", 839, 2), ("jumping_jacks", 125, 1)])
def test_real_takes(real_data, name, frames, up):
    recording = read_skeletons(real_data / "bvh" / f"{name}.bvh")
    points, layout = recording.keypoints[0], recording.layout
    assert recording.format == "bvh" and len(points) == frames
    bones = np.linalg.norm(points - points[:, list(layout.parents)], axis=-1)
    assert bones.std(axis=0).max() < 1e-3  # bones keep their length
    heights = [points[:, layout.index(joint), up].mean() for joint in ("head", "spine_base", "left_knee", "left_foot")]
    assert heights == sorted(heights, reverse=True)
    # a person is upright, her feet on a floor; left and right mirror each other
    floor = points[:, [layout.index("left_foot"), layout.index("right_foot")], up].min()
    assert abs(points[..., up].min() - floor) < 0.1 * (heights[0] - floor)
    np.testing.assert_allclose(bones[0, layout.index("left_knee")], bones[0, layout.index("right_knee")], rtol=0.05)
    if name == "jumping_jacks":  # the arms go up over the head and down, both sides together
        wrists = points[:, [layout.index("left_wrist"), layout.index("right_wrist")], up]
        head = points[:, layout.index("head"), up][:, None]
        assert (wrists > head).any() and (wrists < head - 5).any()
        assert np.corrcoef(wrists.T)[0, 1] > 0.9
