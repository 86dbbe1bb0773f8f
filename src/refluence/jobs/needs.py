"""What jobs need before their first step: made once, under a lock, and shared by every job that needs the same.

In a comparison or recipe it lies in `OUT/shared/NAME-KEY/`, a single run keeps it in its own folder. The key is a digest of
everything that decides it, so arms and seeds that need the same find it, and others do not.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refluence.clock import Time
from refluence.errors import InputError
from refluence.files import Json, write_json, write_tensors
from refluence.jobs.session import Session, about
from refluence.run import checkpoint
from refluence.run.folder import locked
from refluence.work import Prepared

TENSORS, FACTS = "tensors.safetensors", "need.json"


class Need(Protocol):
    """Something that is made before works begin: a ranking, a table of scores, a teacher, a denoiser, experts.

    `name` says what it is, in a word; `facts` are plain values, everything that decides it beside data and machine: two needs
    with equal facts are one.
    """

    @property
    def name(self) -> str:
        """What it is, in a word."""

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor] | Prepared:
        """The thing itself. The same bits for equal facts, whoever makes it. What takes long keeps checkpoints in `folder`.

        `Prepared` where it is made of another need: its `time` is what to add to the one that passed here.
        """


def key(need: Need, session: Session) -> str:
    """Twelve digits of what decides a need."""
    facts = {"need": need.name, **need.facts, **_place(session)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def place_of(need: Need, session: Session, shared: Path) -> Path:
    """The folder of a need among those that jobs share."""
    return shared / f"{need.name}-{key(need, session)}"


def obtain(need: Need, session: Session, shared: Path | None) -> Prepared:
    """The tensors of a need, read from `shared` or made and written there; with None the session remembers them."""
    if shared is None:
        name = key(need, session)
        if name not in session.made:
            session.made[name] = _made(need, session, None)
        return session.made[name]
    folder = place_of(need, session, shared)
    path = folder / TENSORS
    if path.exists():
        return read_prepared(path)
    with locked(folder, wait=math.inf):  # another job of this comparison may make it just now
        if path.exists():
            return read_prepared(path)
        made = _made(need, session, folder)
        write_json(folder / FACTS, {"need": need.name, **need.facts, **_place(session)})
        write_prepared(path, made)
    return made


def _made(need: Need, session: Session, folder: Path | None) -> Prepared:
    begin, before = Time.now(), Time() if folder is None else checkpoint.time_spent(folder)
    found = need.make(session, folder)
    made = found if isinstance(found, Prepared) else Prepared(found)
    return Prepared(made.tensors, made.time + before + Time.now() - begin)


def write_prepared(path: Path, made: Prepared) -> None:
    """The tensors, with how long they took."""
    write_tensors(path, made.tensors, {name: str(value) for name, value in made.time.facts().items()})


def read_prepared(path: Path) -> Prepared:
    """What an earlier session, or another job, wrote."""
    try:
        with safe_open(path, "pt") as file:
            return Prepared({name: file.get_tensor(name) for name in file.keys()}, Time.read(file.metadata()))  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not what a run wrote there ({error}); delete it to make it again") from error


def _place(session: Session) -> Json:
    """Data and machine, as far as they decide bits."""
    facts, compute = about(session)["data"], session.compute
    machine = {"device": compute.device.type, "precision": compute.precision, "compile": compute.compile}
    return {"data": facts, "machine": {**machine, "threads": torch.get_num_threads()}}
