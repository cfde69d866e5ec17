"""Publishing a model while it is still being trained: at every save, in the background, without ever stopping the training.

The Trainer's own `push_to_hub` sends `training_args.bin`, a pickle that holds paths of the machine, and no label map, card or recipe.
Here every save is published as the finished model is: by the rules of [`publish`], in one commit.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitOperationAdd, HfApi
from transformers import TrainerCallback

from .publishing import check_model_folder, collect_files, commit_files


logger = logging.getLogger(__name__)


class BackgroundPublisher:
    """Uploads what a training saves, one save after the other.

    What is sent is taken when `push` is called, so the folder may be removed afterwards. While an upload is under way, saves are
    passed over: the newest one goes out when the next save comes. Whatever goes wrong is a warning; the next save is tried again.

    ```python
    publisher = BackgroundPublisher("me/model")
    for step in ...:
        ...
        publisher.push("runs/model/checkpoints/step_1000", "Step 1000 of 5000")
    publisher.finish()
    ```

    Args:
        repo_id: `owner/name`; the repository is made if it is not there.
        private: whether a new repository is private; into a public one that is there already nothing is sent then.
        token: token of the Hub; by default the one of `hf auth login` or `HF_TOKEN`.
    """

    def __init__(self, repo_id: str, *, private: bool = False, token: str | None = None):
        self.repo_id = repo_id
        self.private = private
        self.failures: list[str] = []
        self._api = HfApi(token=token)
        self._upload: Future[str] | None = None

    def push(self, folder: str | Path, message: str, more: Iterable[str | Path] = ()) -> bool:
        """Begins to publish what a folder holds now, and returns at once.

        Args:
            folder: folder of a saved model with its feature extractor.
            message: title of the commit.
            more: files from elsewhere that belong to it, such as `recipe.yaml` of the run.

        Returns:
            Whether an upload has begun; if not, the log says why.
        """
        if self._upload is not None and not self._upload.done():
            logger.info("%s: %r is passed over, the upload before it is still under way", self.repo_id, message)
            return False
        copy = tempfile.TemporaryDirectory()
        try:
            operations = self._collect(Path(folder), more, Path(copy.name))
        except Exception as error:  # nothing that is about publishing may end a training
            copy.cleanup()
            self._fail(message, error)
            return False
        self._upload = self._api.run_as_future(self._send, operations, message, copy)
        return True

    def finish(self) -> int:
        """Waits until the last upload has ended; returns how many failed."""
        if self._upload is not None:
            self._upload.exception()
        return len(self.failures)

    def _collect(self, folder: Path, more: Iterable[str | Path], copy: Path) -> list[CommitOperationAdd]:
        saved_folder = copy / "model"
        # Optimiser states and pickles stay where they are; what of the rest is sent is up to `collect_files`.
        shutil.copytree(folder, saved_folder, ignore=lambda _, names: [n for n in names if not _is_sent(n)])
        for file in more:
            shutil.copy(file, saved_folder)
        with torch.random.fork_rng(devices=[]):  # a run with publishing is the run without
            saved = check_model_folder(saved_folder)
            files = collect_files(saved_folder, self.repo_id, saved, copy, preview=False)
        return [CommitOperationAdd(name, content) for name, content in files.items()]

    def _send(self, operations: list[CommitOperationAdd], message: str, copy: tempfile.TemporaryDirectory) -> str:
        try:
            return commit_files(self._api, self.repo_id, operations, message, private=self.private)
        except Exception as error:
            self._fail(message, error)
            raise
        finally:
            copy.cleanup()

    def _fail(self, message: str, error: Exception) -> None:
        self.failures.append(f"{message}: {type(error).__name__}: {error}")
        logger.warning(
            "%s: %r could not be published, training goes on and the next save is tried again: %s: %s",
            self.repo_id, message, type(error).__name__, str(error).strip().splitlines()[0] if str(error) else "",
        )  # fmt: skip


def _is_sent(name: str) -> bool:
    return name.endswith((".safetensors", ".json", ".yaml", ".md"))


class PublishingCallback(TrainerCallback):
    """Publishes every checkpoint of a `Trainer` but the last, which is the finished model.

    Args:
        publisher: where to.
        more: see [`BackgroundPublisher.push`].
    """

    def __init__(self, publisher: BackgroundPublisher, more: Iterable[str | Path] = ()):
        self.publisher = publisher
        self.more = list(more)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer when it has written a checkpoint."""
        if state.is_world_process_zero and state.global_step < state.max_steps:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.publisher.push(folder, f"Step {state.global_step} of {state.max_steps}", self.more)


__all__ = ["BackgroundPublisher", "PublishingCallback"]
