"""`skeleton-transformers evaluate`."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner

from skeleton_transformers import (
    AutoModelForActionRecognition,
    HiTRSConfig,
    HiTRSForActionDetection,
    HiTRSForMotionPrediction,
    SkeletonFeatureExtractor,
    SkeletonSample,
    SkeletonStore,
    SkeletonStoreWriter,
    get_layout,
)
from skeleton_transformers.data.datasets import SkeletonDataset
from skeleton_transformers.evaluation.features import extract_features, run_batches
from skeleton_transformers.evaluation.fusion import load_predictions
from skeleton_transformers.evaluation.subsets import label_subset, load_label_subset
from skeleton_transformers.hub.model_card import write_model_card


SMALL = {
    "hidden_sizes": [16, 32, 32],
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "intermediate_sizes": [16, 16, 32],
}


@pytest.fixture(scope="module")
def evaluated(model_commands, recognition_model, labelled_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    result = CliRunner().invoke(
        model_commands,
        ["evaluate", str(recognition_model), "--store", str(labelled_store), "--protocol", "knn,linear,accuracy"]
        + ["--output", str(folder / "results.json"), "--predictions", str(folder / "scores.npz")],
    )
    assert result.exit_code == 0, result.output
    return json.loads((folder / "results.json").read_text())["results"], folder / "scores.npz", result.stdout


def parts(store):
    return np.flatnonzero(store.splits == "train"), np.flatnonzero(store.splits == "test")


def test_numbers_equal_those_of_a_plain_computation(evaluated, recognition_model, labelled_store):
    results, scores, stdout = evaluated
    store = SkeletonStore.open(labelled_store)
    extractor = SkeletonFeatureExtractor.from_pretrained(recognition_model)
    encoder = AutoModel.from_pretrained(recognition_model)
    (gallery, gallery_labels), (query, query_labels) = (
        extract_features(encoder, SkeletonDataset(store, part, extractor), batch_size=5) for part in parts(store)
    )
    hits = 0
    for vector, label in zip(query, query_labels):
        similarity = gallery @ vector / np.linalg.norm(gallery, axis=1)
        hits += gallery_labels[similarity.argmax()] == label
    assert results["knn"]["top1_accuracy"] == pytest.approx(hits / len(query))
    assert results["linear"]["top1_accuracy"] > 0.9  # four directions are easy for a linear map of random features
    predictions = load_predictions(scores)
    right = predictions["logits"].argmax(1) == predictions["labels"]
    assert results["accuracy"]["top1_accuracy"] == pytest.approx(right.mean())
    assert predictions["names"].tolist() == store.names[parts(store)[1]].tolist()
    for name in ("knn", "linear", "accuracy"):
        assert results[name]["data_checksum"] == store.checksum
        assert results[name]["split"] == "split"
        assert name in stdout


def test_coordinates_are_judged_without_a_network(model_commands, recognition_model, labelled_store, tmp_path):
    words = ["evaluate", str(recognition_model), "--store", str(labelled_store), "--protocol", "knn", "--coordinates"]
    result = CliRunner().invoke(model_commands, [*words, "--output", str(tmp_path / "knn.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "knn.json").read_text())["results"]["knn"]
    store = SkeletonStore.open(labelled_store)

    def places(part):  # where the first joint ends, from where it began: all that the four actions differ in
        return np.stack([store[index].keypoints[0, -1, 0] - store[index].keypoints[0, 0, 0] for index in part])

    gallery, queries = parts(store)
    nearest = np.linalg.norm(places(queries)[:, None] - places(gallery), axis=2).argmin(axis=1)
    right = store.labels[gallery][nearest] == store.labels[queries]
    assert found["top1_accuracy"] == right.mean() == 1.0
    assert (found["features"], found["metric"]) == ("raw coordinates", "euclidean")


def test_features_do_not_depend_on_the_batch(recognition_model, labelled_store):
    store = SkeletonStore.open(labelled_store)
    dataset = SkeletonDataset(store, None, SkeletonFeatureExtractor.from_pretrained(recognition_model))
    model = AutoModelForActionRecognition.from_pretrained(recognition_model)
    model.train()
    one, labels = run_batches(model, dataset, "logits", batch_size=1)
    many, _ = run_batches(model, dataset, "logits", batch_size=13)
    np.testing.assert_allclose(one, many, atol=1e-5)
    np.testing.assert_array_equal(labels, store.labels)
    assert model.training  # left as it was found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "knm"], "unknown protocol knm; choose from accuracy, calibration, robustness, knn, linear"),
        (["--protocol", "semi100"], "unknown protocol semi100"),
        (["--protocol", "semi5", "--output", "x.json"], "name a folder for them, not a .json file"),
        (["--k", "1,none"], "'1,none' is no number of neighbours"),
        (["--k", "80"], "size of the gallery (36), got 80"),
        (["--override", "training.epochs=1", "--protocol", "detection"], "was saved without one: name one"),
        (["--split", "xsub"], "protocol 'xsub' is not one of corpus 'folder'"),
        (["--train-part", "all"], "overlaps with train_part 'all'"),
        (["--eval-part", "holdout"], "part 'holdout' is not one of"),
    ],
)
def test_wrong_choices_are_named(model_commands, recognition_model, labelled_store, arguments, message):
    words = ["evaluate", str(recognition_model), "--store", str(labelled_store), *arguments]
    result = CliRunner().invoke(model_commands, words, env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"})
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_a_model_of_other_classes_is_refused(model_commands, recognition_model, labelled_store, tmp_path):
    model = AutoModelForActionRecognition.from_pretrained(recognition_model)
    model.config.id2label = {0: "walk", 1: "run", 2: "throw", 3: "carry"}
    model.save_pretrained(tmp_path)
    SkeletonFeatureExtractor.from_pretrained(recognition_model).save_pretrained(tmp_path)
    words = ["evaluate", str(tmp_path), "--store", str(labelled_store), "--protocol", "accuracy"]
    result = CliRunner().invoke(model_commands, words)
    assert result.exit_code == 1
    assert "the model knows the classes (4) ['walk', 'run', 'throw', 'carry'], the store" in result.stderr


def test_validation_trains_on_the_rest_only(model_commands, recognition_model, labelled_store, tmp_path):
    words = ["evaluate", str(recognition_model), "--store", str(labelled_store), "--eval-part", "validation"]
    words += ["--split", "subject", "--protocol", "knn", "--output", str(tmp_path / "r.json")]
    result = CliRunner().invoke(model_commands, words)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "r.json").read_text())["results"]["knn"]
    assert found["train_part"] == "train-validation"
    assert found["num_train_samples"] + found["num_eval_samples"] == 32  # a third of the subjects tests


def invoke(commands, *words):
    result = CliRunner().invoke(commands, ["evaluate", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def report(model_commands, recognition_model, labelled_store, tmp_path_factory):
    """The folder of a report, and the folder of the model, whose card has taken the results up."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(recognition_model, folder / "model")
    config = AutoConfig.from_pretrained(recognition_model)
    write_model_card(
        folder / "model",
        model_name="drift",
        model_summary="x",
        layout=get_layout("kinect20"),
        preprocessing={},
        training_data="x",
        citation=config.citation,
        results={"Top-1 accuracy": 0.125},
        dataset_name="folder",
        dataset_split="split, test",
    )
    (folder / "model" / "results.json").write_text(json.dumps({"top1_accuracy": 0.125}))
    words = ["--protocol", "accuracy,calibration,robustness,knn", "--k", "1,3", "--output", folder / "out", "--card"]
    invoke(model_commands, folder / "model", "--store", labelled_store, *words)
    return folder


def test_a_report_has_numbers_pictures_and_a_model_index(report):
    out = report / "out"
    results = json.loads((out / "results.json").read_text())["results"]
    assert list(results) == ["accuracy", "calibration", "robustness", "knn"]
    assert set(results["knn"]["knn_accuracy"]) == {"1", "3"} and 0 < results["knn"]["mean_average_precision"] <= 1
    assert set(results["accuracy"]["class_accuracy"]) == {"walk", "sit down", "throw", "carry"}
    assert results["robustness"]["top1_accuracy"] == results["accuracy"]["top1_accuracy"]
    predictions = load_predictions(out / "predictions.npz")
    logits = predictions["logits"].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), logits.argmax(axis=1) == predictions["labels"]
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert results["calibration"]["expected_calibration_error"] == pytest.approx(error)
    for picture in ("confusion.png", "per_class.png", "reliability.png", "robustness.png"):
        with Image.open(out / picture) as image:
            assert len(image.convert("L").getcolors(256) or []) > 5, picture  # something is drawn
    table = (out / "table.md").read_text()
    assert f"| accuracy | Top-1 accuracy | {100 * results['accuracy']['top1_accuracy']:.2f} % |" in table
    assert "| robustness | rotated view, degrees about the vertical | 15: " in table
    (index,) = yaml.safe_load((out / "model_index.yaml").read_text())["model-index"]
    metrics = {metric["name"]: metric["value"] for one in index["results"] for metric in one["metrics"]}
    assert metrics["3-NN accuracy"] == pytest.approx(results["knn"]["knn_accuracy"]["3"], abs=1e-5)


def test_the_card_and_the_results_of_the_model_take_the_numbers_up(report):
    out = json.loads((report / "out" / "results.json").read_text())["results"]
    card = ModelCard.load(report / "model" / "README.md")
    found = {(one.metric_name, one.dataset_split): one.metric_value for one in card.data.eval_results}
    # what was there of the same measure, data set and split has been replaced
    assert found["Top-1 accuracy", "split, test"] == pytest.approx(out["accuracy"]["top1_accuracy"], abs=1e-5)
    assert ("Expected calibration error", "split, test") in found
    assert "### Calibration" in card.text and "### Robustness" in card.text
    assert f"Expected calibration error: {100 * out['calibration']['expected_calibration_error']:.2f} %." in card.text
    assert card.text.count("measured: begin") == 1 and "## Limits" in card.text
    results = json.loads((report / "model" / "results.json").read_text())
    assert results["robustness"]["corruptions"] == out["robustness"]["corruptions"]
    assert results["top1_accuracy"] == 0.125


def test_an_encoder_is_judged_on_recordings_of_another_layout(model_commands, recognition_model, tmp_path):
    """Kinect v2 has all joints of Kinect v1, so nothing is lost: the numbers are those of the same recordings without the rest."""
    rng = np.random.default_rng(0)
    layouts = {name: get_layout(name) for name in ("ntu25", "kinect20")}
    recordings = rng.normal(size=(24, 1, 12, 25, 3)).astype(np.float32)
    for name, layout in layouts.items():
        joints = [layouts["ntu25"].index(joint) for joint in layout.joints]
        with SkeletonStoreWriter(tmp_path / name, layout, 30.0, label_names=["a", "b"], corpus="folder") as writer:
            for number, keypoints in enumerate(recordings):
                split = "test" if number >= 16 else "train"
                moved = keypoints[:, :, joints] + (number % 2) * np.linspace(0, 2, 12)[None, :, None, None]
                mask = np.ones((1, 12), dtype=bool)
                writer.add(SkeletonSample(moved.astype(np.float32), mask, number % 2, f"take_{number}", split=split))
    found = {}
    for name in layouts:
        words = ["--store", tmp_path / name, "--protocol", "knn,robustness", "--output", tmp_path / f"{name}.json"]
        result = invoke(model_commands, recognition_encoder(recognition_model, tmp_path), *words)
        assert ("are brought to kinect20" in result.stderr) == (name == "ntu25")
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())["results"]
    assert found["ntu25"]["knn"]["top1_accuracy"] == found["kinect20"]["knn"]["top1_accuracy"]
    assert found["ntu25"]["knn"]["layout"] == "kinect20"
    robustness = found["ntu25"]["robustness"]
    assert robustness["classifier"] == "nearest neighbour in the clean training part"
    assert robustness["top1_accuracy"] == found["ntu25"]["knn"]["top1_accuracy"]


def recognition_encoder(model, tmp_path):
    folder = tmp_path / "encoder"
    AutoModel.from_pretrained(model).save_pretrained(folder)
    SkeletonFeatureExtractor.from_pretrained(model).save_pretrained(folder)
    return folder


def test_few_labels_train_a_recogniser_and_are_listed(model_commands, recognition_model, labelled_store, tmp_path):
    recipe = {
        "model": {"family": "hitrs"},
        "data": {"store": "any"},
        "output_dir": "any",
        "training": {"epochs": 2, "batch_size": 6, "gradient_accumulation_steps": 1, "learning_rate": 0.01},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    encoder = recognition_encoder(recognition_model, tmp_path)
    words = ["--store", labelled_store, "--protocol", "semi25,finetune", "--recipe", tmp_path / "recipe.yaml"]
    words += ["--override", "training.epochs=3", "--seed", "5", "--output", tmp_path / "out"]
    invoke(model_commands, encoder, *words)
    results = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    store = SkeletonStore.open(labelled_store)
    train = parts(store)[0]
    expected = train[label_subset(store.labels[train], 0.25, 5)]
    assert load_label_subset(tmp_path / "out" / "semi25" / "label_subset.json") == store.names[expected].tolist()
    assert (results["semi25"]["num_train_samples"], results["finetune"]["num_train_samples"]) == (8, 36)
    assert results["semi25"]["label_fraction"] == 0.25 and results["finetune"]["epochs"] == 3
    assert results["semi25"]["seed"] == 5 and results["semi25"]["data_checksum"] == store.checksum
    assert "| semi25 | Fine-tuned with 25 % of the labels |" in (tmp_path / "out" / "table.md").read_text()


@pytest.fixture(scope="module")
def take_store(tmp_path_factory):
    """Untrimmed takes of one person: half of each is an action."""
    path, rng = tmp_path_factory.mktemp("takes") / "store", np.random.default_rng(0)
    with SkeletonStoreWriter(path, "kinect20", 30.0, label_names=["act", "rest"], corpus="folder") as writer:
        for number in range(4):
            labels = np.repeat([0, number % 2 + 1], 30).astype(np.int16)
            keypoints = rng.normal(size=(1, 60, 20, 3)).astype(np.float32)
            split = "test" if number >= 2 else "train"
            mask = np.ones((1, 60), dtype=bool)
            writer.add(SkeletonSample(keypoints, mask, name=f"take {number}", split=split, frame_labels=labels))
    return path


def save_task(folder, model_class, **fields):
    torch.manual_seed(0)
    model_class(HiTRSConfig(layout="kinect20", **SMALL, **fields)).save_pretrained(folder)
    SkeletonFeatureExtractor(layout="kinect20", center="first_frame", max_persons=1).save_pretrained(folder)
    return folder


def test_detection_draws_what_happened_when(model_commands, take_store, tmp_path):
    names = {0: "background", 1: "act", 2: "rest"}
    labels = {"id2label": names, "label2id": {name: label for label, name in names.items()}}
    model = save_task(tmp_path / "model", HiTRSForActionDetection, **labels)
    recipe = {"model": {}, "data": {"store": "any"}, "output_dir": "any", "task": "detection"}
    (model / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "detection": {"rule": "argmax_runs", "radius": 2}}))
    words = ["--store", take_store, "--protocol", "detection", "--output", tmp_path / "out"]
    invoke(model_commands, model, *words)
    found = json.loads((tmp_path / "out" / "results.json").read_text())["results"]["detection"]
    assert found["segments"] == {"rule": "argmax_runs", "radius": 2, "min_frames": 1} and found["num_frames"] == 120
    takes = json.loads((tmp_path / "out" / "detections.json").read_text())["takes"]
    assert takes["take 2"]["truth"] == [[1, 30, 60, 1.0]]
    assert sorted(path.name for path in (tmp_path / "out" / "timelines").iterdir()) == ["take_2.png", "take_3.png"]


def test_prediction_is_drawn_beside_what_happened(model_commands, take_store, tmp_path):
    model = save_task(tmp_path / "model", HiTRSForMotionPrediction, prediction_frames=6, decoder_hidden_size=16)
    recipe = {"model": {}, "data": {"store": "any"}, "output_dir": "any", "task": "prediction"}
    (model / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "prediction": {"observed_frames": 20}}))
    words = ["--store", take_store, "--protocol", "prediction", "--output", tmp_path / "out"]
    invoke(model_commands, model, *words)
    found = json.loads((tmp_path / "out" / "results.json").read_text())["results"]["prediction"]
    assert (found["observed_frames"], found["predicted_frames"], found["num_samples"]) == (20, 6, 2)
    table = (tmp_path / "out" / "table.md").read_text()
    assert f"| MPJPE in mm, zero velocity, 80 ms | {found['mpjpe_mm']['zero_velocity']['80']:.1f} |" in table
    with Image.open(tmp_path / "out" / "prediction.gif") as picture:
        assert picture.n_frames == 26
