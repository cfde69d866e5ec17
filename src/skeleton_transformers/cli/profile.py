"""`skeleton-transformers profile`: what a model costs."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def profile(
    model: Annotated[
        str,
        typer.Argument(help="Folder or Hub id of a model, or family:preset, such as hitrs:base, with random weights."),
    ],
    frames: Annotated[int, typer.Option(min=1, help="Frames of a sequence.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Sequences in a batch.")] = 16,
    persons: Annotated[int, typer.Option(min=1, help="Persons in a sequence.")] = 1,
    training: Annotated[
        bool, typer.Option("--training", help="Forward and backward pass instead of inference.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1, help="Calls to time.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print arithmetic, parameters, latency and memory of an encoder on random sequences of full length."""
    import torch

    from ..evaluation.efficiency import profile_model
    from ..models.families import get_family

    try:
        if dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"--dtype must be float32, bfloat16 or float16, got {dtype!r}.")
        family_name, separator, preset = model.partition(":")
        if separator:
            family = get_family(family_name)
            if family.encoder is None:
                raise ValueError(f"{family_name} has no encoder of its own; name the family of its backbone.")
            encoder = family.load("encoder")(family.load("configuration").from_preset(preset))
        else:
            from transformers import AutoModel

            encoder = AutoModel.from_pretrained(model)
        encoder = encoder.to(device, getattr(torch, dtype))
        result = profile_model(encoder, frames, batch, persons, training, repeats)
    except (OSError, ValueError, RuntimeError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    memory = result["peak_memory_bytes"]
    lines = {
        "parameters": f"{result['parameters']:,}",
        "arithmetic": f"{result['flops'] / 1e9:.2f} GFLOP, {result['flops_per_sequence'] / 1e9:.3f} per sequence",
        "latency": f"{result['seconds'] * 1e3:.1f} ms (fastest {result['fastest_seconds'] * 1e3:.1f} ms)",
        "throughput": f"{result['sequences_per_second']:.1f} sequences/s",
        "memory": "unknown on this system" if memory is None else f"{memory / 2**20:.0f} MiB on top of the weights",
        "share of the limit": f"{result['share_of_peak']:.0%} of {result['peak_flops_per_second'] / 1e9:.0f} GFLOP/s",
    }
    work = "forward and backward pass" if training else "inference"
    typer.echo(
        f"{result['model']}, {work} of {batch} x {persons} x {frames} frames, {dtype} on {device}, {result['threads']} threads"
    )
    for name, text in lines.items():
        typer.echo(f"  {name:<18}  {text}")


__all__ = ["profile"]
