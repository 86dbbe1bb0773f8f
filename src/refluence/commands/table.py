"""The verdict table on the terminal, the sentence last."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rich.table import Table

from refluence.arm import read_arm
from refluence.commands.session import relative
from refluence.evaluate.cleaning import cleaning
from refluence.evaluate.references import kind
from refluence.evaluate.relations import CONTROL, RIVAL
from refluence.evaluate.verdict import tenths
from refluence.files import Json
from refluence.report import recipe as recipes
from refluence.report.verdict import unequal
from refluence.run.progress import print_table
from refluence.run.streams import printable

CLEANED = {"share": "share", "AUC": "auc"}
LEGEND = {
    "share": "share: of each class left out or relabelled",
    "AUC": "AUC: how well those known to be wrong are found (1: all first, 0.5: chance)",
}


def show(results: Json, out: Path) -> None:
    """Print the table, where the files are, and the verdict."""
    protocols = {line["protocol"] for line in results["summary"]}
    table = Table(header_style="bold")
    beside = {"balanced %": "balanced_accuracy", "macro-F1 %": "macro_f1"} if unequal(results) else {}
    if all(r.get("worst_class") is not None for r in results["rows"]):  # of students
        beside = {"worst class %": "worst_class", **beside}
    if any(r.get("teacher_accuracy") is not None for r in results["rows"]):
        beside["teacher %"] = "teacher_accuracy"
    first = ["arm", *(["protocol"] if len(protocols) > 1 else []), "accuracy %", *beside]
    for name in (*first, "n", "difference [95 %]", "against"):
        table.add_column(name, no_wrap=name not in ("arm", "against"), overflow="fold")
    cleaned = {name: key for name, key in CLEANED.items() if any(r.get(key) is not None for r in results["rows"])}
    ends_by_name = cleaned | ({"ess": "ess"} if any(r.get("ess") is not None for r in results["rows"]) else {})
    for name in (*ends_by_name, "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    shown: set[tuple[str, str]] = set()
    for line in results["summary"]:
        key = line["arm"], line["protocol"]
        own = [r for r in results["rows"] if (r["arm"], r["protocol"]) == key]
        spread = "" if line["sd"] is None else f" ± {line['sd']:.1f}"
        cells = [
            line["arm"],
            *([line["protocol"]] if len(protocols) > 1 else []),
            f"{line['mean']:.1f}{spread}",
            *(_mean(own, key, 1) for key in beside.values()),
            str(line["n"]),
        ]
        ends = [_mean(own, key) for key in ends_by_name.values()] + [f"{sum(r['seconds'] for r in own) / len(own):.1f}"]
        if key in shown:  # a further comparison of the same arm
            cells, ends = [""] * len(cells), [""] * len(ends)
        shown.add(key)
        table.add_row(*cells, _difference(line), _against(line), *ends)
    print_table(table, 136 if beside or cleaned else 110)
    if cleaned:
        print("; ".join(LEGEND[name] for name in cleaned))
    print(f"report: {relative(out / 'report.html')}   numbers: {relative(out / 'results.json')}")
    print(results["verdict"])


def show_recipe(results: Json, out: Path) -> None:
    """Print every line of a recipe's table, what the paper says, the verdict on each part, and where the files are."""
    table = Table(header_style="bold", title=f"{results['recipe']}, size {results['size']}: {results['summary']}")
    for name in recipes.columns(results):
        table.add_column(name, no_wrap=name not in ("arm", "against", "published"), overflow="fold")
    for row in recipes.cells(results):
        table.add_row(*map(printable, row))
    print_table(table, 200)
    for claim in results["claims"]:
        print(f"the paper says (in our words): {claim}")
    for part in results["parts"]:
        if part["verdict"]:
            print(f"{part['part']}: {part['verdict']}")
    for note in results["notes"]:
        print(note)
    print(f"report: {relative(out / 'report.html')}   table: {relative(out / 'table.md')}")


def _mean(rows: list[Json], key: str, digits: int = 2) -> str:
    """The mean over seeds, "" where it is not known."""
    known = [row[key] for row in rows if row.get(key) is not None]
    return f"{fmean(known):.{digits}f}" if known else ""


def _against(line: Json) -> str:
    """What an arm is compared with; in words where it is the same arm by another."""
    against = line["against"] or ""
    if not against or cleaning(read_arm(line["arm"])) is None:
        return against
    return {CONTROL: "the same at random", RIVAL: "the same by loss"}.get(kind(line["arm"], against), against)


def _difference(line: Json) -> str:
    if line["difference"] is None:
        return ""
    difference, low, high = (tenths(line[name]) for name in ("difference", "low", "high"))
    return f"{difference:+.1f}" + (f" [{low:+.1f}, {high:+.1f}]" if low is not None else " (no interval)")
