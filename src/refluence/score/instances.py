"""The scores of training rows by one network, I_j of score/crossfit.py: its validation gradient solved, then row by row."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset, Split
from refluence.influence.batches import passes
from refluence.influence.curvature import damped, inverse_product
from refluence.influence.directional import Scorer
from refluence.influence.engines import Choice
from refluence.influence.losses import cross_entropy
from refluence.influence.parameters import Parameters, scaled
from refluence.influence.risk import risk_gradient
from refluence.randomness import seeded
from refluence.score.settings import RISKS, CrossFit

CHUNK_PIXELS = 2**19  # pixels that are turned into floats at once: 512 rows of 32 x 32
FEW = 4  # images that a network is tried on
I = TypeVar("I")


class Track(Protocol):
    """Items as they are, under a bar that says what is done with each of a `total` of them."""

    def __call__(self, items: Iterable[I], what: str, total: int, /) -> Iterable[I]:
        """The items, one at a time."""


@dataclass(frozen=True)
class FoldScores:
    """What the network of one fold says of the rows at `positions` `(n,)` of the training split.

    `score` `(n,)`: I_j, positive is harmful; `phi` `(n,)`: its implicit part, 0 without that term; `loss` `(n,)`: cross-entropy
    at the last checkpoint; `suggested` `(n,)`: its most likely class there. `accuracy`: percent of the validation split.
    `damping`, `iterations`, `residual` (relative) and `converged` are those of the last curvature solve. `held_out`: float16
    probabilities of the classes `(rows of the fold, K)` at the last checkpoint, of the rows that it did not train on, in order.
    """

    positions: Tensor
    score: Tensor
    phi: Tensor
    loss: Tensor
    suggested: Tensor
    damping: float
    iterations: int
    residual: float
    converged: bool
    accuracy: float
    held_out: Tensor | None = None


class Rows:
    """Rows of a split as batches (x, y), read anew at every pass: no more than a chunk is held as floats."""

    def __init__(self, dataset: Dataset, split: Split, positions: Tensor, device: torch.device | str = "cpu"):
        self.dataset, self.split, self.positions, self.device = dataset, split, positions, device
        self.chunk = max(1, CHUNK_PIXELS // dataset.area)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in self.positions.split(self.chunk):
            yield self.dataset.pixels(self.split, part, self.device), self.split.labels[part].to(self.device)

    def __len__(self) -> int:
        return -(-len(self.positions) // self.chunk)


@dataclass(frozen=True)
class Solved:
    """v = -H^-1 grad R_val at one network by parameter (`{}`: the explicit term alone), and how it was found.

    `accuracy`: the percent of the validation split that the network is right on.
    """

    v: Parameters
    damping: float
    iterations: int
    residual: float
    converged: bool
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """Of some rows `(n,)`: phi, the own risk r, the cross-entropy, and the most likely class."""

    phi: Tensor
    own: Tensor
    loss: Tensor
    suggested: Tensor

    def score(self, terms: str) -> Tensor:
        """I_j `(n,)`: the mean of r is that of these rows."""
        return self.phi if terms == "implicit" else self.phi + self.own - self.own.mean()


def score_rows(
    net: nn.Module,
    dataset: Dataset,
    rows: Tensor,
    members: Tensor,
    settings: CrossFit,
    generator: torch.Generator,
    device: torch.device | str,
    track: Track | None = None,
    *,
    compile: bool = False,
    precision: str = "fp32",
) -> FoldScores:
    """I_j of the training `rows` by a network in eval mode; the curvature is that of its training loss on a sample of
    `members`, the rows that it was trained on. `generator` draws that sample. Frozen parameters do not count."""
    with seeded(generator, device):
        solved = solve(net, dataset, members, settings, generator, device, track)
        found = measure(Scorer(net, compile=compile, precision=precision), dataset, rows, solved.v, settings, device, track)
    how = (solved.damping, solved.iterations, solved.residual, solved.converged, solved.accuracy)
    return FoldScores(rows, found.score(settings.terms), found.phi, found.loss, found.suggested, *how)


def solve(
    net: nn.Module,
    dataset: Dataset,
    members: Tensor,
    settings: CrossFit,
    generator: torch.Generator,
    device: torch.device | str,
    track: Track | None = None,
) -> Solved:
    """The direction that training rows are scored along. `seeded` is the caller's."""
    device, names = torch.device(device), trainable(net)
    validation = Rows(dataset, dataset.val, torch.arange(len(dataset.val)), device)
    right = sum(int(_logits(net, x).argmax(1).eq(y).sum()) for x, y, _ in passes(validation, device))
    accuracy = 100 * right / len(dataset.val)
    if settings.terms == "explicit":
        return Solved({}, 0.0, 0, 0.0, True, accuracy)
    sample = members[torch.randperm(len(members), generator=generator)[: settings.fit]]
    gradient, _ = risk_gradient(net, validation, RISKS[settings.risk], names)
    fit = Rows(dataset, dataset.train, sample, device)
    with _steps(track, settings.curvature.iterations) as step:
        curvature = damped(net, fit, settings.curvature, names=names)
        found = inverse_product(net, fit, gradient, curvature, names=names, progress=step)
    residual = (found.residuals or (0.0,))[-1]
    return Solved(scaled(found.x, -1.0), found.damping, found.iterations, residual, found.converged, accuracy)


def measure(
    scorer: Scorer,
    dataset: Dataset,
    rows: Tensor,
    v: Parameters,
    settings: CrossFit,
    device: torch.device | str,
    track: Track | None = None,
) -> Measured:
    """What a network in eval mode says of training `rows` along `v`. `seeded` is the caller's."""
    device, risk = torch.device(device), RISKS[settings.risk]
    held, parts = Rows(dataset, dataset.train, rows, device), []
    for chunk in held if track is None else track(held, "scoring", len(held)):
        for x, y, _ in passes([chunk], device):
            logits = _logits(scorer.model, x)
            phi = scorer(x, y, v) if v else torch.zeros(len(x))
            parts.append([t.cpu() for t in (phi, risk(logits, y), cross_entropy(logits, y), logits.argmax(1))])
    return Measured(*(torch.cat(each) for each in zip(*parts, strict=True)))


def probabilities(net: nn.Module, dataset: Dataset, rows: Tensor, device: torch.device | str) -> Tensor:
    """Of the classes `(n, K)` float16, for training rows at positions `rows (n,)`. `seeded` is the caller's."""
    found = [_logits(net, x) for x, _, _ in passes(Rows(dataset, dataset.train, rows, device), torch.device(device))]
    return torch.cat([logits.float().softmax(1).half().cpu() for logits in found])


def trainable(net: nn.Module) -> list[str]:
    """The parameters that count: those that are not frozen."""
    return [name for name, p in net.named_parameters() if p.requires_grad]


def engine_of(
    net: nn.Module,
    dataset: Dataset,
    device: torch.device | str = "cpu",
    *,
    compile: bool = False,
    precision: str = "fp32",
) -> Choice:
    """The engine that `score_rows` takes with `net`, put in eval mode. `InputError` where its instances see each other."""
    net.to(device).eval()
    x, y = next(iter(Rows(dataset, dataset.train, torch.arange(min(FEW, len(dataset.train))), device)))
    return Scorer(net, compile=compile, precision=precision).choice(x, y, trainable(net))


@contextmanager
def _steps(track: Track | None, total: int) -> Iterator[Callable[[int, float], None]]:
    """A function that counts one iteration of the solver under `track`."""
    bar = iter(range(0)) if track is None else iter(track(range(total + 1), "solving for the curvature", total))

    def count(iteration: int, residual: float) -> None:
        next(bar, None)

    try:
        yield count
    finally:
        if isinstance(bar, Generator):
            bar.close()


@torch.no_grad()
def _logits(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)
