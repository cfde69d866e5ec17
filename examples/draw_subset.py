"""Draws a share of a corpus, once and for all, and writes the names of its recordings to a file.

    python examples/draw_subset.py stores/ntu60 lists/ntu60_quarter.json --fraction 0.25 --seed 0

The share is that of every class and every subject, so that it splits like the whole. Recipes name the file in `data.recordings`; then
pre-training, fine-tuning and evaluation use these recordings only.
"""

import argparse
from pathlib import Path

from skeleton_transformers import SkeletonStore
from skeleton_transformers.evaluation.subsets import corpus_subset, save_label_subset


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="folder made by `skeleton-transformers prepare`")
    parser.add_argument("output", type=Path, help="file to write (.json)")
    parser.add_argument("--fraction", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    store = SkeletonStore.open(arguments.store)
    chosen = corpus_subset(store.labels, store.subjects, arguments.fraction, arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_label_subset(
        arguments.output,
        store.names[chosen],
        store.labels[chosen],
        arguments.fraction,
        arguments.seed,
        "class and subject",
    )
    print(f"{len(chosen)} of {len(store)} recordings in {arguments.output}")


if __name__ == "__main__":
    main()
