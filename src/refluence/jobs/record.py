"""What config.json holds: `arguments`, as `refluence distill` and `compare` take them, and `resolved`, what decides the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from refluence.digests import digest
from refluence.files import Json
from refluence.generate.beforehand import called_by
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import guidance_of, methods
from refluence.jobs.job import ArmJob, Job, StudentJob
from refluence.jobs.session import Session, about
from refluence.models import ModelSpec
from refluence.options import JobOptions, SampleOptions, SetOptions, TransferOptions

SAMPLE = "generate sample"
"""The command of a set that is sampled."""


@dataclass(frozen=True)
class Record:
    """The two halves of config.json, plain values."""

    arguments: Json
    resolved: Json


def command_of(job: ArmJob) -> str:
    """The command that makes the job by itself."""
    if isinstance(job, StudentJob):
        return "transfer"
    return SAMPLE if job.plan.family == "generate" else "distill"


def distilling(job: Job, asked: JobOptions, session: Session, out: Path, facts: Json | None = None) -> Record:
    """The record of one job: of a run, or of a unit of a comparison. `facts` are those of `about`, where they are known."""
    own = equal_seconds.plain(job.arm)
    resolved = {"unit": job.to_json(), **(facts or about(session)), **declared(job)}
    if job.plan.family == "generate":
        shared = shared_arguments(SampleOptions, asked, job.model, session, out)
        return Record({**shared, **guidance_of(own), "seed": job.seed}, resolved)
    which = {"method": own.method, "weights": own.weights, "seed": job.seed}
    iterations = job.plan.iterations or asked.iterations  # an arm at equal seconds has a number of its own
    shared = shared_arguments(JobOptions, asked, job.model, session, out)
    return Record({**shared, **which, "iterations": iterations}, resolved)


def shared_arguments(
    kind: type[JobOptions | SampleOptions], asked: JobOptions, model: ModelSpec, session: Session, out: Path
) -> Json:
    """The arguments that `distill` and `compare` have in common, those of `kind`; a network that is no text has the name of its
    spec."""
    there, usual = {f.name for f in fields(asked)}, {f.name: f.default for f in fields(kind)}
    own = {name: getattr(asked, name) if name in there else default for name, default in usual.items()}
    own["model"] = asked.model if isinstance(asked.model, str) else model.name
    if "denoiser" in own:
        own["denoiser"] = called_by(own["denoiser"])
    dataset = session.dataset
    where = {"data": dataset.source, "out": str(out), "resume": False}
    return {**own, **asdict(dataset.options), **session.machine.arguments(), **where}


def transferring(job: StudentJob, asked: TransferOptions, session: Session, out: Path, facts: Json | None = None) -> Record:
    """The record of one job of a transfer: of a run, or of a unit of a comparison."""
    own = equal_seconds.plain(job.arm)
    shared = transfer_arguments(asked, job, session, out)
    epochs = job.plan.iterations if own != job.arm else asked.epochs
    resolved = {"unit": job.to_json(), **(facts or about(session)), **declared(job)}
    return Record({**shared, "mechanism": own.name, "seed": job.seed, "seeds": None, "epochs": epochs}, resolved)


def transfer_arguments(asked: TransferOptions, job: StudentJob, session: Session, out: Path) -> Json:
    """The arguments that `transfer` and a `compare` of students have in common; networks that are no text have a name."""
    own = {f.name: getattr(asked, f.name) for f in fields(TransferOptions)}
    own["student"] = asked.student if isinstance(asked.student, str | None) else job.model.name
    if not isinstance(asked.teacher, str | None):
        own["teacher"] = getattr(asked.teacher, "__name__", type(asked.teacher).__name__) + "()"
    dataset = session.dataset
    where = {"data": dataset.source, "out": str(out), "resume": False}
    return {**own, **asdict(dataset.options), **session.machine.arguments(), **where}


def transfer_from(arguments: Json) -> TransferOptions:
    """What was asked of a transfer in a run whose config.json has these arguments."""
    return TransferOptions(**{f.name: arguments[f.name] for f in fields(TransferOptions) if f.name in arguments})


def options_from(arguments: Json) -> SetOptions:
    """What was asked for in a run whose config.json has these arguments."""
    known: Json = {f.name: arguments[f.name] for f in fields(SetOptions) if f.name in arguments}
    if known.get("memory", 0) is None:
        known["memory"] = "all"  # earlier versions had no word for it
    return SetOptions(**{**known, "protocol": tuple(known.get("protocol") or ())})


def declared(job: ArmJob) -> Json:
    """A method of one's own by digest: JSON cannot hold it, and another object is another run."""
    return {} if job.arm.method in methods() else {"declared": digest(job.plan.declared)}
