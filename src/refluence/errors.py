"""The ways in which a run can end early, each with one clear line: what, where, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePath

SHOWN = 100  # characters of a value that a message says at most
_flags = False  # whether options are called by the names of flags
_names: dict[str, str] = {}  # of options that have another name for who called


class InputError(ValueError):
    """The user's input cannot be used (exit code 2). The message names the value and what would be right.

    Args:
        message: one line.
        lines: lines of code that would make the input usable, printed below the message as they are.

    Example:
        >>> import refluence as rf
        >>> rf.distill("digits", "dmm")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        InputError: unknown method 'dmm' in arm 'dmm': did you mean dm? choose one of ...
    """

    def __init__(self, message: str = "", lines: tuple[str, ...] = ()):
        super().__init__(message)
        self.lines = lines


class NoRoomError(InputError):
    """A class has fewer real images than an arm needs of it. A recipe goes on without the arm."""


class RunError(RuntimeError):
    """A run that started well had to stop (exit code 1). The message names the iteration and what to do next.

    Example:
        >>> import refluence as rf
        >>> rf.distill("digits", "dm:image_lr=1e30", ipc=1, iterations=5, width=4)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        RunError: dm:image_lr=1e30, seed 0: ... not finite at iteration ...
    """


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name: the nearest known one first, then all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"choose one of {', '.join(known)}"


def says_flags() -> bool:
    """Whether options are called by the names of flags here."""
    return _flags


def say_flags(flags: bool) -> None:
    """From now on call options by the names of flags, or not: a worker speaks as the process that started it."""
    global _flags
    _flags = flags


@contextmanager
def in_flags() -> Iterator[None]:
    """Options are called as on the command line inside the block: it is who called."""
    before = says_flags()
    say_flags(True)
    try:
        yield
    finally:
        say_flags(before)


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Inside the block messages call some options otherwise: of a transfer's two networks, `model` is `teacher` or `student`.

    Example:
        >>> with called(model="teacher"):
        ...     option("model", "NET.py:big")
        "teacher='NET.py:big'"
    """
    global _names
    before = _names
    _names = {**before, **names}
    try:
        yield
    finally:
        _names = before


def option(name: str, value: object = None) -> str:
    """An option in the words of who called, with a value that would be right: `image_size=32`, `--image-size 32`.

    Example:
        >>> option("small_classes", "cap")
        "small_classes='cap'"
        >>> with in_flags():
        ...     option("small_classes", "cap")
        '--small-classes cap'
    """
    name = _names.get(name, name)
    flag = f"--{name.replace('_', '-')}"
    if value is None:
        return flag if _flags else name
    return f"{flag} {value}" if _flags else f"{name}={_written(value)}"


def again() -> str:
    """What continues a run that was stopped."""
    return "the same command with --resume" if _flags else "the same call"


def stated(name: str, value: object) -> str:
    """An option and the value that it has: `ipc is 0`, on the command line `--ipc 0`."""
    if _flags:
        return f"{option(name)} {value}"
    written = " ".join(_written(value).split())
    return f"{_names.get(name, name)} is {written if len(written) <= SHOWN else f'{written[:SHOWN]} …'}"


def _written(value: object) -> str:
    return repr(str(value) if isinstance(value, PurePath) else value)
