"""Executors: how many tasks run at a time, and where. They know functions and plain values, no job and no family.

An executor has three methods: `size`, `run` and `close`. `serial` works in this process, `processes:N` in N processes of this
machine. What is written by tasks goes to folders of their own; only the process that calls `run`, the coordinator, writes what
they share. Another kind (ranks, Ray) is a class with these methods and a line in `KINDS`.
"""

from __future__ import annotations

import contextlib
import difflib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol, TypeVar, cast

from refluence.errors import InputError, RunError, again, option, say_flags, says_flags
from refluence.run.device import processors

Context = TypeVar("Context")
In = TypeVar("In")
Out = TypeVar("Out")
MOST = 1024  # tasks at a time
TINY = 16 * 16 * 64  # pixels of a plane times channels of the network, at most: then one thread is fastest


class Executor(Protocol):
    """Runs a function on tasks."""

    @property
    def size(self) -> int:
        """How many tasks run at a time; 1: in this process, one after the other."""

    def run(self, work: Callable[[Context, In], Out], tasks: Sequence[In], context: Callable[[], Context]) -> Iterator[Out]:
        """Yield `work(context(), task)` for each task, in the order of the tasks. `context` is called once a worker.

        Both functions, tasks and results can be pickled. An exception of a task is raised here, with its type, and ends the
        run: work that is to go on after one returns it instead.
        """

    def close(self) -> None:
        """End at once what still runs. A later `run` starts afresh."""


class Serial:
    """One task after the other, in this process."""

    size = 1

    def run(self, work: Callable[[Context, In], Out], tasks: Sequence[In], context: Callable[[], Context]) -> Iterator[Out]:
        """See `Executor`."""
        if tasks:
            own = context()
            yield from (work(own, task) for task in tasks)

    def close(self) -> None:
        """Nothing runs between two tasks."""


class Processes:
    """`size` tasks at a time, each in a process of its own on this machine.

    The processes end at once when this one stops for any reason, also when it is killed: two writers to one folder would spoil
    it.
    """

    def __init__(self, size: int):
        self.size = size
        self._end: Callable[[], None] | None = None

    def run(self, work: Callable[[Context, In], Out], tasks: Sequence[In], context: Callable[[], Context]) -> Iterator[Out]:
        """See `Executor`."""
        if not tasks:
            return
        spawn = multiprocessing.get_context("spawn")
        listening, held = spawn.Pipe(duplex=False)  # closed when this process stops or dies: the workers wait for that
        pool = ProcessPoolExecutor(min(self.size, len(tasks)), spawn, _start, (listening, context, says_flags()))

        def end() -> None:
            held.close()
            pool.shutdown(wait=True, cancel_futures=True)

        self._end, begun = end, False
        try:
            with _interrupts_ignored():
                futures: list[Future[Out]] = [pool.submit(_call, work, task) for task in tasks]
            for future in futures:
                result = future.result()
                begun = True
                yield result
        except BrokenProcessPool:
            fewer = f"fewer workers ({option('executor', 'processes:N')}) need less; {again()} continues"
            if begun or says_flags():
                raise RunError(f"a worker process was killed, perhaps for want of memory: {fewer}") from None
            raise RunError(
                "the worker processes ended before any task was done: a script, a file of its own, starts them below "
                f'`if __name__ == "__main__":`; where it does, memory was short: {fewer}'
            ) from None
        finally:
            self.close()

    def close(self) -> None:
        """See `Executor`."""
        if self._end is not None:
            end, self._end = self._end, None
            end()


KINDS: dict[str, Callable[[int], Executor]] = {"serial": lambda size: Serial(), "processes": Processes}
"""What there is, by name; each is made with the number of tasks at a time."""
SINGLE = ("serial",)  # kinds without a number


@dataclass(frozen=True)
class Choice:
    """An executor that was asked for by name; `kind` or `size` is empty where it was left open."""

    kind: str = ""
    size: int = 0

    def open(self, tasks: int, default: int = 1) -> Executor:
        """The executor for so many tasks. `default`: how many at a time where nothing was asked for."""
        kind, size = self.kind or "processes", self.size or (processors() if self.kind else default)
        size = max(1, min(size, tasks))
        return Serial() if size == 1 else KINDS[kind](size)


def parse(text: str | None, workers: int = 0) -> Choice:
    """`serial`, `processes` or `processes:N`; nothing: open. `workers`, where it is not 0, is the same as `processes:N`.

    Raises: `InputError` for another name or number, and where text and workers say different things.
    """
    known = ", ".join(kind if kind in SINGLE else f"{kind}[:N]" for kind in KINDS)
    name, colon, number = (text or "").partition(":")
    if text is not None and name not in KINDS:
        close = difflib.get_close_matches(name, KINDS, n=1)
        raise InputError(f"unknown executor '{text}': {f'did you mean {close[0]}? ' if close else ''}There is {known}")
    if colon and (name in SINGLE or not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MOST):
        right = name if name in SINGLE else f"{name}:N with N from 1 to {MOST}"
        raise InputError(f"executor '{text}': expected {right}")
    choice = Choice(name, 1 if name in SINGLE else int(number or 0))
    if workers and choice.size not in (0, workers):
        raise InputError(f"{option('workers', workers)} and {option('executor', text)} differ: give one of them")
    return Choice(choice.kind or "processes", workers) if workers else choice


def automatic(pixels: int, width: int, tasks: int, device: str) -> int:
    """How many processes: one for each processor where the networks are tiny and on the CPU, else one in all.

    `width`: channels of the widest network; 0: not known, and then not tiny.
    """
    return max(1, min(processors(), tasks)) if device == "cpu" and 0 < pixels * width <= TINY else 1


def in_worker() -> bool:
    """Whether this process runs tasks for a coordinator."""
    return bool(_made)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches the whole group, but this process answers for all: those that are started in here ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_made: list[Callable[[], object]] = []  # of a worker process: gives its context, or raises what went wrong when it was made


def _start(listening: Connection, context: Callable[[], Context], flags: bool) -> None:
    say_flags(flags)

    def watch() -> None:
        with contextlib.suppress(OSError, EOFError):  # Windows says that the other end has gone with an exception
            listening.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        own = context()
    except Exception as error:
        failure = error

        def fail() -> object:
            raise failure

        _made.append(fail)
    else:
        _made.append(lambda: own)


def _call(work: Callable[[Context, In], Out], task: In) -> Out:
    return work(cast(Context, _made[0]()), task)
