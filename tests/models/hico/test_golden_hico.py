"""The same numbers as the original classes, run once on the same weights and inputs, and the published sizes."""

import pytest
import torch

from skeleton_transformers import HiCoConfig, HiCoForActionRecognition, HiCoForPreTraining, HiCoModel
from skeleton_transformers.modeling_attention import LayerRecord
from skeleton_transformers.models.hico.convert_hico_original import original_to_hico
from skeleton_transformers.models.hico.modeling_hico import HiCoModelOutput
from skeleton_transformers.objectives.info_nce import multi_positive_cross_entropy


ENCODERS = {"transformer": "Transformer", "gru": "GRU", "lstm": "LSTM"}


@pytest.fixture(scope="module", params=ENCODERS)
def run(request, original_state_dict, golden_input):
    """Encoder and projectors on the inputs of the golden values, whose two views are not those of one sequence."""
    model = HiCoForPreTraining(HiCoConfig.from_preset("original", encoder=request.param, queue_size=8)).eval()
    weights = original_to_hico(original_state_dict(request.param))
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert all(name.startswith(("key_", "queues.")) for name in missing)
    time_major, space_major = golden_input(2, 64, 150), golden_input(2, 50, 192, f=0.091)
    with torch.no_grad():
        clips, _ = model.hico.temporal(time_major, torch.ones(2, 64, dtype=torch.bool), LayerRecord())
        parts, _ = model.hico.spatial(space_major, torch.ones(2, 50, dtype=torch.bool), LayerRecord())
        pooled = torch.cat([clips.flatten(1), parts.flatten(1)], dim=1)
        output = HiCoModelOutput(pooler_output=pooled, clip_hidden_state=clips, part_hidden_state=parts)
        z = model.projections(output)
    names = {"zc": "clip", "zp": "part", "zt": "temporal", "zs": "spatial", "zi": "instance"}
    return request.param, {"vc": clips, "vp": parts, **{theirs: z[ours] for theirs, ours in names.items()}}


@pytest.mark.parametrize("name", ["vc", "vp", "zc", "zp", "zt", "zs", "zi"])
def test_every_level_equals_the_original(name, run, golden):
    encoder, results = run
    expected, actual = golden[f"hico_{ENCODERS[encoder]}"][name], results[name]
    assert actual.numel() == expected["numel"]
    torch.testing.assert_close(actual.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert actual.sum().item() == pytest.approx(expected["sum"], rel=1e-3, abs=2e-4)
    assert actual.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


def test_multiple_positives_equal_the_original(golden, golden_input):
    expected = golden["losses"]["hico_multi_pos(logits=5*inp(4,36), first 4 positive)"]
    logits = 5 * golden_input(4, 36)
    assert multi_positive_cross_entropy(logits, 4).mean().item() == pytest.approx(expected, abs=2e-4)
    by_hand = -logits.softmax(dim=1)[:, :4].sum(dim=1).log()
    torch.testing.assert_close(multi_positive_cross_entropy(logits, 4), by_hand)


def test_the_views_of_a_sequence_equal_the_original(golden, golden_input):
    """Time-major and space-major inputs of a sequence that has been cropped and resized to 64 frames."""
    from skeleton_transformers import SkeletonFeatureExtractor

    keypoints = golden_input(3, 300, 25, 2).permute(3, 1, 2, 0)[:, :100]  # C T V M -> M T V C, 100 valid frames
    extractor = SkeletonFeatureExtractor(center_crop=0.95, num_frames=64)
    inputs = extractor([keypoints.numpy()], return_tensors="pt")
    model = HiCoModel(HiCoConfig.from_preset("original", branch_size=8, intermediate_size=8)).eval()
    seen = {}
    for name in ("temporal", "spatial"):
        getattr(model, name).embeddings.dense.register_forward_pre_hook(
            lambda module, args, name=name: seen.update({name: args[0]})
        )
    with torch.no_grad():
        model(**inputs)
    for name, entry in (("temporal", "hico_time_major"), ("spatial", "hico_space_major")):
        torch.testing.assert_close(
            seen[name].flatten()[:8], torch.tensor(golden["data"][entry]["first8"]), atol=2e-4, rtol=0
        )
        assert seen[name].sum().item() == pytest.approx(golden["data"][entry]["sum"], rel=1e-3)
        assert seen[name].numel() == golden["data"][entry]["numel"]


@pytest.mark.parametrize(
    "encoder, alone, with_projectors, with_classifier",
    [
        ("transformer", 3_867_648, 8_917_120, 4_113_468),
        ("gru", 3_077_120, 8_126_592, 3_322_940),
        ("lstm", 3_865_600, 8_915_072, 4_111_420),
    ],
)
def test_parameters_are_as_many_as_published(encoder, alone, with_projectors, with_classifier):
    config = HiCoConfig(encoder=encoder, num_labels=60)
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in model_class(config).parameters())
            for model_class in (HiCoModel, HiCoForPreTraining, HiCoForActionRecognition)
        ]
    assert counts == [alone, 2 * with_projectors, with_classifier]
