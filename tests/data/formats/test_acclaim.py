import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skeleton_transformers.data.formats.acclaim import read_acclaim, read_amc, read_asf
from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.recordings import read_skeletons


ASF = """# comment
:version 1.10
:name TEST
:units
  mass 1.0
  length 0.5
  angle deg
:documentation
  nothing: begin end
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name lfemur
     direction 0 -1 0
     length 4
     axis 0 0 0  XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name lhipjoint
     direction 1 0 0
     length 1
     axis 0 0 0 XYZ
  end
  begin
     id 3
     name ltibia
     direction 0 -1 0
     length 3
     axis 0 90 0 XYZ
    dof rx
  end
:hierarchy
  begin
    root lhipjoint
    lhipjoint lfemur
    lfemur ltibia
  end
"""
AMC = """#!OML:ASF test
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
lfemur 0 0 0
ltibia 0
2
root 0 0 0 0 90 0
lfemur 90 0 0
ltibia 90
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "07.asf").write_text(ASF)
    (tmp_path / "07_01.amc").write_text(AMC)
    return tmp_path


def test_two_poses(folder):
    keypoints, frame_mask, layout = read_acclaim(folder / "07_01.amc")
    assert layout.joints == ("spine_base", "left_hip", "left_knee", "left_ankle") and layout.parents == (0, 0, 1, 2)
    assert layout.name == "acclaim4" and keypoints.dtype == np.float32 and frame_mask.tolist() == [[True, True]]
    poses = keypoints[0] / (0.0254 / 0.5)
    np.testing.assert_allclose(poses[0], [[1, 2, 3], [2, 2, 3], [2, -2, 3], [2, -5, 3]], atol=1e-5)
    # The root turns by 90 degrees about y: x goes to -z, z to x. The thigh (0, -4, 0) turned about x by 90 degrees is (0, 0, -4), with the
    # root (-4, 0, 0). The axis of the shin is turned by 90 degrees about y, so it bends about -z: (0, -3, 0) becomes (-3, 0, 0),
    # then with the thigh (-3, 0, 0), with the root (0, 0, 3).
    np.testing.assert_allclose(poses[1], [[0, 0, 0], [0, 0, -1], [-4, 0, -1], [-4, 0, 2]], atol=1e-5)


def test_radians_and_windows_line_ends(folder):
    amc = AMC.replace(":DEGREES", ":RADIANS").replace("90", str(np.pi / 2)).replace("\n", "\r\n")
    (folder / "07_02.amc").write_bytes(amc.encode())
    np.testing.assert_allclose(read_acclaim(folder / "07_02.amc")[0], read_acclaim(folder / "07_01.amc")[0], atol=1e-6)


def test_which_skeleton(folder):
    (folder / "08.asf").write_text(ASF.replace("length 4", "length 8"))
    assert read_acclaim(folder / "07_01.amc")[0][0, 0, 2, 1] == pytest.approx(-2 * 0.0508)
    assert read_acclaim(folder / "07_01.amc", folder / "08.asf")[0][0, 0, 2, 1] == pytest.approx(-6 * 0.0508)
    (folder / "07.asf").rename(folder / "09.asf")
    with pytest.raises(RecordingError, match=r"07_01.amc: 2 skeletons \(.asf\) beside it, none of them named like it"):
        read_acclaim(folder / "07_01.amc")
    with pytest.raises(RecordingError, match="07.asf: cannot be read"):
        read_acclaim(folder / "07_01.amc", folder / "07.asf")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length 0.5", "length 0", "line 6: the unit of length is 0.0, expected a positive number"),
        ("angle deg", "angle gon", "line 7: the unit of angles is 'gon', expected deg or rad"),
        ("order TX TY TZ RX RY RZ", "order TX TY RX RY RZ", "line 11: the order of the root is 'TX TY RX RY RZ'"),
        ("axis XYZ", "axis XXZ", "line 12: the axis of the root is 'XXZ', expected an order of axes such as XYZ"),
        ("name lhipjoint", "name lfemur", "the name of a bone is 'lfemur', expected one word, used once"),
        ("direction 1 0 0", "direction 1 0", "the direction of lhipjoint is '1 0', expected 3 numbers"),
        ("length 4", "length inf", "the length of lfemur is 'inf', expected 1 numbers up to 1e"),
        ("     length 3\n", "", "bone 'ltibia' lacks a name, a direction or a length"),
        ("dof rx ry rz", "dof rx tx", "lfemur moves in 'rx tx'; only rx, ry and rz are known"),
        ("axis 0 90 0 XYZ", "axis 0 90 XYZ", "the axis of ltibia is '0 90 XYZ', expected 3 numbers"),
        ("lfemur ltibia", "lfemur ltoes", "bone 'ltoes' is not among the bones of this skeleton"),
        ("    lfemur ltibia\n", "", "bone 'ltibia' has no parent under :hierarchy"),
        ("    lfemur ltibia\n", "    lfemur ltibia\n    root ltibia\n", "bone 'ltibia' has a second parent"),
        ("root lhipjoint", "ltibia lhipjoint", "following the parents of bone 'lfemur' never ends at the root"),
        ("  begin\n     id 1\n", "", "line 16: 'name' outside of begin and end"),
        (ASF, "", "no root with an order or no bones"),
    ],
)
def test_damaged_skeletons(folder, old, new, message):
    assert old in ASF
    (folder / "07.asf").write_text(ASF.replace(old, new, 1))
    with pytest.raises(RecordingError, match=r"07.asf.*" + message):
        read_asf(folder / "07.asf")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lfemur 90 0 0", "lfemur 90 0", "line 10: frame 2: the motion of lfemur is '90 0', expected 3 numbers"),
        ("lfemur 90 0 0", "lfemur 90 0 nan", "the motion of lfemur is '90 0 nan'"),
        ("ltibia 90", "rtibia 90", "frame 2: bone 'rtibia' does not move in this skeleton; is it another's?"),
        ("ltibia 90", "lfemur 0 0 0", "frame 2: bone 'lfemur' is there twice"),
        ("ltibia 90\n", "", "line 8: frame 2 does not say how 'ltibia' moves"),
        ("\n2\n", "\n3\n", "line 8: frame '3' found where frame 2 is expected"),
        ("1\nroot", "root", "bone 'root' before the first frame"),
        (AMC, ":DEGREES\n", "no frame; the file is cut off or no Acclaim motion"),
    ],
)
def test_damaged_motions(folder, old, new, message):
    assert old in AMC
    (folder / "07_01.amc").write_text(AMC.replace(old, new, 1))
    with pytest.raises(RecordingError, match=r"07_01.amc.*" + message):
        read_acclaim(folder / "07_01.amc")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_refused_or_read_in_full(folder, data):
    for name, text in (("fuzz.asf", ASF), ("fuzz.amc", AMC)):
        whole = text.encode()
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, len(whole)))
            stop = data.draw(st.integers(start, min(len(whole), start + 20)))
            whole = whole[:start] + data.draw(st.binary(max_size=4)) + whole[stop:]
        (folder / name).write_bytes(whole)
    try:
        keypoints, frame_mask, layout = read_acclaim(folder / "fuzz.amc", folder / "fuzz.asf")
    except RecordingError as error:
        assert "fuzz.a" in str(error)
        return
    assert keypoints.shape == (1, frame_mask.shape[1], layout.num_joints, 3) and np.isfinite(keypoints).all()


def test_real_bones_keep_their_lengths_and_people_stand_on_the_floor(real_data):
    folder = real_data / "cmu-mocap" / "asfamc"
    for name in ("02/02_01", "02/02_03", "03/03_01"):
        keypoints, _, layout = read_acclaim(folder / f"{name}.amc")
        assert layout.num_joints == 31
        skeleton = read_asf(folder / name[:2] / f"{name[:2]}.asf")
        lengths = np.linalg.norm(keypoints[0] - keypoints[0][:, list(layout.parents)], axis=-1)
        np.testing.assert_allclose(
            lengths[:, 1:].mean(axis=0), np.linalg.norm(skeleton.offsets[1:], axis=-1), atol=1e-5
        )
        assert lengths.std(axis=0).max() < 1e-4
        height = keypoints[0, :, layout.index("head_top"), 1] - keypoints[0, :, :, 1].min(axis=1)
        assert 1.4 < np.median(height) < 1.9
    rotations, root = read_amc(folder / "02" / "02_01.amc", read_asf(folder / "02" / "02.asf"))
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-9
    )
    assert root.shape == (343, 3)


def test_found_by_its_ending(folder):
    recording = read_skeletons(folder / "07_01.amc")
    assert (recording.format, recording.units, recording.frame_rate) == ("acclaim-amc", "metre", None)
    np.testing.assert_array_equal(recording.keypoints, read_acclaim(folder / "07_01.amc")[0])
    assert recording.layout.joints[1] == "left_hip"
