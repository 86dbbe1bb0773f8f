"""`refluence score --distilled DIR`: which real instances drive the objective of a distilled set."""

from __future__ import annotations

from typing import Any

import torch

from refluence import report
from refluence.commands.arms import methods, parse_arm
from refluence.commands.score_files import extremes, write_scores
from refluence.commands.session import open_session, relative
from refluence.condense.base import Method, Settings
from refluence.condense.scoring import influence
from refluence.data import load_distilled, read_card
from refluence.errors import InputError
from refluence.influence.weighting import weights
from refluence.models import ModelSpec
from refluence.run.folder import configuration
from refluence.run.seeds import streams


def run(flags: Any) -> None:
    """Score all of the training split (IWD eq. 24 over the whole class), write Parquet and a page."""
    unit = configuration(flags.distilled)["resolved"].get("unit")
    if unit is None:
        raise InputError(f"{flags.distilled} is a comparison: name one `distill` run")
    arm = parse_arm(unit["arm"])
    method = methods()[arm.method]
    if not isinstance(method, Method):
        raise InputError(f"{flags.distilled} was made by {arm.method}, which has no objective to score against")
    if flags.out.suffix != ".parquet":
        raise InputError(f"--out {flags.out}: the scores are written as Parquet, so name a file that ends in .parquet")
    session = open_session(flags)
    card, small = read_card(flags.distilled / "distilled"), load_distilled(flags.distilled / "distilled")
    if session.dataset.shape != tuple(small.images.shape[1:]) or session.dataset.classes != small.classes:
        raise InputError(f"{flags.data} has other classes or another image shape than {flags.distilled} was made from")
    model = ModelSpec(**{**card["model"], "shape": tuple(card["model"]["shape"])})
    settings = Settings(**unit["settings"])
    _, table, losses = influence(
        small.images, small.labels, method, settings, session.dataset, model, streams(flags.seed),
        nets=flags.nets, whole=True, device=session.compute.device,
        track=lambda points: session.reporter.track(points, "scoring", len(points)),
    )  # fmt: skip
    weight = torch.ones(len(session.dataset.train), dtype=torch.float64)
    weighting = parse_arm(f"{arm.method}+influence").weighting() if arm.kind == "uniform" else arm.weighting()
    for c in range(len(session.dataset.classes)):
        members = session.dataset.train.members(c)
        weight[members] = weights(table.raw[members], weighting, streams(flags.seed)("score-weights", c))
    write_scores(flags.out, session.dataset, table.raw, table.visits, weight, losses)
    chosen = extremes(session.dataset, table.raw, table.visits)
    images = {int(session.dataset.train.rows[p]): session.dataset.train.images[p] for p in chosen.tolist()}
    page = report.write_scores(flags.out, images, session.dataset.classes, f"{flags.data} against {relative(flags.distilled)}")
    print(f"{len(session.dataset.train)} instances scored: {relative(flags.out)}   page: {relative(page)}")
