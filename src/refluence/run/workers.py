"""Units side by side in processes of one thread each: tiny networks gain nothing from a second thread, units do."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
TINY = 16 * 16 * 64  # pixels of a plane times channels of the network, at most: then one thread is fastest


def automatic(pixels: int, width: int, tasks: int, device: str) -> int:
    """How many processes: one for each processor where the networks are tiny and on the CPU, else one in all."""
    return max(1, min(os.cpu_count() or 1, tasks)) if device == "cpu" and pixels * width <= TINY else 1


def side_by_side(
    work: Callable[[In], Out], tasks: Iterable[In], workers: int, prepare: Callable[..., None], arguments: tuple
) -> Iterator[Out]:
    """`work(task)` for each task, results in the order of the tasks. `prepare(*arguments)` runs once in every process.

    Workers end when this process does, also when it is killed: two writers to one folder would spoil it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (os.getpid(), prepare, arguments)) as pool:
        try:
            yield from pool.map(work, tasks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(parent: int, prepare: Callable[..., None], arguments: tuple) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    prepare(*arguments)
