"""Data and runs by their folders: what the functions of this package are called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from refluence import keywords
from refluence.data import Dataset, SourceOptions
from refluence.data import load as load_source
from refluence.data.objects import Single, Source
from refluence.data.scores import ScoreTable
from refluence.errors import InputError
from refluence.jobs.catalogue import Declaration
from refluence.jobs.job import Job
from refluence.jobs.open_run import Finished, open_finished
from refluence.jobs.resolve_student import rows_of_size
from refluence.jobs.session import Session, open_session
from refluence.models import Maker, handed_over
from refluence.options import TransferOptions
from refluence.results import Run

Data = Dataset | Run | Source


def load(
    source: Source | Run, *, test: Single | Dataset | None = None, validation: Source | None = None, **options: Any
) -> Dataset:
    """Read data: a source of the command line, a torch `Dataset`, a `datasets.Dataset`, arrays, or a set that was made.

    Args:
        source: see `refluence.data.load`. A run, its folder or its set is what trains: validation and test are those of the
            data that it was made from.
        test: the test split of an object; without one it is cut. Of a set alone: the dataset that it was made from.
        validation: another source for the validation split.
        options: fields of `SourceOptions`, as `image_size=32`.

    Returns:
        The dataset: `train`, `val`, `test`, and `notes` that say what was found.

    Raises:
        InputError: one line that says what is wrong and what would be right.

    Example:
        >>> import refluence as rf
        >>> rf.load("digits").shape
        (1, 8, 8)
    """
    keywords.check(options, keywords.names(SourceOptions) - {"validation"}, load)
    for name in ("drop", "relabel"):
        if isinstance(options.get(name), ScoreTable):
            raise InputError(f"{name} is a table: save it, table.save('scores'), and say the share too, {name}='scores:0.05'")
    said = SourceOptions(**options)
    if not isinstance(source, Run):
        return load_source(source, said, test=test, validation=validation)
    if source.data is not None or test is not None:
        return load_source(source.set, said, test=test or source.data, validation=validation)
    assert source.folder is not None, "a run without its data is one of a folder"
    return load_source(source.folder, said, validation=validation)


def open(folder: str | Path, *, method: Declaration | None = None, model: Maker | None = None) -> Run:
    """A finished run from its folder.

    Args:
        folder: what `distill(out=…)` or a command wrote.
        method: the `Method` or `Selection` that made it, where that was one of your own: `score` needs it.
        model: the function that made its networks, where that was given in Python: `evaluate` and `score` need it.

    Returns:
        The run.

    Raises:
        InputError: no run, a comparison or recipe (name one of its units), or one that is not finished; another
            method or function than those that made it.

    Example:
        >>> import tempfile
        >>> import refluence as rf
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> run = rf.select("digits", "random", ipc=1, nets=1, epochs=1, width=4, out=folder)
        >>> len(rf.open(folder).set)
        10
    """
    run = open_finished(Path(folder), method)
    return Run(with_network(run.job, model), run.small, run.card, run.folder)


def session_for(data: Data, options: Mapping[str, Any], run: Run | None = None) -> Session:
    """The data on the machine that the options say. `run`: what is judged on them, without the classes that it left out."""
    data = load(data) if isinstance(data, Run) else data
    per_class = int(options.get("ipc", 1))
    if run is not None and isinstance(data, Dataset) and data.options.small_classes == "drop":
        per_class = run.job.per_class
    return open_session(data, keywords.machine(options), per_class=per_class)


def finished(run: Run | str | Path, model: Maker | None) -> Finished:
    """A run, or that of a folder, with its network where that is given again."""
    run = run if isinstance(run, Run) else open(run)
    return Finished(run.folder or Path(run.job.what), run.set, run.card, with_network(run.job, model), {})


def with_network(job: Job, model: Maker | None) -> Job:
    """The job with its network, where that is given again."""
    return job if model is None else replace(job, model=handed_over(job.model, model))


def student_session(data: Data, options: Mapping[str, Any], asked: TransferOptions) -> Session:
    """The session of a transfer: at size cpu a source is read up to so many rows; data that are loaded stay as they are."""
    if isinstance(data, (Dataset, Run)):
        return session_for(data, options)
    return open_session(data, keywords.machine(options), rows_of_size(SourceOptions(), asked.size))
