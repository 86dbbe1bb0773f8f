"""The data of a finished run, or another source to judge or score its set on."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from refluence.commands.session import open_session
from refluence.data import SourceOptions
from refluence.jobs.open_run import Finished, check_fits
from refluence.jobs.session import Session


def open_data(run: Finished, flags: Any) -> tuple[Session, str]:
    """A session on `flags.data`, or on the run's own data, read as the run read it; its name. Classes and shape must fit."""
    asked = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
    if flags.data is None:
        defaults = {f.name: f.default for f in dataclasses.fields(SourceOptions)}
        left = {k: v for k, v in run.data["options"].items() if k in defaults and asked.get(k, defaults[k]) == defaults[k]}
        asked |= left | {"data": run.data["source"]}
    elif asked.get("image_size") is None:
        asked["image_size"] = run.data["options"].get("image_size")
    # at least one image a class is enough to judge or to score; the classes of the run are compared below
    session = open_session(SimpleNamespace(**asked, **({} if flags.data else {"ipc": run.job.ipc})))
    check_fits(asked["data"], session.dataset, run.small)
    return session, asked["data"]
