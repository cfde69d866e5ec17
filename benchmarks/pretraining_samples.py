"""How many pre-training samples a second the data pipeline makes, against loops over frames and joints.

    python benchmarks/pretraining_samples.py [--sequences 256] [--frames 80] [--repeats 5]

All sides augment sequences of 25 joints (probability 0.5), take the motion stream, corrupt it and draw the clip and video
order tasks, in batches of 64, in one process. The library reads its sequences from a store on the disk; the others, written here
from the description of the method, have theirs in memory: `loops` is a dataset class of the usual kind, which uses numpy for
whole sequences and goes through frames and joints where each of them is drawn for itself, `plain` has lists only. Rounds of
the sides alternate; the printed JSON has the median of each and the ratios.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time

import numpy as np

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.datasets import SampleKey, SkeletonDataset, minimum_frames
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter


BATCH_SIZE, JOINTS, CLIP_LENGTH, CLIP_STRIDE, CLIP_DILATION = 64, 25, 7, 7, 2
PADDING = CLIP_LENGTH // 2 * CLIP_DILATION


def plain_augmentation(sequence, rng):
    """`sequence[t][v]` are lists of three numbers; one spatial and one temporal change, in half of the cases."""
    if rng.random() >= 0.5:
        return sequence
    spatial, temporal = rng.integers(3), rng.integers(2)
    if spatial == 0:
        factor = rng.uniform(0.8, 1.2)
        sequence = [[[c * factor for c in joint] for joint in frame] for frame in sequence]
    elif spatial == 1:
        offsets = {int(v): rng.uniform(-0.2, 0.2, 3).tolist() for v in rng.choice(JOINTS, 5, replace=False)}
        sequence = [
            [[c + o for c, o in zip(joint, offsets.get(v, (0, 0, 0)), strict=True)] for v, joint in enumerate(frame)]
            for frame in sequence
        ]
    else:
        matrix = [[1.0 if i == j else float(rng.uniform(-0.5, 0.5)) for j in range(3)] for i in range(3)]
        sequence = [
            [[sum(row[k] * joint[k] for k in range(3)) for row in matrix] for joint in frame] for frame in sequence
        ]
    if temporal == 0:
        r = float(rng.random())
        moved = []
        for now, after in zip(sequence[:-1], sequence[1:], strict=True):
            moved.append(
                [[a + r * (b - a) for a, b in zip(p, q, strict=True)] for p, q in zip(now, after, strict=True)]
            )
        return [*moved, sequence[-1]]
    removed = round(len(sequence) * float(rng.uniform(0, 0.2)))
    head = int(rng.integers(removed + 1))
    return sequence[head : len(sequence) - (removed - head)]


def plain_motion(sequence):
    stream = [[[0.0, 0.0, 0.0] for _ in range(JOINTS)]]
    for before, now in zip(sequence[:-1], sequence[1:], strict=True):
        stream.append([[b - a for a, b in zip(p, q, strict=True)] for p, q in zip(before, now, strict=True)])
    return stream


def plain_swap(values, rng):
    i, j = 0, 0
    while abs(i - j) < 2:
        i, j = rng.integers(len(values), size=2)
    values = list(values)
    values[i], values[j] = values[j], values[i]
    return values


def plain_sample(sequence, rng):
    """One sample: corrupted sequence, selected joints, clip, swapped clip, whether it counts, and clip order."""
    frames = len(sequence)
    corrupted = [[list(joint) for joint in frame] for frame in sequence]
    selected = [[False] * JOINTS for _ in range(frames)]
    for t in range(frames):
        for v in range(JOINTS):
            if rng.random() < 0.15:
                selected[t][v] = True
                u = rng.random()
                if u < 0.8:
                    corrupted[t][v] = [1.0, 1.0, 1.0]
                elif u < 0.9:
                    s, w = t, v
                    while s == t:
                        s = rng.integers(frames)
                    while w == v:
                        w = rng.integers(JOINTS)
                    corrupted[t][v] = list(sequence[s][w])
    magnitude = [0.0]
    for t in range(1, frames):
        magnitude.append(
            sum(
                abs(b - a)
                for p, q in zip(sequence[t - 1], sequence[t], strict=True)
                for a, b in zip(p, q, strict=True)
            )
        )
    windows = []
    for center in range(frames):
        positions = [center - PADDING + k * CLIP_DILATION for k in range(CLIP_LENGTH)]
        clip = [t if 0 <= t < frames else -1 for t in positions]
        counted = [magnitude[t] for t in clip if t > 0]
        if counted and sum(counted) / len(counted) > 0:
            windows.append(clip)
    clip = windows[rng.integers(len(windows))] if windows else [t if 0 <= t < frames else -1 for t in range(-6, 7, 2)]
    order = list(range(-(-frames // CLIP_STRIDE)))
    order = [1, 0, 2] if len(order) == 3 else [*plain_swap(order[:-1], rng), order[-1]]
    return corrupted, selected, clip, plain_swap(clip, rng), bool(windows), order


def plain_batch(sequences, rng):
    targets = [plain_motion(plain_augmentation(sequence, rng)) for sequence in sequences]
    samples = [plain_sample(target, rng) for target in targets]
    longest = max(len(target) for target in targets)
    padding = [[0.0] * 3] * JOINTS
    clips = max(len(sample[5]) for sample in samples)
    return (
        np.array([sample[0] + [padding] * (longest - len(sample[0])) for sample in samples], dtype=np.float32),
        np.array([target + [padding] * (longest - len(target)) for target in targets], dtype=np.float32),
        np.array([sample[1] + [[False] * JOINTS] * (longest - len(sample[1])) for sample in samples]),
        *(np.array([sample[i] for sample in samples]) for i in (2, 3, 4)),
        np.array([sample[5] + list(range(len(sample[5]), clips)) for sample in samples]),
    )


class LoopingDataset:
    """Sequences in memory; whole ones are worked on by numpy, single joints and frames one after the other."""

    def __init__(self, sequences, rng):
        self.sequences, self.rng = sequences, rng

    def __len__(self):
        return len(self.sequences)

    def augmented(self, sequence):
        rng = self.rng
        if rng.random() >= 0.5:
            return sequence
        spatial, temporal = rng.integers(3), rng.integers(2)
        if spatial == 0:
            sequence = sequence * np.float32(rng.uniform(0.8, 1.2))
        elif spatial == 1:
            sequence = sequence.copy()
            sequence[:, rng.choice(JOINTS, 5, replace=False)] += rng.uniform(-0.2, 0.2, (5, 3)).astype(np.float32)
        else:
            matrix = rng.uniform(-0.5, 0.5, (3, 3))
            np.fill_diagonal(matrix, 1)
            sequence = sequence @ matrix.T.astype(np.float32)
        if temporal == 0:
            r = np.float32(rng.random())
            return np.concatenate([sequence[:-1] + r * (sequence[1:] - sequence[:-1]), sequence[-1:]])
        removed = round(len(sequence) * rng.uniform(0, 0.2))
        head = int(rng.integers(removed + 1))
        return sequence[head : len(sequence) - (removed - head)]

    def __getitem__(self, index):
        rng = self.rng
        sequence = self.augmented(self.sequences[index])
        target = np.zeros_like(sequence)
        target[1:] = sequence[1:] - sequence[:-1]
        frames = len(target)
        corrupted, selected = target.copy(), np.zeros((frames, JOINTS), dtype=bool)
        for t in range(frames):
            for v in range(JOINTS):
                if rng.random() < 0.15:
                    selected[t, v] = True
                    u = rng.random()
                    if u < 0.8:
                        corrupted[t, v] = 1.0
                    elif u < 0.9:
                        s, w = t, v
                        while s == t:
                            s = rng.integers(frames)
                        while w == v:
                            w = rng.integers(JOINTS)
                        corrupted[t, v] = target[s, w]
        magnitude = np.zeros(frames, dtype=np.float32)
        magnitude[1:] = np.abs(target[1:] - target[:-1]).sum(axis=(1, 2))
        windows = []
        for center in range(frames):
            positions = np.arange(CLIP_LENGTH) * CLIP_DILATION + center - PADDING
            clip = np.where((positions >= 0) & (positions < frames), positions, -1)
            if magnitude[clip[clip > 0]].sum() > 0:
                windows.append(clip)
        clip = windows[rng.integers(len(windows))] if windows else np.arange(-6, 7, 2)
        order = list(range(-(-frames // CLIP_STRIDE)))
        order = [1, 0, 2] if len(order) == 3 else [*plain_swap(order[:-1], rng), order[-1]]
        return corrupted, target, selected, clip, plain_swap(clip, rng), bool(windows), order


def looping_batch(dataset, indices):
    samples = [dataset[index] for index in indices]
    longest = max(len(sample[0]) for sample in samples)
    clips = max(len(sample[6]) for sample in samples)

    def padded(place):
        arrays = [sample[place] for sample in samples]
        batch = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for row, array in enumerate(arrays):
            batch[row, : len(array)] = array
        return batch

    return (
        *(padded(place) for place in (0, 1, 2)),
        *(np.array([sample[place] for sample in samples]) for place in (3, 4, 5)),
        np.array([sample[6] + list(range(len(sample[6]), clips)) for sample in samples]),
    )


def write_store(path, arrays):
    with SkeletonStoreWriter(path, "ntu25", 30.0) as writer:
        for number, keypoints in enumerate(arrays):
            writer.add(SkeletonSample(keypoints, np.ones(keypoints.shape[:2], dtype=bool), name=str(number)))
    return SkeletonStore.open(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=256)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = rng.integers(args.frames // 2, args.frames * 3 // 2, size=args.sequences)
    arrays = [rng.standard_normal((1, n, JOINTS, 3)).cumsum(axis=1).astype(np.float32) for n in lengths]
    lists = [array[0].tolist() for array in arrays]
    looping_dataset = LoopingDataset([array[0] for array in arrays], rng)
    folder = tempfile.TemporaryDirectory()
    dataset = SkeletonDataset(
        write_store(f"{folder.name}/store", arrays),
        None,
        SkeletonFeatureExtractor(stream="motion"),
        SkeletonAugmentation(probability=0.5),
        single_person=True,
        min_frames=minimum_frames(CLIP_STRIDE),
        min_augmented_frames=2 * CLIP_STRIDE + 1,
    )
    collator = HiTRSPreTrainingCollator(CLIP_LENGTH, CLIP_STRIDE, CLIP_DILATION)
    assert len(dataset) == args.sequences

    def library(epoch):
        for first in range(0, args.sequences, BATCH_SIZE):
            members = range(first, min(first + BATCH_SIZE, args.sequences))
            collator([dataset[SampleKey(index, epoch)] for index in members])

    def loops(epoch):
        for first in range(0, args.sequences, BATCH_SIZE):
            looping_batch(looping_dataset, range(first, min(first + BATCH_SIZE, args.sequences)))

    def plain(epoch):
        for first in range(0, args.sequences, BATCH_SIZE):
            plain_batch(lists[first : first + BATCH_SIZE], rng)

    library(0)  # the first call pays for imports and caches
    rates = {"library": [], "loops": [], "plain": []}
    for repeat in range(args.repeats):
        for name, side in (("library", library), ("loops", loops), ("plain", plain)):
            start = time.perf_counter()
            side(repeat)
            rates[name].append(args.sequences / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "benchmark": "pretraining_samples",
                **vars(args),
                "samples_per_second": {name: round(value, 1) for name, value in medians.items()},
                "ratio": round(medians["library"] / medians["loops"], 1),
                "ratio_plain": round(medians["library"] / medians["plain"], 1),
                "python": platform.python_version(),
                "numpy": np.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
