"""The afternoon of a user with a pose estimator's files: the commands of docs/recordings.md, on 15 joints she named herself."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from skeleton_transformers import get_layout


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recordings.md").read_text()
BODY = get_layout("openpose25")
# x to her left and y downwards from the middle of the hips, in body heights
HEIGHTS = {
    "nose": -0.35,
    "spine_shoulder": -0.25,
    "shoulder": -0.25,
    "elbow": -0.1,
    "wrist": 0.03,
    "knee": 0.22,
    "ankle": 0.45,
}
WIDTHS = {"shoulder": 0.1, "elbow": 0.11, "wrist": 0.12, "hip": 0.05, "knee": 0.05, "ankle": 0.05}


def standing() -> np.ndarray:
    """Pixels of the 25 joints of one who stands in the middle of an image of 640 x 480, `(joints, 2)`."""
    pose = []
    for joint in BODY.joints:
        side, _, part = joint.partition("_")
        part = part if side in ("left", "right") else joint
        width = WIDTHS.get(part, 0.0) * {"left": 1, "right": -1}.get(side, 0)
        pose.append((320 + 300 * width, 260 + 300 * HEIGHTS.get(part, 0.45 if side in ("left", "right") else 0.0)))
    return np.array(pose)


def write_recordings(folder: Path) -> None:
    """Two actions by four subjects, as OpenPose writes them: the left or the right wrist goes up and down."""
    rng = np.random.default_rng(0)
    with open(folder.parent / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "subject"])
        for number in range(32):
            action, subject = ("raise left", "raise right")[number % 2], f"subject {number // 2 % 4}"
            frames = int(rng.integers(25, 40))
            points = standing() + rng.normal(0, 2, (frames, 25, 2))
            wrist = BODY.index("left_wrist" if action == "raise left" else "right_wrist")
            points[:, wrist, 1] -= 130 * np.sin(np.linspace(0, rng.uniform(3, 9), frames)) ** 2
            values = np.concatenate([points, rng.uniform(0.3, 1, (frames, 25, 1))], axis=2)
            values[rng.random((frames, 25)) < 0.02] = 0  # not found
            name = f"take_{number + 1:03d}"
            (folder / name).mkdir(parents=True)
            for frame, pose in enumerate(values):
                people = [{"person_id": [-1], "pose_keypoints_2d": pose.ravel().round(3).tolist()}]
                path = folder / name / f"{name}_{frame:012d}_keypoints.json"
                path.write_text(json.dumps({"version": 1.3, "people": people}))
            table.writerow([name, action, subject])
    (folder.parent / "layout.json").write_text(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory, follow_page):
    """The folder in which the commands ran, and the prediction that the last one printed."""
    folder = tmp_path_factory.mktemp("workshop")
    write_recordings(folder / "recordings")
    return folder, follow_page(PAGE, folder)


def test_the_four_commands_of_the_page_end_in_a_prediction_among_her_labels(afternoon):
    folder, prediction = afternoon
    assert "raise left" in prediction and "raise right" in prediction
    results = json.loads((folder / "runs" / "recognition" / "results.json").read_text())
    assert results["num_train_samples"] == 24
    assert results["top1_accuracy"] >= 0.9  # left or right: anybody sees it


def test_the_layout_travels_in_the_model_folder(afternoon, run):
    folder, _ = afternoon
    code = (
        "import sys\nfrom skeleton_transformers import HiTRSForActionRecognition, SkeletonFeatureExtractor, list_layouts, read_skeletons\n"
        "assert 'workshop15' not in list_layouts()\n"
        "extractor = SkeletonFeatureExtractor.from_pretrained(sys.argv[1])\n"
        "model = HiTRSForActionRecognition.from_pretrained(sys.argv[1])\n"
        "recording = read_skeletons(sys.argv[2], image_size=(640, 480))\n"
        "print(model.config.skeleton_layout.joints[2], model(**extractor(recording, return_tensors='pt')).logits.shape)"
    )
    output = run(sys.executable, "-c", code, "runs/recognition", "recordings/take_001", cwd=folder)
    assert output.strip() == "nose torch.Size([1, 2])"
