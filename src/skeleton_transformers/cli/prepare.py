"""`skeleton-transformers prepare` and `merge`: turn raw recordings into a store, on one machine or on many."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer


_SHOWN = 10
_Parquet = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Also make this folder of parquet files, for `datasets` and the Hub."),
]
_Workers = Annotated[int | None, typer.Option(help="Processes; default one per core.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a store that is there.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


def prepare(
    corpus: Annotated[
        str,
        typer.Argument(
            help="ntu60, ntu120, pku-mmd-1, pku-mmd-2, kinetics, nw-ucla, msr-action3d, gtu, utd-mhad, precog, human36m, cmu-mocap, "
            "folder (your own files) or synthetic."
        ),
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
            help="People of NTU recordings: simple (first two listed), energy (liveliest two), denoise (CTR-GCN), all (by id)."
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
            help="folder: joint layout, a JSON file with name, joints and parents, or the name of a known one; default that of "
            "the first recording."
        ),
    ] = None,
    frame_rate: Annotated[
        float, typer.Option(help="folder: frames per second; files that tell another rate are resampled.")
    ] = 30.0,
    units: Annotated[
        str | None, typer.Option(help="folder: unit of files that do not tell theirs; default metre.")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            help="folder: values per joint, one more than coordinates for the confidence; default those of the files."
        ),
    ] = None,
    image_size: Annotated[
        tuple[float, float] | None,
        typer.Option(help="folder: width and height of the image, for coordinates in pixels."),
    ] = None,
    min_confidence: Annotated[float, typer.Option(help="folder: joints of lower confidence count as missing.")] = 0.0,
    takes: Annotated[
        bool,
        typer.Option(
            "--takes", help="PKU-MMD, PRECOG, synthetic: whole takes with a label in every frame, not single actions."
        ),
    ] = False,
    sequences: Annotated[int, typer.Option(help="synthetic: recordings to make.")] = 1200,
    seed: Annotated[int, typer.Option(help="synthetic: seed.")] = 0,
    clean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SWITCH=VALUE",
            help="Clean every recording, such as --clean max_gap_frames=10 --clean spikes=repair, or --clean default; "
            "the switches are in docs/cleaning.md.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do only the I-th of N parts of the work; `merge` joins the parts of all."),
    ] = None,
    parquet: _Parquet = None,
    workers: _Workers = None,
    overwrite: _Overwrite = False,
    quiet: _Quiet = False,
) -> None:
    """Turn a folder of raw recordings into a store for training.

    Started again after an interruption it goes on where it stopped. Recordings that cannot be used are left out and named with
    the reason in OUT/report.json.
    """
    from ..data.cleaning import CleaningOptions
    from ..data.corpora import PreparationOptions
    from ..data.preparation import PreparationError, format_description, prepare_corpus

    wanted = 1 if corpus == "synthetic" else 2
    if len(folders) != wanted:
        usage = "prepare synthetic OUT" if wanted == 1 else f"prepare {corpus} RAW OUT"
        typer.echo(f"Error: {len(folders)} folders given; usage: skeleton-transformers {usage}", err=True)
        raise typer.Exit(2)
    raw, out = (None, folders[0]) if wanted == 1 else folders
    try:
        cleaning = None if not clean else dataclasses.asdict(CleaningOptions.from_words(clean))
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    options = PreparationOptions(
        bodies=bodies,
        missing=str(missing) if missing is not None else None,
        labels=str(labels) if labels is not None else None,
        layout=layout,
        frame_rate=frame_rate,
        units=units,
        num_channels=channels,
        image_size=image_size,
        min_confidence=min_confidence,
        sequences=sequences,
        seed=seed,
        takes=takes,
        cleaning=cleaning,
    )
    try:
        report = prepare_corpus(
            corpus,
            raw,
            out,
            options,
            workers=workers,
            overwrite=overwrite,
            progress=not quiet,
            shard=None if shard is None else _parse_shard(shard),
            parquet=parquet,
        )
    except (OSError, ValueError, PreparationError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    if shard is None:
        _show(format_description(report), report, out, parquet)
        return
    typer.echo(f"{report['recordings']} recordings read, {len(report['skipped'])} files could not be used")
    typer.echo(f"part {report['number']} of {report['count']}: {report['part']}")
    typer.echo(f"when all {report['count']} are there: skeleton-transformers merge {out}")


def merge(
    out: Annotated[Path, typer.Argument(help="The store to make.")],
    parts: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of all parts, if they do not lie beside OUT.", show_default=False),
    ] = None,
    parquet: _Parquet = None,
    workers: _Workers = None,
    overwrite: _Overwrite = False,
    quiet: _Quiet = False,
) -> None:
    """Join the parts that `prepare --shard` made into the store that one machine would have made.

    The parts are kept; remove them when the store is there.
    """
    from ..data.preparation import PreparationError, format_description, merge_parts

    try:
        report = merge_parts(
            out, parts or (), workers=workers, overwrite=overwrite, progress=not quiet, parquet=parquet
        )
    except (OSError, ValueError, PreparationError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    _show(format_description(report), report, out, parquet)


def _parse_shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard {text}: expected I/N, for example 3/8 for the third of eight parts")
    return int(number), int(count)


def _show(description: str, report: dict[str, Any], out: Path, parquet: Path | None) -> None:
    typer.echo(description)
    for remark in report["missing"]:
        typer.echo(f"not complete: {remark}")
    if report["left_out"]:
        typer.echo(f"{report['left_out']} recordings left out, as they are on the list of missing ones")
    if report["outside"]:
        typer.echo(f"{report['outside']} files belong to another part of the data set and were not looked at")
    if "cleaning" in report:
        typer.echo(
            "cleaning    " + ", ".join(f"{count} {what}" for what, count in report["cleaning"].items() if count)
        )
    if report["skipped"]:
        typer.echo(f"{len(report['skipped'])} files could not be used ({out / 'report.json'}):")
        for entry in report["skipped"][:_SHOWN]:
            typer.echo(f"  {entry['file']}: {entry['reason']}")
        if len(report["skipped"]) > _SHOWN:
            typer.echo(f"  ... and {len(report['skipped']) - _SHOWN} more")
    typer.echo(f"store: {out}")
    if parquet is not None:
        typer.echo(f"parquet: {parquet}")


__all__ = ["merge", "prepare"]
