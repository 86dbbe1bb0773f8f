"""What an arm is compared with: the same method without weights, weights that know nothing, equal seconds, random images.

An arm with weights (`dc+influence:tau=1,image_lr=.5`) is compared

    with its method at the same settings without weights (`dc:image_lr=.5`, no other)           UNIFORM
    with weights as uneven that belong to the wrong instances (`dc+shuffled:tau=1,image_lr=.5`; for `dc+pruned` and
    `dc+selected` as many left out at by=random)                                                CONTROL
    with `dc:equal_seconds=influence,tau=1,image_lr=.5`: no weights, but as many seconds        EQUAL_SECONDS

where there are such arms. A method without weights is compared with `random` (RANDOM); `full` is an upper bound, not a
competitor. Further pairs can be declared. `where=outside` changes the distance too: there the uniform weights are those of
the same arm at tau=inf; without such an arm the verdict says that the distance is another one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields

from refluence.influence.weighting import PRUNED, Weighting

UNIFORM, SHUFFLED, EQUAL_SECONDS, CONTROL, RANDOM = "uniform", "shuffled", "equal_seconds", "control", "random"
PRUNING = {kind for kind, _ in PRUNED}
OF_WEIGHTS = {field.name for field in fields(Weighting)} - {"kind"}


def parse_arm(arm: str) -> tuple[str, str, frozenset[str]]:
    """`dc+influence:tau=.1,sign=-1` to method, kind of weights (`uniform` without suffix) and options."""
    head, _, options = arm.partition(":")
    method, _, weights = head.partition("+")
    return method, weights or UNIFORM, frozenset(filter(None, options.split(",")))


def base(arm: str) -> str:
    """The same method at the same settings without weights: `dc+influence:tau=.1,image_lr=1` to `dc:image_lr=1`."""
    head, _, options = arm.partition(":")
    settings = [option for option in options.split(",") if option and option.partition("=")[0] not in OF_WEIGHTS]
    return head.partition("+")[0] + (":" + ",".join(settings) if settings else "")


def references(arm: str, arms: Collection[str], declared: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Those of `arms` that `arm` is compared with: uniform, its control, equal seconds, and what `declared` pairs it with."""
    method, weights, options = parse_arm(arm)
    if weights == UNIFORM:
        found = [other for other in arms if other == "random" and arm != "random" and method != "full"]
    else:
        others = [(other, *parse_arm(other)) for other in arms]
        same_distance = [o for o, *_ in others if _is_uniform_outside(o, arm)]
        same_distance.sort(key=lambda other: len(parse_arm(other)[2] ^ options))  # at tau=inf no other option has an effect
        plain = [o for o, m, w, opts in others if (m, w, opts) == parse_arm(base(arm))]
        found = (same_distance + plain)[:1]
        found += [o for o in arms if _is_control(o, arm)]
        equal = options | {f"{EQUAL_SECONDS}={weights}"}
        found += [o for o, m, w, opts in others if (m, w, opts) == (method, UNIFORM, equal)]
    return found + [against for one, against in declared if one == arm and against in arms and against not in found]


def kind(arm: str, against: str) -> str:
    """What a reference is to its arm: `uniform`, `control`, `random`, or `equal_seconds`, uniform too; else ""."""
    if _is_control(against, arm):
        return CONTROL
    if any(option.startswith(f"{EQUAL_SECONDS}=") for option in parse_arm(against)[2]):
        return EQUAL_SECONDS
    if _is_uniform_outside(against, arm) or (against != arm and parse_arm(against) == parse_arm(base(arm))):
        return UNIFORM
    return RANDOM if against == RANDOM else ""


def by_chance(arm: str) -> bool:
    """Whether the weights of an arm know nothing of the instances."""
    _, weights, options = parse_arm(arm)
    return weights in (UNIFORM, SHUFFLED) or (weights in PRUNING and _pruning(weights, options)[0] == "random")


def another_distance(arm: str, against: str) -> bool:
    """Whether `arm` has the distance of where=outside and `against` has not."""
    return _outside(arm) and not _outside(against)


def _is_control(other: str, arm: str) -> bool:
    """Whether the weights of `other` are as uneven as those of `arm`, but belong to the wrong instances."""
    (m, w, opts), (method, weights, options) = parse_arm(other), parse_arm(arm)
    if m != method:
        return False
    if weights in PRUNING:
        (by, *alike), (ranking, *wanted) = _pruning(w, opts), _pruning(weights, options)
        return w == weights and by == "random" != ranking and alike == wanted
    return weights != SHUFFLED == w and opts == options


def _pruning(weights: str, options: frozenset[str]) -> tuple[str, float, dict[str, str]]:
    """What a pruned arm ranks by, the share that it keeps, and its other options but for the sign."""
    given = dict(option.partition("=")[::2] for option in options)
    by = given.pop("by", "influence")
    keep = float(given.pop("keep", PRUNED.get((weights, by), 1)))
    given.pop("sign", None)
    return by, keep, given


def _is_uniform_outside(other: str, arm: str) -> bool:
    """Whether `other` has the distance and settings of `arm`, which has where=outside, at uniform weights (tau=inf)."""
    if not (_outside(other) and _outside(arm)) or _tau_is_infinite(arm) or not _tau_is_infinite(other):
        return False
    return parse_arm(base(other)) == parse_arm(base(arm))


def _outside(arm: str) -> bool:
    _, weights, options = parse_arm(arm)
    return weights != UNIFORM and "where=outside" in options


def _tau_is_infinite(arm: str) -> bool:
    values = [option.partition("=")[2].lower() for option in parse_arm(arm)[2] if option.startswith("tau=")]
    return any(value.lstrip("+") in ("inf", "infinity") for value in values)
