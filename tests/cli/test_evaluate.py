"""`skeleton-transformers evaluate`."""

import json

import numpy as np
import pytest
from transformers import AutoModel
from typer.testing import CliRunner

from skeleton_transformers import AutoModelForActionRecognition, SkeletonFeatureExtractor, SkeletonStore
from skeleton_transformers.data.datasets import SkeletonDataset
from skeleton_transformers.evaluation.features import extract_features, run_batches
from skeleton_transformers.evaluation.fusion import load_predictions


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
        (["--protocol", "knm"], "unknown protocol knm; choose from accuracy, knn, linear"),
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
