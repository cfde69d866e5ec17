"""`skeleton-transformers convert`: turn the checkpoint of an original implementation into one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..models.families import FAMILIES, get_family


CONVERTIBLE = [name for name, family in FAMILIES.items() if family.has_converter]


def convert(
    family: Annotated[str, typer.Argument(help=f"Whose checkpoint it is: {', '.join(CONVERTIBLE)}.")],
    file: Annotated[Path, typer.Argument(help="The authors' file (.pth).")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
) -> None:
    """Convert an original checkpoint; nothing inside it is executed."""
    if family not in CONVERTIBLE:
        raise typer.BadParameter(
            f"there is no converter for {family!r}; known: {', '.join(CONVERTIBLE)}", param_hint="FAMILY"
        )
    if not file.is_file():
        typer.echo(f"Error: there is no file {file}", err=True)
        raise typer.Exit(1)
    try:
        get_family(family).load_converter().convert_original_checkpoint(file, out)
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Converted {file} to {out}")


__all__ = ["convert"]
