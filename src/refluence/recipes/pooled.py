"""The distilled sets of an arm's seeds as one, every image with its influence: what a gallery shows (IWD, Fig. 5).

    I_i = <grad_1 D(a, b), phi_i>,  a the mean statistic of the pool's images of a class        (condense/scoring.py)

At one image per class a set by itself has no such order: a is then phi_i, and a distance that does not see the length of a, as
that of gradient matching, has <grad_1 D(a, b), a> = 0 (Euler).
"""

from __future__ import annotations

from pathlib import Path

import torch

from refluence.data.distilled import DistilledSet, load_distilled, save_distilled
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.comparing import Comparing
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Session
from refluence.recipes.base import Part
from refluence.seeds import streams

FOLDER = "pooled"
NETS = 10  # random networks that the order is measured on, the same for all seeds


def pool(part: Part, asked: Comparing, session: Session, out: Path) -> Path | None:
    """Write `pooled/distilled` into the part's folder `out` from the sets of its first arm that are there.

    None for fewer than two sets, and for a method whose images have no order. `session` is one on the part's data.
    """
    arm = parse_arm(part.arms[0])
    job, units = resolve(asked.options, arm, session.dataset, asked.seed), out / "units" / arm.folder
    found = [load_distilled(units / str(seed)) for seed in seeds_of(units)]
    if len(found) < 2:
        return None
    images, labels = torch.cat([small.images for small in found]), torch.cat([small.labels for small in found])
    rng, device = streams(asked.seed), session.compute.device
    order = job.plan.order(images, labels, session.dataset, job.model, rng, device, NETS)
    if order is None:
        return None
    first = found[0]
    whole = DistilledSet(images, labels, first.classes, first.mean, first.std, influence=order)
    save_distilled(out / FOLDER / "distilled", whole, {"arm": arm.name, "seeds": len(found), "images": len(labels)})
    return out / FOLDER


def seeds_of(units: Path) -> list[int]:
    """The seeds of an arm whose sets are whole, in order."""
    return sorted(int(card.parts[-3]) for card in units.glob("*/distilled/card.json"))
