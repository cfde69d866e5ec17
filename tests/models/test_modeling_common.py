"""One suite for every family: add an entry to CASES."""

import copy
import json
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from skeleton_transformers import (
    AGCNConfig,
    AGCNForActionRecognition,
    AGCNModel,
    ASGCNConfig,
    ASGCNForActionRecognition,
    ASGCNForPreTraining,
    ASGCNModel,
    HiCoConfig,
    HiCoForActionRecognition,
    HiCoForPreTraining,
    HiCoModel,
    HiTRSConfig,
    HiTRSForActionRecognition,
    HiTRSForPreTraining,
    HiTRSModel,
    MAMPConfig,
    MAMPForActionRecognition,
    MAMPForPreTraining,
    MAMPModel,
    MCCConfig,
    MCCForPreTraining,
    STGCNConfig,
    STGCNForActionRecognition,
    STGCNModel,
    StudentTeacherConfig,
    StudentTeacherForActionRecognition,
    StudentTeacherForPreTraining,
    StudentTeacherModel,
)
from skeleton_transformers.data.mcc_collator import MCCPreTrainingCollator
from skeleton_transformers.modeling_loading import CheckpointError
from skeleton_transformers.models.asgcn.modeling_asgcn import ASGCNLinkInference
from skeleton_transformers.models.families import get_family


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
        ignores_person_order: whether exchanging two persons leaves the result.
        has_dropout: whether training differs from evaluation.
    """

    config: PreTrainedConfig
    encoder: type[PreTrainedModel]
    recognition: type[PreTrainedModel]
    others: tuple[type[PreTrainedModel], ...] = ()
    attentions: tuple[str, ...] = ("eager", "sdpa", "flex_attention")
    ignores_absent_persons: bool = True
    ignores_person_order: bool = True
    has_dropout: bool = True


def hico(attentions=("eager", "sdpa", "flex_attention"), has_dropout=True, **fields) -> Case:
    return Case(
        HiCoConfig.from_preset("tiny", num_labels=5, queue_size=16, **fields),
        HiCoModel,
        HiCoForActionRecognition,
        (HiCoForPreTraining,),
        attentions=attentions,
        ignores_person_order=False,
        has_dropout=has_dropout,
    )


def graph(config, encoder, recognition, others=(), original=False) -> Case:
    fields = {"num_labels": 5, "hidden_dropout_prob": 0.1}
    if original:
        fields |= {"ignore_absent_person": False, "padded_frames": 72}
    return Case(
        config.from_preset("tiny", **fields),
        encoder,
        recognition,
        others,
        attentions=("eager",),
        ignores_absent_persons=not original,
    )


def mamp(ignores_absent_persons=True, **fields) -> Case:
    return Case(
        MAMPConfig.from_preset(
            "tiny", num_labels=5, drop_path_rate=0.1, ignore_absent_person=ignores_absent_persons, **fields
        ),
        MAMPModel,
        MAMPForActionRecognition,
        (MAMPForPreTraining,),
        ignores_absent_persons=ignores_absent_persons,
    )


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
    "hico": hico(),
    "hico original": hico(ignore_absent_person=False),
    "hico paper": hico(
        embedding_layer_norm=False,
        depthwise_downsampling=False,
        downsampling_norm_first=False,
        spatial_tokens="joint",
    ),
    "hico gru": hico(("eager",), has_dropout=False, encoder="gru"),
    "hico lstm": hico(("eager",), has_dropout=False, encoder="lstm"),
    "hico temporal": hico(branches="temporal", domain_loss_weight=0, part_loss_weight=0),
    "hico spatial": hico(branches="spatial", domain_loss_weight=0, clip_loss_weight=0),
    "stgcn": graph(STGCNConfig, STGCNModel, STGCNForActionRecognition),
    "stgcn original": graph(STGCNConfig, STGCNModel, STGCNForActionRecognition, original=True),
    "mamp": mamp(),
    "mamp original": mamp(ignores_absent_persons=False),
    "mamp not resized": mamp(resize=False, num_frames=64, classifier="linear"),
    "mamp temporal": mamp(attention="temporal", segment_length=1),
    "student teacher": Case(
        StudentTeacherConfig.from_preset("tiny", num_labels=5, drop_path_rate=0.1),
        StudentTeacherModel,
        StudentTeacherForActionRecognition,
        (StudentTeacherForPreTraining,),
    ),
    "agcn": graph(AGCNConfig, AGCNModel, AGCNForActionRecognition),
    "asgcn": graph(ASGCNConfig, ASGCNModel, ASGCNForActionRecognition, (ASGCNForPreTraining,)),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return copy.deepcopy(CASES[request.param])


def task_class(case: Case, role: str) -> type[PreTrainedModel]:
    """The family's class for a task that is not in the case itself."""
    model_class = get_family(case.config.model_type).load(role)
    if model_class is None:
        pytest.skip(f"the family has no {role}")
    return model_class


def make(model_class, config, seed=0):
    torch.manual_seed(seed)
    model = model_class(config)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        # A new network with batch norms gives next to nothing in evaluation; it needs to have seen what its layers give.
        for norm in norms:
            norm.momentum = None  # the statistics are the means over all batches so far
        with torch.no_grad():
            model.train().base_model(**inputs())
        for norm in norms:
            norm.momentum = 0.1
    return model.eval()


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
        if not parameter.requires_grad:  # what was trained before and stays as it is
            continue
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
        # The state of a training run is no part of a saved model.
        for name in before.keys() - set(model._keys_to_ignore_on_save or ()):
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
    if positions:  # the file of a class that says it is complete is refused; that of another class of the family may lack something
        with pytest.raises(CheckpointError, match=f"lacks {len(positions)} tensors of {case.encoder.__name__}"):
            case.encoder.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": None}))
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
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 4 and all(torch.isfinite(gradient).all() for gradient in gradients)


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
    if not case.ignores_person_order:
        assert (flipped.pooler_output - output.pooler_output).abs().max() > 1e-3
        return
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
        assert torch.equal(model(**data).pooler_output, model(**data).pooler_output) != case.has_dropout


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
    if not model._supports_sdpa:
        pytest.skip("the family has one attention implementation only")
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="set_attn_implementation.'eager'."):
        model(**inputs(), output_attentions=True)


def test_the_trainer_does_not_rescale_the_loss(case):
    # With gradient accumulation the Trainer would multiply a plain mean.
    for model_class in (case.recognition, *case.others):
        assert model_class.accepts_loss_kwargs is False


# -- action detection --------------------------------------------------------------------------------------------------


def frame_labels(frames=40):
    """Labels for `inputs`: -100 in padding and in some other frames."""
    labels = torch.randint(0, 5, (3, frames), generator=torch.Generator().manual_seed(2))
    labels[1, 25:], labels[2, 33:], labels[:, ::3] = -100, -100, -100
    return labels


def test_detection_scores_every_frame(case):
    model, labels = make(task_class(case, "action_detection"), case.config), frame_labels()
    with torch.no_grad():
        output = model(**inputs(), labels=labels)
        as_tuple = model(**inputs(), labels=labels, return_dict=False)
    assert output.logits.shape == (3, 40, 5) and torch.isfinite(output.logits).all()
    counted = labels != -100
    close(output.loss, torch.nn.functional.cross_entropy(output.logits[counted], labels[counted]))
    assert torch.equal(as_tuple[0], output.loss) and torch.equal(as_tuple[1], output.logits)


def test_detection_in_chunks_is_detection_of_the_whole(case):
    model, data = make(task_class(case, "action_detection"), case.config), inputs()
    data = {name: torch.cat([value, value.flip(2), value], dim=2) for name, value in data.items()}  # 120 frames
    with torch.no_grad():
        model.chunk_frames = 1000
        whole = model(**data).logits
        for size in (13, 50):
            model.chunk_frames = size
            close(model(**data).logits, whole)
        chunks = list(model.iterate_logits(**data, chunk_frames=50))
    assert len(chunks) > 1
    close(torch.cat(chunks, dim=1), whole)
    assert (whole[:, 1:] - whole[:, :-1]).abs().amax() > 1e-3  # frames differ


def test_detection_does_not_depend_on_padding_or_batch_or_masked_values(case):
    model, data = make(task_class(case, "action_detection"), case.config), inputs()
    garbage = data["keypoints"].masked_fill(~data["frame_mask"][..., None, None], float("nan"))
    with torch.no_grad():
        expected = model(**data).logits
        padded = model(
            torch.nn.functional.pad(data["keypoints"], (0, 0, 0, 0, 0, 23)),
            torch.nn.functional.pad(data["frame_mask"], (0, 23)),
        ).logits
        close(padded[:, :40], expected)
        close(model(garbage, data["frame_mask"]).logits, expected)
        close(model(data["keypoints"]).logits, expected)
        for row in range(3):
            alone = model(**{name: tensor[row : row + 1] for name, tensor in data.items()}).logits
            close(alone[0], expected[row])


def test_detection_of_a_take_in_which_nobody_is_seen_for_long(case):
    model, data = make(task_class(case, "action_detection"), case.config), inputs()
    empty = {name: torch.zeros_like(torch.cat([value] * 4, dim=2)) for name, value in data.items()}
    take = {name: torch.cat([value, empty[name], value], dim=2) for name, value in data.items()}
    with torch.no_grad():
        model.chunk_frames = 16
        logits = model(**take).logits
        assert torch.isfinite(logits).all()
        close(logits[:, 110:120], logits[:, 100:110])  # the middle of the gap looks the same everywhere


def test_detection_trains_on_labelled_frames(case):
    model, labels = make(task_class(case, "action_detection"), case.config), frame_labels()
    data = inputs()
    data["keypoints"] = data["keypoints"].masked_fill(~data["frame_mask"][..., None, None], float("nan"))
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, (torch.nn.modules.batchnorm._BatchNorm, ASGCNLinkInference)):
            module.eval()  # statistics of the batch and links that are drawn
    loss = model(**data, labels=labels).loss
    loss.backward()
    assert model.classifier.weight.grad.any()
    used = [parameter.grad for parameter in model.base_model.parameters() if parameter.grad is not None]
    assert len(used) > 4 and all(torch.isfinite(gradient).all() for gradient in used)
    model.eval()
    with torch.no_grad():
        close(model(**data, labels=labels).loss, loss.detach())


def test_detection_names_labels_that_do_not_fit(case):
    model, labels = make(task_class(case, "action_detection"), case.config), frame_labels()
    with pytest.raises(ValueError, match=r"labels must have shape \(batch, frames\) = \(3, 40\).*got \(3, 39\)"):
        model(**inputs(), labels=labels[:, 1:])
    labels[0, 1] = 9
    with pytest.raises(ValueError, match="labels contain 9, but the model has 5 classes"):
        model(**inputs(), labels=labels)


# -- motion prediction -------------------------------------------------------------------------------------------------


def test_prediction_goes_on_from_the_last_observed_pose(case):
    model, data = make(task_class(case, "motion_prediction"), case.config), inputs()
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.output.bias.zero_()
        predicted = model(**data).predicted_keypoints
    assert predicted.shape == (3, 2, case.config.prediction_frames, 25, 3) and predicted.dtype == torch.float32
    last = {(0, 0): 39, (0, 1): 19, (1, 0): 24, (2, 0): 32, (2, 1): 32}
    for (row, person), frame in last.items():
        expected = data["keypoints"][row, person, frame].expand(case.config.prediction_frames, -1, -1)
        assert torch.equal(predicted[row, person], expected)
    assert not predicted[1, 1].any()  # never observed


def test_prediction_feeds_on_its_own_predictions(case):
    """Asked for more frames, it gives the same first ones; the loss is the mean distance in all frames that count."""
    model, data = make(task_class(case, "motion_prediction"), case.config), inputs()
    future = torch.randn(3, 2, 4, 25, 3, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(3, 2, 4, dtype=torch.bool)
    mask[0, 0, 2:] = False
    with torch.no_grad():
        long = model(**data, num_frames=9).predicted_keypoints
        output = model(**data, future_keypoints=future)
        masked = model(
            **data, future_keypoints=future.masked_fill(~mask[..., None, None], torch.nan), future_mask=mask
        )
    close(output.predicted_keypoints, long[:, :, :4])
    distance = (output.predicted_keypoints - future).norm(dim=-1)
    observed = torch.tensor([[1, 1], [1, 0], [1, 1]], dtype=torch.bool)
    close(output.loss, distance[observed].mean())
    close(masked.loss, distance[observed[..., None] & mask].mean())


def test_prediction_does_not_depend_on_padding_or_batch_or_other_persons(case):
    model, data = make(task_class(case, "motion_prediction"), case.config), inputs()
    garbage = data["keypoints"].masked_fill(~data["frame_mask"][..., None, None], float("nan"))
    with torch.no_grad():
        expected = model(**data).predicted_keypoints
        padded = model(
            torch.nn.functional.pad(data["keypoints"], (0, 0, 0, 0, 0, 23)),
            torch.nn.functional.pad(data["frame_mask"], (0, 23)),
        )
        close(padded.predicted_keypoints, expected)
        close(model(garbage, data["frame_mask"]).predicted_keypoints, expected)
        for row, person in ((0, 0), (0, 1), (2, 1)):
            alone = {name: tensor[row : row + 1, person : person + 1] for name, tensor in data.items()}
            close(model(**alone).predicted_keypoints[0, 0], expected[row, person])


def test_every_parameter_of_prediction_learns(case):
    model = make(task_class(case, "motion_prediction"), case.config).train()
    model(**inputs(), future_keypoints=torch.randn(3, 2, 4, 25, 3)).loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # what was trained before and stays as it is
            continue
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_prediction_names_shapes_that_do_not_fit(case):
    model, data = make(task_class(case, "motion_prediction"), case.config), inputs()
    with pytest.raises(
        ValueError, match=r"future_keypoints must have shape .* = \(3, 2, 4, 25, 3\); got \(3, 1, 4, 25, 3\)"
    ):
        model(**data, future_keypoints=torch.zeros(3, 1, 4, 25, 3))
    data["frame_mask"][1] = False
    with pytest.raises(ValueError, match="nobody is present in any frame of sample 1"):
        model(**data)


@pytest.mark.parametrize("role", ["action_detection", "motion_prediction"])
def test_task_models_are_saved_loaded_and_start_from_an_encoder(case, role, tmp_path):
    model_class = task_class(case, role)
    model, data = make(model_class, case.config), inputs()
    model.save_pretrained(tmp_path / "task")
    loaded, info = model_class.from_pretrained(tmp_path / "task", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**data)[0], model(**data)[0])
    encoder = make(case.encoder, case.config, seed=7)
    encoder.save_pretrained(tmp_path / "encoder")
    started = model_class.from_pretrained(tmp_path / "encoder")
    for name, tensor in started.base_model.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name
    for name, tensor in started.state_dict().items():
        assert torch.isfinite(tensor).all() and tensor.abs().max() < 10, name
    assert model_class.accepts_loss_kwargs is False


@pytest.mark.parametrize("role", ["action_detection", "motion_prediction"])
def test_tasks_in_half_precision_are_close(case, role):
    model, data = make(task_class(case, role), case.config), inputs()
    with torch.no_grad():
        expected = model(**data)[0]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(**data)[0]
        half = model.to(torch.bfloat16)(**data)[0]
    for actual in (mixed, half):
        assert (actual.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


# -- MCC around every encoder ------------------------------------------------------------------------------------------


# One case of every family.
BACKBONES = {case.config.model_type: case for case in reversed(CASES.values())}


@pytest.fixture(params=sorted(BACKBONES))
def backbone(request) -> Case:
    return copy.deepcopy(BACKBONES[request.param])


def mcc_batch(config):
    data = inputs()
    items = [
        {"keypoints": keypoints.numpy(), "frame_mask": mask.numpy(), "key": (row, 0)}
        for row, (keypoints, mask) in enumerate(zip(data["keypoints"], data["frame_mask"], strict=True))
    ]
    return MCCPreTrainingCollator.from_config(config, seed=0)(items)


def make_mcc(backbone):
    small = {"queue_size": 8, "decoder_sizes": [8, 8, 8, 8]}
    return make(
        MCCForPreTraining, MCCConfig(backbone=backbone.config.model_type, backbone_config=backbone.config, **small)
    )


def test_mcc_trains_every_encoder(backbone):
    """What learns when an encoder is trained alone learns here, too; what is under the masks does not matter."""
    model = make_mcc(backbone).train()
    data = mcc_batch(model.config)
    for name, tensor in data.items():
        if name.endswith("keypoints"):
            mask = data["frame_mask" if name == "keypoints" else name.replace("keypoints", "mask")]
            data[name] = tensor.masked_fill(~mask[..., None, None], torch.nan)
    output = model(**data)
    output.loss.backward()
    assert all(torch.isfinite(value) for value in output.values()) and len(output) == 8
    alone = make(backbone.encoder, backbone.config).train()
    alone(**inputs()).pooler_output.square().sum().backward()
    learns = {name for name, parameter in alone.named_parameters() if parameter.grad is not None}
    for name, parameter in model.named_parameters():
        if not name.startswith("backbone.") or name.removeprefix("backbone.") in learns:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


def test_mcc_is_saved_and_leaves_an_encoder_behind(backbone, tmp_path):
    model = make_mcc(backbone)
    model.save_pretrained(tmp_path / "mcc")
    loaded, info = MCCForPreTraining.from_pretrained(tmp_path / "mcc", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in model.state_dict().items():
        if not name.startswith("memory."):  # the state of a training run
            assert torch.equal(loaded.state_dict()[name], tensor), name
    published, weights = model.published(model.state_dict())
    published.save_pretrained(tmp_path / "encoder", state_dict=weights)
    for model_class in (backbone.encoder, backbone.recognition):
        started = model_class.from_pretrained(tmp_path / "encoder")
        for name, tensor in started.base_model.state_dict().items():
            assert torch.equal(tensor, model.backbone.state_dict()[name]), name
    again = MCCForPreTraining.from_pretrained(tmp_path / "encoder", config=model.config)
    for name, tensor in again.backbone.state_dict().items():
        assert torch.equal(tensor, model.backbone.state_dict()[name]), name
