"""`refluence run RECIPE --steps N`: does every arm start, step and get judged? Shortened, in a folder that is thrown away."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

from refluence.commands.run_part import compare_flags, fitting
from refluence.commands.session import open_session
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import run_job
from refluence.jobs.session import Session
from refluence.recipes.base import Part

REAL_BATCH, JUDGES = 16, 4  # images per class: real ones in a step, validation ones


def try_part(part: Part, source: str, flags: Any) -> list[str]:
    """Each arm of the part with its first seed, judged on validation data; a line each is printed."""
    lines = []
    with tempfile.TemporaryDirectory() as place:
        asked = dataclasses.replace(compare_flags(part, source, flags, Path(place)), split="val")
        session = few(open_session(asked), part.ipc)
        for number, arm in enumerate(fitting(part, session, asked)):
            unit = shortened(resolve(asked, arm, session.dataset, asked.seed), flags.steps)
            begin = time.perf_counter()
            rows = run_job(unit, session, Path(place) / str(number))
            judged = ", ".join(row["protocol"] for row in rows)
            seconds = time.perf_counter() - begin
            lines.append(f"{part.name}: {arm.name}: {rows[0]['iterations']} steps, judged by {judged}, {seconds:.1f} s")
            print(lines[-1], flush=True)
    return lines


def few(session: Session, ipc: int) -> Session:
    """The session with as many images per class as every arm finds enough: the published numbers need no more to start."""
    dataset = session.dataset
    train, val = dataset.train.first(10 * ipc + 4 * REAL_BATCH), dataset.val.first(JUDGES)
    return dataclasses.replace(session, dataset=dataclasses.replace(dataset, train=train, val=val))


def shortened(unit: Job, steps: int) -> Job:
    """The unit with so many image steps, epochs and steps between; one network judges.

    At least two image steps a network and stage, so that what trains it in between is run too. What the unit does stays as
    published: the method, its augmentation, the width of its networks, every rate; weights begin at once.
    """
    judged = tuple(protocol.with_(epochs=min(steps, protocol.epochs)) for protocol in unit.protocols)
    return dataclasses.replace(unit, plan=unit.plan.shortened(steps, REAL_BATCH), protocols=judged, nets=1)
