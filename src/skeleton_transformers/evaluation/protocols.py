"""The evaluation protocols of the package: recognition accuracy, nearest-neighbour retrieval, linear probe.

Each returns a JSON-able dictionary that carries, besides the numbers, what is needed to repeat them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..data.corpora import get_corpus, list_corpora, split_indices
from ..data.datasets import SkeletonDataset
from ..data.storage import SkeletonStore
from .calibration import calibration_metrics
from .features import extract_features, extract_raw_features, run_batches
from .linear_probe import LINEAR_PROBE_VERSION, linear_probe
from .metrics import check_labels, classification_metrics
from .provenance import provenance
from .retrieval import retrieval_metrics
from .subsets import label_subset


logger = logging.getLogger(__name__)


@dataclass
class ProtocolFeatures:
    """Features of a training and an evaluation part of one split, and where they come from.

    Attributes:
        train_features: (training samples, width).
        train_labels: (training samples,).
        eval_features: (evaluation samples, width).
        eval_labels: (evaluation samples,).
        info: JSON-able description of the data, the split and the program versions.
    """

    train_features: np.ndarray
    train_labels: np.ndarray
    eval_features: np.ndarray
    eval_labels: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)


def check_parts(train_part: str, eval_part: str) -> None:
    """Raise a `ValueError` when the evaluation part contains training samples.

    `train` is the whole official training split and so holds the validation part; `train-validation` does not.
    """
    if (
        train_part == eval_part
        or "all" in (train_part, eval_part)
        or (train_part, eval_part) == ("train", "validation")
    ):
        raise ValueError(
            f"eval_part {eval_part!r} overlaps with train_part {train_part!r}; to tune, train on 'train-validation' and "
            "evaluate on 'validation'; for the final number, train on 'train' and evaluate on 'test'"
        )


def describe_data(store: SkeletonStore, protocol: str | None, seed: int, **more: Any) -> dict[str, Any]:
    """Corpus, checksum, split, seed, versions and commit: the part that all results share."""
    return {
        "corpus": store.corpus,
        "data_checksum": store.checksum,
        "layout": store.layout.name,
        "split": default_protocol(store) if protocol is None else protocol,
        **more,
        **provenance(seed),
    }


def default_protocol(store: SkeletonStore) -> str:
    """The protocol to use where nobody named one: the first one of the corpus that its columns allow.

    For a folder of recordings that is `split` where the table of labels has a test part, else `subject` where there are at least
    two known subjects, else `random`.
    """
    if store.corpus in list_corpora() and store.corpus != "folder":
        return get_corpus(store.corpus).protocols[0]
    if (store.splits == "test").any():
        return "split"
    subjects = np.unique(store.subjects)
    return "subject" if len(subjects) > 1 and subjects.min() >= 0 else "random"


def labelled_part(store: SkeletonStore, protocol: str | None, part: str) -> np.ndarray:
    """Indices of the labelled recordings of one part of a split.

    The parts of a split never depend on the seed of a run, so that numbers of different seeds share their test samples.

    Raises:
        ValueError: When nothing is left, or a label lies outside the label map.
    """
    protocol = default_protocol(store) if protocol is None else protocol
    indices = split_indices(store, protocol, part)
    labels = np.asarray(store.labels)[indices]
    labelled = indices[labels != -1]
    if not labelled.size:
        raise ValueError(
            f"the part {part!r} of the split {protocol!r} of {store.path} has no labelled recordings "
            f"({len(indices)} recordings, {len(store)} in the store)"
        )
    if len(labelled) < len(indices):
        logger.info("left out %d recordings of the part %r that have no label", len(indices) - len(labelled), part)
    check_labels(np.asarray(store.labels)[labelled], len(store.label_names), np.asarray(store.names)[labelled])
    return labelled


def protocol_features(
    model: torch.nn.Module | None,
    feature_extractor: Any,
    store: SkeletonStore,
    protocol: str | None,
    *,
    train_part: str = "train",
    eval_part: str = "test",
    label_fraction: float = 1.0,
    label_sampling: str = "stratified",
    seed: int = 0,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = False,
) -> ProtocolFeatures:
    """Compute the features that `evaluate_knn` and `evaluate_linear` work on, once for both.

    Args:
        model: An encoder or a model with a head; None takes resampled raw coordinates (the baseline).
        feature_extractor: The `SkeletonFeatureExtractor` saved with the model.
        store: The recordings.
        protocol: Split of the corpus, such as `"xsub"`; None takes `default_protocol`.
        train_part: `"train"`, or `"train-validation"` while tuning.
        eval_part: `"test"`, or `"validation"` while tuning.
        label_fraction: Share of the training labels that may be used.
        label_sampling: How the share is drawn, see `label_subset`.
        seed: Seed of that draw.
        batch_size: Sequences per batch.
        device: Where to compute; default where the model is.
        num_workers: Processes that read ahead.
        progress: Show progress bars.
    """
    check_parts(train_part, eval_part)
    train, evaluation = labelled_part(store, protocol, train_part), labelled_part(store, protocol, eval_part)
    train = train[label_subset(np.asarray(store.labels)[train], label_fraction, seed, label_sampling)]
    found = []
    for indices in (train, evaluation):
        dataset = SkeletonDataset(store, indices, feature_extractor)
        if model is None:
            found.append(extract_raw_features(dataset))
        else:
            found.append(extract_features(model, dataset, batch_size, device, num_workers, progress))
    info = describe_data(
        store,
        protocol,
        seed,
        train_part=train_part,
        eval_part=eval_part,
        label_fraction=label_fraction,
        label_sampling=label_sampling,
        num_train_samples=len(train),
        num_eval_samples=len(evaluation),
        features="raw coordinates" if model is None else "pooler_output",
        model=None if model is None else getattr(getattr(model, "config", None), "_name_or_path", None) or None,
    )
    return ProtocolFeatures(*found[0], *found[1], info)


def evaluate_knn(features: ProtocolFeatures, k: int | Sequence[int] = 1, metric: str = "cosine") -> dict[str, Any]:
    """Nearest-neighbour retrieval: the training samples are the gallery, the evaluation samples the queries.

    Args:
        features: those of both parts.
        k: how many neighbours vote, or several such numbers.
        metric: see `knn_predict`.

    Returns:
        `top1_accuracy` in [0, 1] of the first (or only) `k`, `knn_accuracy` of each, `mean_average_precision`, `k`, `metric`, and the
        description of the data.
    """
    ks = [k] if isinstance(k, int) else list(k)
    found = retrieval_metrics(
        features.train_features, features.train_labels, features.eval_features, features.eval_labels, ks, metric
    )
    first = found["knn_accuracy"][str(ks[0])]
    return {"protocol": "knn", "top1_accuracy": first, **found, "k": ks[0], "metric": metric, **features.info}


def evaluate_linear(features: ProtocolFeatures, optimizer: str = "lbfgs", **arguments: Any) -> dict[str, Any]:
    """Linear probe of frozen features; further arguments go to `linear_probe`.

    Returns:
        `top1_accuracy`, `top5_accuracy`, the penalty and its selection, the protocol version, and the description of the data.
    """
    result = linear_probe(
        features.train_features,
        features.train_labels,
        features.eval_features,
        features.eval_labels,
        optimizer=optimizer,
        **arguments,
    )
    return {
        "protocol": "linear",
        "linear_probe_version": LINEAR_PROBE_VERSION,
        "top1_accuracy": result.top1_accuracy,
        "top5_accuracy": result.top5_accuracy,
        "optimizer": optimizer,
        "regularisation": result.regularisation,
        "selection_accuracy": {f"{value:g}": score for value, score in result.selection_accuracy.items()},
        "gradient_norm": result.gradient_norm,
        **features.info,
    }


def evaluate_accuracy(
    model: torch.nn.Module,
    feature_extractor: Any,
    store: SkeletonStore,
    protocol: str | None,
    *,
    eval_part: str = "test",
    batch_size: int = 64,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = False,
    seed: int = 0,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Score a recognition model on one part of a split.

    Classes are matched by number, so the label map of the model must be that of the store.

    Returns:
        The metrics with the description of the data, the logits (samples, classes), and the indices of the samples.
    """
    config: Any = model.config
    names = [config.id2label[position] for position in range(config.num_labels)]
    if names != list(store.label_names):
        raise ValueError(
            f"the model knows the classes {_short(names)}, the store {store.path} has {_short(store.label_names)}; "
            "evaluate the model on the corpus it was fine-tuned for, or fine-tune it for this one"
        )
    indices = labelled_part(store, protocol, eval_part)
    dataset = SkeletonDataset(store, indices, feature_extractor)
    logits, labels = run_batches(model, dataset, "logits", batch_size, device, num_workers, progress)
    result = {
        "protocol": "accuracy",
        **classification_metrics(logits, labels),
        **calibration_metrics(logits, labels),
        **describe_data(
            store,
            protocol,
            seed,
            eval_part=eval_part,
            num_eval_samples=len(indices),
            model=config._name_or_path or None,
        ),
    }
    return result, logits, indices


def _short(names: Any) -> str:
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:4])
    return f"({len(names)}) [{shown}{', ...' if len(names) > 4 else ''}]"


__all__ = [
    "ProtocolFeatures",
    "check_parts",
    "default_protocol",
    "describe_data",
    "evaluate_accuracy",
    "evaluate_knn",
    "evaluate_linear",
    "labelled_part",
    "protocol_features",
]
