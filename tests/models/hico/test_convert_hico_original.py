import pickle

import pytest
import torch

from skeleton_transformers import HiCoForActionRecognition, HiCoForPreTraining, HiCoModel
from skeleton_transformers.models.hico.convert_hico_original import (
    convert_original_checkpoint,
    hico_to_original,
    infer_model,
    load_original_checkpoint,
    original_to_hico,
)


PARTS = {
    "pre-training": ("query", "projectors", "key", "queues"),
    "query": ("query", "projectors"),
    "query without projectors": ("query",),
    "down-stream": ("downstream", "classifier"),
}
CLASSES = {
    "pre-training": HiCoForPreTraining,
    "query": HiCoForPreTraining,
    "query without projectors": HiCoModel,
    "down-stream": HiCoForActionRecognition,
}


def assert_same(first: dict, second: dict):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("encoder", ["transformer", "gru", "lstm"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_is_the_identity(original_state_dict, encoder, parts, prefix):
    original = original_state_dict(encoder, PARTS[parts], prefix)
    ours = original_to_hico(original)
    assert_same(hico_to_original(ours, prefix), original)
    assert_same(original_to_hico(hico_to_original(ours)), ours)
    model_class, config = infer_model(original)
    assert model_class is CLASSES[parts]
    assert (config.encoder, config.num_persons, config.num_frames) == (encoder, 2, 64)
    assert (config.branch_size, config.num_granularities, config.num_layers) == (512, 4, 1)
    assert not config.ignore_absent_person and config.legacy_queue_pointer
    # every tensor of ours has a place in the model, and the model has none that is not in the file but the state of a run
    with torch.device("meta"):
        expected = model_class(config).state_dict()
    names = {name.removeprefix("hico.") for name in ours} if model_class is HiCoModel else set(ours)
    missing = {name for name in expected.keys() - names if not name.endswith("num_updates")}
    if parts == "query":
        missing = {name for name in missing if not name.startswith(("key_encoder.", "key_projections.", "queues."))}
    assert names <= expected.keys() and not missing
    assert all(
        expected[name.removeprefix("hico.") if model_class is HiCoModel else name].shape == tensor.shape
        for name, tensor in ours.items()
        if not name.startswith("queues.")
    )


def test_the_encoder_of_the_downstream_code_alone(original_state_dict):
    original = original_state_dict("gru", ("downstream",))
    ours = original_to_hico(original)
    assert_same(hico_to_original(ours, downstream=True), original)
    bare = {name.removeprefix("hico."): tensor for name, tensor in ours.items()}
    assert_same(hico_to_original(bare), original_state_dict("gru", ("query",)))


def test_a_file_of_pre_training_is_loaded_with_its_queues(original_state_dict, tmp_path):
    original = original_state_dict("gru", PARTS["pre-training"], "module.")
    file = tmp_path / "checkpoint_0450.pth.tar"
    torch.save({"epoch": 450, "state_dict": original}, file)
    model = load_original_checkpoint(file)
    assert isinstance(model, HiCoForPreTraining) and not model.training
    expected = original_to_hico(original)
    for name, tensor in model.state_dict().items():
        if not name.endswith(".num_updates"):
            assert torch.equal(tensor, expected[name]), name
    assert model.queues["clip"].features.shape == (64, 128) and model.queues["clip"].refreshed == 16


def test_without_a_key_encoder_it_is_a_copy_of_the_query_encoder(original_state_dict, tmp_path):
    torch.save(original_state_dict("gru", PARTS["query"]), tmp_path / "query.pth")
    model = load_original_checkpoint(tmp_path / "query.pth")
    for ours, keys in ((model.hico, model.key_encoder.network), (model.projections, model.key_projections.network)):
        assert_same(ours.state_dict(), keys.state_dict())


def test_the_written_folder_gives_the_same_model_and_an_extractor(original_state_dict, tmp_path):
    from skeleton_transformers import SkeletonFeatureExtractor

    torch.save(original_state_dict("gru", PARTS["down-stream"]), tmp_path / "linear.pth")
    folder = convert_original_checkpoint(tmp_path / "linear.pth", tmp_path / "converted", stream="motion")
    loaded = HiCoForActionRecognition.from_pretrained(folder)
    assert_same(loaded.state_dict(), load_original_checkpoint(tmp_path / "linear.pth").state_dict())
    extractor = SkeletonFeatureExtractor.from_pretrained(folder)
    assert (extractor.num_frames, extractor.center_crop, extractor.motion_zero) == (64, 0.95, "last")
    with torch.no_grad():
        inputs = extractor([torch.randn(2, 40, 25, 3).numpy()], return_tensors="pt")
        assert loaded(**inputs).logits.shape == (1, 60)


def test_other_checkpoints_and_missing_entries_are_named(original_state_dict):
    with pytest.raises(ValueError, match=r"not a checkpoint.*Unexpected entries: fcn.weight. Missing.*hi_encoder.t_"):
        original_to_hico({"fcn.weight": torch.zeros(60, 256)})
    state_dict = original_state_dict()
    del state_dict["encoder_q.hi_encoder.s_encoder.layers.0.norm2.bias"]
    with pytest.raises(ValueError, match=r"Unexpected entries: none. Missing.*s_encoder\.layers\.0\.norm2\.bias"):
        original_to_hico(state_dict)
    state_dict = original_state_dict("lstm")
    del state_dict["encoder_q.hi_encoder.t_encoder.weight_hh_l0_reverse"]
    with pytest.raises(ValueError, match=r"Missing.*t_encoder\.weight_hh_l0_reverse"):
        original_to_hico(state_dict)
    with pytest.raises(ValueError, match="150 values per frame.*17 joints.*name the layout"):
        infer_model(original_state_dict(), layout="coco17")


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
    with pytest.raises(ValueError, match="not the parameters of a HiCo model: encoder.weight"):
        hico_to_original({"encoder.weight": torch.zeros(1)})
