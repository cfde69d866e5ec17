"""Work in several processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar


Task = TypeVar("Task")
Result = TypeVar("Result")


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None
) -> Iterator[Result]:
    """Call a function for every task and yield what it returns, in the order in which the tasks end.

    Args:
        function: a function of a module, so that other processes find it.
        tasks: what to call it with, one at a time.
        workers: processes; None for one per core; 1 stays in this process.

    Raises:
        Exception: the first that the function raises; tasks that have not begun are given up then.
    """
    workers = min(count_cores() if workers is None else workers, len(tasks))
    if workers <= 1:
        yield from map(function, tasks)
        return
    # The functions only read and write files with numpy or pyarrow, for which a forked process is safe and starts at once;
    # elsewhere they are spawned.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent, initargs=(os.getpid(),)) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _follow_parent(parent: int) -> None:
    """End this worker when the process that started it is gone: a killed parent would leave it waiting for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


__all__ = ["count_cores", "run_in_processes"]
