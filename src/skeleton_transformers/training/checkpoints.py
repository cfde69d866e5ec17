"""Checkpoints that are complete or absent, a log that continues where a run was interrupted, and clean interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError


if TYPE_CHECKING:
    from accelerate import Accelerator


STATE_NAME = "state.json"
_PREFIX = "step_"


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: str | Path,
    step: int,
    state: dict[str, Any],
    keep_last: int = 2,
    write_more: Callable[[Path], None] | None = None,
) -> Path:
    """Saves everything a run needs to continue, into `output_dir/checkpoints/step_<step>`.

    To be called by every process; `output_dir` must be one folder for all. The folder is written under another name
    and renamed when it is complete, so a process killed at any moment leaves the previous checkpoint behind.

    Args:
        accelerator: holds the prepared model and optimiser, and what was registered for checkpointing.
        output_dir: folder of the run.
        step: finished optimiser steps.
        state: JSON-able position of the run, read back by [`read_state`].
        keep_last: checkpoints to keep; older ones are removed.
        write_more: called by every process with the folder, to add files.

    Raises:
        OSError: it cannot be written, because the disk is full, for instance; earlier checkpoints are untouched.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, got {keep_last}")
    parent = Path(output_dir) / "checkpoints"
    folder = parent / f"{_PREFIX}{step:08d}"
    partial = parent / f".{folder.name}.partial"
    if accelerator.is_main_process:
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(".*"):
            shutil.rmtree(leftover)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(partial))
        if write_more is not None:
            write_more(partial)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk is a RuntimeError to torch.save
        shutil.rmtree(partial, ignore_errors=True)
        last = latest_checkpoint(output_dir)
        raise OSError(
            f"the checkpoint of step {step} cannot be written into {parent} ({error}). "
            + (f"The last good one is {last.name}; " if last else "There is none before it; ")
            + "make room and start again with --resume."
        ) from error
    # save_state returns before the other processes have written.
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (partial / STATE_NAME).write_text(json.dumps({"step": step, **state}, indent=2), encoding="utf-8")
        if folder.exists():
            _remove(folder)
        os.rename(partial, folder)
        for old in list_checkpoints(output_dir)[:-keep_last]:
            _remove(old)
    accelerator.wait_for_everyone()
    return folder


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(file.parent for file in (Path(output_dir) / "checkpoints").glob(f"{_PREFIX}*/{STATE_NAME}"))


def latest_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or `None`."""
    checkpoints = list_checkpoints(output_dir)
    return checkpoints[-1] if checkpoints else None


def read_state(checkpoint: str | Path) -> dict[str, Any]:
    """The `state` that [`save_checkpoint`] was given, and `step`."""
    return json.loads((Path(checkpoint) / STATE_NAME).read_text(encoding="utf-8"))


def _remove(folder: Path) -> None:
    """Removes a folder without leaving half of it under its own name."""
    hidden = folder.with_name(f".{folder.name}.removed")
    os.rename(folder, hidden)
    shutil.rmtree(hidden)


class RunLog:
    """A file with one JSON object per line, each with a `step`.

    Args:
        path: file, created on the first record.
        last_step: when a run continues, what an earlier process logged after this step is removed, so that the file
            reads like that of an uninterrupted run; `None` starts an empty file.
    """

    def __init__(self, path: str | Path, last_step: int | None = None):
        self.path = Path(path)
        kept = [] if last_step is None else [r for r in read_run_log(self.path) if r["step"] <= last_step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.partial")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(temporary, self.path)

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_run_log(path: str | Path) -> list[dict[str, Any]]:
    """Records of a log; the unfinished last line of a killed process is passed over."""
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class InterruptGuard:
    """Turns SIGINT and SIGTERM into a flag while it is open, so that a loop can save and stop between two steps.

    ```python
    with InterruptGuard() as interrupt:
        for step in ...:
            if interrupt.signal: ...
    ```

    A second SIGINT interrupts at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def ignore_interrupts(worker: int = 0) -> None:
    """`worker_init_fn` of a DataLoader: signals are the business of the training process, which ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


__all__ = [
    "InterruptGuard",
    "RunLog",
    "STATE_NAME",
    "ignore_interrupts",
    "latest_checkpoint",
    "list_checkpoints",
    "read_run_log",
    "read_state",
    "save_checkpoint",
]
