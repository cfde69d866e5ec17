"""The same numbers as the original classes, run once on the same weights and inputs, and the published sizes."""

import pytest
import torch

from skeleton_transformers import MAMPConfig, MAMPForActionRecognition, MAMPForPreTraining, MAMPModel
from skeleton_transformers.models.mamp.convert_mamp_original import original_to_mamp
from skeleton_transformers.models.mamp.modeling_mamp import make_target
from skeleton_transformers.models.segment_layers import make_tokens, masking_probabilities


def assert_golden(actual, expected):
    assert actual.numel() == expected["numel"]
    torch.testing.assert_close(actual.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert actual.sum().item() == pytest.approx(expected["sum"], rel=1e-3)
    assert actual.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


@pytest.fixture(scope="module")
def clip(golden_input):
    """The clip of the golden values as ours: N C T V M -> batch, persons, frames, joints, channels."""
    keypoints = golden_input(2, 3, 120, 25, 2).permute(0, 4, 2, 3, 1)
    return {"keypoints": keypoints, "frame_mask": torch.ones(keypoints.shape[:3], dtype=torch.bool)}


def noise_that_shows(tokens):
    """With uniform masking the tokens with the least noise stay visible."""
    noise = torch.full((750,), 0.9)
    noise[tokens] = 0.1
    return noise.view(1, 1, 30, 25).expand(2, 2, -1, -1)


def test_prediction_and_loss_equal_the_original(original_state_dict, clip, golden):
    model = MAMPForPreTraining(MAMPConfig.from_preset("original", motion_temperature=0.0)).eval()
    model.load_state_dict(original_to_mamp(original_state_dict()))
    noise = noise_that_shows([379 * index % 750 for index in range(74)])
    with torch.no_grad():
        output = model(**clip, noise=noise)
    assert_golden(output.predicted_values, golden["mamp"]["pretrain_pred"])
    assert output.loss.item() == pytest.approx(golden["mamp"]["pretrain_loss"], abs=2e-4)
    assert torch.equal(output.masked_tokens, noise > 0.5)


def test_target_and_masking_probabilities_equal_the_original(clip, golden):
    config = MAMPConfig(norm_target=False)  # the recorded target is the one before it is normalised
    tokens = make_tokens(config, **clip)
    assert_golden(make_target(config, tokens), golden["mamp"]["motion_target_patch"])
    # the recorded probabilities are multiplied by the number of tokens
    probabilities = masking_probabilities(config, tokens.values, tokens.mask)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))
    assert_golden(750 * probabilities, golden["mamp"]["mask_prob_tau0.8"])


def test_logits_after_fine_tuning_equal_the_original(original_state_dict, clip, golden):
    model = MAMPForActionRecognition(MAMPConfig.from_preset("original", num_labels=60)).eval()
    model.load_state_dict(original_to_mamp(original_state_dict("mlp")))
    with torch.no_grad():
        assert_golden(model(**clip).logits, golden["mamp"]["finetune_logits"])


def test_logits_of_the_linear_head_equal_the_original(original_state_dict, clip, golden, golden_rule):
    """They were recorded before the authors' script puts a batch normalisation into the head."""
    weights = original_to_mamp(original_state_dict("linear"))
    weights["classifier.output.weight"] = golden_rule("head.fc.weight", (60, 256))
    weights["classifier.output.bias"] = golden_rule("head.fc.bias", (60,))
    model = MAMPForActionRecognition(MAMPConfig.from_preset("original", num_labels=60, classifier="linear")).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        normalised = model(**clip).logits
        features = model.mamp(**clip).pooler_output
        model.classifier.norm = torch.nn.Identity()
        assert_golden(model(**clip).logits, golden["mamp"]["linprobe_logits"])
    mean, variance = weights["classifier.norm.running_mean"], weights["classifier.norm.running_var"]
    features = (features - mean) / (variance + 1e-6).sqrt()
    expected = features @ weights["classifier.output.weight"].T + weights["classifier.output.bias"]
    torch.testing.assert_close(normalised, expected, atol=1e-5, rtol=1e-4)


def test_parameters_are_as_many_as_published():
    def count(model_class, **fields):
        with torch.device("meta"):
            return sum(p.numel() for p in model_class(MAMPConfig(num_labels=60, **fields)).parameters())

    assert count(MAMPModel) == 6_336_000
    assert count(MAMPForPreTraining) == 8_789_004
    assert count(MAMPForPreTraining, num_decoder_layers=5) == 10_368_524
    assert count(MAMPForActionRecognition, classifier="linear") == 6_351_420
    assert count(MAMPForActionRecognition) == 19_572_284
