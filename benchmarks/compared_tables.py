"""Comparisons as rows and tables of docs/results/kd-aif.md and igd.md: no number is typed.

    python benchmarks/compared_tables.py keep NAME FOLDER     rows of the folder's results.json -> docs/results/raw/NAME.jsonl,
                                                              what they needed -> docs/results/raw/NAME.needs.jsonl
    python benchmarks/compared_tables.py tables               fills the marks of the documents

A table stands between `<!-- compared: NAME [clean NAME] -->` and `<!-- end -->`. With `clean` the share of the accuracy of that
run, whose labels are right, is kept: a criterion is 95 %. `wrong` and `right` are mean weights, to be compared with each other.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from refluence.data.readme import CARD
from refluence.evaluate.paired import Summary, summarise
from refluence.evaluate.verdict import verdict
from refluence.files import read_json
from refluence.jobs import pool_seconds
from refluence.jobs.needs import FACTS, TENSORS, read_prepared
from refluence.run.rows import read_rows

RESULTS = Path(__file__).parents[1] / "docs" / "results"
RAW, DOCUMENTS = RESULTS / "raw", (RESULTS / "kd-aif.md", RESULTS / "igd.md")
MARKED = re.compile(r"(<!-- compared: ([\w.-]+)(?: clean ([\w.-]+))? -->\n).*?(?=<!-- end -->)", re.DOTALL)
COLUMNS = (
    ("worst class", "worst_class", 1),
    ("AUC", "auc", 2),
    ("wrong", "noisy_weight", 2),
    ("right", "clean_weight", 2),
    ("ESS", "ess", 2),
    ("influence", "influence", 3),
    ("nearest", "nearest", 3),
    ("Fréchet", "frechet", 1),
    ("coverage %", "coverage", 1),
    ("Wasserstein", "wasserstein", 2),
    ("redundancy %", "redundancy", 0),
    ("sampled", "sampled", 0),
)
Row = dict[str, Any]


def keep(name: str, folder: Path, raw: Path = RAW) -> None:
    """The rows of a comparison, with what it was asked for, and what they needed, instead of earlier files of that name."""
    rows, asked = read_json(folder / "results.json")["rows"], read_json(folder / "config.json")["arguments"]
    about = {k: v for k, v in asked.items() if isinstance(v, (str, int, float)) and not str(v).startswith("/") and k != "out"}
    asked_first = [{**row, **({"asked": about} if number == 0 else {})} for number, row in enumerate(rows)]
    for path, found in ((raw / f"{name}.jsonl", asked_first), (raw / f"{name}.needs.jsonl", needed(folder))):
        path.unlink(missing_ok=True)
        if found:
            path.write_text("".join(json.dumps({"run": name, **row}) + "\n" for row in found), encoding="utf-8")


def needed(folder: Path) -> list[Row]:
    """What the jobs of a comparison shared: kind, seconds on the wall and of processors (of a surrogate with those of its
    training; of earlier versions on the wall alone), and the numbers of the training; then how large each pool was, and why."""
    found: list[Row] = []
    for path in sorted(folder.glob(f"shared/*/{FACTS}")):
        facts, cards = read_json(path), [read_json(card) for card in path.parent.glob(f"*/{CARD}")]
        known = {key: value for card in cards for key, value in card.items() if key == "parameters"}
        training = {key: facts[key] for key in ("settings", "minimax") if key in facts}
        spent = read_prepared(path.parent / TENSORS).time.facts()
        found.append({"need": facts["need"], **spent, **known, **training})
    pools = read_json(folder / pool_seconds.FILE) if (folder / pool_seconds.FILE).exists() else {}
    return found + [{"need": pool_seconds.POOL, "arm": arm, **measured} for arm, measured in pools.items()]


def filled(text: str, raw: Path = RAW) -> str:
    """The document with every marked table made anew; what has no rows yet is left as it is."""

    def made(found: re.Match[str]) -> str:
        path, clean = raw / f"{found[2]}.jsonl", raw / f"{found[3]}.jsonl"
        if not path.exists():
            return found[0]
        return found[1] + table(read_rows(path), read_rows(clean) if clean.exists() else None) + "\n"

    return MARKED.sub(made, text)


def table(rows: Sequence[Row], clean: Sequence[Row] | None = None) -> str:
    """The verdict, then a line for each arm and comparison."""
    summary = summarise(rows)
    columns = [column for column in COLUMNS if any(row.get(column[1]) is not None for row in rows)]
    heads = [
        "arm",
        "accuracy %",
        "n",
        "difference [95 %]",
        "against",
        *(head for head, _, _ in columns),
        *(["kept"] if clean else []),
    ]
    lines = ["| " + " | ".join([*heads, "s"]) + " |", "|---" * (len(heads) + 1) + "|"]
    shown = set[str]()
    for line in summary:
        own = [row for row in rows if row["arm"] == line["arm"]]
        first = [line["arm"], f"{line['mean']:.1f}" + ("" if line["sd"] is None else f" ± {line['sd']:.1f}"), str(line["n"])]
        last = [_mean(own, key, digits) for _, key, digits in columns]
        last += [_kept(own, [r for r in clean if r["arm"] == line["arm"]])] if clean else []
        last += [_mean(own, "seconds", 0)]
        if line["arm"] in shown:
            first, last = [""] * len(first), [""] * len(last)
        shown.add(line["arm"])
        lines.append("| " + " | ".join([*first, _difference(line), line["against"] or "", *last]) + " |")
    said = verdict(summary, rows)
    return "\n".join([f"> {said}", "", *lines] if said else lines)


def _mean(rows: Sequence[Row], key: str, digits: int) -> str:
    known = [row[key] for row in rows if row.get(key) is not None]
    return f"{fmean(known):.{digits}f}" if known else ""


def _kept(own: Sequence[Row], clean: Sequence[Row]) -> str:
    """Percent of the accuracy with right labels, over the seeds that both have."""
    before = {row["seed"]: row["accuracy"] for row in clean}
    shares = [row["accuracy"] / before[row["seed"]] for row in own if before.get(row["seed"])]
    return f"{100 * fmean(shares):.1f} %" if shares else ""


def _difference(line: Summary) -> str:
    if line["difference"] is None:
        return ""
    ends = "" if line["low"] is None else f" [{line['low']:+.1f}, {line['high']:+.1f}]"
    return f"{line['difference']:+.1f}{ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("keep")
    ask.add_argument("name")
    ask.add_argument("folder", type=Path)
    kinds.add_parser("tables")
    args = parser.parse_args()
    if args.what == "keep":
        keep(args.name, args.folder)
    else:
        for document in DOCUMENTS:
            document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
