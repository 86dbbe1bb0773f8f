"""What is watched while instances are weighted: KD-AIF's two theorems (arXiv 2501.02705), and how uneven the weights are.

Theorem 1    weights lower the validation risk: R(S'(w)) <= R(S'(1)), where S'(w) = S - eta grad (1/B) sum_i w_i l_i(S) is one
             step from the same state. `one_step_gain` is the difference, to first order
             (eta/B) sum_i (w_i - 1) phi_i with phi_i = -<grad R, grad l_i>. On the half whose phi made the weights, with
             curvature identity, it is never above 0, since w falls with phi: nothing is proved by it. The other half tells.
Theorem 2    the weighted risk is at most the worst risk of any distribution that is as far from uniform as the weights are, in
             chi-square: with D(w) = (1/2) mean (w - 1)^2 for weights of mean 1 and delta = D(w),

                 sup {sum_i q_i l_i : D(nq) <= delta} = inf_eta sqrt(2 delta + 1) sqrt(mean (l - eta)_+^2) + eta

             the dual of Duchi and Namkoong (arXiv 1810.08750). sqrt(2 delta + 1) = 1 / sqrt(share in effect), of Kish.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.functional import call_at
from refluence.influence.links import effective_sample_size
from refluence.influence.losses import cross_entropy
from refluence.influence.parameters import Parameters
from refluence.training.objectives import Loss, T
from refluence.training.predict import evaluating, predict
from refluence.transfer.teacher_step import look_ahead

CHUNK = 256  # validation instances at once
HALVINGS = 100  # of the interval that eta is looked for in
UNIFORM, STARVED, LARGEST = 0.999, 0.05, 50.0
"""The share in effect above which weights say nothing, that below which few are left; a weight far above the mean."""
Half = tuple[Tensor, Tensor]
"""Inputs and labels."""


@dataclass(frozen=True)
class Watched:
    """What is known of the weights of one scoring.

    Args:
        ess: the share of the instances that is in effect, in (0, 1].
        below_one: the share that the link gives less than 1.
        correlation: Pearson's, of weights and losses; 0 where one of them is constant.
        chi_square: D(w).
        worst_case: the largest mean loss of a distribution within D(w) of uniform.
        gain_weighing: risk after a step with weights less that after one without, on the half that made the weights.
        gain_watching: the same on the other half. Negative: weights help.
    """

    ess: float
    below_one: float
    correlation: float
    chi_square: float
    worst_case: float
    gain_weighing: float
    gain_watching: float


def watch(weights: Tensor, losses: Tensor, gains: tuple[float, float]) -> Watched:
    """What weights show.

    Args:
        weights: `(n,)` as the link gives them, before they are divided by their mean.
        losses: `(n,)` of the same instances.
        gains: of `one_step_gain`.
    """
    distance = chi_square(weights)
    return Watched(
        effective_sample_size(weights),
        float((weights < 1).double().mean()),
        _correlation(weights, losses),
        distance,
        worst_case_risk(losses, distance),
        *gains,
    )


def one_step_gain(
    student: nn.Module,
    x: Tensor,
    targets: T,
    loss: Loss[T],
    lr: float,
    weights: Tensor,
    halves: tuple[Half, Half],
) -> tuple[float, float]:
    """R(S'(w)) - R(S'(1)) by cross-entropy on each of two halves. Negative: weights help. The student is left as it was.

    Args:
        student: at S.
        x: inputs `(B, ...)` of training instances.
        targets: theirs, as `loss` takes them.
        loss: the student's, `(B,)`.
        lr: the rate of the step.
        weights: w `(B,)`; they are divided by their mean, unless that is 0: then the step with weights is none.
        halves: the one that made the weights, and the one that watches.
    """
    mean = weights.mean()
    with_weights, without = (look_ahead(student, x, targets, loss, lr, w) for w in (weights / mean if mean else weights, None))
    changes = [_losses(student, with_weights, half) - _losses(student, without, half) for half in halves]
    return float(changes[0].mean()), float(changes[1].mean())


def _losses(student: nn.Module, at: Parameters, half: Half) -> Tensor:
    x, y = half
    with evaluating(student):
        logits = predict(lambda part: call_at(student, at, part), lambda part: x[part], len(x), CHUNK, device=x.device)
    return cross_entropy(logits, y).double()


def chi_square(weights: Tensor) -> float:
    """D(w) = (1/2) mean (w/mean(w) - 1)^2 of weights `(n,)`: 0 when uniform, (n - 1)/2 when one has everything, or none."""
    w = weights.double()
    mean = w.mean()
    return 0.5 * (float((w / mean - 1).square().mean()) if mean else len(w) - 1)


def worst_case_risk(losses: Tensor, delta: float) -> float:
    """The largest sum_i q_i l_i of a distribution q with D(nq) <= delta, by its dual; the plain mean where delta is 0.

    As long as no q_i meets 0 it is mean(l) + sqrt(2 delta var(l)).

    Args:
        losses: `(n,)`.
        delta: how far from uniform, at least 0.

    Example:
        >>> import torch
        >>> worst_case_risk(torch.tensor([0.0, 2.0]), 0.125)  # var 1: 1 + sqrt(.25)
        1.5
    """
    each = losses.double()
    mean, variance = each.mean(), each.var(correction=0)
    if variance == 0 or delta <= 0:
        return float(mean)
    if float(mean - (variance / (2 * delta)).sqrt()) <= float(each.min()):
        return float(mean + (2 * delta * variance).sqrt())
    factor = (2 * delta + 1) ** 0.5
    low, high = float(each.min()), float(each.max())
    for _ in range(HALVINGS):  # the dual is convex in eta: where its slope changes sign
        eta = (low + high) / 2
        over = (each - eta).clamp_min(0)
        falls = over.max() > 0 and factor * float(over.mean()) > float(over.square().mean().sqrt())
        low, high = (eta, high) if falls else (low, eta)
    over = (each - low).clamp_min(0)
    return factor * float(over.square().mean().sqrt()) + low


def remedy(weights: Tensor) -> str | None:
    """What is wrong with weights `(n,)` that went uniform, exploded or starve, and the options that mend it; else None.

    Example:
        >>> import torch
        >>> remedy(torch.tensor([0.5, 1.5, 1.0])) is None
        True
    """
    if not bool(torch.isfinite(weights).all()):
        return "weights are not finite: a smaller lr, or bounded weights, link=sigmoid with standardise=mad"
    mean = float(weights.double().mean())
    if mean <= 0:
        return "no instance has a weight above 0: link=sigmoid, or bag=all in the place of bag=batch"
    largest, share = float(weights.max()) / mean, effective_sample_size(weights)
    if largest > LARGEST:
        return f"weights explode (the largest is {largest:.0f} times the mean): a larger tau, standardise=mad or link=sigmoid"
    if share < STARVED:
        return (
            f"weights starve (an effective sample size of {100 * share:.1f} %): a larger tau, standardise=mad or link=sigmoid, "
            "or a larger keep with link=top"
        )
    if share > UNIFORM:
        return (
            f"weights are nearly uniform (an effective sample size of {100 * share:.2f} %), influence scores are near zero: a "
            "smaller tau, standardise=mad or std, or a validation split that is more like what the student is for"
        )
    return None


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (t.double() - t.double().mean() for t in (a, b))
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0
