"""How long something took: seconds on the wall, which a busy machine stretches, and of processors.

Those of one thread it hardly stretches. Several threads that share cores wait for each other at work, and that counts too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Time:
    """Two times of one thing, in seconds.

    Args:
        wall: by the clock on the wall.
        cpu: of processors, all threads of this process together; nan where it is not known, as of what earlier versions made.

    Example:
        >>> both = Time(2.0, 3.5) + Time(1.0, 0.5)
        >>> both.rounded()
        {'seconds': 3.0, 'cpu_seconds': 4.0}
        >>> (both + Time.read({"seconds": "1"})).rounded()
        {'seconds': 4.0}
    """

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Time) -> Time:
        return Time(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Time) -> Time:
        return Time(self.wall - other.wall, self.cpu - other.cpu)

    @classmethod
    def now(cls) -> Time:
        """The clocks as they stand: only differences mean something."""
        return cls(time.monotonic(), time.process_time())

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Time:
        """The inverse of `facts`, whose values may be texts. `KeyError` and `ValueError` for what has no seconds."""
        return cls(float(facts["seconds"]), float(facts.get("cpu_seconds", math.nan)))

    def facts(self) -> dict[str, float]:
        """`seconds`, and `cpu_seconds` where they are known, to the last bit."""
        return {"seconds": self.wall, **({} if math.isnan(self.cpu) else {"cpu_seconds": self.cpu})}

    def rounded(self) -> dict[str, float]:
        """The same to a millisecond, as cards have it."""
        return {name: round(value, 3) for name, value in self.facts().items()}


NOTHING = Time()
