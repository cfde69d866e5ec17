import gzip
import json

import numpy as np
import pytest

from skeleton_transformers import read_skeletons
from skeleton_transformers.data.formats import RecordingError


def person(x, joints=17, dims=2, scores="keypoint_scores", **extra):
    values = np.stack([x + np.arange(joints), np.arange(joints) + 50.0, np.ones(joints)][:dims], axis=1)
    return {"keypoints": values.tolist(), scores: [0.5] * joints, "bbox": [[1, 2, 3, 4]]} | extra


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("scores", ["scores", "keypoint_scores"])
def test_every_form(tmp_path, scores):
    frames = [[person(n, scores=scores)] for n in (1, 2, 3)]
    forms = [
        frames,
        [{"frame_id": n, "instances": people} for n, people in enumerate(frames)],
        {
            "meta_info": {"dataset_name": "coco"},
            "instance_info": [{"frame_id": n + 1, "instances": f} for n, f in enumerate(frames)],
        },
    ]
    for form in forms:
        recording = read_skeletons(write(tmp_path / "p.json", form))
        assert recording.format == "mmpose-json" and recording.layout.name == "coco17"
        assert recording.keypoints[0, :, 0, 0].tolist() == [1, 2, 3] and np.all(recording.confidence == 0.5)
    image = read_skeletons(write(tmp_path / "p.json", [person(1), person(500)]))
    assert image.keypoints.shape == (2, 1, 17, 2)


def test_empty_frames_numbers_and_tracks(tmp_path):
    frames = [
        {"frame_id": 3, "instances": [person(500, track_id=9), person(1, track_id=1)]},
        {"frame_id": 4, "instances": []},
        {"frame_id": 6, "instances": [person(2, track_id=1)]},
    ]
    recording = read_skeletons(write(tmp_path / "p.json", frames))
    assert recording.person_ids == ("9", "1")
    assert recording.frame_mask.tolist() == [[True, False, False, False], [True, False, False, True]]
    assert recording.keypoints[1, :, 0, 0].tolist() == [1, 0, 0, 2]


def test_layouts(tmp_path):
    def layout(content, **options):
        return read_skeletons(write(tmp_path / "p.json", content), **options).layout.name

    assert layout([[person(1, dims=3)]]) == "h36m17"
    assert layout([[person(1, 133)]]) == "wholebody23"
    assert layout([[person(1, 26)]]) == "halpe26"
    assert layout([[person(1)]], layout="h36m17") == "h36m17"
    names = ["neck", "head", "left_wrist"]
    meta = {"keypoint_id2name": {str(n): name for n, name in enumerate(names)}}
    content = {"meta_info": meta, "instance_info": [{"frame_id": 0, "instances": [person(1, 3)]}]}
    assert read_skeletons(write(tmp_path / "p.json", content)).layout.joints == tuple(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[person(1)], [person(1, 26)]], "frame 1, person 0: 26 x 2 keypoints, others have 17 x 2"),
        ([[person(1) | {"keypoint_scores": [1.0]}]], "frame 0, person 0, keypoint scores: expected 17 numbers"),
        ([[person(1) | {"keypoints": [[1, 2], [3]]}]], "frame 0, person 0, keypoints: expected n x 2 numbers"),
        ([[person(1, 5)]], "5 joints without names"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        read_skeletons(write(tmp_path / "p.json", content))


def test_real_clips(real_data):
    folder = real_data / "pose-files" / "mmpose_coco17"
    paths = sorted(folder.glob("*.json.gz"))
    assert len(paths) == 5
    for path in paths:
        content = json.loads(gzip.decompress(path.read_bytes()))
        recording = read_skeletons(path)
        assert recording.format == "mmpose-json" and recording.layout.name == "coco17"
        assert recording.units == ("image fraction" if "normalized" in path.name else "pixel")
        assert recording.frame_mask.shape[1] == len(content)
        assert recording.frame_mask.sum() == sum(map(len, content))  # nobody is lost
        first = content[0][0]
        np.testing.assert_allclose(recording.keypoints[0, 0], first["keypoints"], rtol=1e-5)
        np.testing.assert_allclose(recording.confidence[0, 0], np.clip(first["scores"], 0, 1), rtol=1e-4)
        # eyes above hips above ankles for the one who is seen most, rows of an image run down
        person = recording.keypoints[recording.frame_mask.sum(axis=1).argmax()]
        heights = [
            person[:, recording.layout.index(joint), 1].mean() for joint in ("left_eye", "left_hip", "left_ankle")
        ]
        assert heights == sorted(heights)
