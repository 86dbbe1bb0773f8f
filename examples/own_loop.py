"""Influence weights in a gradient-matching loop of one's own: what Refluence adds stands between the two rulers."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from refluence.influence import Weighting, capture, effective_sample_size, weights
from refluence.matching.discrepancies import RowCosine, second_derivative

row_cosine = RowCosine().value


def squared(a, b):
    """A distance of one's own: any differentiable function of two gradients, each a dict of tensors by parameter name."""
    return sum((a[name] - b[name]).square().sum() for name in a)


def distil(steps=40, tau=1.0, distance=row_cosine, per_class=2, seed=0):
    """Learn a few digits of each class; what every step gave: matching loss, effective sample size, mean weight."""
    torch.manual_seed(seed)
    pixels, digits = (torch.tensor(array) for array in load_digits(return_X_y=True))
    real = (pixels.view(-1, 1, 8, 8) / 16 - 0.3).float()
    labels = torch.arange(10).repeat_interleave(per_class)
    images = torch.randn(len(labels), 1, 8, 8, requires_grad=True)
    optimiser = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    log = {"loss": [], "plain": [], "ess": [], "mean": []}
    for _ in range(steps):
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))
        matched = {name: p for name, p in net.named_parameters() if p.dim() > 1}
        optimiser.zero_grad()
        losses = []
        for c in range(10):
            x = real[digits == c][torch.randperm(int((digits == c).sum()))[:48]]
            loss = cross_entropy(net(images[labels == c]), labels[labels == c])
            a = dict(zip(matched, torch.autograd.grad(loss, list(matched.values()), create_graph=True), strict=True))
            # ---------------------------------------------------------------- influence weights
            kept = capture(net, x, torch.full((len(x),), c), names=list(matched))  # one pass over the real batch
            plain, v = second_derivative(distance, a, kept.gradient())  # v = grad_2 D(a, b) at the plain mean b
            omega = weights(kept.scores(v), Weighting("influence", tau=tau))  # softmax in this batch, mean 1
            b = kept.gradient(omega)  # the weighted mean gradient, in place of the plain one
            # ----------------------------------------------------------------------------------
            losses.append(distance(a, b))
            losses[-1].backward(inputs=[images])
            log["plain"].append(float(plain))
            log["ess"].append(effective_sample_size(omega))
            log["mean"].append(float(omega.mean()))
        optimiser.step()
        log["loss"].append(float(sum(losses).detach()))
    return log


if __name__ == "__main__":
    log = distil()
    loss, ess = log["loss"], log["ess"]
    print(f"matching loss, mean of five steps: {sum(loss[:5]) / 5:.1f} at the start, {sum(loss[-5:]) / 5:.1f} at the end")
    print(f"effective sample size: {sum(ess) / len(ess):.2f} of each real batch (1.00 would be the unweighted method)")
