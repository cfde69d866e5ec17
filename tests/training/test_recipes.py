"""Reading recipes: what is accepted, and what every mistake is answered with."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from skeleton_transformers.training.recipes import DataSection, Recipe, RecipeError, load_recipe, save_recipe


@dataclass
class Training:
    max_steps: int = 10
    learning_rate: float = 1e-3
    precision: Literal["no", "bf16"] | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    pin: bool = False

    def __post_init__(self):
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be positive, got {self.max_steps}")


@dataclass
class TrainingRecipe(Recipe):
    training: Training = field(default_factory=Training)


BASE = {"model": {"preset": "tiny"}, "data": {"store": "stores/demo"}, "output_dir": "runs/x"}


def write(tmp_path: Path, text: str | None = None, **changes) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if text is not None else yaml.safe_dump({**BASE, **changes}))
    return path


def test_defaults_and_types(tmp_path):
    recipe = load_recipe(write(tmp_path, training={"learning_rate": 1}), TrainingRecipe)
    assert recipe.model.family == "hitrs" and recipe.model.preset == "tiny"
    assert recipe.training.learning_rate == 1.0 and isinstance(recipe.training.learning_rate, float)
    assert recipe.training.betas == (0.9, 0.999)
    assert recipe.augmentation is None and recipe.seed == 0


def test_number_without_dot_is_a_number(tmp_path):
    text = yaml.safe_dump(BASE) + "training:\n  learning_rate: 4e-4\n"
    assert load_recipe(write(tmp_path, text), TrainingRecipe).training.learning_rate == 4e-4


def test_overrides(tmp_path):
    overrides = [
        "training.max_steps=3",
        "training.learning_rate=4e-4",
        "training.precision=bf16",
        "training.betas=[0.5, 0.9]",
        "features.stream=bone",
        "model.overrides.hidden_sizes=[8, 16, 32]",
        "data.store=[a, b]",
        "output_dir=elsewhere",
    ]
    recipe = load_recipe(write(tmp_path), TrainingRecipe, overrides)
    assert recipe.training == Training(3, 4e-4, "bf16", (0.5, 0.9))
    assert recipe.features == {"stream": "bone"}
    assert recipe.model.overrides == {"hidden_sizes": [8, 16, 32]}
    assert recipe.data.stores == ["a", "b"]
    assert recipe.output_dir == "elsewhere"


def test_one_store_is_a_list_of_one():
    assert DataSection(store="a").stores == ["a"]


def test_round_trip(tmp_path):
    recipe = load_recipe(write(tmp_path, augmentation={"probability": 0.5}), TrainingRecipe, ["training.pin=true"])
    save_recipe(recipe, tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml", TrainingRecipe) == recipe


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        (
            {"training": {"max_step": 3}},
            [],
            r"recipe\.yaml: unknown key 'training\.max_step'\. Did you mean 'max_steps'\?",
        ),
        ({"training": {"max_step": 3}}, [], r"Known keys: betas, learning_rate, max_steps, pin, precision"),
        ({"modle": {}}, [], r"unknown key 'modle'\. Did you mean 'model'\?"),
        ({}, ["training.pi=1"], r"with training\.pi=1: unknown key 'training\.pi'"),
        ({"training": {"max_steps": 1.5}}, [], r"'training\.max_steps' must be int, got 1\.5"),
        ({"training": {"max_steps": True}}, [], r"'training\.max_steps' must be int, got True"),
        ({"training": {"pin": 1}}, [], r"'training\.pin' must be bool, got 1"),
        ({"training": {"learning_rate": "fast"}}, [], r"'training\.learning_rate' must be float, got 'fast'"),
        ({"training": {"precision": "fp8"}}, [], r"must be one of 'no', 'bf16' or null, got 'fp8'"),
        ({"training": {"betas": [1]}}, [], r"'training\.betas'"),
        ({"training": {"max_steps": 0}}, [], r"recipe\.yaml: training: max_steps must be positive, got 0"),
        ({"training": 3}, [], r"'training' must be a section with keys, got 3"),
        ({"data": {"protocol": "xsub"}}, [], r"missing key 'data\.store' \(str or list\[str\]\)"),
        ({"data": {"store": [1]}}, [], r"'data\.store' must be str or list\[str\], got \[1\]"),
        ({}, ["training.max_steps"], r"'training\.max_steps' is not of the form section\.field=value"),
        ({}, ["output_dir.x=1"], r"'output_dir' is a value, not a section"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, **changes), TrainingRecipe, overrides)


def test_broken_yaml_names_the_file(tmp_path):
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path / "recipe.yaml"))):
        load_recipe(write(tmp_path, "a: [1"), TrainingRecipe)


def test_not_a_mapping(tmp_path):
    with pytest.raises(RecipeError, match="expected a mapping"):
        load_recipe(write(tmp_path, "- 1"), TrainingRecipe)
