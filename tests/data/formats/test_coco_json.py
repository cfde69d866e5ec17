import json

import numpy as np
import pytest

from skeleton_transformers import get_layout, read_skeletons
from skeleton_transformers.data.formats import RecordingError


def keypoints(x, joints=17, v=2):
    return np.stack([x + np.arange(joints), np.arange(joints) + 50.0, np.full(joints, v)], axis=1).ravel().tolist()


def content(**changes):
    return {
        "images": [{"id": 10 + n, "width": 640, "height": 480} for n in range(3)],
        "annotations": [{"image_id": 10 + n, "keypoints": keypoints(100 + n)} for n in (0, 2)],
        "categories": [{"keypoints": list(get_layout("coco17").joints)}],
    } | changes


def read(tmp_path, value, **options):
    path = tmp_path / "people.json"
    path.write_text(json.dumps(value))
    return read_skeletons(path, **options)


def test_annotations(tmp_path):
    value = content()
    value["annotations"][0]["keypoints"][3:6] = [0, 0, 0]
    value["annotations"].append({"image_id": 11, "bbox": [1, 2, 3, 4]})
    recording = read(tmp_path, value)
    assert recording.format == "coco-json" and recording.layout.name == "coco17"
    assert recording.units == "image fraction" and recording.frame_mask.tolist() == [[True, False, True]]
    np.testing.assert_allclose(recording.keypoints[0, 2, 4], [106 / 640, 54 / 480], rtol=1e-6)
    assert not recording.joint_mask[0, 0, 1] and recording.joint_mask[0].sum() == 33
    assert set(np.unique(recording.confidence)) == {0, 1}


def test_frames_and_tracks(tmp_path):
    value = content()
    for image, frame in zip(value["images"], (4, 6, 5)):
        image["frame_id"] = frame
    for annotation in value["annotations"]:
        annotation["track_id"] = 3
    recording = read(tmp_path, value, image_size=(640, 480))
    assert recording.frame_mask.tolist() == [[True, True, False]] and recording.person_ids == ("3",)


def test_results(tmp_path):
    results = [{"image_id": n, "category_id": 1, "keypoints": keypoints(n, v=0.5), "score": 0.9} for n in (3, 4, 6)]
    recording = read(tmp_path, results)
    assert recording.format == "coco-json" and recording.frame_mask.tolist() == [[True, True, False, True]]
    assert recording.units == "pixel" and np.all(recording.confidence[recording.frame_mask] == 0.5)


def test_other_joints_by_name(tmp_path):
    names = ["head", "neck", "left shoulder"]
    annotations = [{"image_id": 10, "keypoints": keypoints(1, 3)}]
    recording = read(tmp_path, content(annotations=annotations, categories=[{"keypoints": names}]))
    assert recording.layout.joints == ("head", "neck", "left_shoulder")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"annotations": [{"image_id": 99, "keypoints": keypoints(1)}]},
            "annotation 0: image_id 99 is not in the list",
        ),
        ({"annotations": [{"image_id": 10, "keypoints": keypoints(1, v=7)}]}, "v of a joint is not 0, 1 or 2"),
        ({"annotations": [{"image_id": 10, "keypoints": [1, 2]}]}, "2 values, expected x, y and v"),
        ({"annotations": [{"image_id": 10, "keypoints": keypoints(1, 5)}]}, "5 joints, expected 17"),
        ({"annotations": [{"image_id": 10, "keypoints": keypoints(1, 19)}]}, "19 joints, expected 17"),
        ({"annotations": []}, "nobody is marked in any of its images"),
        ({"images": []}, "its list 'images' is empty"),
        ({"images": [{"file_name": "a"}]}, "image 0: expected an object with 'id'"),
    ],
)
def test_faults(tmp_path, changes, message):
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, content(**changes))
