"""Run by torchrun on two processes: pre-training of HiCo under DistributedDataParallel against one process.

Each rank has half of the batch. After each of three steps, gradients, key encoder, queues and pointers are those of one process
with the whole batch; the queue is so small that it wraps round.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from skeleton_transformers import HiCoConfig, HiCoForPreTraining


BATCH = 8
SIZES = {"branch_size": 8, "intermediate_size": 8, "projection_hidden_size": 8, "projection_size": 6}


def make_model(momentum_update: str) -> HiCoForPreTraining:
    torch.manual_seed(0)
    fields = {"momentum": 0.5, "queue_size": 10, "hidden_dropout_prob": 0.0, "momentum_update": momentum_update}
    return HiCoForPreTraining(HiCoConfig.from_preset("tiny", **SIZES, **fields)).train()


def batch(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    mask = torch.ones(BATCH, 2, 20, dtype=torch.bool)
    mask[::3, 1] = False
    views = torch.randn(2, BATCH, 2, 20, 25, 3, generator=generator) * mask[..., None, None]
    return {"keypoints": views[0], "frame_mask": mask, "second_keypoints": views[1], "second_frame_mask": mask}


def train(model, momentum_update: str, rows: slice) -> list[dict[str, torch.Tensor]]:
    """State and gradients after each step."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)
    history = []
    for step in range(3):
        optimizer.zero_grad()
        model(**{name: tensor[rows] for name, tensor in batch(step).items()}).loss.backward()
        gradients = {f"gradient of {n}": p.grad.clone() for n, p in inner.named_parameters() if p.requires_grad}
        optimizer.step()
        inner.after_optimizer_step()
        history.append({**gradients, **{name: tensor.clone() for name, tensor in inner.state_dict().items()}})
    return history


alone = {update: train(make_model(update), update, slice(None)) for update in ("before_encoding", "after_step")}
dist.init_process_group("gloo")
rank = dist.get_rank()
half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
for update, expected in alone.items():
    actual = train(DistributedDataParallel(make_model(update)), update, half)
    for ours, one in zip(actual, expected, strict=True):
        assert ours.keys() == one.keys()
        for name, tensor in one.items():
            torch.testing.assert_close(ours[name], tensor, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
print("equal to one process", flush=True)
dist.destroy_process_group()
