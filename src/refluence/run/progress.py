"""Progress on the terminal: a bar with rate and time left; plain lines where there is no terminal; nothing if quiet."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, TextIO, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from refluence.errors import InputError
from refluence.run.streams import printable

T = TypeVar("T")
WIDEST = 1000  # columns that a table may have
LINE_EVERY = 30.0  # seconds between two plain lines


_waiting: list[Callable[[], None]] | None = None  # notes that are not said yet; None: none waits


@contextmanager
def notes_wait() -> Iterator[None]:
    """Notes in the block are said when work begins (`begun`) or it ends; where input is refused before, the error is alone."""
    global _waiting
    _waiting = []
    try:
        yield
    except InputError:
        _waiting = None
        raise
    finally:
        begun()


def begun() -> None:
    """Say the notes that wait, and those that come from now on at once."""
    global _waiting
    notes, _waiting = _waiting or [], None
    for note in notes:
        note()


def _note(say: Callable[[], None]) -> None:
    if _waiting is None:
        say()
    else:
        _waiting.append(say)


def one_line_warnings() -> None:
    """Show a warning as one line without its place in the code; nothing about deprecations, which are ours to mend."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, (DeprecationWarning, FutureWarning)):
            _note(partial(_print, f"refluence: note: {printable(str(message))}"))

    warnings.showwarning = show


def _print(line: str) -> None:
    with suppress(OSError):  # a log that cannot be written to does not end the work
        print(line, file=sys.stderr)


def print_table(table: Table, least: int = 0) -> None:
    """Print a table on standard output, whole: a terminal that is too narrow breaks its lines. `least` columns in a file."""
    screen = console()
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    needed = Measurement.get(screen, screen.options.update(max_width=WIDEST), table).minimum
    screen.width = max(screen.width, needed, 0 if screen.is_terminal else least)
    screen.print(table)


def console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints names as they are: brackets are no markup, colons no pictures."""
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


class Advance(Protocol):
    """Counts more of what is under way."""

    def __call__(self, units: int = 1) -> None:
        """So many more."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g}/s" if speed else "", style="progress.data.speed")


class Reporter:
    """Shows long work. Everything goes to standard error, so that standard output stays usable."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = console(stderr=True, quiet=quiet)

    @contextmanager
    def bar(self, what: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Yield a function that counts one more, or so many; `done` of `total` were finished by an earlier session."""
        begun()
        if self.quiet:
            yield lambda units=1: None
        elif self.console.is_terminal and not self.console.is_dumb_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TextColumn("left"),
            )
            with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as progress:
                task = progress.add_task(printable(what), total=total, completed=done)
                yield lambda units=1: progress.advance(task, units)
        else:
            yield _Lines(self, what, total, done).advance

    def track(self, items: Iterable[T], what: str, total: int, done: int = 0, units: Callable[[int], int] = int) -> Iterator[T]:
        """Yield the items under a bar, which counts `units` of so many items."""
        with self.bar(what, units(total), units(done)) as advance:
            for number, item in enumerate(items, done):
                yield item
                advance(units(number + 1) - units(number))

    def say(self, line: str) -> None:
        """One plain line, once notes need not wait (`notes_wait`)."""
        if not self.quiet:
            _note(partial(self.say_now, line))

    def say_now(self, line: str) -> None:
        """One plain line, before what is loaded is checked."""
        if not self.quiet:
            with suppress(OSError):  # a log that cannot be written to does not end the work
                self.console.print(printable(line), soft_wrap=True)


class _Lines:
    """A plain line now and then, for logs."""

    def __init__(self, reporter: Reporter, what: str, total: int, done: int):
        self.reporter, self.what, self.total, self.done = reporter, what, total, done
        self.start, self.last, self.count = time.monotonic(), time.monotonic(), 0

    def advance(self, units: int = 1) -> None:
        self.count += units
        now = time.monotonic()
        if now - self.last >= LINE_EVERY:
            self.last, rate, at = now, self.count / (now - self.start), self.done + self.count
            left = f"{(self.total - at) / rate:.0f} s left"
            self.reporter.say(f"{self.what}: {at}/{self.total}, {rate:.3g}/s, {left}")
