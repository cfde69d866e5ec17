"""`skeleton-transformers predict`: name the action in recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer


if TYPE_CHECKING:
    from ..data.recordings import SkeletonRecording


def predict(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a recognition model with its feature extractor.")],
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings of any known format; for OpenPose, folders with one JSON file per frame."),
    ],
    top_k: Annotated[int, typer.Option(help="Actions to show per recording.")] = 5,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Joint layout of files that do not name their joints, if not the model's; joints are matched by name."
        ),
    ] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second of files that do not tell it, for models that resample.")
    ] = None,
    image_size: Annotated[
        tuple[float, float] | None, typer.Option(help="Width and height of the image, for coordinates in pixels.")
    ] = None,
    min_confidence: Annotated[float, typer.Option(help="Joints of lower confidence count as missing.")] = 0.0,
    units: Annotated[
        str | None, typer.Option(help="Unit of files that do not tell it: metre, centimetre, millimetre, ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default cuda where there is one.")] = None,
) -> None:
    """Name the action in each recording."""
    try:
        found = predict_files(
            model,
            files,
            top_k=top_k,
            device=device,
            layout=layout,
            frame_rate=frame_rate,
            image_size=image_size,
            min_confidence=min_confidence,
            units=units,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for recording in found:
        typer.echo(recording["file"])
        width = max(len(guess["label"]) for guess in recording["predictions"])
        for guess in recording["predictions"]:
            typer.echo(f"  {guess['label']:<{width}}  {100 * guess['score']:6.2f} %")


def predict_files(
    model: str,
    files: Sequence[Path],
    top_k: int = 5,
    device: str | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Predictions for every file.

    Args:
        model: Folder or Hub id.
        files: Recordings.
        top_k: Guesses per recording.
        device: Where to compute.
        **options: What the files do not tell, see `read_skeletons`. The layout of the model is the default one.

    Returns:
        One dictionary per file: `file` and `predictions`, a list of `label` and `score` (probability), best first.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file that is no usable recording, or with other joints than the model's.
    """
    import torch
    from transformers import AutoFeatureExtractor
    from transformers.utils import logging

    from ..data.recordings import read_skeletons
    from ..models.auto import AutoModelForActionRecognition

    # What loading reports (the heads that are not needed) would only worry the reader.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if top_k < 1:
        raise ValueError(f"--top-k must be at least 1, got {top_k}")
    extractor = AutoFeatureExtractor.from_pretrained(model)
    recordings: list[SkeletonRecording] = [
        read_skeletons(file, default_layout=extractor.skeleton_layout, bodies="simple", **options) for file in files
    ]
    network = AutoModelForActionRecognition.from_pretrained(model)
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    found = []
    for file, recording in zip(files, recordings, strict=True):
        # One at a time: recordings of any length in one batch would only cost memory.
        keypoints, frame_mask = extractor.normalize(recording, name=str(file))
        inputs = extractor.pad([(extractor.apply_stream(keypoints, frame_mask), frame_mask)], return_tensors="pt")
        with torch.no_grad():
            scores = network(**inputs.to(network.device)).logits[0].float().softmax(-1)
        best = scores.topk(min(top_k, len(scores)))
        found.append(
            {
                "file": str(file),
                "predictions": [
                    {"label": network.config.id2label[int(index)], "score": float(score)}
                    for score, index in zip(best.values, best.indices, strict=True)
                ],
            }
        )
    return found


__all__ = ["predict", "predict_files"]
