"""`skeleton-transformers export`: write a model as a graph for deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a saved model with its feature extractor.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    format: Annotated[str, typer.Option(help="onnx or torch-export.")] = "onnx",
    task: Annotated[str, typer.Option(help="recognition (scores) or features (one vector).")] = "recognition",
    quantize: Annotated[str | None, typer.Option(help="int8: weights in 8 bits (onnx only).")] = None,
    opset: Annotated[int | None, typer.Option(help="Version of the ONNX operators.")] = None,
) -> None:
    """Write a model as a graph for batches of any size, and compare that graph with the model."""
    from transformers.utils import logging

    from ..exporting import export_model

    # What loading reports (the heads that are not needed) would only worry the reader.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        manifest = export_model(model, out, format, task, quantize, opset)
    except (ImportError, OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(
        f"{out / manifest['file']}  {manifest['bytes'] / 2**20:.1f} MiB, differs from the model by at most "
        f"{manifest['largest_difference']:.1e} (largest output {manifest['largest_output']:.2g})"
    )


__all__ = ["export"]
