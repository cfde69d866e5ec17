"""The commands of the README for one's own recordings: a folder of arrays, a table of labels, 15 joints in a layout of her own."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest


README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
JOINTS = (
    "pelvis neck head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist "
    "left_hip left_knee left_ankle right_hip right_knee right_ankle"
).split()
PARENTS = [0, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13]
POSE = np.array(
    [[0, 0, 0], [0, 0.5, 0], [0, 0.7, 0]]
    + [[0.2 * side, y, 0] for side in (1, -1) for y in (0.45, 0.2, -0.05)]
    + [[0.1 * side, y, 0] for side in (1, -1) for y in (-0.05, -0.45, -0.85)],
    dtype=np.float32,
)


def write_recordings(folder: Path) -> None:
    """Two actions by four subjects: the left or the right wrist goes up and down."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    with open(folder.parent / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "subject"])
        for number in range(32):
            action, subject = ("raise left", "raise right")[number % 2], f"subject {number // 2 % 4}"
            frames = int(rng.integers(25, 40))
            keypoints = np.tile(POSE, (frames, 1, 1)) + rng.normal(0, 0.01, (frames, 15, 3))
            wrist = JOINTS.index("left_wrist" if action == "raise left" else "right_wrist")
            keypoints[:, wrist, 1] += 0.4 * np.sin(np.linspace(0, rng.uniform(3, 9), frames)) ** 2
            np.save(folder / f"take_{number:03d}.npy", keypoints.astype(np.float32))
            table.writerow([f"take_{number:03d}.npy", action, subject])
    layout = {"name": "workshop15", "joints": JOINTS, "parents": PARENTS}
    (folder.parent / "layout.json").write_text(json.dumps(layout))


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory, follow_page):
    """The folder in which the commands ran, and the prediction that the last one printed."""
    folder = tmp_path_factory.mktemp("workshop")
    write_recordings(folder / "recordings")
    return folder, follow_page(README, folder)


def test_the_four_commands_of_the_readme_end_in_a_right_prediction(afternoon):
    folder, prediction = afternoon
    assert "raise left" in prediction and "raise right" in prediction
    results = json.loads((folder / "runs" / "recognition" / "results.json").read_text())
    assert results["num_train_samples"] == 24
    assert results["top1_accuracy"] >= 0.9  # left or right: anybody sees it
    assert prediction.index("raise right") < prediction.index("raise left")  # the likelier one first


def test_the_python_block_of_the_readme_says_the_same(afternoon, run):
    folder, _ = afternoon
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "read_skeletons" in block)
    *lines, answer = code.strip().splitlines()
    assert run(sys.executable, "-c", "\n".join([*lines, f"print({answer})"]), cwd=folder).strip() == "raise right"
