"""Is influence what a weight does? Knowledge distillation on digits, beside the exact gradient of the run and retraining.

    python benchmarks/transfer_truth.py run [--cases .2:.1 0:.1 .2:.5 0:.5 --student convnet1:32 --seeds 5]       resumes
    python benchmarks/transfer_truth.py tables                                       into docs/results/kd-aif.md

A case P:V is symmetric label noise P and a validation split of the share V of the training rows, cut in two as a transfer does.
A run is a transfer of mechanism `kd` with its usual numbers (transfer/settings.py) on images as they are (no augmentation, so
that its steps can be run again): a teacher convnet1:128 trained on the same rows and labels, then the student. For the risk M
(cross-entropy) on the weighing half, the watching half and the test images, whose labels are right:

    exact     G_ej = dM(theta_T)/dw_ej, w_ej the weight of j in epoch e, through every step (influence/unrolled.py), and
              G_j, their sum over e
    phi       what a transfer weighs by (transfer/scoring.py): influence on the weighing half's risk, by each curvature; damping
              20 mean diagonal entries of the Gauss-Newton matrix, and of `ggn` 1 and .01 entries as well
    loss, adapt, teacher's loss     what costs forward passes alone

More weight on j is expected to harm where they are positive. Scores are taken at the end of every fifth epoch. Per
seed and score:

    spearman  with G over the instances: `end` the last score, `mean` of all of them, `next` the score at the end of epoch e
              with G_(e+1), meaned over e: what the weights of a transfer rely on
    auc       for wrong labels (mean score); `wrong`, `right`: their mean weights
    lds       Spearman over random halves S of sum_{j in S} score_j (mean score) with M of a student trained on S: `own` from
              the run's start in its batches with weights 2 and 0, `fresh` on the rows of S alone from other starts
    gain      a student trained with weights by the mean score (sigmoid, mean 1) less one with uniform weights from the
              same start: `own` the run's, `fresh` a mean of others; accuracy on test in points, the three risks
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from refluence.data import Dataset, SourceOptions, load
from refluence.data.dataset import Split
from refluence.data.truth import wrong
from refluence.evaluate.paired import compare
from refluence.influence import Trajectory, operator, parse_weighting, sgd, unrolled_influence, weights
from refluence.influence.losses import CrossEntropy, Loss
from refluence.influence.operators import mean_diagonal
from refluence.influence.risk import risk_gradient
from refluence.models.choose import network
from refluence.run.device import prepare
from refluence.seeds import Rng, streams
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import make
from refluence.transfer.arms import CENTRED, USUAL
from refluence.transfer.batches import Course, Instances
from refluence.transfer.halves import halves
from refluence.transfer.losses import StudentLoss
from refluence.transfer.scoring import Measure
from refluence.transfer.settings import CPU, Settings

RESULTS = Path(__file__).parents[1] / "docs" / "results"
RAW, DOCUMENT = RESULTS / "raw" / "transfer_truth.jsonl", RESULTS / "kd-aif.md"
TEACHER, EVERY, HALVES, FRESH = "convnet1:128", 5, 40, 2
SETTINGS = CPU.with_(augment=False)
CASE = ("noise", "share", "student", "batch", "lr")  # what tells rows apart that must not be averaged
KD, CE = StudentLoss(SETTINGS.loss, SETTINGS.alpha, SETTINGS.temperature), CrossEntropy()
# the kind of weights, the curvature, and its damping in mean diagonal entries where it is not the usual one
SCORES: dict[str, tuple[str, str, float | None]] = {
    **{f"phi, {kind}": ("influence", kind, None) for kind in ("identity", "ggn", "kfac", "ekfac", "lbfgs")},
    **{f"phi, ggn, damping {share:g}": ("influence", "ggn", share) for share in (1.0, 0.01)},
    **{kind: (kind, "identity", None) for kind in ("loss", "adapt")},
}
WEIGHED = (
    "phi, identity",
    "phi, ggn",
    "phi, ggn, damping 1",
    "loss",
    "adapt",
    "teacher's loss",
    "random",
    "wrong labels",
    "exact",
    "exact, test",
)
CENTRED_BY = ("loss", "adapt", "teacher's loss")  # no zero that means something
RISKS = ("weighing", "watching", "test")
CPU_ALONE = torch.device("cpu")
Targets = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rows:
    """Inputs `(N, C, H, W)` and targets."""

    x: Tensor
    y: Tensor | Targets


@dataclass(frozen=True)
class Problem:
    """Training instances with labels and the teacher's logits, where their labels are wrong, and what risks are measured on."""

    train: Rows
    labels: Tensor
    logits: Tensor
    wrong: Tensor | None
    risks: Mapping[str, Rows]
    weighing: Tensor
    dataset: Dataset
    settings: Settings


# training


def rows_of(dataset: Dataset, split: Split, positions: Tensor | None = None) -> Rows:
    """Images as a network sees them, with their labels."""
    positions = torch.arange(len(split)) if positions is None else positions
    return Rows(dataset.pixels(split, positions), split.labels[positions])


def take(rows: Rows, index: Tensor) -> Rows:
    return Rows(rows.x[index], rows.y[index] if isinstance(rows.y, Tensor) else (rows.y[0][index], rows.y[1][index]))


def of_run(rng: Rng, run: str) -> Rng:
    """The streams of a further run of a seed."""
    return lambda purpose, index: rng(f"{purpose} of {run}", index)


def train(
    net: nn.Module, rows: Rows, loss: Loss, rng: Rng, how: Settings, omega: Tensor | None = None, kept: Trajectory | None = None
) -> Iterator[nn.Module]:
    """Train `net` in place as a transfer does; it is yielded, in eval mode, at the end of every epoch.

    `kept` records the steps; the weight of instance j in epoch e is number e N + j.
    """
    course = Course(len(rows.x), how)
    optimiser = make(net, "sgd", how.lr, momentum=how.momentum, weight_decay=how.weight_decay, nesterov=True)
    ones = torch.ones(course.size)
    for epoch in range(how.epochs):

        def batches(epoch: int = epoch) -> Iterator[Batch[Tensor | Targets]]:
            for index in course.rows(0, rng("order", epoch)):
                part = take(rows, index)
                yield Batch(part.x, part.y, None if omega is None else omega[index], index)

        def seen(batch: Batch[Tensor | Targets], *_: Tensor, epoch: int = epoch) -> None:
            if kept is not None:
                own = epoch * len(rows.x) + batch.rows
                kept.record(net, (batch.x, batch.y), own, **sgd(optimiser), weights=ones, coefficients=1 / course.size)

        def rate(step: int, first: int = epoch * course.per_epoch) -> float:
            return course.rate(first + step)

        net.train()
        fit(net, optimiser, batches(), loss, schedule=rate, seen=seen)
        yield net.eval()


def trained(name: str, dataset: Dataset, rows: Rows, loss: Loss, rng: Rng, how: Settings, omega: Tensor | None) -> nn.Module:
    *_, net = train(begun(name, dataset, rng), rows, loss, rng, how, omega)
    return net


def begun(name: str, dataset: Dataset, rng: Rng) -> nn.Module:
    """A network at its start."""
    return network(name, dataset.shape, len(dataset.classes)).bare(rng("network", 0))


def problem(noise: float, share: float, rng: Rng, how: Settings) -> Problem:
    """The digits, some labels of train and validation wrong, cut as a transfer cuts them, and a teacher."""
    data = load("digits", SourceOptions(noise=f"symmetric:{noise}" if noise else None, val_fraction=share), per_class=1)
    weighing, watching = halves(data.val)
    own = rows_of(data, data.train)
    teacher = trained(TEACHER, data, own, CE, of_run(rng, "teacher"), how, None)
    with torch.no_grad():
        logits = teacher(own.x)
    cut = {"weighing": (data.val, weighing), "watching": (data.val, watching), "test": (data.test, None)}
    risks = {name: rows_of(data, *where) for name, where in cut.items()}
    labels = data.train.labels
    return Problem(Rows(own.x, (labels, logits)), labels, logits, wrong(data.train), risks, weighing, data, how)


@torch.no_grad()
def judged(net: nn.Module, risks: Mapping[str, Rows]) -> dict[str, float]:
    """Mean cross-entropy on each, and the test accuracy in percent."""
    found = {name: float(CE(net(of.x), of.y).double().mean()) for name, of in risks.items()}
    return found | {"accuracy": 100 * float((net(risks["test"].x).argmax(1) == risks["test"].y).double().mean())}


# scores


def scores_of(net: nn.Module, p: Problem, rng: Rng, epoch: int) -> dict[str, Tensor]:
    """What a transfer weighs by, of every training instance."""
    data = p.dataset
    every = Instances(data, data.train, torch.arange(len(data.train)), CPU_ALONE, p.logits)
    validation = Instances(data, data.val, p.weighing, CPU_ALONE)
    chosen = every.take(torch.randperm(len(data.train), generator=rng("curvature", epoch))[: p.settings.fit].sort().values)
    entry, found = mean_diagonal(operator(net, chosen, loss=KD, damping=0.0)), {}
    for name, (kind, curvature, share) in SCORES.items():
        how = p.settings.with_(curvature=curvature, damping="auto" if share is None else share * entry)
        found[name] = Measure(net, KD, kind, how, len(data.classes))(every, validation, chosen).value.double()
    return found


@dataclass(frozen=True)
class Recorded:
    """Of one run: ends of epochs that have scores, scores `(ends, N)`, exact gradients `(epochs, N)` by risk, the student."""

    ends: list[int]
    scores: dict[str, Tensor]
    exact: dict[str, Tensor]
    net: nn.Module


def recorded(p: Problem, student: str, rng: Rng, scored: bool = True) -> Recorded:
    """The KD run, its scores as it goes, and the exact gradients by one sweep a risk."""
    net, how = begun(student, p.dataset, rng), p.settings
    kept, scores = Trajectory(how.epochs * len(p.labels)), dict[int, dict[str, Tensor]]()
    for epoch, now in enumerate(train(net, p.train, KD, rng, how, kept=kept)):
        if scored and epoch % EVERY == EVERY - 1:
            scores[epoch] = scores_of(now, p, rng, epoch)
    exact = {}
    for name, of in (p.risks if scored else {"weighing": p.risks["weighing"]}).items():
        q, _ = risk_gradient(net, [(of.x, of.y)], CE)
        net.train()
        exact[name] = unrolled_influence(net, kept, {len(kept): q}, loss=KD).view(how.epochs, -1)
        net.eval()
    ends = list(scores)
    return Recorded(ends, {k: torch.stack([scores[e][k] for e in ends]) for k in SCORES if ends}, exact, net)


def spearman(a: Tensor, b: Tensor) -> float:
    """0 where one of them is constant."""
    if bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return 0.0
    return float(spearmanr(a.numpy(), b.numpy()).statistic)


def correlations(scores: Tensor, ends: list[int], exact: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """`end`, `mean` and `next` of scores `(ends, N)`, by risk."""
    found: dict[str, dict[str, float]] = {"end": {}, "mean": {}, "next": {}}
    for name, G in exact.items():
        found["end"][name] = spearman(scores[-1], G.sum(0))
        found["mean"][name] = spearman(scores.mean(0), G.sum(0))
        following = [(now, G[end + 1]) for now, end in zip(scores, ends, strict=True) if end + 1 < len(G)]
        found["next"][name] = fmean(spearman(now[G != 0], G[G != 0]) for now, G in following)  # 0: left out of that epoch
    return found


# retraining


def retrained(p: Problem, student: str, rng: Rng, omega: Tensor | None = None, index: Tensor | None = None) -> dict[str, float]:
    """What `judged` says of a student with weights, or of some rows alone."""
    rows = p.train if index is None else take(p.train, index)
    return judged(trained(student, p.dataset, rows, KD, rng, p.settings, omega), p.risks)


def on_halves(p: Problem, student: str, rng: Rng) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Masks `(HALVES, N)`, and the risks `(HALVES,)` of students trained on them, by `own` and `fresh` and risk."""
    n, masks, truth = len(p.labels), [], {"own": list[dict[str, float]](), "fresh": list[dict[str, float]]()}
    for number in range(HALVES):
        index = torch.randperm(n, generator=rng("half", number))[: n // 2].sort().values
        masks.append(torch.zeros(n, dtype=torch.float64).index_fill_(0, index, 1.0))
        truth["own"].append(retrained(p, student, rng, 2 * masks[-1].float()))
        several = [retrained(p, student, of_run(rng, f"half {number} start {i}"), index=index) for i in range(FRESH)]
        truth["fresh"].append({name: fmean(each[name] for each in several) for name in RISKS})
    risks = {how: {k: torch.tensor([r[k] for r in each], dtype=torch.float64) for k in RISKS} for how, each in truth.items()}
    return torch.stack(masks), risks


def starts(rng: Rng) -> list[Rng]:
    """The run's own start, and others."""
    return [rng, *(of_run(rng, f"start {i}") for i in range(FRESH))]


def gains(p: Problem, student: str, rng: Rng, omega: Tensor, plain: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Weighted less uniform, from the same starts."""
    each = [retrained(p, student, own, omega) for own in starts(rng)]
    less = [{k: mine[k] - base[k] for k in mine} for mine, base in zip(each, plain, strict=True)]
    return {"own": less[0], "fresh": {k: fmean(row[k] for row in less[1:]) for k in less[0]}}


# a seed


def one(noise: float, share: float, student: str, seed: int, how: Settings = SETTINGS) -> Iterator[dict]:
    """A row for every score."""
    rng = streams(seed)
    p = problem(noise, share, rng, how)
    run, again = recorded(p, student, rng), recorded(p, student, of_run(rng, "another"), scored=False)
    masks, risks = on_halves(p, student, rng)
    plain = [retrained(p, student, own) for own in starts(rng)]
    with torch.no_grad():
        fixed = {"teacher's loss": CE(p.logits, p.labels).double(), "random": _random(len(p.labels), rng)}
    fixed |= {} if p.wrong is None else {"wrong labels": p.wrong.double()}
    scores = run.scores | {name: each.expand(len(run.ends), -1) for name, each in fixed.items()}
    whole = {"exact": run.exact["weighing"], "exact, another run": again.exact["weighing"], "exact, test": run.exact["test"]}
    scores |= {name: G.sum(0).expand(len(run.ends), -1) for name, G in whole.items()}
    about = {"noise": noise, "share": share, "student": student, "teacher": TEACHER, "seed": seed}
    about |= {"batch": how.batch, "lr": how.lr}
    about |= {"rows": len(p.labels), "weighing": len(p.weighing), "epochs": how.epochs, "uniform": judged(run.net, p.risks)}
    for name, each in scores.items():
        mean = each.mean(0)
        omega = weights(mean.float(), parse_weighting("influence", CENTRED if name in CENTRED_BY else USUAL))
        row = {"score": name, "spearman": correlations(each, run.ends, run.exact)}
        if p.wrong is not None:
            row |= {"auc": float(roc_auc_score(p.wrong.numpy(), mean.numpy()))}
            row |= {"wrong": float(omega[p.wrong].mean()), "right": float(omega[~p.wrong].mean())}
        row["lds"] = {how: {k: spearman(masks @ mean, t) for k, t in of.items()} for how, of in risks.items()}
        if name in WEIGHED:
            row["gain"] = gains(p, student, rng, omega / omega.mean(), plain)
        yield about | row


def _random(n: int, rng: Rng) -> Tensor:
    return torch.randn(n, generator=rng("random", 0)).double()


# command line


def read(path: Path = RAW) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


Look = tuple[str, ...]
CORRELATED: dict[str, Look] = {
    "run: weighing": ("spearman", "mean", "weighing"),
    "run: watching": ("spearman", "mean", "watching"),
    "run: test": ("spearman", "mean", "test"),
    "next: weighing": ("spearman", "next", "weighing"),
    "next: test": ("spearman", "next", "test"),
    "AUC": ("auc",),
    "LDS: weighing": ("lds", "own", "weighing"),
    "LDS: test": ("lds", "own", "test"),
    "LDS, fresh: test": ("lds", "fresh", "test"),
}
GAINED: dict[str, Look] = {
    "accuracy": ("gain", "own", "accuracy"),
    "accuracy, fresh": ("gain", "fresh", "accuracy"),
    "risk: weighing": ("gain", "own", "weighing"),
    "risk: watching": ("gain", "own", "watching"),
    "risk: test": ("gain", "own", "test"),
    "weight, wrong": ("wrong",),
    "weight, right": ("right",),
}


def write(document: Path = DOCUMENT, path: Path = RAW) -> None:
    """Put claims and tables of the rows between the marks of the document."""
    rows, text = read(path), document.read_text(encoding="utf-8")
    for name, made in (("claims", claims(rows)), ("tables", tables(rows))):
        marked = re.compile(rf"(<!-- transfer_truth: {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        text = marked.sub(lambda found, made=made: f"{found[1]}{made}\n", text)
    document.write_text(text, encoding="utf-8")


def claims(rows: list[dict]) -> str:
    """What the paper says or needs, what was seen, and of how many seeds, a line each."""
    few, many, clean = (_case(rows, *case) for case in ((0.2, 0.1), (0.2, 0.5), (0.0, 0.1)))
    lines = ["| claim | what was seen on digits | n |", "|---|---|---|"]
    for claim, found, own in (
        (
            "φ is how the validation risk changes with an instance's weight",
            "Spearman with the exact gradient, on the rows that φ is made from, a fifth of the labels wrong: "
            + _several(few, ("phi, identity", "phi, kfac", "phi, ekfac", "phi, ggn", "phi, ggn, damping 1"), "run: weighing")
            + f"; with right labels (n = {len({r['seed'] for r in clean})}) "
            + _several(clean, ("phi, identity", "phi, ggn", "phi, ggn, damping 1"), "run: weighing"),
            few,
        ),
        (
            "so weights by φ lower the risk on other rows",
            "with the gradient on the watching half: "
            + _several(few, ("phi, identity", "phi, ggn", "exact"), "run: watching")
            + "; on test: "
            + _several(few, ("phi, identity", "phi, ggn", "exact", "teacher's loss"), "run: test"),
            few,
        ),
        (
            "more validation rows make better weights",
            "on test: " + _several(many, ("phi, identity", "phi, ggn", "phi, ggn, damping 1", "exact"), "run: test"),
            many,
        ),
        (
            "wrong labels get positive φ and weigh less than 1",
            "mean weights of wrong labels (the link's own values, whose mean over all is not 1) "
            + _several(few, ("phi, identity", "phi, ggn"), "weight, wrong")
            + ", of right ones "
            + _several(few, ("phi, identity", "phi, ggn"), "weight, right")
            + "; AUC "
            + _several(few, ("phi, identity", "phi, ggn", "loss", "teacher's loss", "exact, test"), "AUC"),
            few,
        ),
        (
            "weights help",
            "accuracy in points over none, same start: "
            + _several(few, ("phi, identity", "phi, ggn", "loss", "random", "wrong labels", "exact", "exact, test"), "accuracy")
            + "; test risk in nats: "
            + _several(few, ("phi, identity", "phi, ggn", "teacher's loss", "wrong labels", "exact, test"), "risk: test", 3),
            few,
        ),
    ):
        lines += [f"| {claim} | {found} | {len({r['seed'] for r in own})} |"] if own else []
    return "\n".join(lines)


def _case(rows: list[dict], noise: float, share: float) -> list[dict]:
    """The rows of a case, of the batch and rate that were taken last."""
    own = [r for r in rows if (r["noise"], r["share"]) == (noise, share)]
    return [r for r in own if all(r[k] == own[-1][k] for k in CASE)]


def _several(rows: list[dict], scores: tuple[str, ...], column: str, digits: int = 2) -> str:
    look = {**CORRELATED, **GAINED}[column]
    found = {score: _cell([_at(r, look) for r in rows if r["score"] == score], digits) for score in scores}
    return ", ".join(f"{score} {cell}" for score, cell in found.items())


def tables(rows: list[dict]) -> str:
    """Two tables a case: how scores agree with the truth, and what weights by them change."""
    parts = []
    for case in dict.fromkeys(tuple(r[k] for k in CASE) for r in rows):
        own = [r for r in rows if tuple(r[k] for k in CASE) == case]
        noise, share, student, batch, lr = case
        parts.append(
            f"\n**Noise {noise:g}; {own[0]['weighing']} rows make φ ({share:g} of the training rows are held out, in halves); "
            f"{student}; batch {batch}, rate {lr:g}; n = {len({r['seed'] for r in own})}**\n"
        )
        parts += [_table(own, CORRELATED, 2), "", _table([r for r in own if "gain" in r], GAINED, 3)]
    return "\n".join(parts)


def _table(rows: list[dict], columns: Mapping[str, Look], digits: int) -> str:
    """A line for each score: means over seeds, 95 % intervals."""
    kept = {name: look for name, look in columns.items() if any(_at(r, look) is not None for r in rows)}
    lines = ["| score | " + " | ".join(kept) + " |", "|---" * (len(kept) + 1) + "|"]
    for score in dict.fromkeys(r["score"] for r in rows):
        own = [r for r in rows if r["score"] == score]
        lines.append("| " + " | ".join([score, *(_cell([_at(r, look) for r in own], digits) for look in kept.values())]) + " |")
    return "\n".join(lines)


def _at(row: dict, look: Look) -> float | None:
    for key in look:
        row = row.get(key)
        if row is None:
            return None
    return row


def _cell(values: list[float | None], digits: int) -> str:
    found = compare([v for v in values if v is not None])
    if found["difference"] is None:
        return ""
    wide = "" if found["smallest_shown"] is None else f" ± {found['smallest_shown']:.{digits}f}"
    return f"{found['difference']:.{digits}f}{wide}"


def run(args: argparse.Namespace) -> None:
    """Append the rows of every case and seed that the file does not have yet."""
    prepare(1)
    how = SETTINGS.with_(batch=args.batch, lr=args.lr)
    for seed in range(args.first, args.first + args.seeds):
        for case in args.cases:
            noise, share = map(float, case.split(":"))
            if (noise, share, args.student, how.batch, how.lr, seed) in {
                tuple(r[k] for k in (*CASE, "seed")) for r in read(args.out)
            }:
                continue
            begin, rows = time.perf_counter(), list(one(noise, share, args.student, seed, how))
            with args.out.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row | {"date": time.strftime("%Y-%m-%d")}) + "\n" for row in rows)
            print(f"{case}, {args.student}, seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("run")
    ask.add_argument("--cases", nargs="+", default=[".2:.1", "0:.1", ".2:.5", "0:.5"], metavar="NOISE:SHARE")
    ask.add_argument("--student", default="convnet1:32")
    ask.add_argument("--out", type=Path, default=RAW)
    for name, default in (("--seeds", 5), ("--first", 0), ("--batch", SETTINGS.batch), ("--lr", SETTINGS.lr)):
        ask.add_argument(name, type=type(default), default=default)
    kinds.add_parser("tables")
    args = parser.parse_args()
    run(args) if args.what == "run" else write()


if __name__ == "__main__":
    main()
