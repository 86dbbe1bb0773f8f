"""From what is asked for to a job: every default resolved, and what cannot run refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.data.text import refuse_texts
from refluence.errors import InputError, did_you_mean
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.protocols import protocols
from refluence.fields import of_size
from refluence.jobs import cleanable
from refluence.jobs.catalogue import FAMILIES, Declaration, methods
from refluence.jobs.job import Job, SetPlan
from refluence.jobs.measuring import check_trains, measuring
from refluence.jobs.ranking import FULL
from refluence.jobs.scores_need import EPOCHS, table_of
from refluence.models import network
from refluence.options import JobOptions

ITERATIONS = {"cpu": 200, "paper": 10_000}  # another number of image steps scales pre-training with it
PROTOCOLS = {"cpu": ("dc-cpu",), "paper": ("dc",)}


def resolve(asked: JobOptions, arm: Arm, dataset: Dataset, seed: int, declared: Declaration | None = None) -> Job:
    """The job of an arm and a seed on a dataset. `declared`: a method that is not one of the package's.

    Raises:
        InputError: what cannot run; `NoRoomError` where a class has too few images for this arm.
    """
    refuse_texts(dataset, f"arm '{arm.name}'")
    method, of_width = declared or methods()[arm.method], {"convnet": of_size(asked, "width")}
    model = network(asked.model, dataset.shape, len(dataset.classes), asked.width, asked.norm, **of_width)
    plan = FAMILIES[type(method)].plan(arm, method, asked, dataset)
    plan = plan.for_data(dataset).with_table(table_of(asked.scores))
    if asked.iterations is not None:
        plan = _in_proportion(plan, asked.iterations / ITERATIONS[asked.size])
    chosen = choose_protocols(asked.protocol, asked.epochs, asked.batch, PROTOCOLS[asked.size])
    job = Job(seed, plan, model, arm, asked.ipc, chosen, of_size(asked, "nets"), asked.split, measuring(asked, dataset))
    if taught := next((protocol.name for protocol in chosen if protocol.taught), None):
        check_trains(dataset, f"protocol {taught}")
    plan.check_data(dataset, job.counts(dataset))
    cleanable.check(job, dataset)
    return job


def _in_proportion(plan: SetPlan, share: float) -> SetPlan:
    """Training of networks that choose or rank grows and shrinks with the image steps, that of those that score shrinks.

    `share`: of the usual number of image steps.
    """

    def steps(full: int) -> int | None:
        return max(1, round(full * share)) if full else None

    plan = plan.in_steps(steps(plan.usual_steps), steps(FULL.get(plan.ranking or "", 0)))
    if plan.table is not None and plan.table.file is None and share < 1:
        plan = replace(plan, table=replace(plan.table, epochs=steps(EPOCHS)))
    return plan


def choose_protocols(
    names: Sequence[str], epochs: int | None, batch: int | None, default: tuple[str, ...]
) -> tuple[Protocol, ...]:
    """The named protocols, else the default ones, with other epochs and batch where these are given."""
    known = protocols()
    for name in names:
        if name not in known:
            raise InputError(f"unknown protocol '{name}': {did_you_mean(name, sorted(known))}")
    return tuple(known[name].with_(epochs=epochs, batch=batch) for name in dict.fromkeys(names or default))
