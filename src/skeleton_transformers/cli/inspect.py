"""`skeleton-transformers inspect`: say what a store or a recording holds, and draw any sequence of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


_MOST_JOINTS = 6
_GIF_RATE = 50


def inspect(
    path: Annotated[Path, typer.Argument(help="A store, or a recording of any known format (docs/recordings.md).")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare all data of a store with its checksums.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    render: Annotated[
        Path | None,
        typer.Option(help="Also draw a sequence: .gif (animation), .html (page to play and turn it) or .png (strip)."),
    ] = None,
    sequence: Annotated[
        str, typer.Option(metavar="NUMBER|NAME", help="Which recording of a store to draw, by number or name.")
    ] = "0",
    format: Annotated[
        str | None, typer.Option(help="Format of a recording; found by its content if left out.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Joint layout of a recording that does not name its joints.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Recordings of a store to take statistics over.")] = 500,
) -> None:
    """Print counts, layout, lengths, people, missing joints, statistics, class balance and split sizes."""
    from ..data.formats.errors import RecordingError
    from ..data.recordings import read_skeletons
    from ..data.statistics import describe_recording
    from ..data.storage import SkeletonStore

    is_store = (path / "store.json").is_file() or not path.exists()
    try:
        if not is_store and path.is_dir():
            try:
                recording = read_skeletons(path, format, layout)
            except RecordingError:
                if format is not None:
                    raise
                is_store = True  # what is missing from a store is said below
        if is_store:
            store = SkeletonStore.open(path)
            if verify:
                store.verify()
            description = _describe_store(store, samples)
            text = _store_in_words(description)
            if render is not None:
                _draw_sample(store, sequence, render)
        else:
            if path.is_file():
                recording = read_skeletons(path, format, layout)
            description = describe_recording(recording)
            text = "\n".join(_line(key, value) for key, value in description.items() if value not in ({}, [], None))
            if render is not None:
                _draw_recording(recording, render)
    except (OSError, ValueError, IndexError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(description, indent=2, ensure_ascii=False) if as_json else text)
    if not as_json and verify and is_store:
        typer.echo("checksums   all match")
    if not as_json and render is not None:
        typer.echo(f"picture     {render}")


def _describe_store(store: Any, samples: int) -> dict[str, Any]:
    from ..data.preparation import describe_store
    from ..data.statistics import describe_balance, describe_samples

    return describe_store(store) | {
        "balance": describe_balance(store.labels, store.label_names),
        "statistics": describe_samples(store, max(1, samples)),
    }


def _store_in_words(description: dict[str, Any]) -> str:
    from ..data.preparation import format_description

    lines = [format_description(description)]
    balance, statistics = description["balance"], description["statistics"]
    if balance:
        lines.append(
            _line(
                "balance",
                f"{_in_words(balance['smallest'])} to {_in_words(balance['largest'])}, ratio "
                f"{balance['ratio']:g}; as hard as {balance['effective classes']:g} classes of equal size",
                11,
            )
        )
    lines.append(f"statistics  over {statistics['looked at']} recordings spread over the store")
    lines += [
        "  " + _line(key, value) for key, value in statistics.items() if key != "looked at" and value not in ({}, [])
    ]
    return "\n".join(lines)


def _line(key: str, value: Any, width: int = 23) -> str:
    return f"{key:<{width}} {_in_words(value)}"


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        shown = list(value.items())[:_MOST_JOINTS]
        words = [
            f"{name} {' / '.join(f'{v:g}' for v in item)}"
            if isinstance(item, list)
            else f"{name} {item:.1%}"
            if isinstance(item, float)
            else f"{item} x {name}"
            for name, item in shown
        ]
        return ", ".join(words) + (f", ... ({len(value)} in all)" if len(value) > len(shown) else "")
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw_sample(store: Any, sequence: str, target: Path) -> None:
    import numpy as np

    if sequence.lstrip("-").isdecimal() and sequence not in store.names:
        index = int(sequence)
        if not -len(store) <= index < len(store):
            raise IndexError(f"{store.path}: no recording {index}, the store holds {len(store)}")
    else:
        found = np.flatnonzero(store.names == sequence)
        if not len(found):
            raise ValueError(
                f"{store.path}: no recording is called {sequence!r}; the first is {str(store.names[0])!r}"
            )
        index = int(found[0])
    sample = store[index]
    labelled = 0 <= sample.label < len(store.label_names)
    title = f"{sample.name}  {store.label_names[sample.label]}" if labelled else sample.name
    captions = None
    if sample.frame_labels is not None:
        captions = [store.label_names[label - 1] if label > 0 else "" for label in sample.frame_labels]
    flat = store.units.replace("_", " ") in ("pixel", "image fraction")
    points = sample.keypoints[..., : 2 if flat else 3]
    # a store writes a joint that was not found as 0
    points = np.where(points.any(axis=-1, keepdims=True), points, np.nan)
    _draw(points, sample.frame_mask, store.layout, store.frame_rate, title, captions, target)


def _draw_recording(recording: Any, target: Path) -> None:
    import numpy as np

    points = np.where(recording.present_joints[..., None], recording.keypoints, np.nan)
    captions = None
    if recording.frame_labels is not None:
        captions = [str(label) if label > 0 else "" for label in recording.frame_labels]
    name = Path(recording.source).name
    _draw(points, recording.frame_mask, recording.layout, recording.frame_rate or 30.0, name, captions, target)


def _draw(
    points: Any, mask: Any, layout: Any, rate: float, title: str, captions: list[str] | None, target: Path
) -> None:
    from ..visualization import render_gif, render_html, render_strip

    kind = target.suffix.lower()
    if kind == ".html":
        render_html(points, layout, target, mask, title, rate, captions)
    elif kind == ".gif":
        step = max(1, -(-round(rate) // _GIF_RATE))  # browsers play no more frames per second
        captions = None if captions is None else captions[::step]
        render_gif(points[:, ::step], layout, target, mask[:, ::step], title, rate / step, captions)
    elif kind == ".png":
        render_strip(points, layout, target, frame_mask=mask, title=title, caption_per_frame=captions)
    else:
        raise ValueError(f"{target}: the picture must end in .gif, .html or .png")


__all__ = ["inspect"]
