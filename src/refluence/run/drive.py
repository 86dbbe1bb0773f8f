"""A work driven to its end: from the start or the last checkpoint, with metrics, a check of its numbers, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from refluence.clock import NOTHING, Time
from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.run import checkpoint
from refluence.run.device import PeakMemory
from refluence.run.folder import METRICS, Metrics
from refluence.run.progress import Reporter, begun
from refluence.work import Counted, Event, Result, Work


@dataclass(frozen=True)
class Driver:
    """How works are driven: on which device memory is measured, who shows progress, seconds between two checkpoints."""

    device: torch.device
    reporter: Reporter
    checkpoint_seconds: float = 10.0


def drive(work: Work, folder: Path | None, what: str, driver: Driver, before: Time = NOTHING) -> tuple[Result, Json]:
    """Do what is left of a work.

    Args:
        work: new; where `folder` has a checkpoint, it continues from there.
        folder: where `metrics.jsonl` and `checkpoint/` go; None writes nothing.
        what: the work as messages call it.
        driver: the machine's part.
        before: what was spent on it already, beside its steps.

    Returns:
        Its result, and its costs over all sessions: `seconds` on the wall, `cpu_seconds` of processors, `peak_bytes`,
        and the means of the fields that it names.

    Raises:
        InputError: a checkpoint of another version.
        RunError: numbers that are no longer finite; the line names the iteration and the last good checkpoint.
    """
    spent = _Spent(work, driver.device, before)
    if not work.total:
        result = work.result()
        spent.step(None)
        return result, spent.summary(0)
    if folder is not None and (saved := checkpoint.load(folder)):
        try:
            work.restore(saved[0])
        except KeyError as missing:
            path = folder / checkpoint.NAME
            raise InputError(
                f"{path} is not a checkpoint of this version (no {missing}); delete it to start again"
            ) from missing
        spent.restore(saved[1])
        if 0 < work.step < work.total:
            driver.reporter.say(f"{what}: goes on after {_units(work)(work.step)} of {_units(work)(work.total)} steps")
    metrics = None if folder is None else Metrics(folder / METRICS, work.step)
    last = time.monotonic()
    begun()
    try:
        for event in driver.reporter.track(_steps(work, folder, what), what, work.total, work.step, _units(work)):
            spent.step(event)
            if metrics is None or folder is None:
                continue
            metrics.write({**asdict(event), "seconds": round(spent.time.wall, 3)})
            if time.monotonic() - last >= driver.checkpoint_seconds and _finite(work):
                checkpoint.save(folder, work.state(), spent.state())
                last = time.monotonic()
    finally:
        if metrics is not None:
            metrics.close()
    if folder is not None:
        checkpoint.save(folder, work.state(), spent.state())
    costs = spent.summary(work.total)
    return work.result(), costs


def _steps(work: Work, folder: Path | None, what: str) -> Iterator[Event]:
    """The steps that are left; a work that cannot go on ends with its last good checkpoint and what may help."""
    try:
        yield from work.steps()
    except RunError as error:
        saved = None if folder is None else checkpoint.load(folder)
        done = None if saved is None else _units(work)(int(saved[0]["step"]))
        good = f"{folder / checkpoint.NAME}, after {done} iterations" if saved and folder else "none yet"
        raise RunError(f"{what}: {error}; last good checkpoint: {good}. {work.remedy}") from None


def _units(work: Work) -> Callable[[int], int]:
    """What users count, after so many steps."""
    return work.units if isinstance(work, Counted) else int


def _finite(work: Work) -> bool:
    """Whether a run could continue from a checkpoint taken now: the next step may not have noticed yet."""
    return all(bool(tensor.isfinite().all()) for tensor in work.state().values())


class _Spent:
    """Times, peak memory and the sums of what the card has means of, over all sessions of a work."""

    def __init__(self, work: Work, device: torch.device, before: Time):
        self.memory, self.begin = PeakMemory(device), Time.now()
        self.before, self.time, self.peak = before, before, 0
        self.sums = dict.fromkeys(work.means, 0.0)

    def step(self, event: Event | None) -> None:
        self.time = self.before + Time.now() - self.begin
        for name in self.sums if event is not None else ():
            self.sums[name] += getattr(event, name)

    def state(self) -> Json:
        return {**self.time.facts(), **self.sums, "peak": max(self.peak, self.memory.bytes())}

    def restore(self, state: Json) -> None:
        self.before = self.time = Time.read(state)
        self.peak, self.sums = state["peak"], {name: state[name] for name in self.sums}

    def summary(self, steps: int) -> Json:
        state = self.state()
        means = {name: total / steps for name, total in self.sums.items() if steps}
        return {**self.time.rounded(), "peak_bytes": state["peak"], **means}
