"""The fine-tuning script on recordings that a small network can tell apart."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from skeleton_transformers import (
    AutoModelForActionRecognition,
    HiTRSConfig,
    HiTRSForPreTraining,
    HiTRSModel,
    SkeletonFeatureExtractor,
    SkeletonLayout,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
)
from skeleton_transformers.evaluation.fusion import load_predictions
from skeleton_transformers.evaluation.protocols import labelled_part
from skeleton_transformers.evaluation.subsets import label_subset, load_label_subset
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.recipes import RecipeError, load_recipe


SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "finetune.py"
CONFIGS = SCRIPT.parent / "configs"
LAYOUT = SkeletonLayout(
    "toy6", ("pelvis", "neck", "left_wrist", "right_wrist", "left_ankle", "right_ankle"), (0, 0, 1, 1, 0, 0)
)
CLASSES = ["step to the side", "go up", "walk away"]
SMALL = {
    "hidden_sizes": [16, 32, 32],
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "intermediate_sizes": [16, 16, 32],
    "hidden_dropout_prob": 0.1,
}


@pytest.fixture(scope="module")
def finetune():
    spec = importlib.util.spec_from_file_location("finetune_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def toy_sample(number: int, rng: np.random.Generator, split: str, label: int | None = None) -> SkeletonSample:
    label = number % len(CLASSES) if label is None else label
    frames = int(rng.integers(18, 30))
    pose = np.array([[0, 0, 0], [0, 0.6, 0], [0.3, 0, 0], [-0.3, 0, 0], [0.1, -0.8, 0], [-0.1, -0.8, 0]])
    keypoints = np.tile(pose, (frames, 1, 1)) + rng.normal(0, 0.01, (frames, 6, 3))
    keypoints[:, :, label] += np.linspace(0, 1.5, frames)[:, None]
    return SkeletonSample(
        keypoints=keypoints[None].astype(np.float32),
        frame_mask=np.ones((1, frames), dtype=bool),
        label=label,
        name=f"{split}_{number:03d}",
        subject=number % 5,
        split=split,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "store"
    rng = np.random.default_rng(0)
    with SkeletonStoreWriter(path, LAYOUT, 30.0, label_names=CLASSES, corpus="folder") as writer:
        for number in range(48):
            writer.add(toy_sample(number, rng, "train"))
        for number in range(9):
            writer.add(toy_sample(number, rng, "validation"))
        for number in range(12):
            writer.add(toy_sample(number, rng, "test"))
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder as pre-training leaves it (with random weights)."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    HiTRSForPreTraining(HiTRSConfig(layout=LAYOUT.to_dict(), **SMALL)).save_pretrained(folder)
    SkeletonFeatureExtractor(layout=LAYOUT.to_dict(), center="first_frame", max_persons=1).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(store, tmp_path):
    """Writes a recipe and returns its path; sections given as keyword arguments are merged in."""

    def write(**sections):
        values = {
            "model": {"family": "hitrs", "preset": "tiny", "overrides": SMALL},
            "data": {"store": str(store), "protocol": "split"},
            "features": {"center": "first_frame", "max_persons": 1},
            "training": {
                "mode": "scratch",
                "epochs": 25,
                "learning_rate": 3e-3,
                "batch_size": 16,
                "gradient_accumulation_steps": 1,
            },
            "output_dir": str(tmp_path / "out"),
        }
        for name, section in sections.items():
            values[name] = {**values[name], **section} if isinstance(section, dict) and name in values else section
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def weights(folder):
    return AutoModelForActionRecognition.from_pretrained(folder).state_dict()


def test_learns_the_toy_and_saves_everything(finetune, recipe, tmp_path):
    results = finetune.main([recipe()])
    assert results["top1_accuracy"] == 1.0
    output = tmp_path / "out"
    assert json.loads((output / "results.json").read_text()) == results
    assert results["num_train_samples"] == 57 and results["num_samples"] == 12
    assert len(results["data_checksum"]) == 64
    assert results["versions"]["torch"] == torch.__version__.split("+")[0] or "torch" in results["versions"]

    # A stranger with the folder alone gets the same scores, by name.
    model = AutoModelForActionRecognition.from_pretrained(output)
    assert model.config.id2label == dict(enumerate(CLASSES))
    extractor = SkeletonFeatureExtractor.from_pretrained(output)
    predictions = load_predictions(output / "predictions.npz")
    assert predictions["label_names"].tolist() == CLASSES
    saved = SkeletonStore.open(yaml.safe_load((output / "recipe.yaml").read_text())["data"]["store"])
    for name, logits in zip(predictions["names"][:4], predictions["logits"]):
        sample = saved[saved.names.tolist().index(name)]
        with torch.no_grad():
            again = model(**extractor([sample.keypoints], return_tensors="pt")).logits[0]
        torch.testing.assert_close(again, torch.from_numpy(logits), atol=1e-5, rtol=1e-5)
    card = (output / "README.md").read_text()
    assert "100.00 %" in card and "toy6" in card


def test_linear_mode_leaves_the_encoder_bitwise_unchanged(finetune, recipe, encoder, tmp_path):
    path = recipe(
        model={"overrides": {}, "from_pretrained": str(encoder)},
        training={"mode": "linear", "epochs": 2, "learning_rate": 0.01, "weight_decay": 0.0},
    )
    finetune.main([path])
    before = HiTRSModel.from_pretrained(encoder).state_dict()
    after = AutoModelForActionRecognition.from_pretrained(tmp_path / "out").base_model.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def test_linear_mode_trains_on_features_without_dropout(finetune, recipe, encoder, tmp_path):
    """With the encoder in evaluation mode a dropout of 0.9 changes nothing."""
    scores = []
    for dropout in (0.0, 0.9):
        path = recipe(
            model={"overrides": {"hidden_dropout_prob": dropout}, "from_pretrained": str(encoder)},
            training={"mode": "linear", "epochs": 2, "learning_rate": 0.01},
        )
        finetune.main([path])
        scores.append(weights(tmp_path / "out")["classifier.weight"])
    assert torch.equal(*scores)


def test_finetuning_starts_from_the_encoder_and_changes_it(finetune, recipe, encoder, tmp_path):
    model = {"overrides": {}, "from_pretrained": str(encoder)}
    finetune.main([recipe(model=model, training={"mode": "finetune", "epochs": 1, "learning_rate": 0.0})])
    before, after = HiTRSModel.from_pretrained(encoder).state_dict(), weights(tmp_path / "out")
    assert all(torch.equal(value, after[f"hitrs.{name}"]) for name, value in before.items())
    finetune.main([recipe(model=model, training={"mode": "finetune", "epochs": 1})])
    after = weights(tmp_path / "out")
    assert not all(torch.equal(value, after[f"hitrs.{name}"]) for name, value in before.items())


def test_same_seed_same_weights_other_seed_other_weights(finetune, recipe, tmp_path):
    found = []
    for seed in (3, 3, 4):
        path = recipe(seed=seed, augmentation={"probability": 0.5}, training={"epochs": 2})
        torch.manual_seed(len(found))  # what happened before in the process does not matter
        finetune.main([path])
        found.append(weights(tmp_path / "out"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_an_interrupted_run_resumes_to_the_same_weights(finetune, recipe, tmp_path):
    path = recipe(
        augmentation={"probability": 0.5}, training={"epochs": 4, "checkpoint_every": 2, "schedule_epochs": 4}
    )
    finetune.main([path, f"output_dir={tmp_path / 'whole'}"])
    # The run that stops after two of four epochs: same schedule, and a checkpoint at its end.
    finetune.main([path, f"output_dir={tmp_path / 'parts'}", "training.epochs=2", "training.schedule_epochs=2"])
    assert not torch.equal(
        weights(tmp_path / "whole")["classifier.weight"], weights(tmp_path / "parts")["classifier.weight"]
    )
    finetune.main([path, f"output_dir={tmp_path / 'parts'}", "--resume"])
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_label_fraction_uses_and_records_the_subset(finetune, recipe, store, tmp_path):
    path = recipe(data={"label_fraction": 0.25, "train_part": "train-validation"}, seed=7, training={"epochs": 1})
    results = finetune.main([path])
    assert results["num_train_samples"] == 12  # floor(16 / 4) of each of three classes
    names = load_label_subset(tmp_path / "out" / "label_subset.json")
    opened = SkeletonStore.open(store)
    train = np.flatnonzero(opened.splits == "train")
    expected = train[label_subset(opened.labels[train], 0.25, 7)]
    assert names == opened.names[expected].tolist()


def test_few_labels_still_get_their_steps(finetune, recipe):
    results = finetune.main([recipe(data={"label_fraction": 0.1}, training={"epochs": 1, "min_steps": 7})])
    assert results["optimiser_steps"] == 7


def test_schedule_passes_through_its_factors(finetune, recipe, capsys):
    """Four epochs of four steps spread over the published 70 epochs."""
    finetune.main([recipe(training={"epochs": 4, "schedule_epochs": 70, "schedule": "finetune"})])
    rates = [float(rate) for rate in re.findall(r"'learning_rate': '([^']+)'", capsys.readouterr().out)]
    # the last steps of the four epochs, 3, 7, 11 and 15 of 16, lie in epochs 14, 31, 49 and 66 of 70
    assert rates == pytest.approx([3e-3, 3e-3 / 4, 3e-3 / 8, 3e-3 / 32], rel=1e-3)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"epoch": 3}}, r"unknown key 'training.epoch'. Did you mean 'epochs'"),
        ({"training": {"epochs": 0}}, r"epochs must be at least 1, got 0"),
        ({"training": {"mode": "finetune"}}, r"training.mode=finetune needs a trained encoder"),
        ({"training": {"eval_every": 1}}, r"would look at the 'test' part during training"),
        ({"data": {"eval_part": "validation"}}, r"eval_part 'validation' overlaps with train_part 'train'"),
        ({"data": {"label_fraction": 1.5}}, r"label_fraction must lie in \(0, 1\], got 1.5"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(finetune, recipe, sections, message):
    with pytest.raises(ValueError, match=message):
        finetune.main([recipe(**sections)])


def test_scratch_with_pretrained_weights_is_a_contradiction(finetune, recipe, encoder):
    with pytest.raises(RecipeError, match="starts from random weights, but model.from_pretrained is"):
        finetune.main([recipe(model={"from_pretrained": str(encoder), "overrides": {}})])


def test_a_missing_section_is_named(finetune, tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: {family: hitrs}\noutput_dir: x\n")
    with pytest.raises(RecipeError, match="recipe.yaml: missing key 'data'"):
        finetune.main([str(tmp_path / "recipe.yaml")])


def test_a_checkpoint_of_another_family_is_refused(finetune, recipe, encoder, tmp_path):
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((encoder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "vit", "architectures": None}))
    path = recipe(model={"from_pretrained": str(tmp_path), "overrides": {}}, training={"mode": "finetune"})
    with pytest.raises(RecipeError, match="holds a model of the family 'vit', the recipe asks for 'hitrs'"):
        finetune.main([path])


def test_sizes_that_differ_from_the_checkpoint_are_refused(finetune, recipe, encoder):
    path = recipe(
        model={"from_pretrained": str(encoder), "overrides": {"hidden_sizes": [16, 32, 64]}},
        training={"mode": "finetune"},
    )
    with pytest.raises(RecipeError, match="does not fit the recipe: .* another shape, the first is 'hitrs"):
        finetune.main([path])


def test_a_label_outside_the_map_is_named(finetune, recipe, store, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    opened = SkeletonStore.open(copy)
    opened.label_names = opened.label_names[:2]
    with pytest.raises(ValueError, match=r"sample 2 \(train_002\) has label 2, but the label map holds 2 classes"):
        labelled_part(opened, "split", "train")


def test_every_recipe_in_the_repository_can_be_read(finetune):
    files = [file for kind in ("recognition", "linear", "scratch") for file in CONFIGS.glob(f"hitrs_*{kind}.yaml")]
    assert len(files) >= 30
    for file in files:
        recipe = load_recipe(file, FineTuningRecipe)
        assert recipe.training.mode == {"recognition": "finetune"}.get(
            file.stem.rpartition("_")[2], file.stem.rpartition("_")[2]
        )
        assert (recipe.model.from_pretrained is None) == (recipe.training.mode == "scratch")
