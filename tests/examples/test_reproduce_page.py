"""The page that says how to fill the tables of the papers: its commands start, and finish a step, on made-up corpora.

The recordings are tiny, but in the formats of NTU RGB+D, PKU-MMD and Kinetics-Skeleton, from raw files on.
"""

import importlib
import json
import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.pretraining import PreTrainingRecipe
from skeleton_transformers.training.recipes import load_recipe


REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.strip().splitlines()
    if re.match("python examples/(reproduce_table|ablate).py", line)
]
LARGE = [line for line in COMMANDS if re.search(r" (ntu60|ntu120|pku1|pku2|kinetics) ", line)]
# A network and a step as small as they can be.
TINY_PRETRAINING = [
    *("model.preset=tiny", "training.max_steps=1", "training.epochs=null", "training.warmup_steps=0"),
    "training.warmup_epochs=null",
]
TINY_TRAINING = ["training.gradient_accumulation_steps=1", "training.num_workers=0", "training.batch_size=4"]
TINY_FINETUNING = [
    *("model.preset=tiny", "training.epochs=1", "training.min_steps=0", "training.warmup_epochs=0"),
    *("training.checkpoint_every=0", "training.eval_batch_size=8"),
]
FRAMES = 90  # more than motion prediction observes and predicts


@pytest.fixture(scope="module")
def scripts():
    """The example scripts as modules."""
    names = ("reproduce_table", "ablate", "pretrain", "finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "examples"))
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield {f"{name}.py": importlib.import_module(name) for name in names}
        for name in names:
            del sys.modules[name]


def call(scripts, line, *more):
    """Runs a command of the page, with further words, in this process."""
    _, script, *words = shlex.split(line)
    scripts[Path(script).name].main([*words, *more])


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_names_recipes_that_can_be_read(scripts, capsys, line):
    call(scripts, line, "--dry_run", "--seeds", "0")
    found = [shlex.split(one.removeprefix("$ ")) for one in capsys.readouterr().out.splitlines()]
    assert len(found) >= 2
    for program, script, *words in found:
        if program.endswith("skeleton-transformers"):
            assert script == "evaluate"
            continue
        path, *fields = words
        recipe_class = {"pretrain.py": PreTrainingRecipe, "finetune.py": FineTuningRecipe}[Path(script).name]
        load_recipe(path, recipe_class, [field for field in fields if field != "--resume"])


def test_the_page_has_every_table():
    headings = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    numbers = {"Hi-TRS": 5, "HiCo": 6, "MCC": 7}
    for system, last in numbers.items():
        section = PAGE.split(f"## {system} (")[1].split("\n## ")[0]
        named = " ".join(line for line in headings if line in section)
        for number in range(1, last + 1):
            ranges = [range(int(a), int(b) + 1) for a, b in re.findall(r"Tables (\d) to (\d)", named)]
            assert re.search(rf"Tables? (\d and )?{number}\b", named) or any(number in r for r in ranges), (
                system,
                number,
            )
    assert "86.0 / –" in PAGE and "90.0 / –" in PAGE and "85.6 / –" in PAGE


def people(rng, number, frames=FRAMES):
    """One standing person who moves a little, ntu25, `(frames, 25, 3)`."""
    pose = np.linspace(0, 1.7, 25)[:, None] * [0.1, 1.0, 0.05] + rng.uniform(-0.2, 0.2, (25, 3)) + [0, -0.8, 3]
    steps = rng.normal(0, 0.01, (frames, 25, 3)).cumsum(axis=0)
    return pose + steps + 0.1 * (number % 2) * np.sin(np.arange(frames) / 5)[:, None, None]


def write_ntu(folder, rng):
    """Four subjects, two setups, three cameras, two actions, everything twice: a quarter of it still holds every part."""
    folder.mkdir()
    for subject in (1, 2, 4, 3):  # the last one tests
        places = ((1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 3, 1), (2, 3, 2))
        for (setup, camera, action), replication in product(places, (1, 2)):
            lines = [str(FRAMES)]
            for pose in people(rng, action):
                lines += ["1", "72057594037931101 0 1 1 1 1 0 0.02 0.05 2", "25"]
                lines += [f"{x:.5f} {y:.5f} {z:.5f} 200 200 900 500 0 0 0 1 2" for x, y, z in pose]
            name = f"S{setup:03d}C{camera:03d}P{subject:03d}R{replication:03d}A{action:03d}.skeleton"
            (folder / name).write_text("\n".join(lines) + "\n")


def write_pku(folder, rng, names, split_file):
    """Videos of three actions each, the last two of them for the test."""
    for part in ("Data", "Label", "Split"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(names):
        poses = people(rng, number, 3 * FRAMES + 30).reshape(3 * FRAMES + 30, 75)
        rows = (" ".join(f"{value:.5f}" for value in pose) + " 0" * 75 for pose in poses)
        (folder / "Data" / f"{name}.txt").write_text("\n".join(rows) + "\n")
        starts = [5 + k * (FRAMES + 8) for k in range(3)]
        labels = (f"{1 + (number + k) % 2},{start},{start + FRAMES},2\n" for k, start in enumerate(starts))
        (folder / "Label" / f"{name}.txt").write_text("".join(labels))
    train, test = ", ".join(names[:-2]), ", ".join(names[-2:])
    (folder / "Split" / split_file).write_text(f"Training videos:\n{train}\nValidataion videos:\n{test}\n")


def write_kinetics(folder, rng):
    """Clips of two actions, in parts of the image, 24 to train on, so that two of them can validate, and four for the test."""
    for part, count in (("train", 24), ("val", 4)):
        (folder / f"kinetics_{part}").mkdir(parents=True)
        labels = {}
        for number in range(count):
            name, (label, index) = f"{part}{number}", (("abseiling", 0), ("zumba", 399))[number % 2]
            labels[name] = {"has_skeleton": True, "label": label, "label_index": index}
            poses = (people(rng, number)[:, :18, :2] / 4 + 0.5).clip(0.01, 0.99).reshape(FRAMES, 36)
            bodies = ([{"pose": pose.round(3).tolist(), "score": [0.7] * 18}] for pose in poses)
            data = [{"frame_index": frame, "skeleton": body} for frame, body in enumerate(bodies, start=1)]
            (folder / f"kinetics_{part}" / f"{name}.json").write_text(json.dumps({"data": data}))
        (folder / f"kinetics_{part}_label.json").write_text(json.dumps(labels))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The stores of the page, prepared from raw files by its own commands."""
    root = tmp_path_factory.mktemp("tree")
    (root / "examples").symlink_to(REPOSITORY / "examples")
    rng = np.random.default_rng(0)
    write_ntu(root / "nturgb+d_skeletons", rng)
    write_pku(
        root / "PKUMMD", rng, [f"{video:04d}-{view}" for video in range(2, 7) for view in "LM"], "cross-subject.txt"
    )
    names = [f"A0{actor}N0{take}-{view}" for actor in range(1, 6) for take, view in ((1, "L"), (2, "M"))]
    write_pku(root / "PKUMMD2", rng, names, "cross_subject_v2.txt")
    write_kinetics(root / "kinetics-skeleton", rng)
    for line in re.findall(r"^skeleton-transformers (prepare .*)$", PAGE, re.MULTILINE):
        verb, corpus, source, store, *options = shlex.split(line)
        words = [verb, corpus, str(root / source), str(root / store), *options, "--quiet"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    (line,) = re.findall(r"^python (examples/draw_subset.py .*)$", PAGE, re.MULTILINE)
    subprocess.run([sys.executable, *shlex.split(line)], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def first_stage(scripts, stores):
    """What the page trains before MCC on AS-GCN."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stores)
        for line in re.findall(r"^python examples/pretrain.py (.*)$", PAGE, re.MULTILINE):
            assert scripts["pretrain.py"].main([line, *TINY_PRETRAINING, *TINY_TRAINING]) == 0


def run_tiny(scripts, monkeypatch, stores, line):
    """A command of the page with one step of pre-training and one epoch of everything else; returns its table."""

    def run(*words):
        program, script, *rest = words
        if program.endswith("skeleton-transformers"):
            result = CliRunner().invoke(app, [script, *rest, "--device", "cpu"])
            assert result.exit_code == 0, result.output
        else:
            assert not scripts[Path(script).name].main(rest) or Path(script).name == "finetune.py"

    monkeypatch.chdir(stores)
    monkeypatch.setattr(scripts["reproduce_table.py"], "command", run)
    output = stores / "runs" / re.sub(r"\W+", "_", line)
    more = ["--pretraining", *TINY_PRETRAINING, *TINY_TRAINING, "--finetuning", *TINY_FINETUNING, *TINY_TRAINING]
    call(scripts, line, "--seeds", "0", "--output", str(output), *more)
    (table,) = output.glob("*.md")
    return table.read_text()


QUICK = [
    "python examples/reproduce_table.py ntu60 stores/ntu60 --transfer pku2=stores/pku_mmd_2 --fractions 1",
    "python examples/reproduce_table.py ntu60 stores/ntu60 --task detection --transfer pku1=stores/pku1_takes",
]


@pytest.mark.parametrize("line", QUICK)
def test_a_table_is_filled_from_raw_files_on(scripts, monkeypatch, stores, line):
    assert line in COMMANDS
    table = run_tiny(scripts, monkeypatch, stores, line)
    assert "joint, pre-trained" in table and "joint, from scratch" in table
    assert ("mAP_v" in table) == ("detection" in line)


@pytest.mark.slow  # a network is built and trained for every cell of every table
@pytest.mark.parametrize("line", [line for line in LARGE if line not in QUICK])
def test_every_other_table_is_filled_too(request, scripts, monkeypatch, stores, line):
    if "mcc_asgcn" in line:
        request.getfixturevalue("first_stage")
    assert " | 1 |" in run_tiny(scripts, monkeypatch, stores, line)
