"""What the page of a run or a comparison says of generated sets, beyond what it says of every set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from markupsafe import Markup

from refluence.files import Json
from refluence.report import bars, charts, sampled
from refluence.report.learning import drawn
from refluence.report.over_time import Figure
from refluence.report.quality import Drawn, QualityLine, beside_accuracy, clouds, heat_maps, table
from refluence.report.reading import Unit
from refluence.report.same_noise import SameNoise, same_noise
from refluence.report.verdict import Line
from refluence.report.words import DASH, compact, duration, finite, fixed, mean

MOST = 20  # classes that get a bar
ENERGY = (
    "How much an image under way would train as its class does (eq. 7 of IGD, on the clean image that is predicted), mean of "
    "the guided steps and of the images of a batch. Lower is better."
)
DEVIATION = (
    "Cosine of an image under way with the most similar one of its class (eq. 8), mean of the guided steps and of the images "
    "of a batch. It rises where there are more images to be like."
)
MOVED = "By how much influence moves an image at a guided step, in percent of its norm."
SCALES = "Arms differ in surrogate, weights or averaging: their energies have different scales and do not compare."
OF_ITS_OWN = "Measured at one surrogate for all sets, which guided none: it was trained with another seed."
ALSO_GUIDES = "Measured at the surrogate that also guides sampling, which favours the arms that it guides."
COST_NAMES = {"denoiser": "Denoiser", "minimax": "Minimax", "surrogate": "Surrogate", "sampling": "Sampling"}
COST_WORDS = (
    "Denoiser, fine-tuning and surrogate are trained once and shared by all arms and seeds; sampling is the mean of the seeds "
    "and includes the selection from a pool."
)


@dataclass(frozen=True)
class Costs:
    """Seconds by arm: heads, and a row of cells with the line of each arm."""

    heads: list[str]
    rows: list[tuple[Line, list[str]]]
    words: str = COST_WORDS


@dataclass(frozen=True)
class Generated:
    """The sections; what does not fit the folder is empty."""

    alone: bool
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    by_class: list[Figure] = field(default_factory=list)
    noise: SameNoise | None = None
    fig1: Markup | None = None
    quality: list[QualityLine] = field(default_factory=list)
    quality_words: str = ""
    scale_words: str = ""
    surrogate_words: str = ""
    clouds: list[Drawn] = field(default_factory=list)
    heat_maps: list[Drawn] = field(default_factory=list)
    costs: Costs | None = None


def section(units: list[Unit], results: Json | None, paint: dict[str, str], compare: bool) -> Generated | None:
    """What there is to show; None where no set was sampled and none was measured beside real images."""
    if not any(map(sampled.generated, units)) and not any(unit.quality for unit in units):
        return None
    own = [unit for unit in units if sampled.generated(unit)]
    stored = results or {}
    summary = stored.get("summary") or []
    figures = _figures(own, paint, compare)
    few = [] if compare else [(f"{figure.heading}, under way", figure.finding) for figure in figures if not figure.chart]
    measured = any(unit.quality for unit in units)
    against = {str(row.get("arm")): str(row["against"]) for row in reversed(summary) if row.get("against")}
    return Generated(
        alone=bool(own) and all(not unit.metrics or sampled.generated(unit) for unit in units),
        facts=[] if compare or not own else [*sampled.facts(own[0]), *few],
        figures=[figure for figure in figures if compare or figure.chart],
        by_class=[] if compare or not own else _by_class(own[0]),
        noise=same_noise(units, against) if compare else None,
        fig1=beside_accuracy(units, stored, paint) if compare else None,
        quality=table(units, against, paint),
        quality_words=_measured(units),
        scale_words="" if measured or sampled.one_scale(units) else SCALES,
        surrogate_words=OF_ITS_OWN if _judged_apart(units) else ALSO_GUIDES,
        clouds=clouds(units, paint),
        heat_maps=heat_maps(units),
        costs=_costs(own, paint) if compare else None,
    )


def _measured(units: list[Unit]) -> str:
    """By which network, and beside how many real images."""
    found = next((unit.quality for unit in units if unit.quality), None)
    if found is None:
        return ""
    network, real, threshold = found.get("network"), finite(found.get("real")), finite(found.get("threshold"))
    name = network.get("name") if isinstance(network, dict) else network
    words = f"Features of {name}, " if name else "Features of a network, "
    words += f"beside {int(real)} real images. " if real else "beside real images. "
    return words + (f"Covered: a real image with one of the set within {compact(threshold)}." if threshold else "")


def _judged_apart(units: list[Unit]) -> bool:
    """Whether influence was measured at a surrogate that guides nothing; folders of earlier versions say no seed of it."""
    found = next((unit.quality for unit in units if unit.quality), None)
    return bool(sampled.part(found or {}, "measuring").get("seed"))


def _figures(units: list[Unit], paint: dict[str, str], compare: bool) -> list[Figure]:
    """What the batches said, one line an arm."""
    energy = ENERGY if sampled.one_scale(units) else f"{ENERGY} {SCALES}"
    found = [
        _over_batches(units, paint, compare, "Influence energy", "energy", "energy", energy, 1.0),
        _over_batches(units, paint, compare, "Deviation", "deviation", "cosine", DEVIATION, 1.0),
        _over_batches(units, paint, compare, "How far influence moves an image", "moved", "percent of its norm", MOVED, 100.0),
    ]
    return [figure for figure in found if figure]


def _over_batches(
    units: list[Unit], paint: dict[str, str], compare: bool, heading: str, key: str, axis: str, words: str, scale: float
) -> Figure | None:
    series: dict[str, list[tuple[float, float]]] = {}
    for arm in dict.fromkeys(unit.arm for unit in units):
        points = [point for unit in units if unit.arm == arm for point in _points(unit, key, scale)]
        places = sorted({x for x, _ in points})
        means = [(x, mean([y for at, y in points if at == x])) for x in places]
        series |= {arm: [(x, y) for x, y in means if y is not None]} if points else {}
    if not series:
        return None
    return drawn(heading, series, paint, ("images so far", axis), words + (" Mean of the seeds." if compare else ""), "", None)


def _points(unit: Unit, key: str, scale: float) -> list[tuple[float, float]]:
    """(images so far, value) of each batch that has it."""
    found, images = [], 0.0
    for entry in unit.metrics:
        images += finite(entry.get("images")) or 0.0
        if (value := finite(entry.get(key))) is not None:
            found.append((images, scale * value))
    return found


def _by_class(unit: Unit) -> list[Figure]:
    """Influence and redundancy of each class of a run."""
    found = []
    influence = unit.card.get("influence")
    values = influence.get("by_class") if isinstance(influence, dict) else None
    if isinstance(values, dict):
        numbers = {str(name): number for name, value in values.items() if (number := finite(value)) is not None}
        words = "Mean of the images of each class, lower is better; the dashed line is the mean of all. "
        found += _bars("Influence energy of each class", numbers, "influence energy", words, compact)
    alike = unit.card.get("nearest_by_class")
    if isinstance(alike, dict):
        numbers = {str(name): number for name, value in alike.items() if (number := finite(value)) is not None}
        words = (
            "Cosine of an image with the most similar one of its class, of pixels from −1 to 1, mean of a class: 1 where every "
            "image has a copy. The dashed line is the mean of all. "
        )
        found += _bars("Redundancy of each class", numbers, "cosine", words, lambda value: fixed(value, 2))
    return found


def _bars(heading: str, numbers: dict[str, float], axis: str, words: str, said: Callable[[object], str]) -> list[Figure]:
    if len(numbers) < 2:
        return []
    high, low = max(numbers, key=numbers.__getitem__), min(numbers, key=numbers.__getitem__)
    finding = f"Highest: {high}, {said(numbers[high])}. Lowest: {low}, {said(numbers[low])}."
    shown = dict(sorted(numbers.items(), key=lambda pair: -pair[1])[:MOST])
    words += f"Shown are the {MOST} highest of {len(numbers)} classes." if len(numbers) > MOST else ""
    rows: list[charts.Row] = [
        {"name": name, "label": f"{name}: {said(value)}", "value": value, "colour": charts.PALETTE[2]}
        for name, value in numbers.items()
        if name in shown
    ]
    level = mean(list(numbers.values())) or 0.0
    return [Figure(heading, finding, words.strip(), bars.bars(rows, level, axis, heading))]


def _costs(units: list[Unit], paint: dict[str, str]) -> Costs | None:
    """Seconds of what was trained beforehand and of the sampling, by arm."""
    by_arm = {
        arm: [sampled.seconds_of(unit.card) for unit in units if unit.arm == arm] for arm in dict.fromkeys(u.arm for u in units)
    }
    names = [name for name in COST_NAMES if any(name in seconds for each in by_arm.values() for seconds in each)]
    if not names:
        return None
    rows = []
    for arm, each in by_arm.items():
        means = [mean([seconds.get(name) for seconds in each]) for name in names]
        cells = [DASH if value is None else duration(value) for value in means]
        card = next(unit.card for unit in units if unit.arm == arm)
        made, last = finite(card.get("sampled")) or finite(card.get("images")), means[-1]
        each_image = f"{compact(last / made)} s" if names[-1] == "sampling" and last is not None and made else DASH
        rows.append((Line(arm, paint[arm], {}), [*cells, each_image, DASH if made is None else str(int(made))]))
    return Costs([*(COST_NAMES[name] for name in names), "An image", "Images sampled"], rows)
