"""From what is asked for to the numbers of scores, and what means nothing together refused."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from refluence.errors import InputError, did_you_mean, option
from refluence.files import Json
from refluence.influence.weighting import KINDS, Weighting, parse_weighting
from refluence.options import ScoreOptions
from refluence.score.settings import CrossFit

WEIGHTS = "influence:link=sigmoid,sign=-1,bag=all,standardise=mad"  # KD-AIF's sigmoid: a score of 0 weighs 1
READ = ("tau", "ess", "sign", "bag", "standardise", "link", "keep")  # options of the weights that mean something here
TRAINING = ("folds", "networks", "epochs", "batch", "lr", "weight_decay")  # that mean nothing for a trained network
NUMBERS = ("folds", "epochs", "batch", "lr", "weight_decay", "terms", "networks", "risk")  # fields of `CrossFit`


def settings_of(asked: ScoreOptions, nets: int | None = None) -> CrossFit:
    """The numbers that are asked for, else the defaults. `nets`: networks a fold.

    Raises:
        InputError: options that mean nothing together, or a damping that is no number.
    """
    trained = isinstance(asked.model, nn.Module)
    if trained and asked.load is not None:
        raise InputError(f"{option('load')} {asked.load}: model is a network that is trained already, leave one of them out")
    if asked.pixels is not None and asked.load is None and not trained:
        raise InputError(
            f"{option('pixels')} {asked.pixels} is for a network that was trained elsewhere: it goes with {option('load')}"
        )
    if trained or asked.load is not None:
        beside = "a network that is trained already" if trained else f"{option('load')}, where nothing is trained"
        for name, value in {**{name: getattr(asked, name) for name in TRAINING}, "nets": nets}.items():
            if value is not None:
                raise InputError(f"{option(name)} {value} means nothing with {beside}: leave one of them out")
    usual = CrossFit()
    curvature = _given({"kind": asked.curvature, "damping": None if asked.damping is None else _damping(asked.damping)})
    numbers = _given({name: getattr(asked, name) for name in NUMBERS})
    return replace(usual, **numbers, curvature=replace(usual.curvature, **curvature))


def read_weighting(text: str) -> Weighting:
    """`KIND[:key=value,…]`; options that mean nothing for scores of a whole split are refused."""
    kind, _, tail = text.partition(":")
    pairs = [pair.partition("=") for pair in tail.split(",") if pair]
    if kind not in KINDS:
        raise InputError(f"{option('weights')} {text}: unknown weights '{kind}': {did_you_mean(kind, list(KINDS))}")
    if any(not equals or not value for _, equals, value in pairs):
        said = f"{option('weights')} {text}: options are key=value, separated by commas, like influence:tau=.5,sign=-1"
        raise InputError(said)
    options = {key.strip(): value.strip() for key, _, value in pairs}
    weighting = parse_weighting(kind, options)
    if idle := [key for key in options if key not in READ]:
        raise InputError(f"{option('weights')} {text}: {idle[0]} means nothing here; scores take {', '.join(READ)}")
    if weighting.prunes:
        said = f"{option('weights')} {text}: {kind} weighs nothing here; link=top or link=prune of influence keep a share"
        raise InputError(said)
    if kind == "difficulty":
        raise InputError(f"{option('weights')} {text}: gradient norms are not measured here; influence and loss are")
    if weighting.bag == "batch":
        raise InputError(f"{option('weights')} {text}: there are no batches; bag is class or all")
    return weighting


def _given(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _damping(text: str | float) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option('damping')} {text}: expected a number, 0 or more, or auto") from None
