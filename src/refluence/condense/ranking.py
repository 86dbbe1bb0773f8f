"""What a pruned run ranks real instances by before it begins, with everything that decides it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from refluence.condense.method import Method, Settings
from refluence.condense.prune import kept
from refluence.data.dataset import Dataset
from refluence.digests import digest
from refluence.files import Json
from refluence.models import ModelSpec


@dataclass(frozen=True)
class Ranking:
    """`by`: influence, loss or random. `steps`: of what ranks, None for its default. `keep` and `sign` say what stays."""

    by: str
    method: Method
    settings: Settings
    model: ModelSpec
    seed: int
    steps: int | None
    keep: float
    sign: int

    @property
    def facts(self) -> Json:
        """What decides the scores, plain values; how many are kept does not."""
        own: Json = {"by": self.by, "seed": self.seed}
        if self.by != "random":
            own |= {"model": self.model.to_json(), "steps": self.steps}
        if self.by == "influence":
            own |= {"method": self.method.name, "declared": digest(self.method), "settings": asdict(self.settings)}
        return own

    def kept(self, scores: Tensor, dataset: Dataset) -> Tensor:
        """Positions in `dataset.train` that stay."""
        return kept(scores, dataset, self.keep, self.sign)
