"""Training from parquet shards that fit neither memory nor, perhaps, the disk: a stream cut by rank and by worker."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from .datasets import SampleKey, SequencePipeline
from .shards import SkeletonShards
from .storage import SkeletonSample


# First word of the seed of the order, so that it shares no random numbers with the items themselves.
_ORDER = 0x73747265616D


class _Group(NamedTuple):
    """Rows of a row group that one stream reads; `first` is the place of the first of them in the stream."""

    shard: int
    group: int
    rows: np.ndarray
    first: int


class SkeletonStream(IterableDataset):
    """Items of parquet shards, for corpora of any size: memory holds the shuffle buffer and one row group.

    The files are shuffled, and the row groups within them; the rows in this order are cut into one run per rank, each of these into
    one run per worker of the data loader, whose lengths differ by at most one sample; and each run goes through a shuffle buffer. So
    an epoch gives every sample exactly once over all ranks and workers, and every process reads few files. The order is a pure
    function of seed, epoch, ranks and workers, and the random numbers of an item are those of its key alone.

    `state_dict` says how far this process has got, and `load_state_dict` goes on there without reading what was done: by itself
    without workers (`num_workers=0`), and in workers with the `StatefulDataLoader` of `torchdata`.

    Args:
        shards: the shards.
        pipeline: makes the items. With `single_person` the index of a key is `index * max_persons + person`, otherwise the place of
            the sample in the store, as in a [`SkeletonDataset`] of the whole store.
        indices: samples to use, places in the store (`split_indices(shards, "xsub", "train")`); `None` takes all.
        shuffle: `False` gives the samples in the order of the files.
        buffer_size: samples among which the next one is drawn.
        seed: seed of the order.
        rank, world_size: this process and the number of processes. Ranks may get one sample more or less than others (and more or
            fewer items if the pipeline drops some), so end an epoch of distributed training after a fixed number of steps.

    Raises:
        ValueError: no sample is left, or a number is out of range.
    """

    def __init__(
        self,
        shards: SkeletonShards,
        pipeline: SequencePipeline,
        indices: Any | None = None,
        shuffle: bool = True,
        buffer_size: int = 2048,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} processes: it must be 0 to {world_size - 1}")
        if buffer_size < 1:
            raise ValueError(f"buffer_size must be at least 1, got {buffer_size}")
        self.shards = shards
        self.pipeline = pipeline
        self.shuffle = shuffle
        self.buffer_size = buffer_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        # one entry per row group: rows to use
        self._groups: list[tuple[int, int, np.ndarray]] = []
        chosen = None if indices is None else np.isin(shards.file_order, np.asarray(indices, dtype=np.int64))
        first = 0
        for shard, entry in enumerate(shards.shards):
            for group, count in enumerate(entry["groups"]):
                rows = np.arange(count) if chosen is None else np.flatnonzero(chosen[first : first + count])
                first += count
                if len(rows):
                    self._groups.append((shard, group, rows))
        self.num_samples = sum(len(rows) for _, _, rows in self._groups)
        if not self.num_samples:
            raise ValueError(f"no sample of {shards.path} is left: none of its {len(shards)} is among the indices")
        # shared with the workers, which live on from one epoch to the next if they are persistent
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._done = 0, 0
        self._resume: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """Epoch of the next iteration."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, Any]:
        """How far the iteration in this process has got: samples that are done, and items of the one that is not."""
        samples, items = self._done
        return {"epoch": self.epoch, "samples": samples, "items": items, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next iteration go on after the last item that was given before `state_dict`.

        Raises:
            ValueError: the state is that of other shards, or of another seed or number of processes.
        """
        for key, value in self._identity().items():
            if state[key] != value:
                raise ValueError(f"the state is of a stream with {key} {state[key]!r}, this one has {value!r}")
        self.set_epoch(state["epoch"])
        self._done = state["samples"], state["items"]
        self._resume = dict(state)

    def _identity(self) -> dict[str, Any]:
        return {
            "store_checksum": self.shards.store_checksum,
            "num_samples": self.num_samples,
            "order": [self.seed, self.shuffle, self.buffer_size],
            "process": [self.rank, self.world_size, *_worker()],
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = self.epoch
        skipped, skipped_items = 0, 0
        if self._resume is not None and self._resume["epoch"] == epoch:
            skipped, skipped_items = self._resume["samples"], self._resume["items"]
        self._resume = None
        self._done = skipped, skipped_items
        frame_rate = self.shards.frame_rate
        for number, (index, sample) in enumerate(self._samples(epoch, skipped), start=skipped):
            slots, _ = self.pipeline.slots(sample, frame_rate)
            for position, slot in enumerate(list(slots)[skipped_items:], start=skipped_items + 1):
                place = index * self.shards.counts["max_persons"] + slot if self.pipeline.single_person else index
                item = self.pipeline.item(sample, frame_rate, slot, SampleKey(place, epoch))
                # before the item is given away: what asks for the state afterwards has had it
                self._done = (number + 1, 0) if position == len(slots) else (number, position)
                yield item
            skipped_items = 0
            self._done = number + 1, 0

    def _samples(self, epoch: int, skipped: int) -> Iterator[tuple[int, SkeletonSample]]:
        """Places in the store and samples of this rank and worker, without the first `skipped`."""
        worker, num_workers = _worker()
        groups, length = self._run(epoch, worker, num_workers)
        order = self._buffered_order(length, epoch, worker)
        waiting = np.ones(length, dtype=bool)
        waiting[order[:skipped]] = False
        reader = copy.copy(self.shards)  # with files of its own: an open one is of no use in another process
        buffer: dict[int, tuple[int, SkeletonSample]] = {}
        unread = iter(groups)
        for place in order[skipped:].tolist():
            while place not in buffer:
                group = next(unread)
                wanted = np.flatnonzero(waiting[group.first : group.first + len(group.rows)])
                if not len(wanted):
                    continue
                places = dict(zip(group.rows[wanted].tolist(), (wanted + group.first).tolist(), strict=True))
                for row, (index, sample) in enumerate(reader.read_group(group.shard, group.group)):
                    if row in places:
                        # a copy, as a view would keep the whole row group in memory
                        keypoints, frame_mask = sample.keypoints.copy(), sample.frame_mask.copy()
                        sample = dataclasses.replace(sample, keypoints=keypoints, frame_mask=frame_mask)
                        buffer[places[row]] = index, sample
            yield buffer.pop(place)

    def _run(self, epoch: int, worker: int, num_workers: int) -> tuple[list[_Group], int]:
        """The row groups of this rank and worker, in order, and the number of their rows."""
        order = list(range(len(self._groups)))
        if self.shuffle:
            rng = np.random.default_rng([_ORDER, self.seed, epoch])
            files = rng.permutation(len(self.shards.shards))  # the place of every file
            within = rng.random(len(self._groups))
            order.sort(key=lambda number: (files[self._groups[number][0]], within[number]))
        start, stop = _share(0, self.num_samples, self.rank, self.world_size)
        start, stop = _share(start, stop, worker, num_workers)
        groups: list[_Group] = []
        begin = 0
        for number in order:
            shard, group, rows = self._groups[number]
            mine = rows[max(start - begin, 0) : max(stop - begin, 0)]
            if len(mine):
                groups.append(_Group(shard, group, mine, max(begin, start) - start))
            begin += len(rows)
        return groups, stop - start

    def _buffered_order(self, length: int, epoch: int, worker: int) -> np.ndarray:
        """int64 `(length,)`: the order in which a shuffle buffer gives away what comes in as 0, 1, 2, ..."""
        if not self.shuffle:
            return np.arange(length)
        rng = np.random.default_rng([_ORDER, self.seed, epoch, self.rank, worker])
        size = min(self.buffer_size, length)
        buffer = list(range(size))
        order = []
        for incoming, drawn in enumerate(rng.integers(size, size=length - size).tolist() if size else [], start=size):
            order.append(buffer[drawn])
            buffer[drawn] = incoming
        return np.array(order + rng.permutation(buffer).tolist(), dtype=np.int64)


def _worker() -> tuple[int, int]:
    """Number of this worker of a data loader and number of workers."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _share(start: int, stop: int, number: int, count: int) -> tuple[int, int]:
    """The part of a range that number `number` of `count` gets; the parts differ by at most one."""
    length = stop - start
    return start + length * number // count, start + length * (number + 1) // count


__all__ = ["SkeletonStream"]
