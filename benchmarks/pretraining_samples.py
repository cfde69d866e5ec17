"""How many pre-training samples a second the data pipeline makes, against plain loops over frames and joints.

    python benchmarks/pretraining_samples.py [--sequences 256] [--frames 80] [--repeats 5]

Both sides augment sequences of 25 joints (probability 0.5), take the motion stream, corrupt it and draw the clip and video
order tasks, in batches of 64, in one process. The plain side is written here from the description of the method, one
frame and one joint at a time. Rounds of the two sides alternate; the printed JSON has the median of each and their ratio.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator


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


def library_batch(sequences, first, epoch, augmentation, extractor, collator):
    items = []
    for index, keypoints in enumerate(sequences, start=first):
        frame_mask = np.ones(keypoints.shape[:2], dtype=bool)
        rng = np.random.default_rng([0, epoch, index])
        keypoints, frame_mask = augmentation(keypoints, frame_mask, rng)
        stream = extractor.apply_stream(keypoints, frame_mask)
        items.append({"keypoints": stream, "frame_mask": frame_mask, "key": SampleKey(index, epoch)})
    return collator(items)


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
    augmentation = SkeletonAugmentation(probability=0.5)
    extractor = SkeletonFeatureExtractor(stream="motion")
    collator = HiTRSPreTrainingCollator(CLIP_LENGTH, CLIP_STRIDE, CLIP_DILATION)

    def library(epoch):
        for first in range(0, args.sequences, BATCH_SIZE):
            library_batch(arrays[first : first + BATCH_SIZE], first, epoch, augmentation, extractor, collator)

    def plain(epoch):
        for first in range(0, args.sequences, BATCH_SIZE):
            plain_batch(lists[first : first + BATCH_SIZE], rng)

    library(0)  # the first call pays for imports and caches
    rates = {"library": [], "plain": []}
    for repeat in range(args.repeats):
        for name, side in (("library", library), ("plain", plain)):
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
                "ratio": round(medians["library"] / medians["plain"], 1),
                "python": platform.python_version(),
                "numpy": np.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
