"""How students learned, epoch by epoch: loss, accuracy, and what their weights did (transfer/watch.py)."""

from __future__ import annotations

from markupsafe import Markup

from refluence.report import charts, curves
from refluence.report.over_time import Figure
from refluence.report.reading import Unit
from refluence.report.student import BLUE, VIOLET, option
from refluence.report.words import common_unit, compact, finite, mean

FEWEST = 3  # points of a chart; scorings of a finding
EPOCH, SHARE, HELP = "epoch", "share of the run", "Do the weights help the next step?"
WEIGHING, WATCHING = "on the half that makes the weights", "on the half that only watches"
GAIN = (
    "The risk on held-out instances after one step of the student with weights, less that after the same step without (Theorem "
    "1 of KD-AIF). Below the dashed line at zero the weighted step lowers the risk more. On the half that made the "
    "weights a fall is nearly certain, so it proves nothing; the half that only watches says whether the weights are of use."
)
GAINS = (
    "The risk after one step of the student with weights, less that after the same step without, on the held-out half that had "
    "no part in the weights. Below the dashed line at zero the weighted step lowers the risk more. Mean of the seeds."
)
SIZE = "Effective sample size: the share of the training instances that the weights really use, 1 where all count alike."
COUNT = f"{SIZE} Beside it, the share of the instances that weigh less than 1."
CORRELATION = (
    "Correlation of weights and losses. Near −1 the weights do little else than weights by loss would: the higher the loss, "
    "the less an instance counts."
)
CHI_SQUARE = "How far the weights are from equal ones (χ², half the variance of weights of mean 1): 0 where all count alike."
WORST = (
    "The highest mean loss of the training instances under any weights that are as far from equal as these (Theorem "
    "2 of KD-AIF), beside the training loss."
)
WATCHED = "On the half of the validation instances that makes no weights."
NOISY = " Their labels are partly wrong on purpose too, unlike those of the test split: nobody can be right on all of them."
SURE = "The share of the instances without a label whose pseudo-label the teacher is sure enough of."
LEARNED = "What a student learns by, mean of the training instances; lower is better."
MEAN = " Mean of the seeds."
OTHER = " scratch learns from the labels alone: its loss is another one than that of the others."


def figures(units: list[Unit], paint: dict[str, str], compare: bool) -> list[Figure]:
    """What these runs recorded, each chart that has something to show."""
    found = _compared(units, paint) if compare else _single(units[0])
    return [figure for figure in found if figure]


def helped(units: list[Unit]) -> str:
    """How often the weighted step lowered the risk more on the half that watches, over all scorings; "" with too few."""
    gains = [gain for unit in units for gain in _scorings(unit)]
    if len(gains) < FEWEST:
        return ""
    below = sum(gain < 0 for gain in gains)
    often = f"the weighted step lowered the risk more at {below} of {len(gains)} scorings"
    return f"On the half that only watches {often} (mean difference {compact(mean(list(gains)), sign=True)})."


def _scorings(unit: Unit) -> list[float]:
    """The difference on the half that watches, once a scoring: between two of them the events repeat it."""
    pairs = [(finite(entry.get("gain_weighing")), finite(entry.get("gain_watching"))) for entry in unit.metrics]
    changed = [pair for place, pair in enumerate(pairs) if place == 0 or pair != pairs[place - 1]]
    return [watching for _, watching in changed if watching is not None]


def _single(unit: Unit) -> list[Figure | None]:
    loss = {"loss": "training loss", "teacher_loss": "loss of the teacher"}
    accuracy = {"student_accuracy": "student", "teacher_accuracy": "teacher"}
    gain = {"gain_weighing": WEIGHING, "gain_watching": WATCHING}
    share = {"ess": "effective sample size", "below_one": "share that weighs less than 1"}
    found = [
        _figure(unit, "Loss", loss, "loss", LEARNED),
        _figure(
            unit,
            "Accuracy while it learned",
            accuracy,
            "accuracy, %",
            WATCHED + NOISY * noisy([unit]),
        ),
    ]
    found.append(_figure(unit, "Pseudo-labels that count", {"sure": "share"}, "share", SURE))
    if not weighted([unit]):
        return found
    return [
        *found,
        _figure(unit, HELP, gain, "difference of risk", GAIN, helped([unit]), level=0.0),
        _figure(unit, "How many instances count", share, "share", COUNT),
        _figure(unit, "Weights and loss", {"correlation": "correlation"}, "correlation", CORRELATION, level=0.0),
        _figure(unit, "Distance from equal weights", {"chi_square": "χ²"}, "χ²", CHI_SQUARE),
        _figure(unit, "Worst-case risk", {"worst_case": "worst-case risk", "loss": "training loss"}, "loss", WORST),
    ]


def noisy(units: list[Unit]) -> bool:
    """Whether labels of the validation instances are wrong on purpose: those that are cut from train are."""
    return any(option(unit.config, "noise") and unit.card.get("validation") == "cut from train" for unit in units)


def weighted(units: list[Unit]) -> bool:
    """Whether any of these runs recorded weights that are not all equal."""
    return any((finite(entry.get("ess")) or 1.0) < 1.0 for unit in units for entry in unit.metrics)


def _figure(
    unit: Unit, heading: str, keys: dict[str, str], axis: str, words: str, finding: str = "", level: float | None = None
) -> Figure | None:
    """A chart of some numbers of one run, a line each; None where the first of them was not recorded."""
    along = _along([unit])
    series = {name: _over([unit], key, along) for key, name in keys.items()}
    series = {name: points for name, points in series.items() if points}
    inks = dict(zip(keys.values(), [BLUE, VIOLET], strict=False))
    return drawn(heading, series, inks, (along, axis), words, finding, level) if next(iter(keys.values())) in series else None


def _compared(units: list[Unit], paint: dict[str, str]) -> list[Figure | None]:
    arms = list(dict.fromkeys(unit.arm for unit in units))
    heavy = [arm for arm in arms if weighted([unit for unit in units if unit.arm == arm])]
    learning = [arm for arm in arms if _moves([unit for unit in units if unit.arm == arm])]
    along = _along(units)

    def chart(
        heading: str, key: str, axis: str, words: str, of: list[str], finding: str = "", level: float | None = None
    ) -> Figure | None:
        series = {arm: _over([unit for unit in units if unit.arm == arm], key, along) for arm in of}
        series = {arm: points for arm, points in series.items() if points}
        return drawn(heading, series, paint, (along, axis), words, finding, level) if series else None

    watched = WATCHED + NOISY * noisy(units) + MEAN
    loss = LEARNED + MEAN + OTHER * ("scratch" in arms)
    return [
        chart("Accuracy while they learned", "student_accuracy", "accuracy, %", watched, arms),
        chart("Loss", "loss", "loss", loss, arms),
        chart(HELP, "gain_watching", "difference of risk", GAINS, heavy, _each(units, heavy), 0.0),
        chart("Effective sample size", "ess", "share", SIZE + MEAN, heavy),
        chart("Weights and loss", "correlation", "correlation", CORRELATION + MEAN, heavy, level=0.0),
        chart("The teachers that learn", "teacher_accuracy", "accuracy, %", watched, learning),
    ]


def _each(units: list[Unit], arms: list[str]) -> str:
    """For each arm, at how many of its scorings the weighted step was the better one."""
    parts = []
    for arm in arms:
        gains = [gain for unit in units if unit.arm == arm for gain in _scorings(unit)]
        parts += [f"{arm} {sum(gain < 0 for gain in gains)} of {len(gains)}"] if len(gains) >= FEWEST else []
    return f"Scorings at which the weighted step lowered the risk more: {', '.join(parts)}." if parts else ""


def _moves(units: list[Unit]) -> bool:
    """Whether the teacher of these runs learns too: its accuracy is not the same all the time."""
    return any(
        len({value for entry in unit.metrics if (value := finite(entry.get("teacher_accuracy"))) is not None}) > 1
        for unit in units
    )


def _along(units: list[Unit]) -> str:
    """What curves go over: epochs, or the share of the run where some of these runs have none."""
    return EPOCH if all(finite(entry.get("epoch")) is not None for unit in units for entry in unit.metrics) else SHARE


def _over(units: list[Unit], key: str, along: str) -> list[tuple[float, float]]:
    """(place, value) of what these runs recorded as `key`, their mean; an event is a block of steps inside an epoch."""
    points = []
    for unit in units:
        last = [max((finite(entry.get(name)) or 0.0 for entry in unit.metrics), default=0.0) for name in ("step", "epoch")]
        whole = (last[0] + 1) / (last[1] + 1 if along == EPOCH else 1)
        for entry in unit.metrics:
            step, value = finite(entry.get("step")), finite(entry.get(key))
            points += [((step + 1) / whole, value)] if step is not None and value is not None else []
    return curves.smooth(points) if points else []


def drawn(
    heading: str,
    series: curves.Series,
    paint: dict[str, str],
    axes: tuple[str, str],
    words: str,
    finding: str,
    level: float | None,
) -> Figure:
    """The chart, small numbers in a unit that makes them short; of fewer than 3 points the numbers in words."""
    if max(map(len, series.values())) < FEWEST:
        ends = [(each, compact(points[-1][1])) for each, points in series.items()]
        alone = len(series) == 1 and axes[1] in series
        head = axes[1][:1].upper() + axes[1][1:] if axes[1].isascii() else axes[1]
        last = ends[0][1] if alone else ", ".join(f"{each} {end}" for each, end in ends)
        return Figure(
            heading,
            f"{head} at the end: {last}.",
            f"Too few points for a chart. {words.replace(' the dashed line at zero', ' zero')}",
            Markup(""),
        )
    scale, name, _ = common_unit(max(abs(y) for points in series.values() for _, y in points))
    scaled = {each: [(x, y / scale) for x, y in points] for each, points in series.items()}
    along, axis = axes
    title = f"{heading}, by {along}: {', '.join(series)}"
    chart = charts.lines(scaled, paint, along, f"{axis}, in {name}" if name else axis, title, level=level, dashed=True)
    return Figure(heading, finding, words, chart)
