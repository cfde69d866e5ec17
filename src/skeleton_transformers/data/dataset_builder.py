"""A store as a `datasets.Dataset`, without parquet files in between. Imports the `datasets` package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import datasets
import pyarrow as pa

from .shards import row_groups, sample_schema, samples_table, split_members
from .storage import SkeletonStore


class SkeletonDatasetBuilder(datasets.ArrowBasedBuilder):
    """Builder of the `datasets` package over a store; its rows have the columns of [`sample_schema`].

    ```python
    builder = SkeletonDatasetBuilder("stores/mine")
    builder.download_and_prepare(num_proc=4)
    recordings = builder.as_dataset(split="train")             # or, without making a copy on the disk:
    recordings = builder.as_streaming_dataset(split="train")
    ```

    A changed store is built anew: its checksum is part of the name in the cache.

    Args:
        store: the store or its folder.
        cache_dir: where `datasets` keeps what it builds; by default its own cache.
    """

    def __init__(self, store: SkeletonStore | str | os.PathLike, cache_dir: str | None = None, **options: Any):
        self.store = store if isinstance(store, SkeletonStore) else SkeletonStore.open(store)
        super().__init__(
            cache_dir=cache_dir, dataset_name=self.store.path.name, hash=self.store.checksum[:16], **options
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            features=datasets.Features.from_arrow_schema(sample_schema(self.store.label_names)),
            description=f"{len(self.store)} skeleton sequences, layout {self.store.layout.name}",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        # a list, which `num_proc` processes share among them
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"groups": row_groups(self.store, indices)})
            for name, indices in split_members(self.store).items()
        ]

    def _generate_tables(self, groups: list[list[int]]) -> Iterator[tuple[Any, pa.Table]]:
        for number, indices in enumerate(groups):
            yield (number, 0), samples_table(self.store, indices)


__all__ = ["SkeletonDatasetBuilder"]
