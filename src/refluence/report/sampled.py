"""How the images of one set were sampled, in words: the denoiser, the steps, what steered them, and what it took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refluence.arm import UNIFORM, read_arm
from refluence.files import Json
from refluence.report.reading import Unit
from refluence.report.words import compact, counted, duration, finite, fixed

METHODS = ("dit", "minimax", "d4m")
STEERED = {
    "influence": "by influence: gradients of an image like the mean gradient of its class",
    "deviation": "by deviation: away from the images of its class that are there already",
    "igd": "by influence (gradients of an image like the mean gradient of its class) and by deviation (away from the images of "
    "its class that are there already)",
    "entropy": "by entropy: to images of which the surrogate is unsure",
    "modes": "by modes: each image to its own k-means centre of the real images of its class",
    "learnability": "by learnability: in stages, to images that a network trained on the earlier ones gets wrong and the "
    "surrogate does not, and by deviation; the first stage by influence and deviation",
}
STRENGTHS = {
    "influence": [("k", "k")],
    "deviation": [("gamma", "γ")],
    "igd": [("k", "k"), ("gamma", "γ")],
    "entropy": [("entropy_scale", "λ")],
    "modes": [("mode_scale", "λ")],
    "learnability": [
        ("k", "k"),
        ("learnability_scale", "λ"),
        ("omega", "ω"),
        ("gamma", "γ"),
        ("stages", "stages"),
        ("candidates", "candidates"),
    ],
}
"""The numbers of each guidance by their names in the settings."""
SELECTED = {
    "herding": "so that their mean features follow those of the real class (herding)",
    "influence": "by their influence together",
}


def generated(unit: Unit) -> bool:
    """Whether the images of the unit were sampled from a denoiser."""
    return isinstance(unit.card.get("denoiser"), dict) or read_arm(unit.arm).method in METHODS


def pooled(unit: Unit) -> bool:
    """Whether the images were selected from a larger pool, so that their places do not say their noise."""
    return read_arm(unit.arm).kind == "pool"


def chosen(unit: Unit) -> bool:
    """Whether an image may be another than the one of its noise: of a pool, or the better one of candidates."""
    guidance = part(settings(unit), "guidance")
    return pooled(unit) or bool(guidance.get("learnability") and guidance.get("candidates", 1) > 1)


def facts(unit: Unit) -> list[tuple[str, str]]:
    """What was done, a line each."""
    return [(name, words) for name, words in _facts(unit) if words]


def _facts(unit: Unit) -> Iterator[tuple[str, str]]:
    card, asked = unit.card, settings(unit)
    denoiser = part(card, "denoiser")
    yield "Denoiser", _denoiser(card, denoiser)
    yield "Licence", str(denoiser.get("licence") or "")
    yield "Sampling", _sampling(card)
    yield "Steered", _steered(unit, asked)
    yield "Surrogate", _surrogate(unit)
    yield "Selected", _selected(card, asked)
    yield "Time", _time(card)
    influence = influence_of(unit)
    if influence is not None:
        yield (
            "Influence energy",
            f"{compact(influence)}, the mean of the images; the lower, the more they train as their class does",
        )
    if (alike := finite(card.get("nearest"))) is not None:
        yield (
            "Redundancy",
            f"{fixed(alike, 2)}: cosine of an image with the most similar one of its class, of pixels from −1 to 1, on "
            "average; 1 for copies",
        )


def influence_of(unit: Unit) -> float | None:
    """The mean influence energy that the sampling itself measured."""
    found = unit.card.get("influence")
    return finite(found.get("mean")) if isinstance(found, dict) else finite(found)


def scale_of(unit: Unit) -> Json:
    """What decides the scale of that energy: surrogate, weights of real images, averaging. Folders may not say some of it."""
    config = unit.config or {}
    averaging = part(settings(unit), "guidance").get("averaging")
    return {"guide": _find(config, "guide"), "weighting": _find(config, "weighting"), "averaging": averaging}


def one_scale(units: list[Unit]) -> bool:
    """Whether the energies that the samplings of these units measured compare."""
    scales = [scale_of(unit) for unit in units if influence_of(unit) is not None]
    return all(scale == scales[0] for scale in scales)


def settings(unit: Unit) -> Json:
    """The resolved settings of the sampling, {} where the folder does not say them."""
    found = _find(unit.config or {}, "sampling")
    return found if "guidance" in found else {}


def seconds_of(card: Json) -> dict[str, float]:
    """Seconds of what was trained beforehand and of the sampling, by name; only what is known."""
    denoiser = part(card, "denoiser")
    named = {
        "denoiser": finite(card.get("denoiser_seconds")) or finite(denoiser.get("seconds")),
        "minimax": finite(card.get("minimax_seconds")),
        "surrogate": finite(card.get("surrogate_seconds")),
        "sampling": finite(card.get("seconds")),
    }
    return {name: seconds for name, seconds in named.items() if seconds is not None}


def part(card: Json, name: str) -> Json:
    """What a card holds under a name, {} where that is nothing."""
    found = card.get(name)
    return found if isinstance(found, dict) else {}


def _denoiser(card: Json, denoiser: Json) -> str:
    if not denoiser:
        return ""
    size, seconds = finite(denoiser.get("parameters")), seconds_of(card)
    tuned = denoiser.get("method") == "minimax" or "minimax" in seconds
    words = [counted(int(size), "parameter")] if size else []
    words += [f"trained in {duration(seconds['denoiser'])}"] if "denoiser" in seconds else []
    words += (
        ["fine-tuned by Minimax" + (f" in {duration(seconds['minimax'])}" if "minimax" in seconds else "")] if tuned else []
    )
    words += [f"SHA-256 {str(denoiser['sha256'])[:12]}…"] if denoiser.get("sha256") else []
    return ", ".join(words)


def _sampling(card: Json) -> str:
    steps, scale = finite(card.get("steps")), finite(card.get("cfg"))
    if steps is None:
        return ""
    words = f"{counted(int(steps), 'step')} of {card.get('solver') or 'a solver'}"
    if scale is None:
        return words
    return f"{words}, {'without classifier-free guidance' if scale == 1 else f'classifier-free guidance {compact(scale)}'}"


def _steered(unit: Unit, asked: Json) -> str:
    kind = read_arm(unit.arm).kind
    how = STEERED.get(kind)
    if how is None:
        return "not at all" if kind == UNIFORM else ""
    guidance = {**part(asked, "guidance"), **({"stages": unit.card["stages"]} if "stages" in unit.card else {})}
    numbers = [f"{name} {compact(guidance[key])}" for key, name in STRENGTHS[kind] if finite(guidance.get(key)) is not None]
    return f"{how}. {steps_in_words(unit.card)}" + (f" {', '.join(numbers)}." if numbers else "")


def steps_in_words(card: Json) -> str:
    """Which steps were guided: `In 15 of 50 steps, 6 to 20, counted from the noisiest.`"""
    guided, steps = card.get("guided_steps") or [], finite(card.get("steps"))
    if not guided or steps is None:
        return ""
    return f"In {len(guided)} of {int(steps)} steps, {guided[0]} to {guided[-1]}, counted from the noisiest."


def _surrogate(unit: Unit) -> str:
    seconds = seconds_of(unit.card).get("surrogate")
    guide = _find(unit.config or {}, "guide")
    epochs, name = finite(part(guide, "settings").get("epochs")), part(guide, "model").get("name")
    if not name:
        return f"trained in {duration(seconds)}" if seconds is not None else ""
    words = [str(name)] + ([counted(int(epochs), "epoch")] if epochs else [])
    return ", ".join(words + ([f"trained in {duration(seconds)}"] if seconds is not None else []))


def _selected(card: Json, asked: Json) -> str:
    made, kept = finite(card.get("sampled")), finite(card.get("images"))
    if made is None or kept is None or made <= kept:
        return ""
    guidance = part(asked, "guidance")
    if guidance.get("learnability"):
        return f"{int(kept)} of {int(made)} images: after the first stage the best of {guidance['candidates']} candidates each"
    by = SELECTED.get(str(part(asked, "pool").get("by")), "")
    return f"{int(kept)} of {int(made)} images" + (f", {by}" if by else "")


def _time(card: Json) -> str:
    seconds, made = seconds_of(card).get("sampling"), finite(card.get("sampled")) or finite(card.get("images"))
    if seconds is None or not made:
        return ""
    return f"{duration(seconds)} for {counted(int(made), 'image')}, {compact(seconds / made)} s each"


def _find(values: Any, name: str) -> Json:
    """The first object of that name, at any depth."""
    if not isinstance(values, dict):
        return {}
    if isinstance(values.get(name), dict):
        return part(values, name)
    return next((found for value in values.values() if (found := _find(value, name))), {})
