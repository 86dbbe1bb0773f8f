"""`refluence score --distilled DIR`: which real instances drive the objective of a distilled set."""

from __future__ import annotations

from typing import Any

from refluence import report
from refluence.commands.arms import methods, parse_arm
from refluence.commands.finished import open_data, open_finished
from refluence.commands.score_files import class_weights, extremes, write_scores
from refluence.commands.session import check_numbers, relative
from refluence.condense.base import Method
from refluence.condense.scoring import influence
from refluence.errors import InputError
from refluence.files import check_writable
from refluence.run.seeds import streams


def run(flags: Any) -> None:
    """Score all of the training split (IWD eq. 24 over the whole class), write Parquet and a page."""
    check_numbers(flags)
    if flags.out.suffix != ".parquet" or flags.out.is_dir():
        raise InputError(f"--out {flags.out}: the scores are written as Parquet, so name a file that ends in .parquet")
    check_writable(flags.out)
    if flags.out.exists() and not flags.resume:
        raise InputError(f"--out {flags.out} is there already: choose another file, or add --resume to leave it as it is")
    own = open_finished(flags.distilled)
    arm = parse_arm(own.unit["arm"].partition(":")[0])
    method, settings = methods()[arm.method], own.unit["settings"]
    if not isinstance(method, Method) or settings is None:
        raise InputError(f"{flags.distilled} was made by {arm.method}, which has no objective to score against")
    if flags.resume and flags.out.exists():
        print(f"{relative(flags.out)} is there: nothing to do")
        return
    session, source = open_data(own, flags)
    _, table, losses = influence(
        own.small.images, own.small.labels, method, settings, session.dataset, own.model, streams(flags.seed),
        nets=flags.nets, whole=True, device=session.compute.device,
        track=lambda points: session.reporter.track(points, "scoring", len(points)),
    )  # fmt: skip
    weight = class_weights(session.dataset, table, own.weighting, streams(flags.seed))
    write_scores(flags.out, session.dataset, table.raw, table.visits, weight, losses)
    chosen = extremes(session.dataset, table.raw, table.visits)
    images = {int(session.dataset.train.rows[p]): session.dataset.train.images[p] for p in chosen.tolist()}
    page = report.write_scores(flags.out, images, session.dataset.classes, f"{source} against {relative(flags.distilled)}")
    print(f"{len(session.dataset.train)} instances scored: {relative(flags.out)}   page: {relative(page)}")
