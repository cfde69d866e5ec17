"""A small recognition model and a store that fits it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from skeleton_transformers import (
    HiTRSConfig,
    HiTRSForActionRecognition,
    SkeletonFeatureExtractor,
    SkeletonSample,
    SkeletonStoreWriter,
)
from skeleton_transformers.cli.evaluate import evaluate
from skeleton_transformers.cli.predict import predict


ACTIONS = ["walk", "sit down", "throw", "carry"]


@pytest.fixture(scope="session")
def recognition_model(tmp_path_factory) -> Path:
    """Folder of a Hi-TRS with random weights for four actions in layout kinect20."""
    folder = tmp_path_factory.mktemp("model") / "recognition"
    torch.manual_seed(0)
    config = HiTRSConfig(
        layout="kinect20",
        hidden_sizes=[16, 32, 32],
        num_layers=1,
        num_attention_heads=2,
        attention_head_size=16,
        intermediate_sizes=[16, 16, 32],
        id2label=dict(enumerate(ACTIONS)),
        label2id={name: index for index, name in enumerate(ACTIONS)},
    )
    HiTRSForActionRecognition(config).save_pretrained(folder)
    SkeletonFeatureExtractor(layout="kinect20", center="first_frame", max_persons=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def labelled_store(tmp_path_factory) -> Path:
    """48 noisy recordings of four actions that drift into four directions; a quarter of them tests."""
    path = tmp_path_factory.mktemp("store") / "drift"
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(20, 3))
    with SkeletonStoreWriter(path, "kinect20", 30.0, label_names=ACTIONS, corpus="folder") as writer:
        for number in range(48):
            label, frames = number % 4, int(rng.integers(15, 25))
            keypoints = pose + rng.normal(0, 0.02, (1, frames, 20, 3))
            keypoints[0, :, :, label % 2] += (1.5 if label < 2 else -1.5) * np.linspace(0, 1, frames)[:, None]
            mask = np.ones((1, frames), dtype=bool)
            split = "test" if number % 16 >= 12 else "train"
            name = f"take_{number:02d}"
            writer.add(
                SkeletonSample(keypoints.astype(np.float32), mask, label, name, subject=number % 3, split=split)
            )
    return path


@pytest.fixture(scope="session")
def model_commands() -> typer.Typer:
    """The verbs `predict` and `evaluate`."""
    app = typer.Typer()
    app.command()(predict)
    app.command()(evaluate)
    return app
