"""How much faster the models are than plain, padded ones with the same weights, and how near to the arithmetic limit; prints JSON.

    python benchmarks/against_plain.py [inference] [--family hitrs] [--preset base] [--batch-size 16] [--lengths ntu|64] [--repeats 3] [--clock cpu] [--recompute]
    python benchmarks/against_plain.py training|pretraining|detection ...
    python benchmarks/against_plain.py inference --preset original     # absent bodies averaged in, as the released code does
    python benchmarks/against_plain.py --plot against_plain.svg one.json another.json    # draws what earlier calls have printed

`inference` encodes a batch, `training` adds a backward pass, `pretraining` is a step of the four tasks of Hi-TRS (forward and backward,
without the optimiser), `detection` gives a feature to every frame of one take of `--lengths` frames (Hi-TRS).

With `--lengths ntu` sequences have lengths like those of NTU RGB+D (30 to 258 frames, 79 in the mean) in random order, and four of five have
an empty second body; with a number they all have that many frames and one body (HiCo, which has places for two: two). The plain models (benchmarks/reference) compute the
padded batch, bodies and all, as research code does. Both sides have the same weights and inputs, run in one process with the same
allocator, in turns; ratios are those of the fastest calls. That the results are equal is checked first: with the plain model given the
same batch where both define the same result, else given each sequence alone, without padding (HiCo has no smaller inputs than two bodies:
the sequences that have them are compared). `bf16` is ours under autocast.

With `--clock cpu` the seconds are those that the process has calculated, which other work on the machine does not lengthen.

The arithmetic limit is the time that the products which ours executes would take at the rate of the fastest product of two matrices of
2048 x 2048 in the same run. Peak memory is that of a fresh process for each side.
"""

import argparse
import json
import multiprocessing
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from reference import PLAIN_ENCODERS, PlainHiTRSForPreTraining, copy_weights

from skeleton_transformers import HiTRSForPreTraining
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.evaluation.efficiency import (
    count_flops,
    measure_seconds,
    peak_matrix_rate,
    peak_memory,
)
from skeleton_transformers.models.families import get_family
from skeleton_transformers.training.recomputation import recompute_long_batches


def ntu_lengths(rng, count):
    """A log-normal with the mean, the median and the range of NTU RGB+D, in frames."""
    return np.exp(rng.normal(np.log(73), 0.4, count)).clip(30, 258).astype(int)


def make_inputs(args, config):
    """Keypoints that are 0 where nobody is, and the mask."""
    rng = np.random.default_rng(0)
    if args.work == "detection":
        lengths, second = [int(args.lengths)], [False]
    elif args.lengths == "ntu":
        lengths = ntu_lengths(rng, args.batch_size).tolist()
        second = (rng.random(args.batch_size) < 0.2).tolist()
    else:
        lengths, second = [int(args.lengths)] * args.batch_size, [args.family == "hico"] * args.batch_size
    if hasattr(config, "num_frames") and args.work != "pretraining":
        lengths = [config.num_frames] * len(lengths)  # the family resizes sequences before it sees them
    if args.work == "pretraining":
        second = [False] * len(lengths)  # every body is a sequence of its own
    persons = 2 if any(second) or (args.lengths == "ntu" and args.work != "pretraining") else 1
    mask = np.zeros((len(lengths), persons, max(lengths)), dtype=bool)
    for row, length in enumerate(lengths):
        mask[row, : 1 + second[row], :length] = True
    keypoints = rng.standard_normal((*mask.shape, config.num_joints, config.num_channels)).cumsum(2) * 0.02
    return torch.from_numpy((keypoints * mask[..., None, None]).astype("float32")), torch.from_numpy(mask), lengths


def make_sides(args):
    """What each side calls, and what gives the result to expect, with the sequences that it is of."""
    family = get_family(args.family)
    config = family.load("configuration").from_preset(args.preset)
    config.hidden_dropout_prob = 0.0
    keypoints, mask, lengths = make_inputs(args, config)
    torch.manual_seed(0)
    if args.work == "pretraining":
        model, plain = HiTRSForPreTraining(config), PlainHiTRSForPreTraining(config)
    else:
        model, plain = family.load("encoder")(config), PLAIN_ENCODERS[args.family](config)
    copy_weights(model, plain)
    trains = args.work in ("training", "pretraining")
    for side in (model, plain):
        side.train(trains)
    if args.recompute:
        recompute_long_batches(model, num_frames=1)
    if args.work == "pretraining":
        items = [
            {"keypoints": k[:, :length].numpy(), "frame_mask": m[:, :length].numpy()}
            for k, m, length in zip(keypoints, mask, lengths, strict=True)
        ]
        batch = HiTRSPreTrainingCollator.from_config(config, seed=0)(items)
        calls = {"ours": lambda: model(**batch).loss, "plain": lambda: sum(plain(**batch))}
    elif args.work == "detection":
        calls = {
            "ours": lambda: model.get_frame_features(keypoints, mask),
            "plain": lambda: plain.frame_features(keypoints)[:, 0],
        }
    else:
        calls = {"ours": lambda: model(keypoints, mask).pooler_output, "plain": lambda: plain(keypoints, mask)}

    def run(name, dtype=None):
        with torch.set_grad_enabled(trains), torch.autocast("cpu", dtype, enabled=dtype is not None):
            result = calls[name]()
        if trains:
            result.float().square().sum().backward()
            model.zero_grad()
            plain.zero_grad()
        return result.detach().float()

    def alone():
        """The plain model, each sequence for itself, without anything that is not there."""
        rows = []
        with torch.no_grad():
            for k, m, length in zip(keypoints, mask, lengths, strict=True):
                present = m.any(1)
                rows.append(plain(k[None, present][:, :, :length], m[None, present][:, :, :length]))
        return torch.cat(rows), everything

    everything = torch.ones(len(mask), dtype=torch.bool)
    complete = mask.any(2).all(1)
    # Padding and absent bodies change the result of a plain model, but for Hi-TRS with the switch for parity.
    padding_counts = args.work in ("inference", "training") and args.lengths == "ntu"
    same_batch = not padding_counts or (args.family == "hitrs" and not config.ignore_absent_person)
    if same_batch:
        return run, lambda: (run("plain"), everything)
    if args.family == "hico":
        return run, lambda: (run("plain")[complete], complete)
    return run, alone


def memory_of(args, name, queue):
    torch.set_num_threads(args.threads)
    run, _ = make_sides(args)
    queue.put(peak_memory(lambda: run(name)))


def memory_in_a_fresh_process(args, name):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=memory_of, args=(args, name, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def relative(actual, wanted):
    """Largest difference, as a share of the largest value."""
    return float((actual - wanted).abs().max() / wanted.abs().max())


def draw(output, runs):
    """Ratios and shares of the arithmetic limit of runs, as bars."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = {
        "times as fast as the plain model": {"ratio": "float32", "ratio_bf16": "bfloat16"},
        "share of the arithmetic limit": {"share_of_limit": "ours", "share_of_limit_plain": "plain"},
    }
    # Equal numbers give equal bytes.
    pyplot.rcParams.update({"svg.hashsalt": "skeleton_transformers", "svg.fonttype": "none", "font.size": 9})
    size = (9, 0.7 * len(runs) + 1)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    for axis, (title, sides) in zip(axes, panels.items(), strict=True):
        for offset, color, (name, side) in zip((-0.2, 0.2), ("#1f5fa8", "#a9c6e3"), sides.items(), strict=True):
            places = [place + offset for place in range(len(runs))]
            bars = axis.barh(places, [run[name] for run in runs], 0.36, label=side, color=color)
            axis.bar_label(bars, fmt="{:.0%}" if "share" in name else "{:.1f}", padding=2)
        axis.set_title(title)
        axis.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.06))
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
        axis.set_xticks([0, 1], ["0", "all of it"] if "share" in title else ["0", "1"])
    lengths = ["lengths of NTU" if run["lengths"] == "ntu" else f"{run['lengths']} frames" for run in runs]
    labels = [
        f"{run['family']} {run['preset']}, {run['work']}\n{run['batch_size']} sequences, {length}"
        for run, length in zip(runs, lengths, strict=True)
    ]
    axes[0].set_yticks(range(len(runs)), labels)
    axes[0].invert_yaxis()
    figure.savefig(output, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "work", nargs="?", choices=["inference", "training", "pretraining", "detection"], default="inference"
    )
    parser.add_argument("--family", choices=list(PLAIN_ENCODERS), default="hitrs")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lengths", default="ntu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--recompute", action="store_true", help="ours computes activations twice and keeps few")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: one thread on a busy machine")
    parser.add_argument(
        "--plot", nargs="+", metavar="FILE", help="an SVG file to draw, and the JSON files to draw it from"
    )
    args = parser.parse_args()
    if args.plot:
        output, *files = args.plot
        return draw(output, [json.loads(Path(file).read_text(encoding="utf-8")) for file in files])
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    if args.work == "detection" and args.lengths == "ntu":
        parser.error("detection needs the length of the take: --lengths 2000")
    if args.work in ("pretraining", "detection") and args.family != "hitrs":
        parser.error(f"{args.work} has a plain implementation of hitrs only")
    memory = {name: memory_in_a_fresh_process(args, name) for name in ("ours", "plain")}
    torch.set_num_threads(args.threads)
    run, expected = make_sides(args)
    wanted, compared = expected()
    actual, rough = run("ours"), run("ours", torch.bfloat16)
    if args.work in ("inference", "training"):
        actual, rough = actual[compared], rough[compared]
    flops = {name: count_flops(lambda name=name: run(name)) for name in ("ours", "plain")}
    seconds = measure_seconds(
        {"ours": lambda: run("ours"), "plain": lambda: run("plain"), "bf16": lambda: run("ours", torch.bfloat16)},
        args.repeats,
        clock,
    )
    fastest = {name: min(values) for name, values in seconds.items()}
    peak = peak_matrix_rate(clock=clock)
    print(
        json.dumps(
            {
                "benchmark": "against_plain",
                **{name: value for name, value in vars(args).items() if name != "plot"},
                "relative_difference": relative(actual, wanted),
                "relative_difference_bf16": relative(rough, wanted),
                "seconds": {name: round(value, 4) for name, value in fastest.items()},
                "ratio": round(fastest["plain"] / fastest["ours"], 2),
                "ratio_bf16": round(fastest["plain"] / fastest["bf16"], 2),
                "gflop": {name: round(value / 1e9, 2) for name, value in flops.items()},
                "peak_gflop_per_second": round(peak / 1e9, 1),
                "share_of_limit": round(flops["ours"] / fastest["ours"] / peak, 3),
                "share_of_limit_plain": round(flops["ours"] / fastest["plain"] / peak, 3),
                "peak_memory_mib": {name: round(value / 2**20) for name, value in memory.items()},
                "load_average": round(os.getloadavg()[0], 1),
                "allocator": {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "LD_PRELOAD"))},
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
