import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from skeleton_transformers.data.formats.acclaim import read_acclaim
from skeleton_transformers.data.formats.errors import RecordingError
from skeleton_transformers.data.formats.expmap_text import EXPMAP_SKELETONS, expmap_positions, read_expmap_text
from skeleton_transformers.skeletons import convert_layout, get_layout


def make(values):
    return "\n".join(",".join(map(repr, row)) for row in values.reshape(len(values), -1).tolist()) + "\n"


@pytest.fixture(params=["h36m", "cmu"])
def skeleton(request):
    return request.param


@pytest.fixture
def values(skeleton):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.5, (4, 1 + len(EXPMAP_SKELETONS[skeleton].nodes), 3)).round(6)


def test_reads_the_numbers_and_tells_the_skeleton_by_their_count(tmp_path, values, skeleton):
    path = tmp_path / "walking_1.txt"
    path.write_text(make(values) + "\n")
    found, name = read_expmap_text(path)
    assert name == skeleton
    np.testing.assert_array_equal(found, values)
    other = "cmu" if skeleton == "h36m" else "h36m"
    with pytest.raises(RecordingError, match=rf"walking_1.txt, line 1: \d+ numbers, expected \d+ \({other}\)"):
        read_expmap_text(path, other)
    with pytest.raises(ValueError, match="unknown skeleton 'smpl' of exponential maps; known: h36m, cmu"):
        read_expmap_text(path, "smpl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [], "x.txt: the file is empty"),
        (lambda rows: ["1,2,3"], r"x.txt, line 1: 3 numbers, expected 99 \(h36m\), 117 \(cmu\)"),
        (lambda rows: rows[:2] + [rows[2] + ",1"] + rows[3:], "x.txt, line 3: .* numbers, expected"),
        (lambda rows: rows[:2] + ["nan" + rows[2][rows[2].index(",") :]], "line 3: 'nan' is not a number up to 1e"),
        (
            lambda rows: rows[:2] + ["1e300" + rows[2][rows[2].index(",") :]],
            "line 3: '1e300' is not a number up to 1e",
        ),
        (lambda rows: rows[:2] + ["x" + rows[2][rows[2].index(",") :]], "line 3: 'x' is not a number"),
        (lambda rows: rows[:2] + [""] + rows[2:], "line 3: 1 numbers, expected"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, values, change, message):
    path = tmp_path / "x.txt"
    path.write_text("\n".join(change(make(values).strip().split("\n"))))
    with pytest.raises(RecordingError, match=message):
        read_expmap_text(path)
    with pytest.raises(RecordingError, match="gone.txt: cannot be read"):
        read_expmap_text(tmp_path / "gone.txt")


def test_positions_against_row_vectors_written_out(values, skeleton):
    """The published form: x[j] = x[p] + offset @ W[p], W[j] = R[j] @ W[p], on rows."""
    tree = EXPMAP_SKELETONS[skeleton]
    names = [node for node, _, _ in tree.nodes]
    rotation = Rotation.from_rotvec(values[1, 1:]).as_matrix()
    place, turned = {}, {}
    for number, (node, parent, offset) in enumerate(tree.nodes):
        if parent:
            place[node] = place[parent] + np.array(offset) @ turned[parent]
            turned[node] = rotation[number] @ turned[parent]
        else:
            place[node], turned[node] = values[1, 0] + np.array(offset), rotation[number]
    positions = expmap_positions(values, skeleton)
    layout = get_layout(tree.layout)
    assert positions.shape == (1, 4, layout.num_joints, 3) and positions.dtype == np.float32
    expected = np.array([place[joint] for joint in layout.joints]) * tree.unit
    np.testing.assert_allclose(positions[0, 1], expected, atol=1e-5)
    # what the layout leaves out always lies on a joint that it keeps
    kept = np.array([place[joint] for joint in layout.joints])
    for node in set(names) - set(layout.joints):
        assert np.abs(kept - place[node]).max(axis=1).min() < 0.2


def test_the_tree_of_the_layout_is_that_of_the_skeleton(skeleton):
    tree = EXPMAP_SKELETONS[skeleton]
    layout = get_layout(tree.layout)
    parents = {node: parent for node, parent, _ in tree.nodes}
    bones = {node: np.linalg.norm(offset) for node, _, offset in tree.nodes}
    for joint, parent in zip(layout.joints, layout.parents):
        ancestors, node = [], joint
        while node:
            node = parents[node]
            ancestors.append(node)
        assert layout.joints[parent] in [*ancestors, joint] or (skeleton, joint[-8:]) == ("h36m", "shoulder")
        if joint.startswith("left_"):  # both sides are built alike
            other = "right_" + joint[5:]
            assert bones[other] == pytest.approx(bones[joint], rel=0.4)


def test_the_17_joints_in_common_use_are_among_those_of_human36m():
    converted, found = convert_layout(np.ones((1, 25, 3)), "h36m25", "h36m17")
    assert found.all() and converted.shape == (1, 17, 3)


def test_a_standing_person():
    for skeleton, top, height in (("h36m", "head", 1.62), ("cmu", "head_top", 1.39)):  # from the ankles
        values = np.zeros((1, 1 + len(EXPMAP_SKELETONS[skeleton].nodes), 3))
        positions = expmap_positions(values, skeleton)[0, 0]
        layout = get_layout(EXPMAP_SKELETONS[skeleton].layout)
        hips, ankles = positions[layout.index("spine_base")], positions[layout.index("left_ankle")]
        assert 0.85 < np.linalg.norm(hips - ankles) < 1.0
        assert positions[layout.index(top), 1] - ankles[1] == pytest.approx(height, abs=0.01)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_in_full(tmp_path, values, data):
    whole = make(values).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 60)))
    path = tmp_path / "fuzz.txt"
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=5)) + whole[stop:])
    try:
        found, name = read_expmap_text(path)
    except RecordingError as error:
        assert "fuzz.txt" in str(error)
        return
    assert np.isfinite(expmap_positions(found, name)).all()


def test_real_bones_keep_their_lengths(real_data):
    values, skeleton = read_expmap_text(real_data / "cmu-mocap" / "train" / "soccer" / "soccer_3.txt")
    positions = expmap_positions(values, skeleton)[0]
    layout = get_layout("cmu28")
    lengths = np.linalg.norm(positions - positions[:, list(layout.parents)], axis=-1)
    assert lengths.std(axis=0).max() < 1e-5


def test_real_motion_agrees_with_its_acclaim_original(real_data):
    """walking_1 is motion 1 of subject 2 after a first line that is no recorded frame."""
    values, skeleton = read_expmap_text(real_data / "cmu-mocap" / "train" / "walking" / "walking_1.txt")
    ours = expmap_positions(values[1:], skeleton)[0]
    theirs, _, their_layout = read_acclaim(real_data / "cmu-mocap" / "asfamc" / "02" / "02_01.amc")
    assert len(ours) == theirs.shape[1] == 343
    layout = get_layout("cmu28")

    def difference(joint):
        both = ours[:, layout.index(joint)], theirs[0, :, their_layout.index(joint)]
        return np.linalg.norm(both[0] - both[1], axis=-1)

    assert difference("spine_base").max() < 1e-5
    for joint in ("spine_lower", "spine_mid", "left_hip", "right_hip"):
        assert difference(joint).max() < 0.004
    for side in ("left", "right"):
        for joint in ("knee", "ankle", "foot", "toe"):
            assert difference(f"{side}_{joint}").max() < 0.014
    # above, the published skeleton lacks the thorax bone, 2.07 units long
    for joint in ("neck", "head", "head_top", "left_shoulder", "left_elbow", "right_shoulder", "right_elbow"):
        assert np.abs(difference(joint) - 2.068 * 0.0254 / 0.45).max() < 0.005
