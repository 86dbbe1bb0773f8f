"""How far the ways to an inverse curvature product agree on scores, on trained networks small enough to know the truth.

    python benchmarks/curvature_agreement.py run --cifar10 FOLDER --mnist FOLDER [--seeds 3]    -> docs/results/raw/
    python benchmarks/curvature_agreement.py tables                                             Markdown from the rows

The score of training image j is phi_j = -<x, grad l_j> with x = (C + lambda I)^-1 grad M, M the mean loss of 500 images that
were not trained on. The truth is C = the Gauss-Newton matrix of the 2,000 training images, formed whole and solved in float64;
everything else runs as a user would, in float32, for at most 300 iterations. "convnet": ConvNet-3 of width 10 with instance
norm on CIFAR-10 at 16 x 16, "mlp": 196-16-10 on MNIST at 14 x 14, both trained by Adam for 30 epochs on those images. Dampings:
the automatic one (a hundredth of the mean diagonal entry of C) and a hundred times that. The Hessian, which may be indefinite
there, is also tried with 1.2 times the size of its lowest eigenvalue (Lanczos; on top of the larger damping, in place of the
smaller) and is then compared with the dense Gauss-Newton matrix of the same damping. Seconds are CPU time on one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from refluence.data import SourceOptions, load
from refluence.influence import Curvature, IndefiniteError, inverse_product, operator, risk_gradient, scores
from refluence.models import ModelSpec, build
from refluence.models.initialise import initialise
from refluence.seeds import streams

RAW = Path(__file__).parents[1] / "docs" / "results" / "raw" / "curvature_agreement.jsonl"
TRAIN, VALIDATION, EPOCHS, BATCH, RATE = 2000, 500, 30, 64, 3e-3
CAP, MARGIN, HARMFUL = 300, 1.2, 0.05
METHODS: dict[str, dict[str, Any]] = {
    "identity": {"kind": "identity"},
    "ggn 1e-1": {"tolerance": 1e-1},
    "ggn 1e-2": {"tolerance": 1e-2},
    "ggn 1e-2, 100 iterations": {"tolerance": 1e-2, "iterations": 100},
    "ggn 1e-4": {"tolerance": 1e-4},
    "ggn 1e-2 + kfac": {"tolerance": 1e-2, "preconditioner": "kfac"},
    "ggn 1e-2 + ekfac": {"tolerance": 1e-2, "preconditioner": "ekfac"},
    "hessian 1e-2": {"kind": "hessian", "tolerance": 1e-2},
    "kfac": {"kind": "kfac"},
    "ekfac": {"kind": "ekfac"},
    "lbfgs 1e-2": {"kind": "lbfgs", "tolerance": 1e-2},
    "lissa 1e-2": {"kind": "lissa", "tolerance": 1e-2},
}
LABELS = ("auto", "100 auto")
FACTS = {
    "trained": "training accuracy",
    "held": "validation accuracy",
    "automatic": "automatic damping",
    "largest": "largest eigenvalue of C",
    "lowest_hessian": "smallest eigenvalue of the Hessian",
}
HEADS = ["damping", "method", "Spearman", "Pearson", "top 5 % shared", "residual", "iterations", "products", "CPU seconds"]
PAIRS = ["dense", "identity", "ggn 1e-2", "hessian 1e-2", "kfac", "ekfac", "lissa 1e-2"]


def network(name: str, generator: torch.Generator) -> nn.Module:
    if name == "convnet":
        return build(ModelSpec("convnet3", (3, 16, 16), 10, width=10, norm="instance"), generator)
    net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 16), nn.ReLU(), nn.Linear(16, 10))
    return initialise(net, generator)


def train(net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimiser.step()
    net.eval()


def flat(v: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in v.values()]).double()


def unflat(vector: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = vector.split([t.numel() for t in like.values()])
    return {k: part.view(t.shape).to(t) for part, (k, t) in zip(parts, like.items(), strict=True)}


def dense(net: nn.Module, x: Tensor) -> Tensor:
    """The Gauss-Newton matrix (1/N) sum_j J_j^T (diag p - p p^T) J_j, `(P, P)` in float64."""
    net = copy.deepcopy(net).double()
    parameters = {k: p.detach() for k, p in net.named_parameters()}
    rows = vmap(jacrev(lambda p, one: functional_call(net, p, (one[None],))[0]), (None, 0))
    total = torch.zeros(())
    for part in x.double().split(50):
        jacobian = torch.cat([t.flatten(2) for t in rows(parameters, part).values()], 2)  # (n, K, P)
        with torch.no_grad():
            p = torch.softmax(net(part), 1)[:, :, None]
        root = p.sqrt() * (jacobian - (p * jacobian).sum(1, keepdim=True))  # S = R^T R with R = diag(sqrt p) (I - 1 p^T)
        total = total + root.flatten(0, 1).T @ root.flatten(0, 1)
    return total / len(x)


def lowest(net: nn.Module, data: list) -> float:
    """The smallest eigenvalue of the Hessian, by Lanczos to 1 %."""
    made = operator(net, data, "hessian", damping=0)
    like = {k: p.detach() for k, p in net.named_parameters()}
    size = sum(p.numel() for p in like.values())
    product = LinearOperator(
        (size, size), matvec=lambda u: flat(made(unflat(torch.from_numpy(u.copy()).flatten(), like))).numpy()
    )
    start = torch.randn(size, generator=torch.Generator().manual_seed(0)).numpy()
    return float(eigsh(product, k=1, which="SA", tol=1e-2, v0=start, return_eigenvectors=False)[0])


def measure(name: str, seed: int, source: str) -> Iterator[dict[str, Any]]:
    rng, d = streams(seed), load(source, SourceOptions(image_size=16 if name == "convnet" else None))
    order = torch.randperm(len(d.train), generator=rng("train images"))[:TRAIN]
    held = torch.randperm(len(d.val), generator=rng("validation images"))[:VALIDATION]
    x, y = d.pixels(d.train, order), d.train.labels[order]
    u, z = d.pixels(d.val, held), d.val.labels[held]
    net = network(name, rng("network"))
    train(net, x, y, rng("batches"))
    with torch.no_grad():
        fitted = {
            "trained": float((net(x).argmax(1) == y).double().mean()),
            "held": float((net(u).argmax(1) == z).double().mean()),
        }
    data, facts = [(x, y)], {"net": name, "seed": seed, "parameters": sum(p.numel() for p in net.parameters()), **fitted}
    v, risk = risk_gradient(net, [(u, z)])
    matrix = dense(net, x)
    automatic = operator(net, data).damping
    bottom = lowest(net, data)
    top = float(torch.lobpcg(matrix, k=1)[0])
    facts.update(
        risk=risk, automatic=automatic, mean_diagonal=float(matrix.diagonal().mean()), largest=top, lowest_hessian=bottom
    )

    def score(direction: dict[str, Tensor]) -> np.ndarray:
        return -scores(net, x, y, direction).double().numpy()

    def truth(damping: float) -> np.ndarray:
        exact = torch.linalg.solve(matrix + damping * torch.eye(len(matrix), dtype=torch.float64), flat(v))
        return score(unflat(exact, v))

    for label, damping in zip(LABELS, (automatic, 100 * automatic), strict=True):
        found = {"dense": truth(damping)}
        rows = [run_one(found, method, net, data, v, damping, score) for method in METHODS]
        if bottom < 0:
            raised = MARGIN * abs(bottom) + (damping if damping > automatic else 0)
            against = {"dense": truth(raised)}
            row = run_one(against, "hessian 1e-2", net, data, v, raised, score)
            rows.append({**row, "method": "hessian 1e-2, raised damping"})
        for row in rows:
            own = found.get(row["method"])
            between = None if own is None else {k: float(spearmanr(own, s).statistic) for k, s in found.items()}
            yield {**facts, "damping_name": label, **row, "between": between}


def run_one(
    found: dict[str, np.ndarray],
    method: str,
    net: nn.Module,
    data: list,
    v: dict[str, Tensor],
    damping: float,
    score: Callable[[dict[str, Tensor]], np.ndarray],
) -> dict[str, Any]:
    """One method at one damping against `found["dense"]`; its scores join `found`."""
    row: dict[str, Any] = {"method": method, "damping": damping, "failed": None}
    begin = time.process_time()
    try:
        solution = inverse_product(net, data, v, Curvature(**{"damping": damping, "iterations": CAP, **METHODS[method]}))
    except IndefiniteError as error:
        return {**row, "failed": str(error), "seconds": time.process_time() - begin}
    row.update(seconds=time.process_time() - begin, iterations=solution.iterations, products=solution.products)
    row.update(
        residual=solution.residuals[-1] if solution.residuals else None, converged=solution.converged, note=solution.note
    )
    own, want = score(solution.x), found["dense"]
    k = math.ceil(HARMFUL * len(own))
    shared = len(set(np.argsort(-own)[:k]) & set(np.argsort(-want)[:k])) / k
    row.update(spearman=float(spearmanr(own, want).statistic), pearson=float(pearsonr(own, want).statistic), shared=shared)
    found[method] = own
    return row


def tables(rows: list[dict[str, Any]]) -> None:
    for name in dict.fromkeys(r["net"] for r in rows):
        mine = [r for r in rows if r["net"] == name]
        once = list({r["seed"]: r for r in mine}.values())
        print(f"\n### {name}: {once[0]['parameters']} parameters, {len(once)} seeds\n")
        for key, what in FACTS.items():
            print(f"- {what}: {spread([r[key] for r in once])}")
        print()
        table(HEADS, [[r[0], r[1], *cells(own)] for r, own in grouped(mine)])
        for label in LABELS:
            print(f"\nSpearman between methods, damping {label}:\n")
            chosen = [r for r in mine if r["damping_name"] == label and r["between"]]
            ran = [m for m in PAIRS if any(m in r["between"] for r in chosen)]
            table(["", *ran], [[a, *(between(chosen, a, b) for b in ran)] for a in ran[1:]])


def grouped(rows: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    keys = [(r["damping_name"], r["method"]) for r in rows]
    for key in sorted(dict.fromkeys(keys), key=lambda k: LABELS.index(k[0])):
        yield key, [r for r, k in zip(rows, keys, strict=True) if k == key]


def between(rows: list[dict[str, Any]], a: str, b: str) -> str:
    values = [r["between"][b] for r in rows if r["method"] == a and b in r["between"]]
    return f"{statistics.fmean(values):.3f}" if values else ""


def table(heads: list[str], lines: list[list[str]]) -> None:
    print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def cells(own: list[dict[str, Any]]) -> list[str]:
    done = [r for r in own if r["failed"] is None]
    if not done:
        return ["not positive definite", *[""] * 5, spread([r["seconds"] for r in own], 1)]
    some = "" if len(done) == len(own) else f" ({len(done)} of {len(own)}, the others not positive definite)"
    agree = [spread([r[k] for r in done], 3) for k in ("spearman", "pearson", "shared")]
    residual = [r["residual"] for r in done if r["residual"] is not None]
    effort = [spread([r[k] for r in done], 0) for k in ("iterations", "products")]
    return [
        agree[0] + some,
        *agree[1:],
        f"{max(residual):.1e}" if residual else "",
        *effort,
        spread([r["seconds"] for r in done], 1),
    ]


def spread(values: list[float], digits: int | None = None) -> str:
    """The mean, with the smallest and the largest where they differ."""
    shown = [f"{v:.3g}" if digits is None else f"{v:.{digits}f}" for v in (statistics.fmean(values), min(values), max(values))]
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "tables"])
    parser.add_argument("--cifar10", default="cifar10", help="folder with train.parquet and test.parquet, or a Hub id")
    parser.add_argument("--mnist", default="mnist", help="the same")
    parser.add_argument("--nets", nargs="+", choices=["mlp", "convnet"], default=["mlp", "convnet"])
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    if flags.action == "run":
        torch.set_num_threads(1)
        RAW.parent.mkdir(parents=True, exist_ok=True)
        kept = [json.loads(line) for line in RAW.read_text().splitlines()] if RAW.exists() else []
        kept = [r for r in kept if r["net"] not in flags.nets]
        for name in flags.nets:
            for seed in range(flags.seeds):
                for row in measure(name, seed, flags.cifar10 if name == "convnet" else flags.mnist):
                    kept.append(row)
                    print({k: row.get(k) for k in ("net", "seed", "damping_name", "method", "spearman", "products", "seconds")})
                RAW.write_text("".join(json.dumps(r) + "\n" for r in kept))
    tables([json.loads(line) for line in RAW.read_text().splitlines()])


if __name__ == "__main__":
    main()
