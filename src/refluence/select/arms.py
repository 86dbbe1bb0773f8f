"""What an arm of a selection may say: options of its own, and what is done to real instances before it selects."""

from __future__ import annotations

from dataclasses import fields

from refluence.arm import UNIFORM, Arm
from refluence.condense.ranking import ranks_by
from refluence.errors import InputError
from refluence.files import Json
from refluence.influence.beforehand import CLEANING
from refluence.influence.weighting import Weighting, parse_weighting
from refluence.select.selection import Selection, SelectionOptions

OBJECTIVE, VALIDATION = "objective", "validation"


def own_keys() -> tuple[str, ...]:
    """The options of an arm that are settings of the method."""
    return tuple(f.name for f in fields(SelectionOptions))


def check(arm: Arm, selection: Selection) -> None:
    """`InputError` for weights that a selection cannot have, and for options that it does not have."""
    if arm.kind not in (UNIFORM, *CLEANING):
        raise InputError(
            f"arm '{arm.name}': {arm.method} selects real images and takes no weights of this kind: {', '.join(CLEANING)}, or "
            f"'{arm.method}' alone"
        )
    own = read(arm, selection)
    if own.get("on") == VALIDATION and own.get("easiest"):
        raise InputError(f"arm '{arm.name}': easiest is the other end of on=objective: leave one of them out")
    weighting = weighting_of(arm)
    if ranks_by(weighting) == "influence":
        raise InputError(
            f"arm '{arm.name}': by=influence ranks by the method's own objective, and {arm.method} has none: by=score, "
            "held-out-loss, loss, random or truth"
        )
    if weighting.kind == "scores" and not selection.weighs:
        raise InputError(f"arm '{arm.name}': {arm.method} does not read weights; random and herding do")


def read(arm: Arm, selection: Selection) -> Json:
    """The options of an arm that are its method's, such as `random:factor=2`, as values."""
    own = {k: v for k, v in arm.options if arm.kind == UNIFORM or k in own_keys()}
    try:
        return selection.read(own)
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None


def weighting_of(arm: Arm) -> Weighting:
    """What the arm does to real instances before they are selected."""
    try:
        return parse_weighting(arm.kind, dict(arm.without(own_keys()).options))
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None
