"""Models go to the Hub and come back equal, and what must not go there stays; with the real client against a local Hub."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.hub.publishing import check_model_folder, collect_files
from skeleton_transformers.modeling_loading import CheckpointError


@pytest.fixture
def run_folder(save_model, tmp_path):
    """What fine-tuning leaves behind, full of paths, with files that are nobody's business."""
    folder = tmp_path / "runs" / "my_model"
    save_model(folder)
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


def test_one_commit_with_all_that_belongs_to_the_model_and_nothing_of_the_machine(
    hub, run_client, assert_tried, run_folder, tmp_path
):
    before = {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}
    command = str(Path(sys.executable).parent / "skeleton-transformers")
    result = run_client(None, command, "publish", str(run_folder), "me/model", "--private", "--message", "First")
    assert result.stdout.strip() == f"{hub.url}/me/model/commit/{1:040x}"
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
    assert_tried({f"publish({str(run_folder)!r}, 'me/model')": f"result .*{1:040x}$"})
    assert {name: hashlib.sha256(content).digest() for name, content in files.items()} == {
        name: hashlib.sha256(content).digest() for name, content in hub.files["me/model"].items()
    }


@pytest.mark.parametrize("name", ["annalena", "gpu-07-lab"])
def test_a_name_of_the_user_or_the_machine_is_refused_with_its_place(run_folder, tmp_path, monkeypatch, name):
    monkeypatch.setenv("LOGNAME", "annalena")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-07-lab")
    with (run_folder / "README.md").open("a") as card:
        card.write(f"\nThanks to {name}.\n")
    saved = check_model_folder(run_folder)
    with pytest.raises(
        ValueError, match=rf"README.md, line 11: '{name}' is a name of this machine or of its user; take it out"
    ):
        collect_files(run_folder, "me/model", saved, tmp_path, preview=False)
    # who is known by that name on the Hub, too, hides nothing
    assert collect_files(run_folder, f"{name}/model", saved, tmp_path, preview=False)


def test_what_the_hub_refuses_is_said_in_one_line(hub, save_model, assert_tried, tmp_path):
    save_model(tmp_path / "model")
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
    assert_tried(expected, HF_TOKEN=None)
    assert not hub.commits


def test_an_upload_that_breaks_off_is_finished(hub, run_client, save_model, assert_tried, tmp_path):
    save_model(tmp_path / "model")
    hub.interruptions = [("PUT /lfs/", 0), ("PUT /lfs/", 503), ("POST .*/commit/main", 503)]
    assert_tried({f"publish({str(tmp_path / 'model')!r}, 'me/model', preview=False)": "result http"})
    assert not hub.interruptions and len(hub.commits) == 1
    assert hub.files["me/model"]["model.safetensors"] == (tmp_path / "model" / "model.safetensors").read_bytes()
    hf = str(Path(sys.executable).parent / "hf")
    result = run_client(None, hf, "download", "me/model", "--local-dir", str(tmp_path / "copy"))
    assert result.returncode == 0, result.stderr
    for name, content in hub.files["me/model"].items():
        assert (tmp_path / "copy" / name).read_bytes() == content


def test_a_folder_that_holds_no_usable_model_is_not_published(save_model, tmp_path):
    folder = tmp_path / "model"
    save_model(folder)
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
    assert "gives 20 joints with 3 channels, but the model takes 25" in error(twenty.save_pretrained)
    assert "there is no such folder" in error(lambda bad: shutil.move(bad, tmp_path / "gone"))
