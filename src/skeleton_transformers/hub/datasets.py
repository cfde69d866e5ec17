"""Publishing a data set: a folder of parquet shards becomes a dataset repository on the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from ..data.corpora import get_corpus, list_corpora
from ..data.shards import CARD_REPOSITORY, SkeletonShards


# Recordings that belong to the user, or to nobody.
_FREE = ("folder", "synthetic")


def push_dataset_to_hub(
    folder: str | os.PathLike,
    repo_id: str,
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload skeleton recordings",
) -> str:
    """Upload a folder of shards, in one commit: whoever loads the data set meets the old one or the new one.

    All files are compared with their checksums first. Data files of an earlier upload that are no part of the new one are
    removed by the same commit.

    Args:
        folder: folder made by [`write_shards`] or `skeleton-transformers prepare --parquet`.
        repo_id: `user/name`; the repository is made if it is not there.
        private: whether a new repository is private. Public repositories are refused for corpora that are not the user's to pass on.
        token: token of the Hub; by default the one of `hf auth login`.
        revision: branch, by default the main one.
        commit_message: message of the commit.

    Returns:
        Address of the commit.

    Raises:
        ValueError: if a file is damaged, or the repository is public and the terms of the corpus do not allow that.
    """
    folder = Path(folder)
    shards = SkeletonShards(folder)
    shards.verify()
    api = HfApi(token=token)
    restricted = shards.corpus in list_corpora() and shards.corpus not in _FREE
    if restricted and not private:
        _refuse(shards.corpus, repo_id)
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    if restricted and not api.dataset_info(repo_id).private:  # it was there before
        _refuse(shards.corpus, repo_id)
    card = (folder / "README.md").read_text(encoding="utf-8").replace(CARD_REPOSITORY, repo_id)
    data = [entry["file"] for entry in shards.shards]
    old = api.list_repo_files(repo_id, repo_type="dataset", revision=revision)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationDelete(file) for file in old if file.startswith("data/") and file not in data
    ]
    operations.append(CommitOperationAdd("README.md", card.encode()))
    operations += [CommitOperationAdd(file, str(folder / file)) for file in ("shards.json", *data)]
    commit = api.create_commit(
        repo_id, operations, commit_message=commit_message, repo_type="dataset", revision=revision
    )
    return commit.commit_url


def _refuse(corpus: str, repo_id: str) -> None:
    raise ValueError(
        f"{repo_id}: {get_corpus(corpus).title} is not yours to publish ({get_corpus(corpus).terms}); use a private repository, "
        "and only if the terms of its owners allow that"
    )


__all__ = ["push_dataset_to_hub"]
