"""The distilled sets of an arm's seeds as one, every image with its influence: what a gallery shows (IWD, Fig. 5).

    I_i = <grad_1 D(a, b), phi_i>,  a the mean statistic of the pool's images of a class        (condense/scoring.py)

At one image per class a set by itself has no such order: a is then phi_i, and a distance that does not see the length of a, as
that of gradient matching, has <grad_1 D(a, b), a> = 0 (Euler).
"""

from __future__ import annotations

from pathlib import Path

import torch

from refluence.commands.flags import Compare
from refluence.condense.job import Distilling
from refluence.condense.scoring import influence
from refluence.data.distilled import DistilledSet, load_distilled, save_distilled
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Session
from refluence.recipes.base import Part
from refluence.seeds import streams

FOLDER = "pooled"
NETS = 10  # random networks that the order is measured on, the same for all seeds


def pool(part: Part, session: Session, asked: Compare) -> Path | None:
    """Write `pooled/distilled` into the part's folder from the sets of its first arm that are there; None for fewer than two.

    `asked` are the part's flags as a comparison (`run_part.compare_flags`), `session` is one on its data.
    """
    arm = parse_arm(part.arms[0])
    unit, units = resolve(asked, arm, session.dataset, asked.seed), asked.out / "units" / arm.folder
    found = [load_distilled(units / str(seed)) for seed in seeds_of(units)]
    plan = unit.plan
    if len(found) < 2 or not isinstance(plan, Distilling):
        return None
    images, labels = torch.cat([small.images for small in found]), torch.cat([small.labels for small in found])
    facts = (plan.method, plan.settings, session.dataset, unit.model, streams(asked.seed))
    order, _, _ = influence(images, labels, *facts, nets=NETS, device=session.compute.device)
    first = found[0]
    whole = DistilledSet(images, labels, first.classes, first.mean, first.std, influence=order.nan_to_num(0.0))
    save_distilled(asked.out / FOLDER / "distilled", whole, {"arm": arm.name, "seeds": len(found), "images": len(labels)})
    return asked.out / FOLDER


def seeds_of(units: Path) -> list[int]:
    """The seeds of an arm whose sets are whole, in order."""
    return sorted(int(card.parts[-3]) for card in units.glob("*/distilled/card.json"))
