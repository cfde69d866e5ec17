"""How fast the embedded corpus is made, and how hard it is.

Prints JSON: sequences per second on one core; accuracy of 1-nearest-neighbour on raw coordinates under the cross-subject split (odd
subjects train, even subjects test); with `--train-epochs`, accuracy of a small recurrent network trained on the same split.

    python benchmarks/motion_synthesis.py --per-class 50 --train-epochs 60
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from skeleton_transformers.data.motion_synthesis import SYNTHETIC_ACTIONS, synthesize_corpus
from skeleton_transformers.data.storage import SkeletonSample
from skeleton_transformers.skeletons import get_layout


def resampled(sample: SkeletonSample, frames: int, center: int) -> np.ndarray:
    """`(2, frames, joints, 3)`: present frames, centred on the first person in every frame, linearly resampled; an absent person is 0."""
    present = sample.frame_mask.all(axis=0)
    if present.sum() < 2:
        present = sample.frame_mask.any(axis=0)
    points = sample.keypoints[:, present]
    points = points - points[:1, :, center : center + 1]
    place = np.linspace(0, points.shape[1] - 1, frames)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, points.shape[1] - 1)
    weight = (place - before)[None, :, None, None]
    out = np.zeros((2, frames, *points.shape[2:]), dtype=np.float32)
    out[: len(points)] = points[:, before] * (1 - weight) + points[:, after] * weight
    return out


def nearest_neighbour_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    distance = (train**2).sum(1) - 2 * test @ train.T  # (test, train), up to a constant per row
    return float((train_labels[distance.argmin(axis=1)] == test_labels).mean())


def trained_accuracy(train, train_labels, test, test_labels, epochs: int, seed: int) -> float:
    """Accuracy of a small bidirectional GRU on positions and velocities, trained with turns about the vertical."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    class Network(nn.Module):
        def __init__(self, inputs: int, classes: int, width: int = 96) -> None:
            super().__init__()
            self.embed = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(0.2))
            self.recurrent = nn.GRU(width, width, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
            self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(4 * width, classes))

        def forward(self, points: torch.Tensor) -> torch.Tensor:  # (batch, persons, frames, joints, 3)
            velocity = torch.diff(points, dim=2, append=points[:, :, -1:]) * 8
            both = torch.cat([points, velocity], dim=-1).transpose(1, 2).flatten(2)  # (batch, frames, features)
            hidden = self.recurrent(self.embed(both))[0]
            return self.head(torch.cat([hidden.mean(1), hidden.amax(1)], dim=-1))

    def turned(points: torch.Tensor) -> torch.Tensor:
        angle = (torch.rand(len(points), generator=generator) - 0.5) * 1.4
        cosine, sine = angle.cos().view(-1, 1, 1, 1), angle.sin().view(-1, 1, 1, 1)
        x, y, z = points.unbind(-1)
        return torch.stack([cosine * x + sine * z, y, cosine * z - sine * x], dim=-1)

    points, labels = torch.from_numpy(train), torch.from_numpy(train_labels)
    network = Network(train.shape[1] * train.shape[3] * 6, int(train_labels.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    batches = -(-len(points) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for chosen in torch.randperm(len(points), generator=generator).split(32):
            loss = nn.functional.cross_entropy(network(turned(points[chosen])), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        guess = network(torch.from_numpy(test)).argmax(-1)
    confusion = np.zeros((len(SYNTHETIC_ACTIONS),) * 2, dtype=int)
    np.add.at(confusion, (test_labels, guess.numpy()), 1)
    trained_accuracy.confusion = confusion  # type: ignore[attr-defined]
    return float((guess == torch.from_numpy(test_labels)).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-epochs", type=int, default=0, help="0 trains nothing")
    parser.add_argument("--confusions", type=int, default=0, help="also list this many most frequent confusions")
    arguments = parser.parse_args()

    count = arguments.per_class * len(SYNTHETIC_ACTIONS)
    next(synthesize_corpus(1, arguments.seed))  # layouts and tables are built once
    begin, begin_cpu = time.perf_counter(), time.process_time()
    samples = list(synthesize_corpus(count, arguments.seed))
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu

    points = np.stack([resampled(sample, 32, get_layout("ntu25").center) for sample in samples])
    labels = np.array([sample.label for sample in samples])
    train = np.array([sample.subject % 2 == 1 for sample in samples])
    split = points[train], labels[train], points[~train], labels[~train]
    result = {
        "sequences": count,
        "classes": len(SYNTHETIC_ACTIONS),
        "seed": arguments.seed,
        "frames_mean": round(float(np.mean([sample.keypoints.shape[1] for sample in samples])), 1),
        "sequences_per_second": round(count / seconds, 1),
        "sequences_per_cpu_second": round(count / cpu_seconds, 1),
        "nearest_neighbour_accuracy": round(nearest_neighbour_accuracy(*split), 4),
    }
    if arguments.train_epochs:
        begin = time.perf_counter()
        result["trained_accuracy"] = round(trained_accuracy(*split, arguments.train_epochs, arguments.seed), 4)
        result["training_seconds"] = round(time.perf_counter() - begin, 1)
        if arguments.confusions:
            confusion = trained_accuracy.confusion.copy()  # type: ignore[attr-defined]
            np.fill_diagonal(confusion, 0)
            worst = np.argsort(confusion, axis=None)[::-1][: arguments.confusions]
            pairs = [np.unravel_index(flat, confusion.shape) for flat in worst]
            result["confusions"] = [
                f"{SYNTHETIC_ACTIONS[a]} -> {SYNTHETIC_ACTIONS[b]}: {confusion[a, b]}" for a, b in pairs
            ]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
