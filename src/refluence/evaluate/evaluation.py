"""What a small set is worth: train fresh networks on it by a protocol, score the last iterate of each on a split."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from statistics import fmean

import torch
from torch import Tensor, nn

from refluence.data.dataset import Split
from refluence.data.distilled import DistilledSet, decoded
from refluence.data.whitening import Whitening, whitens
from refluence.errors import InputError
from refluence.evaluate.measure import Called, Scores, score
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.train import Compiled, Teacher, train
from refluence.files import Json
from refluence.models import ModelSpec
from refluence.seeds import Rng

CURVE_POINTS = 100


@dataclass(frozen=True)
class Evaluation:
    """Percent, averaged over the networks; `accuracies` has one value per network.

    `curve` is `(epoch, mean training loss)` of network 0, at most 100 points with the last epoch among them. `seconds`
    covers training and scoring. `labels` says what was trained on: `hard`, `soft` (of the set) or `teacher`; `lr` is the
    highest rate.
    """

    protocol: str
    model: str
    epochs: int
    accuracies: tuple[float, ...]
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    seconds: float
    curve: tuple[tuple[int, float], ...] = field(repr=False)
    labels: str
    lr: float

    def _repr_html_(self) -> str:
        facts = {
            "accuracy %": f"{self.accuracy:.1f}",
            "balanced accuracy %": f"{self.balanced_accuracy:.1f}",
            "macro F1 %": f"{self.macro_f1:.1f}",
            "networks": ", ".join(f"{each:.1f}" for each in self.accuracies),
            "protocol": self.protocol,
            "model": self.model,
        }
        cells = (
            "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row) for tag, row in (("th", facts), ("td", facts.values()))
        )
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"

    def to_dict(self) -> Json:
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
    mean: Sequence[float],
    std: Sequence[float],
    rng: Rng,
    nets: int,
    device: str | torch.device = "cpu",
    progress: Callable[[int, Scores, nn.Module], None] | None = None,
    *,
    stage: Tensor | None = None,
    teacher: Teacher | None = None,
    compiled: Compiled = lambda net: net,
    whitened: Whitening | None = None,
) -> Evaluation:
    """Train `nets` networks on `images` `(M, C, H, W)` (normalised float) with `labels` and score them on `split`.

    `labels` are `(M,)` int64 or `(M, classes)` probabilities; `stage`, `teacher` and `compiled` as in `train`. `mean` and
    `std` normalise the split as `images` were; `rng(purpose, index)` gives CPU generators. `whitened`, of
    `data.whitening.whitening(protocol.zca, dataset)`, is applied to both; `InputError` where it and the protocol disagree.
    After each network `progress(index, scores, network)` is called, which can also keep the network.
    """
    if (whitened is not None) != whitens(protocol.zca, spec.shape):
        does = "whitens" if whitened is None else "does not whiten"
        raise InputError(f"protocol {protocol.name} {does}: give whitened=whitening('{protocol.zca}', dataset)")
    judged: Called = compiled
    if whitened is not None:
        seen = whitened.to(device)
        images, judged = seen(images.to(device)), lambda net: _after(seen, compiled(net))
    pixels = tuple(mean), tuple(std)
    start = time.perf_counter()
    scores: list[Scores] = []
    curve: tuple[tuple[int, float], ...] = ()
    epochs = 0
    for index in range(nets):
        net, losses = train(
            images, labels, spec, protocol, rng, index, device, stage=stage, teacher=teacher, pixels=pixels, compiled=compiled
        )
        scores.append(score(net, split, mean, std, device, judged))
        if index == 0:
            curve, epochs = _thin(losses), len(losses)
        if progress is not None:
            progress(index, scores[-1], net)
    return Evaluation(
        protocol=protocol.name,
        model=spec.name,
        epochs=epochs,
        accuracies=tuple(s.accuracy for s in scores),
        accuracy=fmean(s.accuracy for s in scores),
        balanced_accuracy=fmean(s.balanced_accuracy for s in scores),
        macro_f1=fmean(s.macro_f1 for s in scores),
        seconds=time.perf_counter() - start,
        curve=curve,
        labels="teacher" if protocol.taught and teacher is not None else "soft" if labels.is_floating_point() else "hard",
        lr=protocol.lr,
    )


def evaluate_set(
    small: DistilledSet,
    spec: ModelSpec,
    protocol: Protocol,
    split: Split,
    rng: Rng,
    nets: int,
    device: str | torch.device = "cpu",
    progress: Callable[[int, Scores, nn.Module], None] | None = None,
    *,
    teacher: Teacher | None = None,
    compiled: Compiled = lambda net: net,
    whitened: Whitening | None = None,
) -> Evaluation:
    """`evaluate` of a distilled set: its decoded images, its soft labels, stages and learning rate as the protocol asks."""
    whole = decoded(small)
    labels = whole.soft if protocol.soft and whole.soft is not None else whole.labels
    if protocol.learned_lr and small.lr is not None:
        protocol = replace(protocol, lr=small.lr)
    return evaluate(
        whole.images,
        labels,
        spec,
        protocol,
        split,
        small.mean,
        small.std,
        rng,
        nets,
        device,
        progress,
        stage=whole.stage,
        teacher=teacher,
        compiled=compiled,
        whitened=whitened,
    )


def _after(first: Callable[[Tensor], Tensor], then: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: then(first(x))


def _thin(losses: Tensor) -> tuple[tuple[int, float], ...]:
    """At most `CURVE_POINTS` pairs of epoch (from 1) and loss, evenly spaced, ending at the last epoch."""
    step = -(-len(losses) // CURVE_POINTS)
    return tuple((i + 1, float(losses[i])) for i in reversed(range(len(losses) - 1, -1, -step)))
