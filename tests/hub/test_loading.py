"""Models come back from the Hub equal, and what cannot be loaded is said; with the real client against a local Hub."""

import json
import sys

import pytest
import torch

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.models.families import FAMILIES, ROLES


MODELS = [(name, role) for name, family in FAMILIES.items() for role in ROLES if getattr(family, role) is not None]


_LOAD_ALL = """
import hashlib, json, sys
import numpy as np, torch
import skeleton_transformers
from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.models.families import FAMILIES
from skeleton_transformers.hub.publishing import publish
from transformers.utils import logging
logging.disable_progress_bar(); logging.set_verbosity_error()
take = np.random.default_rng(0).normal(size=(2, 64, 25, 3)).astype("float32")

def digest(tensors):
    return {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in tensors}

def outputs(model, inputs):
    with torch.no_grad():
        output = model(**inputs)
    return [value.numpy().tobytes() for value in output.values() if isinstance(value, torch.Tensor)]

for family, role, folder in json.loads(sys.argv[1]):
    repository = f"me/{family}-{role}".replace("_", "-")
    publish(folder, repository, preview=False)
    model_class = FAMILIES[family].load(role)
    models = []
    for place in (folder, repository):
        torch.manual_seed(0)  # the queues of negatives are no part of a published model, but start from random features
        models.append(model_class.from_pretrained(place))
    saved, loaded = models
    for kind in ("named_parameters", "named_buffers"):
        first, second = (digest(getattr(model, kind)()) for model in (saved, loaded))
        assert first == second, (repository, kind)
    first, second = (model.config.to_diff_dict() for model in (saved, loaded))
    assert all(first[key] == second.get(key) for key in first if not key.startswith("_")), repository
    inputs = SkeletonFeatureExtractor.from_pretrained(repository)(take, return_tensors="pt")
    if role != "pretraining":  # its inputs come from a collator, see the tests of the families
        assert outputs(saved, inputs) == outputs(loaded, inputs), repository
    print(repository)
"""


def test_every_registered_model_comes_back_from_the_hub_with_equal_numbers(hub, run_client, save_model, tmp_path):
    rows = []
    for family, role in MODELS:
        save_model(tmp_path / f"{family}_{role}", family, role)
        rows.append((family, role, str(tmp_path / f"{family}_{role}")))
    result = run_client(None, sys.executable, "-c", _LOAD_ALL, json.dumps(rows))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == len(hub.commits) == len(MODELS)
    for family, role in MODELS:  # nothing was rounded on the way there either
        sent = hub.files[f"me/{family}-{role}".replace("_", "-")]["model.safetensors"]
        assert sent == (tmp_path / f"{family}_{role}" / "model.safetensors").read_bytes()


_USE = """
import json
from transformers import AutoModel, AutoFeatureExtractor, pipeline
import skeleton_transformers
print(type(AutoModel.from_pretrained("me/model")).__name__, type(AutoFeatureExtractor.from_pretrained("me/model")).__name__)
for revision in REVISIONS:
    print(json.dumps(pipeline("skeleton-action-recognition", model="me/model", revision=revision)(FILE)[0]))
"""


def test_a_branch_a_pull_request_and_offline_use(hub, run_client, save_model, tried, tmp_path, fixtures):
    model = save_model(tmp_path / "model")
    file = fixtures / "S001C001P001R001A050.skeleton"
    with torch.no_grad():
        inputs = SkeletonFeatureExtractor.from_pretrained(tmp_path / "model")([file], return_tensors="pt")
        scores = model(**inputs).logits[0].softmax(-1)
        model.classifier.bias += torch.tensor([50.0, 0.0, 0.0])
    model.save_pretrained(tmp_path / "better")
    SkeletonFeatureExtractor(center="first_frame").save_pretrained(tmp_path / "better")
    # Somebody else proposes other weights, the owner puts them on a branch; the main branch stays as it was.
    first, other = repr(str(tmp_path / "model")), repr(str(tmp_path / "better"))
    lines = tried(
        [
            f"publish({first}, 'me/model', preview=False)",
            f"publish({other}, 'me/model', create_pr=True, token='hf_other', preview=False)",
            f"publish({other}, 'me/model', revision='better', preview=False)",
        ],
    )
    assert lines[1] == f"result {hub.url}/me/model/discussions/1"
    assert hub.files["me/model"]["model.safetensors"] == (tmp_path / "model" / "model.safetensors").read_bytes()
    code = _USE.replace("FILE", repr(str(file))).replace("REVISIONS", "('main', 'refs/pr/1', 'better')")
    result = run_client(code)
    assert result.returncode == 0, result.stderr
    assert "HiTRSModel SkeletonFeatureExtractor" in result.stdout
    best, proposed, better = map(json.loads, result.stdout.splitlines()[-3:])
    assert best["label"] == model.config.id2label[int(scores.argmax())]
    assert best["score"] == pytest.approx(float(scores.max()), rel=1e-5)
    assert proposed == better == {"label": "background", "score": pytest.approx(1.0)}
    # What was loaded once needs no Hub any more.
    requests = len(hub.requests)
    offline = run_client(code.replace("('main', 'refs/pr/1', 'better')", "('main',)"), HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert json.loads(offline.stdout.splitlines()[-1]) == best and len(hub.requests) == requests


def test_what_cannot_be_loaded_is_said(hub, save_model, assert_tried, tmp_path):
    save_model(tmp_path / "model")
    assert_tried({f"publish({str(tmp_path / 'model')!r}, 'me/model', preview=False)": "result http"})
    good = hub.files["me/model"]

    def variant(name, **changes):
        files = {**good, **changes}
        hub.files[f"me/{name}"] = {key: value for key, value in files.items() if value is not None}
        hub.private[f"me/{name}"] = False

    weights = good["model.safetensors"]
    header = int.from_bytes(weights[:8], "little")
    broken = weights[:8] + weights[8 : 8 + header].replace(b'"F32"', b'"F99"', 1) + weights[8 + header :]
    config = json.loads(good["config.json"])
    fewer = {**config, "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    variant("cut", **{"model.safetensors": weights[:-1000]})
    variant("tampered", **{"model.safetensors": broken})
    variant("pickle", **{"model.safetensors": None, "pytorch_model.bin": b"\x80\x04N."})
    variant("labels", **{"config.json": json.dumps(fewer).encode()})
    variant("config", **{"config.json": b"{"})
    variant("alone", **{"preprocessor_config.json": None})
    recognition = "AutoModelForActionRecognition.from_pretrained('me/{}')"
    expected = {
        recognition.format("nothing"): "OSError me/nothing is not a local folder and is not a valid model identifier",
        recognition.format("cut"): "CheckpointError me/cut: its safetensors file is damaged",
        recognition.format("tampered"): "CheckpointError me/tampered: its safetensors file is damaged",
        recognition.format("pickle"): "CheckpointError me/pickle holds no model.safetensors, .* can execute code",
        recognition.format(
            "labels"
        ): "ValueError me/labels: its classifier has 3 classes, but the configuration has 2 labels",
        recognition.format("config"): "OSError .*not a valid JSON file",
        "HiCoModel.from_pretrained('me/model')": "CheckpointError me/model holds a model of the family 'hitrs'",
        "HiTRSModel.from_pretrained('me/model', revision='nope')": "OSError nope is not a valid git identifier",
        "SkeletonFeatureExtractor.from_pretrained('me/alone')": "OSError .*preprocessor_config.json",
        recognition.format("model"): "result HiTRSForActionRecognition",
    }
    assert_tried(expected)
    # Private repositories are for those who may see them.
    hub.private["me/model"] = True
    expected = {f"HiTRSModel.from_pretrained('me/model', token={token!r})": "OSError" for token in (False, "hf_other")}
    expected["type(HiTRSModel.from_pretrained('me/model', token='hf_read')).__name__"] = "result HiTRSModel"
    assert_tried(expected, HF_HOME=str(tmp_path / "empty"))
