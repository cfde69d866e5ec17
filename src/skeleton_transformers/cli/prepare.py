"""`skeleton-transformers prepare`: turn raw recordings into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


_SHOWN = 10


def prepare(
    corpus: Annotated[
        str,
        typer.Argument(help="ntu60, ntu120, nw-ucla, msr-action3d, gtu, folder (your own .npy files) or synthetic."),
    ],
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RAW] OUT", help="Folder with the raw recordings (not for synthetic) and the store to make."
        ),
    ],
    bodies: Annotated[
        str,
        typer.Option(
            help="People of NTU recordings: simple (first two listed), energy (liveliest two), denoise (CTR-GCN)."
        ),
    ] = "simple",
    missing: Annotated[
        Path | None, typer.Option(help="NTU: list of the recordings with missing skeletons, which are left out.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="folder: CSV with the columns file, label and optional subject, camera, split, start, end."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="folder: joint layout, a JSON file with name, joints and parents, or the name of a known one."
        ),
    ] = None,
    frame_rate: Annotated[float, typer.Option(help="folder: frames per second.")] = 30.0,
    units: Annotated[str, typer.Option(help="folder: unit of the coordinates.")] = "metre",
    channels: Annotated[int, typer.Option(help="folder: coordinates per joint.")] = 3,
    sequences: Annotated[int, typer.Option(help="synthetic: recordings to make.")] = 1200,
    seed: Annotated[int, typer.Option(help="synthetic: seed.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; default one per core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Turn a folder of raw recordings into a store for training.

    Started again after an interruption it goes on where it stopped. Recordings that cannot be used are left out and named with
    the reason in OUT/report.json.
    """
    from ..data.corpora import PreparationOptions
    from ..data.preparation import PreparationError, format_description, prepare_corpus

    wanted = 1 if corpus == "synthetic" else 2
    if len(folders) != wanted:
        usage = "prepare synthetic OUT" if wanted == 1 else f"prepare {corpus} RAW OUT"
        typer.echo(f"Error: {len(folders)} folders given; usage: skeleton-transformers {usage}", err=True)
        raise typer.Exit(2)
    raw, out = (None, folders[0]) if wanted == 1 else folders
    options = PreparationOptions(
        bodies=bodies,
        missing=str(missing) if missing is not None else None,
        labels=str(labels) if labels is not None else None,
        layout=layout,
        frame_rate=frame_rate,
        units=units,
        num_channels=channels,
        sequences=sequences,
        seed=seed,
    )
    try:
        report = prepare_corpus(corpus, raw, out, options, workers=workers, overwrite=overwrite, progress=not quiet)
    except (OSError, ValueError, PreparationError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(format_description(report))
    for remark in report["missing"]:
        typer.echo(f"not complete: {remark}")
    if report["left_out"]:
        typer.echo(f"{report['left_out']} recordings left out, as they are on the list of missing ones")
    if report["outside"]:
        typer.echo(f"{report['outside']} files belong to another part of the data set and were not looked at")
    if report["skipped"]:
        typer.echo(f"{len(report['skipped'])} files could not be used ({out / 'report.json'}):")
        for entry in report["skipped"][:_SHOWN]:
            typer.echo(f"  {entry['file']}: {entry['reason']}")
        if len(report["skipped"]) > _SHOWN:
            typer.echo(f"  ... and {len(report['skipped']) - _SHOWN} more")
    typer.echo(f"store: {out}")


__all__ = ["prepare"]
