"""Run by torchrun on two processes: pre-training with a teacher under DistributedDataParallel against one process.

Each rank has half of the batch, with other numbers of persons, and so of masked tokens. After each of three steps, gradients,
parameters and teacher are those of one process with the whole batch.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from skeleton_transformers import StudentTeacherConfig, StudentTeacherForPreTraining


def make_model() -> StudentTeacherForPreTraining:
    torch.manual_seed(0)
    model = StudentTeacherForPreTraining(StudentTeacherConfig.from_preset("tiny", momentum=0.5)).train()
    model.before_training(3)
    return model


def train(model, rows: slice) -> list[dict[str, torch.Tensor]]:
    """State and gradients after each step."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)
    history = []
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        keypoints = torch.randn(4, 2, 20, 25, 3, generator=generator)
        mask = torch.ones(4, 2, 20, dtype=torch.bool)
        mask[:2, 1] = False
        noise = torch.rand(4, 2, 8, 25, generator=generator)
        optimizer.zero_grad()
        model(keypoints[rows], mask[rows], noise[rows]).loss.backward()
        gradients = {f"gradient of {n}": p.grad.clone() for n, p in inner.named_parameters() if p.requires_grad}
        optimizer.step()
        inner.after_optimizer_step()
        history.append({**gradients, **{name: tensor.clone() for name, tensor in inner.state_dict().items()}})
    return history


alone = train(make_model(), slice(None))
dist.init_process_group("gloo")
rank = dist.get_rank()
together = train(DistributedDataParallel(make_model()), slice(2 * rank, 2 * rank + 2))
for ours, one in zip(together, alone, strict=True):
    assert ours.keys() == one.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
print("equal to one process", flush=True)
dist.destroy_process_group()
