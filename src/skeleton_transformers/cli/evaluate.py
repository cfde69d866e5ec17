"""`skeleton-transformers evaluate`: score a saved model on a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


PROTOCOLS = ("accuracy", "knn", "linear")


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a saved model with its feature extractor.")],
    store: Annotated[Path, typer.Option(help="Folder made by `skeleton-transformers prepare`.")],
    split: Annotated[str | None, typer.Option(help="Split of the corpus, such as xsub or xview.")] = None,
    protocol: Annotated[
        str,
        typer.Option(help="Comma-separated: knn and linear (frozen features), accuracy (models with a classifier)."),
    ] = "knn,linear",
    eval_part: Annotated[str, typer.Option(help="Part to score: test, or validation while tuning.")] = "test",
    train_part: Annotated[
        str | None, typer.Option(help="Gallery and probe training part; default train, train-validation when tuning.")
    ] = None,
    label_fraction: Annotated[float, typer.Option(help="Share of the training labels that knn and linear see.")] = 1.0,
    coordinates: Annotated[
        bool, typer.Option("--coordinates", help="knn and linear on the model's input instead: the baseline to beat.")
    ] = False,
    k: Annotated[int, typer.Option(help="Neighbours that vote in knn.")] = 1,
    optimizer: Annotated[str, typer.Option(help="lbfgs (frozen protocol) or adamw (published recipe).")] = "lbfgs",
    seed: Annotated[int, typer.Option(help="Seed of the label subset and of adamw.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Sequences per batch.")] = 64,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default cuda where there is one.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON here.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the scores of `accuracy` here (.npz, for fusion).")
    ] = None,
) -> None:
    """Score a saved model: nearest neighbours, linear probe, recognition accuracy."""
    names = [name.strip() for name in protocol.split(",") if name.strip()]
    unknown = sorted(set(names) - set(PROTOCOLS))
    if unknown or not names:
        raise typer.BadParameter(
            f"unknown protocol {', '.join(unknown) or '(none)'}; choose from {', '.join(PROTOCOLS)}",
            param_hint="--protocol",
        )
    try:
        results = _evaluate(
            model,
            store,
            split,
            names,
            eval_part,
            train_part,
            label_fraction,
            coordinates,
            k,
            optimizer,
            seed,
            batch_size,
            device,
            predictions,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    for name, result in results.items():
        typer.echo(f"{name:<9} top-1 {100 * result['top1_accuracy']:6.2f} %")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"results": results}, indent=1) + "\n", encoding="utf-8")


def _evaluate(
    name: str,
    store_folder: Path,
    split: str | None,
    protocols: list[str],
    eval_part: str,
    train_part: str | None,
    label_fraction: float,
    coordinates: bool,
    k: int,
    optimizer: str,
    seed: int,
    batch_size: int,
    device: str | None,
    predictions: Path | None,
) -> dict[str, dict[str, Any]]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    from ..data.storage import SkeletonStore
    from ..evaluation.fusion import save_predictions
    from ..evaluation.protocols import evaluate_accuracy, evaluate_knn, evaluate_linear, protocol_features
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor
    from ..models.auto import AutoModelForActionRecognition

    # What loading reports (the heads that are not needed) would only worry the reader.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    store = SkeletonStore.open(store_folder)
    extractor = SkeletonFeatureExtractor.from_pretrained(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    shared: dict[str, Any] = {"batch_size": batch_size, "device": device, "progress": True, "seed": seed}
    results = {}
    if {"knn", "linear"} & set(protocols):
        features = protocol_features(
            None if coordinates else AutoModel.from_pretrained(name),
            extractor,
            store,
            split,
            train_part=train_part or ("train-validation" if eval_part == "validation" else "train"),
            eval_part=eval_part,
            label_fraction=label_fraction,
            **shared,
        )
        if "knn" in protocols:
            results["knn"] = evaluate_knn(features, k=k, metric="euclidean" if coordinates else "cosine")
        if "linear" in protocols:
            results["linear"] = evaluate_linear(features, optimizer=optimizer, seed=seed)
    if "accuracy" in protocols:
        model = AutoModelForActionRecognition.from_pretrained(name)
        results["accuracy"], logits, indices = evaluate_accuracy(
            model, extractor, store, split, eval_part=eval_part, **shared
        )
        if predictions is not None:
            save_predictions(
                predictions, logits, store.labels[indices], store.names[indices].tolist(), store.label_names
            )
    return results


__all__ = ["evaluate"]
