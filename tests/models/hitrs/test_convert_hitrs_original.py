import pickle

import pytest
import torch

from skeleton_transformers import HiTRSForActionRecognition, HiTRSForPreTraining, HiTRSModel
from skeleton_transformers.models.hitrs.convert_hitrs_original import (
    convert_original_checkpoint,
    hitrs_to_original,
    infer_model,
    load_original_checkpoint,
    original_to_hitrs,
)


def assert_same(first: dict, second: dict):
    assert list(first) == list(second)
    assert all(first[name] is second[name] for name in first)


@pytest.mark.parametrize("num_layers, num_labels, heads", [(3, 60, True), (2, None, True), (3, None, False)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original_state_dict, num_layers, num_labels, heads, prefix):
    original = original_state_dict(num_layers, num_labels, prefix=prefix, heads=heads)
    ours = original_to_hitrs(original)
    assert_same(hitrs_to_original(ours, prefix=prefix), original)
    assert_same(original_to_hitrs(hitrs_to_original(ours)), ours)


def test_back_and_there_is_the_identity_for_the_encoder_alone(original_state_dict):
    model_class, config = infer_model(original_state_dict(2, None, heads=False))
    assert model_class is HiTRSModel
    weights = dict(HiTRSModel(config).state_dict())
    restored = original_to_hitrs(hitrs_to_original(weights))
    assert_same({name.removeprefix("hitrs."): tensor for name, tensor in restored.items()}, weights)


@pytest.mark.parametrize(
    "num_layers, num_labels, heads, expected, tensors, parameters",
    [
        (3, 60, True, HiTRSForActionRecognition, 131, 7_081_923),
        (3, None, True, HiTRSForPreTraining, 129, 7_051_143),
        (2, 60, True, HiTRSForActionRecognition, 95, 4_881_475),
        (3, None, False, HiTRSModel, 121, 6_917_888),
    ],
)
def test_the_model_is_told_from_the_shapes(
    original_state_dict, num_layers, num_labels, heads, expected, tensors, parameters
):
    state_dict = original_state_dict(num_layers, num_labels, heads=heads)
    assert len(state_dict) == tensors
    assert sum(tensor.numel() for tensor in state_dict.values()) == parameters
    model_class, config = infer_model(state_dict)
    assert model_class is expected
    assert config.num_layers == num_layers and config.num_joints == 25 and config.max_clips == 200
    assert config.hidden_sizes == [128, 256, 512] and config.intermediate_sizes == [128, 128, 256]
    assert config.num_attention_heads == 8 and not config.ignore_absent_person
    if num_labels:
        assert config.num_labels == num_labels


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_file_is_loaded_exactly(original_state_dict, tmp_path, wrapper):
    original = original_state_dict(2, 60, prefix="module.")
    file = tmp_path / "original.pth"
    torch.save({wrapper: original, "iteration": 3} if wrapper else original, file)
    model = load_original_checkpoint(file)
    assert isinstance(model, HiTRSForActionRecognition) and not model.training
    expected = original_to_hitrs(original)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_the_written_folder_gives_the_same_model_and_an_extractor(original_state_dict, tmp_path):
    pytest.importorskip("skeleton_transformers.feature_extraction_skeleton")
    from skeleton_transformers import SkeletonFeatureExtractor

    file = tmp_path / "original.pth"
    torch.save(original_state_dict(2, 60), file)
    folder = convert_original_checkpoint(file, tmp_path / "converted")
    model, loaded = load_original_checkpoint(file), HiTRSForActionRecognition.from_pretrained(folder)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    keypoints = torch.randn(2, 40, 25, 3).numpy()
    with torch.no_grad():
        assert loaded(**extractor([keypoints], return_tensors="pt")).logits.shape == (1, 60)


def test_a_checkpoint_of_another_family_is_named_as_such(tmp_path):
    file = tmp_path / "stgcn.pth"
    torch.save({"module.A": torch.zeros(3, 25, 25), "module.fcn.weight": torch.zeros(60, 256)}, file)
    with pytest.raises(
        ValueError, match=r"stgcn.pth.*not a checkpoint.*module\.A, module\.fcn\.weight.*Missing.*s_pe\.pe"
    ):
        load_original_checkpoint(file)


def test_a_missing_layer_is_named(original_state_dict):
    state_dict = original_state_dict(3, None)
    del state_dict["c_enc.layer_stack.1.pos_ffn.w_2.bias"]
    with pytest.raises(
        ValueError, match=r"Unexpected entries: none. Missing.*c_enc\.layer_stack\.1\.pos_ffn\.w_2\.bias"
    ):
        original_to_hitrs(state_dict)


def test_other_joints_need_a_layout(original_state_dict):
    state_dict = original_state_dict(2, None)
    state_dict["s_pe.pe"], state_dict["c_pe.pe"] = torch.zeros(17, 128), torch.zeros(7, 17, 256)
    with pytest.raises(ValueError, match="17 joints; name their layout"):
        infer_model(state_dict)
    with pytest.raises(ValueError, match="17 joints, but layout 'ntu25' has 25"):
        infer_model(state_dict, layout="ntu25")
    assert infer_model(state_dict, layout="coco17")[1].num_joints == 17


def test_code_in_a_file_is_never_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    file = tmp_path / "attack.pth"
    file.write_bytes(pickle.dumps({"weights": Attack()}, protocol=2))
    with pytest.raises(ValueError, match="attack.pth: the file is no checkpoint of plain tensors"):
        load_original_checkpoint(file)
    assert not (tmp_path / "pwned").exists()


def test_a_file_without_tensors_is_refused(tmp_path):
    file = tmp_path / "empty.pth"
    torch.save({"epoch": 3}, file)
    with pytest.raises(ValueError, match=r"no dictionary of tensors.*found \['epoch'\]"):
        load_original_checkpoint(file)


def test_names_of_another_model_cannot_be_exported():
    with pytest.raises(ValueError, match="not parameters of a Hi-TRS model: encoder.weight"):
        hitrs_to_original({"encoder.weight": torch.zeros(1)})
