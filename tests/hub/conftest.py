"""A Hub on this machine, and the real client in a process of its own."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.models.families import FAMILIES


LocalHub = runpy.run_path(str(Path(__file__).with_name("local_hub.py")))["LocalHub"]


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


@pytest.fixture
def client_environment(hub, tmp_path):
    """Environment of a user of the Hub who is called Annalena; the client reads the address when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return environment | {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        "LOGNAME": "annalena",
        "USER": "annalena",
    }


@pytest.fixture
def run_client(client_environment):
    """Runs Python code, or a command, with the real client; returns the finished process."""

    def run(code, *command, **environment):
        command = command or (sys.executable, "-c", code)
        changed = {name: value for name, value in (client_environment | environment).items() if value is not None}
        return subprocess.run(command, capture_output=True, text=True, env=changed, timeout=200)

    return run


@pytest.fixture
def save_model():
    """Saves a model whose every number is its own, with its feature extractor; gives the model."""

    def save(folder, family="hitrs", role="action_recognition"):
        torch.manual_seed(3)
        labels = {0: "background", 1: "walk", 2: "sit down"}
        config = (
            FAMILIES[family]
            .load("configuration")
            .from_preset("tiny", id2label=labels, label2id={name: index for index, name in labels.items()})
        )
        model = FAMILIES[family].load(role)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        SkeletonFeatureExtractor(center="first_frame").save_pretrained(folder)
        return model

    return save


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


@pytest.fixture
def tried(run_client):
    """Runs calls in one process of the client; gives `result ...` or the error of each."""

    def run(calls, **environment):
        result = run_client(_TRY.replace("CALLS", repr(list(calls))), **environment)
        lines = [line for line in result.stdout.splitlines() if re.match(r"\w*Error |result ", line)]
        assert len(lines) == len(calls), result.stdout + result.stderr
        return lines

    return run


@pytest.fixture
def assert_tried(tried):
    """Compares what calls give with patterns."""

    def compare(expected, **environment):
        for (call, message), line in zip(expected.items(), tried(expected, **environment), strict=True):
            assert re.match(message, line), (call, line)

    return compare
