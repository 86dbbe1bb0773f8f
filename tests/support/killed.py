"""A command in a process of its own that SIGKILL ends at a place in the code, however fast the machine is."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

PATIENCE = 300  # seconds until the process has to be gone, on a busy machine
IMPORTED = ("refluence.cli", "refluence.commands.parse", "refluence.commands.transfer", "sklearn.datasets")
"""What is imported once for all processes that are killed."""


@dataclass(frozen=True)
class Place:
    """Where a process dies: at a call of `inner`, the `step`-th from 1 on inside the `time`-th call of `outer`.

    Both are `module:name` or `module:class.name`, by the module that calls them.
    """

    outer: str
    time: int
    inner: str
    step: int = 1


def killed_at(place: Place, words: list[str], stack: Path) -> list[str]:
    """Run a command until SIGKILL ends it at `place`; the functions that it was in, as `module.function`, outermost first.

    Args:
        place: where.
        words: the command line behind `refluence`.
        stack: a file of its own, which gets the functions.
    """
    context = multiprocessing.get_context("forkserver")  # it imports once; a fork of this process would share its threads
    context.set_forkserver_preload(list(IMPORTED))
    child = context.Process(target=_run, args=(place, [str(word) for word in words], stack))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL, f"the command ended by itself: {child.exitcode}"
    return stack.read_text(encoding="utf-8").splitlines()


def _run(place: Place, words: list[str], stack: Path) -> None:
    from refluence.cli import main

    times, steps = 0, 0

    def outer(call: Callable, *given, **named):
        nonlocal times, steps
        times, steps = times + 1, 0
        return call(*given, **named)

    def inner(call: Callable, *given, **named):
        nonlocal steps
        steps += 1
        if (times, steps) == (place.time, place.step):
            frames = [frame for frame, _ in traceback.walk_stack(None)][::-1]
            said = (f"{frame.f_globals['__name__']}.{frame.f_code.co_name}" for frame in frames)
            stack.write_text("\n".join(said), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    _wrap(place.outer, outer)
    _wrap(place.inner, inner)
    raise SystemExit(main(words))


def _wrap(name: str, by: Callable) -> None:
    """Every call of a function goes through `by`, which gets the function first."""
    module, _, path = name.partition(":")
    *holders, last = path.split(".")
    holder = functools.reduce(getattr, holders, import_module(module))
    call = getattr(holder, last)
    setattr(holder, last, functools.wraps(call)(lambda *given, **named: by(call, *given, **named)))
