"""Models go to the Hub and come back equal, and what must not go there stays; with the real client against a local Hub."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.hub.publishing import check_model_folder
from skeleton_transformers.modeling_loading import CheckpointError
from skeleton_transformers.models.families import FAMILIES, ROLES


MODELS = [(name, role) for name, family in FAMILIES.items() for role in ROLES if getattr(family, role) is not None]


def make_config(family):
    labels = {0: "background", 1: "walk", 2: "sit down"}
    config = FAMILIES[family].load("configuration")
    return config.from_preset("tiny", id2label=labels, label2id={name: index for index, name in labels.items()})


def save(folder, family="hitrs", role="action_recognition"):
    """A model whose every number is its own, with its feature extractor."""
    torch.manual_seed(3)
    model = FAMILIES[family].load(role)(make_config(family)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    SkeletonFeatureExtractor(center="first_frame").save_pretrained(folder)
    return model


@pytest.fixture
def run_folder(tmp_path):
    """What fine-tuning leaves behind, full of paths, with files that are nobody's business."""
    folder = tmp_path / "runs" / "my_model"
    save(folder)
    (folder / "recipe.yaml").write_text(
        f"model:\n  from_pretrained: {tmp_path}/runs/encoder\ndata:\n  store: /home/annalena/stores/ntu60\noutput_dir: {folder}\n"
    )
    (folder / "results.json").write_text(
        json.dumps(
            {"top1_accuracy": 0.8, "pretrained": "/home/annalena/runs/encoder", "store": "C:\\Users\\Annalena\\stores"}
        )
    )
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\n---\n# A model\n\n```python\nmodel = AutoModel.from_pretrained('{folder}')\n```\n"
        "Started from `/mnt/data/annalena/encoder`. See https://example.org/a/b and/or <b>x</b>.\n"
    )
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "optimizer.pt").write_bytes(b"a pickle")
    return folder


def publish(folder, repository, **options):
    return (
        "from skeleton_transformers.hub.publishing import publish\n"
        f"print(publish({str(folder)!r}, {repository!r}, **{options!r}))"
    )


def last_line(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


def test_one_commit_with_all_that_belongs_to_the_model_and_nothing_of_the_machine(
    hub, run_client, run_folder, tmp_path
):
    before = {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}
    command = str(Path(sys.executable).parent / "skeleton-transformers")
    result = run_client(None, command, "publish", str(run_folder), "me/model", "--private", "--message", "First")
    assert last_line(result) == f"{hub.url}/me/model/commit/{1:040x}"
    assert before == {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}
    files = hub.files["me/model"]
    expected = [
        "config.json",
        "labels.json",
        "model.safetensors",
        "preprocessor_config.json",
        "preview.gif",
        "recipe.yaml",
    ]
    assert sorted(files) == sorted([*expected, "results.json", "README.md", "LICENSE"])
    assert len(hub.commits) == 1 and hub.commits[0][1] == "First" and hub.private == {"me/model": True}
    assert files["model.safetensors"] in hub.large and files["preview.gif"].startswith(b"GIF89a")
    assert json.loads(files["labels.json"]) == {"0": "background", "1": "walk", "2": "sit down"}
    assert b"Apache License" in files["LICENSE"]
    assert files["recipe.yaml"].decode() == (
        "model:\n  from_pretrained: encoder\ndata:\n  store: ntu60\noutput_dir: my_model\n"
    )
    assert json.loads(files["results.json"]) == {"top1_accuracy": 0.8, "pretrained": "encoder", "store": "stores"}
    card = files["README.md"].decode()
    assert "from_pretrained('me/model')" in card and "Started from `encoder`." in card
    assert "https://example.org/a/b and/or <b>x</b>" in card
    for name, content in files.items():
        for secret in ("annalena", "Annalena", str(tmp_path), "/home/", "checkpoints"):
            assert secret.encode() not in content, (name, secret)

    # The same again changes nothing.
    assert last_line(run_client(publish(run_folder, "me/model"))).endswith(f"{1:040x}")
    assert {name: hashlib.sha256(content).digest() for name, content in files.items()} == {
        name: hashlib.sha256(content).digest() for name, content in hub.files["me/model"].items()
    }


@pytest.mark.parametrize("name", ["annalena", "gpu-07-lab"])
def test_a_name_of_the_user_or_the_machine_is_refused_with_its_place(hub, run_client, run_folder, name):
    with (run_folder / "README.md").open("a") as card:
        card.write(f"\nThanks to {name}.\n")
    code = f"import socket\nsocket.gethostname = lambda: {name!r}\n" if "gpu" in name else ""
    result = run_client(code + publish(run_folder, "me/model"))
    assert re.search(
        rf"README.md, line \d+: '{name}' is a name of this machine or of its user; take it out", result.stderr
    )
    assert not hub.commits
    if name == "annalena":  # who is known by that name on the Hub, too
        hub.tokens["hf_anna"] = "annalena"
        assert last_line(run_client(publish(run_folder, "annalena/model", preview=False), HF_TOKEN="hf_anna"))


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
    saved, loaded = model_class.from_pretrained(folder), model_class.from_pretrained(repository)
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


def test_every_registered_model_comes_back_from_the_hub_with_equal_numbers(hub, run_client, tmp_path):
    rows = []
    for family, role in MODELS:
        save(tmp_path / f"{family}_{role}", family, role)
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


def test_a_branch_a_pull_request_and_offline_use(hub, run_client, tmp_path, fixtures):
    model = save(tmp_path / "model")
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
        run_client,
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
    assert json.loads(last_line(offline)) == best and len(hub.requests) == requests


_TRY = """
import skeleton_transformers
from skeleton_transformers import *
from skeleton_transformers.hub.publishing import publish
for call in CALLS:
    try:
        print("result", eval(call))
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "))
"""


def tried(run_client, calls, **environment):
    """What each call gives or says, in one process."""
    result = run_client(_TRY.replace("CALLS", repr(list(calls))), **environment)
    lines = [line for line in result.stdout.splitlines() if re.match(r"\w*Error |result ", line)]
    assert len(lines) == len(calls), result.stdout + result.stderr
    return lines


def assert_tried(run_client, expected, **environment):
    for (call, message), line in zip(expected.items(), tried(run_client, expected, **environment), strict=True):
        assert re.match(message, line), (call, line)


def test_what_the_hub_refuses_is_said_in_one_line(hub, run_client, tmp_path):
    save(tmp_path / "model")
    hub.files["me/public"], hub.private["me/public"] = {}, False
    hub.files["somebody/secret"], hub.private["somebody/secret"] = {}, True
    here = repr(str(tmp_path / "model"))
    write = "token='hf_test', preview=False"
    expected = {
        f"publish({here}, 'me/model')": "PermissionError no token to write to me/model with: run `hf auth login`",
        f"publish({here}, 'me/model', token='hf_invented', preview=False)": r"PermissionError .* is not valid \(HTTP 401\)",
        f"publish({here}, 'me/model', token='hf_read', preview=False)": r"PermissionError .* not allow writing there \(HTTP 403\)",
        f"publish({here}, 'somebody/model', {write})": r"PermissionError somebody/model: .*\(HTTP 403\)",
        f"publish({here}, 'me/nothing', create_pr=True, {write})": "FileNotFoundError there is no repository me/nothing",
        f"publish({here}, 'me/public', private=True, {write})": "ValueError me/public is public already",
        f"publish({here}, 'somebody/secret', create_pr=True, {write})": "FileNotFoundError there is no repository somebody/secret",
    }
    assert_tried(run_client, expected, HF_TOKEN=None)
    assert not hub.commits


def test_an_upload_that_breaks_off_is_finished(hub, run_client, tmp_path):
    save(tmp_path / "model")
    hub.interruptions = [("PUT /lfs/", 0), ("PUT /lfs/", 503), ("POST .*/commit/main", 503)]
    last_line(run_client(publish(tmp_path / "model", "me/model", preview=False)))
    assert not hub.interruptions and len(hub.commits) == 1
    assert hub.files["me/model"]["model.safetensors"] == (tmp_path / "model" / "model.safetensors").read_bytes()
    hf = str(Path(sys.executable).parent / "hf")
    result = run_client(None, hf, "download", "me/model", "--local-dir", str(tmp_path / "copy"))
    assert result.returncode == 0, result.stderr
    for name, content in hub.files["me/model"].items():
        assert (tmp_path / "copy" / name).read_bytes() == content


def test_what_cannot_be_loaded_is_said(hub, run_client, tmp_path):
    save(tmp_path / "model")
    last_line(run_client(publish(tmp_path / "model", "me/model", preview=False)))
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
    assert_tried(run_client, expected)
    # Private repositories are for those who may see them.
    hub.private["me/model"] = True
    expected = {f"HiTRSModel.from_pretrained('me/model', token={token!r})": "OSError" for token in (False, "hf_other")}
    expected["type(HiTRSModel.from_pretrained('me/model', token='hf_read')).__name__"] = "result HiTRSModel"
    assert_tried(run_client, expected, HF_HOME=str(tmp_path / "empty"))


def test_a_folder_that_holds_no_usable_model_is_not_published(tmp_path):
    folder = tmp_path / "model"
    save(folder)
    saved = check_model_folder(folder)
    assert saved.role == "action_recognition" and saved.weights == ("model.safetensors",)

    def error(change):
        shutil.copytree(folder, tmp_path / "bad", dirs_exist_ok=True)
        change(tmp_path / "bad")
        with pytest.raises((CheckpointError, FileNotFoundError)) as caught:
            check_model_folder(tmp_path / "bad")
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        return str(caught.value)

    def edit(**fields):
        def change(bad):
            config = json.loads((bad / "config.json").read_text())
            (bad / "config.json").write_text(json.dumps({**config, **fields}))

        return change

    def reweigh(function):
        def change(bad):
            tensors = load_file(bad / "model.safetensors")
            function(tensors)
            save_file(tensors, bad / "model.safetensors", metadata={"format": "pt"})

        return change

    assert "there is no config.json; call save_pretrained" in error(lambda bad: (bad / "config.json").unlink())
    assert "config.json: not valid JSON" in error(lambda bad: (bad / "config.json").write_text("{"))
    assert "names the family 'bert'; known families: hitrs" in error(edit(model_type="bert"))
    assert "names the class 'X', which hitrs does not have" in error(edit(architectures=["X"]))
    assert "there is no preprocessor_config.json" in error(lambda bad: (bad / "preprocessor_config.json").unlink())
    two = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    assert "the classifier has 3 classes, but id2label in config.json has 2 labels" in error(edit(**two))
    assert "pytorch_model.bin is a pickle and is not published" in error(
        lambda bad: (bad / "model.safetensors").rename(bad / "pytorch_model.bin")
    )
    assert "no valid safetensors file" in error(lambda bad: (bad / "model.safetensors").write_bytes(b"x" * 99))
    assert "not finite, in classifier.bias" in error(reweigh(lambda t: t["classifier.bias"].fill_(np.nan)))
    assert "lacks 1 tensors of HiTRSForActionRecognition" in error(reweigh(lambda t: t.pop("classifier.bias")))
    twenty = SkeletonFeatureExtractor(layout="kinect20")
    assert "gives 20 joints, but the model takes 25" in error(twenty.save_pretrained)
    assert "there is no such folder" in error(lambda bad: shutil.move(bad, tmp_path / "gone"))
