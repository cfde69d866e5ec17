"""`examples/fuse_streams.py`: predictions of several models become one number, and the models one model."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from skeleton_transformers import (
    AutoModelForActionRecognition,
    HiTRSConfig,
    HiTRSForActionRecognition,
    SkeletonFeatureExtractor,
    SkeletonStore,
    STGCNConfig,
    STGCNForActionRecognition,
)
from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.preparation import prepare_corpus
from skeleton_transformers.evaluation.fusion import fuse_predictions, save_predictions
from skeleton_transformers.evaluation.protocols import evaluate_accuracy
from skeleton_transformers.hub.publishing import check_model_folder


main = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "fuse_streams.py"))["main"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Recognisers of two streams, as fine-tuning leaves them, with what they say about test and validation part."""
    folder = tmp_path_factory.mktemp("runs")
    prepare_corpus("synthetic", None, folder / "store", PreparationOptions(sequences=150), workers=1, progress=False)
    store = SkeletonStore.open(folder / "store")
    labels = dict(enumerate(store.label_names))
    kinds = {"joint": (HiTRSForActionRecognition, HiTRSConfig), "bone": (STGCNForActionRecognition, STGCNConfig)}
    torch.manual_seed(0)
    for stream, (model_class, config_class) in kinds.items():
        config = config_class.from_preset("tiny", id2label=labels, label2id={name: i for i, name in labels.items()})
        model, extractor = model_class(config).eval(), SkeletonFeatureExtractor(stream=stream)
        with torch.no_grad():  # or a classifier that has just begun gives all classes nearly the same score
            model.classifier.weight.normal_()
        output = folder / f"run_{stream}"
        model.save_pretrained(output)
        extractor.save_pretrained(output)
        for part, name in (("test", "predictions"), ("validation", "validation")):
            results, logits, indices = evaluate_accuracy(model, extractor, store, None, eval_part=part)
            save_predictions(
                output / f"{name}.npz", logits, store.labels[indices], store.names[indices].tolist(), store.label_names
            )
            if part == "test":
                results |= {"stream": stream, "train_part": "train-validation"}
                (output / "results.json").write_text(json.dumps(results))
    return folder, store


@pytest.mark.parametrize("mode", ["logits", "softmax"])
def test_one_model_says_what_the_fusion_of_files_says(runs, tmp_path, capsys, mode):
    folder, store = runs
    members = [str(folder / "run_joint"), str(folder / "run_bone" / "predictions.npz")]
    validation = [str(folder / f"run_{stream}" / "validation.npz") for stream in ("joint", "bone")]
    accuracy = main([*members, "--mode", mode, "--validation", *validation, "--output_dir", str(tmp_path / "2s")])
    files = [folder / f"run_{stream}" / "predictions.npz" for stream in ("joint", "bone")]
    fused = fuse_predictions(files, mode=mode, validation_files=validation)
    printed = capsys.readouterr().out
    assert f"{100 * accuracy:6.2f} %  fused ({len(fused.labels)} recordings)" in printed

    model = AutoModelForActionRecognition.from_pretrained(tmp_path / "2s")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "2s")
    assert model.config.weights == dict(zip(("joint", "bone"), fused.weights)) and model.config.fusion == mode
    result, logits, indices = evaluate_accuracy(model, extractor, store, None)
    order = np.argsort(store.names[indices])
    expected = np.log(fused.logits) if mode == "softmax" else fused.logits
    np.testing.assert_allclose(logits[order], expected, atol=1e-5)
    saved = json.loads((tmp_path / "2s" / "results.json").read_text())
    assert result["top1_accuracy"] == fused.top1_accuracy == accuracy == saved["top1_accuracy"]
    assert result["top5_accuracy"] == fused.top5_accuracy
    assert saved["weights_from"] == "searched on the validation part" and saved["data_checksum"] == store.checksum
    assert check_model_folder(tmp_path / "2s").role == "action_recognition"


def test_the_card_names_the_members_and_its_code_runs(runs, tmp_path):
    folder, _ = runs
    main([str(folder / "run_joint"), str(folder / "run_bone"), "--output_dir", str(tmp_path / "2s")])
    card = (tmp_path / "2s" / "README.md").read_text()
    for text in (
        "joint (HiTRSForActionRecognition), bone (STGCNForActionRecognition)",
        "weights that are equal: joint 1, bone 1",
        "| `bone: stream` | `bone` |",
        "top-1 accuracy of joint alone",
        "chen2022hitrs",
        "yan2018stgcn",
    ):
        assert text in card, text
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert result.returncode == 0 and re.match(r"[\w ]+ 0\.\d+", result.stdout), result.stderr


def test_weights_are_not_searched_on_what_was_trained_on(runs, tmp_path):
    folder, _ = runs
    members = [str(folder / f"run_{stream}") for stream in ("joint", "bone")]
    validation = [str(folder / f"run_{stream}" / "validation.npz") for stream in ("joint", "bone")]
    results = folder / "run_bone" / "results.json"
    before = results.read_text()
    results.write_text(json.dumps(json.loads(before) | {"train_part": "train"}))
    try:
        with pytest.raises(SystemExit, match="run_bone was trained on the part 'train', which holds the validation"):
            main([*members, "--validation", *validation])
    finally:
        results.write_text(before)
