"""A recipe's `results.json` as Markdown, as a page, and as rows of cells for the terminal: our numbers beside the published."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from refluence.files import Json, read_json, replacing, write_text
from refluence.report import recipe_figure
from refluence.report.template import write_page
from refluence.report.words import DASH, amount, duration, fixed, signed

HEADS = ("part", "arm", "protocol", "accuracy %", "n", "difference [95 %]", "against")
CLEANED = ("AUC", "share")  # of a ranking against the truth; of the instances left out or given another label
STUDENTS = (
    ("worst class", "worst_class", 1),
    ("teacher", "teacher_accuracy", 1),
    ("kept", "kept", 3),
    ("wrong", "noisy_weight", 2),
    ("right", "clean_weight", 2),
)
"""Of students: accuracy of the worst class and of the teacher in percent, the share of the accuracy with right labels that is
kept, and the mean weights of instances with wrong and with right labels (of `semi` pseudo-labels), the link's own values, whose
mean over all is not 1; a column where a line has it."""
QUALITY = (
    ("influence", "influence", 4),
    ("Fréchet", "frechet", 2),
    ("coverage %", "coverage", 1),
    ("Wasserstein", "wasserstein", 2),
    ("redundancy %", "redundancy", 1),
)
"""Of sets beside real images (evaluate/quality.py), a column where a line has it."""
COSTS = ("ESS", "to make", "memory", "stored")  # effective sample size, seconds, peak and stored bytes, means over seeds
FORMS = {"png", "svg"}
Line = Json


def write_recipe(folder: Path) -> list[Path]:
    """Write table.md, the figure and report.html from the `results.json` in the folder; return what was written."""
    results = read_json(folder / "results.json")
    figure = recipe_figure.draw(results, folder)
    written = [folder / "table.md"]
    for suffix in FORMS - figure.keys():
        (folder / f"figure.{suffix}").unlink(missing_ok=True)  # an older one shows other rows
    for suffix, data in figure.items():
        with replacing(folder / f"figure.{suffix}") as temporary:
            temporary.write_bytes(data)
        written.append(folder / f"figure.{suffix}")
    write_text(folder / "table.md", markdown(results))
    picture = f"data:image/png;base64,{base64.b64encode(figure['png']).decode('ascii')}" if "png" in figure else None
    heads, rows = grid(results)
    facts = {part["set"]: f"ours on {part['data']}" for part in results["parts"] if part["data"] is not None}
    more = {"heads": heads, "grid": rows, "columns": columns(results), "rows": cells(results), "facts": list(facts.items())}
    more["published"] = _published(results)
    write_page(folder / "report.html", "recipe.html.j2", results=results, picture=picture, **more)
    return [*written, folder / "report.html"]


def markdown(results: Json) -> str:
    """`table.md`: the paper's form of the table, then every line with its differences."""
    heads, rows = grid(results)
    out = [f"# {results['recipe']}: {results['summary']}", "", f"{results['source']}. Size {results['size']}."]
    out += ["", *(f"The paper says (in our words): {claim}" for claim in results["claims"])]
    out += ["", f"Each cell: ours (n seeds){' / published' if _published(results) else ''}.", "", as_table(heads, rows)]
    out += ["", as_table(columns(results), cells(results)), ""]
    out += [f"- {part['part']}: {part['verdict']}" for part in results["parts"] if part["verdict"]]
    out += ["", *(f"- {note}" for note in results["notes"]), ""]
    return "\n".join(out)


def grid(results: Json) -> tuple[list[str], list[list[str]]]:
    """The paper's form: a row for each arm, model and protocol, a column for each set and number of images per class."""
    lines = results["lines"]
    sets = list(dict.fromkeys((line["set"], line["ipc"]) for line in lines))
    several, beside = len({line["model"] for line in lines}) > 1, _published(results)
    rows: dict[tuple[str, str, str], dict[tuple[str, int], str]] = {}
    for line in lines:
        row = rows.setdefault((line["arm"], line["model"] if several else "", line["protocol"]), {})
        key = line["set"], line["ipc"]
        if line["mean"] is not None or key not in row:  # parts may share a cell: one without rows does not hide the other
            row[key] = f"{ours(line)} / {published(line) or DASH}" if beside else ours(line)
    heads = [
        "arm",
        *(["model"] if several else []),
        "protocol",
        *(f"{name}, {ipc} a class" if ipc else name for name, ipc in sets),
    ]
    return heads, [
        [arm, *([model] if several else []), protocol, *(row.get(column, DASH) for column in sets)]
        for (arm, model, protocol), row in rows.items()
    ]


def columns(results: Json) -> tuple[str, ...]:
    """What the cells of a line are; some only where a line has them."""
    measured = (head for head, _, _ in _measured(results))
    return (*HEADS, *(CLEANED if _cleaned(results) else ()), *measured, *COSTS, "published")


def cells(results: Json) -> list[list[str]]:
    """Every line, one row for each of its comparisons; a further comparison repeats nothing."""
    found, names, cleaned = [], recipe_figure.part_names(results["lines"]), _cleaned(results)
    for line in results["lines"]:
        own = [names[line["part"]], line["arm"], line["protocol"], _accuracy(line), f"{line['n']} of {line['seeds']}"]
        costs: list[tuple[object, Callable[[object], str]]] = [
            *((line[name], partial(fixed, digits=2)) for name in (("auc", "share") if cleaned else ())),
            *((line.get(name), partial(fixed, digits=digits)) for _, name, digits in _measured(results)),
            (line["ess"], partial(fixed, digits=2)),
            (line["seconds"], duration),
            *((line[name], amount) for name in ("peak_bytes", "stored_bytes")),
        ]
        ends = [*("" if value is None else form(value) for value, form in costs), published(line)]
        for number, compared in enumerate(line["compared"] or [None]):
            difference = ["", ""] if compared is None else [_difference(compared), compared["against"]]
            found.append([*(own if not number else [""] * len(own)), *difference, *(ends if not number else [""] * len(ends))])
    return found


def _published(results: Json) -> bool:
    return any(published(line) for line in results["lines"])


def _cleaned(results: Json) -> bool:
    return any(line.get(name) is not None for line in results["lines"] for name in ("auc", "share"))


def _measured(results: Json) -> list[tuple[str, str, int]]:
    """The columns of students and of sets beside real images that a line has a number in: head, name and digits."""
    return [column for column in (*STUDENTS, *QUALITY) if any(line.get(column[1]) is not None for line in results["lines"])]


def ours(line: Line) -> str:
    """`29.1 ± 0.5 (5)`."""
    return DASH if line["mean"] is None else f"{_accuracy(line)} ({line['n']})"


def published(line: Line) -> str:
    """The paper's number, or why there is none."""
    found = line["published"]
    return found if isinstance(found, str) else f"{fixed(found['mean'])} ± {fixed(found['sd'])}"


def _accuracy(line: Line) -> str:
    return fixed(line["mean"]) + ("" if line["sd"] is None else f" ± {fixed(line['sd'])}")


def _difference(compared: Line) -> str:
    if compared["difference"] is None:
        return DASH
    if compared["low"] is None:
        return f"{signed(compared['difference'])} (no interval)"
    interval = f"{signed(compared['difference'])} [{signed(compared['low'])}, {signed(compared['high'])}]"
    if compared["low"] <= 0 <= compared["high"]:
        return interval
    return f"{interval}, p {'< .001' if compared['p_holm'] < 0.001 else format(compared['p_holm'], '.2g').removeprefix('0')}"


def as_table(heads: Sequence[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
