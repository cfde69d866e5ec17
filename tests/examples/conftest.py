"""Running the commands that a page shows."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).resolve().parents[2]


def run_command(*words: str, cwd: Path) -> str:
    result = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a command in the folder `cwd`, which must succeed; returns what it printed."""
    return run_command


@pytest.fixture(scope="session")
def follow_page() -> Callable[[str, Path], str]:
    """Runs the four commands of a page from recordings to a prediction, word for word but for shorter training."""

    def follow(page: str, folder: Path) -> str:
        block = next(block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "pretrain.py" in block)
        commands = block.replace("\\\n", " ").strip().splitlines()
        assert len(commands) == 4
        for line in commands:
            program, *words = line.replace("examples/", f"{REPOSITORY}/examples/").split()
            words = [sys.executable if program == "python" else str(Path(sys.executable).parent / program), *words]
            if "pretrain.py" in line:
                words += ["training.max_steps=4", "training.batch_size=8", "training.warmup_steps=1"]
            if "finetune.py" in line:
                words += ["training.epochs=75", "training.min_steps=150"]
            printed = run_command(*words, cwd=folder)
        return printed

    return follow
