"""The fine-tuning script on recordings that a small network can tell apart."""

import dataclasses
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
    AutoModelForActionDetection,
    AutoModelForActionRecognition,
    AutoModelForMotionPrediction,
    HiCoConfig,
    HiCoForPreTraining,
    HiCoModel,
    HiTRSConfig,
    HiTRSForPreTraining,
    HiTRSModel,
    SkeletonAugmentation,
    SkeletonFeatureExtractor,
    SkeletonLayout,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
    get_layout,
)
from skeleton_transformers.evaluation.detection import frames_to_segments, predict_frames
from skeleton_transformers.evaluation.fusion import load_predictions
from skeleton_transformers.evaluation.protocols import labelled_part
from skeleton_transformers.evaluation.subsets import label_subset, load_label_subset
from skeleton_transformers.training.finetuning import FineTuningRecipe
from skeleton_transformers.training.recipes import (
    RecipeError,
    build_feature_extractor,
    build_model_config,
    load_recipe,
)


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


def test_learns_in_bf16_with_or_without_an_accelerator(finetune, recipe, tmp_path):
    results = finetune.main([recipe(training={"precision": "bf16"})])
    assert results["top1_accuracy"] > 0.9
    assert {value.dtype for value in weights(tmp_path / "out").values()} == {torch.float32}


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


def test_recomputation_changes_nothing(finetune, recipe, tmp_path):
    found = []
    for frames in (None, 1):
        finetune.main([recipe(training={"epochs": 2, "recompute_from_frames": frames})])
        found.append(weights(tmp_path / "out"))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)


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


def test_batches_can_hold_a_number_of_frames(finetune, recipe):
    """57 sequences of 18 to 29 frames, 24 in the mean, in batches of at most 100 frames."""
    results = finetune.main(
        [recipe(training={"epochs": 1, "tokens_per_batch": 100, "gradient_accumulation_steps": 2})]
    )
    assert 57 / 5 < 2 * results["optimiser_steps"] < 57 / 3
    with pytest.raises(ValueError, match=r"tokens_per_batch=25 is less than the 29 frames of (train|validation)_\d+"):
        finetune.main([recipe(training={"epochs": 1, "tokens_per_batch": 25})])


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
    files = [file for kind in ("recognition", "linear", "scratch") for file in CONFIGS.glob(f"*_{kind}.yaml")]
    assert len(files) >= 30
    for file in files:
        recipe = load_recipe(file, FineTuningRecipe)
        assert recipe.training.mode == {"recognition": "finetune"}.get(
            file.stem.rpartition("_")[2], file.stem.rpartition("_")[2]
        )
        assert (recipe.model.from_pretrained is None) == (recipe.training.mode == "scratch")


def test_hico_takes_sgd_steps_with_a_rate_of_its_own_for_the_encoder(finetune, recipe, tmp_path):
    """The linear evaluation and the fine-tuning of HiCo, from a folder as its pre-training leaves it."""
    sizes = {
        "branch_size": 16,
        "intermediate_size": 16,
        "projection_hidden_size": 8,
        "num_persons": 1,
        "num_frames": 24,
    }
    torch.manual_seed(0)
    config = HiCoConfig.from_preset("tiny", layout=LAYOUT.to_dict(), num_granularities=2, **sizes)
    encoder = tmp_path / "encoder"
    HiCoForPreTraining(config).save_pretrained(encoder)
    SkeletonFeatureExtractor(layout=LAYOUT.to_dict(), center_crop=0.95, num_frames=24, max_persons=1).save_pretrained(
        encoder
    )
    model = {"family": "hico", "from_pretrained": str(encoder), "overrides": {}}
    sgd = {"optimizer": "sgd", "schedule": "steps", "decay_epochs": [4], "epochs": 6, "max_grad_norm": 0.0}
    before = HiCoModel.from_pretrained(encoder).state_dict()

    linear = {**sgd, "mode": "linear", "learning_rate": 0.5, "weight_decay": 0.0}
    results = finetune.main([recipe(model=model, training=linear)])
    assert results["top1_accuracy"] > 0.5
    after = HiCoModel.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert "dong2023hico" in (tmp_path / "out" / "README.md").read_text()

    frozen = {**sgd, "mode": "finetune", "learning_rate": 0.1, "encoder_learning_rate": 0.0, "weight_decay": 0.0}
    finetune.main([recipe(model=model, training=frozen, output_dir=str(tmp_path / "frozen"))])
    after = HiCoModel.from_pretrained(tmp_path / "frozen").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    moving = {**frozen, "encoder_learning_rate": 0.01}
    finetune.main([recipe(model=model, training=moving, output_dir=str(tmp_path / "moving"))])
    after = HiCoModel.from_pretrained(tmp_path / "moving").state_dict()
    assert not all(torch.equal(after[name], tensor) for name, tensor in before.items())


# -- detection and prediction ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """Takes in which the right hand goes up, then the left one, with pauses."""
    path = tmp_path_factory.mktemp("toy") / "takes"
    rng = np.random.default_rng(1)
    pose = np.array([[0, 0, 0], [0, 0.6, 0], [0.3, 0, 0], [-0.3, 0, 0], [0.1, -0.8, 0], [-0.1, -0.8, 0]])
    with SkeletonStoreWriter(path, LAYOUT, 30.0, label_names=["left up", "right up"], corpus="folder") as writer:
        for number in range(10):
            labels = np.concatenate([np.full(rng.integers(12, 20), label) for label in (0, 1, 0, 2, 0, 1, 0)])
            keypoints = pose + rng.normal(0, 0.01, (len(labels), 6, 3))
            for label, joint in ((1, 2), (2, 3)):
                keypoints[labels == label, joint, 1] += 1.0
            writer.add(
                SkeletonSample(
                    keypoints[None].astype(np.float32),
                    np.ones((1, len(labels)), dtype=bool),
                    name=f"take_{number}",
                    split="train" if number < 7 else "test",
                    frame_labels=labels.astype(np.int16),
                )
            )
    return path


def test_detection_finds_the_actions_and_saves_everything(finetune, recipe, takes, tmp_path):
    path = recipe(
        task="detection",
        data={"store": str(takes)},
        augmentation={"probability": 0.5, "temporal": []},
        detection={"window": 64, "rule": "argmax_runs", "radius": 2},
        training={"epochs": 12, "learning_rate": 5e-3, "batch_size": 4, "eval_batch_size": 1},
    )
    results = finetune.main([path])
    assert results["mAP_a"] > 0.9 and results["segment_F1@0.5"] > 0.9 and results["frame_accuracy"] > 0.9
    assert results["num_actions"] == 9 and results["num_train_samples"] == 7 * 2
    assert results["segments"] == {"rule": "argmax_runs", "radius": 2, "min_frames": 1}
    output = tmp_path / "out"
    assert json.loads((output / "results.json").read_text()) == results

    model = AutoModelForActionDetection.from_pretrained(output)
    assert model.config.id2label == {0: "background", 1: "left up", 2: "right up"}
    saved = json.loads((output / "detections.json").read_text())
    assert saved["label_names"] == ["background", "left up", "right up"]
    extractor, opened = SkeletonFeatureExtractor.from_pretrained(output), SkeletonStore.open(takes)
    inputs = extractor(opened[8].keypoints)
    probabilities = predict_frames(model, inputs["keypoints"][0], inputs["frame_mask"][0])
    again = frames_to_segments(probabilities, "take_8", "argmax_runs", radius=2)
    assert [list(one[:3]) for one in again] == [one[:3] for one in saved["takes"]["take_8"]["detections"]]
    assert [one[0] for one in saved["takes"]["take_8"]["truth"]] == [1, 2, 1]
    card = (output / "README.md").read_text()
    assert "AutoModelForActionDetection" in card
    exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0], {})


def test_prediction_is_compared_with_a_pose_that_stays(finetune, recipe, store, tmp_path, capsys):
    path = recipe(
        task="prediction",
        model={"overrides": {**SMALL, "decoder_hidden_size": 32}},
        prediction={"observed_frames": 10, "predicted_frames": 4, "train_window_every": 4, "eval_window_every": 2},
        training={"epochs": 2, "batch_size": 16, "eval_every": 1},
        data={"train_part": "train-validation", "eval_part": "validation", "label_fraction": 0.5},
    )
    results = finetune.main([path])
    errors = results["mpjpe_mm"]
    assert set(errors) == {"model", "zero_velocity", "constant_velocity"} and errors["zero_velocity"]["80"] > 0
    assert results["num_samples"] > 9  # several windows of each
    output = tmp_path / "out"
    model = AutoModelForMotionPrediction.from_pretrained(output)
    assert model.config.prediction_frames == 4
    card = (output / "README.md").read_text()
    assert "AutoModelForMotionPrediction" in card and "MPJPE in mm" in card
    exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0], {})
    assert "torch.Size([1, 1, 4, 6, 3])" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["detection", "prediction"])
def test_other_tasks_start_from_a_pretrained_encoder(finetune, recipe, encoder, takes, tmp_path, task):
    path = recipe(
        task=task,
        model={"overrides": {}, "from_pretrained": str(encoder)},
        data={"store": str(takes)},
        training={"mode": "linear", "epochs": 1, "batch_size": 4},
        **({"prediction": {"observed_frames": 20, "predicted_frames": 4}} if task == "prediction" else {}),
    )
    finetune.main([path])
    before = HiTRSModel.from_pretrained(encoder).state_dict()
    after = HiTRSModel.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"detection": {"window": 32}},
            "section 'detection' is for task: detection, but the recipe has task: recognition",
        ),
        ({"task": "detection"}, "has no recordings with frame labels .*prepare the corpus with --takes"),
        ({"task": "segmentation"}, "'task' must be one of 'recognition', 'detection', 'prediction'"),
        (
            {"task": "prediction", "training": {"label_smoothing": 0.1}},
            "training.label_smoothing is for classes; motion prediction has none",
        ),
        ({"task": "prediction", "features": {"stream": "bone"}}, "the feature extractor has stream='bone'"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(finetune, recipe, sections, message):
    with pytest.raises(ValueError, match=message):
        finetune.main([recipe(**sections)])


def test_every_recipe_of_the_other_tasks_fits_its_family():
    files = [file for task in ("detection", "prediction") for file in CONFIGS.glob(f"*_{task}.yaml")]
    assert len(files) >= 6
    for file in files:
        recipe = load_recipe(file, FineTuningRecipe)
        assert recipe.task == file.stem.rpartition("_")[2] and recipe.model.from_pretrained is not None
        build_model_config(dataclasses.replace(recipe.model, from_pretrained=None), LAYOUT, 3)
        build_feature_extractor(recipe.features, get_layout("ntu25"))
        if recipe.augmentation is not None:
            assert not SkeletonAugmentation.from_dict(recipe.augmentation, layout=LAYOUT).temporal


def test_an_encoder_of_one_layout_learns_recordings_of_another(finetune, recipe, encoder, tmp_path):
    """Without ankles, and in another order: the missing joints stand where the pelvis is."""
    other = SkeletonLayout("toy4", ("right_wrist", "neck", "pelvis", "left_wrist"), (1, 2, 2, 1))
    rng = np.random.default_rng(0)
    with SkeletonStoreWriter(tmp_path / "other", other, 30.0, label_names=CLASSES, corpus="folder") as writer:
        for number in range(30):
            sample = toy_sample(number, rng, "test" if number >= 18 else "train")
            keypoints = sample.keypoints[:, :, [LAYOUT.index(joint) for joint in other.joints]]
            writer.add(dataclasses.replace(sample, keypoints=keypoints, name=f"other_{number}"))
    sections = {
        "model": {"overrides": {}, "from_pretrained": str(encoder)},
        "training": {"mode": "finetune", "epochs": 6},
    }
    data = {"store": str(tmp_path / "other")}
    with pytest.raises(RecipeError, match="have 4 of 'toy4'; bring them to its layout with data.layout"):
        finetune.main([recipe(**sections, data=data)])
    results = finetune.main([recipe(**sections, data={**data, "layout": LAYOUT.to_dict()})])
    assert results["layout"] == "toy6" and results["top1_accuracy"] > 0.5
    assert SkeletonFeatureExtractor.from_pretrained(tmp_path / "out").skeleton_layout == LAYOUT
