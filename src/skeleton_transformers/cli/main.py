"""The `skeleton-transformers` command. Its verbs only call the library."""

import typer

from .check import check
from .convert import convert
from .evaluate import evaluate
from .export import export
from .inspect import inspect
from .predict import predict
from .prepare import merge, prepare
from .profile import profile
from .publish import publish
from .render import render


app = typer.Typer(
    help="Prepare skeleton recordings; predict, evaluate, draw, convert, export, publish and profile with skeleton models.",
    no_args_is_help=True,
    add_completion=False,
)
for verb in (prepare, merge, check, inspect, render, predict, evaluate, convert, export, publish, profile):
    app.command()(verb)


def main() -> None:
    """Entry point of the console script."""
    app()


__all__ = ["app", "main"]
