"""What a job may be asked for beside its arm and its data: one declaration for keyword arguments and the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How much work, which network, and how the result is judged. None leaves a number to the method and the size.

    `ipc`: images per class. `size`: "cpu" (short and small) or "paper" (the published numbers). `protocol`: names of
    protocols, the first is the primary one. `split`: "test" for the final number, "val" for choices on the way.
    """

    ipc: int = 10
    size: str = "cpu"
    iterations: int | None = None
    real_batch: int | None = None
    inner: int | None = None
    initial: str | None = None
    allocation: str = "equal"
    model: str = "convnet"
    width: int | None = None
    norm: str | None = None
    protocol: tuple[str, ...] = ()
    nets: int | None = None
    epochs: int | None = None
    batch: int | None = None
    split: str = "test"


def options_of(flags: object) -> JobOptions:
    """The options among the flags of a command."""
    return JobOptions(**{f.name: getattr(flags, f.name) for f in fields(JobOptions) if hasattr(flags, f.name)})
