"""`skeleton-transformers render`: draw a recording as an animated GIF or a strip of poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def render(
    source: Annotated[Path, typer.Argument(help="A prepared store (folder) or a recording of any known format.")],
    output: Annotated[Path, typer.Argument(help="Picture to write: .gif (animation) or .png (strip of poses).")],
    index: Annotated[int, typer.Option(help="Which recording of a store.")] = 0,
    layout: Annotated[str | None, typer.Option(help="Joint layout of a file that does not name its joints.")] = None,
    view: Annotated[
        str,
        typer.Option(
            help="camera, front, side, three_quarter, top, or AZIMUTH,ELEVATION in degrees, such as 30,10.",
        ),
    ] = "camera",
    title: Annotated[str | None, typer.Option(help="Text above the picture; default: the name and its label.")] = None,
    start: Annotated[int, typer.Option(help="First frame to draw.")] = 0,
    stop: Annotated[int | None, typer.Option(help="Frame before which to stop; default: the last one.")] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames per second; default: that of the store or the file, else 30.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of a frame, or height of a pose in a strip, in pixels.")
    ] = None,
    poses: Annotated[int, typer.Option(help="Poses in a strip.")] = 6,
    augmentation: Annotated[
        list[str] | None,
        typer.Option(
            help="Strips before and after this operator of augmentation, such as shear; several, or all (.png)."
        ),
    ] = None,
) -> None:
    """Draw a recording."""
    try:
        picture = render_file(
            source,
            output,
            index=index,
            layout=layout,
            view=view,
            title=title,
            start=start,
            stop=stop,
            frame_rate=frame_rate,
            size=size,
            poses=poses,
            augmentation=augmentation or (),
        )
    except (OSError, ValueError, IndexError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(str(picture))


def render_file(
    source: Path,
    output: Path,
    index: int = 0,
    layout: str | None = None,
    view: str = "camera",
    title: str | None = None,
    start: int = 0,
    stop: int | None = None,
    frame_rate: float | None = None,
    size: int | None = None,
    poses: int = 6,
    augmentation: Sequence[str] = (),
) -> Path:
    """Draws one recording; the arguments are those of the command.

    Returns:
        The picture's path.

    Raises:
        FileNotFoundError: `source` is not there.
        ValueError: a source or a picture of a kind that is not known, a view or a range of frames that makes no sense.
        IndexError: the store has no recording `index`.
    """
    from ..visualization import render_augmentations, render_gif, render_strip

    kind = output.suffix.lower()
    if kind not in (".gif", ".png"):
        raise ValueError(f"{output}: the picture must end in .gif (animation) or .png (strip of poses)")
    angles = parse_view(view)
    recording = load_recording(source, index=index, layout=layout)
    keypoints, mask = recording["keypoints"], recording["frame_mask"]
    frames = keypoints.shape[1]
    window = slice(start, frames if stop is None else stop)
    if not 0 <= window.start < window.stop <= frames:
        raise ValueError(f"{source}: frames {start} to {window.stop} do not lie in 0 to {frames}")
    keypoints, mask = keypoints[:, window], None if mask is None else mask[:, window]
    if augmentation:
        if kind != ".png":
            raise ValueError(f"{output}: a picture of augmentation must end in .png")
        operators = () if "all" in augmentation else tuple(augmentation)
        side = size or 240
        pose = (max(32, round(side * 0.8)), side)
        render_augmentations(
            keypoints, recording["layout"], output, mask, operators, poses=poses, size=pose, view=angles
        )
        return output
    title = recording["title"] if title is None else title
    if kind == ".gif":
        side = size or 480
        rate = frame_rate or recording["frame_rate"]
        return render_gif(
            keypoints, recording["layout"], output, mask, title, frame_rate=rate, size=(side, side), view=angles
        )
    side = size or 300
    pose = (max(32, round(side * 0.72)), side)
    render_strip(keypoints, recording["layout"], output, poses, mask, title, size=pose, view=angles)
    return output


def parse_view(view: str) -> str | tuple[float, float]:
    """The view named in the option: a name, or two angles in degrees separated by a comma."""
    if "," not in view:
        return view
    try:
        azimuth, elevation = (float(part) for part in view.split(","))
    except ValueError:
        raise ValueError(f"--view {view!r}: give a name, or azimuth and elevation in degrees such as 30,10") from None
    return azimuth, elevation


def load_recording(source: Path, index: int = 0, layout: str | None = None) -> dict[str, Any]:
    """Keypoints (NaN where a joint is missing), mask, layout, frame rate and title of a recording in a store or a file."""
    import numpy as np

    from ..data.recordings import read_skeletons
    from ..data.storage import SkeletonStore

    if (source / "store.json").is_file():
        store = SkeletonStore.open(source)
        if not -len(store) <= index < len(store):
            raise IndexError(f"{source}: no recording {index}, the store holds {len(store)}")
        sample = store[index]
        labelled = 0 <= sample.label < len(store.label_names)
        title = f"{sample.name}  {store.label_names[sample.label]}" if labelled else sample.name
        return {
            "keypoints": sample.keypoints,
            "frame_mask": sample.frame_mask,
            "layout": store.layout,
            "frame_rate": store.frame_rate,
            "title": title,
        }
    recording = read_skeletons(source, layout=layout)
    return {
        "keypoints": np.where(recording.present_joints[..., None], recording.keypoints, np.nan),
        "frame_mask": recording.frame_mask,
        "layout": recording.layout,
        "frame_rate": recording.frame_rate or 30.0,
        "title": source.stem,
    }


__all__ = ["load_recording", "parse_view", "render", "render_file"]
