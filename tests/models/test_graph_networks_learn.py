"""Every graph network tells motions apart that differ in what moves, and how fast, not in the mean pose."""

import pytest
import torch

from skeleton_transformers import (
    AGCNConfig,
    AGCNForActionRecognition,
    ASGCNConfig,
    ASGCNForActionRecognition,
    STGCNConfig,
    STGCNForActionRecognition,
    get_layout,
)


def motions(number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A hand or a foot that swings, slowly or fast, from a random phase: four classes, ragged lengths, absent second persons."""
    layout = get_layout("kinect20")
    labels = torch.arange(number) % 4
    pose = torch.randn(20, 3, generator=torch.Generator().manual_seed(7))
    keypoints = pose.expand(number, 2, 32, 20, 3).clone()
    time = torch.arange(32.0)
    phase = 6.3 * torch.rand(number, generator=generator)
    speed = torch.where(labels < 2, 0.25, 1.0)
    swing = torch.sin(speed[:, None] * time + phase[:, None])
    for row, label in enumerate(labels.tolist()):
        keypoints[row, :, :, layout.index(("right_hand", "left_foot")[label % 2]), 1] += swing[row]
    keypoints += 0.05 * torch.randn(keypoints.shape, generator=generator)
    lengths = torch.randint(24, 33, (number,), generator=generator)
    mask = (time < lengths[:, None])[:, None].repeat(1, 2, 1)
    mask[torch.rand(number, generator=generator) < 0.5, 1] = False
    return keypoints, mask, labels


@pytest.mark.parametrize(
    "config_class, model_class",
    [
        (STGCNConfig, STGCNForActionRecognition),
        (AGCNConfig, AGCNForActionRecognition),
        (ASGCNConfig, ASGCNForActionRecognition),
    ],
    ids=lambda value: value.__name__,
)
def test_motions_are_learnt(config_class, model_class):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    keypoints, mask, labels = motions(48, generator)
    model = model_class(config_class.from_preset("tiny", layout="kinect20", num_labels=4)).train()
    if isinstance(model, ASGCNForActionRecognition):
        # What the first stage would have taught: links are rare.
        torch.nn.init.constant_(model.asgcn.link_inference.output.bias[0], 5.0)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(10):
        for rows in torch.randperm(48, generator=generator).split(16):
            model(keypoints[rows], mask[rows], labels=labels[rows]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    # After so few steps the running statistics still hold what they began with; those of the training data take their place.
    for norm in model.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None
    with torch.no_grad():
        model(keypoints, mask)
        model.eval()
        accuracy = (model(keypoints, mask).logits.argmax(dim=1) == labels).float().mean().item()
    assert accuracy > 0.9  # by chance: 0.25
