import json
import re

import numpy as np
import pytest

from skeleton_transformers.data.motion_synthesis import reference_motion
from skeleton_transformers.skeletons import get_layout
from skeleton_transformers.visualization import render_html


def read(path):
    """The title and the data of a page."""
    page = path.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    return re.search(r"<title>(.*?)</title>", page)[1], data


def test_a_page_holds_every_pose_as_the_camera_saw_it(tmp_path):
    motion = reference_motion("handshake", num_frames=20)
    mask = np.ones(motion.shape[:2], dtype=bool)
    mask[1, 3] = False
    motion[0, 5, 7] = np.nan
    captions = ["" if frame < 10 else "now" for frame in range(20)]
    title, data = read(render_html(motion, "ntu25", tmp_path / "x.html", mask, "a < b", 25.0, captions))
    assert title == "a &lt; b" and data["rate"] == 25.0 and data["frames"] == 20 and data["captions"] == captions
    people = data["people"]
    assert people[1][3] is None and people[0][5][7] is None
    np.testing.assert_allclose(people[0][4], motion[0, 4] * [-1, 1, -1], atol=2e-4)
    assert len(data["bones"]) == len(get_layout("ntu25").edges) and not data["flat"]


def test_a_person_is_upright_on_the_page_whatever_axis_is_up(tmp_path):
    motion = reference_motion("walk", num_frames=5)
    layout = get_layout("ntu25")
    for turned in (motion, motion * [1, -1, -1], motion[..., [0, 2, 1]] * [1, -1, 1]):
        pose = np.array(read(render_html(turned, layout, tmp_path / "x.html"))[1]["people"][0][2])
        assert pose[layout.index("head"), 1] - pose[layout.index("left_foot"), 1] > 1
        # no mirror: seen from the front, the left hand is on the same side as before
        across = pose[layout.index("left_shoulder")] - pose[layout.index("right_shoulder")]
        trunk = pose[layout.index("spine_shoulder")] - pose[layout.index("spine_base")]
        ahead = pose[layout.index("left_foot")] - pose[layout.index("left_ankle")]
        assert np.linalg.det([across, trunk, ahead]) > 0


def test_flat_sequences_have_rows_downwards_and_nothing_ends_the_script(tmp_path):
    points = np.random.default_rng(0).random((1, 3, 17, 2))
    _, data = read(render_html(points, "coco17", tmp_path / "x.html", caption_per_frame=["</script>", None, ""]))
    assert data["flat"] and data["captions"] == ["</script>", "", ""]
    np.testing.assert_allclose(np.array(data["people"][0][0])[:, 1], -points[0, 0, :, 1], atol=1e-4)


def test_messages(tmp_path):
    points = np.ones((1, 3, 17, 2))
    with pytest.raises(ValueError, match="html"):
        render_html(points, "coco17", tmp_path / "x.gif")
    with pytest.raises(ValueError, match="frame_rate must be above 0"):
        render_html(points, "coco17", tmp_path / "x.html", frame_rate=0)
    with pytest.raises(ValueError, match="2 texts for 3 frames"):
        render_html(points, "coco17", tmp_path / "x.html", caption_per_frame=["a", "b"])
