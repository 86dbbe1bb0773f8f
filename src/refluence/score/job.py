"""Scores against validation data as a job: the plan with every default resolved, and the work that it opens."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import ClassVar

from torch import nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.data.foreign import doubts
from refluence.errors import InputError, option
from refluence.files import Json
from refluence.influence.curvature import Curvature
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec, OwnSpec
from refluence.score.folds_work import FoldsWork
from refluence.score.instances import FoldScores, engine_of
from refluence.score.rehearse import rehearse
from refluence.score.settings import CrossFit
from refluence.score.trained_work import TrainedWork
from refluence.seeds import Rng, streams
from refluence.work import Prepared

KEY = "crossfit"  # in JSON, what tells these plans from others
OF_SOURCE = ("noise", "shift", "rows", "relabel", "imbalance", "labelled", "text_columns", "tokenizer", "max_length")
"""Options of the source that facts name, where they are asked for."""


@dataclass(frozen=True)
class Trained:
    """A network that is trained already: its digest, and what JSON does not keep of it.

    `where` says where it is from; `sure`: it is known by what its pixels were normalised.
    """

    sha256: str
    where: str = field(default="", compare=False)
    sure: bool = field(default=True, compare=False)
    net: nn.Module | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Scoring:
    """Everything that decides scores against validation data beside seed and network, resolved.

    `nets`: networks a fold. `trained`: the network that scores all rows in place of those of the folds.
    """

    settings: CrossFit
    weighting: Weighting
    nets: int = 1
    trained: Trained | None = None

    family: ClassVar[str] = "score"
    ranking: ClassVar[str | None] = None

    def check_data(self, dataset: Dataset) -> None:
        """`InputError` where a class is not in the training rows of every fold."""
        counts = [len(dataset.train.members(c)) for c in range(len(dataset.classes))]
        folds, least = self.settings.folds, min(counts)
        if self.trained is None and folds > least:
            name, few = dataset.classes[counts.index(least)], sum(count < folds for count in counts)
            most = f"at most {least} would do, or " if least > 1 else ""
            images = f"{least} training image{'s' * (least != 1)}"
            classes = "that class" if few == 1 else f"the {few} classes that have fewer than {folds}"
            raise InputError(
                f"{option('folds')} {folds}: class '{name}' has only {images}; {most}{option('small_classes', 'drop')}, which "
                f"leaves out {classes}"
            )

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """What is worth a line before the run: the engine. A network that is not one of ours is rehearsed.

        Raises `InputError` for one that cannot be scored, and warns of one that may be misread.
        """
        net, device = self.network(model, streams(seed)), compute.device
        if ":" in model.label or isinstance(model, OwnSpec):
            rehearse(net, dataset, self.settings, model.label, device, compute.precision)
        choice = engine_of(net, dataset, device, compile=compute.compile, precision=compute.precision)
        if self.trained is not None and not self.trained.sure and (doubt := doubts(net, dataset, device)) is not None:
            warnings.warn(f"{self.trained.where} may be misread: {doubt}", stacklevel=2)
        return [] if self.settings.terms == "explicit" else [str(choice)]

    def network(self, model: ModelSpec, rng: Rng) -> nn.Module:
        """The first network: the trained one, or that of the first fold as it is initialised."""
        if self.trained is None:
            return model.bare(rng("network", 0))
        if self.trained.net is None:
            raise InputError(
                f"{option('model')} {model.label}: the scores are of a network that was trained before (sha256 "
                f"{self.trained.sha256[:12]}): hand it over again"
            )
        return self.trained.net

    def open(
        self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared
    ) -> FoldsWork | TrainedWork:
        """The work at its first step."""
        if self.trained is None:
            return FoldsWork(self, dataset, model, rng, compute)
        return TrainedWork(self, dataset, model, self.network(model, rng), rng, compute)

    def facts(self, dataset: Dataset, model: ModelSpec, found: Sequence[FoldScores]) -> Json:
        """What the page says of the scores."""
        settings, trained = self.settings, self.trained
        accuracies = [each.accuracy for each in found]
        return {
            "kind": "validation",
            "source": dataset.source,
            "classes": list(dataset.classes),
            "model": model.label,
            "load": None if trained is None else trained.where,
            "pixels": None if trained is None else {"mean": dataset.mean, "std": dataset.std},
            "labels": dataset.options.labels,
            **{name: value for name in OF_SOURCE if (value := getattr(dataset.options, name)) is not None},
            "train": len(dataset.train),
            "validation": {
                "images": len(dataset.val),
                "source": dataset.validation,
                "accuracy": fmean(accuracies),
                "accuracies": accuracies,
            },
            "folds": None if trained is not None else settings.folds,
            "nets": self.nets,
            "networks": settings.networks,
            "terms": settings.terms,
            "risk": settings.risk,
            "curvature": settings.curvature.kind,
            "damping": [each.damping for each in found],
            "iterations": [each.iterations for each in found],
            "residual": [each.residual for each in found],
            "converged": all(each.converged for each in found),
        }

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        load = None if self.trained is None else self.trained.sha256
        return {"nets": self.nets, "load": load, KEY: asdict(self.settings), "weights": asdict(self.weighting)}


def plan_from(stored: Json, methods: Mapping[str, object]) -> Scoring:
    """The plan that `Scoring.to_json` wrote; no method has a part in it."""
    settings = CrossFit(**{**stored[KEY], "curvature": Curvature(**stored[KEY]["curvature"])})
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in stored["weights"].items()}
    trained = None if stored["load"] is None else Trained(stored["load"])
    return Scoring(settings, Weighting(**weighting), stored["nets"], trained)
