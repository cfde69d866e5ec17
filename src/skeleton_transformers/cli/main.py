"""The `skeleton-transformers` command. Its verbs only call the library."""

from huggingface_hub import typer_factory

from .convert import convert
from .evaluate import evaluate
from .inspect import inspect
from .predict import predict
from .prepare import prepare
from .render import render


app = typer_factory(help="Prepare skeleton recordings; predict, evaluate, draw and convert with skeleton models.")
for verb in (prepare, inspect, render, predict, evaluate, convert):
    app.command()(verb)


def main() -> None:
    """Entry point of the console script."""
    app()


__all__ = ["app", "main"]
