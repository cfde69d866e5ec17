"""One suite for every family: add an entry to CASES."""

import copy
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, HiTRSForPreTraining, HiTRSModel


@dataclass(frozen=True)
class Case:
    """One registered model with a tiny configuration.

    Args:
        config: configuration, 25 joints and 3 channels, 5 labels, some dropout.
        encoder: base model class.
        recognition: action recognition class.
        others: further classes around the encoder (pre-training, ...).
        attentions: attention implementations to compare; the first is the reference.
        ignores_absent_persons: whether the result does not depend on empty person slots.
    """

    config: PreTrainedConfig
    encoder: type[PreTrainedModel]
    recognition: type[PreTrainedModel]
    others: tuple[type[PreTrainedModel], ...] = ()
    attentions: tuple[str, ...] = ("eager", "sdpa", "flex_attention")
    ignores_absent_persons: bool = True


CASES = {
    "hitrs": Case(
        HiTRSConfig.from_preset("tiny", num_labels=5), HiTRSModel, HiTRSForActionRecognition, (HiTRSForPreTraining,)
    ),
    "hitrs original": Case(
        HiTRSConfig.from_preset("tiny", num_labels=5, ignore_absent_person=False),
        HiTRSModel,
        HiTRSForActionRecognition,
        (HiTRSForPreTraining,),
        ignores_absent_persons=False,
    ),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return copy.deepcopy(CASES[request.param])


def make(model_class, config, seed=0):
    torch.manual_seed(seed)
    return model_class(config).eval()


def inputs(batch=3, persons=2, frames=40):
    """Ragged lengths, a second person who is there for some frames, one gap, one sample with one person."""
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.randn(batch, persons, frames, 25, 3, generator=generator)
    frame_mask = torch.zeros(batch, persons, frames, dtype=torch.bool)
    frame_mask[0, 0] = True
    frame_mask[0, 1, 5:20] = True
    frame_mask[1, 0, :25] = True
    frame_mask[2, :, :33] = True
    frame_mask[2, 1, 12:17] = False
    return {"keypoints": keypoints * frame_mask[..., None, None], "frame_mask": frame_mask}


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-4)


def test_forward_gives_what_every_encoder_promises(case):
    data = inputs()
    with torch.no_grad():
        output = make(case.encoder, case.config)(**data)
    assert output.pooler_output.shape == (3, case.config.hidden_size)
    batch, persons, steps, _ = output.last_hidden_state.shape
    assert (batch, persons) == (3, 2) and output.step_mask.shape == (3, 2, steps)
    assert output.step_mask.dtype == torch.bool and output.step_mask.flatten(1).any(dim=1).all()
    assert not output.last_hidden_state[~output.step_mask].any()
    assert output.hidden_states is None and output.attentions is None
    assert torch.isfinite(output.last_hidden_state).all() and torch.isfinite(output.pooler_output).all()


def test_tuple_output(case):
    model = make(case.recognition, case.config)
    with torch.no_grad():
        loss, logits = model(**inputs(), labels=torch.tensor([0, 1, 4]), return_dict=False)
    assert loss.ndim == 0 and logits.shape == (3, 5)


def test_every_parameter_of_recognition_learns(case):
    model = make(case.recognition, case.config).train()
    model(**inputs(), labels=torch.tensor([0, 1, 4])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_labels_outside_the_map_are_named(case):
    model = make(case.recognition, case.config)
    with pytest.raises(ValueError, match=r"labels contain 7, but the model has 5 classes"):
        model(**inputs(), labels=torch.tensor([0, 7, 1]))


def test_save_and_load_keep_every_parameter_and_buffer(case, tmp_path):
    for number, model_class in enumerate((case.encoder, case.recognition, *case.others)):
        model = make(model_class, case.config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.save_pretrained(tmp_path / str(number))
        loaded, info = model_class.from_pretrained(tmp_path / str(number), output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        before, after = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (model, loaded))
        assert before.keys() == after.keys()
        for name in before:
            assert torch.equal(before[name], after[name]), name
        assert loaded.config.to_diff_dict().keys() == model.config.to_diff_dict().keys()


def test_encoder_and_heads_load_from_each_other(case, tmp_path):
    head = make(case.recognition, case.config)
    head.save_pretrained(tmp_path / "head")
    encoder, info = case.encoder.from_pretrained(tmp_path / "head", output_loading_info=True)
    assert not info["missing_keys"]
    assert {name.split(".")[0] for name in info["unexpected_keys"]} <= {"classifier"}
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, head.base_model.state_dict()[name]), name
    encoder.save_pretrained(tmp_path / "encoder")
    for model_class in (case.recognition, *case.others):
        loaded, info = model_class.from_pretrained(tmp_path / "encoder", output_loading_info=True)
        assert not info["unexpected_keys"]
        assert not [name for name in info["missing_keys"] if name.startswith(f"{loaded.base_model_prefix}.")]
        for name, tensor in loaded.base_model.state_dict().items():
            assert torch.equal(tensor, encoder.state_dict()[name]), name
        # What was not in the file is initialised, not left as it came from memory.
        for name, tensor in loaded.state_dict().items():
            assert torch.isfinite(tensor).all() and tensor.abs().max() < 10, name


def test_weights_missing_from_a_file_are_initialised_as_in_a_new_model(case, tmp_path):
    model = make(case.encoder, case.config)
    positions = {name: t for name, t in model.state_dict().items() if name.endswith("position_embeddings")}
    kept = {name: t for name, t in model.state_dict().items() if name not in positions}
    model.save_pretrained(tmp_path, state_dict=kept)
    loaded = case.encoder.from_pretrained(tmp_path).state_dict()
    for name, tensor in positions.items():
        assert torch.equal(loaded[name], tensor), name


def test_padding_does_not_matter(case):
    model, data = make(case.encoder, case.config), inputs()
    keypoints = torch.nn.functional.pad(data["keypoints"], (0, 0, 0, 0, 0, 23))
    frame_mask = torch.nn.functional.pad(data["frame_mask"], (0, 23))
    with torch.no_grad():
        short, long = model(**data), model(keypoints, frame_mask)
    close(long.pooler_output, short.pooler_output)
    steps = short.step_mask.shape[2]
    assert torch.equal(long.step_mask[:, :, :steps], short.step_mask) and not long.step_mask[:, :, steps:].any()
    close(long.last_hidden_state[:, :, :steps], short.last_hidden_state)


def test_what_is_under_the_mask_does_not_matter(case):
    model, data = make(case.encoder, case.config), inputs()
    garbage = data["keypoints"].masked_fill(~data["frame_mask"][..., None, None], float("nan"))
    with torch.no_grad():
        close(model(garbage, data["frame_mask"]).pooler_output, model(**data).pooler_output)


def test_gradients_are_finite_with_nan_under_the_mask(case):
    model, data = make(case.recognition, case.config), inputs()
    garbage = data["keypoints"].masked_fill(~data["frame_mask"][..., None, None], float("nan"))
    model(garbage, data["frame_mask"], labels=torch.tensor([0, 1, 4])).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_the_mask_is_found_where_it_is_not_given(case):
    model, data = make(case.encoder, case.config), inputs()
    with torch.no_grad():
        close(model(data["keypoints"]).pooler_output, model(**data).pooler_output)


def test_the_other_samples_of_a_batch_do_not_matter(case):
    model, data = make(case.encoder, case.config), inputs()
    with torch.no_grad():
        together = model(**data).pooler_output
        for row in range(3):
            alone = model(**{name: tensor[row : row + 1] for name, tensor in data.items()}).pooler_output
            close(alone[0], together[row])
        order = torch.tensor([2, 0, 1])
        close(model(**{name: tensor[order] for name, tensor in data.items()}).pooler_output, together[order])


def test_the_order_of_persons_does_not_matter(case):
    model, data = make(case.encoder, case.config), inputs()
    with torch.no_grad():
        output = model(**data)
        flipped = model(**{name: tensor.flip(1) for name, tensor in data.items()})
    close(flipped.pooler_output, output.pooler_output)
    close(flipped.last_hidden_state.flip(1), output.last_hidden_state)


def test_absent_persons(case):
    model, data = make(case.encoder, case.config), inputs()
    more = {
        "keypoints": torch.nn.functional.pad(data["keypoints"], (0, 0, 0, 0, 0, 0, 1, 2)),
        "frame_mask": torch.nn.functional.pad(data["frame_mask"], (0, 0, 1, 2)),
    }
    with torch.no_grad():
        expected, actual = model(**data), model(**more)
    close(actual.last_hidden_state[:, 1:3], expected.last_hidden_state)
    if case.ignores_absent_persons:
        close(actual.pooler_output, expected.pooler_output)
        assert not actual.step_mask[:, [0, 3, 4]].any()
    else:
        assert (actual.pooler_output - expected.pooler_output).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(2, 1, 20, 17, 3), (2, 1, 20, 25, 2)])
def test_wrong_joints_or_channels_are_named(case, shape):
    model = make(case.encoder, case.config)
    with pytest.raises(
        ValueError, match=f"keypoints have {shape[3]} joints and {shape[4]} channels.*25 joints.*3 channels"
    ):
        model(torch.randn(shape), torch.ones(shape[:3], dtype=torch.bool))


def test_wrong_ranks_are_named(case):
    model = make(case.encoder, case.config)
    with pytest.raises(ValueError, match=r"\(batch, persons, frames, joints, channels\); got \(2, 20, 25, 3\)"):
        model(torch.randn(2, 20, 25, 3))
    with pytest.raises(ValueError, match=r"frame_mask must have shape .* = \(2, 1, 20\); got \(2, 20\)"):
        model(torch.randn(2, 1, 20, 25, 3), torch.ones(2, 20, dtype=torch.bool))


def test_a_sample_without_anybody_is_named(case):
    data = inputs()
    data["frame_mask"][1] = False
    with pytest.raises(ValueError, match="nobody is present in any frame of sample 1"):
        make(case.encoder, case.config)(**data)


def test_attention_implementations_agree(case):
    assert_attentions_agree(case, [name for name in case.attentions if name != "flex_attention"])


@pytest.mark.slow  # compiles for half a minute
def test_flex_attention_agrees(case):
    if "flex_attention" not in case.attentions:
        pytest.skip("the family has no flex attention")
    # Compiled for each shape: with shapes left open, the compiler of torch 2.13 writes wrong C++ for flex attention on a CPU.
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        assert_attentions_agree(case, [case.attentions[0], "flex_attention"])


def assert_attentions_agree(case, attentions):
    data = inputs()
    model = make(case.encoder, case.config)
    results = []
    for attention in attentions:
        model.set_attn_implementation(attention)
        with torch.no_grad():
            results.append(model(**data))
    for result in results[1:]:
        close(result.pooler_output, results[0].pooler_output)
        close(result.last_hidden_state, results[0].last_hidden_state)


def test_attention_implementations_have_equal_gradients(case):
    data, gradients = inputs(), []
    for attention in [name for name in case.attentions if name != "flex_attention"]:  # no backward on a CPU
        model = make(case.recognition, case.config)
        model.set_attn_implementation(attention)
        model(**data, labels=torch.tensor([0, 1, 4])).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            close(other[name], gradient)


def test_gradient_checkpointing_changes_nothing(case):
    data, gradients = inputs(), []
    for checkpointing in (False, True):
        model = make(case.recognition, case.config).train()
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        torch.manual_seed(5)
        model(**data, labels=torch.tensor([0, 1, 4])).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        close(gradients[1][name], gradient)


def test_evaluation_is_deterministic_and_training_is_not(case):
    model, data = make(case.encoder, case.config), inputs()
    with torch.no_grad():
        assert torch.equal(model(**data).pooler_output, model(**data).pooler_output)
        model.train()
        assert not torch.equal(model(**data).pooler_output, model(**data).pooler_output)


def test_bfloat16_is_close(case):
    model, data = make(case.encoder, case.config), inputs()
    with torch.no_grad():
        expected = model(**data).pooler_output
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(**data).pooler_output
        half = model.to(torch.bfloat16)(**data).pooler_output
    assert half.dtype == torch.bfloat16
    for actual in (mixed, half):
        assert (actual.float() - expected).abs().mean() < 0.03 * expected.abs().mean()


def test_hidden_states_and_attentions_do_not_change_the_result(case):
    model, data = make(case.encoder, case.config), inputs()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        plain, full = model(**data), model(**data, output_hidden_states=True, output_attentions=True)
    close(full.pooler_output, plain.pooler_output)
    assert len(full.hidden_states) > 1 and all(torch.isfinite(states).all() for states in full.hidden_states)
    for weights in full.attentions:
        close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_attentions_need_eager_attention(case):
    model = make(case.encoder, case.config)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="set_attn_implementation.'eager'."):
        model(**inputs(), output_attentions=True)


def test_the_trainer_does_not_rescale_the_loss(case):
    # With gradient accumulation the Trainer would multiply a plain mean.
    for model_class in (case.recognition, *case.others):
        assert model_class.accepts_loss_kwargs is False
