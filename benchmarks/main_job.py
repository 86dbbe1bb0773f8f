"""The experiments of docs/results/main-job.md: what was run, and the tables from what it gave.

    python benchmarks/main_job.py run NAME [--cifar10 FOLDER] [--runs runs]     resumes; NAME from `list`
    python benchmarks/main_job.py tables [--runs runs]                          docs/results/raw/*.jsonl and Markdown tables

Choices (`tune-…`) are made on the validation split only, as many for the uniform arm as for the weighted one. Then
(`confirm-…`, fresh seeds, test split) the best uniform choice stands against itself with the best weighted choice added.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from refluence.evaluate.paired import summarise
from refluence.evaluate.verdict import verdict

RAW = Path(__file__).parents[1] / "docs" / "results" / "raw"
ARMS = ["random", "herding", "dc", "dc+influence", "dc+flipped", "dc+loss"]  # dc+influence brings dc+shuffled
BOTH_RATES = ["--protocol", "dc", "iwd"]  # SGD .01 and .1, 300 epochs
WEIGHTED = ["tau=1", "tau=.3", "tau=3", "bag=batch", "sign=-1", "memory=.9", "refresh=5", "where=outside"]
UNIFORM = [
    "image_lr=.1",
    "image_lr=.03",
    "image_lr=.3",
    "image_lr=1",
    "real_batch=128",
    "inner=5",
    "image_momentum=.9",
    "initial=noise",
]
TUNED = ["random", *[f"dc:{choice}" for choice in UNIFORM], *[f"dc+influence:{choice}" for choice in WEIGHTED]]
TUNE = ["--split", "val", "--no-controls", "--seed", "100"]

EXPERIMENTS: dict[str, list[str]] = {
    "digits-ipc10": ["digits", "--ipc", "10", "--seeds", "5", "--methods", *ARMS, *BOTH_RATES, "--equal-seconds"],
    "cifar10-ipc10": ["cifar10", "--ipc", "10", "--seeds", "3", "--methods", *ARMS, *BOTH_RATES],
    "cifar10-ipc1": ["cifar10", "--ipc", "1", "--seeds", "3", "--methods", *ARMS, *BOTH_RATES],
    "tune-digits-ipc10": ["digits", "--ipc", "10", "--seeds", "3", "--methods", *TUNED, "--protocol", "dc", *TUNE],
    "tune-cifar10-ipc1": ["cifar10", "--ipc", "1", "--seeds", "2", "--methods", *TUNED, "--protocol", "dc", *TUNE],
}


def best(name: str, runs: Path) -> list[str]:
    """The uniform and the weighted choice with the highest mean validation accuracy."""
    rows = json.loads((runs / name / "results.json").read_text())["rows"]
    mean = {arm: statistics.fmean(r["accuracy"] for r in rows if r["arm"] == arm) for arm in {r["arm"] for r in rows}}
    return [max((a for a in mean if a.startswith(prefix)), key=mean.__getitem__) for prefix in ("dc:", "dc+influence:")]


def confirmation(name: str, runs: Path) -> list[str]:
    """The best uniform choice, alone and with the best weighted one (and its controls), on fresh seeds and the test split."""
    source, ipc = EXPERIMENTS[name][0], EXPERIMENTS[name][2]
    uniform, weighted = (arm.partition(":")[2] for arm in best(name, runs))
    return [
        source,
        "--ipc",
        ipc,
        "--seeds",
        "5",
        "--seed",
        "200",
        "--methods",
        f"dc+influence:{uniform},{weighted}",
        *BOTH_RATES,
    ]


def run(name: str, runs: Path, cifar10: str, extra: list[str]) -> None:
    words = confirmation(name.replace("confirm-", "tune-"), runs) if name.startswith("confirm-") else EXPERIMENTS[name]
    source = cifar10 if words[0] == "cifar10" else words[0]
    command = ["compare", "--data", source, *words[1:], "--nets", "3", "--threads", "1", "--out", str(runs / name), "--resume"]
    subprocess.run([sys.executable, "-m", "refluence", *command, *extra], check=True)


def tables(runs: Path) -> None:
    RAW.mkdir(parents=True, exist_ok=True)
    for folder in sorted(p.parent for p in runs.glob("*/results.json")):
        rows = json.loads((folder / "results.json").read_text())["rows"]
        (RAW / f"{folder.name}.jsonl").write_text(
            "".join(json.dumps({"experiment": folder.name, **row}) + "\n" for row in rows)
        )
        summary = summarise(rows)
        tuning = folder.name.startswith("tune-")  # a best-of: no verdict
        print(f"\n### {folder.name}\n" + ("" if tuning else f"\n> {verdict(summary, rows)}\n"))
        heads = ["arm", "protocol", "accuracy %", "n", "difference [95 %]", "against", "ESS"]
        print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
        for line in summary:
            print(f"| {' | '.join(cells(line, rows))} |")


def cells(line: dict, rows: list[dict]) -> list[str]:
    own = [r for r in rows if (r["arm"], r["protocol"]) == (line["arm"], line["protocol"])]
    ess = [r["ess"] for r in own if r["ess"] is not None]
    d, low, high = (None if line[k] is None else round(line[k], 1) + 0.0 for k in ("difference", "low", "high"))
    difference = "" if d is None else f"{d:+.1f}" + ("" if low is None else f" [{low:+.1f}, {high:+.1f}]")
    accuracy = f"{line['mean']:.1f}" + ("" if line["sd"] is None else f" ± {line['sd']:.1f}")
    return [
        line["arm"],
        line["protocol"],
        accuracy,
        str(line["n"]),
        difference,
        line["against"] or "",
        f"{statistics.fmean(ess):.2f}" if ess else "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "tables", "list"])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--cifar10", default="cifar10", help="folder with train.parquet and test.parquet, or a Hub id")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    flags, extra = parser.parse_known_args()
    names = [*EXPERIMENTS, *(n.replace("tune-", "confirm-") for n in EXPERIMENTS if n.startswith("tune-"))]
    if flags.action == "run" and flags.name in names:
        run(flags.name, flags.runs, flags.cifar10, extra)
    elif flags.action == "tables":
        tables(flags.runs)
    else:
        print("\n".join(names))


if __name__ == "__main__":
    main()
