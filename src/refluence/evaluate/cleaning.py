"""Arms that clean or weigh the real images beforehand, read as text: by what, how many, and the same done by another.

`X+pruned` and `X+selected` leave images out, `X+relabelled` gives some another class, `X+scores` weighs all. `by` says who
decides: `score` (validation influence, `refluence score`), `held-out-loss` (of the same networks: the rival), `loss`,
`influence` (of the run's own images), `random` (the control), `truth` (the ceiling).
"""

from __future__ import annotations

from dataclasses import dataclass

from refluence.arm import Arm
from refluence.influence.beforehand import PRUNED, READ
from refluence.influence.weighting import parse_weighting

PRUNING = {kind for kind, _ in PRUNED}
SHARES = {**dict.fromkeys(PRUNING, "keep"), "relabelled": "share", "scores": ""}
"""The option that says how many, by kind."""
SCORE, HELD_OUT, LOSS, CHANCE, TRUTH = "score", "held-out-loss", "loss", "random", "truth"


@dataclass(frozen=True)
class Cleaning:
    """What an arm does to the real images beforehand.

    `share` is that of `keep` or of `share` (0 where the kind has none), `auto` where the table estimates it; `terms` are those
    of the score. `rest` are the other options: settings of the method.
    """

    kind: str
    by: str
    share: float | str
    sign: int
    terms: str
    rest: dict[str, str]

    def same(self, other: Cleaning) -> bool:
        """Whether both do the same to as many images, whoever decides and whichever end."""
        return (self.kind, self.share, self.rest) == (other.kind, other.share, other.rest)

    @property
    def of_table(self) -> bool:
        """Whether the table of `refluence score`, or the truth, decides."""
        return self.by in (SCORE, HELD_OUT, TRUTH)


def cleaning(arm: Arm) -> Cleaning | None:
    """What the arm does beforehand; None for one that takes the images as they are."""
    if arm.kind not in SHARES:
        return None
    own = {name: text for name, text in arm.options if name in READ[arm.kind]}
    weighting, name = parse_weighting(arm.kind, own), SHARES[arm.kind]
    share: float | str = getattr(weighting, name) if name else 0.0
    rest = {name: text for name, text in arm.options if name not in own}
    return Cleaning(arm.kind, weighting.by, share, weighting.sign, weighting.terms, rest)


def by_another(arm: Arm, by: str) -> Arm:
    """The same arm decided by `random` or `held-out-loss`: as many images, without the options that mean nothing there.

    Example:
        >>> from refluence.arm import read_arm
        >>> by_another(read_arm("dm+pruned:by=score,terms=both"), "random").name
        'dm+pruned:by=random,keep=auto'
    """
    permuted = arm.kind == "scores" and by == CHANCE  # the weights of the score with its terms, on other instances
    idle = {"by", *(() if permuted else ("terms",)), *(("sign",) if by == CHANCE else ())}
    options = (("by", by), *arm.without(idle).options)
    own, other = cleaning(arm), cleaning(Arm(arm.method, arm.kind, options))
    if own is not None and other is not None and own.share != other.share:  # both by default, and another one
        options = (options[0], (SHARES[arm.kind], str(own.share)), *options[1:])
    return Arm(arm.method, arm.kind, options)
