"""What every command that works on data begins with: the machine prepared, the source loaded, its notes said."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refluence.compute import Compute
from refluence.data import SourceOptions, load
from refluence.fields import subset
from refluence.jobs.session import Session
from refluence.jobs.session import about as describe
from refluence.run import device as machine
from refluence.run.progress import Reporter
from refluence.run.streams import printable

SMALL = 16 * 16  # pixels of an image, at most: then a second thread costs more than it brings


def open_session(flags: Any, per_class: int | None = None) -> Session:
    """Prepare threads and device, load `flags.data` under its options, and say what the source has to tell.

    `per_class`: training images that a class must have not to be small (default: `--ipc`, else 1).
    """
    reporter = Reporter(flags.quiet)
    machine.prepare(flags.threads)
    device = machine.choose(flags.device)

    def say(note: str) -> None:
        reporter.say(f"{flags.data}: {note}")

    dataset = load(flags.data, subset(SourceOptions, flags), per_class=per_class or getattr(flags, "ipc", 1), say=say)
    if not flags.threads and device.type == "cpu" and math.prod(dataset.shape[1:]) <= SMALL:
        machine.set_threads(1)
    for note in dataset.notes[1:]:  # the first is said
        say(note)
    compute = Compute(device, flags.precision, flags.compile)
    return Session(dataset, compute, reporter, getattr(flags, "checkpoint_seconds", 10.0))


def arguments(flags: Any) -> dict[str, Any]:
    """The flags as plain values, as config.json keeps them."""
    return json.loads(json.dumps(asdict(flags), default=str))


def about(session: Session, flags: Any) -> dict[str, Any]:
    """What decides a result beside the jobs, with the data flags as they were given."""
    return describe(session, asdict(subset(SourceOptions, flags)))


def relative(path: Path) -> str:
    """A path as people say it, on one line: relative where that is shorter."""
    try:
        return printable(str(path.relative_to(Path.cwd())))
    except ValueError:
        return printable(str(path))
