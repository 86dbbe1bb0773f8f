"""Linear datamodeling score of Refluence's influence on MNIST, in the setting of dattri's benchmark (Deng et al. 2024).

    python benchmarks/lds.py train  --data FOLDER [--cache FOLDER] [--nets lr mlp]   retrains; resumes
    python benchmarks/lds.py score  --data FOLDER [--cache FOLDER] [--nets lr mlp]   -> docs/results/raw/lds.jsonl; resumes
    python benchmarks/lds.py check  --data FOLDER [--cache FOLDER] [--nets lr mlp]   the same from inverse_product, one network
    python benchmarks/lds.py tables                                                  Markdown tables of lds.jsonl

LDS of a test image z (Park et al. 2023, arXiv 2303.14186): train on random halves S of the training set, and take Spearman's
correlation over the S of sum_{j in S} I_j(z) with the loss at z of the network trained on S; then the mean over z.
I_j(z) = dl(z)/dw_j = -<H^-1 grad l(z), grad l_j>: what raises the loss is positive in both, no sign is turned.

The setting is that of github.com/TRAIS-Lab/dattri (dattri/benchmark/datasets/mnist, models/mlp, dattri/model_util/retrain.py,
dattri/script/dattri_retrain.py; facts only): images 0..4999 of train and 0..499 of test, (x - .1307)/.3081; 50 halves, one run
each, from an initialisation of its own; cross-entropy, SGD, no weight decay. "lr": one linear layer, lr .01, batch 32, 20
epochs. "mlp": 784-128-64-10, ReLU, dropout .1 after both hidden layers, lr .01, momentum .9, batch 64, 50 epochs. Dampings
and the way to average are chosen on test images 500..999 of the same networks, not on those that are reported.

One decomposition of the Gauss-Newton matrix C (lds_basis.py) serves every damping:  ggn: f(C) with f = 1/(sigma + lambda);
stopped: f = (1 - e^(-tau sigma))/sigma with tau = steps * lr/(1 - momentum), gradient flow from a start that is not forgotten
(Bae et al. 2024, arXiv 2405.12186, with one segment), no damping to choose. Of the MLP, C is cut to the 3,000 largest of the
50,000 vectors that make it up; `check` says what that changes. K-FAC and EK-FAC are the library's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from lds_basis import dual, loss_gradients, margins, primal, products, summed
from safetensors.torch import load_file, save_file
from scipy.stats import rankdata
from scipy.stats import t as student
from torch import Tensor, nn

from refluence.data import load
from refluence.influence.capture import capture
from refluence.influence.curvature import Curvature, inverse_product, operator
from refluence.influence.kfac import factored
from refluence.models.initialise import initialise
from refluence.seeds import streams

RAW = Path(__file__).parents[1] / "docs" / "results" / "raw" / "lds.jsonl"
TRAIN, TEST, VALIDATION, SUBSETS = 5000, slice(0, 500), slice(500, 1000), 50
SEEDS, ENSEMBLE, CHECKPOINTS = 3, 10, 10
SIZES, HALVES = (1, 5, 10), 5  # networks whose scores are averaged; trained on halves, a seed of this many
MEAN, STD = 0.1307, 0.3081
DAMPINGS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]


@dataclass(frozen=True)
class Setting:
    """Widths of the linear layers and how they are trained."""

    widths: tuple[int, ...]
    batch: int
    epochs: int
    momentum: float = 0.0
    dropout: float = 0.0
    lr: float = 0.01


SETTINGS = {"lr": Setting((784, 10), 32, 20), "mlp": Setting((784, 128, 64, 10), 64, 50, momentum=0.9, dropout=0.1)}
RUNS = {"truth": SUBSETS, "again": SUBSETS, "full": SEEDS * ENSEMBLE, "half": SEEDS * HALVES}  # what is trained, and how often


# data and training


Data = tuple[Tensor, Tensor, Tensor, Tensor]


def mnist(source: str) -> Data:
    """Training images `(5000, 784)` and labels, test images `(1000, 784)` and labels, in the order of the stored splits."""
    d = load(source)
    images, labels = torch.cat([d.train.images, d.val.images]), torch.cat([d.train.labels, d.val.labels])
    order = torch.cat([d.train.rows, d.val.rows]).argsort()[:TRAIN]
    ours, theirs = images[order], d.test.images[: VALIDATION.stop]
    flat = [(x.float().div(255).sub(MEAN) / STD).flatten(1) for x in (ours, theirs)]
    return flat[0], labels[order], flat[1], d.test.labels[: VALIDATION.stop]


def network(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def half(purpose: str, index: int) -> Tensor:
    """The half of the training set that run `index` of "truth" (and "again") or of "half" sees."""
    return torch.randperm(TRAIN, generator=streams(0)(f"half of {purpose}", index))[: TRAIN // 2]


def train(setting: Setting, x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[nn.Sequential]:
    """The network at CHECKPOINTS evenly spaced epochs; the last one is the trained network."""
    net = initialise(network(setting.widths), generator)
    optimiser = torch.optim.SGD(net.parameters(), setting.lr, setting.momentum, fused=True)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for epoch in range(setting.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(setting.batch):
            h = linear[0](x[rows])
            for layer in linear[1:]:
                keep = torch.rand(h.shape, generator=generator) >= setting.dropout
                h = layer(h.relu() * keep / (1 - setting.dropout))
            optimiser.zero_grad()
            F.cross_entropy(h, y[rows]).backward()
            optimiser.step()
        if (epoch + 1) % (setting.epochs // CHECKPOINTS) == 0:
            yield net


def train_all(name: str, cache: Path, x: Tensor, y: Tensor) -> None:
    for purpose, count in RUNS.items():
        for index in range(count):
            file = cache / name / f"{purpose}-{index}.safetensors"
            if file.exists():
                continue
            rows = slice(None) if purpose == "full" else half("half" if purpose == "half" else "truth", index)
            seen = train(SETTINGS[name], x[rows], y[rows], streams(0)(f"{name} {purpose}", index))
            states = [{k: v.clone() for k, v in net.state_dict().items()} for net in seen]
            kept = range(CHECKPOINTS) if purpose == "full" else [CHECKPOINTS - 1]
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({f"{i}/{k}": v for i in kept for k, v in states[i].items()}, file.with_suffix(".part"))
            os.replace(file.with_suffix(".part"), file)


def trained(cache: Path, name: str, purpose: str, index: int, checkpoint: int = CHECKPOINTS - 1) -> nn.Sequential:
    net = network(SETTINGS[name].widths)
    state = load_file(cache / name / f"{purpose}-{index}.safetensors")
    net.load_state_dict({k.split("/")[1]: v for k, v in state.items() if k.startswith(f"{checkpoint}/")})
    return net.eval().requires_grad_(False)


# predictions: sum over j in S of I_j(z), `(subsets, images)`, for every method


def predictions(cache: Path, name: str, purpose: str, index: int, data: Data, masks: Tensor) -> dict[str, Tensor]:
    """`masks` `(subsets, 5000)`. I_j is linear in g_j and C symmetric: what is solved for is the sum of the g_j of a subset."""
    x, y, x_test, y_test = data
    setting, start = SETTINGS[name], time.process_time()
    net = trained(cache, name, purpose, index)
    c = (primal if len(setting.widths) == 2 else dual)(net, x)
    theirs, subsets = loss_gradients(net, x_test, y_test), summed(loss_gradients(net, x, y), masks.T)
    plain, left, right = products(theirs, subsets).T, c.of_vectors(subsets).T, c.of_gradients(theirs)
    rest = plain - left @ right
    seen = len(x) if purpose == "full" else len(x) // 2
    tau = setting.epochs * math.ceil(seen / setting.batch) * setting.lr / (1 - setting.momentum)
    flow = (-torch.expm1(-tau * c.sigma.double()) / c.sigma).float()
    out = {"dot": -plain, "stopped": -(tau * rest + (left * flow) @ right)}
    out |= {f"ggn {d:g}": -(rest / d + (left / (c.sigma + d)) @ right) for d in DAMPINGS}
    if purpose == "full":
        at = [trained(cache, name, purpose, index, checkpoint) for checkpoint in range(CHECKPOINTS)]
        pairs = [(loss_gradients(n, x_test, y_test), summed(loss_gradients(n, x, y), masks.T)) for n in at]
        out["tracin"] = -setting.lr * sum(products(t, v).T for t, v in pairs)
    if purpose == "full" and index % ENSEMBLE == 0:
        out |= kronecker(net, data, masks)
    out |= {"margin": margins(net, x_test, y_test).float(), "share": torch.tensor(c.share)}
    return out | {"seconds": torch.tensor(time.process_time() - start)}


def kronecker(net: nn.Sequential, data: Data, masks: Tensor) -> dict[str, Tensor]:
    """K-FAC and EK-FAC of the library."""
    x, y, x_test, y_test = data
    net.requires_grad_(True)
    ours, theirs = capture(net, x, y), capture(net, x_test, y_test)
    sums = [{k: v * len(x) for k, v in ours.gradient(mask).items()} for mask in masks]
    out = {}
    for kind, d in [(kind, d) for kind in ("kfac", "ekfac") for d in DAMPINGS[::2]]:
        inverse = factored(operator(net, [(x, y)], "ggn", damping=d), corrected=kind == "ekfac")
        out[f"{kind} {d:g}"] = torch.stack([-theirs.scores(inverse(g)) for g in sums])
    return out


def check(cache: Path, name: str, data: Data, damping: float) -> dict:
    """The library's conjugate gradients (its default tolerance) in the place of the decomposition, for one network."""
    x, y, x_test, y_test = data
    net = trained(cache, name, "full", 0).requires_grad_(True)
    ours, theirs = capture(net, x, y), capture(net, x_test, y_test)
    found, how, start = [], Curvature("ggn", damping=damping), time.process_time()
    for mask in truth_masks():
        v = {k: g * len(x) for k, g in ours.gradient(mask).items()}
        found.append(inverse_product(net, [(x, y)], v, how))
    exact = torch.stack([-theirs.scores(solution.x) for solution in found])
    seconds = time.process_time() - start
    mine = predicted(cache, name, "full", 0, data)[f"ggn {damping:g}"]
    truth = -torch.stack([margins(trained(cache, name, "truth", i), x_test, y_test) for i in range(SUBSETS)])
    same = statistics.fmean(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(exact, mine, strict=True))
    out = {"damping": damping, "converged": all(solution.converged for solution in found), "cpu_seconds": seconds}
    out |= {"iterations": statistics.fmean(solution.iterations for solution in found), "correlation": same}
    out |= {f"lds_{k}": float(lds(p[:, TEST], truth[:, TEST]).mean()) for k, p in (("exact", exact), ("decomposed", mine))}
    return {"net": name, "kind": "check", **out, "relative_error": float((mine - exact).norm() / exact.norm())}


# the score


def lds(predicted: Tensor, actual: Tensor) -> Tensor:
    """Spearman's correlation over subsets, for every image: `(subsets, images)` twice -> `(images,)` in [-1, 1].

    Ties have their mean rank. An image whose values are all alike has no correlation: NaN.
    """
    if predicted.shape != actual.shape or predicted.dim() != 2:
        raise ValueError(f"need two tables (subsets, images) of one shape, got {tuple(predicted.shape)}, {tuple(actual.shape)}")
    a, b = (torch.from_numpy(rankdata(t.double().numpy(), axis=0)) for t in (predicted, actual))
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))


def averaged(parts: list[dict[str, Tensor]], method: str, average: str) -> Tensor:
    """The mean of the networks' predictions for the loss, or for the margin: dl = -(1 - p) dm, so p near 1 counts less."""
    scale = [1 + part["margin"].double().exp() if average == "margin" else 1.0 for part in parts]
    return torch.stack([part[method].double() * w for part, w in zip(parts, scale, strict=True)]).mean(0)


def truth_masks() -> Tensor:
    masks = torch.zeros(SUBSETS, TRAIN)
    for index in range(SUBSETS):
        masks[index, half("truth", index)] = 1
    return masks


def score(cache: Path, name: str, data: Data) -> Iterator[dict]:
    x_test, y_test = data[2:]
    nets = {run: [trained(cache, name, run, i) for i in range(SUBSETS)] for run in ("truth", "again")}
    truth, again = (-torch.stack([margins(net, x_test, y_test) for net in each]) for each in nets.values())
    yield {"net": name, "kind": "reported", "method": "the same halves trained again", **spread([again], truth)}
    every = {key: predicted(cache, name, *key, data) for key in [("half", i) for i in range(RUNS["half"])]}
    every |= {key: predicted(cache, name, *key, data) for key in [("full", i) for i in range(SEEDS * ENSEMBLE)]}
    methods = [m for m, v in every["full", 0].items() if v.dim() == 2]
    for purpose, size in itertools.product(("full", "half"), SIZES):
        step = max(size, ENSEMBLE if purpose == "full" else HALVES)  # networks a seed
        groups = [[every[purpose, s + i] for i in range(size)] for s in range(0, RUNS[purpose] - size + 1, step)]
        best: dict[str, tuple[float, str, str]] = {}  # by the method without its damping
        for method in (m for m in methods if all(m in part for group in groups for part in group)):
            for average in ("loss", "margin") if size > 1 else ("loss",):
                each = [averaged(group, method, average) for group in groups]
                values = [float(lds(p[:, VALIDATION], truth[:, VALIDATION]).mean()) for p in each]
                tried = {"method": method, "networks": size, "trained_on": purpose, "average": average}
                yield {"net": name, "kind": "tried", **tried, "split": "validation", "lds": values}
                family, this = method.split()[0], (statistics.fmean(values), method, average)
                best[family] = max(best.get(family, this), this)
        for value, method, average in best.values():
            chosen = {"method": method, "networks": size, "trained_on": purpose, "average": average, "validation": value}
            found = spread([averaged(group, method, average) for group in groups], truth)
            yield {"net": name, "kind": "reported", **chosen, **found}
    seconds = statistics.fmean(float(part["seconds"]) for part in every.values())
    share = statistics.fmean(float(part["share"]) for part in every.values())
    yield {"net": name, "kind": "cost", "cpu_seconds_a_network": seconds, "trace_kept": share}


def predicted(cache: Path, name: str, purpose: str, index: int, data: Data) -> dict[str, Tensor]:
    file = cache / name / f"predictions-{purpose}-{index}.safetensors"
    if not file.exists():
        found = predictions(cache, name, purpose, index, data, truth_masks())
        save_file({k: v.contiguous() for k, v in found.items()}, file.with_suffix(".part"))
        os.replace(file.with_suffix(".part"), file)
    return load_file(file)


def spread(seeds: list[Tensor], truth: Tensor) -> dict:
    """LDS on the reported images per seed, and what it varies with: seeds (95 % t), images (bootstrap), subsets (jackknife)."""
    actual = truth[:, TEST]
    images = torch.stack([lds(p[:, TEST], actual) for p in seeds])
    values, n = images.mean(1).tolist(), len(seeds)
    wide = student.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None
    draws = torch.randint(images.shape[1], (2000, images.shape[1]), generator=streams(0)("bootstrap", 0))
    means = images.mean(0)[draws].mean(1).sort().values
    groups = torch.arange(len(truth)).view(10, -1)
    left = [torch.tensor([i for i in range(len(truth)) if i not in group]) for group in groups]
    out = [statistics.fmean(float(lds(p[rows, TEST], actual[rows]).mean()) for p in seeds) for rows in left]
    error = math.sqrt((len(out) - 1) * statistics.pvariance(out))
    found = {
        "split": "test",
        "lds": values,
        "images": images.shape[1],
        "mean": statistics.fmean(values),
        "seeds_half_width": wide,
    }
    return found | {"images_interval": [float(means[49]), float(means[1949])], "subsets_error": error}


# command line


def write(rows: list[dict], net: str, kinds: set[str]) -> None:
    """Put `rows` in the place of the network's earlier rows of these kinds."""
    old = [json.loads(line) for line in RAW.read_text().splitlines()] if RAW.exists() else []
    kept = [row for row in old if row["net"] != net or row["kind"] not in kinds]
    RAW.parent.mkdir(parents=True, exist_ok=True)
    RAW.write_text("".join(json.dumps(row) + "\n" for row in [*kept, *rows]))


def tables() -> None:
    rows = [json.loads(line) for line in RAW.read_text().splitlines()]
    for net in SETTINGS:
        print(f"\n### {net}\n\n| method | networks | trained on | LDS | n seeds | over seeds | over images | s.e. subsets |")
        print("|---" * 8 + "|")
        for row in (r for r in rows if r["net"] == net and r["kind"] == "reported"):
            low, high = row["images_interval"]
            wide = row["seeds_half_width"]
            seeds = "" if wide is None else f"± {wide:.3f}"
            name = row["method"] + (" (margins averaged)" if row.get("average") == "margin" else "")
            cells = [name, row.get("networks", ""), row.get("trained_on", ""), f"{row['mean']:.3f}", len(row["lds"]), seeds]
            print("| " + " | ".join(map(str, [*cells, f"[{low:.3f}, {high:.3f}]", f"{row['subsets_error']:.3f}"])) + " |")
        print()
        for size in SIZES:
            tried = [r for r in rows if r["net"] == net and r["kind"] == "tried" and r["trained_on"] == "full"]
            tried = [r for r in tried if r["networks"] == size and r["average"] == "loss" and " " in r["method"]]
            values = ", ".join(f"{r['method']}: {statistics.fmean(r['lds']):.3f}" for r in tried)
            print(f"validation, {size} network{'s' * (size > 1)}: {values}")
        print(*(json.dumps(r) for r in rows if r["net"] == net and r["kind"] in ("check", "cost")), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "score", "check", "tables"])
    parser.add_argument("--data", help="folder with MNIST's train.parquet and test.parquet, or a Hub id")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "refluence-lds")
    parser.add_argument("--nets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--damping", type=float, help="of check (default: the one chosen for one network)")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    if flags.action == "tables":
        return tables()
    if flags.data is None:
        parser.error("--data is needed")
    torch.set_num_threads(flags.threads)
    data = mnist(flags.data)
    for name in flags.nets:
        if flags.action == "train":
            train_all(name, flags.cache, *data[:2])
        elif flags.action == "score":
            write(list(score(flags.cache, name, data)), name, {"reported", "tried", "cost"})
        else:
            rows = [json.loads(line) for line in RAW.read_text().splitlines()] if flags.damping is None else []
            chosen = (r["method"] for r in rows if r["net"] == name and r.get("networks") == 1 and r["kind"] == "reported")
            damping = flags.damping or float(next(m.split()[1] for m in chosen if m.startswith("ggn ")))
            write([check(flags.cache, name, data, damping)], name, {"check"})


if __name__ == "__main__":
    main()
