"""Progress of scores: a line for each network of a fold; the rows of a trained network under one bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from refluence.run.progress import Reporter
from refluence.score.folds_work import ScoredFold
from refluence.score.trained_work import ScoredRows

Item = TypeVar("Item")


class ByNetwork(Reporter):
    """Shows the events of scores."""

    def track(
        self, items: Iterable[Item], what: str, total: int, done: int = 0, units: Callable[[int], int] = int
    ) -> Iterator[Item]:
        """Yield the events; those of rows under a bar, after the solve, which has its own."""
        events, begin = iter(items), time.monotonic()
        for number, event in enumerate(events, done + 1):
            yield event
            if isinstance(event, ScoredFold):
                left = (total - number) * (time.monotonic() - begin) / (number - done)
                more = f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left else ""
                self.say(f"network {number} of {total}: {event.accuracy:.1f} % validation accuracy{more}")
            if isinstance(event, ScoredRows):
                if not event.step:
                    self.say(f"network 1 of 1: {event.accuracy:.1f} % validation accuracy")
                yield from super().track(events, "scoring", total, number, units)
