"""`skeleton-transformers inspect`: say what a store or a recording holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def inspect(
    path: Annotated[
        Path, typer.Argument(help="A store, or a recording: .skeleton, .json (NW-UCLA), .txt (MSR, GTU), .npy.")
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Compare all data of a store with its checksums.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print counts, layout, lengths, persons, labels and split sizes."""
    from ..data.preparation import describe_store, format_description
    from ..data.storage import SkeletonStore

    try:
        if path.is_dir() or not path.exists():
            store = SkeletonStore.open(path)
            if verify:
                store.verify()
            description = describe_store(store)
            text = format_description(description)
        else:
            description = describe_recording(path)
            text = "\n".join(f"{key:<20}{_in_words(value)}" for key, value in description.items())
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(description, indent=2, ensure_ascii=False) if as_json else text)
    if verify and path.is_dir() and not as_json:
        typer.echo("checksums   all match")


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} x {name}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def describe_recording(path: Path) -> dict[str, Any]:
    """What one raw file holds.

    Raises:
        ValueError: if the file is damaged or of a kind that no reader knows.
    """
    import numpy as np

    from ..data.formats import (
        RecordingError,
        read_gtu_text,
        read_msr_action3d_text,
        read_ntu_skeleton,
        read_nw_ucla_json,
    )

    suffix = path.suffix.lower()
    if suffix == ".skeleton":
        recording = read_ntu_skeleton(path)
        counts = np.bincount(recording.frames, minlength=recording.num_frames)
        ids = {str(body): recording.body_ids.count(body) for body in dict.fromkeys(recording.body_ids)}
        states = np.bincount(recording.tracking_states.ravel(), minlength=3).tolist()
        return {
            "format": "NTU RGB+D skeleton",
            "frames": recording.num_frames,
            "empty frames": int((counts == 0).sum()),
            "most bodies": int(counts.max(initial=0)),
            "frames of each body": ids,
            "joint states": dict(zip(("not tracked", "inferred", "tracked"), states)),
        }
    if suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a .npy array of numbers ({error})") from error
        return {"format": "numpy array", "shape": list(array.shape), "type": str(array.dtype)}
    if suffix == ".json":
        return _summary("NW-UCLA JSON", *read_nw_ucla_json(path))
    if suffix == ".txt":
        try:
            return _summary("MSR-Action3D text", *read_msr_action3d_text(path))
        except RecordingError as first:
            try:
                return _summary("GTU-3D text", *read_gtu_text(path))
            except RecordingError as second:
                raise ValueError(f"neither MSR-Action3D text ({first}) nor GTU-3D text ({second})") from second
    raise ValueError(
        f"{path}: no reader for {suffix or 'files without ending'!r}; known: .skeleton, .npy, .json, .txt"
    )


def _summary(kind: str, keypoints: Any, frame_mask: Any) -> dict[str, Any]:
    persons, frames, joints, channels = keypoints.shape
    return {
        "format": kind,
        "persons": persons,
        "frames": frames,
        "empty frames": int((~frame_mask).sum()),
        "joints": joints,
        "channels": channels,
        "lowest x y z": keypoints[frame_mask].min(axis=(0, 1)).astype(float).round(3).tolist(),
        "highest x y z": keypoints[frame_mask].max(axis=(0, 1)).astype(float).round(3).tolist(),
    }


__all__ = ["describe_recording", "inspect"]
