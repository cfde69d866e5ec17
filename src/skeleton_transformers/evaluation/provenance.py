"""What a number came from: versions, commit, seed."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .._version import __version__


def git_commit(folder: str | Path | None = None) -> str | None:
    """Commit checked out around `folder` (default: this source file), with `-dirty` appended when files differ from it.

    None where the package was not installed from a git checkout or git is absent.
    """
    folder = Path(folder) if folder is not None else Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # A checkout of somebody else's project that merely contains our installed files is not our commit.
        git("ls-files", "--error-unmatch", Path(__file__).name if folder == Path(__file__).resolve().parent else ".")
        commit = git("rev-parse", "HEAD")
        return commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(seed: int | None = None) -> dict[str, Any]:
    """Versions of what computes, the commit and the seed, as a JSON-able dictionary."""
    versions = {"skeleton_transformers": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "accelerate", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"seed": seed, "versions": versions, "git_commit": git_commit()}


__all__ = ["git_commit", "provenance"]
