"""The table of scores that an arm goes by, as a need (needs.py): that of `refluence score`, or one in a file."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from refluence.condense.ranking import Table
from refluence.data import Dataset
from refluence.data.score_file import refuse_csv
from refluence.data.scored_as import refuse_other_reading
from refluence.data.scores import FILE, ScoreTable
from refluence.errors import InputError, option
from refluence.files import Json
from refluence.influence.bags import bag_weights
from refluence.jobs.session import Session
from refluence.models import ModelSpec
from refluence.models.user_file import file_digest
from refluence.run import checkpoint
from refluence.run.drive import drive
from refluence.score.asked import WEIGHTS, read_weighting
from refluence.score.folds_work import FoldsWork
from refluence.score.job import Scoring
from refluence.score.settings import CrossFit
from refluence.seeds import streams
from refluence.work import Prepared

EPOCHS = CrossFit().epochs


@dataclass(frozen=True)
class ScoresNeed:
    """Scores of every training instance by networks that did not see it; all `terms` from the same networks."""

    model: ModelSpec
    seed: int
    epochs: int | None = None

    name: ClassVar[str] = "scores"

    @property
    def plan(self) -> Scoring:
        """That of `refluence score`, both terms."""
        return Scoring(CrossFit(epochs=EPOCHS if self.epochs is None else self.epochs), read_weighting(WEIGHTS))

    @property
    def facts(self) -> Json:
        """Everything that decides the scores beside data and machine."""
        return {**self.plan.to_json(), "model": self.model.to_json(), "seed": self.seed}

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """`both`, `implicit`, `loss` and `suggested` `(N,)`, `wrong_share` `()`: not a number where it is not known."""
        plan, dataset = self.plan, session.dataset
        if plan.settings.epochs < EPOCHS:
            session.reporter.say(
                f"scores: networks of {plan.settings.epochs} epochs in place of {EPOCHS}, as image steps are fewer"
            )
        for remark in plan.remarks(dataset, self.model, self.seed, session.compute):
            session.reporter.say(f"scores: {remark}")
        work = plan.open(dataset, self.model, streams(self.seed), session.compute, Prepared())
        assert isinstance(work, FoldsWork), "networks that are trained here"
        driver = replace(session.driver, checkpoint_seconds=work.checkpoint_seconds)
        drive(work, folder, f"scores seed {self.seed}", driver)
        if folder is not None:
            shutil.rmtree((folder / checkpoint.NAME).parent)
        scored = work.scored()
        wrong = math.nan if scored.wrong_share is None else scored.wrong_share
        return {
            "both": scored.score,
            "implicit": scored.phi,
            "loss": scored.loss,
            "suggested": scored.suggested,
            "wrong_share": torch.tensor(wrong, dtype=torch.float64),
        }

    def blank(self, dataset: Dataset) -> dict[str, Tensor]:
        """Tensors of the same kinds that say nothing, for an estimate of what comes after them."""
        zeros = torch.zeros(len(dataset.train), dtype=torch.float64)
        none = {"both": zeros, "implicit": zeros, "loss": zeros, "suggested": dataset.train.labels}
        return {**none, "wrong_share": torch.zeros((), dtype=torch.float64)}


@dataclass(frozen=True)
class Columns:
    """What a table says of the training instances `(N,)`, in their order.

    The higher `score` and `loss`, the more harmful. `weight` is of mean 1 or near it. `wrong_share`: the share of labels that
    look wrong, None where the table does not know. `suggested` is -1 for a class that is not here. `others`: how many instances
    the table has beside these.
    """

    score: Tensor
    loss: Tensor
    suggested: Tensor | None
    weight: Tensor
    wrong_share: float | None
    others: int = 0


def made(found: Prepared, dataset: Dataset, terms: str, seed: int) -> Columns:
    """The columns of a table that a run makes. `terms`: auto, implicit, explicit or both."""
    tensors = found.tensors
    if terms == "auto":
        terms = "implicit" if dataset.validated_elsewhere else "both"
    both, implicit = tensors["both"], tensors["implicit"]
    score = {"both": both, "implicit": implicit, "explicit": both - implicit}[terms]
    wrong = float(tensors["wrong_share"])
    share = None if math.isnan(wrong) else wrong
    return Columns(score, tensors["loss"], tensors["suggested"], weights(score, dataset, seed), share)


def given(table: Table, dataset: Dataset, said: str) -> Columns:
    """The columns of a table in a file. `InputError` for one of other data, or without what is asked of it."""
    path = Path(str(table.file))
    if not path.is_file():
        raise InputError(f"{said}: there is no file {path} any more, by which the run goes")
    if file_digest(path) != table.sha256:
        raise InputError(f"{said}: {path} has changed since the run began")
    read = ScoreTable.load(path)
    if read.facts.get("kind", "validation") != "validation":
        raise InputError(f"{said}: its scores are of a distilled set, and say of no instance that it harms: score the data")
    refuse_other_reading(read.facts, dataset.options, said)
    try:
        at = read.positions(dataset)
        suggested = None if read.suggested is None else read.by_classes("suggested", read.suggested, dataset)[at]
    except InputError as error:
        raise InputError(f"{said}: {error}") from None
    for name, values in (("score", read.score[at]), ("loss", read.loss[at])):
        if not bool(values.isfinite().all()):
            raise InputError(f"{said}: {int((~values.isfinite()).sum())} values of {name} are not numbers")
    weight = read.weight[at]
    if bad := int((~(weight.isfinite() & (weight >= 0))).sum()):
        raise InputError(f"{said}: {bad} values of weight are not finite numbers of at least 0")
    share = _wrong_share(read.facts.get("wrong_share"), said)
    return Columns(read.score[at], read.loss[at], suggested, weight, share, len(read) - len(at))


def _wrong_share(share: object, said: str) -> float | None:
    """The share of wrong labels that a file states. `InputError` for one that is none."""
    if share is None:
        return None
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
        raise InputError(f"{said}: its wrong_share is {share!r}: it must be a number from 0 to below 1")
    return float(share)


def weights(value: Tensor, dataset: Dataset, seed: int) -> Tensor:
    """The weights `(N,)` that `refluence score` gives by default to instances of this score."""
    weighting, classes = read_weighting(WEIGHTS), len(dataset.classes)
    return bag_weights(value, value, dataset.train.labels, weighting, streams(seed), classes=classes)


def by_loss(loss: Tensor, dataset: Dataset, seed: int) -> Tensor:
    """The same link on the loss above its mean, as the explicit term of the score is a risk above its mean."""
    return weights(loss - loss.mean(), dataset, seed)


def permuted(weight: Tensor, dataset: Dataset, seed: int) -> Tensor:
    """The weights dealt out at random in each class."""
    rng, dealt = streams(seed), weight.clone()
    for label in range(len(dataset.classes)):
        members = dataset.train.members(label)
        dealt[members] = weight[members[torch.randperm(len(members), generator=rng("scores-permuted", label))]]
    return dealt


def table_of(scores: str | None) -> Table:
    """The table that arms go by: the file that is asked for, else one that the run makes. `InputError` for no such file."""
    if scores is None:
        return Table()
    path = Path(scores).expanduser()
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{option('scores', scores)}: there is no file {path}; `refluence score` makes one")
    refuse_csv(path, option("scores", scores))
    return Table(None, str(path), file_digest(path))
