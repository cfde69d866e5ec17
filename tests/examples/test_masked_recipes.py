"""Recipes of MAMP and the student-teacher model: published settings, and small runs from a list of recordings to a recogniser."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

from skeleton_transformers import (
    MAMPConfig,
    SkeletonSample,
    SkeletonStoreWriter,
    StudentTeacherForActionRecognition,
    get_layout,
)
from skeleton_transformers.training.checkpoints import list_checkpoints, read_run_log
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.pretraining import PreTrainingRecipe
from skeleton_transformers.training.recipes import RecipeError, build_model_config, load_recipe


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIGS = EXAMPLES / "configs"
RECIPES = sorted([*CONFIGS.glob("mamp_*.yaml"), *CONFIGS.glob("student_teacher_*.yaml")])
LAYOUTS = {"nw_ucla": "kinect20", "msr_action3d": "msr20"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read_and_describes_a_model(path):
    recipe = load_recipe(path, PreTrainingRecipe if path.stem.endswith("_pretrain") else FineTuningRecipe)
    assert recipe.output_dir == f"runs/{path.stem}"
    section = recipe.model
    if section.from_pretrained is not None:  # a recipe, too, for a model of the same sizes
        first = load_recipe(CONFIGS / f"{Path(section.from_pretrained).name}.yaml", PreTrainingRecipe)
        assert path.stem.startswith("mamp_ntu60") or first.model.preset in (section.preset, "base")
        section.preset, section.from_pretrained = first.model.preset, None
    config = build_model_config(section, get_layout(LAYOUTS.get(Path(recipe.data.store).name, "ntu25")), 3)
    assert path.stem.startswith(config.model_type)
    frames = {**recipe.features, **getattr(recipe, "published_features", {})}["num_frames"]
    assert frames == config.num_frames == recipe.augmentation["crop_resize_frames"]


def test_the_published_settings_of_mamp():
    pretrain = load_recipe(CONFIGS / "mamp_ntu120_xsub_joint_pretrain.yaml", PreTrainingRecipe)
    training = pretrain.training
    assert training.batch_size * training.gradient_accumulation_steps == 128
    assert (training.epochs, training.warmup_epochs, training.schedule) == (400, 20, "cosine")
    assert (training.learning_rate, training.final_learning_rate) == (1e-3, 5e-4)
    assert (training.weight_decay, training.adam_beta2, training.max_grad_norm) == (0.05, 0.95, float("inf"))
    config = MAMPConfig.from_preset(pretrain.model.preset)
    assert (config.num_decoder_layers, config.motion_temperature, config.masked_share) == (5, 0.75, 0.9)
    tune = load_recipe(CONFIGS / "mamp_ntu60_xsub_joint_recognition.yaml", FineTuningRecipe)
    training = tune.training
    assert (training.learning_rate, training.final_learning_rate, training.layer_decay) == (3e-4, 1e-5, 0.8)
    assert (training.epochs, training.warmup_epochs, training.label_smoothing) == (100, 5, 0.1)
    assert (training.batch_size, training.weight_decay) == (48, 0.05) and tune.model.overrides["drop_path_rate"] == 0.3
    linear = load_recipe(CONFIGS / "mamp_ntu60_xsub_joint_linear.yaml", FineTuningRecipe)
    training = linear.training
    assert (training.optimizer, training.learning_rate, training.batch_size) == ("sgd", 0.1, 256)
    assert (training.schedule, training.epochs, training.weight_decay) == ("cosine", 100, 0.0)
    assert linear.model.overrides == {"classifier": "linear"}


def test_sections_name_settings_that_contradict(tmp_path):
    path = tmp_path / "recipe.yaml"
    base = {"model": {}, "data": {"store": "s"}, "output_dir": "o"}
    for kind, training, message in (
        (PreTrainingRecipe, {"warmup_epochs": 3}, "warmup_epochs=3 goes with epochs"),
        (PreTrainingRecipe, {"adam_beta2": 1.0}, "adam_beta2 must lie in"),
        (FineTuningRecipe, {"layer_decay": 0}, "layer_decay must be more than 0 and at most 1, got 0"),
        (FineTuningRecipe, {"final_learning_rate": 1e-5}, "final_learning_rate=1e-05 is where schedule: cosine ends"),
    ):
        path.write_text(yaml.safe_dump({**base, "training": training}))
        with pytest.raises(RecipeError, match=message):
            load_recipe(path, kind)


def load_script(name):
    spec = importlib.util.spec_from_file_location(f"{name}_of_masked_recipes", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two actions of six persons, some of whom are not alone; the last two persons are the test part."""
    path = tmp_path_factory.mktemp("stores") / "store"
    rng = np.random.default_rng(0)
    with SkeletonStoreWriter(path, "ntu25", 30.0, label_names=["still", "moving"], corpus="folder") as writer:
        for number in range(36):
            subject, label = number // 6, number % 2
            shape = (1 + number % 3 // 2, 30, 25, 3)
            walk = 0.02 * label * rng.normal(size=shape).cumsum(axis=1) + rng.normal(size=(25, 3))
            sample = SkeletonSample(
                walk.astype(np.float32),
                np.ones(shape[:2], dtype=bool),
                name=f"take_{number:02d}",
                label=label,
                subject=subject,
                split="train" if subject < 4 else "test",
            )
            writer.add(sample)
    return path


def run(script, path, *words):
    try:
        return load_script(script).main([str(path), *words])
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


SMALL = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "num_layers": 2,
    "classifier_hidden_size": 8,
}


def test_a_student_is_trained_resumed_bitwise_and_fine_tuned_on_a_list_of_recordings(store, tmp_path):
    names = tmp_path / "lists" / "half.json"
    load_script("draw_subset").main([str(store), str(names), "--fraction", "0.5", "--seed", "1"])
    assert len(json.loads(names.read_text())["samples"]) == 18
    data = {"store": str(store), "protocol": "split", "recordings": str(names), "eval_part": "train"}
    augmentation = {"probability": 1.0, "spatial": ["rotate_3d"], "temporal": ["crop_resize"]}
    augmentation |= {"crop_resize_min_frames": 8, "crop_resize_frames": 16}
    overrides = {**SMALL, "num_frames": 16, "momentum": 0.5}
    recipe = {
        "model": {"family": "student_teacher", "preset": "tiny", "overrides": overrides},
        "data": {**data, "train_part": "train"},
        "published_features": {"num_frames": 16},
        "augmentation": augmentation,
        "training": {"epochs": 4, "warmup_epochs": 1, "schedule": "cosine", "batch_size": 4, "adam_beta2": 0.95}
        | {"gradient_accumulation_steps": 1, "save_every": 3, "log_every": 1, "keep_checkpoints": 9},
        "output_dir": str(tmp_path / "first"),
    }
    path = tmp_path / "pretrain.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert run("pretrain", path) == 0
    first, again = tmp_path / "first", tmp_path / "again"
    log = [record for record in read_run_log(first / "log.jsonl") if record["part"] == "train"]
    fields = {"loss", "feature_loss", "reconstruction_loss", "feature_deviation", "teacher_agreement"}
    assert all(fields <= record.keys() and np.isfinite(record["feature_deviation"]) for record in log)
    steps = log[-1]["step"]
    assert steps == 4 * (12 // 4) and log[0]["learning_rate"] == 0.0  # 12 recordings of the list are for training
    published = load_file(first / "model.safetensors")
    assert {name.split(".")[0] for name in published} == {"student_teacher", "predictor", "decoder"}

    shutil.copytree(first, again)
    (again / "model.safetensors").unlink()
    for checkpoint in list_checkpoints(again)[1:]:
        shutil.rmtree(checkpoint)
    assert run("pretrain", path, f"output_dir={again}", "training.num_workers=1", "--resume") == 0
    one, two = (load_file(list_checkpoints(folder)[-1] / "model.safetensors") for folder in (first, again))
    assert one.keys() == two.keys() and one["teacher.num_updates"].item() == steps
    assert all(torch.equal(one[name], two[name]) for name in one)

    recipe = {
        "model": {"family": "student_teacher", "from_pretrained": str(first), "overrides": {"drop_path_rate": 0.1}},
        "data": {**data, "eval_part": "test"},
        "features": {"num_frames": 16},
        "training": {"epochs": 2, "batch_size": 4, "gradient_accumulation_steps": 1, "layer_decay": 0.5}
        | {"schedule": "cosine", "final_learning_rate": 1e-5},
        "output_dir": str(tmp_path / "tuned"),
    }
    path.write_text(yaml.safe_dump(recipe))
    results = run("finetune", path)
    assert results["num_train_samples"] == 12
    model = StudentTeacherForActionRecognition.from_pretrained(tmp_path / "tuned")
    assert model.config.num_layers == 2 and model.classifier.norm.num_batches_tracked > 0

    # A linear probe leaves the encoder alone; its batch norm learns what features are like.
    recipe["model"]["overrides"] = {"classifier": "linear"}
    recipe["training"] = {"mode": "linear", "epochs": 2, "batch_size": 4, "gradient_accumulation_steps": 1}
    recipe["output_dir"] = str(tmp_path / "linear")
    path.write_text(yaml.safe_dump(recipe))
    run("finetune", path)
    probe = StudentTeacherForActionRecognition.from_pretrained(tmp_path / "linear")
    for name, tensor in probe.student_teacher.state_dict().items():
        assert torch.equal(tensor, published[f"student_teacher.{name}"]), name
    assert probe.classifier.norm.num_batches_tracked == 6 and probe.classifier.norm.running_mean.any()
