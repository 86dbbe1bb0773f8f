"""From rows to the table of a recipe: plain values, as `results.json` keeps them and the report draws them.

A line is an arm in a part under a protocol: mean and standard deviation over seeds, paired differences (evaluate/paired.py,
each part by itself, its first influence arm against its uniform base being the primary comparison, the part's own pairs last),
and the published number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

from refluence.arm import UNIFORM
from refluence.errors import InputError, option
from refluence.evaluate.paired import Summary, summarise
from refluence.evaluate.references import kind
from refluence.evaluate.relations import RANDOM
from refluence.files import Json
from refluence.recipes.base import SETS, Part, Published, Recipe
from refluence.recipes.reading import in_words
from refluence.recipes.rows import verdict_of

Row = Json
ALIKE = ("data", "model", "width", "norm", "real_batch", "iterations", "split", "settings")
"""What the rows of a line share, beside how many networks there are."""
OF_SETS = ("influence", "frechet", "coverage", "wasserstein", "redundancy")  # measured beside real images
OF_STUDENTS = ("worst_class", "noisy_weight", "clean_weight", "teacher_accuracy")
MEANS = ("auc", "share", *OF_STUDENTS, *OF_SETS, "seconds", "peak_bytes", "stored_bytes")
"""What a line has the mean of, over the seeds that know it."""


def tabulate(recipe: Recipe, parts: Sequence[Part], size: str, rows: Sequence[Row], seeds: int | None = None) -> Row:
    """The results of `rows`, which are all of this recipe and size; cells without a row are there and empty.

    `seeds`: how many were asked for, instead of the parts' own number. Errors: `InputError` where the rows of an arm in a
    part were not made alike.
    """
    lines: list[Row] = []
    described: list[Row] = []
    for part in parts:
        own = [row for row in rows if row["part"] == part.name]
        _check_alike(own)
        summary = summarise(own, _primary(part, own), part.pairs)
        data = own[0]["data"] if own else None
        for protocol in _protocols(part, own):
            lines += [_line(recipe, part, arm, protocol, own, summary, seeds or part.seeds) for arm in part.arms]
        if part.clean is not None:
            lines = [line | {"kept": _kept(part, line, rows)} if line["part"] == part.name else line for line in lines]
        found = verdict_of(summary, own) if own else None
        read = next((row["source"] for row in own if "source" in row), dict(part.source))
        described.append({"part": part.name, "set": SETS[part.data], "data": data, "source": read, "verdict": found})
    return {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "source": recipe.source,
        "size": size,
        "picture": recipe.picture,
        "claims": list(recipe.claims),
        "parts": described,
        "lines": lines,
        "notes": [*recipe.notes, *_notes(size, parts, described, lines)],
        "rows": list(rows),
    }


def _primary(part: Part, rows: list[Row]) -> str | None:
    return part.primary if any(row["arm"] == part.primary for row in rows) else None


def _line(recipe: Recipe, part: Part, arm: str, protocol: str, rows: list[Row], summary: list[Summary], seeds: int) -> Row:
    own = [row for row in rows if (row["arm"], row["protocol"]) == (arm, protocol)]
    found = [line for line in summary if (line["arm"], line["protocol"]) == (arm, protocol)]
    published = recipe.publication(part, arm, protocol)
    return {
        "part": part.name,
        "set": SETS[part.data],
        "data": own[0]["data"] if own else None,
        "is_set": bool(own) and _is(part.data, own[0]["data"]),
        "ipc": part.ipc,
        "model": (own or rows or [{"model": part.model}])[0]["model"],  # a part has one
        "protocol": protocol,
        "arm": arm,
        "n": found[0]["n"] if found else 0,
        "seeds": seeds,
        "mean": found[0]["mean"] if found else None,
        "sd": found[0]["sd"] if found else None,
        "ess": _mean(own, "ess"),
        **{name: _mean(own, name) for name in MEANS},
        "compared": [
            {
                "against": line["against"],
                "pairs": line["pairs"],
                "difference": line["difference"],
                "low": line["low"],
                "high": line["high"],
                "p": line["p"],
                "p_holm": line["p_holm"],
                "primary": line["primary"],
                **_even(part, arm, line["against"]),
            }
            for line in found
            if line["against"] is not None
        ],
        "published": {"mean": published.mean, "sd": published.sd} if isinstance(published, Published) else published,
    }


def _even(part: Part, arm: str, against: str) -> Row:
    """Of students: whether the instances of the other arm all weigh the same, at the same numbers."""
    return {"even": kind(arm, against) in (UNIFORM, RANDOM)} if part.of_students else {}


def _kept(part: Part, line: Row, rows: Sequence[Row]) -> float | None:
    """The share of the accuracy with right labels that an arm keeps, a mean over the seeds that have both."""

    def by_seed(name: str | None) -> dict[int, float]:
        same = (name, line["arm"], line["protocol"])
        return {row["seed"]: row["accuracy"] for row in rows if (row["part"], row["arm"], row["protocol"]) == same}

    clean, own = by_seed(part.clean), by_seed(part.name)
    both = [own[seed] / clean[seed] for seed in own.keys() & clean.keys() if clean[seed]]
    return fmean(both) if both else None


def _mean(rows: list[Row], name: str) -> float | None:
    known = [row[name] for row in rows if row.get(name) is not None]
    return fmean(known) if known else None


def _protocols(part: Part, rows: list[Row]) -> list[str]:
    """The part's protocols; where its rows have changed ones (`dc:epochs=3`), those instead."""
    made = list(dict.fromkeys(row["protocol"] for row in rows))
    shown = [[m for m in made if m.partition(":")[0] == name.partition(":")[0]] or [name] for name in part.protocols]
    return [name for names in shown for name in names]


def _check_alike(rows: list[Row]) -> None:
    read = [row for row in rows if "source" in row]  # not in rows from before it was kept
    if other := next((row for row in read if row["source"] != read[0]["source"]), None):
        ways = " and ".join(in_words(row["source"]) or "the source as it is" for row in (read[0], other))
        raise InputError(
            f"rows of part {other['part']} are not alike: they are of {ways}; keep them in two files ({option('rows')})"
        )
    seen: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        first = seen.setdefault((row["part"], row["arm"], row["protocol"]), row)
        for name in ALIKE:
            if row.get(name) != first.get(name):
                raise InputError(
                    f"rows of part {row['part']}, arm {row['arm']} are not alike: {name} is {first.get(name)!r} with seed "
                    f"{first['seed']}, {row.get(name)!r} with seed {row['seed']}; keep them in two files ({option('rows')})"
                )
        if len(row["nets"]) != len(first["nets"]):
            raise InputError(
                f"rows of part {row['part']}, arm {row['arm']} are not alike: {len(first['nets'])} and {len(row['nets'])} "
                f"networks a set; keep them in two files ({option('rows')})"
            )


def _notes(size: str, parts: Sequence[Part], described: list[Row], lines: list[Row]) -> list[str]:
    notes = [
        "Ours: mean ± standard deviation over n seeds, each the mean of its networks; differences are paired, 95 % intervals.",
        "Where an interval excludes 0: p of the paired test, by Holm's method over a part's comparisons but the declared one.",
    ]
    if size == "cpu":
        notes.append("Size cpu is a short run of ours: it is not the published setting, and its numbers are not the paper's.")
    pairs = [(part, d["data"]) for part, d in zip(parts, described, strict=True) if d["data"] is not None]
    others = {SETS[part.data]: data for part, data in pairs if not _is(part.data, data)}
    notes += [f"Ours are on {data} where the paper has {name}." for name, data in others.items()]
    notes += [f"The data of part {d['part']} are read with {in_words(d['source'])}." for d in described if d["source"]]
    missing = sum(line["n"] < line["seeds"] for line in lines)
    if missing:
        notes.append(f"{missing} of {len(lines)} lines have fewer seeds than asked for (– where there is none).")
    return notes


def _is(name: str, data: str) -> bool:
    """Whether a source is called like a set: `uoft-cs/cifar10` or `CIFAR-10`."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[/:]", data.lower())[-1]) == name
