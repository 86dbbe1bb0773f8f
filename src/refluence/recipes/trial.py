"""Does every arm of a recipe start, step and get judged? Shortened, in a folder that is thrown away."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from refluence.data.dataset import Dataset, Split
from refluence.jobs.job import ArmJob, Job
from refluence.jobs.needs import obtain, place_of
from refluence.jobs.run_job import run_job
from refluence.jobs.session import Session, usual_threads
from refluence.jobs.source_network import need_of, taught_by
from refluence.jobs.teachers import TeacherNeed
from refluence.recipes.base import Part
from refluence.recipes.making import Making, fitting
from refluence.run import device

REAL_BATCH, JUDGES = 16, 4  # images per class: real ones in a step, validation ones
UNLABELLED = 20 * REAL_BATCH  # training images without labels, in all


def try_parts(making: Making, parts: Iterable[Part], given: Mapping[str, str], steps: int) -> Iterator[str]:
    """Each arm of the parts with its first seed, that many steps, judged on validation data; a line each.

    What parts need beforehand is made once for all that need the same.
    """
    with tempfile.TemporaryDirectory() as place:
        for part in parts:
            yield from try_part(making, part, given, steps, Path(place))


def try_part(making: Making, part: Part, given: Mapping[str, str], steps: int, place: Path) -> Iterator[str]:
    """Each arm of one part; it writes into the folder `place`."""
    asked = making.comparing(part)
    asked = replace(asked, options=replace(asked.options, split="val"), transfer=replace(asked.transfer, split="val"))
    session, shared = few(making.open(part, given), part.ipc), place / "shared"
    for number, arm in enumerate(fitting(part, asked, session, making.say)):
        job, begin = asked.resolver(session.dataset)(arm, asked.seed).shortened(steps, REAL_BATCH), time.perf_counter()
        with device.threads(usual_threads(session)):
            teach_briefly(job, session, shared, steps)
            rows = run_job(job, session, place / part.name / str(number), shared)
        judged = ", ".join(row["protocol"] for row in rows)
        seconds = time.perf_counter() - begin
        yield f"{part.name}: {arm.name}: {rows[0]['iterations']} steps, judged by {judged}, {seconds:.1f} s"


def teach_briefly(job: ArmJob, session: Session, shared: Path, steps: int) -> None:
    """Put in the place of the networks that are trained on the source to label or to measure such as saw so many epochs."""
    for need in trained_first(job, session.dataset):
        if not (folder := place_of(need, session, shared)).exists():
            short = replace(need, teacher=replace(need.teacher, settings=need.teacher.settings.lasting(steps)))
            obtain(short, session, shared)
            place_of(short, session, shared).rename(folder)


def trained_first(job: ArmJob, dataset: Dataset) -> list[TeacherNeed]:
    """The teachers that the job's protocols learn from, and the network by whose features its set is measured."""
    found = [taught_by(protocol, dataset) for protocol in job.protocols if protocol.taught]
    if isinstance(job, Job) and job.quality is not None and not job.quality.weights:
        found.append(need_of(job.quality.network, dataset, job.quality.size))
    return found


def few(session: Session, ipc: int) -> Session:
    """The session with as many images per class as every arm finds enough: the published numbers need no more to start."""
    dataset = session.dataset
    train, val = spread(dataset.train, 10 * ipc + 4 * REAL_BATCH), dataset.val.first(JUDGES)
    others = None if dataset.unlabelled is None else spread(dataset.unlabelled, UNLABELLED)
    return replace(session, dataset=replace(dataset, train=train, val=val, unlabelled=others))


def spread(split: Split, count: int) -> Split:
    """So many instances of each class, at equal distances: of rows sorted by class, the first with a wrong label are all so."""
    members = [split.members(label) for label in split.labels.unique().tolist()]
    chosen = [own[torch.linspace(0, len(own) - 1, min(count, len(own))).long()] for own in members]
    return split.take(torch.cat(chosen).sort().values)
