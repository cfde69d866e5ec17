"""What a new frame costs in live inference, against computing the window anew with every frame; prints JSON.

    python benchmarks/streaming_latency.py [--preset base] [--window 90] [--frames 28] [--repeats 3]

For Hi-TRS, one person, 30 frames per second: `recognition`, the last `window` frames after every frame, with a feature extractor that leaves
coordinates where they are (`carried`) and with one that puts the first frame of the window at the origin (`first_frame`); and `detection`, the
probabilities of one more frame. Each is measured with the model that remembers frames and clips and with the model itself on the
same frames, in turns, after the window has been filled. Milliseconds per frame are medians over repeats; the ratios are what counts.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np
import torch

from skeleton_transformers import (
    HiTRSConfig,
    HiTRSForActionDetection,
    HiTRSForActionRecognition,
    SkeletonFeatureExtractor,
    StreamingRecognizer,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--window", type=int, default=90, help="frames that recognition looks at, 3 seconds")
    parser.add_argument(
        "--frames", type=int, default=28, help="frames in one measurement: a whole number of clip strides"
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = HiTRSConfig.from_preset(args.preset, num_labels=60)
    recognizer, detector = HiTRSForActionRecognition(config), HiTRSForActionDetection(config)
    kinds = {
        "recognition, carried": (recognizer, SkeletonFeatureExtractor(), {"window": args.window}),
        "recognition, first_frame": (
            recognizer,
            SkeletonFeatureExtractor(center="first_frame"),
            {"window": args.window},
        ),
        "detection": (detector, SkeletonFeatureExtractor(center="first_frame"), {}),
    }
    walk = (
        np.random.default_rng(0)
        .normal(scale=0.02, size=(args.window + args.frames * args.repeats, 25, 3))
        .cumsum(axis=0)
    )

    seconds: dict[str, dict[str, list[float]]] = {}
    largest_difference = 0.0
    for kind, (model, extractor, options) in kinds.items():
        live = {name: StreamingRecognizer(model, extractor, **options) for name in ("remembering", "anew")}
        live["anew"].model = model
        for stream in live.values():  # the window is full, and all of it is remembered, before the first measurement
            stream.every = args.window
            for frame in walk[: args.window]:
                stream.push(frame)
            stream.every = 1
        measured = seconds[kind] = {"remembering": [], "anew": []}
        for repeat in range(args.repeats):
            part = walk[args.window + repeat * args.frames :][: args.frames]
            last = {}
            for name, stream in live.items():
                started = time.perf_counter()
                for frame in part:
                    last[name] = stream.push(frame)
                measured[name].append((time.perf_counter() - started) / len(part))
            if last["anew"].predictions is None:
                found, expected = (last[name].probabilities for name in ("remembering", "anew"))
            else:
                found, expected = (
                    [row["score"] for row in last[name].predictions] for name in ("remembering", "anew")
                )
            largest_difference = max(largest_difference, float(np.abs(np.subtract(found, expected)).max()))
    results = {}
    for kind, measured in seconds.items():
        once, anew = (1000 * statistics.median(measured[name]) for name in ("remembering", "anew"))
        results[kind] = {"remembering_ms": round(once, 2), "anew_ms": round(anew, 2), "ratio": round(anew / once, 1)}
    print(
        json.dumps(
            {
                "benchmark": "streaming_latency",
                "preset": args.preset,
                "window": args.window,
                "results": results,
                "largest_difference_of_probabilities": largest_difference,
                "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
                "threads": torch.get_num_threads(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
