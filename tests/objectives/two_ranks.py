"""Run by test_info_nce.py with torchrun on two processes: gradients under DistributedDataParallel against one process.

Each rank has half of the batch. Checked are the contrast of Hi-TRS as it is used in pre-training (targets without gradient),
and the gather itself where the candidates do have a gradient.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.parallel import DistributedDataParallel

from skeleton_transformers.objectives.gather import gather_rows, rank_offset
from skeleton_transformers.objectives.info_nce import info_nce


class Contrast(nn.Module):
    """Two linear maps of the input, contrasted; `both` lets the gradient flow into the candidates, too."""

    def __init__(self, both: bool):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.target, self.both = nn.Linear(6, 5), nn.Linear(6, 5), both

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries, targets = self.query(x), self.target(x)
        if not self.both:
            return info_nce(queries, targets, 0.1)[0] + 0 * targets.sum()
        candidates = gather_rows(normalize(targets, dim=-1))
        labels = torch.arange(len(x)) + rank_offset(len(x))
        return cross_entropy(normalize(queries, dim=-1) @ candidates.T / 0.1, labels)


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(x).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


batch = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
alone = [gradients(Contrast(both), batch) for both in (False, True)]  # before there is a process group
dist.init_process_group("gloo")
rank = dist.get_rank()
for both, expected in zip((False, True), alone):
    actual = gradients(DistributedDataParallel(Contrast(both)), batch[4 * rank : 4 * rank + 4])
    for one, other in zip(actual, expected):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert not both or any(gradient.abs().sum() > 0 for gradient in actual[2:])
accuracy = info_nce(batch[4 * rank : 4 * rank + 4], batch[4 * rank : 4 * rank + 4], 0.1)[1]
assert accuracy.item() == 1, "a rank looks for its targets in the wrong place"
print("equal to one process", flush=True)
dist.barrier()  # a rank that leaves while the other still works can take it down
dist.destroy_process_group()
