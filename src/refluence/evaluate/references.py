"""What an arm is compared with: the same without weights, weights that know nothing, equal seconds, loss, random images.

An arm with weights (`dc+influence:tau=1,image_lr=.5`) is compared

    with its method at the same settings without weights (`dc:image_lr=.5`, no other)           UNIFORM
    with the weights of each step on the wrong instances (`dc+shuffled:tau=1,image_lr=.5`; for `dc+pruned` and
    `dc+selected` as many left out at by=random)                                                CONTROL
    with `dc:equal_seconds=influence,tau=1,image_lr=.5`: no weights, but as many seconds        EQUAL_SECONDS

where there are such arms. An arm whose images a table of scores cleans or weighs beforehand (cleaning.py), of a method or of
a selection (`dm+pruned:by=score,keep=.6`, `random+relabelled`, `dm+scores`), is compared

    with its method as it is (`dm`)                                                             UNIFORM
    with the same at random (`dm+pruned:by=random,keep=.6`)                                     CONTROL
    with the same by loss (`dm+pruned:by=held-out-loss,keep=.6`, where that is missing by=loss) RIVAL, of by=score alone

A method without weights is compared with `random` (RANDOM). `full` and arms with by=truth are ceilings, not competitors: of
these only the latter are compared, with their method as it is. Further pairs can be declared. `where=outside` changes the
distance too: there the uniform weights are those of the same arm at tau=inf; without such an arm the verdict says that the
distance is another one. What arms of knowledge distillation are compared with: students.py; generated sets: generated.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields

from refluence.arm import UNIFORM, Arm, read_arm
from refluence.evaluate import generated, students
from refluence.evaluate.cleaning import CHANCE, HELD_OUT, LOSS, SCORE, TRUTH, cleaning
from refluence.evaluate.relations import CONTROL, EQUAL_SECONDS, RANDOM, RELATIONS, RIVAL
from refluence.influence.weighting import Weighting

SHUFFLED = "shuffled"
OF_WEIGHTS = frozenset(field.name for field in fields(Weighting)) - {"kind"}


def base(arm: str) -> str:
    """The same method at the same settings without weights: `dc+influence:tau=.1,image_lr=1` to `dc:image_lr=1`."""
    this = read_arm(arm)
    if generated.is_generated(this):
        return generated.base(this).name
    return students.base(this).name if students.is_student(this) else this.plain(OF_WEIGHTS).name


def references(arm: str, arms: Collection[str], declared: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Those of `arms` that `arm` is compared with: uniform, control, equal seconds, rival, and what `declared` names."""
    this, others = read_arm(arm), {name: read_arm(name) for name in arms}
    if students.is_student(this) or generated.is_generated(this):
        relation = students.relation if students.is_student(this) else generated.relation
        related = [(relation(this, other), name) for name, other in others.items()]
        against = [name for each in RELATIONS for found, name in related if found == each]
        if base(arm) != arm and base(arm) in against:  # a method beside another one is not compared with random too
            against = [name for name in against if name != RANDOM]
    elif this.kind == UNIFORM:
        against = [name for name in arms if name == RANDOM and arm != RANDOM and this.method != "full"]
    else:
        options = set(this.options)
        same_distance = [name for name, other in others.items() if _is_uniform_outside(other, this)]
        same_distance.sort(key=lambda name: len(set(others[name].options) ^ options))  # at tau=inf no other one has an effect
        plain = [name for name, other in others.items() if other.same(this.plain(OF_WEIGHTS))]
        against = (same_distance + plain)[:1]
        controls = [name for name, other in others.items() if _is_control(other, this)]
        if this.kind == "scores":  # the weights of the same terms, if they are there
            controls = sorted(controls, key=lambda name: _terms(others[name]) != _terms(this))[:1]
        against += controls
        equal = Arm(this.method, options=((EQUAL_SECONDS, this.kind), *this.options))
        against += [name for name, other in others.items() if other.same(equal)]
        rivals = [[name for name, other in others.items() if _is_same_by(other, this, by)] for by in (HELD_OUT, LOSS)]
        against += (rivals[0] + rivals[1])[:1]
    return against + [other for one, other in declared if one == arm and other in arms and other not in against]


def kind(arm: str, against: str) -> str:
    """What a reference is to its arm: `uniform`, `control`, `rival`, `random`, or `equal_seconds`, uniform too; else ""."""
    this, other = read_arm(arm), read_arm(against)
    if students.is_student(this):
        return students.relation(this, other)
    if generated.is_generated(this):
        return generated.relation(this, other)
    if _is_control(other, this):
        return CONTROL
    if _is_same_by(other, this, HELD_OUT) or _is_same_by(other, this, LOSS):
        return RIVAL
    if other.option(EQUAL_SECONDS) is not None:
        return EQUAL_SECONDS
    if _is_uniform_outside(other, this) or (against != arm and other.same(this.plain(OF_WEIGHTS))):
        return UNIFORM
    return RANDOM if against == RANDOM else ""


def by_chance(arm: str) -> bool:
    """Whether the weights of an arm know nothing of the instances."""
    this = read_arm(arm)
    if students.is_student(this):
        return students.by_chance(this)
    if generated.is_generated(this):
        return generated.by_chance(this)
    own = cleaning(this)
    return this.kind in (UNIFORM, SHUFFLED) or (own is not None and own.by == CHANCE)


def by_influence(arm: str) -> bool:
    """Whether instances are weighted by influence, or steer the sampling by theirs."""
    this = read_arm(arm)
    if generated.is_generated(this):
        return generated.by_influence(this)
    return students.by_influence(this) if students.is_student(this) else this.kind == "influence"


def place(arm: str) -> int:
    """Where an arm stands among those by influence, of which the first is the primary one: of arms that sample those that
    weights steer come first, and those that lack the deviation last."""
    this = read_arm(arm)
    if not generated.is_generated(this):
        return 1
    return 0 if this.option(generated.WEIGHTS) is not None else 2 if this.kind == generated.INFLUENCE else 1


def is_ceiling(arm: str) -> bool:
    """Whether an arm knows what no method can: everything, or the truth. Nothing is claimed of it."""
    own = cleaning(read_arm(arm))
    return read_arm(arm).head == "full" or (own is not None and own.by == TRUTH)


def by_score(arm: str) -> bool:
    """Whether the scores of `refluence score` clean or weigh the images of an arm beforehand."""
    own = cleaning(read_arm(arm))
    return own is not None and own.by == SCORE


def another_distance(arm: str, against: str) -> bool:
    """Whether `arm` has the distance of where=outside and `against` has not."""
    return _outside(read_arm(arm)) and not _outside(read_arm(against))


def _is_control(other: Arm, arm: Arm) -> bool:
    """Whether the weights of `other` come about as those of `arm` do, but are put on the wrong instances."""
    if other.method != arm.method:
        return False
    this, that = cleaning(arm), cleaning(other)
    if this is not None:
        return that is not None and that.by == CHANCE and this.by not in (CHANCE, TRUTH) and that.same(this)
    return arm.kind != SHUFFLED == other.kind and dict(other.options) == dict(arm.options)


def _terms(arm: Arm) -> str:
    own = cleaning(arm)
    return "" if own is None else own.terms


def _is_same_by(other: Arm, arm: Arm, by: str) -> bool:
    """Whether `arm` is cleaned by score and `other` the same by `by`."""
    this, that = cleaning(arm), cleaning(other)
    if other.method != arm.method or this is None or that is None or this.by != SCORE:
        return False
    return that.by == by and that.sign == this.sign and that.same(this)


def _is_uniform_outside(other: Arm, arm: Arm) -> bool:
    """Whether `other` has the distance and settings of `arm`, which has where=outside, at uniform weights (tau=inf)."""
    if not (_outside(other) and _outside(arm)) or _tau_is_infinite(arm) or not _tau_is_infinite(other):
        return False
    return other.plain(OF_WEIGHTS).same(arm.plain(OF_WEIGHTS))


def _outside(arm: Arm) -> bool:
    return arm.kind != UNIFORM and arm.option("where") == "outside"


def _tau_is_infinite(arm: Arm) -> bool:
    return (arm.option("tau") or "").lower().lstrip("+") in ("inf", "infinity")
