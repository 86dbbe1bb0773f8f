"""The data of a finished run, or another source to judge or score its set on."""

from __future__ import annotations

from refluence.commands.flags import Evaluate, Score
from refluence.commands.session import machine_of, open_source
from refluence.data import SourceOptions
from refluence.fields import subset
from refluence.jobs.open_run import Finished, check_fits, data_of
from refluence.jobs.session import Session


def open_data(run: Finished, flags: Evaluate | Score) -> tuple[Session, str]:
    """A session on `flags.data`, or on the run's own data, read as the run read it; its name. Classes and shape must fit."""
    source, options, per_class = data_of(run, flags.data, subset(SourceOptions, flags))
    session = open_source(source, options, machine_of(flags), per_class)
    check_fits(source, session.dataset, run.small)
    return session, source
