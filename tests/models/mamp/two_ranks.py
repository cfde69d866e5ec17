"""Run by torchrun on two processes: pre-training of MAMP under DistributedDataParallel against one process.

Each rank has half of the batch, with other numbers of persons, and so of masked tokens. Losses and gradients are those of one
process with the whole batch.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from skeleton_transformers import MAMPConfig, MAMPForPreTraining


def make_model() -> MAMPForPreTraining:
    torch.manual_seed(0)
    return MAMPForPreTraining(MAMPConfig.from_preset("tiny")).train()


def run(model, rows: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.randn(4, 2, 20, 25, 3, generator=generator)
    mask = torch.ones(4, 2, 20, dtype=torch.bool)
    mask[:2, 1] = False
    noise = torch.rand(4, 2, 8, 25, generator=generator)
    loss = model(keypoints[rows], mask[rows], noise[rows]).loss
    loss.backward()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return loss.detach(), {name: parameter.grad for name, parameter in inner.named_parameters()}


expected_loss, expected = run(make_model(), slice(None))
dist.init_process_group("gloo")
rank = dist.get_rank()
loss, gradients = run(DistributedDataParallel(make_model()), slice(2 * rank, 2 * rank + 2))
dist.all_reduce(loss)
torch.testing.assert_close(loss / 2, expected_loss)
for name, gradient in expected.items():
    torch.testing.assert_close(gradients[name], gradient, atol=2e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
print("equal to one process", flush=True)
dist.destroy_process_group()
