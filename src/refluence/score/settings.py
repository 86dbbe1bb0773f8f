"""Numbers of a cross-fitted score: folds, training, curvature, terms and risk."""

from __future__ import annotations

from dataclasses import dataclass, field

from refluence.fields import check, described, same, setting
from refluence.influence.curvature import Curvature
from refluence.influence.losses import Loss, cross_entropy, expected_error
from refluence.options import ScoreOptions

RISKS: dict[str, Loss] = {"error": expected_error, "cross-entropy": cross_entropy}


@described
@dataclass(frozen=True)
class CrossFit:
    """Numbers of a run. Networks train by SGD with Nesterov momentum, a learning rate that rises to `lr` over a fifth of the
    steps and falls to 0, and small shifts (mirroring too where images have colours) as augmentation.

    The curvature's damping "auto" is here 20 mean diagonal entries of the Gauss-Newton matrix: a step from a network that is
    not at a minimum must stay short (found on one draw of CIFAR-10N; the figures are in docs/results/influence.md).

    Raises:
        InputError: a value outside its range.
    """

    folds: int = same(ScoreOptions, "folds", default=5)
    epochs: int = same(ScoreOptions, "epochs", default=15)
    checkpoints: int = setting(1, "Scores are means over the ends of the last so many epochs (theta_t).", least=1)
    batch: int = same(ScoreOptions, "batch", default=64)
    lr: float = same(ScoreOptions, "lr", default=0.05)
    weight_decay: float = same(ScoreOptions, "weight_decay", default=5e-4)
    curvature: Curvature = field(default_factory=lambda: Curvature("ggn", iterations=50))
    fit: int = setting(1000, "Training rows that the curvature is built on.", least=1)
    terms: str = same(ScoreOptions, "terms", default="both")
    risk: str = same(ScoreOptions, "risk", default="error")
    networks: str = same(ScoreOptions, "networks", default="held-out")

    def __post_init__(self) -> None:
        check(self)
