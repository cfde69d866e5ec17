"""What a pre-training recipe holds, and the sequences and batches that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..data.augmentation import SkeletonAugmentation
from ..data.corpora import split_indices
from ..data.datasets import SkeletonDataset
from ..data.pretraining_collators import PreTrainingCollator
from ..data.storage import SkeletonStore
from ..models.families import get_family
from .recipes import DataSection, Recipe


@dataclass
class PreTrainingData(DataSection):
    """Which recordings to learn from; the test part of a protocol is never touched.

    Args:
        train_part: part to train on.
        eval_part: part to validate on.
        validation_share: share of the recordings held back where there is no protocol.
        short_sequences: `"drop"` sequences of too few clips, or `"stretch"` them by interpolation (a departure for
            corpora of very short recordings).
    """

    train_part: Literal["train-validation", "train", "all"] = "train-validation"
    eval_part: Literal["validation", "train"] = "validation"
    validation_share: float = 0.05
    short_sequences: Literal["drop", "stretch"] = "drop"


@dataclass
class PreTrainingSection:
    """How to train; the defaults are those of Hi-TRS on NTU RGB+D (Chen et al., ECCV 2022, released code).

    Args:
        max_steps: optimiser steps.
        epochs: length of the run in passes over the data, instead of `max_steps`.
        batch_size: sequences in one micro-batch of one process.
        tokens_per_batch: frames in one micro-batch of one process, instead of `batch_size`, which then is that of validation: sequences
            of similar length together, as many as this budget holds, each once an epoch (see [`TokenBatchSampler`]). Counted are the
            frames of all persons of a sequence before augmentation, in one view. A loss that is a mean over the
            sequences of its batch keeps the gradient that it has in expectation; contrasts within a batch have other negatives,
            those of similar length.
        recompute_from_frames: micro-batches with so many frames or more, those of all persons and of padding counted, keep few activations
            and compute them again in the backward pass: less memory, more time (see [`recompute_long_batches`]). Null: none.
        gradient_accumulation_steps: micro-batches in one optimiser step. What is left over of an epoch is dropped.
        optimizer: `"adamw"`, or `"sgd"` with `sgd_momentum`.
        sgd_momentum: momentum of SGD.
        adam_beta2: second beta of AdamW (MAMP: 0.95).
        schedule: `"linear"` from the rate at the end of the warm-up to the final one, half a `"cosine"` between them (MAMP), or
            `"steps"`, where the rate is multiplied by 0.1 after each of `decay_epochs`.
        decay_epochs: epochs after which the rate falls; with `schedule: steps` only.
        learning_rate: rate at the end of the warm-up.
        final_learning_rate: rate at the last step; with `linear` and `cosine` only.
        warmup_steps: steps of linear warm-up from 0.
        warmup_epochs: length of the warm-up in passes over the data, instead of `warmup_steps`.
        weight_decay: of all weights but biases, layer norms, position embeddings and class tokens.
        decay_all: decay these, too (plain SGD of the released code of HiCo).
        max_grad_norm: norm that gradients are clipped to; `.inf` leaves them.
        mixed_precision: `"no"`, `"fp16"`, `"bf16"`, or null for what `accelerate launch` says.
        num_workers: processes that load data, per training process; the results do not depend on it.
        log_every, eval_every, save_every: optimiser steps between log entries, validations and checkpoints.
        keep_checkpoints: newest checkpoints to keep.
        report_to: tracker beside the log file.
    """

    max_steps: int = 50_000
    epochs: int | None = None
    batch_size: int = 64
    tokens_per_batch: int | None = None
    recompute_from_frames: int | None = None
    gradient_accumulation_steps: int = 4
    optimizer: Literal["adamw", "sgd"] = "adamw"
    sgd_momentum: float = 0.9
    adam_beta2: float = 0.999
    schedule: Literal["linear", "cosine", "steps"] = "linear"
    decay_epochs: list[int] = field(default_factory=list)
    learning_rate: float = 4e-4
    final_learning_rate: float = 2e-6
    warmup_steps: int = 1000
    warmup_epochs: int | None = None
    weight_decay: float = 0.01
    decay_all: bool = False
    max_grad_norm: float = 1.0
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    num_workers: int = 0
    log_every: int = 50
    eval_every: int = 1000
    save_every: int = 1000
    keep_checkpoints: int = 2
    report_to: Literal["tensorboard", "wandb", "trackio"] | None = None

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "batch_size",
            "gradient_accumulation_steps",
            "log_every",
            "eval_every",
            "save_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "tokens_per_batch", "recompute_from_frames"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_epochs is not None and (self.epochs is None or not 0 <= self.warmup_epochs < self.epochs):
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} goes with epochs, and must be less than these; got epochs={self.epochs}"
            )
        if not 0 <= self.adam_beta2 < 1:
            raise ValueError(f"adam_beta2 must lie in [0, 1), got {self.adam_beta2}")
        if bool(self.decay_epochs) != (self.schedule == "steps"):
            raise ValueError(
                f"decay_epochs={self.decay_epochs} does not go with schedule={self.schedule}: the rate falls at these epochs "
                "with schedule: steps, and with that alone"
            )
        if self.epochs is None and not 0 <= self.warmup_steps < self.max_steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} must be less than max_steps={self.max_steps}")


@dataclass
class PreTrainingRecipe(Recipe):
    """A pre-training run; see [`Recipe`].

    Args:
        published_features: arguments in which the feature extractor that is saved with the model differs from `features`:
            a family that crops recordings at their own length in pre-training gets whole ones later.
    """

    published_features: dict[str, Any] = field(default_factory=dict)
    data: PreTrainingData = field(kw_only=True)
    training: PreTrainingSection = field(default_factory=PreTrainingSection)


def pretraining_split(recipe: PreTrainingRecipe, stores: Sequence[SkeletonStore]) -> tuple[list, list]:
    """Indices to train on and to validate on, one array per store.

    The protocol splits the first store and those of the same corpus; without one a share is held back at random. Stores of
    another corpus are extra recordings, all for training.
    """
    data = recipe.data
    train, validation = [], []
    for store in stores:
        if store.corpus != stores[0].corpus:
            train.append(np.arange(len(store)))
            validation.append(np.arange(0))
        elif data.protocol is not None:
            train.append(split_indices(store, data.protocol, data.train_part, seed=recipe.seed))
            validation.append(split_indices(store, data.protocol, data.eval_part, seed=recipe.seed))
        else:
            order = np.random.default_rng(recipe.seed).permutation(len(store))
            held_out = max(1, round(data.validation_share * len(store)))
            train.append(np.sort(order[held_out:]))
            validation.append(np.sort(order[:held_out]))
    return train, validation


def build_pretraining_datasets(
    recipe: PreTrainingRecipe, stores: Sequence[SkeletonStore], feature_extractor: Any, config: Any
) -> tuple[SkeletonDataset, SkeletonDataset]:
    """Sequences to train on, augmented, and others to validate on, as the collator of the family wants them.

    Args:
        recipe: the run.
        stores: its opened stores.
        feature_extractor: normalisation and stream.
        config: config of the model.
    """
    augmentation = None
    if recipe.augmentation is not None:
        augmentation = SkeletonAugmentation.from_dict(recipe.augmentation, layout=stores[0].layout)
    needs = build_pretraining_collator(config, recipe.seed)
    options: dict[str, Any] = {
        "seed": recipe.seed,
        "single_person": needs.single_person,
        "min_frames": needs.min_frames,
        "min_augmented_frames": needs.min_augmented_frames,
        "num_views": needs.num_views,
        "short_sequences": recipe.data.short_sequences,
    }
    train, validation = pretraining_split(recipe, stores)
    # Without augmentation all views would be the same. Those of validation are the same in every pass over it.
    validation_augmentation = augmentation if needs.num_views > 1 else None
    return (
        SkeletonDataset(stores, train, feature_extractor, augmentation, **options),
        SkeletonDataset(stores, validation, feature_extractor, validation_augmentation, **options),
    )


def build_pretraining_collator(config: Any, seed: int) -> PreTrainingCollator:
    """Collator that draws the pretext tasks as the config of the model wants them.

    Raises:
        ValueError: the family has no objective of its own.
    """
    model_class = get_family(config.model_type).load("pretraining")
    if model_class is None:
        raise ValueError(f"the family {config.model_type!r} has no pre-training of its own")
    return model_class.collator_class.from_config(config, seed)


__all__ = [
    "PreTrainingData",
    "PreTrainingRecipe",
    "PreTrainingSection",
    "build_pretraining_collator",
    "build_pretraining_datasets",
    "pretraining_split",
]
