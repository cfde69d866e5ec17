import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skeleton_transformers import StudentTeacherConfig, StudentTeacherForPreTraining, StudentTeacherModel
from skeleton_transformers.models.student_teacher.configuration_student_teacher import PRESETS
from skeleton_transformers.models.student_teacher.modeling_student_teacher import feature_deviation


def make(model_class=StudentTeacherForPreTraining, seed=0, **fields):
    torch.manual_seed(seed)
    return model_class(StudentTeacherConfig.from_preset("tiny", **fields)).eval()


def batch(config, rows=3, frames=50, seed=1):
    """A person throughout, and in the second sample another one who comes late."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(rows, 2, frames, 25, 3, generator=generator)
    mask = torch.zeros(rows, 2, frames, dtype=torch.bool)
    mask[:, 0] = True
    mask[1::3, 1, 30:] = True
    noise = torch.rand(rows, 2, config.num_segments, 25, generator=generator)
    return {"keypoints": keypoints * mask[..., None, None], "frame_mask": mask, "noise": noise}


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        model = StudentTeacherModel(StudentTeacherConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_966_720


def test_the_presets_are_the_rows_of_the_table():
    sizes = PRESETS["tiny"]
    seen = set()
    for name in ("vanilla", "spatial_basic", "temporal_basic", "spatial_segments", "temporal_segments", "base"):
        config = StudentTeacherConfig(**{**sizes, **PRESETS[name]})
        seen.add((config.attention, config.segment_length, config.mask_tokens, config.reconstruction_loss_weight > 0))
        model = StudentTeacherForPreTraining(config)
        with torch.no_grad():
            assert torch.isfinite(model(**batch(config)).loss)
        assert ("reconstruction_loss" in model.metrics) == (config.reconstruction_loss_weight > 0)
    assert seen == {
        ("joint", 1, True, True),
        ("spatial", 1, False, False),
        ("temporal", 1, False, False),
        ("spatial", 4, True, False),
        ("temporal", 4, True, False),
        ("spatial", 4, True, True),
    }


@pytest.mark.parametrize(("attention", "axis", "masked", "tokens"), [("spatial", 3, 15, 25), ("temporal", 2, 18, 30)])
def test_every_attention_row_loses_exactly_three_fifths(attention, axis, masked, tokens):
    model = make(attention=attention, num_frames=120)
    with torch.no_grad():
        found = model(torch.randn(2, 1, 90, 25, 3), None, torch.rand(2, 1, 30, 25)).masked_tokens
    assert found.shape[axis] == tokens and (found.sum(dim=axis) == masked).all()


@pytest.mark.parametrize(
    "fields", [{}, {"feature_reduction": "sum"}, {"feature_loss": "smooth_l1"}, {"target_layers": 2}]
)
def test_the_losses_by_hand(fields):
    """All tokens in full size, the student's input by a mask; the teacher is a copy that the test encodes with itself."""
    model = make(**fields)
    config, data = model.config, batch(model.config)
    with torch.no_grad():
        output = model(**data)
        encoded = model.student_teacher(data["keypoints"], data["frame_mask"], output_hidden_states=True)
        mask, masked = encoded.token_mask, output.masked_tokens
        assert (masked & ~mask).sum() == 0

        def norm(states):
            mean, variance = states.mean(-1, keepdim=True), states.var(-1, unbiased=False, keepdim=True)
            return (states - mean) / (variance + 1e-5).sqrt()

        target = norm(encoded.token_hidden_state)
        if config.target_layers == 2:
            target = norm((norm(encoded.hidden_states[1]) + norm(encoded.hidden_states[2])) / 2)
        from skeleton_transformers.models.segment_layers import make_tokens

        values = make_tokens(config, data["keypoints"], data["frame_mask"]).values
        states = model.student_teacher.encode(values, mask & ~masked)
        predicted = model.predictor(states, mask & ~masked, mask)
        reconstructed = model.decoder(states, mask & ~masked, mask)
    difference = (predicted - target)[masked]  # (tokens, channels)
    errors = difference.square()
    if config.feature_loss == "smooth_l1":
        errors = torch.where(difference.abs() < 1, difference.square() / 2, difference.abs() - 0.5)
    errors = errors.sum(dim=1) if config.feature_reduction == "sum" else errors.mean(dim=1)
    close = torch.testing.assert_close
    close(output.feature_loss, errors.mean(), atol=1e-5, rtol=1e-4)
    close(output.reconstruction_loss, (reconstructed - values)[mask].square().mean(), atol=1e-5, rtol=1e-4)
    close(output.loss, output.feature_loss + output.reconstruction_loss)
    unit = torch.nn.functional.normalize
    cosine = (unit(predicted[masked], dim=1) * unit(target[masked], dim=1)).sum(dim=1).mean()
    close(output.teacher_agreement, cosine, atol=1e-5, rtol=1e-4)


def test_the_encoder_computes_visible_tokens_only_and_the_teacher_all():
    model, seen = make(), []
    for network in (model.student_teacher, model.teacher.network):
        network.layers[0].register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    with torch.no_grad():
        model(**batch(model.config))
    rows = 3 * 8 + 4  # segments of three persons, and those of the one who comes late
    assert seen == [(rows, 10, 32), (rows, 25, 32)]


def test_the_basic_models_see_every_place_but_not_the_coordinates_of_masked_tokens():
    model = make(mask_tokens=False, segment_length=1)
    data = batch(model.config, frames=32)
    with torch.no_grad():
        masked = model(**data).masked_tokens
        seen = []
        model.student_teacher.embeddings.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        model(**data)
    assert not seen[0][masked].any() and seen[0][~masked & data["frame_mask"][..., None]].any(dim=-1).all()
    assert model.has_idle_parameters  # the mask token


def test_the_teacher_follows_in_closed_form():
    """After k steps: m1..mk * start + sum of (1 - mi) * m(i+1)..mk * student i, with momenta on a straight line."""
    model = make(momentum=0.5, final_momentum=0.9).train()
    model.before_training(4)
    momenta = [0.5, 0.6, 0.7, 0.8]
    expected = {name: p.clone() for name, p in model.teacher.network.named_parameters()}
    for momentum in momenta:
        with torch.no_grad():
            for parameter in model.student_teacher.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.after_optimizer_step()
        for name, parameter in model.student_teacher.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach()
    for name, parameter in model.teacher.network.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    assert model.teacher.num_updates.item() == 4


def test_the_teacher_gets_no_gradient_and_no_dropout():
    model = make(drop_path_rate=0.5).train()
    assert not model.teacher.training and not model.teacher.network.layers[1].drop_path.training
    assert model.student_teacher.training
    model(**batch(model.config)).loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith("teacher."):
            assert parameter.grad is None and not parameter.requires_grad, name
        else:
            assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


def test_the_teacher_starts_as_a_copy_and_is_not_published(tmp_path):
    from safetensors.torch import load_file

    encoder = make(StudentTeacherModel, seed=3)
    encoder.save_pretrained(tmp_path / "encoder")
    make().save_pretrained(tmp_path / "whole")
    names = load_file(tmp_path / "whole" / "model.safetensors").keys()
    assert {name.split(".")[0] for name in names} == {"student_teacher", "predictor", "decoder"}
    for folder in ("encoder", "whole"):
        model = StudentTeacherForPreTraining.from_pretrained(tmp_path / folder)
        for name, tensor in model.teacher.network.state_dict().items():
            assert torch.equal(tensor, model.student_teacher.state_dict()[name]), name


def test_a_task_of_weight_zero_is_not_computed():
    model = make(feature_loss_weight=0)
    output = model(**batch(model.config))
    assert output.feature_loss is None and model.metrics == ["loss", "reconstruction_loss"]
    with pytest.raises(ValueError, match="feature_loss_weight and reconstruction_loss_weight are both 0"):
        none = make(feature_loss_weight=0, reconstruction_loss_weight=0)
        none(**batch(none.config))


def test_collapse_is_measured_and_told(caplog):
    generator = torch.Generator().manual_seed(0)
    features, mask = torch.randn(3, 2, 4, 5, 6, generator=generator), torch.ones(3, 2, 4, 5, dtype=torch.bool)
    mask[2] = False
    features = features * mask[..., None]
    expected = features[:2].flatten(0, 1).std(dim=0, unbiased=False).mean()
    torch.testing.assert_close(feature_deviation(features, mask), expected)
    same = features[:1, :1].expand(3, 2, -1, -1, -1) * mask[..., None]  # depends on joint and segment alone
    assert feature_deviation(same, mask) < 1e-6

    model = make().train()
    data = batch(model.config)
    with caplog.at_level(logging.WARNING):
        assert model(**data).feature_deviation > 0.1
        assert not caplog.records
        with torch.no_grad():
            model.teacher.network.embeddings.projection.weight.zero_()
        model(**data)
        model(**data)
    assert len(caplog.records) == 1 and "student and teacher have collapsed" in caplog.text


def test_overfitting_lowers_both_losses():
    model = make(num_frames=16, momentum=0.9).train()
    data = batch(model.config, rows=4, frames=16)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    history = []
    for _ in range(150):
        output = model(**data)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.after_optimizer_step()
        history.append((output.feature_loss.item(), output.reconstruction_loss.item()))
    for first, last in zip(history[0], history[-1], strict=True):
        assert last < 0.5 * first
    assert output.feature_deviation > 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_layers": 3}, "target_layers=3 is more than num_layers=2"),
        ({"momentum": 1.5}, "momentum must lie in"),
        ({"feature_loss": "l1"}, "feature_loss must be one of mse, smooth_l1; got 'l1'"),
        ({"reconstruction_loss_weight": -1}, "reconstruction_loss_weight must not be negative, got -1"),
    ],
)
def test_fields_that_contradict_are_named(fields, message):
    with pytest.raises(Exception, match=message):
        StudentTeacherConfig.from_preset("tiny", **fields)


def test_two_processes_give_the_gradients_and_the_teacher_of_one():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal to one process") == 2
