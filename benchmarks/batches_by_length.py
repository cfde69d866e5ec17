"""What batches of similar lengths by a budget of frames save, against batches of one size in random order; prints JSON.

    python benchmarks/batches_by_length.py [--family stgcn] [--preset tiny] [--sequences 64] [--batch-size 16] [--repeats 3] [--clock cpu]

`lengths`: of 20,000 sequences as long as those of NTU RGB+D, the share of padding, how much more than the mean one the largest batch
holds (which is what memory has to be there for), and by how much the slowest of 8, 64 and 512 processes is behind the mean in a
micro-batch, if the time goes with the frames, or with the padded frames. The budget is as many frames as a batch of one size has in the mean.

`seconds`: an epoch of `--sequences` such sequences of one person, forward only, in both kinds of batches: ours, which leave padding out, and the
plain model (benchmarks/reference), which computes it. Sides alternate; ratios are those of the fastest rounds.
"""

import argparse
import json
import os
import platform
import time

import numpy as np
import torch
from against_plain import ntu_lengths
from reference import PLAIN_ENCODERS, copy_weights

from skeleton_transformers.data.datasets import EpochSampler, SkeletonCollator, TokenBatchSampler, TrainingBatchSampler
from skeleton_transformers.evaluation.efficiency import measure_seconds
from skeleton_transformers.models.families import get_family


class Sequences:
    """What a sampler by length asks of a data set."""

    def __init__(self, lengths):
        self.frame_counts = np.asarray(lengths)

    def name(self, index):
        return f"sequence {index}"


def samplers(lengths, batch_size, world_size=1):
    """Both kinds of batches, of about equally many frames."""
    order, budget = EpochSampler(len(lengths)), max(int(batch_size * lengths.mean()), int(lengths.max()))
    return {
        "one_size": TrainingBatchSampler(order, batch_size, world_size=world_size),
        "by_length": TokenBatchSampler(order, Sequences(lengths), budget, world_size=world_size),
    }


def shares(lengths, batch_size):
    found = {}
    for name, sampler in samplers(lengths, batch_size).items():
        batches = [lengths[batch[0]] for batch in sampler.epoch_batches(0)]
        real = np.array([batch.sum() for batch in batches])
        padded = np.array([len(batch) * batch.max() for batch in batches])
        found[name] = {
            "padding": round(float(1 - real.sum() / padded.sum()), 3),
            "largest_to_mean": {
                "frames": round(real.max() / real.mean(), 2),
                "padded": round(padded.max() / padded.mean(), 2),
            },
            "sequences_per_batch": round(sampler.mean_batch_size, 1),
            "waiting": {},
        }
    for world_size in (8, 64, 512):
        many = np.tile(lengths, -(-world_size * batch_size * 8 // len(lengths)))
        for name, sampler in samplers(many, batch_size, world_size).items():
            work = {"frames": [], "padded": []}
            for micro_batch in sampler.epoch_batches(0):  # (processes, sequences)
                ranks = many[micro_batch]
                work["frames"].append(ranks.sum(axis=1))
                work["padded"].append(ranks.shape[1] * ranks.max(axis=1))
            # All of them wait for the slowest in every micro-batch.
            found[name]["waiting"][world_size] = {
                kind: round(float(sum(w.max() for w in rows) / sum(w.mean() for w in rows) - 1), 3)
                for kind, rows in work.items()
            }
    return found


def epochs(args, lengths):
    """One epoch of each side in each kind of batches."""
    family = get_family(args.family)
    config = family.load("configuration").from_preset(args.preset)
    torch.manual_seed(0)
    model, plain = family.load("encoder")(config).eval(), PLAIN_ENCODERS[args.family](config).eval()
    copy_weights(model, plain)
    rng = np.random.default_rng(1)
    items = []
    for length in lengths:
        keypoints = rng.standard_normal((1, length, config.num_joints, config.num_channels)).astype(np.float32)
        items.append({"keypoints": keypoints, "frame_mask": np.ones((1, length), dtype=bool)})
    collate = SkeletonCollator()
    calls = {}
    for kind, sampler in samplers(lengths, args.batch_size).items():
        batches = [collate([items[index] for index in batch[0]]) for batch in sampler.epoch_batches(0)]
        for side, network in (("ours", model), ("plain", plain)):

            @torch.no_grad()
            def call(network=network, batches=batches):
                for batch in batches:
                    network(batch["keypoints"], batch["frame_mask"])

            calls[f"{side}_{kind}"] = call
    return calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["agcn", "asgcn", "hitrs", "stgcn"], default="stgcn")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: one thread on a busy machine")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.sequences % args.batch_size:
        parser.error("sequences must be a multiple of the batch size, or a side would leave some out")
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    rng = np.random.default_rng(0)
    found = shares(ntu_lengths(rng, 20_000), 64)
    seconds = measure_seconds(epochs(args, ntu_lengths(rng, args.sequences)), args.repeats, clock)
    fastest = {name: min(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "benchmark": "batches_by_length",
                **vars(args),
                "lengths": found,
                "seconds": {name: round(value, 4) for name, value in fastest.items()},
                "ratio": {
                    side: round(fastest[f"{side}_one_size"] / fastest[f"{side}_by_length"], 2)
                    for side in ("ours", "plain")
                },
                "load_average": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
