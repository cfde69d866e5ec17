"""From recordings to a published model: pre-train, push, fine-tune what was pushed, push, and use the card of the result."""

import json
import re
import sys
from pathlib import Path

import yaml

from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.preparation import prepare_corpus


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_scripts_publish_what_they_trained_and_the_card_runs_as_pasted(hub, run_client, tmp_path):
    store = tmp_path / "stores" / "takes"
    prepare_corpus("synthetic", None, store, PreparationOptions(sequences=96), workers=1, progress=False)

    def script(name, recipe, *fields):
        fields = (f"data.store={store}", f"output_dir={tmp_path}/runs/{name}", "training.batch_size=8", *fields)
        command = (
            sys.executable,
            str(EXAMPLES / f"{name}.py"),
            str(EXAMPLES / "configs" / recipe),
            *fields,
            "--push_to_hub",
        )
        return run_client(None, *command)

    refused = run_client(
        None, sys.executable, str(EXAMPLES / "pretrain.py"), str(EXAMPLES / "configs" / "hitrs_demo_pretrain.yaml"),
        f"output_dir={tmp_path}/runs/never", "--push_to_hub", HF_TOKEN=None,
    )  # fmt: skip
    assert "no token to write to never with" in refused.stderr and not (tmp_path / "runs").exists()

    steps = [
        f"training.{name}={value}" for name, value in {"max_steps": 2, "warmup_steps": 1, "eval_every": 2}.items()
    ]
    result = script(
        "pretrain",
        "hitrs_demo_pretrain.yaml",
        *steps,
        "training.num_workers=0",
        "training.save_every=1",
        "--hub_private_repo",
    )
    assert result.returncode == 0, result.stderr
    assert [message for _, message, _ in hub.commits] == ["Step 1 of 2", "Upload model"]
    assert result.stdout.splitlines()[-1] == f"{hub.url}/me/pretrain/commit/{2:040x}"
    assert hub.private["me/pretrain"] and "recipe.yaml" in hub.files["me/pretrain"]

    fields = [
        "model.from_pretrained=me/pretrain",
        "training.epochs=3",
        "training.min_steps=1",
        "training.checkpoint_every=1",
    ]
    hub.interruptions = [("POST /api/models/me/recogniser/commit/main", 403)]
    result = script("finetune", "hitrs_demo_recognition.yaml", *fields, "--hub_model_id", "me/recogniser")
    assert result.returncode == 0, result.stderr
    # The first of the three checkpoints was refused, which ended nothing; the last one is the model.
    assert re.search(r"'Step \d+ of \d+' could not be published, training goes on", result.stderr), result.stderr
    messages = [message for name, message, _ in hub.commits if name == "me/recogniser"]
    assert messages[-1] == "Upload model" and len(messages) <= 2, messages  # an upload may still have been under way
    files = hub.files["me/recogniser"]
    assert {"results.json", "labels.json", "preview.gif", "LICENSE", "model.safetensors"} <= set(files)
    recipe = yaml.safe_load(files["recipe.yaml"])
    assert (recipe["model"]["from_pretrained"], recipe["data"]["store"]) == ("me/pretrain", "takes")
    card = files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "me/pretrain"
    for content in files.values():
        assert str(tmp_path).encode() not in content

    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert '"me/recogniser"' in code and str(tmp_path) not in code
    result = run_client(code)
    assert result.returncode == 0, result.stderr
    assert any(label in result.stdout for label in json.loads(files["labels.json"]).values())
