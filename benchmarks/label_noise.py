"""Finding wrong labels: human noise of CIFAR-10N, influence on held-out risk beside what cleaning tools use.

    python benchmarks/label_noise.py run --data CIFAR10 --noise CIFAR10N/train.parquet [--seeds 3 --rows 6000]
    python benchmarks/label_noise.py tables

A seed draws `rows` training images and 1,000 validation images, deals the rows into five folds and trains a network a fold
(refluence.score.crossfit, its default numbers) and one on all rows. Truth: where the human label differs from the original
one; only the AUC looks at it. All scores of a seed and setting come from the same networks; a higher score says "wrong label":

    noisy   the validation labels are as noisy as those of the rows (primary)
    clean   the validation labels are the original ones; the networks of the baselines may train on those 1,000 images too

influence (both) is its default score, influence (implicit) KD-AIF's phi alone; "mean of all networks" is
`networks="all"`, where four of the five that score a row were trained on it. Baselines: out-of-fold loss (which is
the explicit term's order), out-of-fold margin of the logits, cleanlab's label quality by normalised margin of probabilities
with confident learning's class thresholds and by confidence-weighted entropy, loss at a third of the epochs of a network
trained on the rows themselves, its last loss, the loss as a mean of all five networks, and self-influence (TracIn at its last
checkpoint, identity metric).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from refluence.data import Dataset, SourceOptions, load
from refluence.data.dataset import Split
from refluence.evaluate.paired import compare
from refluence.influence.validation import self_influence
from refluence.models import ModelSpec, build
from refluence.run.device import prepare
from refluence.score.folds import assign
from refluence.score.instances import Rows, score_rows
from refluence.score.settings import CrossFit
from refluence.score.train import train_epochs
from refluence.seeds import streams

COLUMNS = ("aggre_label", "random_label1")
VALIDATION, ALL_ROWS = 1000, 99  # images; the "fold" of the network that is trained on every row
OURS = ("influence (both), mean of all networks", "influence (both)")
RAW = Path(__file__).parents[1] / "docs" / "results" / "raw" / "label_noise.jsonl"


def problem(data: str, noise: str, column: str, rows: int, seed: int) -> tuple[Dataset, Dataset, Tensor]:
    """The noisy dataset, the same with original validation labels, and where the rows' labels are wrong `(rows,)`."""
    whole = load(data, SourceOptions(labels=f"{noise}:{column}"), per_class=1)
    original = torch.tensor(pq.read_table(noise, columns=["clean_label"])["clean_label"].to_numpy())
    rng = streams(seed)

    def draw(split: Split, count: int, purpose: str) -> Split:
        chosen = torch.randperm(len(split), generator=rng(purpose, 0))[:count].sort().values
        return Split(split.images[chosen], split.labels[chosen], split.rows[chosen])

    train, val = draw(whole.train, rows, "noise-rows"), draw(whole.val, VALIDATION, "noise-validation")
    noisy = replace(whole, train=train, val=val)
    clean = replace(noisy, val=replace(val, labels=original[val.rows]))
    return noisy, clean, train.labels != original[train.rows]


def networks(dataset: Dataset, fold_of: Tensor, fold: int, settings: CrossFit, rng, width: int):
    """Train the network of a fold and yield it, in eval mode, at the end of every epoch. `fold` ALL_ROWS leaves none out."""
    spec = ModelSpec("convnet", dataset.shape, len(dataset.classes), width=width)
    net = build(spec, rng("network", fold))
    for epoch in train_epochs(net, dataset, (fold_of != fold).nonzero().flatten(), settings, rng, fold, "cpu"):
        yield epoch, net.eval()
        net.train()


@torch.no_grad()
def logits(net: nn.Module, dataset: Dataset, positions: Tensor) -> Tensor:
    return torch.cat([net(x) for x, _ in Rows(dataset, dataset.train, positions)])


def out_of_fold(z: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Scores of rows by out-of-fold logits `(N, K)`; a higher one says that the label `(N,)` is wrong."""
    others = z.scatter(1, y[:, None], -torch.inf).max(1).values
    found = {
        "out-of-fold loss": F.cross_entropy(z, y, reduction="none"),
        "out-of-fold margin": others - z.gather(1, y[:, None])[:, 0],
    }
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab is not installed: left out (pip install cleanlab)")
        return found
    p = torch.softmax(z.double(), 1).numpy()
    for name, method, adjust in (
        ("cleanlab: confident learning, normalised margin", "normalized_margin", True),
        ("cleanlab: confident learning, self-confidence", "self_confidence", True),
        ("cleanlab: confidence-weighted entropy", "confidence_weighted_entropy", False),
    ):
        quality = get_label_quality_scores(y.numpy(), p, method=method, adjust_pred_probs=adjust)
        found[name] = -torch.from_numpy(quality)
    return found


def averaged(z: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The same scores, and the explicit term of influence, as means over all networks: logits `(N, networks, K)`."""
    n, count, _ = z.shape
    losses = F.cross_entropy(z.flatten(0, 1), y.repeat_interleave(count), reduction="none").view(n, count)
    own = 1 - torch.softmax(z, 2).gather(2, y[:, None, None].expand(-1, count, 1))[:, :, 0]
    found = {"loss": losses.mean(1), "influence (explicit)": own.mean(1)}
    of_mean = out_of_fold(torch.softmax(z, 2).mean(1).log(), y)
    found |= {name.replace("out-of-fold ", ""): score for name, score in of_mean.items() if name != "out-of-fold loss"}
    return {f"{name}, mean of all networks": score for name, score in found.items()}


def every_network(dataset: Dataset, rows: int, fold_of: Tensor, settings: CrossFit, rng, width: int) -> Tensor:
    """Logits `(rows, folds, K)` of the first rows of `dataset` by the trained network of each fold."""
    z = torch.zeros(rows, settings.folds, len(dataset.classes))
    for fold in range(settings.folds):
        *_, (_, net) = networks(dataset, fold_of, fold, settings, rng, width)
        z[:, fold] = logits(net.eval(), dataset, torch.arange(rows))
    return z


def one(noisy: Dataset, clean: Dataset, settings: CrossFit, seed: int, width: int) -> dict[str, dict[str, Tensor]]:
    """setting -> method -> scores `(N,)`."""
    rng, n = streams(seed), len(noisy.train)
    fold_of = assign(noisy.train.labels, settings.folds, rng("folds", 0))
    every, y = torch.arange(n), noisy.train.labels
    z = torch.zeros(n, settings.folds, len(noisy.classes))  # logits of every row by every network
    phi = {name: torch.zeros(n, settings.folds) for name in ("noisy", "clean")}
    for fold in range(settings.folds):
        *_, (_, net) = networks(noisy, fold_of, fold, settings, rng, width)
        net.eval()
        z[:, fold] = logits(net, noisy, every)
        members, alone = (fold_of != fold).nonzero().flatten(), replace(settings, terms="implicit")
        for name, dataset in (("noisy", noisy), ("clean", clean)):
            scored = score_rows(net, dataset, every, members, alone, rng("curvature", fold), "cpu")
            phi[name][:, fold] = scored.score
            alone = replace(
                alone, curvature=replace(alone.curvature, damping=scored.damping)
            )  # the same network's: measured once
    own = 1 - torch.softmax(z, 2).gather(2, y[:, None, None].expand(-1, settings.folds, 1))[:, :, 0]
    held = (every, fold_of)
    explicit = torch.zeros(n)
    for fold in range(settings.folds):
        explicit[fold_of == fold] = own[fold_of == fold, fold] - own[fold_of == fold, fold].mean()
    found: dict[str, dict[str, Tensor]] = {}
    for name, each in phi.items():
        found[name] = {
            "influence (both)": explicit + each[held],
            "influence (implicit)": each[held],
            "influence (both), mean of all networks": (own + each).mean(1),
            "influence (implicit), mean of all networks": each.mean(1),
        }
    found["noisy"] |= out_of_fold(z[held], y) | averaged(z, y)
    for epoch, net in networks(noisy, fold_of, ALL_ROWS, settings, rng, width):
        if epoch + 1 in (settings.epochs // 3, settings.epochs):
            each = F.cross_entropy(logits(net, noisy, every), y, reduction="none")
            found["noisy"]["early-epoch loss" if epoch + 1 < settings.epochs else "loss of a network trained on the row"] = each
    found["noisy"]["self-influence"] = self_influence(net, Rows(noisy, noisy.train, every))
    return found


def with_clean_images(noisy: Dataset, clean: Dataset, settings: CrossFit, seed: int, width: int) -> dict[str, Tensor]:
    """The baselines of the setting `clean`: by networks that were trained on the images with original labels too."""
    rng, n = streams(seed), len(noisy.train)
    fold_of = assign(noisy.train.labels, settings.folds, rng("folds", 0))
    more = torch.full((len(clean.val),), ALL_ROWS + 1)
    joined = Split(*(torch.cat([getattr(s, name) for s in (noisy.train, clean.val)]) for name in ("images", "labels", "rows")))
    z = every_network(replace(noisy, train=joined), n, torch.cat([fold_of, more]), settings, rng, width)
    return out_of_fold(z[torch.arange(n), fold_of], noisy.train.labels) | averaged(z, noisy.train.labels)


def run(args: argparse.Namespace) -> None:
    """Append a row for every (column, seed, setting, method) that the file does not have yet."""
    prepare(args.threads)
    settings = CrossFit()
    for seed in range(args.first, args.first + args.seeds):
        for column in args.columns:
            noisy, clean, wrong = problem(args.data, args.noise, column, args.rows, seed)
            about = {"column": column, "seed": seed, "rows": len(noisy.train), "wrong": float(wrong.double().mean())}
            about |= {"width": args.width, "settings": asdict(settings), "date": time.strftime("%Y-%m-%d")}
            done = {(r["setting"], r["method"]) for r in read() if (r["column"], r["seed"]) == (column, seed)}
            start = time.perf_counter()
            if not {("noisy", OURS[0]), ("clean", OURS[0])} <= done:
                found = one(noisy, clean, settings, seed, args.width)
                write([about | auc(k, name, s, wrong) for k in found for name, s in found[k].items() if (k, name) not in done])
            if args.clean and ("clean", "out-of-fold loss") not in done:
                found = with_clean_images(noisy, clean, settings, seed, args.width)
                write([about | auc("clean", name, scores, wrong) for name, scores in found.items()])
            print(f"{column}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)


def auc(setting: str, method: str, scores: Tensor, wrong: Tensor) -> dict:
    return {"setting": setting, "method": method, "auc": float(roc_auc_score(wrong.numpy(), scores.numpy()))}


def read() -> list[dict]:
    return [json.loads(line) for line in RAW.read_text(encoding="utf-8").splitlines()] if RAW.exists() else []


def write(rows: list[dict]) -> None:
    with RAW.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def tables() -> None:
    """Mean AUC over seeds, and the paired difference of the two influence scores to each other method."""
    rows = read()
    for column, setting in sorted({(r["column"], r["setting"]) for r in rows}, key=lambda k: (k[1] != "noisy", k[0])):
        mine = [r for r in rows if (r["column"], r["setting"]) == (column, setting)]
        by = {m: {r["seed"]: r["auc"] for r in mine if r["method"] == m} for m in dict.fromkeys(r["method"] for r in mine)}
        wrong = 100 * sum(r["wrong"] for r in mine) / len(mine)
        print(f"\n{column}, validation labels {setting} ({wrong:.1f} % wrong, n = {len(by[OURS[0]])} seeds)\n")
        print("| score | AUC | all networks minus it [95 %] | held-out minus it [95 %] |\n|---|---|---|---|")
        for method, values in sorted(by.items(), key=lambda item: -sum(item[1].values()) / len(item[1])):
            mean = sum(values.values()) / len(values)
            told = [_difference([by[our][s] - values[s] for s in values]) if our != method else "" for our in OURS]
            print(f"| {method} | {mean:.4f} | {told[0]} | {told[1]} |")


def _difference(each: list[float]) -> str:
    found = compare(each)
    interval = "" if found.get("low") is None else f" [{found['low']:+.4f}, {found['high']:+.4f}]"
    return f"{found['difference']:+.4f}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("run")
    ask.add_argument("--data", required=True)
    ask.add_argument("--noise", required=True)
    ask.add_argument("--columns", nargs="+", default=list(COLUMNS), choices=COLUMNS)
    for name, default in (("--seeds", 3), ("--first", 0), ("--rows", 6000), ("--width", 32), ("--threads", 1)):
        ask.add_argument(name, type=int, default=default)
    ask.add_argument("--clean", action="store_true", help="also train the baselines with the clean validation images")
    kinds.add_parser("tables")
    args = parser.parse_args()
    run(args) if args.what == "run" else tables()


if __name__ == "__main__":
    main()
