"""From scores to instance weights: omega_j = n exp(s_j / tau) / sum_i exp(s_i / tau), s = sign * standardise(I).

Algorithm 1 of IWD (arXiv 2510.27253) takes w = softmax(I / tau) on a bag of n instances. Here the weights are
kept with mean 1 (omega = n w): all ones is the unweighted method, and a weighted mean is (1/n) sum_j omega_j x_j.
Standardising in the bag, tau by effective sample size and the controls (shuffled, flipped) are ours.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from refluence.errors import InputError

KINDS: dict[str, str] = {
    "uniform": "every instance weighs 1: the method as published",
    "influence": "softmax of the influence dM/dw_j of each instance in its bag",
    "shuffled": "control: the influence weights permuted inside their bag, same effective sample size",
    "flipped": "control: the influence weights with the opposite sign",
    "loss": "control: softmax of the per-instance loss in place of its influence",
}
SMALLEST_BAG = 5
_HOW = ("std", "robust", "none")


@dataclass(frozen=True)
class Weighting:
    """How the instances of a bag are weighted.

    `kind`: a key of `KINDS`. `tau`: temperature in standardised units, or "auto": the tau at which the effective
    sample size is the share `ess` of the bag. `sign`: +1 stresses what raises the objective (IWD), -1 what lowers it.
    `bag`: the instances that compete: of one "class" in the batch, the "batch", or "all". `where`: weights "inside" the
    distance (IWD eq. 8) or "outside" (Algorithm 1, line 9). `standardise`: "std", "robust" (median, MAD) or "none".
    `refresh`: new scores every so many steps, running means between. `memory`: share of an instance's running mean in its
    score, in [0, 1). `terms`: "explicit", "implicit" or "both" (IWD eq. 22); where S_inner = S both are the explicit one.
    """

    kind: str = "uniform"
    tau: float | str = 1.0
    ess: float = 0.5
    sign: int = 1
    bag: str = "class"
    where: str = "inside"
    standardise: str = "std"
    refresh: int = 1
    memory: float = 0.0
    terms: str = "explicit"

    def __post_init__(self):
        _one_of("weights", self.kind, KINDS)
        _one_of("bag", self.bag, ("class", "batch", "all"))
        _one_of("where", self.where, ("inside", "outside"))
        _one_of("standardise", self.standardise, _HOW)
        _one_of("terms", self.terms, ("explicit", "implicit", "both"))
        if self.tau != "auto":
            _check_tau(self.tau)
        if not _number(self.ess) or not 0 < self.ess <= 1:
            raise InputError(f"ess must be a share in (0, 1], got {self.ess!r}: 0.5 keeps half of the bag in effect")
        if self.sign not in (1, -1):
            raise InputError(f"sign must be 1 or -1, got {self.sign!r}")
        if not isinstance(self.refresh, int) or isinstance(self.refresh, bool) or self.refresh < 1:
            raise InputError(f"refresh must be a whole number of steps, at least 1, got {self.refresh!r}")
        if not _number(self.memory) or not 0 <= self.memory < 1:
            raise InputError(f"memory must be in [0, 1), got {self.memory!r}: 0 keeps only the newest scores")


def parse_weighting(kind: str, options: dict[str, str]) -> Weighting:
    """`influence`, {"tau": ".1", "sign": "-1"} -> Weighting. Unknown names and unreadable values raise InputError."""
    known = {f.name: f.default for f in fields(Weighting) if f.name != "kind"}
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            raise InputError(f"unknown weighting option '{name}={text}': choose from {', '.join(known)}")
        if isinstance(known[name], str) or (name == "tau" and text == "auto"):
            values[name] = text
            continue
        read = int if isinstance(known[name], int) else float
        try:
            values[name] = read(text)
        except ValueError:
            what = "a whole number" if read is int else "a number or auto" if name == "tau" else "a number"
            raise InputError(f"{name} must be {what}, got '{text}'") from None
    return Weighting(kind=kind, **values)


def weights(scores: Tensor, weighting: Weighting, generator: torch.Generator | None = None) -> Tensor:
    """Weights omega `(n,)` of mean 1 for one bag with scores `(n,)` (for kind "loss": the losses).

    `generator` is used by kind "shuffled" alone. A bag of fewer than five instances gets ones and a warning.
    """
    if weighting.kind == "uniform":
        return torch.ones_like(scores)
    if scores.numel() < SMALLEST_BAG:
        warnings.warn(
            f"a bag of fewer than {SMALLEST_BAG} instances is weighted uniformly: use larger batches or a wider bag",
            stacklevel=2,
        )
        return torch.ones_like(scores)
    sign = -weighting.sign if weighting.kind == "flipped" else weighting.sign
    standard = standardise(scores, weighting.standardise)
    tau = tau_for_share(standard, weighting.ess, sign) if weighting.tau == "auto" else weighting.tau
    omega = softmax_weights(standard, tau, sign)
    if weighting.kind == "shuffled":
        if generator is None:
            raise InputError("shuffled weights need a generator: the permutation is drawn from it")
        return shuffle(omega, generator)
    return omega


def standardise(scores: Tensor, how: str = "std") -> Tensor:
    """(s - mean) / (std + eps) of the bag `(n,)`; "robust": (s - median) / (1.4826 MAD + eps); "none": unchanged.

    A bag that is constant up to rounding gives zeros. A MAD of zero (more than half of the bag equal) falls back to the
    std around the median. eps is relative to the largest deviation, so the result does not depend on the scale of s.
    """
    _one_of("standardise", how, _HOW)
    _check_finite(scores)
    if how == "none" or scores.numel() == 0:
        return scores
    s = scores.double()
    scale = s.abs().max()
    s = s / scale.clamp_min(torch.finfo(torch.float64).tiny)  # no overflow in the squares, whatever the scale
    if s.max() - s.min() <= 4 * torch.finfo(scores.dtype).eps:
        return torch.zeros_like(scores)
    s = s - (s.median() if how == "robust" else s.mean())
    s = s / s.abs().max()
    spread = 1.4826 * s.abs().median() if how == "robust" else s.square().mean().sqrt()
    if spread == 0:
        spread = s.square().mean().sqrt()
    return (s / (spread + 1e-12)).to(scores.dtype)


def softmax_weights(scores: Tensor, tau: float, sign: int = 1) -> Tensor:
    """omega = n softmax(sign * scores / tau), `(n,)`, mean 1.

    Equal logits (tau = inf, a constant bag) give exactly 1.0 bit for bit; tau -> 0 gives n at the arg max (shared among
    ties). Finite at any finite scores.
    """
    _check_tau(tau)
    _check_finite(scores)
    s = scores.double() * sign
    e = torch.exp((s - s.max()) / tau)
    return (e / e.mean()).to(scores.dtype)


def effective_sample_size(omega: Tensor) -> float:
    """(sum w)^2 / (n sum w^2), the share in (0, 1] of the bag `(n,)` that is in effect (Kish): 1 when uniform."""
    w = omega.double() / omega.max()
    return min(1.0, float(w.sum().square() / (w.numel() * w.square().sum())))


def tau_for_share(scores: Tensor, share: float, sign: int = 1) -> float:
    """The tau at which softmax_weights(scores, tau, sign) has this effective sample size, by bisection.

    The share grows with tau: with K the log moment generating function of the scores, log share = 2K(1/tau) - K(2/tau).
    A constant bag or share = 1 gives inf. A share below what the ties at the top allow gives the smallest tau tried.
    """
    if not 0 < share <= 1:
        raise InputError(f"ess must be a share in (0, 1], got {share!r}")
    _check_finite(scores)
    s = scores.double() * sign
    spread = float(s.max() / 2 - s.min() / 2) * 2
    if spread == 0 or share == 1:
        return math.inf
    if math.isinf(spread):
        raise InputError("scores differ by more than a float can hold: standardise them first")
    low, high = math.log(spread) - 35, math.log(spread) + 20
    for _ in range(60):
        middle = (low + high) / 2
        if effective_sample_size(softmax_weights(s, math.exp(middle))) < share:
            low = middle
        else:
            high = middle
    return math.exp(low if low == math.log(spread) - 35 else high)


def shuffle(omega: Tensor, generator: torch.Generator) -> Tensor:
    """The same weights `(n,)` in an order drawn from `generator` (CPU)."""
    order = torch.randperm(omega.numel(), generator=generator, device=generator.device)
    return omega[order.to(omega.device)]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _one_of(option: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        raise InputError(f"unknown {option} '{value}': choose one of {', '.join(allowed)}")


def _check_tau(tau: Any) -> None:
    if not _number(tau) or not tau > 0:
        raise InputError(f"tau must be > 0 (a number, inf for uniform weights, or auto), got {tau!r}")


def _check_finite(scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).sum())
        raise InputError(f"scores must be finite: {bad} of {scores.numel()} are NaN or infinite")
