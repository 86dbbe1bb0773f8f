"""What an arm of a method that learns images may say: settings of the method and options of its weights, read and checked."""

from __future__ import annotations

from dataclasses import fields

from refluence.arm import UNIFORM, Arm
from refluence.condense.method import Method, Settings
from refluence.condense.networks import OnSynthetic
from refluence.condense.pdd import SHORT_EPOCHS
from refluence.condense.real_side import check as check_weighting
from refluence.errors import InputError, did_you_mean
from refluence.fields import read
from refluence.influence.weighting import Weighting, parse_weighting
from refluence.options import JobOptions

FRESH = ("inner", "net_lr", "net_batch", "net_augmentation", "lr_lr")  # of networks that train between image steps


def own_keys() -> tuple[str, ...]:
    """The options of an arm that are settings of its method."""
    return tuple(f.name for f in fields(Settings) if f.name != "ipc")


def check(arm: Arm, method: Method) -> None:
    """`InputError` for options that are unknown, out of range, or mean nothing for this method."""
    of_weights = {f.name for f in fields(Weighting)} - {"kind"}
    for key, value in arm.options:
        if key not in own_keys() and key not in of_weights:
            known = [k for k in own_keys() if not method.idle(k)] + (sorted(of_weights) if arm.kind != UNIFORM else [])
            raise InputError(f"arm '{arm.name}': unknown option '{key}={value}': {did_you_mean(key, known)}")
    if idle := [k for k, _ in arm.options if arm.kind == UNIFORM and k not in own_keys()]:
        raise InputError(f"arm '{arm.name}': {idle[0]} means nothing there, since '{arm.head}' has no weights")
    try:
        changes(arm)
        check_weighting(method, weighting_of(arm))
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None
    for key, value in arm.options:
        if method.idle(key):
            what = f"{key}={value} means nothing for {arm.method}: its networks and statistic do not read it"
            raise InputError(f"arm '{arm.name}': {what}")


def weighting_of(arm: Arm) -> Weighting:
    """How the arm weights real instances."""
    return parse_weighting(arm.kind, dict(arm.without(own_keys()).options))


def changes(arm: Arm) -> dict[str, int | float | str]:
    """The arm's own settings, such as `dc:image_lr=1`, as values."""
    return {key: read(Settings, key, text) for key, text in arm.options if key in own_keys()}


def changed(settings: Settings, arm: Arm) -> Settings:
    """The settings with the arm's own."""
    try:
        return settings.with_(**changes(arm))
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None


def settings_for(arm: Arm, method: Method, asked: JobOptions, shape: tuple[int, int, int]) -> Settings:
    """The method's published numbers at the size, then what is asked, then what the arm says."""
    given = {
        "iterations": asked.iterations,
        "real_batch": asked.real_batch,
        "inner": asked.inner,
        "initial": asked.initial,
        "allocation": asked.allocation,
        "stage_epochs": None if asked.size == "paper" or changes(arm).get("stages", 1) == 1 else SHORT_EPOCHS,
    }
    published = method.settings(asked.ipc, asked.size, shape)
    settings = changed(published.with_(**{k: v for k, v in given.items() if v is not None}), arm)
    settings = in_proportion(settings, settings.iterations / published.iterations, arm, asked.size)
    if method.networks is OnSynthetic and settings.outer == 1:
        for key in FRESH:
            if arm.option(key) is not None:
                raise InputError(f"arm '{arm.name}': {key} means nothing with a fresh network each image step; add outer=10")
    return settings


def in_proportion(settings: Settings, share: float, arm: Arm, size: str) -> Settings:
    """Training beforehand grows and shrinks with the image steps at size `cpu`, but for what the arm itself says of it.

    `share`: the image steps over those before. `stage_epochs` only where a run has several stages.
    """
    if size == "paper":
        return settings
    beforehand = {"pretrain": settings.pretrain, "stage_epochs": settings.stage_epochs if settings.stages > 1 else 0}
    return settings.with_(**{k: max(1, round(share * n)) for k, n in beforehand.items() if n and arm.option(k) is None})
