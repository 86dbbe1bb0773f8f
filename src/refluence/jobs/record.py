"""What config.json holds: `arguments`, as `refluence distill` and `compare` take them, and `resolved`, what decides the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from refluence.arm import Arm
from refluence.digests import digest
from refluence.files import Json
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import guidance_of, methods
from refluence.jobs.job import SAMPLE, ArmJob
from refluence.jobs.session import Session, about
from refluence.models import ModelSpec
from refluence.options import JobOptions, SampleOptions, SetOptions, TransferOptions
from refluence.transfer.arms import idle, lasting
from refluence.transfer.job import Transferring

Asked = JobOptions | TransferOptions
"""What a job was resolved from."""


@dataclass(frozen=True)
class Record:
    """The two halves of config.json, plain values."""

    arguments: Json
    resolved: Json


def record_of(job: ArmJob, asked: Asked, session: Session, out: Path, facts: Json | None = None) -> Record:
    """The record of one job: of a run, or of a unit of a comparison. `facts` are those of `about`, where they are known."""
    kind, said = COMMANDS[job.command]
    shared = shared_arguments(kind, asked, job.model, session, out)
    resolved = {"unit": job.to_json(), **(facts or about(session)), **declared(job)}
    return Record({**shared, **said(job, equal_seconds.plain(job.arm)), "seed": job.seed}, resolved)


def shared_arguments(
    kind: type[JobOptions | SampleOptions | TransferOptions], asked: Asked, model: ModelSpec, session: Session, out: Path
) -> Json:
    """The arguments that a command of one job and `compare` have in common, those of `kind`; what is no text has a name.

    `model`: the network that is made, or that makes the set.
    """
    there, usual = {f.name for f in fields(asked)}, {f.name: f.default for f in fields(kind)}
    own = {name: getattr(asked, name) if name in there else default for name, default in usual.items()}
    own |= {name: model.name for name in ("model", "student") if not isinstance(own.get(name), str | None)}
    own |= {name: _named(own[name]) for name in ("teacher", "denoiser") if not isinstance(own.get(name), str | None)}
    dataset = session.dataset
    where = {"data": dataset.source, "out": str(out), "resume": False}
    return {**own, **asdict(dataset.options), **session.machine.arguments(), **where}


def _named(given: object) -> str:
    """What was given in Python, in a word."""
    return getattr(given, "__name__", type(given).__name__) + "()"


def _distill(job: ArmJob, arm: Arm) -> Json:
    if not job.plan.iterations:
        return {"method": arm.method, "weights": arm.weights}
    said = arm if arm == job.arm else arm.without({"iterations"})  # at equal seconds it has a number of its own
    return {"method": said.method, "weights": said.weights, "iterations": job.plan.iterations}


def _sample(job: ArmJob, arm: Arm) -> Json:
    return guidance_of(arm)


def _transfer(job: ArmJob, arm: Arm) -> Json:
    plan = job.plan
    assert isinstance(plan, Transferring), "of its command"
    said = arm if arm == job.arm else lasting(arm, plan.settings)  # at equal seconds: its teacher keeps the epochs asked for
    unread = {name: None for name in idle(said, plan.mechanism) if hasattr(TransferOptions, name)}
    return {**unread, "mechanism": said.name, "seeds": None}


COMMANDS: dict[str, tuple[type[JobOptions | SampleOptions | TransferOptions], Callable[[ArmJob, Arm], Json]]] = {
    "distill": (JobOptions, _distill),
    SAMPLE: (SampleOptions, _sample),
    "transfer": (TransferOptions, _transfer),
}
"""Of each command that makes one job: the options that it shares with `compare`, and how it says the arm."""


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
