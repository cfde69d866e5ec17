"""Run by torchrun on two processes: pre-training of MCC under DistributedDataParallel against one process.

Each rank has half of the batch, with more persons in one half than in the other. After each of three steps, gradients, memory,
sources, pointer and key encoder are those of one process with the whole batch; the memory is so small that it wraps round. Batch norms
keep their statistics: those of half a batch would be others.
"""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from skeleton_transformers import MCCConfig, MCCForPreTraining


BATCH = 4


def make_model(backbone: str, momentum: float | None) -> MCCForPreTraining:
    torch.manual_seed(0)
    fields = {"queue_size": 10, "momentum": momentum, "backbone_config": {"hidden_dropout_prob": 0.0}}
    model = MCCForPreTraining(MCCConfig.from_preset("tiny", backbone=backbone, clip_frames=16, **fields)).train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the statistics are those of the batch that they see now
    with torch.no_grad():
        for keypoints, mask in (("keypoints", "frame_mask"), ("positive_keypoints", "positive_mask")):
            model.backbone(batch(9)[keypoints], batch(9)[mask])
    for norm in norms:
        norm.eval()
    return model


def batch(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    data = {"sequences": 3 * step + torch.arange(BATCH)}
    for kind, frames in (("", 16), ("positive_", 16), ("negative_", 16), ("target_", 32), ("positive_target_", 32)):
        mask = torch.rand(BATCH, 2, frames, generator=generator) < 0.7
        mask[:, 0] = True
        mask[: BATCH // 2, 1] = False
        clips = torch.randn(BATCH, 2, frames, 25, 3, generator=generator) * mask[..., None, None]
        data |= {f"{kind}keypoints": clips, f"{kind}mask" if kind else "frame_mask": mask}
    return data


def train(model, rows: slice) -> list[dict[str, torch.Tensor]]:
    """State and gradients after each step."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.SGD([p for p in inner.parameters() if p.requires_grad], lr=0.01)
    history = []
    for step in range(3):
        optimizer.zero_grad()
        model(**{name: tensor[rows] for name, tensor in batch(step).items()}).loss.backward()
        gradients = {f"gradient of {n}": p.grad.clone() for n, p in inner.named_parameters() if p.grad is not None}
        optimizer.step()
        inner.after_optimizer_step()
        history.append({**gradients, **{name: tensor.clone() for name, tensor in inner.state_dict().items()}})
    return history


cases = (("stgcn", None), ("hitrs", 0.5))
alone = {case: train(make_model(*case), slice(None)) for case in cases}
dist.init_process_group("gloo")
rank = dist.get_rank()
half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
for case, expected in alone.items():
    actual = train(DistributedDataParallel(make_model(*case), find_unused_parameters=True), half)
    for ours, one in zip(actual, expected, strict=True):
        assert ours.keys() == one.keys()
        for name, tensor in one.items():
            torch.testing.assert_close(ours[name], tensor, atol=5e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
print("equal to one process", flush=True)
dist.destroy_process_group()
