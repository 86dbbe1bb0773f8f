"""Progress on the terminal: a bar with rate and time left; plain lines where there is no terminal; nothing if quiet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
LINE_EVERY = 30.0  # seconds between two plain lines


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g}/s" if speed else "", style="progress.data.speed")


class Reporter:
    """Shows long work. Everything goes to standard error, so that standard output stays usable."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet)

    def track(self, items: Iterable[T], what: str, total: int | None = None, done: int = 0) -> Iterator[T]:
        """Yield the items; `done` of `total` were finished by an earlier session."""
        if self.quiet:
            yield from items
        elif self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TextColumn("left"))
            with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as progress:
                task = progress.add_task(what, total=total, completed=done)
                for item in items:
                    yield item
                    progress.advance(task)
        else:
            yield from self._lines(items, what, total, done)

    def _lines(self, items: Iterable[T], what: str, total: int | None, done: int) -> Iterator[T]:
        start = last = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= LINE_EVERY:
                rate, last = count / (now - start), now
                left = f", {(total - done - count) / rate:.0f} s left" if total else ""
                self.say(f"{what}: {done + count}{f'/{total}' if total else ''}, {rate:.3g}/s{left}")

    def say(self, line: str) -> None:
        """One plain line."""
        if not self.quiet:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
