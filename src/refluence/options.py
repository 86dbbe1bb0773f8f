"""What a job may be asked for beside its arm and its data: one declaration for keyword arguments and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from refluence.errors import InputError, did_you_mean

LEAST = {"ipc": 1, "iterations": 1, "real_batch": 1, "inner": 0, "width": 1, "nets": 1, "epochs": 1, "batch": 1}
CHOICES = {"size": ("cpu", "paper"), "allocation": ("equal", "proportional"), "split": ("test", "val")}


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How much work, which network, and how the result is judged. None leaves a number to the method and the size.

    `ipc`: images per class. `size`: "cpu" (short and small) or "paper" (the published numbers). `protocol`: names of
    protocols, the first is the primary one. `model`: a name, `FILE.py:FUNCTION`, or a function (shape, classes) ->
    `nn.Module`. `split`: "test" for the final number, "val" for choices on the way.
    """

    ipc: int = 10
    size: str = "cpu"
    iterations: int | None = None
    real_batch: int | None = None
    inner: int | None = None
    initial: str | None = None
    allocation: str = "equal"
    model: str | Callable[..., Any] = "convnet"
    width: int | None = None
    norm: str | None = None
    protocol: tuple[str, ...] = ()
    nets: int | None = None
    epochs: int | None = None
    batch: int | None = None
    split: str = "test"

    def __post_init__(self):
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None:
                check_number(name, value, least)
        for name, allowed in CHOICES.items():
            check_choice(name, getattr(self, name), allowed)


def check_number(name: str, value: object, least: int) -> None:
    """`InputError` for what is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}: it must be a whole number, at least {least}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """`InputError` for what is not one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}: {did_you_mean(str(value), allowed)}")


def options_of(flags: object) -> JobOptions:
    """The options among the flags of a command."""
    return JobOptions(**{f.name: getattr(flags, f.name) for f in fields(JobOptions) if hasattr(flags, f.name)})
