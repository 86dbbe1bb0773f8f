"""A finished run, opened to be judged, scored or repeated: its set, its unit, and the data that it was made from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from refluence.commands.run_unit import finished
from refluence.commands.session import Session, open_session
from refluence.commands.unit import unit_from
from refluence.data import DistilledSet, SourceOptions, load_distilled, read_card
from refluence.errors import InputError
from refluence.influence.weighting import BY_INFLUENCE, Weighting
from refluence.models import ModelSpec
from refluence.run.folder import configuration


@dataclass(frozen=True)
class Finished:
    """`unit` as `unit_from` gives it, `data` as config.json describes it."""

    folder: Path
    small: DistilledSet
    unit: dict[str, Any]
    data: dict[str, Any]

    @property
    def model(self) -> ModelSpec:
        """The network of the run."""
        return ModelSpec(**{**self.unit["model"], "shape": tuple(self.unit["model"]["shape"])})

    @property
    def weighting(self) -> Weighting:
        """How the run weighted; influence weights with their defaults where it did not weight."""
        kind = self.unit["weighting"]["kind"]
        return Weighting(**{**self.unit["weighting"], "kind": kind if kind in BY_INFLUENCE else "influence"})


def open_finished(folder: Path) -> Finished:
    """The run in `folder`; `InputError` where there is none, or one that is a comparison or not finished."""
    config = configuration(folder)
    if config["command"] == "run":
        raise InputError(f"{folder} holds a recipe: name one of its units, {folder}/PART/units/ARM/SEED")
    if config["command"] == "compare":
        raise InputError(f"{folder} holds a comparison: name one of its units, {folder}/units/ARM/SEED")
    require_finished(folder, config)
    read_card(folder / "distilled")
    return Finished(
        folder, load_distilled(folder / "distilled"), unit_from(config["resolved"]["unit"]), config["resolved"]["data"]
    )


def require_finished(folder: Path, config: dict[str, Any]) -> None:
    """`InputError` for a run that was stopped before its end."""
    done = (folder / "results.json").exists() if config["command"] in ("compare", "run") else finished(folder)
    if not done:
        raise InputError(f"the run in {folder} is not finished: the same `refluence {config['command']}` with --resume ends it")


def open_data(run: Finished, flags: Any) -> tuple[Session, str]:
    """A session on `flags.data`, or on the run's own data, read as the run read it; its name. Classes and shape must fit."""
    asked = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
    if flags.data is None:
        defaults = {f.name: f.default for f in dataclasses.fields(SourceOptions)}
        left = {k: v for k, v in run.data["options"].items() if k in defaults and asked.get(k, defaults[k]) == defaults[k]}
        asked |= left | {"data": run.data["source"]}
    elif asked.get("image_size") is None:
        asked["image_size"] = run.data["options"].get("image_size")
    # at least one image a class is enough to judge or to score; the classes of the run are compared below
    session = open_session(SimpleNamespace(**asked, **({} if flags.data else {"ipc": run.unit["ipc"]})))
    dataset, small, name = session.dataset, run.small, asked["data"]
    if dataset.classes != small.classes:
        raise InputError(
            f"{name} has the classes {_few(dataset.classes)}, the distilled set {_few(small.classes)}: they must be the same"
        )
    if dataset.shape != tuple(small.images.shape[1:]):
        raise InputError(
            f"{name} has images of {_shape(dataset.shape)}, the distilled set of {_shape(tuple(small.images.shape[1:]))}: "
            "they must be the same (--image-size resizes)"
        )
    return session, name


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)})" if len(names) > 5 else "")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
