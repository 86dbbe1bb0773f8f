"""`refluence score --distilled DIR`: which real instances drive the objective of a distilled set (IWD eq. 24)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from refluence import __version__
from refluence.commands.finished import open_data
from refluence.commands.score_files import read_weighting, write_page
from refluence.commands.session import relative
from refluence.condense.engine import engine
from refluence.condense.job import Distilling
from refluence.condense.scoring import influence
from refluence.data.scores import ScoreTable
from refluence.errors import InputError
from refluence.influence.bags import bag_weights
from refluence.influence.weighting import BY_INFLUENCE
from refluence.jobs.open_run import open_finished
from refluence.run import device as machine
from refluence.seeds import streams

NETS = 3


def against_distilled(flags: Any) -> None:
    """Score all of the training split, the whole class at once, and write Parquet and a page."""
    own = open_finished(flags.distilled)
    plan = own.job.plan
    if not isinstance(plan, Distilling):
        raise InputError(f"{flags.distilled} was made by {own.job.arm.method}, which has no objective to score against")
    method, settings, model = plan.method, plan.settings, own.job.model
    weighting = plan.weighting if plan.weighting.kind in BY_INFLUENCE else replace(plan.weighting, kind="influence")
    if flags.weights is not None:
        weighting = read_weighting(flags.weights)
    if flags.resume and flags.out.exists():
        print(f"{relative(flags.out)} is there: nothing to do")
        return
    session, source = open_data(own, flags)
    rng = streams(flags.seed)
    nets = NETS if flags.nets is None else flags.nets
    session.reporter.say(engine(method, settings, session.dataset, model, rng, session.compute))
    _, table, losses = influence(
        own.small.images, own.small.labels, method, settings, session.dataset, model, rng,
        nets=nets, whole=True, device=session.compute.device, soft=own.small.soft, lr=own.small.lr,
        track=lambda points: session.reporter.track(points, "scoring", len(points)),
    )  # fmt: skip
    labels, classes = session.dataset.train.labels, len(session.dataset.classes)
    weight = bag_weights(table.raw, losses, labels, weighting, rng, classes=classes)
    facts = {
        "kind": "distilled",
        "source": source,
        "classes": list(session.dataset.classes),
        "distilled": str(flags.distilled),
        "arm": own.job.arm.name,
        "nets": nets,
        "seed": flags.seed,
        "versions": {"refluence": __version__, **machine.describe()},
    }
    ScoreTable.of(session.dataset, table.raw, weight, losses, visits=table.visits, facts=facts).write(flags.out)
    page = write_page(flags.out, session.dataset, f"{source} against {relative(flags.distilled)}")
    print(f"{len(session.dataset.train)} instances scored: {relative(flags.out)}   page: {relative(page)}")
