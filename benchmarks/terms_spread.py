"""How far the scores of the implicit term spread beside the explicit ones, from the metrics of runs with `terms=both`.

    python benchmarks/terms_spread.py runs/terms/ipc1/units/idc+influence@terms=both --out docs/results/raw/terms-spread.jsonl

A row for each seed: over image steps and classes the median and the 5th and 95th percentile of sd(implicit)/sd(explicit), and
the median of the correlation of the two terms.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def spread(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """The percentiles of one run's lines."""
    ratios = np.concatenate([np.divide(line["implicit_by_class"], line["explicit_by_class"]) for line in metrics])
    low, middle, high = np.percentile(ratios, (5, 50, 95))
    agreement = np.median([value for line in metrics for value in line["agreement_by_class"]])
    return {"count": len(ratios), "low": low, "median": middle, "high": high, "agreement": float(agreement)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm", type=Path, help="the folder of an arm, with a folder for each seed")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, written anew")
    given = parser.parse_args()
    rows = []
    for seed in sorted(given.arm.iterdir(), key=lambda path: int(path.name)):
        lines = [json.loads(line) for line in (seed / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        rows.append({"arm": given.arm.name.replace("@", ":"), "seed": int(seed.name), **spread(lines)})
    given.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
