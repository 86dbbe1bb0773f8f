"""A piece of work as the machine sees it: steps, a state between two of them, and a result. It knows of no method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from refluence.clock import NOTHING, Time
from refluence.files import Json


class Event(Protocol):
    """What one step says of itself: a frozen dataclass of plain values, a line of metrics.jsonl."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def step(self) -> int:
        """The number of the step, from 0 on."""


class Artifact(Protocol):
    """What a work makes, in a folder of its own: `folder/kind`, with `files` that hold every bit of it."""

    kind: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    def save(self, folder: Path, card: Json) -> None:
        """Write it into `folder/kind`, the card last: a folder with a card is whole."""

    def __len__(self) -> int:
        """How many instances it holds."""

    @property
    def stored_bytes(self) -> int:
        """What it is paid for on disk."""


class Beside(Protocol):
    """What lies beside the artifact, such as scores.parquet."""

    def save(self, folder: Path) -> None:
        """Write its files into `folder`."""


@dataclass(frozen=True)
class Result:
    """An artifact, the facts that its card has of it, and what lies beside it."""

    artifact: Artifact
    card: Json
    beside: tuple[Beside, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Something that comes beside the steps, for an estimate: `run(n)` does `n` of its `count` units."""

    what: str
    count: float
    run: Callable[[int], object]


class Stepping(Protocol):
    """What is done in steps."""

    @property
    def total(self) -> int:
        """Steps in all."""

    @property
    def step(self) -> int:
        """Steps that are done."""

    def steps(self) -> Iterator[Event]:
        """The steps that are left. `RunError` where the work cannot go on."""


class Work(Stepping, Protocol):
    """An algorithm under way. It knows no folder, clock or terminal.

    `total` steps in all; with 0 there is nothing to step through, and the result is all of the work. `means` names fields
    of the events whose mean over the steps belongs on the card. `remedy` is what may help where numbers stop being finite.
    """

    means: ClassVar[tuple[str, ...]]
    remedy: ClassVar[str]

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""

    def result(self) -> Result:
        """What came of it, after the last step."""

    def artifact(self) -> Artifact:
        """The artifact as it stands now."""


@runtime_checkable
class Counted(Protocol):
    """A work whose steps are blocks of what users count, such as steps of an optimiser."""

    def units(self, step: int) -> int:
        """How many of those are done after so many steps."""


@dataclass(frozen=True)
class Prepared:
    """What a work needs before its first step, made once and kept in the run's folder."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    time: Time = NOTHING
    parts: dict[str, float] = field(default_factory=dict)  # the seconds of each, where there are several

    @property
    def seconds(self) -> float:
        """Those on the wall."""
        return self.time.wall
