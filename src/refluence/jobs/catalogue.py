"""Every method of the package by name, and arms read against what their methods declare."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from refluence.arm import UNIFORM, Arm, read_arm
from refluence.condense import job as condense
from refluence.condense.method import Method
from refluence.data.dataset import Dataset
from refluence.errors import InputError, did_you_mean, option, says_flags, stated
from refluence.evaluate import generated
from refluence.evaluate.cleaning import CHANCE, HELD_OUT, by_another, cleaning
from refluence.evaluate.references import base, by_score
from refluence.evaluate.students import SCRATCH
from refluence.files import Json
from refluence.generate import arms as generate_arms
from refluence.generate import job as generate
from refluence.generate.method import Generator
from refluence.influence.weighting import KINDS
from refluence.matching.discrepancies import FlatCosine
from refluence.options import TransferOptions
from refluence.options.guidance import TOGETHER, read_guidance
from refluence.select import job as select
from refluence.select.selection import Selection
from refluence.transfer import job as transfer
from refluence.transfer.arms import OF_IMITATION, WEIGHTS, shared_options, supervised
from refluence.transfer.mechanism import Mechanism

Declaration = Method | Selection | Mechanism | Generator
NAME = re.compile(r"[\w.-]+")  # of a method, as an arm spells it
FAMILIES = {Method: condense, Selection: select, Mechanism: transfer, Generator: generate}
"""The module of each family: what its arms may say (`check`), what is theirs alone (`own_keys`), and their plan (`plan`)."""

GIVEN = "a method that was given in Python"
DEFAULTS = TransferOptions()
HAND_OVER = "hand it over again, rf.open(FOLDER, method=…)"


@lru_cache
def methods() -> dict[str, Declaration]:
    """Every method by name: each module of `condense`, `select`, `generate` and `transfer` that declares a `METHOD`.

    Returns:
        Name -> `Method`, `Selection`, `Generator` or `Mechanism`.

    Example:
        >>> import refluence as rf
        >>> rf.methods()["dc"].summary
        'gradient matching, row-wise cosine, networks trained on the synthetic set'
    """
    declared: dict[str, Declaration] = {}
    for package in ("refluence.select", "refluence.condense", "refluence.generate", "refluence.transfer"):
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            method = getattr(importlib.import_module(f"{package}.{info.name}"), "METHOD", None)
            if method is not None:
                declared[method.name] = method
    return declared


def own_methods(given: Sequence[str | Declaration]) -> dict[str, Declaration]:
    """The methods that are given as objects, by name. `InputError` where the package has one of that name."""
    for each in given:
        if not isinstance(each, (str, Method, Selection, Generator, Mechanism)):
            data = ": the data come first" if isinstance(each, Dataset) else ""
            raise InputError(f"a method is a {type(each).__name__}{data}: give an arm such as 'dc+influence', or a method")
    own = {each.name: each for each in given if not isinstance(each, str)}
    for name, declared in own.items():
        if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
            raise InputError(f"a method is called {name!r}: an arm can name letters, digits, '-', '_' and '.'")
        if methods().get(name, declared) is not declared:
            raise InputError(f"the package has a method '{name}': give yours a name of its own")
    return own


def not_here(name: str, stored: Json) -> Declaration:
    """In the place of a method that was given in Python and is not handed over; `stored`: the job that it made, as JSON."""
    if transfer.KEY in stored:
        return Mechanism(name, GIVEN)
    if generate.KEY in stored:
        return Generator(name, GIVEN)
    if stored["settings"] is None:
        return Selection(name, GIVEN, _refuse)
    return Method(name, GIVEN, "", FlatCosine(), _refuse)


def is_here(declared: Declaration) -> bool:
    """Whether a method can be used, and does not only stand for one that was given in Python."""
    return declared.summary != GIVEN


def _refuse(*given: Any, **options: Any) -> Any:
    raise InputError(f"the run was made by {GIVEN}: {HAND_OVER}")


def parse_arm(text: str | Declaration, own: Mapping[str, Declaration] | None = None) -> Arm:
    """Read one arm and check it against its method.

    Args:
        text: `METHOD[+WEIGHTS][:key=value,…]`, for example `dc+influence:tau=.1`; or a method, without weights.
        own: methods beside those of the package (`own_methods`).

    Raises:
        InputError: an unknown method, weights or option, or values that mean nothing together; before any work is done.
    """
    known = {**methods(), **(own or {})}
    arm = read_arm(text) if isinstance(text, str) else Arm(text.name)
    if "," in arm.head:
        raise InputError(f"'{text}' is not one arm but several: {_apart(arm.head)}")
    if arm.method not in known:
        raise InputError(f"unknown method '{arm.method}' in arm '{text}': {did_you_mean(arm.method, sorted(known))}")
    declared = known[arm.method]
    kinds = {Mechanism: {**KINDS, **WEIGHTS}, Generator: {UNIFORM: "", **generate_arms.VARIANTS}}.get(type(declared), KINDS)
    if arm.kind not in kinds:
        what = "guidance" if isinstance(declared, Generator) else "weights"
        known_kinds = [each for each in kinds if each != UNIFORM or not isinstance(declared, Generator)]
        raise InputError(f"unknown {what} '{arm.kind}' in arm '{text}': {did_you_mean(arm.kind, known_kinds)}")
    FAMILIES[type(declared)].check(arm, declared)
    return arm


def check_mechanism(text: str | Declaration) -> None:
    """`InputError` for an arm whose method there is not, which names the mechanisms of a transfer alone."""
    name = text.partition(":")[0].partition("+")[0] if isinstance(text, str) else ""
    if name and name not in methods():
        known = sorted(each for each, declared in methods().items() if isinstance(declared, Mechanism))
        raise InputError(f"{stated('mechanism', name)}: unknown: {did_you_mean(name, known)}")


def _apart(arms: str) -> str:
    """How several arms are given."""
    each = [name.strip() for name in arms.split(",")]
    given = " ".join(each) if says_flags() else str(each)
    return f"compare takes them apart, {option('methods')}{' ' if says_flags() else '='}{given}"


def arm_of(method: str, weights: str) -> Arm:
    """The arm of `distill --method dc --weights influence:tau=.1`; settings may stand behind either, as in an arm."""
    (name, _, settings), (kind, _, options) = method.partition(":"), weights.partition(":")
    if "+" in name and kind != UNIFORM:
        raise InputError(f"{stated('method', method)} has weights already: leave out {option('weights', weights)}")
    tail = ",".join(part for part in (settings, options) if part)
    return parse_arm(f"{name}{'' if kind == UNIFORM else f'+{kind}'}{f':{tail}' if tail else ''}")


def refuse_sampled(arm: Arm) -> None:
    """`InputError` for an arm whose set is sampled, which `distill` does not make."""
    if isinstance(methods().get(arm.method), Generator):
        made = "refluence generate sample" if says_flags() else "rf.generate"
        raise InputError(f"{stated('method', arm.name)}: its images are sampled from a denoiser: {made} makes such a set")


def guided_arm(method: str, guidance: str, pool: bool) -> Arm:
    """The arm of `generate sample --guidance influence,deviation` with this method; more options may stand behind a colon.

    Raises:
        InputError: an unknown guidance, or a pool that is guided.
    """
    word, options = read_guidance(guidance, pool)
    kind = "pool" if pool else UNIFORM if word == "none" else word
    return parse_arm(Arm(method, kind).name + (f":{options}" if options else ""))


def guidance_of(arm: Arm) -> Json:
    """The inverse of `guided_arm`: method, guidance and pool, as config.json keeps what was asked for."""
    kind = "none" if arm.kind in (UNIFORM, "pool") else ",".join(TOGETHER) if arm.kind == "igd" else arm.kind
    tail = ",".join(f"{key}={text}" for key, text in arm.options)
    return {"method": arm.method, "guidance": kind + (f":{tail}" if tail else ""), "pool": arm.kind == "pool"}


def base_of(arm: Arm) -> Arm:
    """The same method with the same settings, without weights."""
    declared = methods().get(arm.method)
    if isinstance(declared, Mechanism):
        method = arm.method if declared.schedule == "semi" or declared.teacher == "none" else "kd"
        return Arm(method, options=shared_options(arm))
    if isinstance(declared, Generator):
        return Arm(arm.method, options=tuple((k, v) for k, v in arm.options if k in generate_arms.shared_keys()))
    family = condense if declared is None else FAMILIES[type(declared)]  # of methods of one's own those alone have weights
    keys = family.own_keys()
    return Arm(arm.method, options=tuple((k, v) for k, v in arm.options if k in keys))


def with_controls(given: Sequence[str | Declaration], controls: bool, students: TransferOptions = DEFAULTS) -> list[Arm]:
    """The arms in order, each once; `X+influence:…` brings `X` before it and `X+shuffled:…` behind it, a
    transfer by influence `scratch` and `kd` before it, `semi+influence` a `scratch` of as many steps (`students`: how they
    learn).

    `X+pruned:by=score` (`selected`, `relabelled`, `scores` alike) brings `X` before it, and behind it the same at random and
    by held-out loss. A method that is given as an object is an arm, and its name may stand in others.

    Raises:
        InputError: an arm that is given twice.
    """
    own_by_name = own_methods(given)
    asked = [parse_arm(each, own_by_name) for each in given]
    if twice := next((arm for number, arm in enumerate(asked) if any(arm.same(other) for other in asked[:number])), None):
        raise InputError(
            f"arm '{twice.name}' is given twice: an arm is one row of the comparison, {option('seeds')} repeats it"
        )
    arms: list[Arm] = []
    for arm in asked:
        own = [arm]
        if controls and arm.kind == "influence":
            own = [base_of(arm), arm, Arm(arm.method, "shuffled", arm.options)]
        declared = methods().get(arm.method)
        if controls and isinstance(declared, Generator):
            own = _of_sampling(arm)
        elif controls and isinstance(declared, Mechanism):
            own = _of_transfer(arm, declared, students)
        elif controls and by_score(arm.name):
            own = [read_arm(base(arm.name)), arm, by_another(arm, CHANCE), by_another(arm, HELD_OUT)]
            own = [next((other for other in asked if _alike(other, each)), each) for each in own]
        arms += [a for a in own if not any(a.same(other) for other in arms)]
    return arms


def _of_sampling(arm: Arm) -> list[Arm]:
    """A generated set with what it brings: what is guided, the same denoiser without guidance, and a pool of its samples that
    is as long in the making; what weights guide, the same without weights and with the weights on the wrong instances."""
    if not generated.is_steered(arm):
        return [arm]
    plain = base_of(arm)
    even = arm.without({generated.WEIGHTS})
    wrong = Arm(arm.method, arm.kind, (*even.options, (generated.WEIGHTS, generated.SHUFFLED)))
    weighted = [even, arm, wrong] if arm.option(generated.WEIGHTS) is not None else [arm]
    return [plain, *weighted, Arm(arm.method, "pool", plain.options)]


def _of_transfer(arm: Arm, mechanism: Mechanism, students: TransferOptions) -> list[Arm]:
    """An arm of a transfer with what it brings: what weighs by influence, the student alone, plain distillation and the same
    weights shuffled."""
    influence = arm.kind == "influence" or (arm.kind == UNIFORM and (mechanism.weighs or mechanism.teacher == "weighted"))
    if not influence:
        return [arm]
    shuffled = Arm(arm.method, "shuffled", arm.options)
    if mechanism.schedule == "semi":
        return [_supervised(arm, mechanism, students), base_of(arm), arm, shuffled]
    return [Arm(SCRATCH, options=shared_options(arm, OF_IMITATION)), base_of(arm), arm, shuffled]


def _supervised(arm: Arm, mechanism: Mechanism, students: TransferOptions) -> Arm:
    """`scratch` beside an arm of `semi`."""
    return supervised(arm, transfer.settings_for(arm, students, mechanism, network="", text=False))


def students_beside(text: str, students: TransferOptions = DEFAULTS) -> tuple[str, ...]:
    """An arm of a transfer behind the student alone and plain distillation, as `transfer --seeds` compares it.

    Of `semi`, which has no teacher that is there first, behind the student alone. `students`: how they learn.
    """
    arm = parse_arm(text)
    mechanism = methods()[arm.method]
    if not isinstance(mechanism, Mechanism) or arm.method == SCRATCH:
        return (arm.name,)
    if mechanism.schedule == "semi":
        arms = [_supervised(arm, mechanism, students), base_of(arm), arm]
    else:
        scratch = Arm(SCRATCH, options=shared_options(arm, (*OF_IMITATION, "also")))
        arms = [scratch, Arm("kd", options=shared_options(arm, ("also",))), arm]
    return tuple(each.name for number, each in enumerate(arms) if not any(each.same(other) for other in arms[:number]))


def _alike(one: Arm, other: Arm) -> bool:
    """Whether both do the same beforehand, however their shares are written."""
    return one.method == other.method and cleaning(one) is not None and cleaning(one) == cleaning(other)
