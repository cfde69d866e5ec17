"""The ablation script: tables from runs of the public commands, on a small corpus."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from skeleton_transformers.models.families import get_family


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted((EXAMPLES / "configs" / "ablations").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_changes_existing_settings(path):
    config_class = get_family(path.stem).load("configuration")
    for rows in yaml.safe_load(path.read_text()).values():
        for fields in rows.values():
            # a row of another family, or without pre-training
            fields = [field for field in fields if not field.startswith(("model.family=", "training.mode="))]
            overrides = dict(field.removeprefix("model.overrides.").split("=") for field in fields)
            config = config_class.from_preset("tiny", **{name: yaml.safe_load(v) for name, v in overrides.items()})
            assert all(getattr(config, name) == yaml.safe_load(value) for name, value in overrides.items())


def test_rows_of_another_family_and_without_pretraining():
    ablation = EXAMPLES / "configs" / "ablations" / "student_teacher.yaml"
    words = [sys.executable, str(EXAMPLES / "ablate.py"), str(ablation), "nw_ucla", "STORE", "--tables", "report"]
    words += ["--task", "recognition", "--seeds", "0", "--dry_run"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    runs = [line for line in printed.splitlines() if "_pretrain.yaml" in line]
    assert len(runs) == 6 and sum("mamp_nw_ucla_pretrain.yaml" in line for line in runs) == 1
    assert sum("mamp_nw_ucla_recognition.yaml" in line for line in printed.splitlines()) == 1
    (supervised,) = (line for line in printed.splitlines() if "finetune.py" in line and "model.overrides." in line)
    assert "training.mode=scratch" in supervised and "model.overrides.attention=joint" in supervised
    assert "model.from_pretrained=null" in supervised


@pytest.mark.slow  # pre-trains and evaluates two encoders on real recordings
def test_a_table_of_real_recordings(real_data, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = str(Path(sys.executable).parent / "skeleton-transformers")
    source = real_data / "msr-action3d"
    store = tmp_path / "store"
    subprocess.run(
        [command, "prepare", "msr-action3d", str(source), str(store), "--quiet"], check=True, env=environment
    )
    ablation = tmp_path / "hico.yaml"
    ablation.write_text('granularities: {"1": [model.overrides.num_granularities=1], "4": []}\n')
    small = ["model.preset=tiny", "training.max_steps=4", "training.warmup_steps=1", "training.batch_size=16"]
    arguments = [str(ablation), "msr_action3d", str(store), "--seeds", "0", "--output", str(tmp_path / "out")]
    script = [sys.executable, str(EXAMPLES / "ablate.py"), *arguments, "--pretraining", *small]
    output = subprocess.run(script, check=True, env=environment, capture_output=True, text=True, timeout=600).stdout
    table = (tmp_path / "out" / "ablation.md").read_text()
    assert table in output and "| 1 | " in table and "| 4 | " in table
    again = subprocess.run(script, check=True, env=environment, capture_output=True, text=True, timeout=600).stdout
    assert "pretrain.py" not in again and table in again
