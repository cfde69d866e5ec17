"""Features of recordings: the pooled output of an encoder, and plain coordinates as the baseline to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..data.datasets import SkeletonCollator
from ..data.geometry import resize_frames
from ..models.skeleton_ensemble.modeling_skeleton_ensemble import SkeletonEnsembleForActionRecognition


class _CollatorWithPositions:
    """Pads a batch and keeps, beside it, where its items belong and their labels (-1 where there is none)."""

    def __init__(self) -> None:
        self.collator = SkeletonCollator()

    def __call__(self, items: list[tuple[int, dict[str, Any]]]) -> tuple[dict[str, Any], list[int], list[int]]:
        positions = [position for position, _ in items]
        labels = [int(item.get("labels", -1)) for _, item in items]
        return self.collator([item for _, item in items]), positions, labels


class _WithPositions(Dataset):
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, position: int) -> tuple[int, Any]:
        return position, self.dataset[position]


def length_batches(lengths: np.ndarray, batch_size: int) -> list[list[int]]:
    """Positions grouped so that every batch holds sequences of similar length, longest first (so memory fails early)."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]


def run_batches(
    model: torch.nn.Module,
    dataset: Dataset,
    field: str,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a model over a data set in evaluation mode without gradients; one row of its output `field` per item, in order.

    Args:
        model: Called as `model(keypoints=..., frame_mask=...)`. Its training mode is restored afterwards.
        dataset: A `SkeletonDataset`; its batches are made of sequences of similar lengths. For an ensemble, with the feature extractor
            of the ensemble: its members are run one after the other.
        field: Name of a tensor of the output with one row per sample, such as `pooler_output` or `logits`.
        batch_size: Sequences per batch.
        device: Where to compute; default where the model is.
        num_workers: Processes that read ahead.
        progress: Show a progress bar.

    Returns:
        float32 (samples, width) and int64 labels (samples,), -1 where the recording has none.
    """
    size = len(dataset)  # type: ignore[arg-type]
    if not size:
        raise ValueError("the data set is empty: no sequence is left to compute on")
    if isinstance(model, SkeletonEnsembleForActionRecognition):
        if field != "logits":
            raise ValueError(f"an ensemble has logits, but no {field}; evaluate its members alone, or its accuracy")
        extractors: dict[str, Any] = dataset.pipeline.feature_extractor.members  # type: ignore[attr-defined]
        options = (field, batch_size, device, num_workers, progress)
        parts = [
            run_batches(member, dataset.with_feature_extractor(extractors[name]), *options)  # type: ignore[attr-defined]
            for name, member in model.members.items()
        ]
        scores = torch.from_numpy(np.stack([logits for logits, _ in parts], axis=1))
        return model.fuse(scores).numpy(), parts[0][1]
    items, stores = getattr(dataset, "items", None), getattr(dataset, "stores", None)
    if items is not None and stores is not None:
        lengths = np.array([stores[number].num_frames[index] for number, index, *_ in items.tolist()])
    else:
        lengths = np.zeros(size)
    if device is None:
        device = next(model.parameters()).device
    else:
        model.to(device)
    loader = DataLoader(
        _WithPositions(dataset),
        batch_sampler=length_batches(lengths, batch_size),
        collate_fn=_CollatorWithPositions(),
        num_workers=num_workers,
    )
    values: np.ndarray | None = None
    labels = np.full(size, -1, dtype=np.int64)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch, positions, batch_labels in tqdm(
                loader, desc=field, disable=None if progress else True, leave=False
            ):
                output = model(keypoints=batch["keypoints"].to(device), frame_mask=batch["frame_mask"].to(device))
                rows = getattr(output, field).float().cpu().numpy()
                if values is None:
                    values = np.empty((size, rows.shape[1]), dtype=np.float32)
                values[positions] = rows
                labels[positions] = batch_labels
    finally:
        model.train(was_training)
    assert values is not None
    return values, labels


def extract_features(
    model: torch.nn.Module,
    dataset: Dataset,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features of every sequence: `pooler_output` of an encoder, or of the encoder inside a task model.

    Args:
        model: Any encoder of the package, or a model with a head on one (its `base_model` is used).
        dataset: A `SkeletonDataset` without augmentation.
        batch_size: Sequences per batch.
        device: Where to compute; default where the model is.
        num_workers: Processes that read ahead.
        progress: Show a progress bar.

    Returns:
        features float32 (samples, hidden_size) and labels int64 (samples,), -1 where the recording has none.
    """
    encoder = getattr(model, "base_model", model)
    return run_batches(encoder, dataset, "pooler_output", batch_size, device, num_workers, progress)


def extract_raw_features(dataset: Dataset, num_frames: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates as features: every person's present frames, linearly resampled to `num_frames`, flattened.

    The nearest neighbour of these is the baseline that shows what a corpus gives away without any learning.

    Args:
        dataset: A `SkeletonDataset`; what its feature extractor does (centring, view) is part of the baseline.
        num_frames: Frames per person after resampling.

    Returns:
        features float32 (samples, persons * num_frames * joints * channels), absent persons 0, and labels int64 (samples,).
    """
    rows, labels = [], []
    for position in range(len(dataset)):  # type: ignore[arg-type]
        item = dataset[position]
        keypoints = np.asarray(item["keypoints"], dtype=np.float32)  # (M, T, V, C)
        mask = np.asarray(item["frame_mask"])
        row = np.zeros((keypoints.shape[0], num_frames, *keypoints.shape[2:]), dtype=np.float32)
        for person in np.flatnonzero(mask.any(axis=1)):
            frames = keypoints[[person]][:, mask[person]]  # (1, present frames, V, C)
            row[person] = resize_frames(frames, np.ones(frames.shape[:2], dtype=bool), num_frames)[0][0]
        rows.append(row.reshape(-1))
        labels.append(int(item.get("labels", -1)))
    width = max(len(row) for row in rows)
    features = np.zeros((len(rows), width), dtype=np.float32)
    for position, row in enumerate(rows):
        features[position, : len(row)] = row
    return features, np.array(labels, dtype=np.int64)


__all__ = ["extract_features", "extract_raw_features", "length_batches", "run_batches"]
