"""`refluence score`: which training instances help and which harm; against validation data, or against a distilled set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from refluence.commands.finished import open_data
from refluence.commands.flags import Score
from refluence.commands.session import arguments, open_session, relative
from refluence.data.score_csv import named
from refluence.data.scores import ScoreTable
from refluence.errors import InputError, option
from refluence.fields import subset
from refluence.jobs.open_run import open_finished
from refluence.jobs.scoring import Scores, against_set, against_validation, check_file, objective_of, parts, write_scores
from refluence.options import ScoreOptions
from refluence.report.scores import sayable
from refluence.report.words import counted
from refluence.results import score_page
from refluence.run.folder import check_free, recorded_threads
from refluence.run.streams import printable
from refluence.score.asked import WEIGHTS, read_weighting, settings_of

WORST = 10  # instances that are named at the end
LEAST = 0.01  # share of wrong labels that is worth doing something about


def run(flags: Score) -> None:
    """Score, write Parquet and a page, and say where they are."""
    check_file(flags.out, flags.resume)
    if flags.distilled is not None and flags.out.exists():
        print(f"{relative(flags.out)} is there: nothing to do")
        return
    scores = job_of(flags)
    for note in scores.notes:
        scores.session.reporter.say(note)
    dataset, title = scores.session.dataset, scores.title
    asked, page = arguments(flags), lambda: score_page(flags.out, dataset, title)
    table, done = write_scores(scores, flags.out, asked, flags.resume, page)
    if done:
        print(f"{relative(flags.out)} is finished: nothing to do")
        return
    facts, how = table.facts, ""
    if validation := facts.get("validation"):
        place = "out of fold" if facts["networks"] == "held-out" else "by all folds"
        networks = counted(len(validation["accuracies"]), "network")
        how = f" by {facts['load']}" if facts["load"] else f" {place}, {networks}"
        images = counted(validation["images"], "image")
        print(f"{facts['model']}: {validation['accuracy']:.1f} % validation accuracy on {images}")
    written = f"{relative(flags.out)}   page: {relative(flags.out.with_suffix('.html'))}"
    print(f"{len(dataset.train)} instances scored{how}: {written}")
    if flags.quiet:
        return
    if (line := look_wrong(table, flags.out)) is not None:
        print(line)
    if table.suggested is not None:
        print(worst(table))


def look_wrong(table: ScoreTable, out: Path) -> str | None:
    """How many labels look wrong, and what can be done about it; None where that is not known or too uncertain."""
    share = sayable(dict(table.facts), table.label.numpy(), None if table.suggested is None else table.suggested.numpy())
    if share is None:
        return None
    if round(share, 2) < LEAST:
        return f"hardly any labels look wrong ({100 * share:.1f} %)"
    given, right = f"{relative(out)}:{share:.2f}", table.facts["validation"]["accuracy"]
    return (
        f"about {100 * share:.0f} % of the labels look wrong to networks that are right on {right:.0f} % of the validation "
        "images (what they get wrong themselves may be among them): "
        f"leave as many out with --drop {given}, relabel as many with --relabel {given}, "
        "or try it with the arms X+pruned:by=score and X+relabelled of compare"
    )


def worst(table: ScoreTable) -> str:
    """The instances with the highest scores, a line each: file or row, label, and what the networks suggest instead."""
    first = table.most_harmful(WORST)
    rows = first.index.tolist()
    paths = first.paths or [""] * len(rows)
    where = [printable(path) or f"row {row}" for path, row in zip(paths, rows, strict=True)]
    labels, most = named(first, first.label.tolist()), max(map(len, where))
    suggested = labels if first.suggested is None else named(first, first.suggested.tolist())
    other = [printable(label if new == label else f"{label} -> {new}") for label, new in zip(labels, suggested, strict=True)]
    lines = [f"  {place:{most}}  {what}" for place, what in zip(where, other, strict=True)]
    return "\n".join([f"The {len(rows)} most harmful (label -> suggestion):", *lines])


def job_of(flags: Score) -> Scores:
    """The job of the flags, on its data; what cannot be is refused before these are read."""
    asked, place = subset(ScoreOptions, flags), parts(flags.out)
    read_weighting(flags.weights or WEIGHTS)
    if flags.distilled is not None:
        for name, value in dataclasses.asdict(asked).items():
            if value is not None:
                said = f"{option(name)} {value} is for scores against validation data: leave it out, or --distilled"
                raise InputError(said)
        finished = open_finished(flags.distilled)
        objective_of(finished)
        session, _ = open_data(finished, flags)
        return against_set(finished, session, flags.seed, flags.weights, flags.nets)
    if flags.data is None:
        raise InputError("--data SRC is missing: name what to score (or --distilled DIR, which knows its data)")
    settings = settings_of(asked, flags.nets)
    if not flags.out.exists():
        check_free(place, "score", flags.resume)
    folds = settings.folds if asked.load is None and flags.small_classes == "drop" else None
    session = open_session(flags, folds, recorded_threads(place))
    return against_validation(asked, session, flags.seed, flags.nets, flags.weights)
