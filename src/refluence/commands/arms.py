"""Arms: METHOD[+WEIGHTS][:key=value,…], and the controls that an arm with influence weights brings along."""

from __future__ import annotations

import importlib
import pkgutil
import string
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import refluence.condense
import refluence.select
from refluence.condense.method import Method, Settings
from refluence.condense.real_side import check
from refluence.errors import InputError
from refluence.influence.weighting import KINDS, Weighting, parse_weighting
from refluence.select.selection import Selection

PLAIN = frozenset(string.ascii_letters + string.digits + "+=,._-")  # characters that a folder's name may hold as they are


@lru_cache
def methods() -> dict[str, Method | Selection]:
    """Every method of the package by name: each module of `condense` and `select` that declares a `METHOD`."""
    found = {}
    for package in (refluence.select, refluence.condense):
        for info in pkgutil.iter_modules(package.__path__):
            method = getattr(importlib.import_module(f"{package.__name__}.{info.name}"), "METHOD", None)
            if method is not None:
                found[method.name] = method
    return found


@dataclass(frozen=True)
class Arm:
    """One row of a comparison. `options` are `key=value` pairs as written."""

    method: str
    kind: str = "uniform"
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The arm as the user writes it, in one canonical form."""
        weights = "" if self.kind == "uniform" else f"+{self.kind}"
        options = ",".join(f"{k}={v}" for k, v in self.options)
        return self.method + weights + (f":{options}" if options else "")

    @property
    def weights(self) -> str:
        """The arm but for its method, as `distill --weights` takes it."""
        options = ",".join(f"{k}={v}" for k, v in self.options)
        return self.kind + (f":{options}" if options else "")

    @property
    def folder(self) -> str:
        """The name as one folder that every file system takes: `:` becomes `@`, other unusual characters `%XX`."""
        name = "".join("@" if c == ":" else c if c in PLAIN else quote(c, safe="").replace("~", "%7E") for c in self.name)
        return f"{name[:-1]}%2E" if name.endswith(".") else name  # Windows drops a dot at the end

    def weighting(self) -> Weighting:
        """How real instances are weighted."""
        if isinstance(methods()[self.method], Selection):
            return Weighting()
        return parse_weighting(self.kind, {k: v for k, v in self.options if k not in _setting_types()})

    def chosen(self) -> dict[str, Any]:
        """The options of an arm that selects real images, such as `random:factor=2`, as values."""
        declared = methods()[self.method]
        if not isinstance(declared, Selection):
            return {}
        try:
            return declared.read(dict(self.options))
        except InputError as error:
            raise InputError(f"arm '{self.name}': {error}") from None

    def settings(self, settings: Settings) -> Settings:
        """The run's settings with this arm's own, such as `dc:image_lr=1`."""
        types = _setting_types()
        changes = {}
        for key, value in self.options:
            if key in types:
                try:
                    changes[key] = types[key](value)
                except ValueError:
                    raise InputError(f"arm '{self.name}': {key}={value} is not a {types[key].__name__}") from None
        return settings.with_(**changes)


def _setting_types() -> dict[str, type]:
    names = {"int": int, "float": float, "str": str}
    return {f.name: names[str(f.type)] for f in fields(Settings) if f.name != "ipc"}


def parse_arm(text: str) -> Arm:
    """Read one arm; unknown methods, weights and options are one-line errors that list what there is."""
    if ".." in text:  # an arm names a folder
        raise InputError(f"arm '{text}': '..' may not stand in an arm")
    head, _, tail = text.partition(":")
    method, plus, kind = head.partition("+")
    if method not in methods():
        raise InputError(f"unknown method '{method}' in arm '{text}': choose one of {', '.join(sorted(methods()))}")
    kind = kind if plus else "uniform"
    if kind not in KINDS:
        raise InputError(f"unknown weights '{kind}' in arm '{text}': choose one of {', '.join(KINDS)}")
    if kind != "uniform" and isinstance(methods()[method], Selection):
        raise InputError(f"arm '{text}': {method} selects real images and takes no weights; write '{method}'")
    pairs = [p.partition("=") for p in tail.split(",") if p]
    if any(not equals or not value for _, equals, value in pairs):
        raise InputError(f"arm '{text}': options are key=value, separated by commas, like dc+influence:tau=.1,sign=-1")
    arm = Arm(method, kind, tuple((k.strip(), v.strip()) for k, _, v in pairs))
    keys = [k for k, _ in arm.options]
    if twice := [k for k in keys if keys.count(k) > 1]:
        raise InputError(f"arm '{text}': {twice[0]} is given twice")
    weighting = arm.weighting()  # refuses unknown keys and impossible values now, not after an hour
    declared = methods()[method]
    if isinstance(declared, Selection):
        arm.chosen()
    elif idle := [k for k, _ in arm.options if kind == "uniform" and k not in _setting_types()]:
        raise InputError(f"arm '{text}': {idle[0]} means nothing there, since '{head}' has no weights")
    if isinstance(declared, Method):
        check(declared, weighting)
        for key, value in arm.options:
            if declared.idle(key):
                raise InputError(
                    f"arm '{text}': {key}={value} means nothing for {method}: its networks and statistic do not read it"
                )
    return arm


def arm_of(method: str, weights: str) -> Arm:
    """The arm of `distill --method dc --weights influence:tau=.1`; settings may stand behind either, as in an arm."""
    (name, _, settings), (kind, _, options) = method.partition(":"), weights.partition(":")
    tail = ",".join(part for part in (settings, options) if part)
    return parse_arm(f"{name}{'' if kind == 'uniform' else f'+{kind}'}{f':{tail}' if tail else ''}")


def base_of(arm: Arm) -> Arm:
    """The same method with the same settings, without weights."""
    return Arm(arm.method, "uniform", tuple((k, v) for k, v in arm.options if k in _setting_types()))


def with_controls(texts: Sequence[str], controls: bool) -> list[Arm]:
    """The arms in order, each once; `X+influence:…` brings `X` before it and `X+shuffled:…` behind it."""
    arms: list[Arm] = []
    for arm in map(parse_arm, texts):
        own = [arm]
        if controls and arm.kind == "influence":
            own = [base_of(arm), arm, Arm(arm.method, "shuffled", arm.options)]
        arms += [a for a in own if a not in arms]
    return arms
