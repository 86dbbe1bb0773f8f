"""How many labels are wrong? The estimate of `refluence score` beside the truth and beside cleanlab's, from the same networks.

    python benchmarks/wrong_share.py run --cifar CIFAR10 --human CIFAR10N/train.parquet [--cases digits-symmetric40] [--seeds 3]
    python benchmarks/wrong_share.py tables

A case is a source and its wrong labels. Human labels are those of CIFAR-10N, one annotator's (`random_label1`) and the vote of
three (`aggre_label`); their truth is the label that CIFAR-10 stores. A seed trains the networks of five folds with the defaults
of `refluence score` (15 epochs) at width 32. `terms="explicit"` leaves out what decides nothing here: the networks are the
same. The rows, their labels and the cut of the validation images are the same for every seed. CIFAR-10: `--rows` training
images, of which a tenth is cut for validation.

All estimates are from the same held-out probabilities (float16, as the table keeps them):

    ours             `ScoreTable.wrong_share` (refluence.score.wrong_share: confident learning, or the surest rows)
    cleanlab, joint  1 - trace of `cleanlab.count.estimate_joint`
    cleanlab, count  `cleanlab.count.num_label_issues`, its own defaults
    cleanlab, filter rows that `cleanlab.filter.find_label_issues` finds, its own defaults

`--parts FOLDER` has a checkpoint for each row, after every network: what is stopped goes on there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import numpy as np
from torch import Tensor

from refluence.data import SourceOptions
from refluence.data.truth import wrong
from refluence.jobs.scoring import against_validation
from refluence.jobs.session import Machine, open_session
from refluence.options import ScoreOptions
from refluence.run.device import prepare
from refluence.run.drive import Driver, drive
from refluence.run.progress import Reporter
from refluence.score.folds_work import FoldsWork
from refluence.score.job import Scoring
from refluence.seeds import streams
from refluence.work import Prepared

WIDTH = 32
HUMAN = {"cifar10-random1": "random_label1", "cifar10-aggregate": "aggre_label"}
SYMMETRIC = {f"{source}-symmetric{share}": share for source in ("cifar10", "digits") for share in (20, 40)}
CASES = (*HUMAN, *SYMMETRIC)
ESTIMATES = ("ours", "cleanlab, joint", "cleanlab, count", "cleanlab, filter")
RAW = Path(__file__).parents[1] / "docs" / "results" / "raw" / "wrong_share.jsonl"

Row = dict[str, object]


def options_of(case: str, human: str, rows: int) -> SourceOptions:
    """How the source of a case is read."""
    few = rows if case.startswith("cifar10") else None
    if case in HUMAN:
        return SourceOptions(labels=f"{human}:{HUMAN[case]}", rows=few)
    return SourceOptions(noise=f"symmetric:{SYMMETRIC[case] / 100}", rows=few)


def one(case: str, seed: int, source: str, options: SourceOptions, parts: Path) -> Row:
    """All estimates of a case and seed, beside the truth."""
    begin = time.perf_counter()
    session = open_session(source, Machine(), options)
    asked = ScoreOptions(width=WIDTH, terms="explicit")
    scores = against_validation(asked, session, seed)
    job, data = scores.job, scores.session.dataset
    assert isinstance(job.plan, Scoring), "against validation"
    work = job.plan.open(data, job.model, streams(seed), session.compute, Prepared())
    assert isinstance(work, FoldsWork), "nothing is trained before"
    drive(work, parts / f"{case}-{seed}", case, Driver(session.compute.device, Reporter(quiet=True), 0.0))
    p, labels, planted = work.held_out(), data.train.labels, wrong(data.train)
    assert p is not None, "a small source with hard labels"
    assert planted is not None, "the truth is known"
    assert data.train.stored is not None, "the truth is known"
    guess = p.argmax(1)
    return {
        "case": case,
        "seed": seed,
        "rows": len(labels),
        "width": WIDTH,
        "settings": asdict(job.plan.settings),
        "truth": float(planted.double().mean()),
        "ours": work.scored().wrong_share,
        **cleanlabs(labels, p),
        "held-out accuracy, true labels": float((guess == data.train.stored).double().mean()),
        "held-out accuracy, given labels": float((guess == labels).double().mean()),
        "seconds": round(time.perf_counter() - begin, 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def cleanlabs(labels: Tensor, p: Tensor) -> Row:
    """Its three estimates from labels `(N,)` and held-out probabilities `(N, K)`."""
    import cleanlab
    from cleanlab.count import estimate_joint, num_label_issues
    from cleanlab.filter import find_label_issues

    y, probabilities = labels.numpy(), p.numpy()
    return {
        "cleanlab, joint": float(1 - estimate_joint(y, probabilities).trace()),
        "cleanlab, count": float(num_label_issues(y, probabilities) / len(y)),
        "cleanlab, filter": float(np.mean(find_label_issues(y, probabilities))),
        "cleanlab": cleanlab.__version__,
    }


def run(args: argparse.Namespace) -> None:
    """Append every row of the cases that is not there yet."""
    prepare(args.threads)
    for seed in range(args.seeds):
        for case in args.cases:
            if any((row["case"], row["seed"]) == (case, seed) for row in read()):
                continue
            source = args.cifar if case.startswith("cifar10") else "digits"
            row = one(case, seed, source, options_of(case, args.human, args.rows), args.parts)
            with RAW.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{case}, seed {seed}: {row['seconds']} s, truth {row['truth']:.3f}, ours {row['ours']:.3f}", flush=True)


def read() -> list[Row]:
    """The rows that there are."""
    return [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []


def tables(rows: Sequence[Row]) -> None:
    """The mean over seeds of truth, estimates and held-out accuracy, in percent."""
    names = ("truth", *ESTIMATES, "held-out accuracy, true labels")
    print(f"| wrong labels | rows | n | {' | '.join(names)} |\n|{'---|' * (len(names) + 3)}")
    for case in CASES:
        if mine := [row for row in rows if row["case"] == case]:
            means = (f"{100 * fmean(float(str(row[name])) for row in mine):.1f}" for name in names)
            print(f"| {case} | {mine[0]['rows']:,} | {len(mine)} | {' | '.join(means)} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("run")
    ask.add_argument("--cifar", help="folder of CIFAR-10, with train.parquet and test.parquet")
    ask.add_argument("--human", help="Parquet file with the human labels of CIFAR-10N, row by row")
    ask.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    ask.add_argument("--parts", type=Path, default=Path("runs/wrong_share"))
    for name, default in (("--seeds", 3), ("--rows", 10_000), ("--threads", 1)):
        ask.add_argument(name, type=int, default=default)
    kinds.add_parser("tables")
    args = parser.parse_args()
    run(args) if args.what == "run" else tables(read())


if __name__ == "__main__":
    main()
