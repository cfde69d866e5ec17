"""The pre-training script: recipes that load, runs that resume bit for bit, and errors that say what to do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from transformers import AutoModel

from skeleton_transformers import HiTRSConfig, HiTRSForPreTraining, SkeletonFeatureExtractor, STGCNModel
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.corpora import get_corpus
from skeleton_transformers.data.datasets import SampleKey, SkeletonDataset
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
from skeleton_transformers.skeletons import get_layout
from skeleton_transformers.training.checkpoints import list_checkpoints, read_run_log
from skeleton_transformers.training.pretraining import PreTrainingRecipe
from skeleton_transformers.training.recipes import (
    RecipeError,
    build_feature_extractor,
    build_model_config,
    load_recipe,
)


REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
sys.path.insert(0, str(EXAMPLES))
import pretrain  # noqa: E402


sys.path.remove(str(EXAMPLES))

TINY = {"hidden_sizes": [8, 8, 8], "intermediate_sizes": [8, 8, 8], "num_layers": 1, "num_attention_heads": 2}
UNTIMED = "sequences_per_second"


def smooth_motion(rng, persons, frames):
    """People whose joints swing about a place of rest: float32 (persons, frames, 25, 3)."""
    time_axis = np.arange(frames)[:, None, None] / 30
    phase, speed = rng.uniform(0, 6, (2, persons, 1, 25, 3))
    rest = rng.standard_normal((persons, 1, 25, 3)) * 0.4
    return (rest + 0.1 * np.sin(phase + speed * time_axis)).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "store"
    rng = np.random.default_rng(0)
    with SkeletonStoreWriter(path, "ntu25", frame_rate=30.0) as writer:
        for number in range(30):
            keypoints = smooth_motion(rng, 1 + number % 2, int(rng.integers(22, 45)))
            writer.add(SkeletonSample(keypoints, np.ones(keypoints.shape[:2], dtype=bool), name=f"take{number:02d}"))
    return SkeletonStore.open(path)


def write_recipe(tmp_path, store, **sections):
    """A recipe of a few seconds: 12 optimiser steps in epochs of 4 or so, augmentation on."""
    values = {
        "data": {"store": str(store.path), "validation_share": 0.2},
        "augmentation": {"probability": 0.5},
        "output_dir": str(tmp_path / "run"),
        "seed": 0,
        **sections,
    }
    values["training"] = {
        "max_steps": 12,
        "batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "log_every": 2,
        "eval_every": 6,
        "save_every": 3,
        "keep_checkpoints": 20,
        **values.get("training", {}),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def hico_recipe(store, tmp_path):
    """The same with HiCo: two views, a key encoder and queues that wrap round, SGD in epochs."""
    sizes = {"branch_size": 8, "intermediate_size": 8, "projection_hidden_size": 8, "projection_size": 6}
    return write_recipe(
        tmp_path,
        store,
        model={"family": "hico", "preset": "tiny", "overrides": {**sizes, "queue_size": 10, "momentum": 0.9}},
        published_features={"num_frames": 32, "center_crop": 0.95},
        augmentation={
            "probability": 1.0,
            "spatial": ["corrupt", "shear"],
            "temporal": ["crop_resize"],
            "crop_resize_min_frames": 16,
            "crop_resize_frames": 32,
        },
        training={
            "epochs": 4,
            "optimizer": "sgd",
            "schedule": "steps",
            "decay_epochs": [3],
            "gradient_accumulation_steps": 1,
            "batch_size": 6,
            "weight_decay": 1e-4,
            "decay_all": True,
            "max_grad_norm": float("inf"),
        },
    )


@pytest.fixture
def mcc_recipe(store, tmp_path):
    """The same with MCC around a graph network: clips, a memory that wraps round, a key encoder, dropout."""
    sizes = {"hidden_sizes": [8, 8], "strides": [2, 2], "hidden_dropout_prob": 0.2}
    options = {"backbone": "stgcn", "backbone_config": sizes, "speeds": [1, 2, 4], "clip_frames": 16}
    options |= {"queue_size": 10, "momentum": 0.9, "decoder_sizes": [8, 8, 8, 8]}
    return write_recipe(
        tmp_path,
        store,
        model={"family": "mcc", "preset": "tiny", "overrides": options},
        features={"num_frames": 40},
        published_features={"num_frames": 24},
    )


@pytest.fixture
def recipe(store, tmp_path):
    """A recipe of Hi-TRS, with dropout."""
    overrides = {**TINY, "attention_head_size": 4, "hidden_dropout_prob": 0.2}
    return write_recipe(tmp_path, store, model={"preset": "tiny", "overrides": overrides})


def run(recipe, *arguments):
    """Runs the script in this process and returns its exit code."""
    try:
        return pretrain.main([str(recipe), *arguments])
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def start(recipe, *arguments, processes=1):
    """Starts the script in a process of its own, or in a group of two."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [*launcher, str(EXAMPLES / "pretrain.py"), str(recipe), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def records(folder):
    """The log without what is timed."""
    return [{k: v for k, v in record.items() if k != UNTIMED} for record in read_run_log(Path(folder) / "log.jsonl")]


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def assert_same_run(one, other):
    assert records(one) == records(other)
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def wait_for_step(process, folder, step):
    """Waits until the log of a running process has reached a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(record["step"] >= step for record in read_run_log(Path(folder) / "log.jsonl")):
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself:\n{process.communicate()[0]}")
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"the run did not reach step {step}")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


RECIPES = sorted((EXAMPLES / "configs").glob("*_pretrain.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_names_existing_settings(path):
    recipe = load_recipe(path, PreTrainingRecipe)
    own_folder = path.stem.endswith("_folder_pretrain")
    corpus_name = Path(recipe.data.store).name.removesuffix("_takes").replace("_", "-")
    corpus = get_corpus("synthetic" if own_folder else corpus_name)
    assert recipe.data.protocol is None if own_folder else recipe.data.protocol in corpus.protocols
    layout = get_layout(corpus.layout)
    extractor = build_feature_extractor(recipe.features, layout)
    build_feature_extractor({**recipe.features, **recipe.published_features}, layout)
    if recipe.model.from_pretrained is not None:  # the first stage is a recipe, too, of the same size
        first = EXAMPLES / "configs" / f"{Path(recipe.model.from_pretrained).name}.yaml"
        assert load_recipe(first, PreTrainingRecipe).model.preset == recipe.model.preset
        recipe.model.from_pretrained = None
    config = build_model_config(recipe.model, layout, extractor.num_channels)
    assert config.skeleton_layout == layout
    if recipe.augmentation is not None:
        SkeletonAugmentation.from_dict(recipe.augmentation, layout=layout)
    assert Path(recipe.output_dir).name == path.stem


def test_there_is_a_recipe_for_every_published_protocol_and_stream():
    found = {path.stem for path in RECIPES}
    protocols = ("ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset")
    for family in ("hitrs", "hico"):
        assert {f"{family}_{p}_{s}_pretrain" for p in protocols for s in ("joint", "motion", "bone")} <= found


def test_ntu_recipes_have_the_published_settings():
    recipe = load_recipe(EXAMPLES / "configs" / "hitrs_ntu60_xsub_bone_pretrain.yaml", PreTrainingRecipe)
    training = recipe.training
    assert training.batch_size * training.gradient_accumulation_steps == 256
    assert (training.max_steps, training.warmup_steps, training.max_grad_norm) == (50_000, 1000, 1.0)
    assert (training.learning_rate, training.final_learning_rate, training.weight_decay) == (4e-4, 2e-6, 0.01)
    assert recipe.features["stream"] == "bone" and recipe.model.preset == "base"
    assert recipe.data.train_part == "train-validation" and recipe.data.eval_part == "validation"


def test_hico_recipes_of_ntu_have_the_published_settings():
    recipe = load_recipe(EXAMPLES / "configs" / "hico_ntu60_xsub_motion_pretrain.yaml", PreTrainingRecipe)
    training, augmentation = recipe.training, recipe.augmentation
    assert (training.epochs, training.decay_epochs, training.learning_rate) == (451, [351], 0.01)
    assert (training.optimizer, training.sgd_momentum, training.weight_decay) == ("sgd", 0.9, 1e-4)
    assert training.batch_size * training.gradient_accumulation_steps == 64 and training.decay_all
    assert recipe.features["stream"] == "motion" and recipe.features["motion_zero"] == "last"
    assert "num_frames" not in recipe.features  # crops are of a recording's own length
    assert recipe.published_features == {"center_crop": 0.95, "num_frames": 64}
    assert (augmentation["spatial"], augmentation["crop_resize_range"]) == (["corrupt", "shear"], [0.1, 1.0])
    linear = yaml.safe_load((EXAMPLES / "configs" / "hico_ntu60_xsub_motion_linear.yaml").read_text())["training"]
    assert (linear["learning_rate"], linear["batch_size"], linear["epochs"]) == (2.0, 1024, 80)
    assert (linear["decay_epochs"], linear["weight_decay"], linear["optimizer"]) == ([50, 70], 0.0, "sgd")


@pytest.mark.parametrize(
    "path", sorted((EXAMPLES / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_launch_configurations_are_understood(path):
    config = load_config_from_file(str(path))
    assert set(yaml.safe_load(path.read_text())) <= set(vars(config))
    if path.stem == "fsdp2":
        layer = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
        assert layer in {type(m).__name__ for m in HiTRSForPreTraining(HiTRSConfig.from_preset("tiny")).modules()}


def test_the_slurm_script_is_valid_shell():
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm" / "pretrain_multinode.sh")], check=True)


def test_mcc_recipes_of_ntu_have_the_published_settings():
    for backbone, epochs, decay in (("stgcn", 80, [10, 50]), ("agcn", 50, [30, 40]), ("asgcn", 90, [40, 60, 80])):
        path = EXAMPLES / "configs" / f"mcc_{backbone}_ntu60_xsub_joint_pretrain.yaml"
        training = load_recipe(path, PreTrainingRecipe).training
        assert (training.epochs, training.decay_epochs, training.learning_rate) == (epochs, decay, 0.1)
        assert (training.optimizer, training.sgd_momentum, training.weight_decay) == ("sgd", 0.9, 1e-4)
        assert training.batch_size * training.gradient_accumulation_steps == 64
        fields = load_recipe(path, PreTrainingRecipe).model.overrides
        assert fields == {"backbone": backbone}  # everything else is the default, which is that of the paper


def test_a_run_leaves_a_model_a_log_and_checkpoints(recipe, tmp_path, store):
    assert run(recipe) == 0
    folder = tmp_path / "run"
    model = HiTRSForPreTraining.from_pretrained(folder)
    assert model.config.hidden_sizes == [8, 8, 8]
    assert SkeletonFeatureExtractor.from_pretrained(folder).stream == "joint"
    log = records(folder)
    assert [(r["step"], r["part"]) for r in log] == [
        *[(2, "train"), (4, "train"), (6, "train"), (6, "validation")],
        *[(8, "train"), (10, "train"), (12, "train"), (12, "validation")],
    ]
    names = {"loss", "spatial_loss", "clip_order_loss", "video_order_loss", "next_clip_loss"}
    names |= {"spatial_error", "clip_order_accuracy", "video_order_accuracy", "next_clip_accuracy"}
    for record in log:
        assert names <= record.keys() and all(np.isfinite(record[name]) for name in names)
        assert record["loss"] == pytest.approx(sum(record[n] for n in names if n.endswith("_loss")), rel=1e-5)
    assert [path.name for path in list_checkpoints(folder)] == [f"step_{n:08d}" for n in (3, 6, 9, 12)]
    assert load_recipe(folder / "recipe.yaml", PreTrainingRecipe).training.max_steps == 12
    card = (folder / "README.md").read_text()
    assert "pre-trained for 12 steps" in card and "clip order accuracy" in card
    # a checkpoint holds a model of its own
    HiTRSForPreTraining.from_pretrained(folder / "checkpoints" / "step_00000006" / "model")


def test_hico_trains_with_the_same_script(hico_recipe, tmp_path):
    assert run(hico_recipe) == 0
    folder = tmp_path / "run"
    log = [record for record in records(folder) if record["part"] == "train"]
    assert log[-1]["step"] == 4 * round(log[-1]["step"] / log[-1]["epoch"])
    names = {f"{task}_{kind}" for task in ("instance", "domain", "clip", "part") for kind in ("loss", "accuracy")}
    for record in records(folder):
        assert names | {"loss"} <= record.keys() and all(np.isfinite(record[name]) for name in names)
    assert log[0]["learning_rate"] == pytest.approx(5e-4) and log[-1]["learning_rate"] == pytest.approx(1e-4)
    # what is published is the encoder with its projectors; the state of the run is in the checkpoints
    assert {name.split(".")[0] for name in weights(folder)} == {"hico", "projections"}
    state = load_file(list_checkpoints(folder)[-1] / "model.safetensors")
    assert state["key_encoder.num_updates"].item() == log[-1]["step"] and "queues.clip.features" in state
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    assert (extractor.num_frames, extractor.center_crop) == (32, 0.95)
    card = (folder / "README.md").read_text()
    assert "dong2023hico" in card and "chen2022hitrs" not in card and "clip accuracy" in card
    assert "sequences (split" in card


def test_hico_resumes_bitwise_with_queues_and_key_encoder(hico_recipe, tmp_path):
    """From a checkpoint in mid-epoch; also what no published model holds is the same at the end."""
    assert run(hico_recipe) == 0
    folder, again = tmp_path / "run", tmp_path / "again"
    shutil.copytree(folder, again)
    (again / "model.safetensors").unlink()
    steps_per_epoch = json.loads((list_checkpoints(folder)[0] / "state.json").read_text())["position"][
        "steps_per_epoch"
    ]
    kept = list_checkpoints(again)[1]
    assert int(kept.name[5:]) % steps_per_epoch
    for checkpoint in list_checkpoints(again)[2:]:
        shutil.rmtree(checkpoint)
    assert run(hico_recipe, f"output_dir={again}", "--resume") == 0
    assert_same_run(folder, again)
    first, second = (load_file(list_checkpoints(path)[-1] / "model.safetensors") for path in (folder, again))
    assert first.keys() == second.keys() and any(name.startswith("queues.") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_mcc_publishes_its_backbone_and_resumes_bitwise_with_memory_and_key_encoder(mcc_recipe, tmp_path):
    """The folder of a run holds a plain model of the backbone's family; the checkpoints hold everything."""
    assert run(mcc_recipe) == 0
    folder, again = tmp_path / "run", tmp_path / "again"
    for encoder in (STGCNModel.from_pretrained(folder), AutoModel.from_pretrained(folder)):
        assert type(encoder) is STGCNModel and encoder.config.hidden_sizes == [8, 8]
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    assert extractor.num_frames == 24
    take = np.random.default_rng(0).normal(size=(50, 25, 3)).astype(np.float32)
    with torch.no_grad():
        assert encoder.eval()(**extractor(take, return_tensors="pt")).pooler_output.shape == (1, 8)
    AutoModel.from_pretrained(list_checkpoints(folder)[0] / "model")
    card = (folder / "README.md").read_text()
    assert "su2021mcc" in card and "yan2018stgcn" in card and "triplet accuracy" in card
    state = load_file(list_checkpoints(folder)[-1] / "model.safetensors")
    for name, tensor in weights(folder).items():
        assert torch.equal(tensor, state[f"backbone.{name}"]), name
    assert state["key_backbone.num_updates"].item() == 12 and state["memory.sources"].min() >= 0

    shutil.copytree(folder, again)
    (again / "model.safetensors").unlink()
    for checkpoint in list_checkpoints(again)[1:]:
        shutil.rmtree(checkpoint)
    assert run(mcc_recipe, f"output_dir={again}", "training.num_workers=1", "--resume") == 0
    assert_same_run(folder, again)
    other = load_file(list_checkpoints(again)[-1] / "model.safetensors")
    assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)

    # Another run can start from the encoder.
    more = [f"model.from_pretrained={folder}", f"output_dir={tmp_path / 'more'}", "training.max_steps=3"]
    assert run(mcc_recipe, *more) == 0


@pytest.mark.slow  # starts four processes
def test_hico_on_two_processes_resumes_bitwise(hico_recipe, tmp_path):
    folder, again = tmp_path / "run", tmp_path / "again"
    overrides = ("training.batch_size=3", "model.overrides.momentum_update=after_step", "training.epochs=3")
    overrides += ("training.decay_epochs=[2]", "model.overrides.part_loss_weight=0")
    output = start(hico_recipe, *overrides, processes=2).communicate(timeout=300)[0]
    assert (folder / "model.safetensors").exists(), output
    shutil.copytree(folder, again)
    (again / "model.safetensors").unlink()
    for checkpoint in list_checkpoints(again)[1:]:
        shutil.rmtree(checkpoint)
    output = start(hico_recipe, *overrides, f"output_dir={again}", "--resume", processes=2).communicate(timeout=300)[0]
    assert (again / "model.safetensors").exists(), output
    assert_same_run(folder, again)
    first, second = (load_file(list_checkpoints(path)[-1] / "model.safetensors") for path in (folder, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("step", "overrides"), [(3, ()), (9, ()), (3, ("training.tokens_per_batch=100",))])
def test_resume_is_bitwise(recipe, tmp_path, step, overrides):
    """Goes back to a checkpoint within an epoch and between two log entries, and repeats the rest of the run."""
    assert run(recipe, *overrides) == 0
    folder, again = tmp_path / "run", tmp_path / "again"
    shutil.copytree(folder, again)
    (again / "model.safetensors").unlink()
    for checkpoint in list_checkpoints(again):
        if int(checkpoint.name[5:]) > step:
            shutil.rmtree(checkpoint)
    assert run(recipe, *overrides, f"output_dir={again}", "--resume") == 0
    assert_same_run(folder, again)


def test_workers_change_nothing(recipe, tmp_path):
    assert run(recipe) == 0
    assert run(recipe, f"output_dir={tmp_path / 'workers'}", "training.num_workers=2") == 0
    assert_same_run(tmp_path / "run", tmp_path / "workers")


def test_recomputation_changes_nothing(recipe, tmp_path):
    assert run(recipe) == 0
    assert run(recipe, f"output_dir={tmp_path / 'twice'}", "training.recompute_from_frames=1") == 0
    assert_same_run(tmp_path / "run", tmp_path / "twice")


def test_only_the_newest_checkpoints_are_kept(recipe, tmp_path):
    assert run(recipe, "training.keep_checkpoints=2") == 0
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step_00000009", "step_00000012"]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step_00000009",
        "step_00000012",
    ]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_killed_or_interrupted_run_resumes_bitwise(recipe, tmp_path, number, code):
    longer = ("training.max_steps=40", "training.log_every=1", "training.save_every=5")
    folder, whole = tmp_path / "run", tmp_path / "whole"
    process = start(recipe, *longer)
    wait_for_step(process, folder, 8)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    reached = list_checkpoints(folder)[-1]
    assert 5 <= int(reached.name[5:]) < 40
    assert not (folder / "model.safetensors").exists()
    if number != signal.SIGKILL:  # it saved where it stood, not at the last multiple of save_every
        assert int(reached.name[5:]) == read_run_log(folder / "log.jsonl")[-1]["step"]
    assert run(recipe, *longer, "--resume") == 0
    assert run(recipe, *longer, f"output_dir={whole}") == 0
    assert_same_run(folder, whole)


@pytest.mark.parametrize(
    "size", ["training.batch_size=2", pytest.param("training.tokens_per_batch=70", marks=pytest.mark.slow)]
)
def test_two_processes_resume_bitwise(recipe, tmp_path, size):
    """Judged by the files: the exit code of gloo processes says nothing about the run."""
    folder, again = tmp_path / "run", tmp_path / "again"
    output = start(recipe, size, processes=2).communicate(timeout=300)[0]
    assert (folder / "model.safetensors").exists(), output
    assert (
        json.loads((folder / "checkpoints" / "step_00000003" / "state.json").read_text())["position"]["processes"] == 2
    )
    shutil.copytree(folder, again)
    (again / "model.safetensors").unlink()
    for checkpoint in list_checkpoints(again)[1:]:
        shutil.rmtree(checkpoint)
    process = start(recipe, size, f"output_dir={again}", "--resume", processes=2)
    output = process.communicate(timeout=300)[0]
    assert (again / "model.safetensors").exists(), output
    assert_same_run(folder, again)


def test_a_run_is_not_overwritten(recipe):
    assert run(recipe, "training.max_steps=3") == 0
    with pytest.raises(RecipeError, match="holds a run already: continue it with --resume"):
        run(recipe)


def test_another_world_is_refused_on_resume(recipe):
    assert run(recipe, "training.max_steps=3") == 0
    for size in ("training.batch_size=2", "training.tokens_per_batch=100"):
        with pytest.raises(RecipeError, match="belongs to a run with .*'steps_per_epoch'"):
            run(recipe, size, "--resume")


def test_a_loss_that_is_no_number_names_step_and_recordings(recipe):
    with pytest.raises(
        FloatingPointError, match=r"optimiser step \d+ is not finite .*take\d\d.*training\.learning_rate"
    ):
        run(recipe, "training.learning_rate=1e30", "training.warmup_steps=0")


def test_a_task_can_be_switched_off(recipe, tmp_path):
    assert run(recipe, "model.overrides.next_clip_loss_weight=0", "training.max_steps=3") == 0
    assert "next_clip_loss" not in records(tmp_path / "run")[0]


def test_training_continues_from_saved_weights(recipe, tmp_path):
    assert run(recipe, "training.max_steps=3") == 0
    more = tmp_path / "more"
    assert run(recipe, f"model.from_pretrained={tmp_path / 'run'}", f"output_dir={more}", "training.max_steps=3") == 0
    assert records(more)[0]["loss"] != records(tmp_path / "run")[0]["loss"]


def test_extra_stores_are_training_data(recipe, tmp_path):
    extra = tmp_path / "extra"
    rng = np.random.default_rng(5)
    with SkeletonStoreWriter(extra, "ntu25", frame_rate=30.0, corpus="other") as writer:
        for number in range(16):
            keypoints = smooth_motion(rng, 1, 25)
            writer.add(SkeletonSample(keypoints, np.ones((1, 25), dtype=bool), name=f"extra{number}"))
    assert run(recipe, "training.max_steps=3") == 0
    store = yaml.safe_load(recipe.read_text())["data"]["store"]
    assert run(recipe, "training.max_steps=3", f"data.store=[{store}, {extra}]", f"output_dir={tmp_path / 'two'}") == 0
    states = [
        json.loads((list_checkpoints(tmp_path / name)[-1] / "state.json").read_text()) for name in ("run", "two")
    ]
    assert states[1]["position"]["sequences"] == states[0]["position"]["sequences"] + 16


def test_overfitting_lowers_every_loss(store):
    """Eight sequences: each of the four losses falls by more than half."""
    torch.manual_seed(0)
    dataset = SkeletonDataset(store, np.arange(0, 16, 2), SkeletonFeatureExtractor(), single_person=True)
    assert len(dataset) == 8
    sizes = {"hidden_sizes": [32, 32, 32], "intermediate_sizes": [32, 32, 32], "attention_head_size": 8}
    model = HiTRSForPreTraining(HiTRSConfig.from_preset("tiny", **{**TINY, **sizes, "hidden_dropout_prob": 0.0}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    # one batch, drawn once: overfitting means to learn it by heart
    batch = HiTRSPreTrainingCollator()([dataset[SampleKey(i, 0)] for i in range(8)])
    names = ("spatial_loss", "clip_order_loss", "video_order_loss", "next_clip_loss")
    history = []
    for _ in range(200):
        output = model(**batch)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append([getattr(output, name).item() for name in names])
    for name, first, last in zip(names, history[0], history[-1], strict=True):
        assert last < 0.5 * first, f"{name} went from {first} to {last}"
