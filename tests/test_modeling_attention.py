import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition
from skeleton_transformers.modeling_attention import backward_in_float32


def attend(module, query, key, value, mask, scaling):
    context = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    module.append(context.dtype)
    return context.transpose(1, 2), None


@pytest.mark.parametrize("autocast", [False, True])
def test_a_cpu_that_trains_in_half_precision_attends_in_float32(autocast):
    states = torch.randn(3, 2, 4, 9, 16, dtype=torch.bfloat16)
    mask = torch.rand(1, 1, 9, 9) > 0.3
    mask |= torch.eye(9, dtype=torch.bool)
    used = []
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        inferred, _ = backward_in_float32(attend)(used, *states, mask, scaling=0.25)
        trained, _ = backward_in_float32(attend)(used, *states.clone().requires_grad_(), mask, scaling=0.25)
    assert used == [torch.bfloat16, torch.float32]
    assert trained.dtype == inferred.dtype == torch.bfloat16
    exact = attend([], *states.double(), mask, 0.25)[0]
    torch.testing.assert_close(trained.double(), exact, atol=1e-5, rtol=2**-8)


def test_gradients_of_autocast_training_are_near_those_of_float32():
    torch.manual_seed(0)
    model = HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", num_labels=5, hidden_dropout_prob=0.0)).train()
    keypoints, labels = torch.randn(4, 1, 30, 25, 3), torch.arange(4)
    gradients = []
    for autocast in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(keypoints, labels=labels).loss
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999
    assert 0.97 < gradients[1].norm() / gradients[0].norm() < 1.03
