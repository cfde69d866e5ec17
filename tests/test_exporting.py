"""Exported graphs against the models they come from. Every entry of the common suite is exported."""

import contextlib
import copy
import json
import re
import runpy
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, HiTRSModel, SkeletonFeatureExtractor
from skeleton_transformers.cli.main import app
from skeleton_transformers.exporting import ExportedModel, export_model
from skeleton_transformers.modeling_loading import CheckpointError


onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "export.md").read_text()
COMMON = runpy.run_path(str(Path(__file__).parent / "models" / "test_modeling_common.py"))
CASES = COMMON["CASES"]
# One of each family in every run, by the format that takes least; the other settings, tasks and formats are slow.
FIRST_OF_FAMILY = list({case.config.model_type: name for name, case in reversed(CASES.items())}.values())


def save(name, folder):
    """Saves the recogniser of a case, with few layers, and a feature extractor; gives the model."""
    case = copy.deepcopy(CASES[name])
    config = case.config
    if hasattr(config, "strides"):
        config.hidden_sizes, config.strides = [config.hidden_sizes[0], config.hidden_sizes[-1]], [1, 2]
    elif hasattr(config, "num_layers"):
        config.num_layers = 1
    model = COMMON["make"](case.recognition, config)
    model.save_pretrained(folder)
    SkeletonFeatureExtractor().save_pretrained(folder)
    return model


def batches():
    """Ragged lengths, gaps and persons who are there for a while; padding, more frames than were traced; NaN under the mask; one
    frame of one person; a sample in which the second slot alone is somebody; more samples than were traced."""
    data = COMMON["inputs"]()
    keypoints, mask = data["keypoints"], data["frame_mask"]
    pad = torch.nn.functional.pad
    yield keypoints, mask
    yield pad(keypoints, (0, 0, 0, 0, 0, 23)), pad(mask, (0, 23))
    yield keypoints.masked_fill(~mask[..., None, None], torch.nan), mask
    yield keypoints[:1, :1, :1], mask[:1, :1, :1]
    yield keypoints.flip(1)[1:2], mask.flip(1)[1:2]
    yield torch.cat([keypoints] * 3), torch.cat([mask] * 3)


def assert_equal(exported, expected_of):
    """The graph gives what `expected_of(keypoints, frame_mask)` gives, for every batch."""
    for keypoints, mask in batches():
        with torch.no_grad():
            expected = expected_of(keypoints, mask).numpy()
        actual = exported(keypoints.numpy(), mask.numpy())
        assert actual.shape == expected.shape and actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=1e-4)
        if len(expected) > 1:
            assert np.ptp(expected, axis=0).max() > 1e-3  # samples differ, else anything would be equal


@pytest.mark.parametrize("name", FIRST_OF_FAMILY)
def test_torch_export_gives_the_features_of_the_encoder(name, tmp_path):
    model = save(name, tmp_path / "model")
    manifest = export_model(tmp_path / "model", tmp_path / "out", format="torch-export", task="features")
    assert manifest["output"]["name"] == "pooler_output" and manifest["file"] == "model.pt2"
    exported = ExportedModel(tmp_path / "out")
    assert_equal(exported, lambda *batch: model.base_model(*batch).pooler_output)
    (features,) = exported.predict([np.random.default_rng(0).normal(size=(1, 12, 25, 3))])
    assert features.shape == (model.config.hidden_size,)
    assert_tells_nothing(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_onnx_gives_the_scores_of_the_model(name, tmp_path):
    model = save(name, tmp_path / "model")
    manifest = export_model(tmp_path / "model", tmp_path / "out")
    assert manifest["largest_difference"] < 1e-4 < manifest["largest_output"]
    assert_equal(ExportedModel(tmp_path / "out"), lambda *batch: model(*batch).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST_OF_FAMILY)
def test_onnx_gives_the_features_of_the_encoder(name, tmp_path):
    model = save(name, tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out", task="features")
    assert_equal(ExportedModel(tmp_path / "out"), lambda *batch: model.base_model(*batch).pooler_output)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST_OF_FAMILY)
def test_torch_export_gives_the_scores_of_the_model(name, tmp_path):
    model = save(name, tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out", format="torch-export")
    assert_equal(ExportedModel(tmp_path / "out"), lambda *batch: model(*batch).logits)


@pytest.fixture(scope="module")
def hitrs(tmp_path_factory):
    """A small recogniser, its folder, and the folder of its graph, written by the command of the page."""
    folder = tmp_path_factory.mktemp("hitrs")
    torch.manual_seed(0)
    labels = {0: "walk", 1: "sit down", 2: "throw"}
    config = HiTRSConfig.from_preset(
        "tiny", max_clips=12, id2label=labels, label2id={name: number for number, name in labels.items()}
    )
    model = HiTRSForActionRecognition(config).eval()
    model.save_pretrained(folder / "runs" / "my_model")
    SkeletonFeatureExtractor(center="first_frame").save_pretrained(folder / "runs" / "my_model")
    (command,) = re.findall(r"^skeleton-transformers (export .*)$", PAGE, re.MULTILINE)
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    assert re.search(r"model\.onnx .* differs from the model by at most \d\.\de-0\d", result.output.replace("\n", " "))
    return model, folder / "runs" / "my_model", folder / "exported"


def test_the_blocks_of_the_page_run_as_pasted(hitrs, fixtures):
    model, folder, out = hitrs
    shutil.copy(fixtures / "S001C001P001R001A050.skeleton", out.parent / "take.skeleton")
    names = {}
    with contextlib.chdir(out.parent):
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block, names)
        (found,) = names["recognise"].predict(["take.skeleton"], top_k=2)
    with torch.no_grad():
        expected = model(torch.from_numpy(names["keypoints"]), torch.from_numpy(names["frame_mask"])).logits
        inputs = SkeletonFeatureExtractor.from_pretrained(folder)([out.parent / "take.skeleton"], return_tensors="pt")
        best = model(**inputs).logits[0].softmax(-1).topk(2)
    np.testing.assert_allclose(names["logits"], expected, atol=1e-5)
    assert [one["label"] for one in found] == [model.config.id2label[int(i)] for i in best.indices]
    np.testing.assert_allclose([one["score"] for one in found], best.values, atol=1e-5)


def test_the_folder_says_how_to_feed_the_graph(hitrs):
    model, _, out = hitrs
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "export.json",
        "model.onnx",
        "preprocessor_config.json",
    ]
    graph = onnx.load(out / "model.onnx")
    onnx.checker.check_model(graph)
    manifest = json.loads((out / "export.json").read_text())
    for value in graph.graph.input:
        dims = value.type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == manifest["inputs"][value.name]["shape"]
    assert manifest["inputs"]["keypoints"]["shape"] == ["batch", "persons", "frames", 25, 3]
    assert manifest["axes"] == {"batch": [1, None], "persons": [1, None], "frames": [1, model.config.max_frames]}
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["bytes"] == (out / "model.onnx").stat().st_size


def test_the_longest_sequence_is_that_of_the_model(hitrs):
    model, _, out = hitrs
    longest, exported = model.config.max_frames, ExportedModel(out)
    keypoints = torch.randn(1, 1, longest + 1, 25, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, longest + 1, dtype=torch.bool)
    with torch.no_grad():
        expected = model(keypoints[:, :, :longest], mask[:, :, :longest]).logits
        with pytest.raises(ValueError, match="13 clips"):
            model(keypoints, mask)
    actual = exported(keypoints[:, :, :longest].numpy(), mask[:, :, :longest].numpy())
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)
    with pytest.raises(
        ValueError, match=rf"the batch has {longest + 1} frames, but the model takes at most {longest}"
    ):
        exported(keypoints.numpy(), mask.numpy())


def test_recordings_in_labels_out(hitrs):
    model, folder, out = hitrs
    rng = np.random.default_rng(0)
    takes = [rng.normal(size=(persons, frames, 25, 3)) for persons, frames in ((1, 20), (2, 33))]
    found = ExportedModel(out).predict(takes, top_k=2)
    inputs = SkeletonFeatureExtractor.from_pretrained(folder)(takes, return_tensors="pt")
    with torch.no_grad():
        scores = model(**inputs).logits.softmax(-1)
    for predictions, row in zip(found, scores, strict=True):
        best = row.topk(2)
        assert [one["label"] for one in predictions] == [model.config.id2label[int(i)] for i in best.indices]
        np.testing.assert_allclose([one["score"] for one in predictions], best.values, atol=1e-5)
    json.dumps(found)


def test_a_sample_without_anybody_is_named(hitrs):
    keypoints, mask = np.zeros((2, 1, 5, 25, 3)), np.ones((2, 1, 5), bool)
    mask[1] = False
    with pytest.raises(ValueError, match="nobody is present in any frame of sample 1"):
        ExportedModel(hitrs[2])(keypoints, mask)


@pytest.mark.slow
def test_int8_is_smaller_and_says_what_it_costs(hitrs, tmp_path):
    model, folder, out = hitrs
    manifest = export_model(folder, tmp_path, quantize="int8", opset=20)
    whole = json.loads((out / "export.json").read_text())
    opsets = {one.domain: one.version for one in onnx.load(tmp_path / "model.onnx").opset_import}
    assert opsets[""] == 20
    assert manifest["bytes"] < 0.6 * whole["bytes"] and manifest["quantize"] == "int8"
    assert whole["largest_difference"] < manifest["largest_difference"] < 0.2 * manifest["largest_output"]
    keypoints, mask = next(batches())
    with torch.no_grad():
        expected = model(keypoints, mask).logits.numpy()
    difference = np.abs(ExportedModel(tmp_path)(keypoints.numpy(), mask.numpy()) - expected).max()
    assert 0 < difference < 3 * manifest["largest_difference"]


def assert_tells_nothing(folder):
    """No file, also none inside of a file, names a place of this machine."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    if "model.pt2" in contents:
        with zipfile.ZipFile(folder / "model.pt2") as archive:
            contents |= {name: archive.read(name) for name in archive.namelist()}
    for name, content in contents.items():
        for place in (REPOSITORY, Path(sys.prefix), Path(torch.__file__).parent, Path.home(), folder):
            assert str(place).encode() + b"/" not in content, (name, place)


def test_a_graph_does_not_tell_where_it_was_made(hitrs):
    assert_tells_nothing(hitrs[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "format must be onnx or torch-export, got 'tflite'"),
        ({"task": "detection"}, "task must be recognition or features, got 'detection'"),
        ({"quantize": "int4"}, "quantize must be int8 or nothing, got 'int4'"),
        ({"format": "torch-export", "quantize": "int8"}, "quantize and opset are options of the format onnx"),
    ],
)
def test_unknown_options_are_named(hitrs, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_model(hitrs[1], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_encoder_is_no_recogniser(tmp_path):
    HiTRSModel(HiTRSConfig.from_preset("tiny")).save_pretrained(tmp_path / "encoder")
    SkeletonFeatureExtractor().save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=r"lacks classifier.bias, classifier.weight: it was saved as HiTRSModel"):
        export_model(tmp_path / "encoder", tmp_path / "out")


def test_what_is_missing_is_named(hitrs, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"has no export.json: it is no exported model"):
        ExportedModel(hitrs[1])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"needs onnxruntime: pip install 'skeleton_transformers\[export\]'"):
        export_model(hitrs[1], tmp_path / "out")
    with pytest.raises(ImportError, match=r"pip install 'skeleton_transformers\[export\]'"):
        ExportedModel(hitrs[2])
    result = CliRunner().invoke(app, ["export", str(hitrs[1]), str(tmp_path / "out")])
    assert result.exit_code == 1 and "skeleton_transformers[export]" in result.output.replace("\n", " ")
