"""Numbers of a cross-fitted score: folds, training, curvature, terms and risk."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from refluence.errors import InputError
from refluence.influence.curvature import Curvature
from refluence.influence.losses import Loss, cross_entropy, expected_error

TERMS = ("explicit", "implicit", "both")
NETWORKS = ("held-out", "all")
RISKS: dict[str, Loss] = {"error": expected_error, "cross-entropy": cross_entropy}


@dataclass(frozen=True)
class CrossFit:
    """Numbers of a run. Networks train by SGD with Nesterov momentum, a learning rate that rises to `lr` over a fifth of the
    steps and falls to 0, and small shifts (mirroring too where images have colours) as augmentation.

    `checkpoints`: theta_t, the ends of the last so many epochs. `fit`: training rows that the curvature is built on. Its
    damping "auto" is here 20 mean diagonal entries of the Gauss-Newton matrix: a step from a network that is not at a minimum
    must stay short (found on one draw of CIFAR-10N; the figures are in docs/results/influence.md).
    `terms`: explicit, implicit (KD-AIF's phi alone) or both. `risk`: a key of `RISKS`. `networks`: a row is scored by those
    that held it out ("held-out") or by those of every fold ("all"): more networks, most of which were trained on it.
    """

    folds: int = 5
    epochs: int = 15
    checkpoints: int = 1
    batch: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    curvature: Curvature = field(default_factory=lambda: Curvature("ggn", iterations=50))
    fit: int = 1000
    terms: str = "both"
    risk: str = "error"
    networks: str = "held-out"

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("epochs", 1), ("checkpoints", 1), ("batch", 1), ("fit", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}: it must be a whole number, at least {least}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr is {self.lr!r}: it must be a finite number above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay is {self.weight_decay!r}: it must be a finite number, 0 or more")
        for name, value, allowed in (
            ("terms", self.terms, TERMS),
            ("risk", self.risk, RISKS),
            ("networks", self.networks, NETWORKS),
        ):
            if value not in allowed:
                raise InputError(f"unknown {name} '{value}': choose one of {', '.join(allowed)}")
