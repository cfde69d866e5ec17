import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.data.motion_synthesis import reference_motion
from skeleton_transformers.data.recordings import read_skeletons
from skeleton_transformers.data.statistics import describe_balance, describe_recording, describe_samples
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Ten recordings of three classes; the right hand is missing in a quarter of the frames of the last."""
    path = tmp_path_factory.mktemp("inspect") / "store"
    with SkeletonStoreWriter(path, "ntu25", 30.0, label_names=["walk", "sit", "hug", "none"]) as writer:
        for number in range(10):
            label = 0 if number < 6 else 1 if number < 9 else 2
            keypoints = reference_motion(["walk", "sit_down", "hug"][label], num_frames=20 + number)
            mask = np.ones(keypoints.shape[:2], dtype=bool)
            labels = None
            if number == 9:
                keypoints = keypoints[:, :28].copy()
                mask = np.ones((2, 28), dtype=bool)
                mask[1, 14:] = False
                keypoints[1, 14:] = 0
                keypoints[0, :7, 11] = 0
                labels = np.repeat([0, 3], 14).astype(np.int16)
            writer.add(SkeletonSample(keypoints, mask, label, f"take{number}", frame_labels=labels))
    return path


def test_a_store_is_counted_and_measured(store):
    result = run(store, "--json")
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert described["samples"] == 10 and described["persons"] == {"1": 9, "2": 1}
    assert (
        described["frames"] == {"total": 243, "shortest": 20, "median": 24.5, "longest": 28}
        or described["frames"]["longest"] == 28
    )
    balance = described["balance"]
    assert balance["smallest"] == {"hug": 1} and balance["largest"] == {"walk": 6} and balance["ratio"] == 6
    statistics = described["statistics"]
    frames = sum(20 + number for number in range(9)) + 56
    assert statistics["looked at"] == 10
    assert statistics["share of frames"] == pytest.approx((frames - 14) / frames, abs=1e-3)
    assert statistics["missing joints"] == {"right_hand": pytest.approx(7 / (frames - 14), abs=1e-4)}
    assert statistics["unit by arms and legs"] == {"metre": 10} and statistics["axis that is up"] == {"+y": 10}
    assert statistics["range"]["y"][0] > -0.2 and statistics["range"]["y"][2] < 2.2
    text = run(store).output
    assert "ratio 6" in text and "right_hand" in text and "10 x +y" in text


def test_statistics_over_a_part_of_a_large_store(store):
    assert describe_samples(SkeletonStore.open(store), limit=3)["looked at"] == 3
    assert json.loads(run(store, "--samples", 4, "--json").stdout)["statistics"]["looked at"] == 4


def test_balance_of_equal_classes_and_of_none():
    labels = np.repeat(np.arange(4), 5)
    assert describe_balance(labels, list("abcd"))["effective classes"] == 4
    assert describe_balance(np.full(3, -1), []) == {}


@pytest.mark.parametrize("sequence", ["9", "-1", "take9"])
def test_any_sequence_of_a_store_is_drawn(store, tmp_path, sequence):
    for name in ("a.gif", "a.html", "a.png"):
        result = run(store, "--render", tmp_path / name, "--sequence", sequence)
        assert result.exit_code == 0, result.output
        assert f"picture     {tmp_path / name}" in result.output
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 28
    page = (tmp_path / "a.html").read_text()
    assert "take9  hug" in page and '"captions":["",' in page


def test_recordings_of_any_format(tmp_path, fixtures, real_data):
    described = json.loads(run(fixtures / "S001C001P001R001A050.skeleton", "--json").stdout)
    assert described["persons"] == {"72057594037931101": 39, "72057594037931102": 29, "72057594037931103": 20}
    assert described["frames without anybody"] == 1 and described["layout"] == "ntu25"
    for path in (
        next((real_data / "pose-files" / "mmpose_coco17").glob("*.gz")),
        next((real_data / "pose-files" / "alphapose").glob("*.json")),
        real_data / "nw-ucla" / "all_sqe" / "a01_s01_e00_v01.json",
    ):
        result = run(path, "--render", tmp_path / "x.png")
        assert result.exit_code == 0 and (tmp_path / "x.png").stat().st_size > 1000, result.output
        assert "joints" in result.output


def test_what_is_missing_and_odd_in_a_recording(fixtures):
    recording = read_skeletons(fixtures / "S001C001P001R001A050.skeleton")
    there = recording.present_joints.copy()
    there[0, :10, 4] = False
    recording.joint_mask, recording.keypoints[~there] = there, 0
    recording.keypoints *= np.float32(1000)
    recording.confidence = np.where(there, np.float32(0.5), np.float32(0))
    recording.frame_labels = np.repeat([0, 2], 20)
    described = describe_recording(recording)
    assert list(described["missing joints"]) == ["left_shoulder"] and described["confidence"] == 0.5
    assert described["frame labels"] == {"0": 20, "2": 20}
    json.dumps(described)


def test_messages(tmp_path, store):
    assert "nowhere is not a skeleton store; make one with" in run(tmp_path / "nowhere").output.replace("\n", "")
    (tmp_path / "x.mp4").write_bytes(b"\x00\x01")
    for arguments, message in {
        (tmp_path / "x.mp4",): "not of a known format",
        (store, "--sequence", "10", "--render", tmp_path / "x.gif"): "no recording 10, the store holds 10",
        (store, "--sequence", "nobody", "--render", tmp_path / "x.gif"): "no recording is called 'nobody'",
        (store, "--render", tmp_path / "x.bmp"): "must end in .gif, .html or .png",
    }.items():
        result = run(*arguments)
        assert result.exit_code == 1 and message in result.output.replace("\n", ""), result.output
