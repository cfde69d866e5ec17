"""The table of results: what is in it, given runs that exist, and which commands it would run."""

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from skeleton_transformers.evaluation.fusion import save_predictions
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.pretraining import PreTrainingRecipe
from skeleton_transformers.training.recipes import load_recipe


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ACCURACIES = {"scratch_10": 0.5, "scratch_100": 0.6, "finetuned_10": 0.7, "finetuned_100": 0.75}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reproduce_table", EXAMPLES / "reproduce_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_results(folder, results):
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))


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
            for name in ("frozen", "frozen_to_msr_action3d"):
                (encoder / f"{name}.json").write_text(json.dumps({"results": frozen}))
            for mark in ("", "_to_msr_action3d"):
                for name, accuracy in ACCURACIES.items():
                    folder = tmp_path / f"{stream}_seed{seed}{mark}_{name}"
                    write_results(folder, {"top1_accuracy": accuracy + 0.1 * bool(mark)})
                    logits = 3.0 * np.eye(4)
                    logits[number] = np.roll(logits[number], 1) * 0.5  # wrong, and not sure
                    save_predictions(folder / "predictions.npz", logits, labels, list("abcd"), list("wxyz"))
    return tmp_path


def rows_of(script, capsys, folder, *words, file="table.md"):
    script.main([*words, "--output", str(folder)])
    printed = capsys.readouterr().out
    table = (folder / file).read_text()
    assert table.strip() == printed.strip()  # no command was run
    return dict(line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:] if line)


def test_means_deviations_and_the_fusion_of_finished_runs(script, capsys, runs):
    words = ["nw_ucla", "no store is read", "--seeds", "0", "1", "--streams", "joint", "bone"]
    rows = rows_of(script, capsys, runs, *words)
    assert rows["joint, knn"] == "25.0 ± 7.1 | 2"
    assert rows["joint, from scratch, 10 % of the labels"] == "50.0 ± 0.0 | 2"
    assert rows["bone, pre-trained, 100 % of the labels"] == "75.0 ± 0.0 | 2"
    assert rows["joint + bone, fused"] == "100.0 ± 0.0 | 2"
    assert "bone, from scratch, 100 % of the labels" not in rows
    assert "bone, pre-trained, 10 % of the labels" not in rows


def test_fractions_hold_for_every_stream(script, capsys, runs):
    words = ["nw_ucla", "x", "--seeds", "0", "--streams", "joint", "bone", "--fractions", "0.1"]
    rows = rows_of(script, capsys, runs, *words, "--starts", "pretrained")
    assert rows["bone, pre-trained, 10 % of the labels"] == "70.0 | 1"
    assert rows["joint + bone, fused, 10 % of the labels"] == "100.0 | 1"
    assert not any("scratch" in row or "100 %" in row for row in rows)


def test_scratch_alone_trains_every_stream(script, capsys, runs):
    words = "nw_ucla x --seeds 0 --streams joint bone --starts scratch --fractions 0.1 1".split()
    rows = rows_of(script, capsys, runs, *words)
    assert rows["bone, from scratch, 10 % of the labels"] == "50.0 | 1"
    assert rows["joint + bone, fused, from scratch"] == "100.0 | 1"
    assert rows["joint + bone, fused, from scratch, 10 % of the labels"] == "100.0 | 1"
    assert not any("pre-trained" in row for row in rows)


def test_transfer_judges_the_encoders_on_another_corpus(script, capsys, runs):
    words = ["nw_ucla", "x", "--seeds", "0", "1", "--transfer", "msr_action3d=y"]
    rows = rows_of(script, capsys, runs, *words, file="table_transfer.md")
    assert rows["joint, linear"] == "40.0 ± 0.0 | 2"
    assert rows["joint, pre-trained, 100 % of the labels"] == "85.0 ± 0.0 | 2"
    assert rows["joint, from scratch, 10 % of the labels"] == "60.0 ± 0.0 | 2"


def test_an_encoder_trained_with_labels_is_a_start_of_its_own(script, capsys, runs):
    labels = np.arange(4)
    for number, stream in enumerate(("joint", "bone")):
        write_results(runs / f"{stream}_seed0_supervised", {"top1_accuracy": 0.9})
        folder = runs / f"{stream}_seed0_to_msr_action3d_supervised_100"
        write_results(folder, {"top1_accuracy": 0.95})
        logits = 3.0 * np.eye(4)
        logits[2:] = np.roll(logits[2:], 1, axis=1)  # both streams are wrong about two of four
        save_predictions(folder / "predictions.npz", logits, labels, list("abcd"), list("wxyz"))
    words = ["nw_ucla", "x", "--family", "stgcn", "--seeds", "0", "--transfer", "msr_action3d=y", "--fractions", "1"]
    streams = ["--streams", "joint", "bone", "--starts", "supervised", "scratch"]
    rows = rows_of(script, capsys, runs, *words, *streams, file="table_transfer.md")
    assert rows["joint, pre-trained with labels, 100 % of the labels"] == "95.0 | 1"
    assert rows["joint, from scratch, 100 % of the labels"] == "70.0 | 1"
    assert rows["joint + bone, fused, with labels"] == "50.0 | 1"


def test_the_encoder_of_a_recogniser_starts_another_one(script, capsys, tmp_path):
    words = [
        "ntu60",
        "s",
        "--family",
        "mcc_agcn",
        "--starts",
        "supervised",
        "--transfer",
        "pku2=a",
        "--fractions",
        "1",
    ]
    source, target = commands(script, capsys, *words, "--output", str(tmp_path))
    recogniser = f"{tmp_path}/joint_seed0_supervised"
    assert source[2].endswith("agcn_ntu60_xsub_joint_scratch.yaml") and {
        "data.store=s",
        f"output_dir={recogniser}",
        "training.mode=scratch",
    } <= set(source)
    own = {"data.store=a", "training.mode=finetune", f"model.from_pretrained={recogniser}", "data.layout=ntu25"}
    assert own | {"features.normalize_view=true"} <= set(target)


def test_supervised_goes_with_transfer(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["nw_ucla", "x", "--starts", "supervised", "--dry_run"])
    assert "--starts supervised goes with --transfer" in capsys.readouterr().err


@pytest.mark.parametrize("backbone, epochs", [("stgcn", 50), ("agcn", 65), ("asgcn", 90)])
def test_mcc_recipes_of_kinetics_have_the_published_settings(script, backbone, epochs):
    path = EXAMPLES / "configs" / f"mcc_{backbone}_kinetics_joint_pretrain.yaml"
    training = load_recipe(path, PreTrainingRecipe).training
    assert training.batch_size * training.gradient_accumulation_steps == 256 and training.epochs == epochs
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("sgd", 0.1, 1e-4)
    own = script.find_recipe(f"mcc_{backbone}", "kinetics", "split", "joint", "recognition", "scratch")
    assert own.stem.startswith(f"{backbone}_kinetics_joint")
    recipe = load_recipe(own, FineTuningRecipe)
    assert (recipe.training.epochs, recipe.training.decay_epochs) == (epochs, training.decay_epochs)
    assert recipe.features == load_recipe(path, PreTrainingRecipe).features


def test_detection_and_prediction_stand_beside_scratch_and_baselines(script, capsys, tmp_path):
    names = ("mAP_a", "mAP_v", "F1", "segment_F1@0.1", "segment_F1@0.25", "segment_F1@0.5", "frame_accuracy")
    for seed in (0, 1):
        encoder = tmp_path / f"joint_seed{seed}_pretrained"
        encoder.mkdir()
        (encoder / "model.safetensors").touch()
        for start, value in (("finetuned", 0.8), ("scratch", 0.7)):
            write_results(
                tmp_path / f"joint_seed{seed}_detection_{start}_100", dict.fromkeys(names, value + 0.02 * seed)
            )
            errors = {
                who: {"80": 10.0 + seed, "400": 50.0, "mean": 30.0}
                for who in ("model", "zero_velocity", "constant_velocity")
            }
            write_results(tmp_path / f"joint_seed{seed}_prediction_{start}_100", {"mpjpe_mm": errors})
    words = ["--seeds", "0", "1"]
    rows = rows_of(script, capsys, tmp_path, "precog", "x", "--task", "detection", *words, file="table_detection.md")
    assert rows["joint, pre-trained"].startswith("81.0 ± 1.4 | 81.0 ± 1.4") and rows["joint, pre-trained"].endswith(
        "| 2"
    )
    assert rows["joint, from scratch"].startswith("71.0 ± 1.4")
    rows = rows_of(script, capsys, tmp_path, "cmu", "x", "--task", "prediction", *words, file="table_prediction.md")
    assert rows["joint, from scratch"] == rows["zero velocity"] == "10.5 ± 0.7 | 50.0 ± 0.0 | 30.0 ± 0.0 | 2"
    assert list(rows) == ["joint, pre-trained", "zero velocity", "constant velocity", "joint, from scratch"]


def commands(script, capsys, *words):
    script.main([*words, "--dry_run", "--seeds", "0"])
    return [shlex.split(line.removeprefix("$ ")) for line in capsys.readouterr().out.splitlines()]


CALLS = {
    "streams of NTU": ("ntu60 s --split xview --streams joint motion bone --fractions 0.01 1", 3 * 4 + 2),
    "HiCo, the published linear recipe": ("ntu60 s --family hico --task linear", 2),
    "retrieval": ("ntu120 s --family hico --split xset --starts pretrained --fractions 1", 3),
    "GTU to both": ("gtu s --transfer nw_ucla=a msr_action3d=b", 1 + 2 * (1 + 4) + 1),
    "NTU to detection in PKU": ("ntu60 s --task detection --transfer pku1=takes --starts pretrained", 2),
    "NTU to PKU, HiCo's own recipe": ("ntu60 s --family hico --transfer pku2=a --starts pretrained", 4),
    "MCC, fine-tuned as its backbone": ("nw_ucla s --family mcc_agcn --streams joint bone", 6 + 3),
    "MCC beside training with the labels of the source": (
        "ntu120 s --family mcc_agcn --starts pretrained supervised --transfer pku2=a --fractions 1 --streams joint bone",
        2 * (3 + 2),
    ),
    "MCC on Kinetics": ("kinetics s --family mcc_stgcn --fractions 0.1 1", 6),
    "MCC on Kinetics, links first": ("kinetics s --family mcc_asgcn --fractions 0.1 1", 2 + 6),
    "detection": ("precog s --task detection", 3),
    "prediction": ("cmu s --task prediction", 3),
    "prediction in metres": ("nw_ucla s --task prediction --pretraining features.scale=none", 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_commands_name_recipes_that_can_be_read(script, capsys, tmp_path, name):
    words, count = CALLS[name]
    found = commands(script, capsys, *words.split(), "--output", str(tmp_path))
    assert len(found) == count
    for program, second, *rest in found:
        if program.endswith("skeleton-transformers"):
            assert second == "evaluate"
            continue
        path, *fields = rest
        cls = {"pretrain.py": PreTrainingRecipe, "finetune.py": FineTuningRecipe}[Path(second).name]
        recipe = load_recipe(path, cls, [field for field in fields if field != "--resume"])
        assert recipe.seed == 0 and recipe.output_dir.startswith(str(tmp_path))
        if name == "GTU to both" and cls is FineTuningRecipe and recipe.model.from_pretrained:
            assert recipe.data.layout == "kinect20" and recipe.features["scale"] == "spine"
    if "own recipe" in name:
        assert "hico_ntu60_to_pku2_xsub_joint_recognition.yaml" in found[2][2]


def test_a_recipe_that_is_not_there_is_named(script, tmp_path):
    with pytest.raises(SystemExit, match="there is no recipe nobody_nw_ucla_xview_joint_pretrain.yaml in .*configs"):
        script.main(["nw_ucla", "x", "--family", "nobody", "--dry_run", "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        script.main(["nw_ucla", "x", "--transfer", "somewhere=y", "--dry_run"])
