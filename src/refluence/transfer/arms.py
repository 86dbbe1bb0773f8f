"""What an arm of a transfer may say: numbers of its own, and how training instances are weighted, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

from refluence.arm import UNIFORM, Arm
from refluence.errors import InputError, did_you_mean, option
from refluence.fields import read
from refluence.influence.weighting import Weighting, parse_weighting
from refluence.options import TransferOptions
from refluence.transfer.mechanism import Mechanism
from refluence.transfer.semi_settings import UNREAD, SemiSettings
from refluence.transfer.settings import Settings

WEIGHTS = {
    "influence": "by influence on the validation risk (KD-AIF)",
    "shuffled": "control: the influence weights on the wrong instances",
    "random": "control: random weights of the same entropy",
    "flipped": "control: what harms weighs more",
    "loss": "rival: by the student's loss, the higher the less",
    "small-loss": "rival: the share keep with the smallest loss, equally",
    "adapt": "rival: by the similarity of features to validation instances, forward passes alone",
}
USUAL = {"link": "sigmoid", "sign": "-1", "bag": "all", "standardise": "mad"}
"""KD-AIF's weights, as `refluence score` has them: what raises the validation risk weighs less than 1."""
SMALL_LOSS = {"link": "top", "sign": "-1", "bag": "all", "keep": ".8"}
CENTRED = {**USUAL, "standardise": "std"}
"""Of losses and similarities, which have no zero that means something."""
REWEIGHTED = {**USUAL, "standardise": "none"}
"""Of the link relu, which does not see the scale: with bag=batch it is learning to reweight."""
READ = ("tau", "ess", "sign", "bag", "standardise", "link", "keep", "memory", "warmup", "carry")
"""Options of the weights that mean something here."""

OF_WEIGHTS = ("curvature", "damping", "solve", "fit", "risk", "parameters", "refresh")
"""Numbers that mean something only where instances are weighted."""
OF_TEACHER = ("teacher_alpha", "teacher_gradient", "teacher_lr", "teacher_every")
"""Numbers that mean something only where the teacher learns too."""

OF_IMITATION = ("loss", "alpha", "temperature", "beta", "onset")
"""Numbers that mean something only where there is a teacher."""


def numbers(mechanism: Mechanism | None) -> type[Settings]:
    """Where the numbers of a mechanism are declared."""
    return SemiSettings if mechanism is not None and mechanism.schedule == "semi" else Settings


def own_keys(mechanism: Mechanism | None = None) -> tuple[str, ...]:
    """The options of an arm that are numbers of the run; None: of any mechanism."""
    if mechanism is None:
        return tuple(f.name for f in fields(SemiSettings))
    unread = UNREAD if mechanism.schedule == "semi" else ()
    return tuple(f.name for f in fields(numbers(mechanism)) if f.name not in unread)


def check(arm: Arm, mechanism: Mechanism) -> None:
    """`InputError` for options that are unknown, out of range, or mean nothing for this mechanism."""
    if arm.kind not in (UNIFORM, *WEIGHTS):
        raise InputError(f"arm '{arm.name}': {did_you_mean(arm.kind, list(WEIGHTS))} weigh training instances of a transfer")
    if arm.kind != UNIFORM and mechanism.teacher == "none" and mechanism.schedule != "semi":
        raise InputError(f"arm '{arm.name}': {arm.method} is the control without weights; kd takes them")
    if mechanism.weighs and arm.kind == "influence":
        raise InputError(f"arm '{arm.name}': {arm.method} weighs by influence already: leave out +influence")
    known = [*own_keys(mechanism), *(READ if _weighted(arm, mechanism) else ())]
    for key, value in arm.options:
        if key not in known:
            raise InputError(f"arm '{arm.name}': unknown option '{key}={value}': {did_you_mean(key, known)}")
    if arm.option("epochs") is not None and arm.option("steps") is not None:
        raise InputError(f"arm '{arm.name}': epochs and steps both say how long it is: leave one out")
    if said := next(((key, why) for key, why in idle(arm, mechanism).items() if arm.option(key) is not None), None):
        raise InputError(f"arm '{arm.name}': {said[0]} means nothing there: {said[1]}")
    try:
        changes(arm, mechanism)
        weighting_of(arm, mechanism)
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None


def idle(arm: Arm, mechanism: Mechanism, trained: bool = True) -> dict[str, str]:
    """The numbers that an arm does not read, and why. `trained`: whether a teacher is trained first, for the epochs that are
    asked for."""
    found = {} if _weighted(arm, mechanism) else dict.fromkeys(OF_WEIGHTS, "no instance is weighted")
    if mechanism.teacher != "weighted":
        found |= dict.fromkeys(OF_TEACHER, "the teacher does not learn")
    if mechanism.teacher == "none":
        found["teacher_epochs"] = "no teacher is trained first"
    if mechanism.name == "scratch":
        found |= dict.fromkeys(OF_IMITATION, "there is no teacher")
    in_steps = mechanism.schedule == "semi"
    if in_steps:
        found |= dict.fromkeys(UNREAD, f"{mechanism.name} has numbers of its own")
    if in_steps or (arm.option("steps") is not None and (mechanism.teacher == "none" or not trained)):
        found["epochs"] = f"steps say how long it is, as in {mechanism.name}:steps=1000"
    return found


def refuse_idle(asked: TransferOptions, arms: Sequence[tuple[Arm, Mechanism]]) -> None:
    """`InputError` for a number that is asked for and that no arm reads: nothing would change."""
    trained = asked.load_teacher is None and asked.teacher_epochs is None
    unread = [idle(arm, mechanism, trained) for arm, mechanism in arms]
    for key, why in unread[0].items():
        value = getattr(asked, key, None)
        if value is not None and all(key in each for each in unread):
            names = ", ".join(arm.name for arm, _ in arms)
            raise InputError(f"{option(key, value)} means nothing for {names}: {why}")


def lasting(arm: Arm, settings: Settings) -> Arm:
    """The arm that says itself how long it is, as long as these numbers."""
    lengths = ("steps", "wait", "tune") if isinstance(settings, SemiSettings) else ("epochs",)
    own = arm.without({"epochs", "steps", *lengths})
    return Arm(arm.method, arm.kind, (*own.options, *((name, str(getattr(settings, name))) for name in lengths)))


def _weighted(arm: Arm, mechanism: Mechanism) -> bool:
    return arm.kind != UNIFORM or mechanism.weighs or mechanism.teacher == "weighted"


def changes(arm: Arm, mechanism: Mechanism | None) -> dict[str, Any]:
    """The arm's own numbers, as values."""
    known = own_keys(mechanism)
    return {key: read(numbers(mechanism), key, text) for key, text in arm.options if key in known}


def shared_options(arm: Arm, without: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
    """The options of an arm that its unweighted references have too: neither of weights nor of a teacher that learns."""
    keys = set(own_keys()) - {*OF_WEIGHTS, *OF_TEACHER, *without}
    return tuple((key, text) for key, text in arm.options if key in keys)


def supervised(arm: Arm, settings: Settings) -> Arm:
    """`scratch` beside an arm of `semi` with these numbers: labelled instances alone, for as many steps of as many of them."""
    own = {f.name for f in fields(SemiSettings)} - {f.name for f in fields(Settings)}
    numbers = shared_options(arm, {*own, *OF_IMITATION, "batch", "steps", "schedule"})
    return Arm("scratch", options=(*numbers, ("batch", str(settings.batch)), ("steps", str(settings.steps))))


def weighting_of(arm: Arm, mechanism: Mechanism) -> Weighting:
    """How instances are weighted: those of the student, or where only the teacher weighs, the teacher's."""
    kind = arm.kind
    if kind == UNIFORM and (mechanism.weighs or mechanism.teacher == "weighted"):
        kind = "influence"
    if kind == UNIFORM:
        return Weighting()
    said = {key: text for key, text in arm.options if key not in own_keys()}
    by_influence = REWEIGHTED if said.get("link") == "relu" else USUAL
    if mechanism.schedule == "semi":  # those of a step compete: no others are scored at the same student
        by_influence = {**by_influence, "bag": "batch"}
    usual = {"small-loss": SMALL_LOSS, "loss": CENTRED, "adapt": CENTRED}.get(kind, by_influence)
    return parse_weighting(kind, {**usual, **said})
