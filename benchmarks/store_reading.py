"""How fast sequences come out of a store, against how fast Hi-TRS consumes them; prints JSON.

    python benchmarks/store_reading.py [--sequences 512] [--preset base] [--batch-size 16] [--repeats 3]

Makes a store of the synthetic corpus, then measures in turns, in one process and with the same number of threads:
`store`, samples read in random order; `stream`, the same from parquet shards; `pipeline`, whole pre-training batches (reading,
normalising, augmenting, drawing the pretext tasks); `inference`, sequences through the encoder; and `pretraining`, sequences through
forward and backward pass of the pre-training model. The medians and their ratios are printed.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time

import numpy as np
import torch

from skeleton_transformers import HiTRSConfig, HiTRSForPreTraining, SkeletonFeatureExtractor
from skeleton_transformers.data.augmentation import SkeletonAugmentation
from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.datasets import (
    EpochSampler,
    SequencePipeline,
    SkeletonCollator,
    SkeletonDataset,
    minimum_frames,
)
from skeleton_transformers.data.preparation import prepare_corpus
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.data.shards import SkeletonShards
from skeleton_transformers.data.storage import SkeletonStore
from skeleton_transformers.data.streaming import SkeletonStream


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=512)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = HiTRSConfig.from_preset(args.preset)
    model = HiTRSForPreTraining(config)
    clips = (config.clip_length, config.clip_stride, config.clip_dilation)
    extractor = SkeletonFeatureExtractor(stream="motion")
    options = {"single_person": True, "min_frames": minimum_frames(config.clip_stride)}
    with tempfile.TemporaryDirectory() as folder:
        prepare_corpus(
            "synthetic",
            None,
            f"{folder}/store",
            PreparationOptions(sequences=args.sequences),
            progress=False,
            parquet=f"{folder}/shards",
        )
        store, shards = SkeletonStore.open(f"{folder}/store"), SkeletonShards(f"{folder}/shards")
        dataset = SkeletonDataset(
            store,
            None,
            extractor,
            SkeletonAugmentation(probability=0.5),
            min_augmented_frames=2 * config.clip_stride + 1,
            **options,
        )
        collator = HiTRSPreTrainingCollator(*clips)
        plain = SequencePipeline(extractor, **options)
        pretraining_batch = collator([dataset[index] for index in range(args.batch_size)])
        inference_batch = SkeletonCollator()([dataset[index] for index in range(args.batch_size)])
        inference_batch.pop("labels", None)

        def read(epoch):
            order = np.random.default_rng(epoch).permutation(len(store))
            for index in order.tolist():
                store[index]
            return len(order)

        def stream(epoch):
            source = SkeletonStream(shards, plain, buffer_size=256)
            source.set_epoch(epoch)
            return sum(1 for _ in source)

        def pipeline(epoch):
            sampler = EpochSampler(len(dataset))
            sampler.set_epoch(epoch)
            keys = list(sampler)
            for first in range(0, len(keys), args.batch_size):
                collator([dataset[key] for key in keys[first : first + args.batch_size]])
            return len(keys)

        def inference(epoch):
            model.eval()
            with torch.no_grad():
                model.hitrs(**inference_batch)
            return args.batch_size

        def pretraining(epoch):
            model.train()
            model(**pretraining_batch).loss.backward()
            model.zero_grad()
            return args.batch_size

        sides = {
            "store": read,
            "stream": stream,
            "pipeline": pipeline,
            "inference": inference,
            "pretraining": pretraining,
        }
        for side in sides.values():
            side(0)  # the first call pays for imports, caches and memory
        rates = {name: [] for name in sides}
        for repeat in range(args.repeats):
            for name, side in sides.items():
                start = time.perf_counter()
                count = side(repeat)
                rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "benchmark": "store_reading",
                **vars(args),
                "mean_frames": round(float(store.num_frames.mean()), 1),
                "threads": torch.get_num_threads(),
                "sequences_per_second": {name: round(value, 1) for name, value in medians.items()},
                "ratio": round(medians["store"] / medians["pretraining"], 1),
                "ratio_inference": round(medians["store"] / medians["inference"], 1),
                "ratio_pipeline": round(medians["pipeline"] / medians["pretraining"], 1),
                "ratio_stream_inference": round(medians["stream"] / medians["inference"], 1),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
