"""`skeleton-transformers predict`: name the action in recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer


if TYPE_CHECKING:
    import numpy as np

    from ..skeletons import SkeletonLayout


def predict(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a recognition model with its feature extractor.")],
    files: Annotated[
        list[Path], typer.Argument(help="Recordings: .npy, NTU .skeleton, NW-UCLA .json, MSR or GTU .txt.")
    ],
    top_k: Annotated[int, typer.Option(help="Actions to show per recording.")] = 5,
    layout: Annotated[
        str | None, typer.Option(help="Joint layout of .npy files, if not the model's; joints are matched by name.")
    ] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second of .npy files, for models that resample.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default cuda where there is one.")] = None,
) -> None:
    """Name the action in each recording."""
    try:
        found = predict_files(model, files, top_k=top_k, layout=layout, frame_rate=frame_rate, device=device)
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
    layout: str | None = None,
    frame_rate: float | None = None,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """Predictions for every file.

    Args:
        model: Folder or Hub id.
        files: Recordings.
        top_k: Guesses per recording.
        layout: Layout of `.npy` files; default the one of the model.
        frame_rate: Frames per second of `.npy` files.
        device: Where to compute.

    Returns:
        One dictionary per file: `file` and `predictions`, a list of `label` and `score` (probability), best first.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file of a kind that is not known, or with other joints than the model's.
    """
    import torch
    from transformers.utils import logging

    from ..feature_extraction_skeleton import SkeletonFeatureExtractor
    from ..models.auto import AutoModelForActionRecognition

    # What loading reports (the heads that are not needed) would only worry the reader.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if top_k < 1:
        raise ValueError(f"--top-k must be at least 1, got {top_k}")
    extractor = SkeletonFeatureExtractor.from_pretrained(model)
    recordings = [_read_recording(file, extractor.skeleton_layout, layout, frame_rate) for file in files]
    network = AutoModelForActionRecognition.from_pretrained(model)
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    found = []
    for file, (keypoints, frame_mask, rate) in zip(files, recordings, strict=True):
        # One at a time: recordings of any length in one batch would only cost memory.
        normalized = extractor.normalize(keypoints, frame_mask, source_frame_rate=rate, name=str(file))
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


# The corpora whose files end like this; the one with the model's layout is preferred.
_CORPORA = {".skeleton": ("ntu120",), ".json": ("nw-ucla",), ".txt": ("msr-action3d", "gtu")}


def _read_recording(
    file: Path, wanted: SkeletonLayout, layout: str | None, frame_rate: float | None
) -> tuple[np.ndarray, np.ndarray | None, float | None]:
    """Keypoints in the layout of the model, frame mask (None: by the coordinates), frames per second (None: unknown)."""
    import numpy as np

    from ..data.corpora import PreparationOptions, get_corpus
    from ..skeletons import convert_layout, get_layout

    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    frame_mask: np.ndarray | None = None
    if file.suffix == ".npy":
        try:
            keypoints = np.load(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{file}: is no .npy file of numbers ({error})") from error
        source = wanted if layout is None else get_layout(layout)
    elif file.suffix in _CORPORA:
        corpora = [get_corpus(name) for name in _CORPORA[file.suffix]]
        corpus = next((c for c in corpora if get_layout(c.layout) == wanted), corpora[0])
        keypoints, frame_mask = corpus.read(file, PreparationOptions())
        source, frame_rate = get_layout(corpus.layout), corpus.frame_rate
    else:
        raise ValueError(f"{file}: the ending {file.suffix!r} is not known; known are .npy, {', '.join(_CORPORA)}")
    if source.joints != wanted.joints and keypoints.shape[-2] == source.num_joints:
        keypoints, found = convert_layout(keypoints, source, wanted)
        if not found.all():
            missing = [joint for joint, there in zip(wanted.joints, found, strict=True) if not there]
            raise ValueError(
                f"{file}: layout {source.name!r} lacks {len(missing)} of the {wanted.num_joints} joints that the model needs "
                f"({', '.join(missing)}); use a model that was trained for {source.name!r}"
            )
    return keypoints, frame_mask, frame_rate


__all__ = ["predict", "predict_files"]
