"""A model is published while it is trained, and nothing that goes wrong there ends the training; with the real client against a local Hub."""

import json
import sys


_TRAIN = """
import json, shutil, sys, time
from pathlib import Path
import torch
from skeleton_transformers.hub.background import BackgroundPublisher, PublishingCallback
from transformers import TrainerControl, TrainerState, TrainingArguments
folder, recipe = Path(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
expected = torch.rand(3)
torch.manual_seed(0)

def save(step):
    copy = folder.with_name(f"checkpoint-{step}")
    shutil.copytree(folder, copy)
    return copy

publisher = BackgroundPublisher("me/model")
began = [publisher.push(save(1), "Step 1 of 9", [recipe])]
shutil.rmtree(folder.with_name("checkpoint-1"))          # what is sent was taken before
began.append(publisher.push(save(2), "Step 2 of 9"))     # the first one is slow: passed over
publisher.finish()
reader = BackgroundPublisher("me/model", token="hf_read")  # the Hub refuses what it sends
began.append(reader.push(save(3), "Step 3 of 9"))
assert reader.finish() == 1
broken = save(4)
(broken / "model.safetensors").write_bytes(b"half a file")
began.append(publisher.push(broken, "Step 4 of 9"))
began.append(publisher.push(folder.with_name("nowhere"), "Step 5 of 9"))

arguments = TrainingArguments(output_dir=str(folder.parent), report_to=[])
save(6), save(9)
recipe.write_text(recipe.read_text() + "seed: 1\\n")     # what is there already is no commit
callback = PublishingCallback(publisher, [recipe])
for step in (6, 9):
    state = TrainerState(global_step=step, max_steps=9, is_world_process_zero=True)
    callback.on_save(arguments, state, TrainerControl())
failed = publisher.finish()
print(json.dumps([began, failed, reader.failures + publisher.failures, torch.equal(torch.rand(3), expected)]))
"""


def test_every_save_is_published_and_a_failure_is_a_warning(hub, run_client, save_model, tmp_path):
    save_model(tmp_path / "run" / "model")
    for name in ("optimizer.pt", "training_args.bin"):
        (tmp_path / "run" / "model" / name).write_bytes(b"a pickle")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"output_dir: {tmp_path}/run\n")
    hub.delays.append(("POST .*/me/model/commit/main", 3.0))
    hub.interruptions.append(("PUT /lfs/", 503))  # a break that the client mends itself is no failure
    arguments = (sys.executable, "-W", "ignore", "-c", _TRAIN, str(tmp_path / "run" / "model"), str(recipe))
    result = run_client(None, *arguments)
    assert result.returncode == 0, result.stderr
    began, failed, failures, same_random_numbers = json.loads(result.stdout.splitlines()[-1])
    assert began == [True, False, True, False, False] and failed == len(failures) - 1 == 2
    for failure, beginning in zip(
        failures, ("3 of 9: HfHubHTTPError", "4 of 9: CheckpointError", "5 of 9: FileNotFound")
    ):
        assert failure.startswith(f"Step {beginning}"), failure
    assert same_random_numbers  # publishing draws none
    assert [message for _, message, _ in hub.commits] == ["Step 1 of 9", "Step 6 of 9"]
    for message in ("Step 3 of 9", "Step 4 of 9", "Step 5 of 9"):
        assert (
            f"'{message}' could not be published, training goes on and the next save is tried again" in result.stderr
        )
    files = hub.files["me/model"]
    assert sorted(files) == sorted(
        [
            "config.json",
            "labels.json",
            "model.safetensors",
            "preprocessor_config.json",
            "recipe.yaml",
            "README.md",
            "LICENSE",
        ]
    )
    assert files["recipe.yaml"] == b"output_dir: run\nseed: 1\n"
