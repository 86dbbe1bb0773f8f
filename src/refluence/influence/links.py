"""Links: from the scores I_j of one bag to weights omega_j, with s = sign * standardise(I).

    softmax   omega_j = n exp(s_j / tau) / sum_i exp(s_i / tau)     mean 1      Algorithm 1 of IWD (arXiv 2510.27253)
    sigmoid   omega_j = 2 / (1 + exp(-s_j / tau))                   in (0, 2)   KD-AIF (arXiv 2501.02705): sign=-1, tau=1
    exp       omega_j = exp(s_j / tau)                              a score of 0 weighs 1       ours
    top       omega_j = n/k on the k largest sign * I, 0 elsewhere  mean 1                      ours
    prune     omega_j = 0 on the n-k largest sign * I, n/k elsewhere  mean 1                    ours
    relu      omega_j = n max(0, s_j) / sum_i max(0, s_i)           mean 1      learning to reweight (arXiv 1803.09050): sign=-1

k = keep * n, rounded. I is dM/dw_j: positive raises M. `sign` names the end of the scores that a link acts on, +1 the end
that raises M. softmax, sigmoid, exp and top put weight on that end; prune takes it away, so sign=+1 drops first what raises
M. A constant bag (all zero, for sigmoid and exp without standardising) weighs 1 everywhere under every link but relu, which
gives nothing where no score is of its sign.

Standardising in the bag and tau by effective sample size are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TypeGuard

import torch
from torch import Tensor

from refluence.errors import InputError

LINKS: dict[str, str] = {
    "softmax": "mean 1, as uneven as tau says (IWD)",
    "sigmoid": "between 0 and 2, a standardised score of 0 weighs 1 (KD-AIF, whose orientation is sign=-1)",
    "exp": "the softmax before it is normalised: a standardised score of 0 weighs 1",
    "top": "the share `keep` with the largest sign * score, equally; nothing on the rest",
    "prune": "all but the share 1 - keep with the largest sign * score, equally",
    "relu": "the positive part of sign * score, mean 1; none is positive: nothing (learning to reweight, sign=-1)",
}
STANDARDS = ("std", "robust", "scale", "mad", "none")
LARGEST_EXPONENT = 30.0  # of the link exp: its weights stay below 1.1e13 and their sums finite in float32
LARGEST_DEVIATION = 2.0
"""Where `standardise="mad"` stops: the best instance then counts at most e^2 = 7.4 times the worst one at KD-AIF's sigmoid,
and no weight leaves an instance out. Two robust deviations hold 95 % of a normal bag. Where few instances are odd, the MAD is
small and most scores lie beyond it: this bound alone says how uneven the weights are (docs/mathematics.md, Standardising)."""


def standardise(scores: Tensor, how: str = "std") -> Tensor:
    """(s - mean) / (std + eps) of the bag `(n,)`; "robust": (s - median) / (1.4826 MAD + eps); "none": unchanged.

    "scale" divides only by the root mean square, so that zero stays zero: a sigmoid then tells positive from negative
    influence, where "std" and "robust" tell what is above the bag's centre from what is below. "mad" keeps zero too: it
    divides by 1.4826 MAD, which a few huge scores do not move, or by the root mean square where the MAD is zero up to
    rounding, and stops at +-`LARGEST_DEVIATION`.

    A bag that is constant up to rounding gives zeros ("scale" and "mad": only one that is all zero). With "robust", a MAD of
    zero (more than half of the bag equal) falls back to the std around the median. Of an even number, the median is the lower
    of the two in the middle. eps is relative to the largest deviation, so the result does not depend on the scale of s.
    """
    one_of("standardise", how, STANDARDS)
    _check_finite(scores)
    if how == "none" or scores.numel() == 0:
        return scores
    s = _wide(scores)
    scale = s.abs().max()
    s = s / scale.clamp_min(torch.finfo(torch.float64).tiny)  # no overflow in the squares, whatever the scale
    if how == "scale":
        return (s / (s.square().mean().sqrt() + 1e-12)).to(scores)
    if how == "mad":
        return _by_mad(s, torch.finfo(scores.dtype).eps).to(scores)
    if s.max() - s.min() <= 4 * torch.finfo(scores.dtype).eps:
        return torch.zeros_like(scores)
    s = s - (s.median() if how == "robust" else s.mean())
    s = s / s.abs().max()
    spread = 1.4826 * s.abs().median() if how == "robust" else s.square().mean().sqrt()
    if spread == 0:
        spread = s.square().mean().sqrt()
    return (s / (spread + 1e-12)).to(scores)


def _by_mad(s: Tensor, eps: float) -> Tensor:
    """s / (1.4826 MAD), by the root mean square where the MAD is zero up to rounding; clipped, zero stays zero."""
    median = s.median()
    spread = 1.4826 * (s - median).abs().median()
    if spread <= 4 * eps * median.abs():
        spread = s.square().mean().sqrt()
    return (s / spread.clamp_min(torch.finfo(s.dtype).tiny)).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)


def softmax_weights(scores: Tensor, tau: float, sign: int = 1) -> Tensor:
    """omega = n softmax(sign * scores / tau), `(n,)`, mean 1.

    Equal logits (tau = inf, a constant bag) give exactly 1.0 bit for bit; tau -> 0 gives n at the arg max (shared among
    ties). Finite at any finite scores.
    """
    check_tau(tau)
    _check_finite(scores)
    s = _wide(scores) * sign
    e = torch.exp((s - s.max()) / tau)
    return (e / e.mean()).to(scores)


def sigmoid_weights(scores: Tensor, tau: float, sign: int) -> Tensor:
    """omega = 2 / (1 + exp(-sign * scores / tau)), `(n,)`, in (0, 2), exactly 1 where a score is 0; the mean is free.

    KD-AIF's w = 2 / (1 + exp(phi)) is sign = -1, tau = 1 (arXiv 2501.02705): what raises the validation risk weighs less
    than 1. `sign` has no default because IWD's orientation is the other one.
    """
    check_tau(tau)
    _check_finite(scores)
    return (2 * torch.sigmoid(_wide(scores) * sign / tau)).to(scores)


def exp_weights(scores: Tensor, tau: float, sign: int) -> Tensor:
    """omega = exp(sign * scores / tau), `(n,)`, exactly 1 where a score is 0; the mean is free.

    Relative weights are those of the softmax. Exponents stop at `LARGEST_EXPONENT`.
    """
    check_tau(tau)
    _check_finite(scores)
    return torch.exp((_wide(scores) * sign / tau).clamp_max(LARGEST_EXPONENT)).to(scores)


def top_weights(scores: Tensor, keep: float, sign: int) -> Tensor:
    """n/k on the k = keep * n instances with the largest sign * score, 0 elsewhere, `(n,)`, mean 1.

    k is rounded, at least 1. Instances that tie for the last places share them equally, so the result does not depend on
    the order, and a constant bag weighs 1.
    """
    check_share("keep", keep)
    _check_finite(scores)
    n, s = scores.numel(), _wide(scores) * sign
    k = max(1, math.floor(keep * n + 0.5))
    last = s.sort(descending=True).values[k - 1]
    above, tied = s > last, s == last
    places = (k - int(above.sum())) / int(tied.sum())
    return ((above.double() + places * tied.double()) * (n / k)).to(scores)


def prune_weights(scores: Tensor, keep: float, sign: int) -> Tensor:
    """0 on the instances with the largest sign * score, n/k on the k = keep * n others, `(n,)`, mean 1.

    sign = +1 drops first what raises M (harmful, where M is a loss), sign = -1 what lowers it. Ties as in `top_weights`.
    """
    return top_weights(scores, keep, -sign)


def relu_weights(scores: Tensor, sign: int) -> Tensor:
    """omega = n max(0, sign * scores) / sum, `(n,)`, mean 1; zeros where no score is of this sign.

    Eq. 8 and 9 of Ren et al. 2018 (arXiv 1803.09050), whose orientation is sign = -1: only what lowers the validation risk
    weighs.
    """
    _check_finite(scores)
    s = (_wide(scores) * sign).clamp_min(0)
    largest = s.max()
    if largest == 0:
        return torch.zeros_like(scores)
    s = s / largest
    return (s / s.mean()).to(scores)


def effective_sample_size(omega: Tensor) -> float:
    """(sum w)^2 / (n sum w^2), the share in (0, 1] of the bag `(n,)` that is in effect (Kish): 1 when uniform."""
    w = _wide(omega)
    if w.max() == 0:
        return 0.0
    w = w / w.max()
    return min(1.0, float(w.sum().square() / (w.numel() * w.square().sum())))


def entropy(omega: Tensor) -> float:
    """-sum p log p of p = omega / sum omega `(n,)`, in nats: log n when uniform, 0 when one instance has everything."""
    w = _wide(omega)
    w = w / w.max()
    return float(torch.special.entr(w / w.sum()).sum())


def tau_for_share(scores: Tensor, share: float, sign: int = 1) -> float:
    """The tau at which softmax_weights(scores, tau, sign) has this effective sample size, by bisection.

    The share grows with tau: with K the log moment generating function of the scores, log share = 2K(1/tau) - K(2/tau).
    A constant bag or share = 1 gives inf. A share below what the ties at the top allow gives the smallest tau tried.
    """
    check_share("ess", share)
    _check_finite(scores)
    return math.inf if share == 1 else tau_where(effective_sample_size, share, scores, sign)


def tau_where(measure: Callable[[Tensor], float], target: float, scores: Tensor, sign: int = 1) -> float:
    """The tau at which `measure`, which grows with tau, is `target` on softmax_weights(scores, tau, sign), by bisection.

    A constant bag gives inf.
    """
    s = _wide(scores) * sign
    spread = float(s.max() / 2 - s.min() / 2) * 2
    if spread == 0:
        return math.inf
    if math.isinf(spread):
        raise InputError("scores differ by more than a float can hold: standardise them first")
    start = low = math.log(spread) - 35
    high = math.log(spread) + 20
    for _ in range(60):
        middle = (low + high) / 2
        if measure(softmax_weights(s, math.exp(middle))) < target:
            low = middle
        else:
            high = middle
    return math.exp(low if low == start else high)


def number(value: object) -> TypeGuard[float]:
    """Whether `value` is a number and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def one_of(option: str, value: str, allowed: Collection[str]) -> None:
    """Raise `InputError` unless `value` is among `allowed`."""
    if value not in allowed:
        raise InputError(f"unknown {option} '{value}': choose one of {', '.join(allowed)}")


def check_share(option: str, value: object) -> None:
    """Raise `InputError` unless `value` is a share in (0, 1]."""
    if not number(value) or not 0 < value <= 1:
        raise InputError(f"{option} must be a share in (0, 1], got {value!r}: 0.5 keeps half of the bag")


def check_tau(tau: object) -> None:
    """Raise `InputError` unless `tau` is a number above 0."""
    if not number(tau) or not tau > 0:
        raise InputError(f"tau must be > 0 (a number, inf for uniform weights, or auto), got {tau!r}")


def _wide(t: Tensor) -> Tensor:
    """In float64 and on the CPU, since some accelerators have no float64."""
    return t.cpu().double()


def _check_finite(scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).sum())
        raise InputError(f"scores must be finite: {bad} of {scores.numel()} are NaN or infinite")
