import math

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from skeleton_transformers import HiTRSConfig, HiTRSModel, STGCNConfig, STGCNModel
from skeleton_transformers.evaluation.efficiency import (
    count_flops,
    measure_seconds,
    peak_matrix_rate,
    peak_memory,
    profile_model,
)


def test_products_attention_and_convolutions_are_counted_forward_and_backward():
    inputs = torch.randn(3, 5, requires_grad=True)
    linear = nn.Linear(5, 7)
    assert count_flops(lambda: linear(inputs)) == 2 * 3 * 5 * 7
    assert count_flops(lambda: linear(inputs).sum().backward()) == 3 * (2 * 3 * 5 * 7)  # output, two gradients
    convolution = nn.Conv2d(4, 6, (3, 1), padding=(1, 0))
    assert count_flops(lambda: convolution(torch.randn(2, 4, 9, 5))) == 2 * (2 * 6 * 9 * 5) * (4 * 3)
    query, key = torch.randn(2, 4, 6, 8, requires_grad=True), torch.randn(2, 4, 10, 8)
    forward = 2 * (2 * 4) * (6 * 10 * 8) * 2
    with torch.no_grad():
        assert count_flops(lambda: scaled_dot_product_attention(query, key, key)) == forward
    # The weights are calculated again, then four products.
    both = count_flops(lambda: scaled_dot_product_attention(query, key, key).sum().backward())
    assert both == forward * 7 // 2


def test_padding_and_absent_persons_cost_hitrs_nothing():
    model = HiTRSModel(HiTRSConfig.from_preset("tiny")).eval()
    keypoints = torch.randn(2, 1, 30, 25, 3)
    padded = torch.cat([keypoints, torch.zeros(2, 1, 90, 25, 3)], dim=2)
    padded = torch.cat([padded, torch.zeros_like(padded)], dim=1)
    with torch.no_grad():
        assert count_flops(lambda: model(padded)) == count_flops(lambda: model(keypoints))


def test_calls_are_timed_in_turns():
    calls = []
    seconds = measure_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert min(min(values) for values in seconds.values()) > 0


def test_matrix_rate_is_a_rate():
    assert 1e8 < peak_matrix_rate(size=128) < 1e14


def test_memory_of_a_call_is_what_it_allocates():
    found = peak_memory(lambda: torch.ones(2**25))  # float32
    assert 120 * 2**20 < found < 200 * 2**20


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("model_class", "config_class"), [(HiTRSModel, HiTRSConfig), (STGCNModel, STGCNConfig)])
def test_profile_of_a_model(model_class, config_class, training):
    model = model_class(config_class.from_preset("tiny")).eval()
    result = profile_model(model, num_frames=20, batch_size=2, training=training, repeats=2)
    assert not model.training
    assert result["parameters"] == sum(math.prod(parameter.shape) for parameter in model.parameters())
    assert result["flops"] == 2 * result["flops_per_sequence"] > 0
    assert result["seconds"] >= result["fastest_seconds"] > 0
    assert 0 < result["share_of_peak"] < 2
    assert all(parameter.grad is None for parameter in model.parameters())
