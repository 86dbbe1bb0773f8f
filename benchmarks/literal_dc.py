"""DC as published, written down literally and slowly: what the tests hold the library against and the benchmark's baseline.

Zhao, Mopuri, Bilen 2020 (arXiv 2006.05929), Algorithm 1 and the distance of its section 3.3; constants as its code has them.
Our own words: one autograd call per class and side, one SGD optimiser for the images, a DataLoader for the inner loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


def layer_distance(a: Tensor, b: Tensor) -> Tensor:
    """One minus cosine for every output unit of one layer, summed; vectors (biases, norms) count nothing."""
    if a.dim() == 1:
        return a.new_zeros(())
    a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    total = a.new_zeros(())
    cosines = torch.sum(a * b, dim=-1) / (torch.norm(a, dim=-1) * torch.norm(b, dim=-1) + 1e-6)
    return total + torch.sum(1 - cosines)


def distance(gradient_synthetic: Sequence[Tensor], gradient_real: Sequence[Tensor]) -> Tensor:
    """The sum over layers."""
    return sum(layer_distance(a, b) for a, b in zip(gradient_synthetic, gradient_real, strict=True))


def matching_loss(net: nn.Module, synthetic: Sequence[tuple[Tensor, Tensor]], real: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum over classes of the distance between the gradients of the mean losses."""
    parameters = list(net.parameters())
    loss = torch.zeros(())
    for (xs, ys), (xr, yr) in zip(synthetic, real, strict=True):
        gradient_real = [g.detach().clone() for g in torch.autograd.grad(cross_entropy(net(xr), yr), parameters)]
        gradient_synthetic = torch.autograd.grad(cross_entropy(net(xs), ys), parameters, create_graph=True)
        loss = loss + distance(gradient_synthetic, gradient_real)
    return loss


def inner_epoch(net: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, batch: int) -> None:
    """One epoch of network training on the synthetic set."""
    net.train()
    loader = DataLoader(TensorDataset(images.detach().clone(), labels), batch_size=batch, shuffle=True)
    for x, y in loader:
        loss = cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def outer_step(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    classes: int,
    optimizer_images: torch.optim.Optimizer,
    optimizer_net: torch.optim.Optimizer,
    inner: int,
    batch: int = 256,
) -> float:
    """One image step and `inner` epochs of the network. `draw(c)` gives a real batch of class c."""
    real = [draw(c) for c in range(classes)]
    synthetic = [(images[labels == c], labels[labels == c]) for c in range(classes)]
    loss = matching_loss(net, synthetic, real)
    optimizer_images.zero_grad()
    loss.backward()
    optimizer_images.step()
    for _ in range(inner):
        inner_epoch(net, images, labels, optimizer_net, batch)
    return float(loss.detach())
