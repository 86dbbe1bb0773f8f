"""When the mechanism `semi` sees which instances, at which rates: everything follows from the number of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refluence.seeds import Rng
from refluence.training.schedules import triangle
from refluence.transfer.batches import BLOCK, RISE
from refluence.transfer.semi_settings import SemiSettings


@dataclass
class Stream:
    """Batches of `count` instances without end: passes in random orders, of which a last, smaller batch is left out."""

    purpose: str
    count: int
    size: int
    rng: Rng
    known: tuple[int, Tensor] = field(default=(-1, torch.empty(0)), repr=False)  # the order of the pass that is under way

    def batch(self, step: int) -> Tensor:
        """Positions `(B,)`; all of them where there are no more than `size`."""
        size = min(self.size, self.count)
        number, part = divmod(step, self.count // size)
        if self.known[0] != number:
            self.known = number, torch.randperm(self.count, generator=self.rng(self.purpose, number))
        return self.known[1][part * size : (part + 1) * size]


@dataclass(frozen=True)
class SemiCourse:
    """Blocks of `length` steps at most: those in which teacher and student learn, then those on labelled instances alone."""

    settings: SemiSettings
    length: int = BLOCK

    @property
    def together(self) -> int:
        """Blocks in which both learn."""
        return -(-self.settings.steps // self.length)

    @property
    def total(self) -> int:
        """Blocks in all."""
        return self.together + -(-self.settings.tune // self.length)

    def tunes(self, block: int) -> bool:
        """Whether a block is of labelled instances alone."""
        return block >= self.together

    def block(self, number: int) -> range:
        """The steps of a block, counted from the first of its kind."""
        tunes = self.tunes(number)
        begin = (number - self.together if tunes else number) * self.length
        return range(begin, min(begin + self.length, self.settings.tune if tunes else self.settings.steps))

    def watches(self, number: int) -> bool:
        """Whether networks are measured after a block: four times, and at the end."""
        last = (self.together - 1, self.total - 1)
        return number in last or (not self.tunes(number) and (number + 1) % max(1, self.together // 4) == 0)

    def teacher_rate(self, step: int) -> float:
        """The teacher's learning rate."""
        return self._rate(step, self.settings.steps)

    def student_rate(self, step: int) -> float:
        """The student's: its schedule begins where it has waited."""
        return self._rate(step - self.settings.wait, self.settings.steps - self.settings.wait)

    def consistency(self, step: int) -> float:
        """lambda_u r(t), r rising from 1/ramp to 1."""
        how = self.settings
        return how.lambda_u * min(1.0, (step + 1) / max(1, how.ramp))

    def _rate(self, step: int, total: int) -> float:
        how = self.settings
        if how.schedule == "constant":
            return how.lr
        if how.schedule == "triangle":
            return how.lr * triangle(step + 1, total, RISE)
        if step < how.rise:
            return how.lr * (step + 1) / how.rise
        return how.lr * (1 + math.cos(math.pi * (step - how.rise) / max(1, total - how.rise))) / 2
