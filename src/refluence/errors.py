"""The ways in which a run can end early, each with one clear line: what, where, what would be right."""

import difflib
from collections.abc import Collection


class InputError(ValueError):
    """The user's input cannot be used (exit code 2). The message names the value and what would be right.

    `lines` are lines of code that would make the input usable, printed below the message as they are.
    """

    def __init__(self, message: str = "", lines: tuple[str, ...] = ()):
        super().__init__(message)
        self.lines = lines


class NoRoomError(InputError):
    """A class has fewer real images than an arm needs of it. A recipe goes on without the arm."""


class RunError(RuntimeError):
    """A run that started well had to stop (exit code 1). The message names the iteration and what to do next."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of an error about an unknown name: the nearest known one first, then all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"choose one of {', '.join(known)}"
