"""ST-GCN against the numbers of the original class, and its checkpoints there and back."""

import pytest
import torch

from skeleton_transformers import SkeletonFeatureExtractor, STGCNConfig, STGCNForActionRecognition
from skeleton_transformers.models.stgcn.convert_stgcn_original import (
    convert_original_checkpoint,
    infer_config,
    load_original_checkpoint,
    original_to_stgcn,
    stgcn_to_original,
)


@pytest.fixture(scope="module")
def original(original_weights):
    """An original checkpoint for 60 classes with the weights of the golden values."""
    model = STGCNForActionRecognition(STGCNConfig.from_preset("original", num_labels=60))
    return original_weights(stgcn_to_original(model.state_dict()))


def test_logits_equal_the_original(original, golden, golden_input):
    expected = golden["stgcn"]["logits_T32"]
    config = infer_config(original)
    config.padded_frames = None  # the golden values are of 32 frames
    model = STGCNForActionRecognition(config).eval()
    model.load_state_dict(original_to_stgcn(original), strict=True)
    keypoints = golden_input(2, 3, 32, 25, 2).permute(0, 4, 2, 3, 1)
    with torch.no_grad():
        logits = model(keypoints, torch.ones(2, 2, 32, dtype=torch.bool)).logits
    torch.testing.assert_close(logits.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert logits.numel() == expected["numel"]
    assert logits.sum().item() == pytest.approx(expected["sum"], rel=1e-3)
    assert logits.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


@pytest.mark.parametrize(
    "num_labels, layout, expected",
    [(60, "ntu25", 3_098_832), (120, "ntu25", 3_114_252), (400, "openpose18", 3_177_140)],
)
def test_parameters_are_as_many_as_in_the_original(num_labels, layout, expected):
    model = STGCNForActionRecognition(STGCNConfig.from_preset("original", num_labels=num_labels, layout=layout))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original, prefix):
    named = {prefix + name: tensor for name, tensor in original.items()}
    back = stgcn_to_original(original_to_stgcn(named), prefix)
    assert back.keys() == named.keys()
    assert all(torch.equal(back[name], named[name]) for name in named)


def test_a_file_becomes_a_folder_with_the_same_model_and_an_extractor(original, tmp_path):
    torch.save({"state_dict": original}, tmp_path / "original.pt")
    folder = convert_original_checkpoint(tmp_path / "original.pt", tmp_path / "converted")
    loaded = STGCNForActionRecognition.from_pretrained(folder)
    back = stgcn_to_original(loaded.state_dict())
    assert back.keys() == original.keys() and all(torch.equal(back[name], original[name]) for name in original)
    assert loaded.config.padded_frames == 300 and not loaded.config.ignore_absent_person
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        assert loaded(**extractor([torch.randn(1, 40, 25, 3).numpy()], return_tensors="pt")).logits.shape == (1, 60)


def test_other_joints_need_a_layout(original_weights):
    config = STGCNConfig.from_preset("original", num_labels=5, layout="coco17", num_channels=3)
    weights = stgcn_to_original(STGCNForActionRecognition(config).state_dict())
    with pytest.raises(ValueError, match="17 joints; name their layout"):
        infer_config(weights)
    with pytest.raises(ValueError, match="17 joints, but layout 'ntu25' has 25"):
        infer_config(weights, "ntu25")
    assert infer_config(weights, "coco17").layout == "coco17"


def test_a_checkpoint_of_another_system_is_named_as_such(original, tmp_path):
    torch.save({"module.encoder.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match="other.pt: this is not a checkpoint of the original ST-GCN code.*encoder.weight"
    ):
        load_original_checkpoint(tmp_path / "other.pt")
    incomplete = {name: tensor for name, tensor in original.items() if not name.endswith("tcn.2.bias")}
    torch.save(incomplete, tmp_path / "incomplete.pt")
    with pytest.raises(ValueError, match="Missing entries: stgcn.layers.0.temporal.conv.bias"):
        load_original_checkpoint(tmp_path / "incomplete.pt")
    with pytest.raises(ValueError, match="not parameters of an ST-GCN model: encoder.weight"):
        stgcn_to_original({"encoder.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "fields",
    [{"hop_to_center": "full"}, {"partition": "distance", "max_hop": 2}, {"partition": "uniform", "max_hop": 2}],
)
def test_the_graph_in_a_checkpoint_tells_how_it_was_made(fields):
    config = STGCNConfig.from_preset("original", num_labels=5, hidden_sizes=[8, 16], strides=[1, 2], **fields)
    found = infer_config(stgcn_to_original(STGCNForActionRecognition(config).state_dict()))
    for name in ("partition", "max_hop", "hop_to_center", "hidden_sizes", "strides"):
        if name != "hop_to_center" or config.partition == "spatial":
            assert getattr(found, name) == getattr(config, name)


def test_a_graph_that_no_layout_gives_is_refused(original):
    changed = {**original, "A": original["A"].flip(1)}
    with pytest.raises(
        ValueError, match=r"graph in the checkpoint \(3 subsets\) is none that can be made from layout 'ntu25'"
    ):
        infer_config(changed)
