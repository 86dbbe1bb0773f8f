"""What was watched over a run (watch.py): the last scoring, the means over all, and one warning where weights go wrong."""

from __future__ import annotations

import warnings
from dataclasses import astuple, fields

import torch
from torch import Tensor

from refluence.files import Json
from refluence.transfer.watch import Watched, remedy

NAMES = tuple(f.name for f in fields(Watched))
OF_CARD = ("ess", "below_one", "chi_square", "gain_weighing", "gain_watching")


class WatchedRun:
    """Numbers of every scoring so far. `gains`: whether the student's own instances are weighted, so that a step tells."""

    def __init__(self, gains: bool):
        self.gains, self.warned = gains, False
        self.last, self.sums = (torch.zeros(len(NAMES), dtype=torch.float64) for _ in range(2))
        self.count = torch.zeros((), dtype=torch.int64)

    def add(self, watched: Watched, omega: Tensor) -> None:
        """Of one scoring, with the weights `(n,)` that it gave: the first that are out of order are warned of."""
        self.last.copy_(torch.tensor(astuple(watched), dtype=torch.float64))
        self.sums += self.last
        self.count += 1
        if not self.warned and (what := remedy(omega)) is not None:
            self.warned = True
            warnings.warn(what, stacklevel=2)

    def newest(self) -> dict[str, float]:
        """The fields of an event, of the last scoring; {} before the first."""
        return self._named(self.last) if self.count else {}

    def facts(self) -> Json:
        """Means over all scorings: even weights where there was none."""
        found = self._named(self.sums / self.count) if self.count else {"ess": 1.0, "below_one": 0.0, "chi_square": 0.0}
        return {name: found.get(name) for name in OF_CARD}

    def _named(self, numbers: Tensor) -> dict[str, float]:
        named = dict(zip(NAMES, numbers.tolist(), strict=True))
        return {name: x for name, x in named.items() if self.gains or not name.startswith("gain")}

    def state(self) -> dict[str, Tensor]:
        """Tensors that restore it."""
        return {"last": self.last, "sums": self.sums, "count": self.count}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name in ("last", "sums", "count"):
            getattr(self, name).copy_(state[name])
