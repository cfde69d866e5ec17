"""Model cards: metadata that the Hub can read, and an example that runs when pasted."""

import re
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from skeleton_transformers import HiTRSConfig, SkeletonFeatureExtractor
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.models.families import FAMILIES
from skeleton_transformers.skeletons import get_layout


SMALL = {
    "hidden_sizes": [16, 32, 32],
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "intermediate_sizes": [16, 16, 32],
}

ROLES = {
    "action-recognition": "action_recognition",
    "action-detection": "action_detection",
    "motion-prediction": "motion_prediction",
    "feature-extraction": "pretraining",
}


@pytest.fixture(scope="module", params=ROLES)
def model_folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "hitrs-kinect20"
    labels = {0: "walk", 1: "sit down", 2: "carry: a | box"}
    config = HiTRSConfig(layout="kinect20", id2label=labels, label2id={v: k for k, v in labels.items()}, **SMALL)
    torch.manual_seed(0)
    recognition = request.param == "action-recognition"
    FAMILIES["hitrs"].load(ROLES[request.param])(config).save_pretrained(folder)
    extractor = SkeletonFeatureExtractor(layout="kinect20", center="first_frame", max_persons=1)
    extractor.save_pretrained(folder)
    write_model_card(
        folder,
        model_name="hitrs-kinect20",
        model_summary="A tiny Hi-TRS with random weights.",
        task=request.param,
        layout=get_layout("kinect20"),
        preprocessing=extractor.to_dict(),
        training_data="nothing at all",
        citation=HiTRSConfig.citation,
        recipe={"training": {"epochs": 0}},
        results={"Top-1 accuracy": 0.3333, "Top-5 accuracy": 1.0} if recognition else None,
        dataset_name="NW-UCLA",
        dataset_split="xview, test",
        provenance={"seed": 3, "git_commit": "abc", "versions": {"torch": "2.6"}, "num_train_samples": 0},
        base_model="/home/somebody/encoder",
    )
    return folder, request.param


def test_example_of_the_card_runs_when_pasted(model_folder):
    folder, task = model_folder
    card = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=folder.parent
    )
    assert result.returncode == 0, result.stderr
    if task == "feature-extraction":
        assert "torch.Size([1, 32])" in result.stdout
    elif task == "motion-prediction":
        assert "torch.Size([1, 1, 12, 20, 3])" in result.stdout
    else:  # the first class of a detection model is the background
        assert any(label in result.stdout for label in ("walk", "sit down", "carry"))


def test_metadata_is_what_the_hub_reads(model_folder):
    folder, task = model_folder
    data = ModelCard.load(folder / "README.md").data
    assert data.library_name == "skeleton_transformers"
    assert data.license == "apache-2.0"
    assert {"skeleton", "kinect20", task} <= set(data.tags)
    assert data.base_model is None  # a folder on somebody's disk is no Hub model
    if task == "action-recognition":
        assert data.pipeline_tag == "video-classification"
        first = data.eval_results[0]
        assert (first.metric_value, first.dataset_name, first.dataset_split) == (0.3333, "NW-UCLA", "xview, test")
    else:
        tags = {"feature-extraction": "feature-extraction", "motion-prediction": "time-series-forecasting"}
        assert data.pipeline_tag == tags.get(task)
        assert not data.eval_results


def test_card_says_what_a_user_must_know(model_folder):
    folder, task = model_folder
    card = (folder / "README.md").read_text()
    assert "20 joints in this order: " + ", ".join(get_layout("kinect20").joints) in card
    assert "| `center` | `first_frame` |" in card
    assert "epochs: 0" in card and "nothing at all" in card
    assert HiTRSConfig.citation in card
    assert "| seed | 3 |" in card and "| num train samples | 0 |" in card
    assert ("| Top-1 accuracy | 33.33 % |" in card) == (task == "action-recognition")
    assert "{{" not in card and "{%" not in card
    assert ("views): not measured." in card) == (task == "action-recognition")  # said beside results only


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder of a saved model"):
        write_model_card(
            tmp_path / "nowhere",
            model_name="x",
            model_summary="x",
            layout=get_layout("ntu25"),
            preprocessing={},
            training_data="x",
            citation="x",
        )
    with pytest.raises(ValueError, match="task must be one of action-recognition, .*, got 'detection'"):
        write_model_card(
            tmp_path,
            model_name="x",
            model_summary="x",
            layout=get_layout("ntu25"),
            preprocessing={},
            training_data="x",
            citation="x",
            task="detection",
        )


def test_several_runs_the_published_value_and_the_terms_of_the_data(tmp_path):
    path = write_model_card(
        tmp_path,
        model_name="x",
        model_summary="x",
        layout=get_layout("ntu25"),
        preprocessing={},
        training_data="x",
        citation="x",
        results={"Top-1 accuracy": [0.80, 0.82, 0.84], "Error (mm)": [40.0, 44.0], "Top-5 accuracy": 0.9},
        published={"Top-1 accuracy": 0.86},
        dataset_name="ntu60",
        provenance={"wall_time_seconds": 5400, "device": "cpu", "num_processes": 2},
        measured={
            "expected_calibration_error": 0.0525,
            "reliability_bins": [
                {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
                {"low": 0.5, "high": 1.0, "count": 40, "confidence": 0.8, "accuracy": 0.7475},
            ],
            "robustness": {
                "top1_accuracy": 0.9,
                "corruptions": {
                    "missing_joints": {"unit": "percent", "amounts": [5, 15], "top1_accuracy": [0.82, 0.5]}
                },
            },
        },
        num_labels=60,
    )
    card = path.read_text()
    assert "| Top-1 accuracy | 82.00 % ± 2.00 (3 runs) | 86.00 % |" in card
    assert "| Error (mm) | 42 ± 2.82843 (2 runs) | - |" in card and "| Top-5 accuracy | 90.00 % | - |" in card
    assert "Terms of the data: NTU RGB+D" in card and "60 classes" in card
    assert "Training took 1.50 hours on 2 x cpu" in card
    assert "Expected calibration error: 5.25 %." in card
    assert "| 50 to 100 % | 40 | 80.0 % | 74.8 % |" in card and "| 0 to 50 %" not in card
    assert "| none | | 90.0 % |" in card and "| missing joints | percent | 5: 82.0 %, 15: 50.0 % |" in card
    assert ModelCard.load(path).data.eval_results[0].metric_value == 0.82
