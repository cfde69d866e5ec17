"""Long batches are computed twice, short ones once, and gradients are the same."""

import pytest
import torch

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, STGCNConfig, STGCNForActionRecognition
from skeleton_transformers.models.hitrs.modeling_hitrs import HiTRSLayer
from skeleton_transformers.models.stgcn.modeling_stgcn import STGCNLayer
from skeleton_transformers.training.recomputation import recompute_long_batches


MODELS = {
    "hitrs": (HiTRSForActionRecognition, HiTRSConfig, HiTRSLayer, lambda layer: layer.layernorm_after),
    "stgcn": (STGCNForActionRecognition, STGCNConfig, STGCNLayer, lambda layer: layer.graph_norm),
}


@pytest.mark.parametrize("family", MODELS)
def test_only_long_batches_are_computed_twice(family):
    model_class, config_class, layer_class, part_of = MODELS[family]
    torch.manual_seed(0)
    model = model_class(config_class.from_preset("tiny", num_labels=3)).train()
    layers = [module for module in model.modules() if isinstance(module, layer_class)]
    calls = []
    for layer in layers:
        part_of(layer).register_forward_hook(lambda *_: calls.append(1))

    def gradients(frames):
        calls.clear()
        model.zero_grad()
        torch.manual_seed(frames)
        model(keypoints=torch.randn(2, 1, frames, 25, 3), labels=torch.tensor([0, 2])).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None], len(calls)

    short, once = gradients(20)
    long, _ = gradients(30)
    recompute_long_batches(model, num_frames=2 * 30)
    again, count = gradients(20)
    assert count == once
    torch.testing.assert_close(again, short)
    again, count = gradients(30)
    assert count == 2 * once
    torch.testing.assert_close(again, long)
