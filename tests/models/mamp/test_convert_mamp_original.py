import pickle

import pytest
import torch

from skeleton_transformers import MAMPForActionRecognition, MAMPForPreTraining, MAMPModel
from skeleton_transformers.models.mamp.convert_mamp_original import (
    convert_original_checkpoint,
    infer_model,
    load_original_checkpoint,
    mamp_to_original,
    original_to_mamp,
)


CLASSES = {
    "pretraining": MAMPForPreTraining,
    "encoder": MAMPModel,
    "mlp": MAMPForActionRecognition,
    "linear": MAMPForActionRecognition,
}


def assert_same(first: dict, second: dict):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original_state_dict, kind, prefix):
    original = original_state_dict(kind, prefix)
    ours = original_to_mamp(original)
    assert_same(mamp_to_original(ours, prefix), original)
    assert_same(original_to_mamp(mamp_to_original(ours)), ours)
    model_class, config = infer_model(original)
    assert model_class is CLASSES[kind]
    assert (config.num_frames, config.segment_length, config.num_layers, config.hidden_size) == (120, 4, 8, 256)
    assert not config.ignore_absent_person
    # every tensor of ours has a place in the model, and the model has none that is not in the file
    with torch.device("meta"):
        expected = model_class(config).state_dict()
    names = {name.removeprefix("mamp.") if model_class is MAMPModel else name: t for name, t in ours.items()}
    assert {name: t.shape for name, t in expected.items()} == {name: t.shape for name, t in names.items()}


def test_the_projection_is_the_convolution_of_the_original(original_state_dict):
    original = original_state_dict("encoder")
    ours = original_to_mamp(original)
    clip = torch.randn(2, 3, 120, 25)  # the original's axes: channels, frames, joints
    weight, bias = (original[f"joints_embed.proj.{kind}"] for kind in ("weight", "bias"))
    expected = torch.nn.functional.conv2d(clip, weight, bias, stride=(4, 1)).permute(0, 2, 3, 1)
    values = clip.permute(0, 2, 3, 1).unflatten(1, (30, 4)).transpose(2, 3).flatten(3)
    projection = "mamp.embeddings.projection"
    actual = torch.nn.functional.linear(values, ours[f"{projection}.weight"], ours[f"{projection}.bias"])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


def test_a_file_becomes_a_folder_with_an_extractor(original_state_dict, tmp_path):
    from skeleton_transformers import SkeletonFeatureExtractor

    file = tmp_path / "checkpoint-399.pth"
    torch.save({"model": original_state_dict("linear"), "epoch": 399}, file)
    folder = convert_original_checkpoint(file, tmp_path / "converted")
    loaded = MAMPForActionRecognition.from_pretrained(folder)
    assert_same(dict(loaded.state_dict()), dict(load_original_checkpoint(file).state_dict()))
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    assert (extractor.num_frames, extractor.center_crop, extractor.center) == (120, 0.95, "first_frame")
    inputs = extractor([torch.randn(2, 40, 25, 3).numpy()], return_tensors="pt")
    with torch.no_grad():
        assert loaded.eval()(**inputs).logits.shape == (1, 60)


def test_other_checkpoints_and_missing_entries_are_named(original_state_dict, tmp_path):
    with pytest.raises(ValueError, match=r"not a checkpoint.*Unexpected entries: fcn.weight. Missing.*temp_embed"):
        original_to_mamp({"fcn.weight": torch.zeros(60, 256)})
    state_dict = original_state_dict()
    del state_dict["decoder_blocks.1.norm2.bias"]
    with pytest.raises(ValueError, match=r"Unexpected entries: none. Missing.*decoder_blocks\.1\.norm2\.bias"):
        original_to_mamp(state_dict)
    state_dict = original_state_dict("mlp")
    del state_dict["head.bn.running_var"]
    with pytest.raises(ValueError, match=r"Missing entries: head\.bn\.running_var"):
        original_to_mamp(state_dict)
    with pytest.raises(ValueError, match="25 joints, but the layout 'coco17' has 17; name the layout"):
        infer_model(original_state_dict(), layout="coco17")
    state_dict = original_state_dict("encoder")
    state_dict["blocks.0.mlp.fc2.bias"] = torch.zeros(7)
    torch.save(state_dict, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth: [\s\S]*layers\.0\.output\.bias"):
        load_original_checkpoint(tmp_path / "odd.pth")


def test_code_in_a_file_is_never_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    file = tmp_path / "attack.pth"
    file.write_bytes(pickle.dumps({"weights": Attack()}, protocol=2))
    with pytest.raises(ValueError, match="attack.pth: the file is no checkpoint of plain tensors"):
        load_original_checkpoint(file)
    assert not (tmp_path / "pwned").exists()


def test_names_of_another_model_cannot_be_exported():
    with pytest.raises(ValueError, match="not the parameters of a MAMP model: encoder.weight"):
        mamp_to_original({"encoder.weight": torch.zeros(1)})
