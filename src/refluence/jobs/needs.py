"""What jobs need before their first step: made once, under a lock, and shared by every job that needs the same.

In a comparison or recipe it lies in `OUT/shared/NAME-KEY/`, a single run keeps it in its own folder. The key is a digest of
everything that decides it, so arms and seeds that need the same find it, and others do not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refluence.errors import InputError
from refluence.files import Json, write_json, write_tensors
from refluence.jobs.job import Job, SetPlan
from refluence.jobs.ranking import FULL, RankingNeed
from refluence.jobs.session import Session, about
from refluence.run.folder import locked
from refluence.work import Prepared

KEPT = "kept.safetensors"  # in the folder of a job that prunes
TENSORS, FACTS = "tensors.safetensors", "need.json"


class Need(Protocol):
    """Something that is made before works begin: a ranking, a teacher, a denoiser, experts.

    `name` says what it is, in a word; `facts` are plain values, everything that decides it beside data and machine: two needs
    with equal facts are one.
    """

    @property
    def name(self) -> str:
        """What it is, in a word."""

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""

    def make(self, session: Session) -> dict[str, Tensor]:
        """The thing itself. The same bits for equal facts, whoever makes it."""


def pretraining(plan: SetPlan) -> int:
    """The steps of the networks, or the points, that selecting or ranking takes; 0 where there are none."""
    return plan.usual_steps or FULL.get(plan.ranking or "", 0)


def key(need: Need, session: Session) -> str:
    """Twelve digits of what decides a need."""
    facts = {"need": need.name, **need.facts, **_place(session)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def obtain(need: Need, session: Session, shared: Path | None) -> Prepared:
    """The tensors of a need, read from `shared` or made and written there; with None the session remembers them."""
    if shared is None:
        name = key(need, session)
        if name not in session.made:
            session.made[name] = _made(need, session)
        return session.made[name]
    folder = shared / f"{need.name}-{key(need, session)}"
    path = folder / TENSORS
    if path.exists():
        return _read(path)
    with locked(folder, wait=math.inf):  # another job of this comparison may make it just now
        if path.exists():
            return _read(path)
        made = _made(need, session)
        write_json(folder / FACTS, {"need": need.name, **need.facts, **_place(session)})
        write_tensors(path, made.tensors, {"seconds": str(made.seconds)})
    return made


def prepare(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> Prepared:
    """What the job needs: read from its folder or from `shared`, or made and written there.

    A job that prunes keeps `kept.safetensors` in its folder: `rows` that stay, and the `scores` of every training instance (the
    highest are best).
    """
    ranking = job.plan.ranked(job.model, job.seed)
    if ranking is None:
        return Prepared()
    path = None if folder is None else folder / KEPT
    if path is not None and path.exists():
        return _read(path)
    found = obtain(RankingNeed(ranking), session, shared)
    positions = ranking.kept(found.tensors["scores"], session.dataset)
    prepared = Prepared({"rows": session.dataset.train.rows[positions], **found.tensors}, found.seconds)
    if path is not None:
        write_tensors(path, prepared.tensors, {"seconds": str(prepared.seconds)})
    return prepared


def _made(need: Need, session: Session) -> Prepared:
    begin = time.monotonic()
    return Prepared(need.make(session), time.monotonic() - begin)


def _read(path: Path) -> Prepared:
    """What an earlier session, or another job, wrote."""
    try:
        with safe_open(path, "pt") as file:
            return Prepared({name: file.get_tensor(name) for name in file.keys()}, float(file.metadata()["seconds"]))  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not what a run wrote there ({error}); delete it to make it again") from error


def _place(session: Session) -> Json:
    """Data and machine, as far as they decide bits."""
    facts, compute = about(session)["data"], session.compute
    machine = {"device": compute.device.type, "precision": compute.precision, "compile": compute.compile}
    return {"data": facts, "machine": {**machine, "threads": torch.get_num_threads()}}
