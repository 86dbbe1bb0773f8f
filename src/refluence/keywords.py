"""The keyword arguments of `api/` as the options that they are: of a job, of the machine, where to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeVar

import torch

from refluence.data.scores import ScoreTable
from refluence.errors import InputError, did_you_mean, stated
from refluence.jobs.session import Machine, Session
from refluence.options import SetOptions, SourceOptions, TransferOptions
from refluence.run.folder import recorded_threads

T = TypeVar("T")


def asked(options: Mapping[str, Any]) -> SetOptions:
    """What a job is asked for."""
    given = {k: v for k, v in options.items() if k in names(SetOptions)}
    if isinstance(given.get("protocol"), str):
        given["protocol"] = (given["protocol"],)
    if isinstance(given.get("scores"), Path):
        given["scores"] = str(given["scores"])
    if isinstance(given.get("denoiser"), Path):
        given["denoiser"] = str(given["denoiser"])
    if isinstance(given.get("scores"), ScoreTable):
        raise InputError("scores is a table: runs name it by its file; table.save('scores.parquet') writes one")
    return SetOptions(**given)


def picked(kind: type[T], options: Mapping[str, Any]) -> T:
    """The options of one kind among those that were given."""
    return kind(**{k: v for k, v in options.items() if k in names(kind)})


def transfer(options: Mapping[str, Any]) -> TransferOptions:
    """What a transfer is asked for."""
    given = {k: v for k, v in options.items() if k in names(TransferOptions)}
    if isinstance(given.get("load_teacher"), Path):
        given["load_teacher"] = str(given["load_teacher"])
    return TransferOptions(**given)


def machine(options: Mapping[str, Any]) -> Machine:
    """How the machine is used."""
    given: dict[str, Any] = {k: str(v) if isinstance(v, torch.device) else v for k, v in options.items() if k in names(Machine)}
    return Machine(**given)


def folder(out: str | Path | None) -> Path | None:
    """`out` as a path. `InputError` for what is none."""
    if out is not None and not isinstance(out, (str, Path)):
        raise InputError(f"{stated('out', out)}: it must be a path")
    return None if out is None else Path(out)


def threads(session: Session, place: Path | None = None) -> int:
    """Those that are asked for, else those of the run that continues, else as they are."""
    recorded = 0 if place is None else recorded_threads(place)
    return session.machine.threads or recorded or torch.get_num_threads()


def names(kind: type) -> set[str]:
    """The options that a dataclass declares."""
    return {f.name for f in fields(kind)}


def check(options: Mapping[str, Any], known: set[str], where: Callable[..., object]) -> None:
    """`InputError` for an option that the function `where` does not have; it names those that it takes by name too."""
    _, *others = signature(where).parameters.values()  # the first is what it works on
    taken = {each.name for each in others if each.kind is not Parameter.VAR_KEYWORD}
    for name in options:
        if name not in known:
            here = f"{where.__name__}() has no option '{name}'"
            if name in ("guidance", "pool") and where.__name__ == "generate":
                arm = "dit+pool" if name == "pool" else f"dit+{str(options[name]).replace('influence,deviation', 'igd')}"
                raise InputError(f"{here}: it is part of the arm, rf.generate(data, '{arm}')")
            if name in names(SourceOptions):
                raise InputError(f"{here}: it says how data are read, rf.load(…, {name}=…)")
            raise InputError(f"{here}: {did_you_mean(name, sorted(known | taken))}")
