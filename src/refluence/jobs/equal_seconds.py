"""The control "uniform at equal seconds": the base method with as many steps as fit the seconds of its influence arm.

For an arm `dc+influence:tau=.1` it is the arm `dc:equal_seconds=influence,tau=.1`: one number of iterations for all seeds,
from the mean seconds of both arms. What was measured is written to `equal_seconds.json` once, so that a resumed run goes on
with the same number; another machine measures another one, so `repeat` takes over what the first one measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from refluence.arm import Arm, read_arm
from refluence.errors import InputError, option
from refluence.evaluate import generated, students
from refluence.files import Json, read_json, write_json
from refluence.jobs.catalogue import base_of
from refluence.jobs.job import ArmJob

OPTION = "equal_seconds"
FILE = "equal_seconds.json"
WORTH = 1.05  # an arm that costs less than this much more time needs no such control


def check(arms: list[Arm]) -> None:
    """`InputError` where there is nothing to give equal seconds to."""
    weighted = [arm for arm in arms if by_influence(arm)]
    if not weighted:
        raise InputError(f"{option('equal_seconds')} needs an arm with influence weights, such as dc+influence or joint")
    for arm in weighted:
        if base_of(arm) not in arms:
            raise InputError(
                f"{option('equal_seconds')} needs '{base_of(arm).name}' beside '{arm.name}': add it to {option('methods')}"
            )


def by_influence(arm: Arm) -> bool:
    """Whether an arm is weighted by influence, and so may have another one at equal seconds."""
    if generated.is_generated(arm):  # a pool is what has as many seconds (pool_seconds.py)
        return False
    return students.by_influence(arm) if students.is_student(arm) else arm.kind == "influence"


def jobs(
    made: Sequence[ArmJob], rows: list[Json], size: str, out: Path | None, decided: Json | None = None
) -> tuple[list[ArmJob], list[str]]:
    """The jobs of these arms, and a note on each arm. With a folder each is decided once: then equal_seconds.json is read.

    `decided`: what another folder has measured, which is taken over.
    """
    path = None if out is None else out / FILE
    known = {**(decided or {}), **(read_json(path) if path is not None and path.exists() else {})}
    if any(by_influence(job.arm) and job.arm.name not in known for job in made):
        known = {**decide(made, rows), **known}  # an arm that came later is added, the others keep their number
    if path is not None:
        write_json(path, known)
    extra, notes = [], []
    for name, found in known.items():
        cost = f"{name} took {found['ratio']:.2f} times the seconds of its base"
        if found["iterations"] is None:
            notes.append(f"{cost}: no arm at equal seconds is needed")
            continue
        notes.append(f"{cost}: the arm at equal seconds has {found['iterations']} {_counted(name)}")
        for job in made:
            if job.arm.name == name:
                plan: Any = job.plan.with_iterations(found["iterations"], size).unweighted()
                extra.append(dataclasses.replace(job, arm=control(job.arm), plan=plan))
    return sorted(extra, key=lambda job: job.seed), notes


def decide(made: Sequence[ArmJob], rows: list[Json]) -> dict[str, Json]:
    """For each influence arm: its seconds, those of its base, their ratio, and the iterations that it gives the base."""
    seconds: dict[str, list[float]] = {}
    for arm, _, spent in {(row["arm"], row["seed"], row["seconds"] - row.get("teacher_seconds", 0)) for row in rows}:
        seconds.setdefault(arm, []).append(spent)  # but for a teacher that all share
    decided: dict[str, Json] = {}
    for job in made:
        if by_influence(job.arm) and job.arm.name not in decided:
            own, base = fmean(seconds[job.arm.name]), fmean(seconds[base_of(job.arm).name])
            ratio = own / max(base, 1e-9)
            iterations = round(job.plan.iterations * ratio) if ratio > WORTH else None
            decided[job.arm.name] = {"seconds": own, "base_seconds": base, "ratio": ratio, "iterations": iterations}
    return decided


def _counted(name: str) -> str:
    """What an arm has a number of, in a word."""
    arm = read_arm(name)
    if not students.is_student(arm):
        return "iterations"
    return "steps" if arm.method == students.SEMI else "epochs"


def control(arm: Arm) -> Arm:
    """The arm at equal seconds of an arm with weights; of a mechanism of a transfer
    `kd:equal_seconds=joint,teacher_lr=.01`: its options tell it from that of another."""
    if students.is_student(arm):
        name = arm.kind if arm.kind == students.INFLUENCE else arm.method
        return Arm(base_of(arm).method, options=((OPTION, name), *arm.options))
    return Arm(arm.method, "uniform", ((OPTION, arm.kind), *arm.options))


def plain(arm: Arm) -> Arm:
    """The arm that a user could ask for: without the mark of an arm at equal seconds and its weights' options."""
    return base_of(arm) if any(key == OPTION for key, _ in arm.options) else arm
