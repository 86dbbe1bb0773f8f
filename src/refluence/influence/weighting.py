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

from refluence.errors import InputError, did_you_mean
from refluence.fields import check, described, read, setting
from refluence.influence.beforehand import CLEANING, OF_TABLE, RANKINGS, beforehand
from refluence.influence.controls import random_weights, shuffle
from refluence.influence.links import (
    LINKS,
    STANDARDS,
    exp_weights,
    prune_weights,
    relu_weights,
    sigmoid_weights,
    softmax_weights,
    standardise,
    tau_for_share,
    top_weights,
)

KINDS: dict[str, str] = {
    "uniform": "every instance weighs 1: the method as published",
    "influence": "by the influence dM/dw_j of each instance in its bag: its softmax, unless another link is given",
    "shuffled": "control: in each step the influence weights on its own images, permuted inside their bag",
    "random": "control: random weights with the entropy of the influence weights",
    "flipped": "control: the influence weights with the opposite sign",
    "loss": "control: the per-instance loss in place of its influence",
    "difficulty": "rival: easier instances weigh more, by the negative norm of each one's gradient (arXiv 2408.12483)",
    "small-loss": "rival, of transfers alone: the share `keep` with the smallest loss, equally",
    "adapt": "rival, of transfers alone: by the similarity of features to those of validation instances (ADAPT, ICLR 2026)",
    "pruned": "the worst of each class left out beforehand, the rest uniform (prune, then distil)",
    "selected": "only the best of each class kept beforehand, uniform",
    "relabelled": "the worst of each class get the class that held-out networks suggest beforehand, all weigh 1",
    "scores": "by the weights of a table of scores, made beforehand",
}
BY_INFLUENCE = ("influence", "shuffled", "random", "flipped")
"""The kinds that measure influence during the run."""
OF_TRANSFERS = ("small-loss", "adapt")
"""The kinds that weigh the training instances of a student and nothing else."""
SMALLEST_BAG = 5


@described
@dataclass(frozen=True)
class Weighting:
    """How the instances of a bag are weighted.

    Raises:
        InputError: a value outside its range, and options that mean nothing together.

    Example:
        >>> from refluence import Weighting
        >>> Weighting("influence", tau=0.5).with_(link="sigmoid", sign=-1).link
        'sigmoid'
    """

    kind: str = setting("uniform", "uniform, influence, a control, or weights by loss or difficulty", choices=tuple(KINDS))
    tau: float | str = setting(
        1.0,
        "temperature in standardised units; auto: where the effective sample size is the share ess (softmax, exp)",
        above=0,
        infinite=True,
        also=("auto",),
    )
    ess: float = setting(0.5, "share of the bag, in (0, 1], that tau=auto leaves in effect", above=0, most=1)
    sign: int = setting(
        1,
        "1: act on what raises the objective (softmax stresses it, prune drops it); -1: on what lowers it",
        choices=(1, -1),
    )
    bag: str = setting(
        "class",
        "who competes: one class of the batch, the whole batch, or all instances scored so far",
        choices=("class", "batch", "all"),
    )
    where: str = setting(
        "inside",
        "weights inside the distance (IWD eq. 8) or outside (Algorithm 1, line 9)",
        choices=("inside", "outside"),
    )
    standardise: str = setting(
        "std",
        "scores by std, robust (median, MAD), none, or where zero stays zero: scale (root mean square), mad (MAD, within 2)",
        choices=STANDARDS,
    )
    refresh: int = setting(1, "new scores every so many image steps, running means between", least=1)
    warmup: float = setting(
        0.0,
        "share of the image steps, in [0, 1), at the start, in which all weigh the same while scores are measured",
        least=0,
        below=1,
    )
    memory: float = setting(0.0, "share, in [0, 1), of an instance's running mean in its score", least=0, below=1)
    carry: float = setting(
        0.0,
        "mirror ascent: the power, in [0, 1], to which an instance's last weight enters the next one",
        least=0,
        most=1,
    )
    terms: str = setting(
        "explicit",
        "explicit, implicit or both parts of the influence (IWD eq. 22); the same where networks train on S; of by=score auto: "
        "both, implicit where validation comes from elsewhere",
        choices=("explicit", "implicit", "both", "auto"),
    )
    link: str = setting("softmax", "from scores to weights, one of the links below", choices=tuple(LINKS))
    keep: float | str = setting(
        0.5,
        "share, in (0, 1], that link=top or link=prune keeps; of each class with pruned (.9; by=loss .2; by=score auto: but "
        "for the share of labels that its table takes for wrong) and selected (.1)",
        above=0,
        most=1,
        also=("auto",),
    )
    by: str = setting(
        "influence",
        "what pruned and selected rank by, once (sign=-1: the other end): the highest influence on the method's distance, the "
        "lowest loss, random; and, with relabelled and scores too, the lowest score (influence on validation risk), the lowest "
        "held-out-loss of the same table, or the truth where it is known",
        choices=RANKINGS,
    )
    share: float | str = setting(
        0.0,
        "share of each class that relabelled gives another label (auto: that its table takes for wrong)",
        least=0,
        below=1,
        also=("auto",),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.tau == "auto" and self.link not in ("softmax", "exp"):
            raise InputError(f"tau=auto is for link=softmax and link=exp, got link={self.link}: give tau as a number")
        if self.carry and (self.link != "softmax" or self.bag == "all"):
            raise InputError(f"carry={self.carry} is for link=softmax and a bag in the batch, got {self.link}, bag={self.bag}")
        if self.keep == "auto" and not self.prunes:
            raise InputError(f"keep=auto is for pruned and selected: give {self.kind} a number")
        if self.terms == "auto" and self.kind not in CLEANING:
            raise InputError(f"terms=auto is for scores of validation risk: give {self.kind} explicit, implicit or both")
        if self.memory and self.bag == "all":
            raise InputError(f"memory={self.memory} means nothing with bag=all, which weighs by running means alone")
        if self.terms != "explicit" and self.kind in ("loss", "difficulty", *OF_TRANSFERS):
            raise InputError(f"terms={self.terms} means nothing for {self.kind} weights, which are not of influence")

    @property
    def scored(self) -> bool:
        """Whether instances of a batch are measured to be weighted."""
        return self.kind != "uniform" and not self.cleans

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

    @property
    def cleans(self) -> bool:
        """Whether what it does to instances is settled before the run."""
        return self.kind in CLEANING

    @property
    def even(self) -> Weighting:
        """The same with uniform weights; what acts before the run has no other options."""
        return Weighting() if self.cleans else replace(self, kind="uniform")

    @property
    def share_is_open(self) -> bool:
        """Whether the share that it leaves out or relabels is known only once instances are looked at."""
        return self.by == "truth" or (self.keep if self.prunes else self.share) == "auto"

    @property
    def by_table(self) -> bool:
        """Whether it needs a table of scores against validation data."""
        if not self.cleans or self.by == "truth":
            return False
        return self.by in OF_TABLE or self.kind in ("relabelled", "scores") or self.keep == "auto"


def parse_weighting(kind: str, options: dict[str, str]) -> Weighting:
    """`influence`, {"tau": ".1", "sign": "-1"} -> Weighting.

    Unknown names, unreadable values and options that the chosen link does not read raise InputError.
    """
    known = [f.name for f in fields(Weighting) if f.name != "kind"]
    if unknown := [name for name in options if name not in known]:
        raise InputError(f"unknown weighting option '{unknown[0]}={options[unknown[0]]}': {did_you_mean(unknown[0], known)}")
    values = {name: read(Weighting, name, text) for name, text in options.items()}
    if kind in CLEANING:
        return Weighting(kind=kind, **beforehand(kind, options, values))
    if "by" in options:
        raise InputError(f"by={options['by']} means nothing with {kind}: it is what {', '.join(CLEANING)} go by")
    if "share" in options:
        raise InputError(f"share={options['share']} means nothing with {kind}: it is what relabelled gives another label")
    weighting = Weighting(kind=kind, **values)
    unread: tuple[str, ...]
    if weighting.link in ("top", "prune"):
        unread, right = ("tau", "ess"), "its share is keep"
    elif weighting.link == "relu":
        unread, right = ("tau", "ess", "keep"), "it does not change with the scale of the scores"
    else:
        unread, right = ("keep",), "it is the share of link=top and link=prune"
    if name := next((name for name in unread if name in options), None):
        raise InputError(f"{name}={options[name]} means nothing with link={weighting.link}: {right}")
    return weighting


def weights(scores: Tensor, weighting: Weighting, generator: torch.Generator | None = None) -> Tensor:
    """The weights omega of one bag: link(sign * standardise(scores)), of IWD (arXiv 2510.27253) Algorithm 1 by default.

    Args:
        scores: `(n,)` influences dM/dw_j (for kind "loss": the losses); standardised here, so any unit will do.
        weighting: the kind of weights and their options.
        generator: what the kinds "shuffled" and "random" draw from; no other reads it.

    Returns:
        omega `(n,)`: of mean 1 with softmax, top, prune and relu; with sigmoid and exp a standardised score of zero weighs 1.
        A bag of fewer than five instances gets ones and a warning.

    Raises:
        InputError: "shuffled" or "random" without a generator.

    Example:
        >>> import torch
        >>> from refluence import Weighting, weights
        >>> omega = weights(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), Weighting("influence", tau=0.5))
        >>> round(float(omega.mean()), 4), int(omega.argmax())
        (1.0, 4)
    """
    if not isinstance(scores, Tensor):
        raise InputError(f"scores are a {type(scores).__name__}: give a tensor (n,), torch.as_tensor(scores)")
    if not isinstance(weighting, Weighting):
        said = repr(weighting) if isinstance(weighting, str) else "…"
        raise InputError(f"weighting is a {type(weighting).__name__}: give a Weighting({said})")
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
        return choose(scores if bool(standard.any()) else standard, float(weighting.keep), sign)
    if weighting.link == "relu":
        return relu_weights(standard, sign)
    tau = tau_for_share(standard, weighting.ess, sign) if isinstance(weighting.tau, str) else weighting.tau
    link = {"softmax": softmax_weights, "sigmoid": sigmoid_weights, "exp": exp_weights}[weighting.link]
    return link(standard, tau, sign)
