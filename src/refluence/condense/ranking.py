"""What an arm goes by that acts on real instances before it begins, with everything that decides it.

    X+pruned             score = influence, keep .9    Influence-Prune-then-Distill (IWD, arXiv 2510.27253, sec. 5.2)
    X+pruned:by=loss     score = -loss, keep .2        loss-value pruning (arXiv 2411.12115): the easy end stays
    X+pruned:by=random   no score, keep .9             control (ours)
    X+selected           the same, keep .1             only the best few (ours)

    X+pruned:by=score    - the score of validation influence, keep = 1 - the share of labels that look wrong (ours)
    X+relabelled         the rows that it would leave out get the class that held-out networks suggest (ours)
    X+scores             the weights that the scores give (ours)
    …:by=held-out-loss   the loss at networks that did not see the instance, in place of the score: the fair rival (ours)
    …:by=truth           the ceiling, where it is known which labels are wrong or which images are of another domain (ours)

arXiv 2411.12115 keeps easy samples and reports gains even where 80 % of the set were removed (its abstract, all that is taken
over); .2 is that share, and no claim that it is its best one. Ranking inside each class, and by networks of ours, is ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from refluence.condense.method import Method, Settings
from refluence.digests import digest
from refluence.files import Json
from refluence.influence.beforehand import OF_TABLE
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec


@dataclass(frozen=True)
class Ranking:
    """`by`: influence, loss or random. `steps`: of what ranks, None for its default.

    `of`: the method and its settings whose distance the influence is on, None for the others.
    """

    by: str
    of: tuple[Method, Settings] | None
    model: ModelSpec
    seed: int
    steps: int | None

    @property
    def objective(self) -> tuple[Method, Settings]:
        """What the influence is on."""
        assert self.of is not None, "of a method that learns images"
        return self.of

    @property
    def facts(self) -> Json:
        """What decides the scores, plain values; how many are kept does not."""
        own: Json = {"by": self.by, "seed": self.seed}
        if self.by != "random":
            own |= {"model": self.model.to_json(), "steps": self.steps}
        if self.by == "influence":
            method, settings = self.objective
            own |= {"method": method.name, "declared": digest(method), "settings": asdict(settings)}
        return own


def ranks_by(weighting: Weighting) -> str | None:
    """What a ranking of its own is made by; None where a table of scores or the truth says all, and where nothing is ranked."""
    alone = weighting.cleans and weighting.kind != "scores" and weighting.by not in (*OF_TABLE, "truth")
    return weighting.by if alone else None


@dataclass(frozen=True)
class Table:
    """Which table of scores an arm goes by: one that its run makes, of so many `epochs` (None: as `score`), or a file's.

    `sha256` is that of the file.
    """

    epochs: int | None = None
    file: str | None = None
    sha256: str | None = None

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        return asdict(self)


def table_from(stored: Json | None) -> Table | None:
    """The table that `to_json` wrote; None where there is none."""
    return None if stored is None else Table(**stored)
