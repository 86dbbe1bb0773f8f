"""Training instances scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from refluence import keywords
from refluence.api.sources import Data, finished, session_for
from refluence.data.scores import ScoreTable
from refluence.errors import InputError
from refluence.jobs.scoring import (
    against_set,
    against_validation,
    announce,
    check_file,
    make_scores,
    parts,
    place_of,
    write_scores,
)
from refluence.jobs.session import Machine
from refluence.options import (
    JobOptions,
    ScoreOptions,
    SeedOptions,
)
from refluence.results import Run, score_page
from refluence.run import device
from refluence.run.folder import check_free


def score(
    data: Data,
    model: str | Callable[..., nn.Module] | nn.Module | None = None,
    *,
    folds: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    distilled: Run | str | Path | None = None,
    nets: int | None = None,
    weights: str | None = None,
    **options: Any,
) -> ScoreTable:
    """Score every training instance: does it help or harm on validation data?

    Args:
        data: as in `distill`.
        model: a name, `FILE.py:FUNCTION`, a function (shape, classes) -> `nn.Module` (default: convnet), or a network that is
            trained already, which scores all rows as it is. It gets floats from Python as they came, other images normalised
            by mean and deviation of the training split; `pixels` ("unit", "data", "0.5:0.25" …) says otherwise.
        folds: every instance is scored by a network that did not train on it (default: 5 folds).
        seed: folds and networks follow from it.
        out: FILE.parquet, or a folder for scores.parquet, written with page and CSV as `refluence score` does. The same call
            continues scores that were stopped. None: nothing is written.
        distilled: a run, or its folder: what raises the objective at its set is scored instead. `model`
            is left out, but for the function that made the run's networks, where that was given in Python.
        nets: networks to average over (default: 1 a fold; 3 with `distilled`).
        weights: KIND[:key=value,…], for the column `weight`.
        options: fields of `ScoreOptions` (`epochs`, `terms`, `curvature`, `load`, `pixels` …) and of `Machine`.

    Returns:
        The table: `most_harmful(n)`, `most_helpful(n)`, `arrays()`, `save(folder)`.

    Raises:
        InputError: what cannot be scored, before any work; an `out` that holds other scores.
        RunError: numbers that are not finite.

    Example:
        >>> import refluence as rf
        >>> table = rf.score("digits", folds=2, epochs=1, width=4, terms="explicit")
        >>> len(table.most_harmful(20))
        20
    """
    keywords.check(options, (keywords.names(ScoreOptions) | keywords.names(Machine)) - {"group", "checkpoint_seconds"}, score)
    seed, nets = SeedOptions(seed=seed).seed, JobOptions(nets=nets).nets
    own = {k: v for k, v in options.items() if k in keywords.names(ScoreOptions)}
    if isinstance(own.get("damping"), (int, float)):
        own["damping"] = repr(own["damping"])
    if own.get("load") is not None:
        own["load"] = Path(own["load"])
    asked = ScoreOptions(model=model, folds=folds, **own)
    folder = keywords.folder(out)
    path = None if folder is None else place_of(folder)
    if path is not None:
        check_file(path, resume=True)
        if distilled is not None and path.exists():
            raise InputError(f"out {path} is there already: choose another file")
        if not path.exists():
            check_free(parts(path), "score", resume=True)
    session = session_for(data, options, distilled if isinstance(distilled, Run) else None)
    again = model if callable(model) and not isinstance(model, nn.Module) else None
    if distilled is None:
        scores = against_validation(asked, session, seed, nets, weights)
    elif given := [name for name, value in vars(asked).items() if value is not None and not (name == "model" and again)]:
        raise InputError(f"{given[0]} is for scores against validation data: leave it out, or distilled")
    else:
        scores = against_set(finished(distilled, again), session, seed, weights, nets)
    for note in scores.notes:
        session.reporter.say(note)
    with device.threads(keywords.threads(session, None if path is None else parts(path))):
        if path is None:
            announce(scores)
            return make_scores(scores, None)
        network = {"model": scores.job.model.name, "load": None if asked.load is None else str(asked.load)}
        record = {**vars(asked), **network, "data": session.dataset.source, "seed": seed, "nets": nets, "weights": weights}
        return write_scores(scores, path, record, True, lambda: score_page(path, scores.session.dataset, scores.title))[0]
