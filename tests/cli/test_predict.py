"""`skeleton-transformers predict`."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from skeleton_transformers import AutoModelForActionRecognition, SkeletonFeatureExtractor, convert_layout


def sequence(joints: int = 20, frames: int = 30) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(frames, joints, 3)).astype(np.float32)


def test_json_holds_the_probabilities_of_the_model(model_commands, recognition_model, tmp_path):
    file = tmp_path / "take.npy"
    np.save(file, sequence())
    result = CliRunner().invoke(
        model_commands, ["predict", str(recognition_model), str(file), "--json", "--top-k", "9"]
    )
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["file"] == str(file)
    model = AutoModelForActionRecognition.from_pretrained(recognition_model)
    extractor = SkeletonFeatureExtractor.from_pretrained(recognition_model)
    with torch.no_grad():
        scores = model(**extractor([sequence()], return_tensors="pt")).logits[0].softmax(-1)
    assert len(found["predictions"]) == 4
    for guess in found["predictions"]:
        assert guess["score"] == pytest.approx(float(scores[model.config.label2id[guess["label"]]]), rel=1e-5)
    order = [guess["score"] for guess in found["predictions"]]
    assert order == sorted(order, reverse=True)


def test_table_lists_every_file_and_k_guesses(model_commands, recognition_model, tmp_path):
    files = []
    for frames in (12, 40):
        files.append(tmp_path / f"take_{frames}.npy")
        np.save(files[-1], sequence(frames=frames))
    (tmp_path / "a01_s01_e01_v01.json").write_text(json.dumps({"skeletons": sequence().tolist()}))
    files.append(tmp_path / "a01_s01_e01_v01.json")
    result = CliRunner().invoke(model_commands, ["predict", str(recognition_model), *map(str, files), "--top-k", "2"])
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if not line.startswith(" ")] == [str(file) for file in files]
    assert result.stdout.count(" %") == 6


def test_another_layout_is_converted_by_joint_name(model_commands, recognition_model, fixtures, tmp_path):
    """NTU recordings have the joints of Kinect v1 under the same names, but for a few that cannot be made up."""
    arguments = ["predict", str(recognition_model), str(fixtures / "S001C001P001R001A050.skeleton")]
    result = CliRunner().invoke(model_commands, arguments)
    _, found = convert_layout(np.zeros((1, 25, 3)), "ntu25", "kinect20")
    if found.all():
        assert result.exit_code == 0, result.output
    else:
        assert result.exit_code == 1
        assert "layout 'ntu25' lacks" in result.stderr


def test_layout_option_reorders_joints(model_commands, recognition_model, tmp_path):
    np.save(tmp_path / "kinect.npy", sequence())
    converted, found = convert_layout(sequence(), "kinect20", "msr20")
    if not found.all():
        pytest.skip("msr20 does not hold all joints of kinect20")
    np.save(tmp_path / "msr.npy", converted)
    outputs = []
    for arguments in ([str(tmp_path / "kinect.npy")], [str(tmp_path / "msr.npy"), "--layout", "msr20"]):
        result = CliRunner().invoke(model_commands, ["predict", str(recognition_model), *arguments, "--json"])
        assert result.exit_code == 0, result.output
        outputs.append(json.loads(result.stdout)[0]["predictions"])
    assert [guess["label"] for guess in outputs[0]] == [guess["label"] for guess in outputs[1]]


def write_pickle(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "short.npy",
            lambda path: np.save(path, sequence(joints=17)),
            "short.npy: 17 joints without names, which are not the 20 of 'kinect20'",
        ),
        (
            "flat.npy",
            lambda path: np.save(path, np.zeros(5)),
            "flat.npy: shape (5,), expected (frames, joints, 2 to 4)",
        ),
        (
            "nan.npy",
            lambda path: np.save(path, np.full((9, 20, 3), np.nan)),
            "nan.npy: nobody is there in any of its 9 frames",
        ),
        ("object.npy", write_pickle, "object.npy: holds Python objects, which are never loaded"),
        ("take.avi", lambda path: path.write_bytes(b"RIFF"), "take.avi: not of a known format (its ending is '.avi')"),
        ("bad.json", lambda path: path.write_text("{"), "bad.json: not JSON"),
        ("gone.npy", lambda path: None, "gone.npy: there is no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(model_commands, recognition_model, tmp_path, name, write, message):
    write(tmp_path / name)
    result = CliRunner().invoke(model_commands, ["predict", str(recognition_model), str(tmp_path / name)])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")


def test_a_folder_without_a_model_is_named(model_commands, tmp_path):
    np.save(tmp_path / "take.npy", sequence())
    result = CliRunner().invoke(model_commands, ["predict", str(tmp_path), str(tmp_path / "take.npy")])
    assert result.exit_code == 1 and str(tmp_path) in result.stderr
