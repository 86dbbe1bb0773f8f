"""What is asked of scores: the classifier that they speak of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from refluence.fields import setting
from refluence.options.base import Options
from refluence.options.sets import NORMS


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """The classifier that the scores speak of. None of these goes with --distilled."""

    group: ClassVar[str] = "classifier"

    folds: int | None = setting(
        None, "Every instance is scored by a network that was not trained on it (default: 5 folds).", least=2
    )
    model: str | Callable[..., Any] | None = setting(
        None,
        "One of `refluence ls`, or FILE.py:FUNCTION with your function (shape, classes) -> nn.Module (default: convnet).",
    )
    width: int | None = setting(
        None, "Channels per layer of a convnet (default: 32), or of a resnet's first stage (default: 16).", least=1
    )
    norm: str | None = setting(None, "Normalisation layer of a convnet or resnet (default: the published one).", choices=NORMS)
    load: Path | None = setting(
        None,
        "Score with this trained model.safetensors (see `evaluate --save-model`) instead of training any.",
        metavar="FILE",
    )
    pixels: str | None = setting(
        None,
        "How pixels of 0 to 1 were normalised for --load: unit, signed, imagenet, data, or numbers, one or one a channel, as "
        "in 0.5:0.25 (default: as its file says, else data, by the training split).",
        metavar="NAME|MEAN:STD",
    )
    epochs: int | None = setting(None, "Epochs of training in each fold (default: 15).", least=1)
    batch: int | None = setting(None, "Batch size of training (default: 64).", least=1)
    lr: float | None = setting(None, "Highest learning rate of training (default: 0.05).", above=0)
    weight_decay: float | None = setting(None, "Weight decay of training (default: 0.0005).", least=0)
    terms: str | None = setting(
        None,
        "Its own held-out risk, what training on it does to the validation risk, or their sum (default: both; with "
        "--validation SRC implicit).",
        choices=("explicit", "implicit", "both"),
    )
    networks: str | None = setting(
        None,
        "Each instance is scored by the networks that held it out, or by those of all folds (default: held-out).",
        choices=("held-out", "all"),
    )
    risk: str | None = setting(
        None,
        "What is to be low: the expected error 1 - p, or cross-entropy (default: error).",
        choices=("error", "cross-entropy"),
    )
    curvature: str | None = setting(
        None, "identity, ggn, hessian, kfac, ekfac, lbfgs or lissa, for the implicit term (default: ggn)."
    )
    damping: str | None = setting(None, "Added to the curvature's diagonal (default: auto).", metavar="NUMBER|auto")
