"""The page of students: of one run, or of a comparison with their worst classes and the accuracy of their teacher."""

from __future__ import annotations

from dataclasses import replace

from refluence.files import Json
from refluence.report import learning, plots, student, verdict, weighed
from refluence.report.plots import Entry, Plot
from refluence.report.reading import Unit
from refluence.report.verdict import Table
from refluence.report.words import DASH, counted, finite, mean

COSTS: verdict.Costs = {
    **{name: how for name, how in verdict.COSTS.items() if name != "Stored"},
    "Parameters": ("parameters", student.whole),
}
WORST = "The class that each student is worst at, not always the same one. "
TEACHER = " The dashed line is the accuracy of the teacher, the mean of the seeds."


def values(top: Unit, units: list[Unit], results: Json | None, paint: dict[str, str], compare: bool) -> Json:
    """What student.html.j2 shows beyond the words that every page has."""
    leading = {str(row.get("arm")) for row in (results or {}).get("summary") or [] if row.get("primary")}
    ordered = sorted(units, key=lambda unit: unit.arm not in leading)
    rows = (results or {}).get("rows") or []
    found = next((found for unit in ordered if (found := weighed.section(unit, compare))), None)
    alike = "every instance counted alike" if not learning.weighted(units) else "those of single instances were not kept"
    return {
        "facts": _facts(top, units, rows, compare),
        "made": [] if compare else student.made(top),
        "classes": None if compare else student.classes(top),
        "figures": learning.figures(units, paint, compare),
        "weighed": found,
        "unweighed": f"No weights of training instances are stored in this folder: {alike}.",
        "label": weighed.weighed_label(units),
        "by_arm": weighed.table(units) if compare or found is None else [],
    }


def columns(results: Json) -> dict[str, str]:
    """The columns of the table beside accuracy, by name; those that no row has are left out.

    Weights are the link's own values, whose mean over all instances is not 1: those of wrong labels say something beside
    those of right ones. Of `semi` they are of right and wrong pseudo-labels.
    """
    rows = results.get("rows") or []
    label = weighed.label_of({str(row.get("arm")) for row in rows if finite(row.get("noisy_weight")) is not None})
    named = {
        "Worst class, %": "worst_class",
        **(verdict.BALANCED if verdict.unequal(results) else {}),
        "Teacher, %": "teacher_accuracy",
        "AUC": "auc",
        f"Weight, {label} wrong": "noisy_weight",
        f"Weight, {label} right": "clean_weight",
    }
    return {name: key for name, key in named.items() if any(finite(row.get(key)) is not None for row in rows)}


def tables(results: Json) -> list[Table]:
    """One table per protocol, with its plots."""
    found = verdict.comparison(results, columns(results), COSTS, _plotted)
    return found if len(found) > 1 else [replace(table, title="") for table in found]  # of one protocol the name says nothing


def seeds(results: Json) -> list[dict[str, str]]:
    """Every seed of every arm, one row each."""
    return verdict.seed_table(results, columns(results), COSTS)


def _plotted(arms: list[str], named: dict[str, list[Entry]], paint: dict[str, str], protocol: str) -> list[Plot | None]:
    teacher = mean([finite(row.get("teacher_accuracy")) for arm in arms for row in named[arm]])
    found = plots.accuracies(arms, named, paint, protocol, level=teacher)
    worst = plots.accuracies(arms, named, paint, protocol, "worst_class", "Accuracy on the worst class")
    if found and teacher is not None:
        found = (found[0], found[1] + TEACHER, found[2])
    return [found, worst and (worst[0], WORST + worst[1], worst[2])]


def _facts(top: Unit, units: list[Unit], rows: list[Json], compare: bool) -> list[tuple[str, str]]:
    """What was done, in a few words each: only what the folder really says."""
    card = next((unit.card for unit in units if unit.card.get("classes")), top.card)
    known = [str(row.get("seed")) for row in rows] or [unit.seed for unit in units if unit.seed]
    each = sorted(dict.fromkeys(known))
    teacher: Json = next((found for unit in units if (found := student.part(unit.card, "teacher"))), {})
    facts = [
        ("Data", student.option(top.config, "data") or str(card.get("source") or "")),
        ("Training instances", student.rows_of(card)),
        ("Wrong labels on purpose", student.option(top.config, "noise")),
        ("Classes", str(len(card["classes"])) if card.get("classes") else ""),
        ("Teacher", student.network(teacher.get("model"), finite(teacher.get("parameters")))),
        ("Student", student.network(card.get("model"), finite(card.get("parameters")))),
        ("Seeds" if len(each) > 1 else "Seed", f"{len(each)} ({', '.join(each[:8])})" if len(each) > 1 else "".join(each)),
        ("Size", student.option(top.config, "size")),
        ("Test split used", counted(int(card["test_uses"]), "time") if not compare and finite(card.get("test_uses")) else ""),
    ]
    return [(name, words) for name, words in facts if words not in ("", DASH)]
