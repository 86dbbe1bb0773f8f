"""`refluence run RECIPE --steps N`: does every arm start, step and get judged? Shortened, in a folder that is thrown away."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

from refluence.commands.run_part import compare_flags, fitting
from refluence.commands.run_unit import run_unit
from refluence.commands.session import Session, open_session
from refluence.commands.unit import Unit, resolve
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
            rows = run_unit(unit, session, Path(place) / str(number))
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


def shortened(unit: Unit, steps: int) -> Unit:
    """The unit with so many image steps, epochs and steps between; one network judges.

    At least two image steps a network and stage, so that what trains it in between is run too. What the unit does stays as
    published: the method, its augmentation, the width of its networks, every rate; weights begin at once.
    """
    settings = unit.settings
    if settings is not None:
        small = {name: min(getattr(settings, name), steps) for name in ("inner", "stage_epochs", "pretrain")}
        small["outer"] = min(settings.outer, max(2, steps))
        batch = min(settings.real_batch, REAL_BATCH)
        settings = settings.with_(**small, iterations=max(steps, small["outer"] * settings.stages), real_batch=batch)
    judged = tuple(protocol.with_(epochs=min(steps, protocol.epochs)) for protocol in unit.protocols)
    weighting = unit.weighting.with_(warmup=0)
    return dataclasses.replace(unit, settings=settings, weighting=weighting, protocols=judged, nets=1, selection_steps=steps)
