"""A training as a work (work.py) whose steps are blocks of an optimiser's: what denoisers, autoencoders and Minimax share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from refluence.errors import RunError

E = TypeVar("E")


class InBlocks(ABC, Generic[E]):
    """`iterations` steps of an optimiser, at most `block` of them between two checkpoints; an event `E` for each block."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Another seed, or precision fp32, may help, in a new run"
    what: ClassVar[str]  # it is, in a message
    block: ClassVar[int]

    def __init__(self, iterations: int):
        self.iterations, self.step = iterations, 0

    @property
    def total(self) -> int:
        """Blocks in all."""
        return -(-self.iterations // self.block)

    def units(self, step: int) -> int:
        """Steps of the optimiser after so many blocks."""
        return min(step * self.block, self.iterations)

    def steps(self) -> Iterator[E]:
        """The blocks that are left; `RunError` where numbers are no longer finite."""
        while self.step < self.total:
            event = self.trained(range(self.units(self.step), self.units(self.step + 1)))
            if not all(bool(p.isfinite().all()) for p in self.moving_parts()):
                raise RunError(f"{self.what} diverged")
            self.step += 1
            yield event

    @abstractmethod
    def trained(self, numbers: range) -> E:
        """What a block says, after these steps of the optimiser."""

    @abstractmethod
    def moving_parts(self) -> Iterable[Tensor]:
        """The parameters that are trained."""
