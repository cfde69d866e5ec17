"""`skeleton-transformers check`: say what a prepared corpus lacks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer


def check(
    store: Annotated[Path, typer.Argument(help="The prepared store.")],
    all_names: Annotated[bool, typer.Option("--all", help="Name every missing recording.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a prepared store with the complete corpus and say exactly what is missing.

    The exit code is 1 when something is missing. Damage of the files is another matter: `inspect --verify` compares checksums.
    """
    from ..data.corpora.completeness import check_completeness, format_completeness
    from ..data.storage import SkeletonStore

    try:
        result = check_completeness(SkeletonStore.open(store))
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(
            json.dumps({**dataclasses.asdict(result), "complete": result.complete}, indent=2, ensure_ascii=False)
        )
    else:
        typer.echo(format_completeness(result, all_names))
    if not result.complete:
        raise typer.Exit(1)


__all__ = ["check"]
