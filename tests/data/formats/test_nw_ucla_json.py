import json

import numpy as np
import pytest

from skeleton_transformers.data.formats import RecordingError, read_nw_ucla_json


def test_reads_frames_and_masks_empty_ones(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 20, 3)).round(6)
    values[4] = 0
    path = tmp_path / "a01_s01_e00_v01.json"
    path.write_text(json.dumps({"file_name": path.stem, "skeletons": values.tolist(), "label": 1}))
    keypoints, frame_mask = read_nw_ucla_json(path)
    assert keypoints.dtype == np.float32
    np.testing.assert_array_equal(keypoints, values[None].astype(np.float32))
    assert frame_mask.tolist() == [[True] * 4 + [False]]


FRAME = [[0.1, 0.2, 0.3]] * 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"skeletons": [[[0.1,', "x.json: not JSON .*the file is cut off or of another format"),
        ("[]", "x.json: no list of frames under the key 'skeletons'"),
        (json.dumps({"skeletons": []}), "no list of frames"),
        (json.dumps({"skeletons": [FRAME, FRAME[:19]]}), "x.json, frame 1: 19 joints, expected 20"),
        (
            json.dumps({"skeletons": [FRAME, FRAME[:-1] + [[1, 2]]]}),
            r"frame 1, joint 19: \[1, 2\] is not three finite numbers",
        ),
        (json.dumps({"skeletons": [FRAME[:-1] + [[1, 2, "a"]]]}), r"frame 0, joint 19: \[1, 2, 'a'\]"),
        (json.dumps({"skeletons": [FRAME[:-1] + [[1, 2, float("nan")]]]}), r"frame 0, joint 19: \[1, 2, nan\]"),
        (json.dumps({"skeletons": [FRAME[:-1] + [[1, 2, None]]]}), r"frame 0, joint 19: \[1, 2, None\]"),
        (json.dumps({"skeletons": [[[0, 0, 0]] * 20]}), "all coordinates of all 1 frames are 0"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=message):
        read_nw_ucla_json(path)
