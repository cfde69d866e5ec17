"""Schedules and parameter groups against the numbers of the published recipe."""

import pytest
import torch
from torch import nn

from skeleton_transformers.training.optimization import (
    finetuning_factor,
    from_scratch_factor,
    layer_decay_groups,
    linear_probe_factor,
    parameter_groups,
    pretraining_schedule,
    step_schedule,
)


def rates(schedule, steps):
    """Learning rate in force at every optimiser step."""
    values = []
    for _ in range(steps):
        values.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return values


def optimizer(learning_rate):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=learning_rate)


def test_pretraining_schedule_has_the_published_rates():
    values = rates(pretraining_schedule(optimizer(4e-4), 4e-4, 1000, 50_000, 2e-6), 50_003)
    assert values[0] == 0.0
    assert values[1] == pytest.approx(4e-7)
    assert values[1000] == pytest.approx(4e-4)
    assert values[25_500] == pytest.approx((4e-4 + 2e-6) / 2)
    assert values[50_000] == pytest.approx(2e-6)
    assert values[50_002] == pytest.approx(2e-6)
    assert max(values) == values[1000]


def test_pretraining_schedule_without_warmup_begins_at_the_peak():
    assert rates(pretraining_schedule(optimizer(0.5), 0.5, 0, 10, 0.1), 1) == [0.5]


def test_pretraining_schedule_refuses_a_warmup_longer_than_the_run():
    with pytest.raises(ValueError, match="warmup_steps=10 .* total_steps=10"):
        pretraining_schedule(optimizer(1.0), 1.0, 10, 10, 0.1)


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(1, 1), (20, 1), (21, 0.5), (30, 0.5), (31, 0.25), (50, 0.125), (61, 1 / 32), (70, 1 / 32), (500, 0.0025)],
)
def test_finetuning_factor(epoch, factor):
    assert finetuning_factor(epoch) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("epoch", "factor"), [(1, 1), (30, 1), (31, 0.5), (40, 0.5), (41, 0.25), (50, 0.25), (51, 0.125), (56, 0.0125)]
)
def test_from_scratch_factor(epoch, factor):
    assert from_scratch_factor(epoch) == factor


@pytest.mark.parametrize(("epoch", "factor"), [(1, 1), (100, 1), (101, 0.5), (110, 0.5), (111, 0.25), (900, 0.01)])
def test_linear_probe_factor(epoch, factor):
    assert linear_probe_factor(epoch) == factor


def test_parameter_groups_of_any_module():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.projection = nn.Linear(3, 4)
            self.norm = nn.LayerNorm(4)
            self.position_embeddings = nn.Parameter(torch.zeros(5, 4))
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
            self.frozen = nn.Linear(4, 4).requires_grad_(False)

    encoder = Encoder()
    decayed, kept = parameter_groups(encoder, 0.01)
    assert [id(p) for p in decayed["params"]] == [id(encoder.projection.weight)]
    assert decayed["weight_decay"] == 0.01 and kept["weight_decay"] == 0.0
    # bias, norm weight and bias, positions, token; nothing of the frozen layer
    assert len(kept["params"]) == 5


def test_parameter_groups_of_hitrs_base():
    from skeleton_transformers import HiTRSConfig, HiTRSForPreTraining

    model = HiTRSForPreTraining(HiTRSConfig.from_preset("base"))
    decayed, kept = parameter_groups(model, 0.01)
    assert len(decayed["params"]) == 61
    assert sum(p.numel() for p in decayed["params"]) == 6_883_584
    assert len(kept["params"]) == 129 - 61
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_steps_lower_the_rate_to_a_tenth_each():
    values = rates(step_schedule(optimizer(0.5), 4, [10, 20]), 25)
    assert values[:5] == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5])
    assert values[9:11] == pytest.approx([0.5, 0.05]) and values[19:21] == pytest.approx([0.05, 0.005])
    assert rates(step_schedule(optimizer(0.5), 0, [2]), 1) == [0.5]


def test_everything_can_be_decayed():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decayed, kept = parameter_groups(model, 0.1, decay_all=True)
    assert len(decayed["params"]) == 4 and decayed["weight_decay"] == 0.1 and kept["params"] == []


def test_pretraining_schedule_falls_as_half_a_cosine():
    values = rates(pretraining_schedule(optimizer(1e-3), 1e-3, 20, 420, 5e-4, "cosine"), 422)
    assert values[0] == 0.0 and values[10] == pytest.approx(5e-4) and values[20] == pytest.approx(1e-3)
    assert values[120] == pytest.approx(7.5e-4 + 2.5e-4 * 2**-0.5)  # a quarter of the way
    assert values[220] == pytest.approx(7.5e-4)
    assert values[420] == values[421] == pytest.approx(5e-4)


def test_layer_decay_of_mamp():
    """0.8 ** (9 - id) with id 0 of embeddings, i + 1 of layer i of eight, and 9 of the rest; no decay of biases and norms."""
    from skeleton_transformers import MAMPConfig, MAMPForActionRecognition

    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "classifier_hidden_size": 8}
    model = MAMPForActionRecognition(MAMPConfig(**sizes, num_labels=5))
    groups = layer_decay_groups(parameter_groups(model, 0.05), model, 3e-4, 0.8)
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        identity = 9
        if name.startswith("mamp.embeddings."):
            identity = 0
        elif name.startswith("mamp.layers."):
            identity = int(name.split(".")[2]) + 1
        group = found.pop(id(parameter))
        assert group["lr"] == pytest.approx(3e-4 * 0.8 ** (9 - identity)), name
        is_norm = "layernorm" in name
        assert group["weight_decay"] == (0.0 if is_norm or name.endswith("bias") else 0.05), name
    assert not found


def test_layer_decay_keeps_the_rate_of_a_group_and_names_what_it_needs():
    from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, MAMPConfig, MAMPForActionRecognition

    model = MAMPForActionRecognition(MAMPConfig.from_preset("tiny"))
    inside = list(model.mamp.layers[1].parameters())
    (group,) = layer_decay_groups([{"params": inside, "lr": 1.0}], model, 3e-4, 0.5)
    assert group["lr"] == 0.5 and group["params"] == inside
    other = HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny"))
    with pytest.raises(ValueError, match="layer_decay=0.8 needs an encoder with embeddings.*which HiTRSModel is not"):
        layer_decay_groups(parameter_groups(other, 0.0), other, 1.0, 0.8)
    with pytest.raises(ValueError, match="layer_decay must be more than 0 and at most 1, got 0"):
        layer_decay_groups([], model, 1.0, 0)
