"""Why influence weights change so little: what they do to the target b that the synthetic images are drawn to.

    python benchmarks/weights_why.py --data SRC [--methods dm dc] [--nets 4] [--out docs/results/raw/weights_why.jsonl]

With phi_j the per-instance values, v = grad_2 D(a, b) and scores standardised, to first order in 1/tau

    sum_j w_j phi_j = b + C v / (tau s) + O(1/tau^2),        C = Cov(phi), s = std_j <v, phi_j>

so the weights add to the target the residual's direction, filtered by the class covariance. For each method, network and class:

    reliability   correlation of an instance's score under one network with its score under another
    shift         |E b_w - b|^2 / |a - b|^2: how far the weights move the target, against the distance that is left
    noise         E |b_B - b|^2 / |a - b|^2 for uniform batches of 64;  noise_w: the same about E b_w for weighted ones
    first_order   cosine of E b_w - b with C v
    along         cosine of E b_w - b with b - a: 1 is a larger step and nothing else

E over 100 batches of 64, drawn from 1,024 instances of the class; S is 10 random real images a class, networks are fresh.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

import torch

from refluence.compute import Compute
from refluence.data import SourceOptions, load
from refluence.influence.weighting import Weighting, weights
from refluence.jobs.catalogue import methods
from refluence.matching.discrepancies import second_derivative
from refluence.models import ModelSpec, build
from refluence.seeds import streams

POOL, BATCH, DRAWS, IPC, WIDTH = 1024, 64, 100, 10, 32


def flat(values: dict[str, torch.Tensor]) -> torch.Tensor:
    """`(n, P)` of values `(n, ...)` by name."""
    return torch.cat([t.flatten(1) for t in values.values()], 1)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def look(phi: torch.Tensor, v: torch.Tensor, a: torch.Tensor, tau: float, generator: torch.Generator) -> dict[str, float]:
    """Shift, noise and cosines for per-instance values `phi` `(n, P)`, direction `v` and synthetic statistic `a` `(P,)`."""
    b, how = phi.mean(0), Weighting("influence", tau=tau)
    uniform, weighted = [], []
    for _ in range(DRAWS):
        rows = phi[torch.randperm(len(phi), generator=generator)[:BATCH]]
        uniform.append(rows.mean(0))
        weighted.append(weights(rows @ v, how) @ rows / len(rows))
    u, w = torch.stack(uniform), torch.stack(weighted)
    left, shift = (a - b).square().sum(), w.mean(0) - b
    covariance_v = (phi - b).mT @ ((phi - b) @ v) / len(phi)
    noise = [float((t - t.mean(0)).square().sum(1).mean() / left) for t in (u, w)]
    return {
        # the mean of 100 noisy targets is itself noisy: that part is taken off
        "shift": float(shift.square().sum() / left) - noise[1] / DRAWS,
        "noise": noise[0],
        "noise_w": noise[1],
        "first_order": cosine(shift, covariance_v),
        "along": cosine(shift, b - a),
    }


def measure(name: str, dataset, nets: int, tau: float, classes: int) -> dict[str, float]:
    method = methods()[name]
    settings, rng = method.settings(IPC, "cpu", dataset.shape), streams(0)
    spec = ModelSpec("convnet", dataset.shape, len(dataset.classes), width=WIDTH)
    found, scores = [], {c: [] for c in range(classes)}
    for number in range(nets):
        net = build(spec, rng("network", number)).requires_grad_(True)
        bound = method.statistic.at(net, net, method.discrepancy, settings, rng("frequencies", number), Compute())
        for c in range(classes):
            members = dataset.train.members(c)
            order = members[torch.randperm(len(members), generator=rng("pool", c))]
            real, small = order[IPC : IPC + POOL], order[:IPC]
            x, y = dataset.pixels(dataset.train, real), torch.full((len(real),), c)
            a = bound.mean(dataset.pixels(dataset.train, small), torch.full((IPC,), c), None)
            kept = bound.measure(x, y)
            _, v = second_derivative(method.discrepancy, a, kept.gradient())
            phi = torch.cat([flat(part) for _, part in bound.each(x, y)]).detach()
            one = {k: t[None] for k, t in a.items()}
            found.append(look(phi, flat({k: t[None] for k, t in v.items()})[0], flat(one)[0], tau, rng("draws", c)))
            scores[c].append(kept.scores(v))
    agree = [torch.corrcoef(torch.stack(s)) for s in scores.values()]
    upper = torch.triu(torch.ones(nets, nets), 1).bool()
    reliability = fmean(float(m[upper].mean()) for m in agree)
    return {"reliability": reliability, **{k: fmean(f[k] for f in found) for k in found[0]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--methods", nargs="+", default=["dm", "dc"])
    parser.add_argument("--taus", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--nets", type=int, default=4)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    dataset = load(flags.data, SourceOptions(), per_class=IPC)
    for name in flags.methods:
        for tau in flags.taus:
            row = {"data": Path(flags.data).name, "method": name, "tau": tau, "nets": flags.nets, "classes": flags.classes}
            row |= {k: round(x, 4) for k, x in measure(name, dataset, flags.nets, tau, flags.classes).items()}
            print(json.dumps(row), flush=True)
            if flags.out:
                with flags.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
