"""Units side by side in processes of one thread each: tiny networks gain nothing from a second thread, units do."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import TypeVar

from refluence.errors import RunError
from refluence.run.device import processors

In = TypeVar("In")
Out = TypeVar("Out")
TINY = 16 * 16 * 64  # pixels of a plane times channels of the network, at most: then one thread is fastest


def automatic(pixels: int, width: int, tasks: int, device: str) -> int:
    """How many processes: one for each processor where the networks are tiny and on the CPU, else one in all."""
    return max(1, min(processors(), tasks)) if device == "cpu" and pixels * width <= TINY else 1


def side_by_side(
    work: Callable[[In], Out], tasks: Iterable[In], workers: int, prepare: Callable[..., None], arguments: tuple
) -> Iterator[Out]:
    """`work(task)` for each task, results in the order of the tasks. `prepare(*arguments)` runs once in every process.

    An exception in a worker is raised here, with its type. Workers end at once when this process stops for any reason,
    also when it is killed: two writers to one folder would spoil it.
    """
    context = multiprocessing.get_context("spawn")
    heard, held = context.Pipe(duplex=False)  # closed when this process stops or dies: the workers wait for that
    pool = ProcessPoolExecutor(workers, context, _start, (heard, prepare, arguments))
    try:
        with _deaf():
            futures = [pool.submit(_call, work, task) for task in tasks]
        for future in futures:
            yield future.result()
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, perhaps for want of memory: fewer --workers need less; --resume continues"
        ) from None
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches the whole group, but this process answers for all: those started in here never hear it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_failed: list[Exception] = []  # what went wrong in `prepare` of this worker


def _start(heard: Connection, prepare: Callable[..., None], arguments: tuple) -> None:
    def watch() -> None:
        with contextlib.suppress(OSError, EOFError):  # Windows tells of the other end's death with an exception
            heard.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        prepare(*arguments)
    except Exception as error:
        _failed.append(error)


def _call(work: Callable[[In], Out], task: In) -> Out:
    if _failed:
        raise _failed[0]
    return work(task)
