"""The recipes of the graph networks: each says what exists, and the two stages of AS-GCN follow each other."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from skeleton_transformers import (
    ASGCNForActionRecognition,
    SkeletonAugmentation,
    SkeletonSample,
    SkeletonStoreWriter,
    get_layout,
)
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.pretraining import PreTrainingRecipe
from skeleton_transformers.training.recipes import build_feature_extractor, build_model_config, load_recipe


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RECIPES = sorted(p for p in (EXAMPLES / "configs").glob("[as]*gcn_*.yaml"))
LAYOUTS = {"kinetics": "openpose18", "nw_ucla": "kinect20", "msr_action3d": "msr20"}


def test_there_are_recipes_of_every_network():
    assert {path.stem.split("_")[0] for path in RECIPES} == {"agcn", "asgcn", "stgcn"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read_and_describes_a_model(path):
    recipe = load_recipe(path, PreTrainingRecipe if path.stem.endswith("_pretrain") else FineTuningRecipe)
    assert recipe.output_dir == f"runs/{path.stem}"
    layout = get_layout(LAYOUTS.get(Path(recipe.data.store).name, "ntu25"))
    build_feature_extractor(recipe.features, layout, num_channels=3)
    if recipe.augmentation is not None:
        SkeletonAugmentation.from_dict(recipe.augmentation, layout=layout)
    section = recipe.model
    if section.from_pretrained is not None:  # the first stage is a recipe, too, of the same sizes
        first = EXAMPLES / "configs" / f"{Path(section.from_pretrained).name}.yaml"
        assert load_recipe(first, PreTrainingRecipe).model.preset == section.preset
        section.from_pretrained = None
    config = build_model_config(section, layout, 3, num_labels=7)
    assert config.model_type == path.stem.split("_")[0]
    assert config.make_graph().shape[1:] == (layout.num_joints, layout.num_joints)


def load_script(name):
    spec = importlib.util.spec_from_file_location(f"{name}_of_graph_recipes", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_two_stages_of_asgcn_run_one_after_the_other(tmp_path):
    rng = np.random.default_rng(0)
    splits = ["train"] * 8 + ["test"] * 4
    with SkeletonStoreWriter(
        tmp_path / "store", "kinect20", 30.0, label_names=["still", "moving"], corpus="folder"
    ) as writer:
        for number, split in enumerate(splits):
            walk = 0.02 * (number % 2) * rng.normal(size=(1, 30, 20, 3)).cumsum(axis=1) + rng.normal(size=(20, 3))
            writer.add(
                SkeletonSample(
                    walk.astype(np.float32),
                    np.ones((1, 30), dtype=bool),
                    name=f"take_{number}",
                    label=number % 2,
                    split=split,
                )
            )
    tiny = {"family": "asgcn", "preset": "tiny"}
    base = {"data": {"store": str(tmp_path / "store"), "protocol": "split"}, "features": {"max_persons": 1}}
    first = {
        **base,
        "model": tiny,
        "output_dir": str(tmp_path / "first"),
        "training": {"max_steps": 2, "batch_size": 4, "gradient_accumulation_steps": 1, "warmup_steps": 0},
    }
    second = {
        **base,
        "model": {**tiny, "from_pretrained": str(tmp_path / "first")},
        "output_dir": str(tmp_path / "second"),
        "training": {"epochs": 1, "batch_size": 4, "gradient_accumulation_steps": 1},
    }
    first["data"] = {**base["data"], "train_part": "train", "eval_part": "train", "validation_share": 0.5}
    for script, recipe in (("pretrain", first), ("finetune", second)):
        path = tmp_path / f"{script}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        load_script(script).main([str(path)])
    assert 0 <= json.loads((tmp_path / "second" / "results.json").read_text())["top1_accuracy"] <= 100
    model = ASGCNForActionRecognition.from_pretrained(tmp_path / "second")
    assert model.config.id2label == {0: "still", 1: "moving"}
