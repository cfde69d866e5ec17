"""The table of results: what is in it, given runs that exist."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skeleton_transformers.evaluation.fusion import save_predictions


SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "reproduce_table.py"
ACCURACIES = {"scratch_10": 0.5, "scratch_100": 0.6, "finetuned_10": 0.7, "finetuned_100": 0.75}


@pytest.fixture
def runs(tmp_path):
    """Finished runs of two seeds and two streams, each stream wrong about another of four recordings."""
    labels = np.arange(4)
    for seed in (0, 1):
        for number, stream in enumerate(("joint", "bone")):
            encoder = tmp_path / f"{stream}_seed{seed}_pretrained"
            encoder.mkdir()
            (encoder / "model.safetensors").touch()
            frozen = {"knn": {"top1_accuracy": 0.2 + 0.1 * seed}, "linear": {"top1_accuracy": 0.4}}
            (encoder / "frozen.json").write_text(json.dumps({"results": frozen}))
            for name, accuracy in ACCURACIES.items():
                folder = tmp_path / f"{stream}_seed{seed}_{name}"
                folder.mkdir()
                (folder / "results.json").write_text(json.dumps({"top1_accuracy": accuracy}))
                logits = 3.0 * np.eye(4)
                logits[number] = np.roll(logits[number], 1) * 0.5  # wrong, and not sure
                save_predictions(folder / "predictions.npz", logits, labels, list("abcd"), list("wxyz"))
    return tmp_path


def test_means_deviations_and_the_fusion_of_finished_runs(runs):
    words = ["nw_ucla", "no store is read", "--output", str(runs), "--seeds", "0", "1", "--streams", "joint", "bone"]
    result = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    table = (runs / "table.md").read_text()
    assert table.strip() == result.stdout.strip()  # no command was run
    rows = dict(line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:])
    assert rows["joint, knn"] == "25.0 ± 7.1 | 2"
    assert rows["joint, from scratch, 10 % of the labels"] == "50.0 ± 0.0 | 2"
    assert rows["bone, pre-trained, 100 % of the labels"] == "75.0 ± 0.0 | 2"
    assert rows["joint + bone, fused"] == "100.0 ± 0.0 | 2"
    assert "bone, from scratch, 100 % of the labels" not in rows
