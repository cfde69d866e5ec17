"""Several recognisers as one model: members of other families, layouts and lengths, one file, one answer."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoFeatureExtractor, AutoModelForVideoClassification, pipeline

from skeleton_transformers import (
    AutoModelForActionRecognition,
    HiCoConfig,
    HiCoForActionRecognition,
    HiTRSConfig,
    HiTRSForActionRecognition,
    SkeletonEnsembleConfig,
    SkeletonEnsembleFeatureExtractor,
    SkeletonEnsembleForActionRecognition,
    SkeletonFeatureExtractor,
    STGCNConfig,
    STGCNForActionRecognition,
    convert_layout,
    get_layout,
    read_skeletons,
)
from skeleton_transformers.modeling_loading import CheckpointError


LABELS = {0: "walk", 1: "run", 2: "sit"}
MAP = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
# The names are not in the order of the alphabet, in which files keep them.
WEIGHTS = {"joint": 2.0, "motion": 0.5, "bone": 1.0}


@pytest.fixture(scope="module")
def members():
    """Recognisers whose families, layouts, numbers of frames and streams differ, with their feature extractors."""
    torch.manual_seed(0)
    models = {
        "joint": HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", **MAP)),
        "motion": STGCNForActionRecognition(STGCNConfig.from_preset("tiny", layout="kinect20", **MAP)),
        "bone": HiCoForActionRecognition(HiCoConfig.from_preset("tiny", num_frames=32, **MAP)),
    }
    extractors = {
        "joint": SkeletonFeatureExtractor(center="first_frame"),
        "motion": SkeletonFeatureExtractor("kinect20", stream="motion", num_frames=24),
        "bone": SkeletonFeatureExtractor(stream="bone", num_frames=32, max_persons=1),
    }
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return {name: model.eval() for name, model in models.items()}, extractors


@pytest.fixture
def sequences():
    rng = np.random.default_rng(1)
    return [rng.normal(size=(2, 40, 25, 3)).astype(np.float32), rng.normal(size=(30, 25, 3)).astype(np.float32)]


def scores_of_members(members, sequences):
    """Logits of every member, from what its own feature extractor makes."""
    models, extractors = members
    scores = {}
    for name, model in models.items():
        layout = extractors[name].skeleton_layout
        own = [convert_layout(sequence, "ntu25", layout)[0] for sequence in sequences]
        with torch.no_grad():
            scores[name] = model(**extractors[name](own, return_tensors="pt")).logits.double().numpy()
    return scores


@pytest.mark.parametrize("fusion", ["logits", "softmax"])
def test_it_says_the_weighted_mean_before_and_after_saving(members, sequences, tmp_path, fusion):
    models, extractors = members
    ensemble = SkeletonEnsembleForActionRecognition.from_members(models, WEIGHTS, fusion)
    extractor = SkeletonEnsembleFeatureExtractor(extractors)
    single = scores_of_members(members, sequences)
    if fusion == "softmax":
        single = {name: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True) for name, s in single.items()}
    expected = sum(WEIGHTS[name] * scores for name, scores in single.items()) / sum(WEIGHTS.values())

    ensemble.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    pairs = [(ensemble, extractor)]
    for auto_class in (AutoModelForActionRecognition, AutoModelForVideoClassification):
        pairs.append((auto_class.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)))
    for model, prepare in pairs:
        assert type(model) is SkeletonEnsembleForActionRecognition and model.config.weights == WEIGHTS
        inputs = prepare(sequences, return_tensors="pt")
        labels = torch.tensor([2, 0])
        with torch.no_grad():
            output = model(**inputs, labels=labels)
        found = output.logits.exp() if fusion == "softmax" else output.logits
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
        loss = -torch.log(output.logits.softmax(-1))[[0, 1], labels].mean()
        assert float(output.loss) == pytest.approx(float(loss), rel=1e-5)
        for name, parameter in ensemble.state_dict().items():
            assert torch.equal(parameter, model.state_dict()[name]), name
    assert json.loads((tmp_path / "config.json").read_text())["weights"] == WEIGHTS
    assert "id2label" not in ensemble.config.members["joint"]  # it is that of the ensemble


def test_folders_become_members_and_padding_changes_nothing(members, sequences, tmp_path):
    models, extractors = members
    for name, model in models.items():
        model.save_pretrained(tmp_path / f"run.{name}")
        extractors[name].save_pretrained(tmp_path / f"run.{name}")
    folders = [tmp_path / f"run.{name}" for name in ("joint", "bone")]
    ensemble = SkeletonEnsembleForActionRecognition.from_members(folders, weights=[3, 1])
    extractor = SkeletonEnsembleFeatureExtractor.from_members(folders)
    assert ensemble.config.weights == {"run_bone": 1.0, "run_joint": 3.0}
    with torch.no_grad():
        together = ensemble(**extractor(sequences, return_tensors="pt")).logits
        alone = [ensemble(**extractor([sequence], return_tensors="pt")).logits[0] for sequence in sequences]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_the_pipeline_takes_files_arrays_and_batches(members, sequences, tmp_path, fixtures):
    models, extractors = members
    SkeletonEnsembleForActionRecognition.from_members(models, WEIGHTS).save_pretrained(tmp_path)
    SkeletonEnsembleFeatureExtractor(extractors).save_pretrained(tmp_path)
    recognise = pipeline("skeleton-action-recognition", model=str(tmp_path))
    file = str(fixtures / "S001C001P001R001A050.skeleton")
    inputs = [*sequences, file]
    one_by_one = [recognise(item, top_k=3) for item in inputs]
    for result in (recognise(inputs, top_k=3), recognise(inputs, top_k=3, batch_size=3)):
        for found, expected in zip(result, one_by_one, strict=True):
            assert [row["label"] for row in found] == [row["label"] for row in expected]
            np.testing.assert_allclose([r["score"] for r in found], [r["score"] for r in expected], atol=1e-5)
    single = scores_of_members(members, [read_skeletons(file, bodies="simple").keypoints])
    fused = sum(WEIGHTS[name] * scores for name, scores in single.items())[0] / sum(WEIGHTS.values())
    assert one_by_one[2][0]["label"] == LABELS[int(fused.argmax())]
    assert one_by_one[2][0]["score"] == pytest.approx(np.exp(fused).max() / np.exp(fused).sum(), rel=1e-4)
    assert [person["person"] for person in recognise(sequences[0], per_person=True)] == [0, 1]


def test_gradients_reach_every_member(members, sequences):
    models, extractors = members
    ensemble = SkeletonEnsembleForActionRecognition.from_members(models).train()
    inputs = SkeletonEnsembleFeatureExtractor(extractors)(sequences, return_tensors="pt")
    ensemble(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    for name, member in ensemble.members.items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in member.parameters()), name


def test_what_does_not_fit_is_said(members, sequences, tmp_path):
    models, extractors = members
    ensemble = SkeletonEnsembleForActionRecognition.from_members(models)
    with pytest.raises(ValueError, match="a batch for each of the members bone, joint, motion, got one tensor"):
        ensemble(torch.zeros(3, 1, 20, 25, 3))
    with pytest.raises(ValueError, match="need 3 weights, got"):
        SkeletonEnsembleForActionRecognition.from_members(models, weights=[1, 2])
    with pytest.raises(StrictDataclassClassValidationError, match="must not be negative and need a positive sum"):
        SkeletonEnsembleForActionRecognition.from_members(models, weights=[0, 0, 0])
    with pytest.raises(StrictDataclassClassValidationError, match="fusion must be one of logits, softmax; got 'max'"):
        SkeletonEnsembleForActionRecognition.from_members(models, fusion="max")
    with pytest.raises(StrictDataclassClassValidationError, match="must name the members bone, joint, motion"):
        SkeletonEnsembleForActionRecognition.from_members(models, weights={"joint": 1.0})
    with pytest.raises(StrictDataclassClassValidationError, match="must not be empty or hold a dot, got 'a.b'"):
        SkeletonEnsembleForActionRecognition.from_members({"a.b": models["joint"]})
    with pytest.raises(ValueError, match="different names, got"):
        SkeletonEnsembleForActionRecognition.from_members(["a/joint", "b/joint"])
    with pytest.raises(ValueError, match="config.members is empty"):
        SkeletonEnsembleForActionRecognition(SkeletonEnsembleConfig())
    other = STGCNForActionRecognition(STGCNConfig.from_preset("tiny", num_labels=3))
    with pytest.raises(ValueError, match="'joint' and 'other' know other classes"):
        SkeletonEnsembleForActionRecognition.from_members({"joint": models["joint"], "other": other})
    two = SkeletonEnsembleFeatureExtractor({name: extractors[name] for name in ("joint", "bone")})
    with pytest.raises(ValueError, match="for the members bone, joint, but the model has bone, joint, motion"):
        two.check_model(ensemble.config)
    swapped = SkeletonEnsembleFeatureExtractor({**extractors, "joint": extractors["motion"]})
    with pytest.raises(ValueError, match="gives 20 joints with 3 channels, but the model takes 25"):
        swapped.check_model(ensemble.config)
    large = SkeletonEnsembleFeatureExtractor(
        {"a": SkeletonFeatureExtractor("coco17"), "b": SkeletonFeatureExtractor()}
    )
    with pytest.raises(ValueError, match="arrays in the layout 'coco17' lack spine_base"):
        large(np.ones((20, get_layout("coco17").num_joints, 3)))
    models["joint"].save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a model of the family 'hitrs', but SkeletonEnsembleForAction"):
        SkeletonEnsembleForActionRecognition.from_pretrained(tmp_path)
