"""Does a weight for each training row help a plain classifier, whose training set is digits with 40 % wrong labels?

    python benchmarks/weighted_classifier.py run [--seeds 5] [--arms none score …]
    python benchmarks/weighted_classifier.py tables

All rows train, in the loop of examples/weighted_training.py: SGD, momentum .9, constant rate .05, batches of 64, the weighted
mean of the losses of a batch. An arm is a weight for each row and nothing else: the arms of a seed share the networks'
initial parameters and the order of the batches. A seed makes one table of scores (the defaults of `refluence score`, whose
validation labels are as noisy as those of train) and trains two networks an arm; its accuracy is their mean, on the test
split, whose labels are right. The wrong labels are the same in every seed. Networks are judged after 8 epochs, as in the
example, and after 60, at the last step: no epoch is chosen. Declared beforehand: `score` against `none`, after 60 epochs.

    none            1 on every row
    score           the column `weight`, made of the score
    score, centred  the same sigmoid on the score standardised about its median
    loss            the link of the column `weight` on the column `loss` (held out): a loss is above 0, so no row weighs above 1
    loss, centred   the same sigmoid on the loss standardised about its median
    permuted        the weights of `score`, dealt out to the rows at random
    drop …          0 on the share w with the highest score or loss, or drawn at random, and 1 / (1 - w) on the others; w is
                    the table's own estimate of the share of wrong labels
    right rows      the same with the rows whose labels are wrong: the ceiling, which knows the truth
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import refluence as rf
from refluence.errors import InputError
from refluence.evaluate.paired import compare
from refluence.influence import effective_sample_size
from refluence.influence.weighting import parse_weighting, weights
from refluence.models import ModelSpec
from refluence.run.device import prepare
from refluence.score.asked import WEIGHTS
from refluence.seeds import streams
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective

NOISE = "symmetric:.4"
EPOCHS, NETS, BATCH, RATE, MOMENTUM = (8, 60), 2, 64, 0.05, 0.9
LINK = dict(pair.split("=") for pair in WEIGHTS.partition(":")[2].split(","))
ARMS = ("none", "score", "score, centred", "loss", "loss, centred", "permuted", "drop score", "drop loss", "drop random")
CEILING = "right rows"
RAW = Path(__file__).parents[1] / "docs" / "results" / "raw" / "weighted_classifier.jsonl"


def row_weights(arm: str, table: rf.ScoreTable, wrong: Tensor, seed: int) -> Tensor:
    """The weight of each row of the table, `(N,)`. `wrong` `(N,)` is read for the ceiling alone."""
    if arm == "none":
        return torch.ones(len(table))
    if arm == CEILING:
        return without(wrong)
    draw = streams(seed)("permutation", 0)
    if arm == "permuted":
        return table.weight[torch.randperm(len(table), generator=draw)].float()
    what, _, by = arm.partition(" ") if arm.startswith("drop") else ("weigh", "", arm.removesuffix(", centred"))
    value = torch.rand(len(table), generator=draw) if by == "random" else getattr(table, by)
    if what == "drop":
        worst = value.argsort(descending=True, stable=True)[: round(estimate(table) * len(table))]
        return without(torch.zeros(len(table), dtype=torch.bool).index_fill(0, worst, True))
    kind, how = {"score": "influence", "loss": "loss"}[by], "robust" if arm.endswith("centred") else LINK["standardise"]
    return weights(value, parse_weighting(kind, {**LINK, "standardise": how})).float()


def without(left_out: Tensor) -> Tensor:
    """0 on these rows and the same on the others, of mean 1: as many steps, of the same size, as with all rows."""
    return (~left_out).float() / (~left_out).float().mean()


def estimate(table: rf.ScoreTable) -> float:
    """The share of wrong labels that the table says. `InputError` where it says none."""
    share = table.facts.get("wrong_share")
    if share is None:
        raise InputError("the table has no estimate of the share of wrong labels: leave out the arms that drop rows")
    return float(share)


def accuracies(data: rf.Dataset, w: Tensor, seed: int, number: int) -> Iterator[float]:
    """Train network `number` of the seed with row weights `w`; its accuracy in percent after each of `EPOCHS`."""
    rng = streams(seed)
    net: nn.Module = ModelSpec("convnet", data.shape, len(data.classes), width=32).bare(rng("network", number))
    order, x, y = rng("order", number), data.pixels(data.train), data.train.labels
    held_out = data.pixels(data.test)
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    for epoch in range(max(EPOCHS)):
        parts = torch.randperm(len(y), generator=order).split(BATCH)
        fit(net, optimiser, (Batch(x[rows], y[rows], w[rows]) for rows in parts), Objective("ce"))
        if epoch + 1 in EPOCHS:
            with torch.no_grad():
                right = net(held_out).argmax(1) == data.test.labels
            yield 100 * float(right.float().mean())


def one(data: rf.Dataset, table: rf.ScoreTable, arm: str, seed: int) -> dict[str, object]:
    """What is known of one arm and seed: a line of the raw file."""
    assert data.train.stored is not None
    assert torch.equal(table.index, data.train.rows)
    wrong = data.train.stored != data.train.labels
    w, start = row_weights(arm, table, wrong, seed), time.perf_counter()
    each = [list(accuracies(data, w, seed, number)) for number in range(NETS)]
    return {
        "arm": arm,
        "seed": seed,
        "noise": NOISE,
        "rows": len(table),
        "wrong": float(wrong.double().mean()),
        "wrong_share": table.facts.get("wrong_share"),
        "epochs": list(EPOCHS),
        "accuracies": [list(nets) for nets in zip(*each, strict=True)],
        "weight_right": float(w[~wrong].mean()),
        "weight_wrong": float(w[wrong].mean()),
        "ess": effective_sample_size(w),
        "auc_score": float(roc_auc_score(wrong.numpy(), table.score.numpy())),
        "auc_loss": float(roc_auc_score(wrong.numpy(), table.loss.numpy())),
        "seconds": time.perf_counter() - start,
        "date": time.strftime("%Y-%m-%d"),
    }


def run(args: argparse.Namespace) -> None:
    """Append a line for every (seed, arm) that the file does not have yet."""
    prepare(1)
    data = rf.load("digits", noise=NOISE)
    for seed in range(args.seeds):
        done = {row["arm"] for row in read() if row["seed"] == seed}
        missing = [arm for arm in args.arms if arm not in done]
        table = rf.score(data, seed=seed) if missing else None
        for arm in missing:
            assert table is not None
            with RAW.open("a", encoding="utf-8") as file:
                file.write(json.dumps(one(data, table, arm, seed)) + "\n")
            print(f"seed {seed}, {arm}", flush=True)


def read() -> list[dict]:
    """The lines that there are."""
    return [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []


def tables() -> None:
    """Accuracy of each arm at both lengths, and the paired differences of it to none and to the weights by score."""
    rows = read()
    for place, epochs in enumerate(EPOCHS):
        by = {arm: {r["seed"]: fmean(r["accuracies"][place]) for r in rows if r["arm"] == arm} for arm in (*ARMS, CEILING)}
        print(f"\nAfter {epochs} epochs (points; n = {len(by['none'])} seeds, {NETS} networks each)\n")
        print("| weights | accuracy | minus none [95 %] | `score` minus it [95 %] | mean weight: right, wrong | ess |")
        print("|---|---|---|---|---|---|")
        for arm, values in by.items():
            if not values:
                continue
            mine = [r for r in rows if r["arm"] == arm]
            spread = f" ± {stdev(values.values()):.1f}" if len(values) > 1 else ""
            right, wrong, ess = (fmean(r[name] for r in mine) for name in ("weight_right", "weight_wrong", "ess"))
            print(
                f"| {arm} | {fmean(values.values()):.1f}{spread} | {difference(values, by['none'])} | "
                f"{difference(by['score'], values)} | {right:.2f}, {wrong:.2f} | {ess:.2f} |"
            )


def difference(a: dict[int, float], b: dict[int, float]) -> str:
    """The mean of a - b over the seeds of both, with its interval; nothing of an arm beside itself."""
    if a is b or not (seeds := a.keys() & b.keys()):
        return ""
    found = compare([a[seed] - b[seed] for seed in sorted(seeds)])
    interval = "" if found["low"] is None else f" [{found['low']:+.1f}, {found['high']:+.1f}]"
    return f"{found['difference']:+.1f}{interval}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("run")
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--arms", nargs="+", choices=(*ARMS, CEILING), default=[*ARMS, CEILING])
    kinds.add_parser("tables")
    args = parser.parse_args()
    run(args) if args.what == "run" else tables()


if __name__ == "__main__":
    main()
