"""A Hub on this machine, and the real client in a process of its own."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest


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
