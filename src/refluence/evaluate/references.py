"""What an arm is compared with: the same method without weights, weights that know nothing, equal seconds, random images.

An arm with weights (`dc+influence:tau=1,image_lr=.5`) is compared

    with its method at the same settings without weights (`dc:image_lr=.5`, no other)           UNIFORM
    with the weights of each step on the wrong instances (`dc+shuffled:tau=1,image_lr=.5`; for `dc+pruned` and
    `dc+selected` as many left out at by=random)                                                CONTROL
    with `dc:equal_seconds=influence,tau=1,image_lr=.5`: no weights, but as many seconds        EQUAL_SECONDS

where there are such arms. A method without weights is compared with `random` (RANDOM); `full` is an upper bound, not a
competitor. Further pairs can be declared. `where=outside` changes the distance too: there the uniform weights are those of
the same arm at tau=inf; without such an arm the verdict says that the distance is another one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields

from refluence.arm import UNIFORM, Arm, read_arm
from refluence.influence.weighting import PRUNED, Weighting

SHUFFLED, EQUAL_SECONDS, CONTROL, RANDOM = "shuffled", "equal_seconds", "control", "random"
PRUNING = {kind for kind, _ in PRUNED}
OF_WEIGHTS = frozenset(field.name for field in fields(Weighting)) - {"kind"}


def base(arm: str) -> str:
    """The same method at the same settings without weights: `dc+influence:tau=.1,image_lr=1` to `dc:image_lr=1`."""
    return read_arm(arm).plain(OF_WEIGHTS).name


def references(arm: str, arms: Collection[str], declared: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Those of `arms` that `arm` is compared with: uniform, its control, equal seconds, and what `declared` pairs it with."""
    this, others = read_arm(arm), {name: read_arm(name) for name in arms}
    if this.kind == UNIFORM:
        against = [name for name in arms if name == RANDOM and arm != RANDOM and this.method != "full"]
    else:
        options = set(this.options)
        same_distance = [name for name, other in others.items() if _is_uniform_outside(other, this)]
        same_distance.sort(key=lambda name: len(set(others[name].options) ^ options))  # at tau=inf no other one has an effect
        plain = [name for name, other in others.items() if other.same(this.plain(OF_WEIGHTS))]
        against = (same_distance + plain)[:1]
        against += [name for name, other in others.items() if _is_control(other, this)]
        equal = Arm(this.method, options=((EQUAL_SECONDS, this.kind), *this.options))
        against += [name for name, other in others.items() if other.same(equal)]
    return against + [other for one, other in declared if one == arm and other in arms and other not in against]


def kind(arm: str, against: str) -> str:
    """What a reference is to its arm: `uniform`, `control`, `random`, or `equal_seconds`, uniform too; else ""."""
    this, other = read_arm(arm), read_arm(against)
    if _is_control(other, this):
        return CONTROL
    if other.option(EQUAL_SECONDS) is not None:
        return EQUAL_SECONDS
    if _is_uniform_outside(other, this) or (against != arm and other.same(this.plain(OF_WEIGHTS))):
        return UNIFORM
    return RANDOM if against == RANDOM else ""


def by_chance(arm: str) -> bool:
    """Whether the weights of an arm know nothing of the instances."""
    this = read_arm(arm)
    return this.kind in (UNIFORM, SHUFFLED) or (this.kind in PRUNING and _pruning(this)[0] == "random")


def another_distance(arm: str, against: str) -> bool:
    """Whether `arm` has the distance of where=outside and `against` has not."""
    return _outside(read_arm(arm)) and not _outside(read_arm(against))


def _is_control(other: Arm, arm: Arm) -> bool:
    """Whether the weights of `other` come about as those of `arm` do, but are put on the wrong instances."""
    if other.method != arm.method:
        return False
    if arm.kind in PRUNING:
        (by, *alike), (ranking, *wanted) = _pruning(other), _pruning(arm)
        return other.kind == arm.kind and by == "random" != ranking and alike == wanted
    return arm.kind != SHUFFLED == other.kind and dict(other.options) == dict(arm.options)


def _pruning(arm: Arm) -> tuple[str, float, dict[str, str]]:
    """What a pruned arm ranks by, the share that it keeps, and its other options but for the sign."""
    given = dict(arm.options)
    by = given.pop("by", "influence")
    keep = float(given.pop("keep", PRUNED.get((arm.kind, by), 1)))
    given.pop("sign", None)
    return by, keep, given


def _is_uniform_outside(other: Arm, arm: Arm) -> bool:
    """Whether `other` has the distance and settings of `arm`, which has where=outside, at uniform weights (tau=inf)."""
    if not (_outside(other) and _outside(arm)) or _tau_is_infinite(arm) or not _tau_is_infinite(other):
        return False
    return other.plain(OF_WEIGHTS).same(arm.plain(OF_WEIGHTS))


def _outside(arm: Arm) -> bool:
    return arm.kind != UNIFORM and arm.option("where") == "outside"


def _tau_is_infinite(arm: Arm) -> bool:
    return (arm.option("tau") or "").lower().lstrip("+") in ("inf", "infinity")
