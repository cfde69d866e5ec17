"""The weights and inputs with which original classes were run once; see the golden values."""

import json
import math
import zlib

import pytest
import torch


@pytest.fixture(scope="session")
def golden_rule():
    """Deterministic value of the parameter `name` of an original."""

    def rule(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        index = torch.arange(math.prod(shape), dtype=torch.float64)
        phase = 2 * math.pi * (zlib.crc32(name.encode("ascii")) % 997) / 997
        wave = torch.sin(0.7391 * index + phase).reshape(shape)
        if len(shape) == 1:
            wave = 1 + 0.1 * wave if name.endswith("weight") else 0.05 * wave
        else:
            wave = wave * math.sqrt(1 / math.prod(shape[1:]))
        return wave.float()

    return rule


@pytest.fixture(scope="session")
def golden_input():
    """The input rule of the golden values."""

    def make(*shape: int, f: float = 0.113, p: float = 0.3) -> torch.Tensor:
        index = torch.arange(math.prod(shape), dtype=torch.float64)
        return torch.sin(f * index + p).reshape(shape).float()

    return make


@pytest.fixture(scope="session")
def golden(fixtures):
    return json.loads((fixtures / "golden.json").read_text())


@pytest.fixture(scope="session")
def original_weights(golden_rule):
    """Fills a checkpoint of an original graph network by the rule of the golden values; the fixed graph keeps its values."""

    def value(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name == "A":
            return tensor
        if name.endswith("num_batches_tracked"):
            return torch.zeros_like(tensor)
        values = golden_rule(name, tuple(tensor.shape))
        if name.endswith("running_mean"):
            return 2 * values  # of the rule's 0.05
        if name.endswith("running_var"):
            return 1 + 2 * values.abs()
        return 1 + 0.1 * values if name.startswith("edge_importance") else values

    return lambda state_dict: {name: value(name, tensor) for name, tensor in state_dict.items()}
