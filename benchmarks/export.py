"""How large and how fast exported graphs are, against the model they come from; prints JSON.

    python benchmarks/export.py [--model FOLDER --store FOLDER [--split SPLIT]] [--preset small] [--batch-size 8] [--repeats 5]

`eager` is the model in PyTorch, `onnx` its graph in onnxruntime, `int8` the same with weights of matrix products in 8 bits. They
compute the same batch in turns, with the same number of threads; the medians and their ratios are printed. With a fine-tuned model and
a store, the batch is the first one of its test part, and the accuracy of all three on the whole part is printed, too; without, it is
random numbers in a Hi-TRS that has learned nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from skeleton_transformers import (
    AutoModelForActionRecognition,
    HiTRSConfig,
    HiTRSForActionRecognition,
    SkeletonFeatureExtractor,
    SkeletonStore,
)
from skeleton_transformers.data.datasets import SkeletonCollator, SkeletonDataset
from skeleton_transformers.evaluation.protocols import labelled_part
from skeleton_transformers.exporting import ExportedModel, export_model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--store")
    parser.add_argument("--split")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if bool(args.model) != bool(args.store):
        parser.error("--model and --store go together")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.model or f"{temporary}/model")
        if args.model is None:
            torch.manual_seed(0)
            HiTRSForActionRecognition(HiTRSConfig.from_preset(args.preset, num_labels=60)).save_pretrained(folder)
            SkeletonFeatureExtractor().save_pretrained(folder)
        manifests = {
            "onnx": export_model(folder, f"{temporary}/onnx"),
            "int8": export_model(folder, f"{temporary}/int8", quantize="int8"),
        }
        model = AutoModelForActionRecognition.from_pretrained(folder).eval()

        def eager(batch):
            with torch.no_grad():
                return model(**batch).logits.numpy()

        def exported(name):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            graph = ExportedModel(f"{temporary}/{name}", sess_options=options)
            return lambda batch: graph(batch["keypoints"].numpy(), batch["frame_mask"].numpy())

        sides = {"eager": eager, "onnx": exported("onnx"), "int8": exported("int8")}
        batches, labels = [random_batch(args.batch_size)], None
        if args.store:
            store = SkeletonStore.open(args.store)
            indices = labelled_part(store, args.split, "test")
            dataset = SkeletonDataset(store, indices, SkeletonFeatureExtractor.from_pretrained(folder))
            items = [dataset[number] for number in range(len(dataset))]
            batches = [
                SkeletonCollator()(items[first : first + args.batch_size])
                for first in range(0, len(items), args.batch_size)
            ]
            labels = np.concatenate([batch.pop("labels").numpy() for batch in batches])
        seconds = {name: [] for name in sides}
        for repeat in range(args.repeats + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                side(batches[0])
                if repeat:  # the first call pays for memory
                    seconds[name].append(time.perf_counter() - start)
        result = {
            "benchmark": "export",
            **vars(args),
            "model": os.path.basename(args.model or ""),
            "store": os.path.basename(args.store or ""),
        }
        if labels is not None:
            logits = {name: np.concatenate([side(batch) for batch in batches]) for name, side in sides.items()}
            result |= {
                "sequences": len(labels),
                "top1_accuracy": {name: round(float((v.argmax(1) == labels).mean()), 5) for name, v in logits.items()},
                "largest_difference": {
                    name: float(np.abs(logits[name] - logits["eager"]).max()) for name in manifests
                },
                "other_answers": {
                    name: int((logits[name].argmax(1) != logits["eager"].argmax(1)).sum()) for name in manifests
                },
            }
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    print(
        json.dumps(
            result
            | {
                "shape": list(batches[0]["keypoints"].shape),
                "threads": torch.get_num_threads(),
                "kilobytes": {"weights": weights // 1000}
                | {name: manifest["bytes"] // 1000 for name, manifest in manifests.items()},
                "milliseconds": {name: round(1000 * value, 2) for name, value in medians.items()},
                "ratio_onnx": round(medians["eager"] / medians["onnx"], 2),
                "ratio_int8": round(medians["eager"] / medians["int8"], 2),
                "ratio_size": round(manifests["onnx"]["bytes"] / manifests["int8"]["bytes"], 2),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
            indent=2,
        )
    )


def random_batch(size):
    keypoints = torch.randn(size, 2, 60, 25, 3, generator=torch.Generator().manual_seed(0))
    frame_mask = torch.ones(size, 2, 60, dtype=torch.bool)
    frame_mask[::2, 1] = False
    return {"keypoints": keypoints * frame_mask[..., None, None], "frame_mask": frame_mask}


if __name__ == "__main__":
    main()
