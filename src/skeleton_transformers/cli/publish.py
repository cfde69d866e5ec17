"""`skeleton-transformers publish`: put a saved model on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a saved model with its feature extractor.")],
    repo: Annotated[str, typer.Argument(help="Repository on the Hub: owner/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made if it is not there.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    message: Annotated[str, typer.Option(help="Title of the commit.")] = "Upload model",
    token: Annotated[str | None, typer.Option(help="Token; default: that of `hf auth login` or HF_TOKEN.")] = None,
) -> None:
    """Put a saved model on the Hub, with card, label map, recipe, results, preview and licence, in one commit."""
    from ..hub.publishing import publish as publish_folder

    try:
        address = publish_folder(
            folder,
            repo,
            private=private,
            revision=revision,
            create_pr=create_pr,
            token=token,
            commit_message=message,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(address)


__all__ = ["publish"]
