"""Rows of one prepared run: a clock from its start, checks of which each fails alone, JSON lines, a table."""

from __future__ import annotations

import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

Numbers = dict[str, float | int | str]
PATIENCE = 120.0  # seconds that one check may take
AGAIN = 5.0
HEADS = ("name", "what", "state", "s", "numbers", "note")


@dataclass(frozen=True)
class Outcome:
    """How a check ended: `state` is ok, failed or skipped, `note` one line that says why, if it is not ok."""

    state: str
    note: str = ""
    numbers: Numbers = field(default_factory=dict)
    seconds: float = 0.0


class Disagreement(Exception):  # noqa: N818
    """Numbers beyond their tolerance."""

    def __init__(self, note: str, numbers: Numbers):
        super().__init__(note)
        self.numbers = numbers


class Overdue(BaseException):
    """The time of a check is up. No `Exception`, so that no library takes it for one of its own faults."""


class Clock:
    """Seconds that are left of `minutes` since it was made."""

    def __init__(self, minutes: float):
        self.whole, self.begin = 60 * minutes, time.monotonic()

    def left(self, share: float = 1.0) -> float:
        """Until `share` of the whole has passed; negative afterwards."""
        return self.begin + share * self.whole - time.monotonic()


class Rows:
    """What was checked so far. Each row goes to the terminal and, with the machine's `facts`, to the end of `out` at once."""

    def __init__(self, clock: Clock, facts: Numbers, out: Path | None = None):
        self.clock, self.facts, self.out = clock, facts, out
        self.rows: list[tuple[str, str, Outcome]] = []
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)

    def check(
        self, name: str, what: str, work: Callable[[], Numbers], until: float = 1.0, patience: float = PATIENCE
    ) -> Outcome:
        """Add the row of `work`, which returns its numbers; see `attempt`."""
        outcome = self.add(name, what, self.attempt(work, until, patience))
        free()
        return outcome

    def attempt(self, work: Callable[[], Numbers], until: float = 1.0, patience: float = PATIENCE) -> Outcome:
        """Do `work`, unless `until` (a share of the whole time) has passed. Whatever it raises is its outcome.

        It is stopped after `patience` seconds, and at the end of the whole time.
        """
        if self.clock.left(until) <= 0:
            return Outcome("skipped", "no time left for it")
        begin = time.monotonic()
        try:
            with within(min(patience, self.clock.left())):
                numbers = work()
        except (Exception, Overdue) as error:
            note, numbers = one_line(error), getattr(error, "numbers", {})
            outcome = Outcome("failed", note, numbers, round(time.monotonic() - begin, 3))
        else:
            outcome = Outcome("ok", "", numbers, round(time.monotonic() - begin, 3))
        return outcome

    def add(self, name: str, what: str, outcome: Outcome) -> Outcome:
        """Print and write a row."""
        self.rows.append((name, what, outcome))
        print(f"{outcome.state:8}{name}: {what}  {shown(outcome.numbers)}{outcome.note}", flush=True)
        if self.out is not None:
            with self.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "what": what, **asdict(outcome), **self.facts}) + "\n")
        return outcome

    def table(self) -> str:
        """All rows as Markdown."""
        lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
        for name, what, o in self.rows:
            cells = (name, what, o.state, f"{o.seconds:.1f}", shown(o.numbers).strip(), o.note)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        return "\n".join(lines)

    def failed(self) -> int:
        """How many checks failed."""
        return sum(outcome.state == "failed" for _, _, outcome in self.rows)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Overdue` inside the block when it lasts longer (in the main thread of a Unix process; else nothing stops it)."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Overdue(f"stopped after {seconds:.0f} s")

    handler = signal.signal(signal.SIGALRM, stop)
    # once more every few seconds: what is raised in a callback of C code is printed and lost
    before, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, before, interval)
        signal.signal(signal.SIGALRM, handler)


def free() -> None:
    """Give back the memory of the accelerator that is not in use any more."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return text if isinstance(error, (Disagreement, Overdue)) else f"{type(error).__name__}: {text}"[:300]


def shown(numbers: Numbers) -> str:
    """`key value` of each."""
    cells = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())
    return "".join(f"{cell}  " for cell in cells)
