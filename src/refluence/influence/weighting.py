"""From scores to instance weights: omega = link(sign * standardise(I)) in each bag, the links in links.py.

The default is Algorithm 1 of IWD (arXiv 2510.27253), w = softmax(I / tau) on a bag of n instances, kept with mean 1
(omega = n w): all ones is the unweighted method, and a weighted mean is (1/n) sum_j omega_j x_j. KD-AIF
(arXiv 2501.02705) is link=sigmoid, sign=-1. The controls (shuffled, random, flipped, loss) are ours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.influence.controls import random_weights, shuffle
from refluence.influence.links import (
    LINKS,
    STANDARDS,
    check_share,
    check_tau,
    exp_weights,
    number,
    one_of,
    prune_weights,
    sigmoid_weights,
    softmax_weights,
    standardise,
    tau_for_share,
    top_weights,
)

KINDS: dict[str, str] = {
    "uniform": "every instance weighs 1: the method as published",
    "influence": "by the influence dM/dw_j of each instance in its bag: its softmax, unless `link` says otherwise",
    "shuffled": "control: the influence weights permuted inside their bag, same effective sample size",
    "random": "control: random weights with the entropy of the influence weights",
    "flipped": "control: the influence weights with the opposite sign",
    "loss": "control: the per-instance loss in place of its influence",
    "difficulty": "rival: easier instances weigh more, by the negative norm of each one's gradient (arXiv 2408.12483)",
    "pruned": "the worst of each class left out beforehand, the rest uniform (prune, then distil)",
    "selected": "only the best of each class kept beforehand, uniform",
}
BY_INFLUENCE = ("influence", "shuffled", "random", "flipped")
"""The kinds that measure influence during the run."""
PRUNED: dict[tuple[str, str], float] = {
    ("pruned", "influence"): 0.9,
    ("pruned", "loss"): 0.2,
    ("pruned", "random"): 0.9,
    ("selected", "influence"): 0.1,
    ("selected", "loss"): 0.1,
    ("selected", "random"): 0.1,
}
"""The share that is kept by (kind, by) unless `keep` is given: IWD's, arXiv 2411.12115's, the others ours."""
RANKINGS = ("influence", "loss", "random")
OPTIONS: dict[str, str] = {
    "link": "from scores to weights, one of the links below",
    "tau": "temperature in standardised units; auto: where the effective sample size is the share ess (softmax, exp)",
    "ess": "share of the bag, in (0, 1], that tau=auto leaves in effect",
    "keep": "share, in (0, 1], that link=top or link=prune keeps; of each class with pruned (.9; by=loss .2) and selected (.1)",
    "sign": "1: act on what raises the objective (softmax stresses it, prune drops it); -1: on what lowers it",
    "bag": "who competes: one class of the batch, the whole batch, or all instances scored so far",
    "where": "weights inside the distance (IWD eq. 8) or outside (Algorithm 1, line 9)",
    "standardise": "scores by std, robust (median, MAD), scale (root mean square, zero stays zero) or none",
    "refresh": "new scores every so many image steps, running means between",
    "warmup": "share of the image steps, in [0, 1), at the start, in which all weigh the same while scores are measured",
    "memory": "share, in [0, 1), of an instance's running mean in its score",
    "carry": "mirror ascent: the power, in [0, 1], to which an instance's last weight enters the next one",
    "terms": "explicit, implicit or both parts of the influence (IWD eq. 22); the same where networks train on S",
    "by": "what pruned and selected rank by, once: the highest influence, the lowest loss, or random (sign=-1: the other end)",
}
"""Options of an arm's weights, as `dc+influence:tau=.5`: the fields of `Weighting` but its kind."""
SMALLEST_BAG = 5


@dataclass(frozen=True)
class Weighting:
    """How the instances of a bag are weighted. `OPTIONS` says of each field what it does, and its range.

    Args:
        kind: a key of `KINDS`: "uniform", "influence", its controls, or weights by loss or difficulty.
        tau: temperature, in standard deviations of the scores of a bag; "auto" chooses it by `ess`.
        ess: share in (0, 1] of the bag that tau="auto" leaves in effect.
        sign: 1 stresses what raises the objective, -1 what lowers it.
        bag: "class" of the batch, "batch", or "all" instances scored so far.
        where: "inside" the distance (IWD, arXiv 2510.27253, eq. 8) or "outside" (its Algorithm 1, line 9).
        standardise: "std", "robust", "scale" or "none".
        refresh: image steps between two measurements.
        warmup: share in [0, 1) of the image steps in which all weigh the same.
        memory: share in [0, 1) of an instance's running mean in its score.
        carry: power in [0, 1] of an instance's last weight in the next one.
        terms: "explicit", "implicit" or "both" parts of the influence (IWD eq. 22).
        link: "softmax", "sigmoid", "exp", "top" or "prune".
        keep: share in (0, 1] that top, prune and the kinds pruned and selected keep.
        by: what the kinds pruned and selected rank by: "influence", "loss" or "random".

    Raises:
        InputError: a value outside its range, and options that mean nothing together.

    Example:
        >>> from refluence import Weighting
        >>> Weighting("influence", tau=0.5).with_(link="sigmoid", sign=-1).link
        'sigmoid'
    """

    kind: str = "uniform"
    tau: float | str = 1.0
    ess: float = 0.5
    sign: int = 1
    bag: str = "class"
    where: str = "inside"
    standardise: str = "std"
    refresh: int = 1
    warmup: float = 0.0
    memory: float = 0.0
    carry: float = 0.0
    terms: str = "explicit"
    link: str = "softmax"
    keep: float = 0.5
    by: str = "influence"

    def __post_init__(self) -> None:
        one_of("weights", self.kind, KINDS)
        one_of("link", self.link, LINKS)
        one_of("bag", self.bag, ("class", "batch", "all"))
        one_of("where", self.where, ("inside", "outside"))
        one_of("standardise", self.standardise, STANDARDS)
        one_of("terms", self.terms, ("explicit", "implicit", "both"))
        one_of("by", self.by, RANKINGS)
        if self.tau != "auto":
            check_tau(self.tau)
        elif self.link not in ("softmax", "exp"):
            raise InputError(f"tau=auto is for link=softmax and link=exp, got link={self.link}: give tau as a number")
        check_share("ess", self.ess)
        check_share("keep", self.keep)
        if self.sign not in (1, -1):
            raise InputError(f"sign must be 1 or -1, got {self.sign!r}")
        if not isinstance(self.refresh, int) or isinstance(self.refresh, bool) or self.refresh < 1:
            raise InputError(f"refresh must be a whole number of steps, at least 1, got {self.refresh!r}")
        if not number(self.warmup) or not 0 <= self.warmup < 1:
            raise InputError(f"warmup must be in [0, 1), got {self.warmup!r}: the share of image steps before weights begin")
        if not number(self.memory) or not 0 <= self.memory < 1:
            raise InputError(f"memory must be in [0, 1), got {self.memory!r}: 0 keeps only the newest scores")
        if not number(self.carry) or not 0 <= self.carry <= 1:
            raise InputError(f"carry must be in [0, 1], got {self.carry!r}: 0 forgets the weights of earlier steps")
        if self.carry and (self.link != "softmax" or self.bag == "all"):
            raise InputError(f"carry={self.carry} is for link=softmax and a bag in the batch, got {self.link}, bag={self.bag}")

        if self.memory and self.bag == "all":
            raise InputError(f"memory={self.memory} means nothing with bag=all, which weighs by running means alone")
        if self.terms != "explicit" and self.kind in ("loss", "difficulty"):
            raise InputError(f"terms={self.terms} means nothing for {self.kind} weights, which are not of influence")

    @property
    def scored(self) -> bool:
        """Whether instances of a batch are measured to be weighted."""
        return self.kind != "uniform" and not self.prunes

    def with_(self, **changes: Any) -> Weighting:
        """A copy with some options changed."""
        return replace(self, **changes)

    def control(self, omega: Tensor, generator: torch.Generator | None) -> Tensor:
        """The weights of the kinds "shuffled" and "random" from the influence weights `(n,)`; of the others as they are."""
        if self.kind not in ("shuffled", "random"):
            return omega
        if generator is None:
            what = "permutation is" if self.kind == "shuffled" else "scores are"
            raise InputError(f"{self.kind} weights need a generator: the {what} drawn from it")
        return (shuffle if self.kind == "shuffled" else random_weights)(omega, generator)

    @property
    def prunes(self) -> bool:
        """Whether instances are left out before the run."""
        return self.kind in ("pruned", "selected")


def parse_weighting(kind: str, options: dict[str, str]) -> Weighting:
    """`influence`, {"tau": ".1", "sign": "-1"} -> Weighting.

    Unknown names, unreadable values and options that the chosen link does not read raise InputError.
    """
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
    if kind in ("pruned", "selected"):
        if idle := [name for name in options if name not in ("keep", "by", "sign")]:
            raise InputError(f"{idle[0]} means nothing with {kind}, which weighs what it keeps uniformly: keep, by, sign do")
        share = PRUNED.get((kind, values.get("by", "influence")), Weighting.keep)
        return Weighting(**{"kind": kind, "keep": share, **values})
    if "by" in options:
        raise InputError(f"by={options['by']} means nothing with {kind}: it is what pruned and selected rank instances by")
    weighting = Weighting(kind=kind, **values)
    for name in ("tau", "ess") if weighting.link in ("top", "prune") else ("keep",):
        if name in options:
            right = "its share is keep" if name != "keep" else "it is the share of link=top and link=prune"
            raise InputError(f"{name}={options[name]} means nothing with link={weighting.link}: {right}")
    return weighting


def weights(scores: Tensor, weighting: Weighting, generator: torch.Generator | None = None) -> Tensor:
    """The weights omega of one bag: link(sign * standardise(scores)), of IWD (arXiv 2510.27253) Algorithm 1 by default.

    Args:
        scores: `(n,)` influences dM/dw_j (for kind "loss": the losses); standardised here, so any unit will do.
        weighting: the kind of weights and their options.
        generator: what the kinds "shuffled" and "random" draw from; no other reads it.

    Returns:
        omega `(n,)`: of mean 1 with softmax, top and prune; with sigmoid and exp a standardised score of zero weighs 1. A bag
        of fewer than five instances gets ones and a warning.

    Raises:
        InputError: "shuffled" or "random" without a generator.

    Example:
        >>> import torch
        >>> from refluence import Weighting, weights
        >>> omega = weights(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), Weighting("influence", tau=0.5))
        >>> round(float(omega.mean()), 4), int(omega.argmax())
        (1.0, 4)
    """
    if not weighting.scored:
        return torch.ones_like(scores)
    if scores.numel() < SMALLEST_BAG:
        warnings.warn(
            f"a bag of fewer than {SMALLEST_BAG} instances is weighted uniformly: use larger batches or a wider bag",
            stacklevel=2,
        )
        return torch.ones_like(scores)
    sign = -weighting.sign if weighting.kind == "flipped" else weighting.sign
    return weighting.control(_linked(scores, weighting, sign), generator)


def _linked(scores: Tensor, weighting: Weighting, sign: int) -> Tensor:
    standard = standardise(scores, weighting.standardise)
    if weighting.link in ("top", "prune"):
        choose = top_weights if weighting.link == "top" else prune_weights
        # ranks are those of the scores themselves, unless they differ by rounding alone
        return choose(scores if bool(standard.any()) else standard, weighting.keep, sign)
    tau = tau_for_share(standard, weighting.ess, sign) if isinstance(weighting.tau, str) else weighting.tau
    link = {"softmax": softmax_weights, "sigmoid": sigmoid_weights, "exp": exp_weights}[weighting.link]
    return link(standard, tau, sign)
