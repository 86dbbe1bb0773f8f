"""One unit: an arm and a seed, with everything that decides its result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from refluence.commands.arms import Arm, methods
from refluence.condense.method import Method, Settings
from refluence.condense.networks import OnSynthetic
from refluence.condense.pdd import SHORT_EPOCHS
from refluence.condense.prune import check_share
from refluence.data import Dataset, allocate
from refluence.errors import InputError
from refluence.evaluate.protocols import Protocol, protocols
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec, width_beside
from refluence.select.influence import STEPS as POINTS
from refluence.select.selection import Selection
from refluence.select.tiles import check_room
from refluence.select.young_networks import STEPS

ITERATIONS = {"cpu": 200, "paper": 10_000}  # another number of image steps scales a selection's pre-training with it


@dataclass(frozen=True)
class Unit:
    """Everything that decides a unit's result, resolved: no default is left open."""

    arm: Arm
    seed: int
    ipc: int
    settings: Settings | None  # None: the arm selects real images
    weighting: Weighting
    model: ModelSpec
    protocols: tuple[Protocol, ...]
    nets: int
    split: str
    selection_steps: int | None = None  # of the networks of a selection, or of what prunes; None: their default
    allocation: str | None = None  # of a selection's images over the classes; None: equal, or that of the settings
    factor: int = 1  # factor^2 reduced real images in the room of one, of a selection

    @property
    def what(self) -> str:
        """The unit as messages call it."""
        return f"{self.arm.name} seed {self.seed}"

    def counts(self, dataset: Dataset) -> tuple[int, ...]:
        """Images that are stored of each class: the same numbers for every arm of a comparison."""
        members = [len(dataset.train.members(c)) for c in range(len(dataset.classes))]
        asked = self.settings.allocation if self.settings is not None else self.allocation
        return allocate(members, self.ipc, asked or "equal")

    def describe(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return _plain({**asdict(self), "arm": self.arm.name})


def _plain(value: Any) -> Any:
    """The same without infinities, which JSON has no word for."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if value in (math.inf, -math.inf) else value


def resolve(flags: Any, arm: Arm, dataset: Dataset, seed: int) -> Unit:
    """Turn flags (a mixture of size, evaluation and data flags) into a unit; refuses what cannot run."""
    method, paper = methods()[arm.method], flags.size == "paper"
    width = flags.width if flags.width is not None else width_beside(flags.model, 128 if paper else 32)
    model = ModelSpec(flags.model, dataset.shape, len(dataset.classes), width=width, norm=flags.norm)
    settings, allocation, own, weighting = None, None, arm.chosen(), arm.weighting()
    full, steps = method.steps if isinstance(method, Selection) else pruning_steps(weighting), own.get("steps")
    if steps is None and flags.iterations is not None and full:
        steps = max(1, round(full * flags.iterations / ITERATIONS[flags.size]))
    if isinstance(method, Selection):
        allocation = flags.allocation if flags.allocation != "equal" else None
    if isinstance(method, Method):
        asked = {k: getattr(flags, k) for k in ("iterations", "real_batch", "inner", "initial", "allocation")}
        published = method.settings(flags.ipc, flags.size, dataset.shape)
        asked |= {"stage_epochs": None if paper or "stages" not in dict(arm.options) else SHORT_EPOCHS}
        settings = arm.settings(published.with_(**{k: v for k, v in asked.items() if v is not None}))
        settings = in_proportion(settings, settings.iterations / published.iterations, arm, flags.size)
        check_training(arm, method, settings)
    nets = flags.nets if flags.nets is not None else (5 if paper else 3)
    chosen = choose_protocols(flags, ("dc",) if paper else ("dc-cpu",))
    judged, factor = (model, chosen, nets, flags.split), own.get("factor", 1)
    unit = Unit(arm, seed, flags.ipc, settings, weighting, *judged, steps, allocation, factor)
    if factor > 1:
        check_room(dataset, unit.counts(dataset), factor)
    elif weighting.prunes:
        check_share(dataset, unit.counts(dataset), weighting.keep)
    return unit


def in_proportion(settings: Settings, share: float, arm: Arm, size: str) -> Settings:
    """Training beforehand grows and shrinks with the image steps at size `cpu`, but for what the arm itself says of it.

    `share`: the image steps over those before. `stage_epochs` only where a run has several stages.
    """
    if size == "paper":
        return settings
    beforehand = {"pretrain": settings.pretrain, "stage_epochs": settings.stage_epochs if settings.stages > 1 else 0}
    own = dict(arm.options)
    return settings.with_(**{k: max(1, round(share * n)) for k, n in beforehand.items() if n and k not in own})


def pruning_steps(weighting: Weighting) -> int:
    """The steps of the networks, or the points, that ranking takes; 0 where nothing is ranked."""
    return {"influence": POINTS, "loss": STEPS, "random": 0}[weighting.by] if weighting.prunes else 0


def check_training(arm: Arm, method: Method, settings: Settings) -> None:
    """`InputError` for an option of training on S where every image step has a fresh network, which is never trained."""
    if method.networks is OnSynthetic and settings.outer == 1:
        for key in ("inner", "net_lr", "net_batch", "net_augmentation", "lr_lr"):
            if key in dict(arm.options):
                raise InputError(f"arm '{arm.name}': {key} means nothing with a fresh network each image step; add outer=10")


def choose_protocols(flags: Any, default: tuple[str, ...]) -> tuple[Protocol, ...]:
    """The named protocols with the flags' own epochs and batch."""
    known = protocols()
    for name in flags.protocol:
        if name not in known:
            raise InputError(f"unknown protocol '{name}': choose one of {', '.join(sorted(known))}")
    names = dict.fromkeys(flags.protocol or default)
    return tuple(known[name].with_(epochs=flags.epochs, batch=flags.batch) for name in names)


def unit_from(described: dict[str, Any]) -> dict[str, Any]:
    """What `Unit.describe` wrote, with its settings, protocols and weighting as values of their own types again."""
    settings = described["settings"]
    known = {f.name for f in fields(Protocol)}
    stored = [{k: tuple(v) if isinstance(v, list) else v for k, v in p.items() if k in known} for p in described["protocols"]]
    return {
        **described,
        "settings": None if settings is None else Settings(**settings),
        "protocols": tuple(Protocol(**p) for p in stored),
        "weighting": {k: math.inf if v == "inf" else v for k, v in described["weighting"].items()},
    }
