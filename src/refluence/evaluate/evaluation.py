"""What a small set is worth: train fresh networks on it by a protocol, score the last iterate of each on a split."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import fmean

from torch import Tensor, nn

from refluence.data.dataset import Split
from refluence.evaluate.measure import Scores, score
from refluence.evaluate.protocols import Protocol
from refluence.evaluate.train import train
from refluence.models import ModelSpec

CURVE_POINTS = 100


@dataclass(frozen=True)
class Evaluation:
    """Percent, averaged over the networks; `accuracies` has one value per network.

    `curve` is `(epoch, mean training loss)` of network 0, at most 100 points with the last epoch among them. `seconds`
    covers training and scoring.
    """

    protocol: str
    model: str
    epochs: int
    accuracies: tuple[float, ...]
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    seconds: float
    curve: tuple[tuple[int, float], ...]

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self) | {
            "accuracies": list(self.accuracies),
            "nets": len(self.accuracies),
            "curve": [list(point) for point in self.curve],
        }


def evaluate(
    images: Tensor,
    labels: Tensor,
    spec: ModelSpec,
    protocol: Protocol,
    split: Split,
    mean,
    std,
    rng,
    nets: int,
    device: str = "cpu",
    progress: Callable[[int, Scores, nn.Module], None] | None = None,
) -> Evaluation:
    """Train `nets` networks on `images` `(M, C, H, W)` (normalised float) with `labels` `(M,)` and score them on `split`.

    `mean` and `std` normalise the split as `images` were; `rng(purpose, index)` gives CPU generators. After each network
    `progress(index, scores, network)` is called, which can also keep the network.
    """
    start = time.perf_counter()
    scores, curve = [], ()
    for index in range(nets):
        net, losses = train(images, labels, spec, protocol, rng, index, device)
        scores.append(score(net, split, mean, std, device))
        if index == 0:
            curve = _thin(losses)
        if progress is not None:
            progress(index, scores[-1], net)
    return Evaluation(
        protocol=protocol.name,
        model=spec.name,
        epochs=protocol.epochs,
        accuracies=tuple(s.accuracy for s in scores),
        accuracy=fmean(s.accuracy for s in scores),
        balanced_accuracy=fmean(s.balanced_accuracy for s in scores),
        macro_f1=fmean(s.macro_f1 for s in scores),
        seconds=time.perf_counter() - start,
        curve=curve,
    )


def _thin(losses: Tensor) -> tuple[tuple[int, float], ...]:
    """At most `CURVE_POINTS` pairs of epoch (from 1) and loss, evenly spaced, ending at the last epoch."""
    step = -(-len(losses) // CURVE_POINTS)
    return tuple((i + 1, float(losses[i])) for i in reversed(range(len(losses) - 1, -1, -step)))
