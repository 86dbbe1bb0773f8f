"""The verdict: its sentence, its table and its plots, from `results.json` or from one run's `evaluation.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from markupsafe import Markup

from refluence.files import Json
from refluence.report import charts, plots
from refluence.report.reading import Unit
from refluence.report.words import DASH, amount, compact, counted, deviation, duration, finite, fixed, mean, signed

Entry = Json
UNEQUAL = 1.1  # imbalance ratio, largest class over smallest
BALANCED = {"Balanced accuracy, %": "balanced_accuracy", "Macro-F1, %": "macro_f1"}
Costs = dict[str, tuple[str, Callable[[object], str]]]
COSTS: Costs = {
    "ESS": ("ess", partial(fixed, digits=2)),
    "Time": ("seconds", duration),
    "Peak memory": ("peak_bytes", amount),
    "Stored": ("stored_bytes", amount),
}
"""The last columns, means over the seeds: the key of a row, and how it is said."""
Plotted = Callable[[list[str], dict[str, list[Entry]], dict[str, str], str], list[plots.Plot | None]]
"""Plots of arms, their rows, their colours, and the protocol."""


@dataclass(frozen=True)
class Difference:
    """An arm against another one, in words."""

    value: str
    interval: str
    against: str
    remarks: list[str]
    primary: bool


@dataclass(frozen=True)
class Line:
    """A row of the verdict table: cells by column, every one already in words."""

    arm: str
    colour: str
    cells: dict[str, str]
    differences: list[Difference] = field(default_factory=list)

    @property
    def swatch(self) -> Markup:
        """The colour of the arm in the charts."""
        return charts.swatch(self.colour)


@dataclass(frozen=True)
class Table:
    """What was measured under one protocol."""

    title: str
    lines: list[Line]
    plots: list[tuple[str, str, Markup]]


def colours(arms: list[str]) -> dict[str, str]:
    """A colour for every arm, the same in all charts of a page."""
    return {arm: charts.PALETTE[i % len(charts.PALETTE)] for i, arm in enumerate(arms)}


def arms_of(results: Entry) -> list[str]:
    """The arms in the order of the summary, then those that only have rows."""
    return list(dict.fromkeys(str(r.get("arm")) for r in [*results.get("summary", []), *results.get("rows", [])]))


def _accuracies(
    arms: list[str], named: dict[str, list[Entry]], paint: dict[str, str], protocol: str
) -> list[plots.Plot | None]:
    return [plots.accuracies(arms, named, paint, protocol)]


def comparison(
    results: Entry,
    beside: dict[str, str] | None = None,
    costs: Costs = COSTS,
    plotted: Plotted = _accuracies,
) -> list[Table]:
    """One table per protocol. `beside`: columns after the accuracy by name, None for those of sets; `costs`: the last ones, but
    for those that no row has."""
    costs = known(costs, results)
    summary, rows = results.get("summary") or [], results.get("rows") or []
    protocols = list(dict.fromkeys(str(r.get("protocol") or "") for r in [*summary, *rows]))
    paint = colours(arms_of(results))
    tables = []
    for protocol in protocols:
        mine = [r for r in summary if str(r.get("protocol") or "") == protocol]
        seeds = [r for r in rows if str(r.get("protocol") or "") == protocol]
        named = {arm: [r for r in seeds if str(r.get("arm")) == arm] for arm in paint}
        arms = [a for a in paint if named[a] or any(str(r.get("arm")) == a for r in mine)]
        own = {arm: [r for r in mine if str(r.get("arm")) == arm] for arm in arms}
        columns = {**(BALANCED if unequal(results) else {}), **cleaned_columns(results)} if beside is None else beside
        lines = [_line(arm, paint[arm], own[arm], named[arm], columns, costs) for arm in arms]
        drawn = [*plotted(arms, named, paint, protocol), plots.differences(mine, named, paint, protocol)]
        tables.append(Table(protocol, lines, [plot for plot in drawn if plot]))
    return tables


def seed_table(
    results: Entry,
    beside: dict[str, str] | None = None,
    costs: Costs = COSTS,
) -> list[dict[str, str]]:
    """Every seed of every arm, one row each; `beside` and `costs` as in `comparison`."""
    sets, costs = beside is None, known(costs, results)
    beside = cleaned_columns(results) if beside is None else beside
    return [
        {
            "Arm": str(r.get("arm")),
            "Seed": str(r.get("seed", "–")),
            "Protocol": str(r.get("protocol") or "–"),
            "Accuracy, %": fixed(r.get("accuracy"), 2),
            **({"Nets": _nets(r.get("nets"))} if sets else {}),
            **{name: fixed(r.get(key), 2) for name, key in beside.items()},
            **{name: words(r.get(key)) for name, (key, words) in costs.items()},
        }
        for r in results.get("rows") or []
    ]


def known(costs: Costs, results: Entry) -> Costs:
    """The columns of costs that some row has a number in; all where there is no row."""
    rows = results.get("rows") or []
    return {name: cost for name, cost in costs.items() if not rows or any(plots.has(row, cost[0]) for row in rows)}


def unequal(results: Entry) -> bool:
    """Whether classes are unequal, so that the tables have balanced accuracy and macro-F1 too."""
    return any((finite(row.get("imbalance")) or 1) > UNEQUAL for row in results.get("rows") or [])


def cleaned_columns(results: Entry) -> dict[str, str]:
    """The columns, by name, of arms that clean or weigh training images beforehand; none where no row has them."""
    named = {"Share": "share", "AUC": "auc"}
    return {name: key for name, key in named.items() if any(finite(r.get(key)) is not None for r in results.get("rows") or [])}


def _network(evaluation: Json) -> str:
    """What networks an evaluation trained, as a label."""
    width, norm = evaluation.get("width"), evaluation.get("norm")
    return str(evaluation.get("model")) + (f" width {width} {norm} norm" if width is not None else "")


def single(unit: Unit) -> tuple[str, Table | None]:
    """The sentence and the table of one run; the table is None if it was not evaluated."""
    if not unit.evaluations:
        return f"{unit.arm}: not evaluated yet.", None
    lines, names, dots, spans = [], [], [], []
    several = len({_network(evaluation) for evaluation in unit.evaluations}) > 1
    for evaluation in unit.evaluations:
        nets = evaluation["accuracies"]
        centre = evaluation["accuracy"] if evaluation["accuracy"] is not None else mean(nets)
        split, spread = str(evaluation.get("split") or "–"), deviation(nets)
        by = f", {_network(evaluation)}" if several else ""
        name = f"{evaluation.get('protocol') or 'evaluation'}{by}, {split}"
        names.append(name)
        cells = {
            "Split": split,
            "Accuracy, %": fixed(centre) + (f" ± {fixed(spread)}" if spread is not None else ""),
            "Nets": _nets(nets),
            **{words: fixed(evaluation[key]) for words, key in BALANCED.items()},
            "Stored": amount(unit.card.get("stored_bytes")),
        }
        lines.append(Line(str(evaluation.get("protocol") or "–") + by, charts.PALETTE[2], cells))
        dots += [{"name": name, "value": v, "colour": charts.PALETTE[2]} for v in nets]
        spans += plots.span(name, centre, spread, charts.PALETTE[2])
    first = unit.evaluations[0]
    centre = first["accuracy"] if first["accuracy"] is not None else mean(first["accuracies"])
    many = counted(len(first["accuracies"]), "network")
    where = f"on the {first.get('split') or 'evaluated'} split"
    sentence = f"{unit.arm}: {fixed(centre)} % {where} (protocol {first.get('protocol') or '–'}, {many})."
    title = "Accuracy of every network (dots), their mean (stroke) and one standard deviation (line), in percent"
    plot = (
        [("Every network", plots.DOTS.format("networks"), charts.dots(dots, spans, names, "accuracy, %", False, title))]
        if spans
        else []
    )
    return sentence, Table("", lines, plot)


def _line(
    arm: str,
    colour: str,
    summary: list[Entry],
    seeds: list[Entry],
    beside: dict[str, str],
    costs: Costs,
) -> Line:
    first = summary[0] if summary else {}
    values = [v for v in (finite(r.get("accuracy")) for r in seeds) if v is not None]
    centre = finite(first.get("mean")) if summary else mean(list(values))
    spread = finite(first.get("sd")) if summary else deviation(values)
    cells = {
        "Accuracy, %": fixed(centre) + (f" ± {fixed(spread)}" if spread is not None else ""),
        "n": compact(first.get("n", len(values))),
    }
    for name, key in beside.items():
        cells[name] = fixed(mean([finite(r.get(key)) for r in seeds]), 1 if name.endswith("%") else 2)
    for name, (key, words) in costs.items():
        cells[name] = words(mean([finite(r.get(key)) for r in seeds]))
    return Line(arm, colour, cells, [_difference(r) for r in summary if r.get("against")])


def _nets(nets: object) -> str:
    """The number of networks, and the accuracy of each if they are listed."""
    if isinstance(nets, (list, tuple)):
        return f"{len(nets)}: " + ", ".join(fixed(v) for v in nets) if nets else DASH
    return compact(nets)


def _difference(row: Entry) -> Difference:
    low, high = finite(row.get("low")), finite(row.get("high"))
    pairs = compact(row.get("pairs", row.get("n")))
    known = low is not None and high is not None
    why = "all differences are equal" if (finite(row.get("pairs")) or 0) > 1 else f"n = {pairs}"
    interval = f"[{fixed(low)}, {fixed(high)}]" if known else f"no interval ({why})"
    remarks = [f"n = {pairs} could show {fixed(row['smallest_shown'])}"] if plots.has(row, "smallest_shown") else []
    primary = bool(row.get("primary"))
    # the primary comparison was declared beforehand and is not corrected for the others
    name, key = ("p", "p") if primary else ("Holm p", "p_holm")
    remarks += [f"{name} = {compact(row[key])}"] if plots.has(row, key) else []
    return Difference(signed(row.get("difference")), interval, str(row["against"]), remarks, primary)
