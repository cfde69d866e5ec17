"""`skeleton-transformers render`: draw a recording as an animated GIF or a strip of poses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def render(
    source: Annotated[Path, typer.Argument(help="A prepared store (folder), a .npy file, or an NTU .skeleton file.")],
    output: Annotated[Path, typer.Argument(help="Picture to write: .gif (animation) or .png (strip of poses).")],
    index: Annotated[int, typer.Option(help="Which recording of a store.")] = 0,
    layout: Annotated[
        str | None, typer.Option(help="Joint layout of a .npy file; default: by its number of joints.")
    ] = None,
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
        float | None, typer.Option(help="Frames per second; default: that of the store, else 30.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of a frame, or height of a pose in a strip, in pixels.")
    ] = None,
    poses: Annotated[int, typer.Option(help="Poses in a strip.")] = 6,
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
) -> Path:
    """Draws one recording; the arguments are those of the command.

    Returns:
        The picture's path.

    Raises:
        FileNotFoundError: `source` is not there.
        ValueError: a source or a picture of a kind that is not known, a view or a range of frames that makes no sense.
        IndexError: the store has no recording `index`.
    """
    from ..visualization import render_gif, render_strip

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
    """Keypoints, mask (None: by non-zero frames), layout, frame rate and a title of what `source` holds."""
    import numpy as np

    from ..skeletons import get_layout, list_layouts

    if source.is_dir():
        from ..data.storage import SkeletonStore

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
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file or store")
    found: dict[str, Any] = {"frame_mask": None, "frame_rate": 30.0, "title": source.stem}
    if source.suffix.lower() == ".npy":
        keypoints = np.load(source, allow_pickle=False)
        keypoints = keypoints[None] if keypoints.ndim == 3 else keypoints
        if keypoints.ndim != 4:
            raise ValueError(f"{source}: shape {keypoints.shape}, expected (persons, frames, joints, channels)")
        if layout is None:
            fitting = [name for name in list_layouts() if get_layout(name).num_joints == keypoints.shape[2]]
            if len(fitting) != 1:
                choice = f"one of {fitting}" if fitting else f"none of the known ones fits {list_layouts()}"
                raise ValueError(f"{source}: {keypoints.shape[2]} joints; name the layout with --layout ({choice})")
            layout = fitting[0]
        return {**found, "keypoints": keypoints, "layout": get_layout(layout)}
    if source.suffix.lower() == ".skeleton":
        from ..data.body_selection import select_bodies
        from ..data.formats import read_ntu_skeleton

        keypoints, mask = select_bodies(read_ntu_skeleton(source), "simple")
        return {**found, "keypoints": keypoints, "frame_mask": mask, "layout": get_layout("ntu25")}
    raise ValueError(f"{source}: give a prepared store (folder), a .npy file or an NTU .skeleton file")


__all__ = ["load_recording", "parse_view", "render", "render_file"]
