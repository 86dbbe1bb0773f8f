"""Influence weights in a distillation loop of one's own: about five lines.

A small gradient-matching loop on scikit-learn's digits, as anyone might have written it. Only the lines between the two
rulers come from Refluence. Without them `b` would be the plain mean gradient, and this would be the unweighted method.

    python examples/own_loop.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.influence import Weighting, capture, effective_sample_size, weights
from refluence.matching.discrepancies import RowCosine, second_derivative

CLASSES, PER_CLASS, REAL_BATCH = 10, 2, 48
row_cosine = RowCosine().value


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(16, 16), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10)
    )


def squared(a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    """A distance of one's own: any differentiable function of two gradients, given by parameter name."""
    return sum((a[name] - b[name]).square().sum() for name in a)


def distil(steps: int = 40, tau: float = 1.0, distance=row_cosine, seed: int = 0) -> dict[str, list[float]]:
    """Images of ten digits, two each, learned in `steps` steps. Returns what happened at every step."""
    torch.manual_seed(seed)
    pixels, digits = load_digits(return_X_y=True)
    pixels = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    real, digits = (pixels - pixels.mean()) / pixels.std(), torch.tensor(digits)
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    images = torch.randn(len(labels), 1, 8, 8, requires_grad=True)
    optimiser = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    told: dict[str, list[float]] = {"loss": [], "plain": [], "ess": [], "mean": []}

    for _ in range(steps):
        net, total = network(), 0.0
        names = [name for name, p in net.named_parameters() if p.dim() > 1]
        wanted = [p for p in net.parameters() if p.dim() > 1]
        optimiser.zero_grad()
        for c in range(CLASSES):
            members = (digits == c).nonzero().flatten()
            real_x = real[members[torch.randperm(len(members))[:REAL_BATCH]]]
            real_y = torch.full((len(real_x),), c)
            loss = cross_entropy(net(images[labels == c]), labels[labels == c])
            a = dict(zip(names, torch.autograd.grad(loss, wanted, create_graph=True), strict=True))
            # ---------------------------------------------------------------- influence weights
            kept = capture(net, real_x, real_y, names=names)  # one forward, one pass back through the activations
            plain, v = second_derivative(distance, a, kept.gradient())  # v = grad_2 D(a, b) at the plain mean b
            omega = weights(kept.scores(v), Weighting("influence", tau=tau))  # softmax in this batch, mean 1
            b = kept.gradient(omega)  # the weighted mean gradient
            # ----------------------------------------------------------------------------------
            matched = distance(a, b)
            matched.backward(inputs=[images])
            total += float(matched.detach())
            told["plain"].append(float(plain))
            told["ess"].append(effective_sample_size(omega))
            told["mean"].append(float(omega.mean()))
        optimiser.step()
        told["loss"].append(total)
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    told = distil()
    loss, ess = told["loss"], told["ess"]
    print(f"matching loss, mean of five steps: {sum(loss[:5]) / 5:.1f} at the start, {sum(loss[-5:]) / 5:.1f} at the end")
    print(f"effective sample size: {sum(ess) / len(ess):.2f} of each real batch (1.00 would be the unweighted method)")
