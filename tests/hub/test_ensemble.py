"""An ensemble is one repository: published, found and loaded like any recogniser; with the real client against a local Hub."""

import json
import sys

from skeleton_transformers import (
    SkeletonEnsembleFeatureExtractor,
    SkeletonEnsembleForActionRecognition,
    SkeletonFeatureExtractor,
)


_USE = """
import json, sys
import torch
from transformers import AutoFeatureExtractor, AutoModelForVideoClassification, pipeline
import skeleton_transformers
from skeleton_transformers.hub.publishing import publish
from transformers.utils import logging
logging.disable_progress_bar(); logging.set_verbosity_error()
folder, file = sys.argv[1:]
publish(folder, "me/2s")
saved = AutoModelForVideoClassification.from_pretrained(folder)
saved.push_to_hub("me/pushed")
inputs = AutoFeatureExtractor.from_pretrained("me/2s")([file], return_tensors="pt")
with torch.no_grad():
    logits = [model(**inputs).logits for model in (
        saved, *(AutoModelForVideoClassification.from_pretrained(name) for name in ("me/2s", "me/pushed"))
    )]
print(json.dumps([
    type(saved).__name__, saved.config.weights, all(torch.equal(logits[0], other) for other in logits[1:]),
    pipeline("skeleton-action-recognition", model="me/2s")(file)[0], logits[0].softmax(-1).max().item(),
]))
"""


def test_members_weights_and_card_come_back_from_one_repository(hub, run_client, save_model, tmp_path, fixtures):
    members = {
        "joint": save_model(tmp_path / "joint", "hitrs"),
        "bone": save_model(tmp_path / "bone", "stgcn"),
    }
    extractors = {name: SkeletonFeatureExtractor(stream=name) for name in members}
    weights = {"joint": 0.7, "bone": 0.3}
    SkeletonEnsembleForActionRecognition.from_members(members, weights, "softmax").save_pretrained(tmp_path / "2s")
    SkeletonEnsembleFeatureExtractor(extractors).save_pretrained(tmp_path / "2s")
    file = fixtures / "S001C001P001R001A050.skeleton"
    result = run_client(None, sys.executable, "-W", "ignore", "-c", _USE, str(tmp_path / "2s"), str(file))
    assert result.returncode == 0, result.stderr
    kind, found, equal, best, score = json.loads(result.stdout.splitlines()[-1])
    assert kind == "SkeletonEnsembleForActionRecognition" and found == weights and equal
    assert abs(best["score"] - score) < 1e-4
    files = hub.files["me/2s"]
    assert sorted(files) == sorted(
        [
            "config.json",
            "labels.json",
            "model.safetensors",
            "preprocessor_config.json",
            "preview.gif",
            "README.md",
            "LICENSE",
        ]
    )
    assert [message for name, message, _ in hub.commits if name == "me/2s"] == ["Upload model"]
    card = files["README.md"].decode()
    assert 'SkeletonEnsembleFeatureExtractor.from_pretrained("me/2s")' in card and "chen2022hitrs" in card
