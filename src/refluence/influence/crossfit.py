"""The influence of every training instance on held-out risk, each seen by networks that were not trained on it:

    M(w)  = E_theta0 sum_t  R_val(theta_t(w))  +  sum_j w_j r_j(theta_t) / sum_j w_j      r_j at a network that did not see j
    I_j   = N dM/dw_j  =  phi_j  +  r_j - mean r,        phi_j = -< H^-1 grad R_val, grad l_j >         (KD-AIF for phi)
            implicit: what training on j does to the validation split      explicit: its own held-out risk

Cross-fitting: the rows are dealt into folds, class by class; the networks of a fold train on the other folds and score it.
The mean of r is that of the rows scored. r is the risk: by default the expected error 1 - p_y, which is bounded and, unlike
cross-entropy, ranks classifiers alike under symmetric label noise (Ghosh et al. 2017, arXiv 1712.09482): the validation split
may be as noisy as the training rows. l is the training loss, cross-entropy. The joint objective, the cross-fitting of phi and
the defaults are ours; phi alone is `terms="implicit"`, the out-of-fold risk that cleaning tools use is `terms="explicit"`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset, Split
from refluence.errors import InputError, RunError
from refluence.influence.batches import passes
from refluence.influence.curvature import Curvature, Solution, inverse_product, mean_diagonal, operator
from refluence.influence.directional import Scorer
from refluence.influence.engines import Choice
from refluence.influence.losses import cross_entropy, expected_error
from refluence.influence.parameters import scaled
from refluence.influence.risk import risk_gradient
from refluence.matching.augment import parse
from refluence.models.repeatable import refuse_random_eval
from refluence.randomness import seeded
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.schedules import triangle

CHUNK_PIXELS = 2**19  # pixels that are turned into floats at once: 512 rows of 32 x 32
DAMPING_SHARE = 20.0  # automatic damping, in mean diagonal entries
FEW = 4  # images that a network is tried on
WARM_UP = 0.2  # share of the steps in which the learning rate rises
EPOCHS_PER_FOLD = 1_000_003  # each (fold, epoch) has a random stream of its own
TERMS = ("explicit", "implicit", "both")
NETWORKS = ("held-out", "all")
RISKS = {"error": expected_error, "cross-entropy": cross_entropy}
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


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

    def __post_init__(self):
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


@dataclass(frozen=True)
class FoldScores:
    """What the network of one fold says of the rows at `positions` `(n,)` of the training split.

    `score` `(n,)`: I_j, positive is harmful; `loss` `(n,)`: cross-entropy at the last checkpoint; `suggested` `(n,)`: its most
    likely class there. `accuracy`: percent of the validation split. `damping`, `iterations`, `residual` (relative) and
    `converged` are those of the last curvature solve.
    """

    positions: Tensor
    score: Tensor
    loss: Tensor
    suggested: Tensor
    damping: float
    iterations: int
    residual: float
    converged: bool
    accuracy: float


class Rows:
    """Rows of a split as batches (x, y), read anew at every pass: no more than a chunk is held as floats."""

    def __init__(self, dataset: Dataset, split: Split, positions: Tensor, device: torch.device | str = "cpu"):
        self.dataset, self.split, self.positions, self.device = dataset, split, positions, device
        self.chunk = max(1, CHUNK_PIXELS // (dataset.shape[1] * dataset.shape[2]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in self.positions.split(self.chunk):
            yield self.dataset.pixels(self.split, part, self.device), self.split.labels[part].to(self.device)

    def __len__(self) -> int:
        return -(-len(self.positions) // self.chunk)


def assign(labels: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """The fold `(N,)` int64 of each row: dealt out class by class in an order from `generator`, sizes differ by at most 1.

    Raises `InputError` where a class has fewer rows than there are folds.
    """
    fold_of = torch.empty(len(labels), dtype=torch.int64)
    dealt = 0
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < folds:
            raise InputError(f"folds is {folds}: class {label} has only {len(members)} training rows")
        order = members[torch.randperm(len(members), generator=generator)]
        fold_of[order] = (torch.arange(len(order)) + dealt) % folds
        dealt += len(order)
    return fold_of


def score_fold(
    dataset: Dataset,
    network: Callable[[torch.Generator], nn.Module],
    fold_of: Tensor,
    fold: int,
    settings: CrossFit,
    rng: Rng,
    device: torch.device | str = "cpu",
    track: Track | None = None,
    **scorer: Any,
) -> FoldScores:
    """Train a network of `network(generator)` on every fold but `fold`, and score the rows of `fold`, or all (see the top).

    `fold_of` `(N,)` as `assign` gives it; `rng(purpose, index)` gives CPU generators; `track(items, what, total)` may show
    progress; `scorer`: options of `Scorer`, such as compile. Raises `RunError` when training diverges, `InputError` before
    that for a network that is random in eval mode.
    """
    members, held = (fold_of != fold).nonzero().flatten(), (fold_of == fold).nonzero().flatten()
    scored = held if settings.networks == "held-out" else torch.arange(len(fold_of))
    with seeded(start := rng("network", fold), device):
        net = network(start).to(device)
    refuse_random_eval(net, dataset.pixels(dataset.train, members[:FEW], device))
    epochs = train_epochs(net, dataset, members, settings, rng, fold, device)
    first, found = settings.epochs - settings.checkpoints, []
    for epoch in epochs if track is None else track(epochs, "training", settings.epochs):
        if epoch >= first:
            net.eval()
            found.append(score_rows(net, dataset, scored, members, settings, rng("curvature", fold), device, track, **scorer))
            net.train()
    score = torch.stack([each.score for each in found]).mean(0)
    last = found[-1]
    return replace(last, score=score)


def score_model(
    dataset: Dataset,
    model: nn.Module,
    settings: CrossFit,
    rng: Rng,
    device: torch.device | str = "cpu",
    track: Track | None = None,
    **scorer: Any,
) -> FoldScores:
    """Scores of all training rows by a network that is trained already, and may have seen them. It is put in eval mode.

    Raises `InputError` where it is random there.
    """
    rows = torch.arange(len(dataset.train))
    model.to(device).eval()
    refuse_random_eval(model, dataset.pixels(dataset.train, rows[:FEW], device))
    return score_rows(model, dataset, rows, rows, settings, rng("curvature", 0), device, track, **scorer)


def score_rows(
    net: nn.Module,
    dataset: Dataset,
    rows: Tensor,
    members: Tensor,
    settings: CrossFit,
    generator: torch.Generator,
    device: torch.device | str,
    track: Track | None = None,
    **scorer: Any,
) -> FoldScores:
    """I_j of the training `rows` by a network in eval mode; the curvature is that of its training loss on a sample of
    `members`, the rows that it was trained on. `generator` draws that sample. Frozen parameters do not count."""
    device, names = torch.device(device), [name for name, p in net.named_parameters() if p.requires_grad]
    risk = RISKS[settings.risk]
    validation = Rows(dataset, dataset.val, torch.arange(len(dataset.val)), device)
    with seeded(generator, device):
        right = sum(int((_logits(net, x).argmax(1) == y).sum()) for x, y, _ in passes(validation, device))
        v, solved = None, Solution({}, 0, (), 0.0, settings.curvature.kind, True)
        if settings.terms != "explicit":
            sample = members[torch.randperm(len(members), generator=generator)[: settings.fit]]
            gradient, _ = risk_gradient(net, validation, risk, names)
            fit = Rows(dataset, dataset.train, sample, device)
            with _steps(track, settings.curvature.iterations) as step:
                curvature = _damped(net, fit, settings.curvature, names)
                solved = inverse_product(net, fit, gradient, curvature, names=names, progress=step)
            v = scaled(solved.x, -1.0)
        one, held, parts = Scorer(net, **scorer), Rows(dataset, dataset.train, rows, device), []
        for chunk in held if track is None else track(held, "scoring", len(held)):
            for x, y, _ in passes([chunk], device):
                logits = _logits(net, x)
                phi = torch.zeros(len(x)) if v is None else one(x, y, v)
                parts.append([t.cpu() for t in (phi, risk(logits, y), cross_entropy(logits, y), logits.argmax(1))])
    phi, own, loss, suggested = (torch.cat(each) for each in zip(*parts, strict=True))
    score = phi if settings.terms == "implicit" else phi + own - own.mean()
    residual, accuracy = (solved.residuals or (0.0,))[-1], 100 * right / len(dataset.val)
    found = (solved.damping, solved.iterations, residual, solved.converged)
    return FoldScores(rows, score, loss, suggested, *found, accuracy)


def engine_of(net: nn.Module, dataset: Dataset, device: torch.device | str = "cpu", **scorer: Any) -> Choice:
    """The engine that `score_rows` takes with `net`, put in eval mode. `InputError` where its instances see each other."""
    net.to(device).eval()
    x, y = next(iter(Rows(dataset, dataset.train, torch.arange(min(FEW, len(dataset.train))), device)))
    return Scorer(net, **scorer).choice(x, y, [name for name, p in net.named_parameters() if p.requires_grad])


def _damped(net: nn.Module, fit: Rows, curvature: Curvature, names: list[str]) -> Curvature:
    """The same curvature with a number in place of "auto"."""
    if curvature.damping != "auto" or curvature.kind == "identity":
        return curvature
    return replace(curvature, damping=DAMPING_SHARE * mean_diagonal(operator(net, fit, damping=0.0, names=names)))


@contextmanager
def _steps(track: Track | None, total: int) -> Iterator[Callable[..., None]]:
    """A function that counts one iteration of the solver under `track`."""
    bar = iter(range(0)) if track is None else iter(track(range(total + 1), "solving for the curvature", total))
    try:
        yield lambda *_: next(bar, None) and None
    finally:
        if isinstance(bar, Generator):
            bar.close()


@torch.no_grad()
def _logits(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)


def train_epochs(
    net: nn.Module, dataset: Dataset, members: Tensor, settings: CrossFit, rng: Rng, fold: int, device: torch.device | str
) -> Iterator[int]:
    """Train `net` on `members` in place, in training mode; yields the number of each epoch at its end."""
    augmentation = parse("crop_flip" if dataset.shape[0] == 3 else "crop", "M")
    optimiser = torch.optim.SGD(
        net.parameters(), lr=settings.lr, momentum=0.9, weight_decay=settings.weight_decay, nesterov=True
    )
    batch = min(settings.batch, len(members))
    per_epoch = len(members) // batch  # a last, smaller batch is left out: another one each epoch
    total = settings.epochs * per_epoch

    def batches(generator: torch.Generator) -> Iterator[Batch[Tensor]]:
        order = members[torch.randperm(len(members), generator=generator)]
        for rows in order[: per_epoch * batch].split(batch):
            x = dataset.pixels(dataset.train, rows, device)
            x = augmentation.apply(augmentation.draw(generator, (x.shape[2], x.shape[3]), len(x)), x)
            yield Batch(x, dataset.train.labels[rows].to(device), rows=rows)

    net.train()
    for epoch in range(settings.epochs):

        def rate(step: int, before: int = epoch * per_epoch) -> float:
            return settings.lr * triangle(before + step + 1, total, WARM_UP)

        generator = rng("training", fold * EPOCHS_PER_FOLD + epoch)
        fit(net, optimiser, batches(generator), cross_entropy, schedule=rate, generator=generator, device=device)
        if not all(bool(p.isfinite().all()) for p in net.parameters()):
            raise RunError(f"training of fold {fold} diverged in epoch {epoch + 1}: a smaller lr would help")
        yield epoch
