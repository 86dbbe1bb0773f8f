"""The real side of Algorithm 1 (IWD): which weight each real instance of the batch gets, and the statistic under it.

    I_j = <grad_2 D(a, b), phi_j>  [- (n_c/N) <H^-1 q, grad l_j>]     b the uniform class mean     lines 5-6, eq. 22-25
    omega = n softmax(sign I / tau + rho log omega_before)            in its bag, standardised     line 7 (rho = 0)
    inside:   D(a, (1/n) sum_j omega_j phi_j)                                                      eq. 8 (our default)
    outside:  (1/n) sum_j omega_j D(a, phi_j)                                                      line 9

The bracket is the implicit term, where networks train on D (implicit.py). omega has mean 1 in its bag, so omega = 1 is the
base method. Weights of the kind "scores" are known beforehand: omega = w_j / mean of w in the class of the batch (ours). What
the loss has beside D (calibration, SDC) is no part of M: it has no explicit term, and the implicit one, where networks train
on D, is that of D alone as well (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.condense.implicit import Implicit, Solution
from refluence.condense.method import Method, Settings
from refluence.condense.statistics import Bound
from refluence.errors import InputError
from refluence.influence.rows import gradient_norms
from refluence.influence.running import RunningInfluence
from refluence.influence.weigher import Weigher
from refluence.influence.weighting import OF_TRANSFERS, Weighting
from refluence.matching.discrepancies import first_derivative, second_derivative
from refluence.matching.statistics import Measured

Omegas = Sequence[Tensor | None]


@dataclass
class ClassBatch:
    """One class at one image step: its synthetic images, their statistic `a`, and the real batch it is held against."""

    rows: Tensor  # (M_c,) in the synthetic set
    leaves: list[Tensor]  # pixels (M_c, C, H, W) and perhaps logits (M_c, K)
    bound: Bound  # the statistic at this theta
    a: dict[str, Tensor]  # with the graph that leads back to `leaves`
    extra: Tensor | None  # what the loss has beside D, a scalar with its graph
    shown: tuple[Tensor, Tensor]  # the synthetic (x, y) that gave `a`, detached
    x: Tensor  # (n, C, H, W) normalised, augmented like the synthetic side
    y: Tensor  # (n,)
    positions: Tensor  # (n,) in the training split
    again: Callable[[], ClassBatch] | None = None  # the same draws on the synthetic images as they are by now


@dataclass(frozen=True)
class Terms:
    """Scores `(n,)` of one batch: those that weigh, and the parts of which an influence is made (None: not measured)."""

    scores: Tensor
    explicit: Tensor | None = None
    implicit: Tensor | None = None


@dataclass
class Match:
    """D of one class, its derivative with respect to `batch.a`, the weights `(n,)` used (None: the plain mean) and scores."""

    batch: ClassBatch
    distance: Tensor
    cotangent: dict[str, Tensor]
    omega: Tensor | None
    terms: Terms | None = None

    def gradients(self) -> list[Tensor]:
        """dD/d(leaf) of each leaf, `extra` included: the cotangent carried back through the synthetic statistic."""
        outputs, cotangents = list(self.batch.a.values()), [self.cotangent[n] for n in self.batch.a]
        if self.batch.extra is not None:
            outputs, cotangents = [*outputs, self.batch.extra], [*cotangents, torch.ones_like(self.batch.extra)]
        return list(torch.autograd.grad(outputs, self.batch.leaves, cotangents, allow_unused=True, materialize_grads=True))

    def image_gradient(self) -> Tensor:
        """dD/dS_c `(M_c, C, H, W)`."""
        return self.gradients()[0]


def check(method: Method, weighting: Weighting) -> None:
    """Refuse weights that this method cannot have (`InputError`)."""
    if weighting.cleans:  # its terms are those of the scores that it goes by
        return
    if weighting.kind in OF_TRANSFERS:
        raise InputError(
            f"{weighting.kind} weights are of transfers, by the student's training: {method.name} does not take them"
        )
    if weighting.terms == "implicit" and not method.inner_is_real:
        raise InputError(f"terms=implicit: that term is zero for {method.name}, whose networks do not train on the real set")
    if weighting.terms != "explicit" and weighting.where == "outside" and method.inner_is_real:
        raise InputError(f"terms={weighting.terms} is that of the inside distance: where=outside takes terms=explicit")


class RealSide:
    """Weights and statistics of real batches; its state is that of its weigher, the table of running influence."""

    def __init__(
        self,
        method: Method,
        weighting: Weighting,
        table: RunningInfluence,
        compute: Compute | None = None,
        settings: Settings | None = None,
        implicit: Implicit | None = None,
        given: Tensor | None = None,
    ):
        """`given (N,)`: the weights of the training instances, known beforehand."""
        check(method, weighting)
        if (given is not None) != (weighting.kind == "scores"):
            raise InputError("weights of the kind scores need the weights of a table of scores, and no others do")
        self.given = given
        self.weighting, self.compute = weighting, compute or Compute()
        self.distance = method.discrepancy if settings is None else method.distance(settings)
        self.weigher = Weigher(weighting, table, 0 if settings is None else settings.iterations)
        twofold = weighting.scored and weighting.terms != "explicit"
        self.implicit = implicit if method.inner_is_real and twofold else None

    def match(self, net: nn.Module, batches: Iterable[ClassBatch], step: int, generator: torch.Generator) -> Iterator[Match]:
        """Each class's match, in order. With `bag="class"` and no implicit term one class at a time is held in memory."""
        if self.weighting.bag == "class" and self.implicit is None:
            for batch in batches:
                kept, terms = self._measure(net, batch, step, None)
                (omega,) = self._weigh([batch], None if terms is None else terms.scores, step, generator)
                yield self._distance(batch, omega, kept, terms)
            return
        held = list(batches)
        solution = None
        if self.implicit is not None and self.weigher.measures(step):
            solution = self.implicit.solve(net, [(b.bound.statistic, b.shown, (b.x, b.y)) for b in held], self.distance, step)
        measured = [self._measure(net, batch, step, solution)[1] for batch in held]
        scored = [terms.scores for terms in measured if terms is not None]
        omegas = self._weigh(held, torch.cat(scored) if scored else None, step, generator)
        for batch, omega, terms in zip(held, omegas, measured, strict=True):
            # where every class has an image step of its own, those before have moved this one's images too
            yield self._distance(batch if batch.again is None else batch.again(), omega, None, terms)

    def _measure(
        self, net: nn.Module, batch: ClassBatch, step: int, solution: Solution | None
    ) -> tuple[Measured | None, Terms | None]:
        """Scores `(n,)` of this step's real batch, where this step measures any."""
        if not self.weigher.measures(step):
            return None, None
        if self.weighting.kind == "difficulty":  # easier instances are stressed: arXiv 2408.12483
            return None, Terms(-gradient_norms(net, batch.x, batch.y, batch.bound.names).cpu())
        kept = batch.bound.measure(batch.x, batch.y)
        if self.weighting.kind == "loss":
            return kept, Terms(kept.losses.cpu())
        _, direction = second_derivative(self.distance, batch.a, kept.gradient(None))
        explicit = kept.scores(direction).cpu()  # a few numbers; some accelerators know no float64
        if solution is None:
            return kept, Terms(explicit, explicit)
        implicit = solution.scores(net, batch.x, batch.y, batch.positions)
        return kept, Terms(implicit if self.weighting.terms == "implicit" else explicit + implicit, explicit, implicit)

    def _weigh(self, batches: list[ClassBatch], scores: Tensor | None, step: int, generator: torch.Generator) -> Omegas:
        """omega of each batch; `scores` are theirs, one after the other, where this step measured any."""
        if self.given is not None:
            return [of_mean_one(self.given[b.positions.cpu()]) for b in batches]
        positions = torch.cat([b.positions for b in batches])
        labels = torch.cat([b.y for b in batches]) if len(batches) > 1 else None
        omega = self.weigher.weigh(positions, scores, step, generator, labels)
        if omega is None:
            # outside the distance the plain mean would be another distance
            even = self.weighting.scored and self.weighting.where == "outside"
            return [torch.ones(len(b.positions)) if even else None for b in batches]
        return list(omega.split([len(b.positions) for b in batches]))

    def _distance(self, batch: ClassBatch, omega: Tensor | None, kept: Measured | None, terms: Terms | None) -> Match:
        if omega is not None:
            omega = omega.to(batch.x)
            if self.weighting.where == "outside":
                distance, cotangent = self._outside(batch, omega)
                return Match(batch, distance, cotangent, omega, terms)
        b = kept.gradient(omega) if kept is not None else batch.bound.mean(batch.x, batch.y, omega)
        distance, cotangent = first_derivative(self.distance, batch.a, b)
        return Match(batch, distance, cotangent, omega, terms)

    def _outside(self, batch: ClassBatch, omega: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(1/n) sum_j omega_j D(a, phi_j) and its derivative with respect to a, chunk by chunk (Algorithm 1, line 9)."""
        a = {name: tensor.detach().requires_grad_() for name, tensor in batch.a.items()}
        total, cotangent = torch.zeros((), device=omega.device), {name: torch.zeros_like(t) for name, t in a.items()}
        for part, rows in batch.bound.each(batch.x, batch.y):
            each = torch.vmap(lambda phi: self.distance.value(a, phi))(rows)
            share = (omega[part] * each).sum() / len(omega)
            for name, gradient in zip(a, torch.autograd.grad(share, list(a.values())), strict=True):
                cotangent[name] += gradient
            total = total + share.detach()
        return total, cotangent


def of_mean_one(weights: Tensor) -> Tensor:
    """Weights `(n,)` of a batch of one class, of mean 1; where all of them are 0, all weigh the same (ours)."""
    mean = weights.mean()
    return weights / mean if mean > 0 else torch.ones_like(weights)
