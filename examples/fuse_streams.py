"""Fuse what the models of several streams say about the same recordings.

    python examples/fuse_streams.py runs/joint/predictions.npz runs/motion/predictions.npz runs/bone/predictions.npz
    python examples/fuse_streams.py joint.npz bone.npz --mode softmax --weights 0.6 0.4

The files are those that `finetune.py` (or `skeleton-transformers evaluate --protocol accuracy --predictions`) wrote.
"""

import argparse

from skeleton_transformers.evaluation.fusion import fuse_predictions


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="files of predictions (.npz)")
    parser.add_argument("--weights", nargs="+", type=float, default=None, help="one per file; default equal")
    parser.add_argument("--mode", choices=("logits", "softmax"), default="logits", help="what is averaged")
    options = parser.parse_args(arguments)
    fused = fuse_predictions(options.files, options.weights, options.mode)
    for file, accuracy in zip(options.files, fused.single, strict=True):
        print(f"{100 * accuracy:6.2f} %  {file}")
    print(f"{100 * fused.top1_accuracy:6.2f} %  fused ({len(fused.labels)} recordings)")
    return fused.top1_accuracy


if __name__ == "__main__":
    main()
