"""`skeleton-transformers predict`: name the action in recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def predict(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a recognition model with its feature extractor.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings: NTU .skeleton, .npy, NW-UCLA .json.")],
    top_k: Annotated[int, typer.Option(help="Actions to show per recording.")] = 5,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Joint layout of .npy files, where it is not that of the model (joints are then matched by name)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default cuda where there is one.")] = None,
) -> None:
    """Name the action in each recording."""
    try:
        found = predict_files(model, files, top_k=top_k, layout=layout, device=device)
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
    model: str, files: list[Path], top_k: int = 5, layout: str | None = None, device: str | None = None
) -> list[dict[str, Any]]:
    """Predictions for every file.

    Args:
        model: Folder or Hub id.
        files: Recordings.
        top_k: Guesses per recording.
        layout: Layout of `.npy` files; default the one of the model.
        device: Where to compute.

    Returns:
        One dictionary per file: `file` and `predictions`, a list of `label` and `score` (probability), best first.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file of a kind that is not known, or with other joints than the model's.
    """
    import torch

    from ..feature_extraction_skeleton import SkeletonFeatureExtractor
    from ..models.auto import AutoModelForActionRecognition
    from ..skeletons import get_layout

    if top_k < 1:
        raise ValueError(f"--top-k must be at least 1, got {top_k}")
    extractor = SkeletonFeatureExtractor.from_pretrained(model)
    wanted = get_layout(extractor.layout)
    recordings = [read_recording(file, wanted, layout) for file in files]
    network = AutoModelForActionRecognition.from_pretrained(model)
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    found = []
    for file, (keypoints, frame_mask, frame_rate) in zip(files, recordings, strict=True):
        # One at a time: recordings of any length in one batch would only cost memory.
        normalized = extractor.normalize(keypoints, frame_mask, source_frame_rate=frame_rate, name=str(file))
        inputs = extractor.pad([(extractor.apply_stream(*normalized), normalized[1])], return_tensors="pt")
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
