"""Influence against retraining where retraining is exact: softmax regression on scikit-learn's digits, every one left out.

    python benchmarks/leave_one_out.py [--out docs/results/raw/leave_one_out.jsonl]

Every fifth digit is validation data. Objective (1/N) sum_i l_i + lam/2 |theta|^2; the truth for j is M(theta without j) -
M(theta), M the mean validation cross-entropy, theta without j the minimiser of the objective less l_j / N. Prediction:
-phi_j / N. Retraining is Newton's iteration with the Hessian of the full fit kept (a chord method: the gradient decides when
it has arrived, to 1e-12), for all j in batches. slope: least squares of truth on prediction through the origin; 1 is right,
above 1 the prediction is too small. One row for each lam and curvature; a row is a whole run, there is no chance in it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn

from refluence.influence import Curvature, validation_influence

CLASSES, BATCH, SMALL_ENOUGH = 10, 100, 1e-12
LAMBDAS = (1e-1, 1e-2, 1e-3)
CURVATURES = {
    "ggn, tolerance 1e-8": Curvature("ggn", tolerance=1e-8, iterations=1000),
    "ggn (default, tolerance 1e-2)": Curvature("ggn"),
    "kfac": Curvature("kfac"),
    "ekfac": Curvature("ekfac"),
    "identity": Curvature("identity"),
}


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x `(1438, 64)` in [0, 1], y, and the same of 359 validation digits."""
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16), torch.tensor(digits.target)
    held = torch.arange(len(x)) % 5 == 4
    return x[~held], y[~held], x[held], y[held]


def with_one(x: Tensor) -> Tensor:
    """A column of ones for the bias."""
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)


def hessian(x: Tensor, theta: Tensor, lam: float) -> Tensor:
    """Of the full objective at theta `(K, d + 1)`, as a matrix over its entries."""
    p = torch.softmax(x @ theta.T, 1)
    n, size = len(x), theta.numel()
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    H = (
        torch.einsum(
            "nkl,nd,ne->kdle",
            S,
            x,
            x,
        ).reshape(size, size)
        / n
    )
    return H + lam * torch.eye(size, dtype=x.dtype)


def gradients(x: Tensor, target: Tensor, theta: Tensor, lam: float, out: Tensor | None = None) -> Tensor:
    """Of the objective at each of theta `(B, K, d + 1)`, less the sample `out[b]` of each."""
    wrong = torch.softmax(torch.einsum("nd,bkd->bnk", x, theta), 2) - target
    if out is not None:
        wrong[torch.arange(len(theta)), out] = 0
    return torch.einsum("bnk,nd->bkd", wrong, x) / len(x) + lam * theta


def fit(x: Tensor, target: Tensor, lam: float) -> Tensor:
    """The minimiser `(K, d + 1)` by Newton's method."""
    theta = torch.zeros(target.shape[1], x.shape[1], dtype=x.dtype)
    for _ in range(50):
        slope = gradients(x, target, theta[None], lam)[0]
        if float(slope.abs().max()) < SMALL_ENOUGH:
            return theta
        theta = theta - torch.linalg.solve(hessian(x, theta, lam), slope.flatten()).view_as(theta)
    raise RuntimeError("the full fit did not converge")


def without_each(x: Tensor, target: Tensor, theta: Tensor, lam: float) -> Tensor:
    """The minimiser without each sample, `(N, K, d + 1)`."""
    factor, found = torch.linalg.cholesky(hessian(x, theta, lam)), []
    for out in torch.arange(len(x)).split(BATCH):
        now = theta.expand(len(out), -1, -1)
        for _ in range(500):
            slope = gradients(x, target, now, lam, out)
            if float(slope.abs().max()) < SMALL_ENOUGH:
                break
            now = now - torch.cholesky_solve(slope.flatten(1).T, factor).T.view_as(now)
        else:
            raise RuntimeError(f"retraining did not converge: a gradient of {float(slope.abs().max()):.1e} is left")
        found.append(now)
    return torch.cat(found)


def risks(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy `(B,)` at each of theta `(B, K, d + 1)`."""
    logs = torch.log_softmax(torch.einsum("nd,bkd->bnk", x, theta), 2)
    return -logs[:, torch.arange(len(y)), y].mean(1)


def run(lam: float) -> list[dict]:
    x, y, vx, vy = data()
    target, ones, held = torch.eye(CLASSES, dtype=x.dtype)[y], with_one(x), with_one(vx)
    begin = time.perf_counter()
    theta = fit(ones, target, lam)
    truth = risks(without_each(ones, target, theta, lam), held, vy) - risks(theta[None], held, vy)
    retraining = time.perf_counter() - begin
    model = nn.Linear(x.shape[1], CLASSES).double()
    with torch.no_grad():
        model.weight.copy_(theta[:, :-1])
        model.bias.copy_(theta[:, -1])
        accuracy = float((model(vx).argmax(1) == vy).double().mean())
    rows = []
    for name, curvature in CURVATURES.items():
        begin = time.perf_counter()
        found = validation_influence(model, [(x, y)], [(vx, vy)], curvature=curvature, weight_decay=lam)
        seconds = time.perf_counter() - begin
        predicted = -found.scores / len(x)
        rows.append(
            {
                "experiment": "leave_one_out",
                "data": "digits",
                "n": len(x),
                "validation": len(vx),
                "parameters": theta.numel(),
                "lam": lam,
                "curvature": name,
                "damping": found.solution.damping,
                "iterations": found.solution.iterations,
                "pearson": float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]),
                "spearman": float(spearmanr(predicted, truth).statistic),
                "slope": float((predicted @ truth) / (predicted @ predicted)),
                "risk": found.risk,
                "accuracy": accuracy,
                "seconds": round(seconds, 3),
                "retraining_seconds": round(retraining, 1),
                "torch": torch.__version__,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/raw/leave_one_out.jsonl"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with options.out.open("w", encoding="utf-8") as file:
        for lam in LAMBDAS:
            for row in run(lam):
                file.write(json.dumps(row) + "\n")
                print(
                    f"lam {lam:g}  {row['curvature']:<30} r {row['pearson']:.4f}  slope {row['slope']:.3f}  {row['seconds']} s"
                )


if __name__ == "__main__":
    main()
