"""What every command that works on data begins with: the machine prepared, the source loaded, its notes said."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from refluence.commands.flags import Compare, Distill, GenerateFinetune, GenerateSample, GenerateTrain, Score, Transfer
from refluence.commands.own_flags import LongFlags, MachineFlags
from refluence.data import SourceOptions
from refluence.fields import subset
from refluence.files import Json
from refluence.jobs.resolve_student import rows_of_size
from refluence.jobs.session import Machine, Session, usual_threads
from refluence.jobs.session import open_session as open_data
from refluence.options import MachineOptions
from refluence.run import device
from refluence.run.streams import printable

Flags = Compare | Distill | GenerateTrain | GenerateFinetune | GenerateSample | Score | Transfer


def open_session(flags: Flags, per_class: int | None = None, threads: int = 0, students: bool = False) -> Session:
    """Prepare threads and device, load `flags.data` under its options, and say what the source has to tell.

    `per_class`: training images that a class must have not to be small (default: `--ipc` of a set, else 1). `threads`: those
    of the run that continues, where none are asked for. `students`: what is made of the data, which at size cpu are only so
    many rows.
    """
    assert flags.data is not None, "checked before"
    ipc = flags.ipc if isinstance(flags, (Compare, Distill, GenerateSample)) and not students else 1
    options = subset(SourceOptions, flags)
    if students and isinstance(flags, (Compare, Transfer)):
        options = rows_of_size(options, flags.size)
    return open_source(flags.data, options, machine_of(flags, threads), per_class or ipc)


def open_source(data: str, options: SourceOptions, how: Machine, per_class: int = 1) -> Session:
    """The session of a command on a source; where the number of threads is open, small images get one."""
    device.prepare(how.threads)
    session = open_data(data, how, options, per_class=per_class)
    device.set_threads(usual_threads(session))
    return session


def machine_of(flags: MachineFlags, threads: int = 0) -> Machine:
    """How the flags ask to compute."""
    asked = {**asdict(subset(MachineOptions, flags)), "threads": flags.threads or threads, "progress": not flags.quiet}
    how = Machine(**asked)
    return replace(how, checkpoint_seconds=flags.checkpoint_seconds) if isinstance(flags, LongFlags) else how


def arguments(flags: object) -> Json:
    """The flags as plain values, as config.json keeps them."""
    return json.loads(json.dumps(vars(flags), default=str))


def relative(path: Path) -> str:
    """A path as people say it, on one line: relative where that is shorter."""
    try:
        return printable(str(path.relative_to(Path.cwd())))
    except ValueError:
        return printable(str(path))
