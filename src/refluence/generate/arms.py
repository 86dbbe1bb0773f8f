"""What an arm of a generated set may say: how its sampling is guided, and numbers of its own, read and checked."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from refluence.arm import UNIFORM, Arm
from refluence.errors import InputError, did_you_mean, option, says_flags
from refluence.fields import read
from refluence.generate.method import Generator
from refluence.generate.settings import Settings, settings_from
from refluence.influence.weighting import Weighting, parse_weighting
from refluence.options import OF_DEVIATION, OF_INFLUENCE, OF_LEARNABILITY, OF_POOL, OF_SURROGATE, SamplingOptions

VARIANTS = {
    "influence": "steered by influence: gradients of an image alike to those of its class (IGD eq. 7)",
    "deviation": "steered away from the images that are there already (IGD eq. 8)",
    "igd": "steered by influence and by deviation (IGD eq. 9)",
    "entropy": "steered to images of which the surrogate is unsure (UAG)",
    "modes": "steered to k-means centres of real images, each image to its own, in the first half of the steps (MGD3)",
    "learnability": "sampled in stages, each steered to images that a network trained on those before gets wrong and the "
    "surrogate does not (LGD)",
    "pool": "rival: a larger pool without guidance, made and selected in the seconds that guidance takes",
}
"""What may stand behind `+`."""
WEIGHTS = {"influence": "score", "shuffled": "random"}
"""Whose weights the class's mean gradient has (ours): those of a table of scores, or the same on the wrong instances."""


def own_keys() -> tuple[str, ...]:
    """The options of an arm that are numbers of its sampling."""
    return (*(f.name for f in fields(SamplingOptions)), "weights")


def shared_keys() -> tuple[str, ...]:
    """Those of them that mean something without guidance too."""
    return reads(UNIFORM)


def reads(variant: str, from_modes: bool = True) -> tuple[str, ...]:
    """The options that mean something for a variant, of images that begin at modes, or of those that do not."""
    staged = variant == "learnability"
    influence, deviation = staged or variant in ("influence", "igd"), staged or variant in ("deviation", "igd")
    idle: tuple[str, ...] = () if influence else OF_INFLUENCE
    idle += () if deviation else OF_DEVIATION
    idle += () if influence or variant == "entropy" else ("through",)
    idle += () if variant == "entropy" else ("entropy_scale",)
    idle += () if staged else OF_LEARNABILITY
    idle += () if variant == "modes" else ("mode_scale",)
    idle += () if variant not in (UNIFORM, "pool") else ("range",)
    idle += () if variant == "pool" else OF_POOL
    idle += () if influence or variant in ("entropy", "pool") else OF_SURROGATE
    idle += () if variant in ("influence", "igd", "pool") else ("weights",)
    idle += () if from_modes else ("strength",)
    return tuple(key for key in own_keys() if key not in idle)


def check(arm: Arm, generator: Generator) -> None:
    """`InputError` for an unknown variant, and options that are unknown, out of range or mean nothing for it."""
    if arm.kind not in (UNIFORM, *VARIANTS):
        raise InputError(f"arm '{arm.name}': {did_you_mean(arm.kind, list(VARIANTS))} may stand behind {arm.method}+")
    known = reads(arm.kind, generator.from_modes)
    for key, value in arm.options:
        if key not in own_keys():
            raise InputError(f"arm '{arm.name}': unknown option '{key}={value}': {did_you_mean(key, known)}")
        if key not in known:
            of = " or ".join(f"{arm.method}+{variant}" for variant in readers(key)) or "d4m"
            raise InputError(f"arm '{arm.name}': {key} means nothing there, it is of {of}")
    try:
        settings_for(arm, generator, SamplingOptions())
        weighting_of(arm)
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None


def settings_for(arm: Arm, generator: Generator, asked: SamplingOptions) -> Settings:
    """How the arm's images are sampled: the numbers that are asked for, then its own."""
    return settings_from(asked_by(arm, asked), arm.kind, generator.from_modes)


def weighting_of(arm: Arm) -> Weighting:
    """How real instances weigh in the mean gradient of their class."""
    said = arm.option("weights")
    if said is None:
        return Weighting()
    if said not in WEIGHTS:
        raise InputError(f"weights={said}: {did_you_mean(said, list(WEIGHTS))}")
    return parse_weighting("scores", {"by": WEIGHTS[said]})


def asked_by(arm: Arm, asked: SamplingOptions) -> SamplingOptions:
    """What is asked for with the arm's own in its place."""
    own: dict[str, Any] = {key: read(SamplingOptions, key, text) for key, text in arm.options if key != "weights"}
    return SamplingOptions(**{f.name: own.get(f.name, getattr(asked, f.name)) for f in fields(SamplingOptions)})


def needs_surrogate(settings: Settings) -> bool:
    """Whether a surrogate guides, by influence, by its predictions or by what is left to learn, or selects from a pool."""
    guidance = settings.guidance
    guides = (guidance.influence and guidance.k != 0) or (guidance.entropy and guidance.entropy_scale != 0)
    return guides or guidance.learnability or settings.pool is not None


def refuse_idle(arm: Arm, generator: Generator, asked: SamplingOptions) -> None:
    """`InputError` for numbers that were asked for and that the arm does not read: all of them, with what does."""
    known = reads(arm.kind, generator.from_modes)
    idle = [f.name for f in fields(SamplingOptions) if f.name not in known and getattr(asked, f.name) != f.default]
    wanted: dict[str, list[str]] = {}
    for name in idle:
        wanted.setdefault(_wanted(name, arm.method), []).append(option(name))
    if wanted:
        said = "; ".join(
            f"{' and '.join(names)} {'needs' if len(names) == 1 else 'need'} {what}" for what, names in wanted.items()
        )
        raise InputError(
            f"'{arm.name}' does not read them: {said}" if len(idle) > 1 else f"'{arm.name}' does not read it: {said}"
        )


def _wanted(key: str, method: str) -> str:
    """What has to be asked for so that a number means something, in the words of who called."""
    if key == "strength":
        return option("method", "d4m") if says_flags() else "'d4m'"
    variants = readers(key)
    if not says_flags():
        return " or ".join(f"'{method}+{variant}'" for variant in variants)
    guides = [variant for variant in variants if variant != "pool"]
    ways = [f"guidance, {option('guidance', ' or '.join(guides))}"] if guides else []
    return ", or ".join(ways + ([option("pool")] if "pool" in variants else []))


def readers(key: str) -> list[str]:
    """The variants for which an option means something."""
    return [variant for variant in VARIANTS if key in reads(variant)]
