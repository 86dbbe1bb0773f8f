"""What an arm does to real instances before it begins: which it leaves out, relabels or weighs, and by what.

    +pruned, +selected    rows          of each class the share `keep` that is best stays
    +relabelled           labels        of each class the share that is worst gets the suggested class
    +scores               weights       of every row

What is best comes from a ranking (ranking.py), a table of scores (scores_need.py), or the truth where it is known. It is
written once to the job's folder, keyed by row, and read from there when the job continues.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from refluence.clock import NOTHING, Time
from refluence.data import Dataset, clean, cleaned_images
from refluence.data.truth import wrong
from refluence.errors import option
from refluence.influence.beforehand import OF_TABLE
from refluence.influence.weighting import Weighting
from refluence.jobs.cleanable import estimated
from refluence.jobs.job import Job
from refluence.jobs.needs import Need, obtain, read_prepared, write_prepared
from refluence.jobs.ranking import RankingNeed
from refluence.jobs.scores_need import Columns, ScoresNeed, by_loss, given, made, permuted
from refluence.jobs.session import Session
from refluence.work import Prepared

KEPT = "kept.safetensors"  # in the folder of a job that acts on instances beforehand


def prepare(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> Prepared:
    """What the job does to instances: read from its folder, or found, by what lies in `shared` or is made there.

    `kept.safetensors` holds `rows` that stay, or `relabelled_rows` with their `labels`, or `weighted_rows` with their
    `weights`; `scores` of every training instance, the highest are best; and the `share` where it was estimated.
    """
    plan = job.plan
    if not plan.weighting.cleans and plan.table is None:
        return Prepared()
    path = None if folder is None else folder / KEPT
    if path is not None and path.exists():
        return read_prepared(path)
    prepared = _Finding(job, session, shared).found()
    if path is not None:
        if plan.weighting.cleans:
            cleaned_images.save(session.dataset, prepared.tensors, path.parent, plan.weighting.sign)
        write_prepared(path, prepared)
    return prepared


@dataclass
class _Finding:
    """One job's instances looked at. `time` is that of all that it needed."""

    job: Job
    session: Session
    shared: Path | None
    time: Time = NOTHING

    @property
    def _weighting(self) -> Weighting:
        return self.job.plan.weighting

    def found(self) -> Prepared:
        """What is done to them."""
        dataset, weighting = self.session.dataset, self._weighting
        table, tensors = self._table(), dict[str, Tensor]()
        if self.job.plan.by_scores and table is not None:
            tensors[clean.TABLE_SCORES] = table.score
        if weighting.cleans:
            tensors |= self._weighed(table) if weighting.kind == "scores" else self._ranked(table)
            self._check_room(clean.cleaned(dataset, tensors))
        return Prepared(tensors, self.time)

    def _check_room(self, after: Dataset) -> None:
        """`RunError` where a class is left with too few images."""
        job, weighting = self.job, self._weighting
        asked = "a larger keep" if weighting.prunes else "a smaller share"
        remedy = None if weighting.by == "truth" else asked
        what, counts = f"{job.arm.name}, seed {job.seed}", job.counts(self.session.dataset)
        clean.check_room(after, counts, what, remedy, job.plan.real_each)

    def _need(self, need: Need) -> Prepared:
        found = obtain(need, self.session, self.shared)
        self.time += found.time
        return found

    def _table(self) -> Columns | None:
        job, dataset, table = self.job, self.session.dataset, self.job.plan.table
        if table is None:
            return None
        if table.file is not None:
            return given(table, dataset, option("scores", table.file))
        return made(self._need(ScoresNeed(job.model, job.seed, table.epochs)), dataset, self._terms, job.seed)

    @property
    def _terms(self) -> str:
        of_scores = self._weighting.by == "score" or self._weighting.kind == "scores"
        return self._weighting.terms if self._weighting.cleans and of_scores else "auto"

    def _goodness(self, table: Columns | None) -> Tensor:
        """`(N,)`, the highest are best."""
        dataset, by = self.session.dataset, self._weighting.by
        ranking = self.job.plan.ranked(self.job.model, self.job.seed)
        if ranking is not None:
            return self._need(RankingNeed(ranking)).tensors["scores"]
        if by == "truth":
            known = wrong(dataset.train)
            assert known is not None, "checked before"
            return -known.double()
        assert table is not None, f"{by} is a column of a table: {OF_TABLE}"
        return -(table.score if by == "score" else table.loss)

    def _ranked(self, table: Columns | None) -> dict[str, Tensor]:
        """The rows that stay, or the other labels of those that would not."""
        dataset, weighting = self.session.dataset, self._weighting
        goodness, keep = self._goodness(table), self._keep(table)
        if weighting.by == "truth":
            best = (goodness == 0).nonzero().flatten()
            keep = len(best) / len(goodness)
        else:
            best = clean.kept(goodness, dataset, keep, weighting.sign)
        own = {"scores": goodness}
        if weighting.share_is_open:
            own["share"] = torch.tensor(1 - keep, dtype=torch.float64)
        if weighting.prunes:
            return {clean.ROWS: dataset.train.rows[best], **own}
        worst = clean.others(best, len(dataset.train))
        return {clean.LABELLED: dataset.train.rows[worst], clean.LABELS: self._labels(table)[worst], **own}

    def _keep(self, table: Columns | None) -> float:
        """The share of each class that stays as it is; 1 less the one that looks wrong, where none is given."""
        weighting = self._weighting
        asked = weighting.keep if weighting.prunes else weighting.share
        if weighting.by == "truth":
            return 1.0
        if not isinstance(asked, str):
            return asked if weighting.prunes else 1 - asked
        assert table is not None, "an estimate is a table's"
        name = f"arm '{self.job.arm.name}'"
        share = estimated(table, weighting, name, "its table of scores")
        other = "keep=P" if weighting.prunes else "share=P"
        said, train = f"{name}: {100 * share:.0f} % of each class, as many labels as look wrong", self.session.dataset.train
        if table.suggested is not None and 2 * int((table.suggested != train.labels).sum()) > len(train):
            warnings.warn(f"{said} to networks that contradict most of them: give {other} where that is too many", stacklevel=2)
        else:
            self.session.reporter.say(f"{said}; {other} gives another share")
        return 1 - share

    def _labels(self, table: Columns | None) -> Tensor:
        """The other label of each instance `(N,)`."""
        train = self.session.dataset.train
        if self._weighting.by == "truth":
            assert train.stored is not None, "checked before"
            return torch.where(train.stored < 0, train.labels, train.stored)
        assert table is not None, "suggestions are a table's"
        assert table.suggested is not None, "checked before"
        return table.suggested

    def _weighed(self, table: Columns | None) -> dict[str, Tensor]:
        """The weight of every row."""
        dataset, by, seed = self.session.dataset, self._weighting.by, self.job.seed
        assert table is not None, "weights are a table's"
        weight = by_loss(table.loss, dataset, seed) if by == "held-out-loss" else table.weight
        weight = permuted(weight, dataset, seed) if by == "random" else weight
        return {clean.WEIGHTED: dataset.train.rows, clean.WEIGHTS: weight, "scores": weight.clone()}
