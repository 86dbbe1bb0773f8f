"""What a generated set is compared with, read as text.

Arms that steer the sampling (`X+influence`, `X+deviation`, `X+igd`, `X+entropy`, `X+modes`, `X+learnability`) are compared, at
the same numbers but for those that mean nothing to the other arm (`dit+igd:k=10,cfg=4` with `dit:cfg=4`),

    with `X`: the same denoiser and noise, not steered                                          UNIFORM
    with `X+pool`: not steered, but a selection from as many images as fit the same seconds     RIVAL

and where weights of real instances steer them (`X+igd:weights=influence`)

    with `X+igd`: every real instance weighs the same                                           UNIFORM
    with `X+igd:weights=shuffled`: the weights on the wrong instances                           CONTROL

`X+pool` is compared with `X`, which is a random choice from its pool, `minimax` and `d4m` with `dit`, and `dit` with `random`
(RANDOM).
"""

from __future__ import annotations

from refluence.arm import UNIFORM, Arm
from refluence.evaluate.relations import CONTROL, RANDOM, RIVAL
from refluence.options import OF_DEVIATION, OF_INFLUENCE, OF_LEARNABILITY, OF_POOL, OF_SURROGATE

DIT, MINIMAX, D4M = "dit", "minimax", "d4m"
POOL, IGD, INFLUENCE = "pool", "igd", "influence"
STEERED = (INFLUENCE, "deviation", IGD, "entropy", "modes", "learnability")
WEIGHTS, SHUFFLED = "weights", "shuffled"
TUNING, STRENGTH = "minimax_iterations", "strength"
OF_GUIDANCE = (
    *OF_INFLUENCE,
    *OF_DEVIATION,
    *OF_LEARNABILITY,
    "through",
    "range",
    WEIGHTS,
    "entropy_scale",
    "mode_scale",
)  # fmt: skip
IDLE = frozenset((*OF_GUIDANCE, *OF_SURROGATE, *OF_POOL))
"""Options that say nothing of images that are not steered."""


def is_generated(arm: Arm) -> bool:
    """Whether the images of the arm are sampled from a denoiser."""
    return arm.method in (DIT, MINIMAX, D4M)


def is_steered(arm: Arm) -> bool:
    """Whether guidance steers the sampling."""
    return is_generated(arm) and arm.kind in STEERED


def by_influence(arm: Arm) -> bool:
    """Whether influence steers the sampling."""
    return arm.kind in (INFLUENCE, IGD) and not by_chance(arm)


def by_chance(arm: Arm) -> bool:
    """Whether nothing steers the sampling, or weights on the wrong instances do."""
    return arm.kind not in STEERED or arm.option(WEIGHTS) == SHUFFLED


def base(arm: Arm) -> Arm:
    """The arm that this one is compared with, at the same numbers.

    Example:
        >>> from refluence.arm import read_arm
        >>> base(read_arm("dit+igd:k=10,cfg=4")).name, base(read_arm("minimax:minimax_iterations=9")).name
        ('dit:cfg=4', 'dit')
    """
    if arm.option(WEIGHTS) is not None:
        return arm.without({WEIGHTS})
    if arm.kind == UNIFORM:
        return Arm(DIT, options=arm.without({TUNING, STRENGTH}).options)
    return arm.plain(IDLE)


def relation(arm: Arm, other: Arm) -> str:
    """What `other` is to `arm` (relations.py), "" where the two are not compared."""
    if other.name == RANDOM:
        return RANDOM if arm.kind == UNIFORM else ""
    if other.same(arm) or not is_generated(other):
        return ""
    if other.same(base(arm)):
        return RANDOM if arm.kind in (UNIFORM, POOL) else UNIFORM
    if arm.option(WEIGHTS) is not None:
        shuffled = Arm(arm.method, arm.kind, ((WEIGHTS, SHUFFLED), *arm.without({WEIGHTS}).options))
        return CONTROL if other.same(shuffled) else ""
    alike = other.method == arm.method and other.plain(IDLE).same(arm.plain(IDLE))
    return RIVAL if alike and other.kind == POOL and is_steered(arm) else ""
