"""2s-AGCN against the numbers of the original class, and its checkpoints there and back."""

import pytest
import torch

from skeleton_transformers import AGCNConfig, AGCNForActionRecognition, SkeletonFeatureExtractor
from skeleton_transformers.models.agcn.convert_agcn_original import (
    agcn_to_original,
    convert_original_checkpoint,
    infer_config,
    load_original_checkpoint,
    original_to_agcn,
)


@pytest.fixture(scope="module")
def original(original_weights):
    """An original checkpoint for 60 classes with the weights of the golden values."""
    model = AGCNForActionRecognition(AGCNConfig.from_preset("original", num_labels=60))
    return original_weights(agcn_to_original(model.state_dict()))


def test_logits_equal_the_original(original, golden, golden_input):
    expected = golden["agcn"]["logits_T32"]
    config = infer_config(original)
    config.padded_frames = None  # the golden values are of 32 frames
    model = AGCNForActionRecognition(config).eval()
    model.load_state_dict(original_to_agcn(original), strict=False)
    keypoints = golden_input(2, 3, 32, 25, 2).permute(0, 4, 2, 3, 1)
    with torch.no_grad():
        logits = model(keypoints, torch.ones(2, 2, 32, dtype=torch.bool)).logits
    torch.testing.assert_close(logits.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert logits.numel() == expected["numel"]
    assert logits.sum().item() == pytest.approx(expected["sum"], rel=1e-3)
    assert logits.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


@pytest.mark.parametrize(
    "num_labels, layout, expected",
    [(60, "ntu25", 3_469_510), (120, "ntu25", 3_484_930), (400, "openpose18", 3_547_776)],
)
def test_parameters_are_as_many_as_in_the_original(num_labels, layout, expected):
    model = AGCNForActionRecognition(AGCNConfig.from_preset("original", num_labels=num_labels, layout=layout))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original, prefix):
    named = {prefix + name: tensor for name, tensor in original.items()}
    back = agcn_to_original(original_to_agcn(named), prefix)
    assert back.keys() == named.keys()
    assert all(torch.equal(back[name], named[name]) for name in named)


def test_a_file_becomes_a_folder_with_the_same_model_and_an_extractor(original, tmp_path):
    torch.save({"state_dict": original}, tmp_path / "original.pt")
    folder = convert_original_checkpoint(tmp_path / "original.pt", tmp_path / "converted")
    loaded = AGCNForActionRecognition.from_pretrained(folder)
    back = agcn_to_original(loaded.state_dict())
    assert back.keys() == original.keys() and all(torch.equal(back[name], original[name]) for name in original)
    assert loaded.config.padded_frames == 300 and not loaded.config.ignore_absent_person
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        assert loaded(**extractor([torch.randn(1, 40, 25, 3).numpy()], return_tensors="pt")).logits.shape == (1, 60)


def test_other_joints_need_a_layout(original_weights):
    config = AGCNConfig.from_preset("original", num_labels=5, layout="coco17", num_channels=3)
    weights = agcn_to_original(AGCNForActionRecognition(config).state_dict())
    with pytest.raises(ValueError, match="17 joints; name their layout"):
        infer_config(weights)
    with pytest.raises(ValueError, match="17 joints, but layout 'ntu25' has 25"):
        infer_config(weights, "ntu25")
    assert infer_config(weights, "coco17").layout == "coco17"


def test_a_checkpoint_of_another_system_is_named_as_such(original, tmp_path):
    torch.save({"module.encoder.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match="other.pt: this is not a checkpoint of the original 2s-AGCN code.*encoder.weight"
    ):
        load_original_checkpoint(tmp_path / "other.pt")
    incomplete = {name: tensor for name, tensor in original.items() if not name.endswith("tcn1.conv.bias")}
    torch.save(incomplete, tmp_path / "incomplete.pt")
    with pytest.raises(ValueError, match="Missing entries: agcn.layers.0.temporal.conv.bias"):
        load_original_checkpoint(tmp_path / "incomplete.pt")
    with pytest.raises(ValueError, match="not parameters of an 2s-AGCN model: encoder.weight"):
        agcn_to_original({"encoder.weight": torch.zeros(1)})


def places_model(**fields):
    torch.manual_seed(0)
    config = AGCNConfig.from_preset("tiny", num_labels=5, normalize_persons_apart=True, **fields)
    model = AGCNForActionRecognition(config).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(8, 2, 12, 25, 3) * torch.tensor([1.0, 3.0])[:, None, None, None])
    return model.eval()


def test_places_for_persons_have_their_own_statistics():
    model, keypoints = places_model(), torch.randn(2, 2, 20, 25, 3)
    spread = model.agcn.input_norm.running_var.view(2, 25, 3)
    assert (spread[1] > 3 * spread[0]).all()
    with torch.no_grad():
        assert (model(keypoints).logits - model(keypoints.flip(1)).logits).abs().max() > 1e-4
        alone = model(keypoints[:, :1]).logits
        absent = torch.nn.functional.pad(keypoints[:, :1], (0, 0, 0, 0, 0, 0, 0, 1))
        torch.testing.assert_close(model(absent).logits, alone)


def test_more_persons_than_places_are_named():
    with pytest.raises(ValueError, match="there are 3 persons, but the model normalises num_persons=2 places apart"):
        places_model()(torch.randn(1, 3, 20, 25, 3))


def test_a_layer_begins_as_its_residual_connection():
    torch.manual_seed(0)
    model = AGCNForActionRecognition(AGCNConfig.from_preset("tiny", num_labels=5)).agcn
    graph = model.layers[1].graph
    assert (graph.learnt_graph == 1e-6).all() and (graph.norm.weight == 1e-6).all()
    states = torch.rand(4, 16, 20, 25)
    with torch.no_grad():
        hidden, likeness = graph.eval()(states, None, model.graph)
    torch.testing.assert_close(hidden, states, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(likeness.sum(dim=2), torch.ones(4, 3, 25))  # over the sources
