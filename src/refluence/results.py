"""What the Python functions give back: a run with its set, and a comparison with its verdict. Both show themselves."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch

from refluence import report
from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet, shown
from refluence.data.scores import FILE, ScoreTable
from refluence.errors import InputError
from refluence.evaluate.paired import Summary
from refluence.files import Json, read_json
from refluence.jobs.comparison import Compared
from refluence.jobs.job import Job, StudentJob
from refluence.jobs.open_run import open_student, require_finished
from refluence.jobs.run_job import EVALUATION, card_of
from refluence.jobs.students import load_student
from refluence.run.folder import configuration
from refluence.transfer.artifact import Student

COSTS = ("seconds", "cpu_seconds", "peak_bytes", "stored_bytes", "ess", "iterations", "images")


@dataclass(frozen=True, eq=False)
class Run:
    """A set that was made, and what is known of it. A notebook shows its pictures.

    Args:
        job: what was asked for, every default resolved.
        set: the set, a torch `Dataset` with `tensors()` and `save(folder)`.
        card: facts as JSON values: arm, seed, seconds, images and more.
        folder: where it was written; None: nothing was.
        measured: scores that are only in memory, where nothing was written.
        data: what it was made from; None: it was opened from a folder.

    Example:
        >>> import refluence as rf
        >>> run = rf.select("digits", "random", ipc=1)
        >>> run, run.costs["images"]
        (Run(random seed 0: 10 images of 10 classes), 10)
    """

    job: Job
    set: DistilledSet
    card: Json
    folder: Path | None = None
    measured: ScoreTable | None = None
    data: Dataset | None = None

    @property
    def scores(self) -> ScoreTable | None:
        """The influence of the real instances, of a method that measured it on its way; else None."""
        if self.folder is None or not (self.folder / FILE).exists():
            return self.measured
        return ScoreTable.load(self.folder, self.set.classes)

    @property
    def costs(self) -> Json:
        """Seconds, peak and stored bytes, effective sample size, image steps, images."""
        return {name: self.card[name] for name in COSTS if name in self.card}

    def __repr__(self) -> str:
        return f"Run({self.job.what}: {len(self.set)} images of {len(self.set.classes)} classes)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{shown(self.set)}"


@dataclass(frozen=True)
class Judged:
    """What `evaluate` says of a student: percent of a split of the data.

    Args:
        split: "test" or "val".
        accuracy: of all instances.
        balanced_accuracy: the mean over classes.
        macro_f1: the mean F1 of the classes.
        worst_class: the class that the student is worst at.
        per_class: the accuracy on each class; None for one without instances.

    Example:
        >>> import refluence as rf
        >>> run = rf.transfer("digits", "scratch", student="convnet1:4", epochs=1)
        >>> rf.evaluate(run, "digits").accuracy == run.accuracy
        True
    """

    split: str
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    worst_class: str
    per_class: tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class StudentRun:
    """A student that was made, and what is known of it.

    Args:
        job: what was asked for, every default resolved.
        student: the network, `student.net`, with its classes and what its images are normalised by.
        card: facts as JSON values: arm, seed, seconds, parameters, weights and more.
        folder: where it was written; None: nothing was.
        measured: influence and weights of the training instances, where nothing was written.
        accuracy: percent of the split that it was judged on.

    Example:
        >>> import refluence as rf
        >>> run = rf.transfer("digits", "scratch", student="convnet1:4", epochs=1)
        >>> run.student.parameters, 0 <= run.accuracy <= 100
        (698, True)
    """

    job: StudentJob
    student: Student
    card: Json
    accuracy: float
    folder: Path | None = None
    measured: ScoreTable | None = None

    @classmethod
    def load(cls, folder: str | Path, job: StudentJob | None = None) -> StudentRun:
        """Read a finished student again.

        Args:
            folder: what `transfer(out=…)` or `refluence transfer` wrote, or a unit of a comparison of students.
            job: its job, where its network was given in Python.

        Returns:
            The run.

        Raises:
            InputError: no student, or one that is not finished.

        Example:
            >>> import tempfile
            >>> import refluence as rf
            >>> folder = tempfile.mkdtemp() + "/run"
            >>> made = rf.transfer("digits", "scratch", student="convnet1:4", epochs=1, out=folder)
            >>> StudentRun.load(folder).accuracy == made.accuracy
            True
        """
        folder = Path(folder)
        job = open_student(folder) if job is None else job
        entry, *_ = read_json(folder / EVALUATION)["evaluations"]
        return cls(job, load_student(folder, job), card_of(folder), entry["accuracy"], folder)

    @property
    def scores(self) -> ScoreTable | None:
        """Influence and weight of the training instances at the last scoring, of a mechanism that weighs; else None."""
        if self.folder is None or not (self.folder / FILE).exists():
            return self.measured
        return ScoreTable.load(self.folder, self.student.classes)

    @property
    def costs(self) -> Json:
        """Seconds, peak and stored bytes, effective sample size, optimiser steps."""
        return {name: self.card[name] for name in COSTS if name in self.card}

    def __repr__(self) -> str:
        return f"StudentRun({self.job.what}: {self.student.model.label}, {self.accuracy:.1f} % accuracy)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


@dataclass(frozen=True)
class Comparison:
    """Arms x seeds, each made and judged. A notebook shows the table of arms.

    Args:
        rows: one for each evaluation: arm, seed, protocol, accuracy in percent, and costs.
        summary: one for each arm and protocol: the mean over seeds, n, and the paired difference to its base with the ends of
            its 95 % interval, in points.
        verdict: what the primary comparison shows, as a sentence.
        folder: where it was written; `open(folder / "units" / ARM / SEED)` gives a run of it. None: nowhere.

    Example:
        >>> import refluence as rf
        >>> found = rf.compare("digits", ["random", "full"], ipc=1, seeds=1, nets=1, epochs=1, width=4)
        >>> [(row["arm"], row["seed"]) for row in found.rows]
        [('random', 0), ('full', 0)]
    """

    rows: list[Json]
    summary: list[Summary]
    verdict: str
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read a finished comparison again, or a part of a recipe.

        Args:
            folder: what `compare(out=…)`, `refluence compare` or a recipe wrote.

        Returns:
            The comparison.

        Raises:
            InputError: no comparison, or one that is not finished.

        Example:
            >>> import tempfile
            >>> import refluence as rf
            >>> folder = tempfile.mkdtemp() + "/run"
            >>> made = rf.compare("digits", ["random"], ipc=1, seeds=1, nets=1, epochs=1, width=4, out=folder)
            >>> Comparison.load(folder).verdict == made.verdict
            True
        """
        folder = Path(folder)
        config = configuration(folder)
        if config["command"] != "compare":
            raise InputError(f"{folder} holds no comparison: refluence.open reads a run")
        require_finished(folder, config)
        found = Compared.read(folder)
        return cls(found.rows, found.summary, found.verdict, folder)

    def __repr__(self) -> str:
        protocols = {s["protocol"] for s in self.summary}
        names = [s["arm"] + (f" ({s['protocol']})" if len(protocols) > 1 else "") for s in self.summary]
        lines = [f"{name}: {s['mean']:.1f} % (n = {s['n']})" for name, s in zip(names, self.summary, strict=True)]
        return "\n".join([*dict.fromkeys(lines), self.verdict])

    def _repr_html_(self) -> str:
        heads = ("arm", "accuracy %", "n", "difference", "against")
        cells = [(s["arm"], f"{s['mean']:.1f}", str(s["n"]), _interval(s), s["against"] or "") for s in self.summary]
        table = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
        head = "".join(f"<th>{name}</th>" for name in heads)
        return f"<table><tr>{head}</tr>{table}</table><p>{escape(self.verdict)}</p>"


def score_page(path: Path, dataset: Dataset, title: str) -> Path:
    """Write the page beside the scores in `path`, with the pictures that it shows taken from `dataset`; its path."""
    table = ScoreTable.load(path).arrays()
    rows = report.picture_rows(table["index"], table["label"], table["score"], first=True)
    positions = torch.searchsorted(dataset.train.rows, torch.tensor(rows, dtype=torch.int64))  # rows ascend
    if dataset.train.texts is not None:
        texts = {row: dataset.train.texts[at] for row, at in zip(rows, positions.tolist(), strict=True)}
        return report.write_scores(path, {}, dataset.classes, title, texts)
    images = dict(zip(rows, dataset.train.pictures(positions), strict=True))
    return report.write_scores(path, images, dataset.classes, title)


def _interval(line: Summary) -> str:
    if line["difference"] is None:
        return ""
    ends = "" if line["low"] is None else f" [{line['low']:+.1f}, {line['high']:+.1f}]"
    return f"{line['difference']:+.1f}{ends}"
