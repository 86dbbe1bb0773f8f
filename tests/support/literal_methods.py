"""The published objectives, written down slowly: loops over classes, layers and rows, nothing shared with the library.

Each takes one class's network, synthetic leaf (as the method keeps it) and real images, and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def enlarged(images: Tensor, factor: int) -> Tensor:
    """IDC eq. 6, uniform multi-formation for sides that `factor` divides: tile by tile, bilinear."""
    side = images.shape[-1] // factor
    tiles = []
    for i in range(factor):
        for j in range(factor):
            tile = images[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
            tiles.append(F.interpolate(tile, images.shape[-2:], mode="bilinear", align_corners=False))
    return torch.cat(tiles)


def gradients(net: nn.Module, x: Tensor, label: int, graph: bool) -> list[Tensor]:
    y = torch.full((len(x),), label)
    log_p = F.log_softmax(net(x), 1)
    loss = -sum(log_p[i, y[i]] for i in range(len(x))) / len(x)
    return list(torch.autograd.grad(loss, list(net.parameters()), create_graph=graph))


def row_cosine(net: nn.Module, synthetic: Tensor, real: Tensor, label: int) -> Tensor:
    """DC and DSA: for every row of every weight, one minus the cosine."""
    return _row_cosine(gradients(net, synthetic, label, True), gradients(net, real, label, False))


def row_cosine_soft(net: nn.Module, synthetic: Tensor, logits: Tensor, real: Tensor, label: int) -> Tensor:
    """The same where each synthetic image has a label of its own, the softmax of its logits."""
    log_p, p = F.log_softmax(net(synthetic), 1), F.softmax(logits, 1)
    loss = -sum((p[i] * log_p[i]).sum() for i in range(len(p))) / len(p)
    return _row_cosine(torch.autograd.grad(loss, list(net.parameters()), create_graph=True), gradients(net, real, label, False))


def _row_cosine(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    total = torch.zeros((), dtype=synthetic[0].dtype)
    for a, b in zip(synthetic, real, strict=True):
        if a.dim() == 1:
            continue
        for ra, rb in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True):
            total = total + 1 - (ra * rb).sum() / (ra.norm() * rb.norm() + 1e-6)
    return total


def squared_convolutions(net: nn.Module, synthetic: Tensor, real: Tensor, label: int) -> Tensor:
    """IDC: the squared distance over convolution weights alone."""
    total = torch.zeros((), dtype=synthetic.dtype)
    for a, b in zip(gradients(net, synthetic, label, True), gradients(net, real, label, False), strict=True):
        if a.dim() == 4:
            total = total + ((a - b) ** 2).sum()
    return total


def absolute_convolutions(net: nn.Module, synthetic: Tensor, real: Tensor, label: int) -> Tensor:
    """IDC on grey images and from 64 pixels on: the sum of absolute differences over convolution weights alone."""
    pairs = zip(gradients(net, synthetic, label, True), gradients(net, real, label, False), strict=True)
    return sum((a - b).abs().sum() for a, b in pairs if a.dim() == 4)


def mean_embedding(net: nn.Module, synthetic: Tensor, real: Tensor, label: int) -> Tensor:
    """DM eq. 4: the squared distance of mean features."""
    a = sum(net.features(synthetic[i : i + 1])[0] for i in range(len(synthetic))) / len(synthetic)
    b = sum(net.features(real[j : j + 1])[0] for j in range(len(real))) / len(real)
    return sum((a[k] - b[k].detach()) ** 2 for k in range(len(a)))


def characteristic(net: nn.Module, synthetic: Tensor, real: Tensor, t: Tensor) -> Tensor:
    """NCFM: 300 times the mean over frequencies of the root of half amplitude and half phase difference."""
    sides = []
    for x in (synthetic, real):
        f = net.features(x)
        f = f / f.norm(dim=1, keepdim=True)
        sides.append([(torch.cos(f @ row).mean(), torch.sin(f @ row).mean()) for row in t])
    total = torch.zeros((), dtype=synthetic.dtype)
    for (ar, ai), (br, bi) in zip(*sides, strict=True):
        br, bi = br.detach(), bi.detach()
        size_a, size_b = (ar**2 + ai**2).sqrt(), (br**2 + bi**2).sqrt()
        phase = (2 * (size_a * size_b - ar * br - ai * bi)).clamp(min=1e-12)
        total = total + (0.5 * (size_b - size_a) ** 2 + 0.5 * phase).sqrt()
    return 300 * total / len(t)


def cross_entropy(net: nn.Module, x: Tensor, label: int) -> Tensor:
    p = net(x).exp()
    return -sum((p[i, label] / p[i].sum()).log() for i in range(len(x))) / len(x)


def sgd_class_by_class(pixels: Tensor, gradient_of, classes: int, lr: float, momentum: float, sweeps: int) -> Tensor:
    """IDC's image steps: one for each class, on the whole tensor, so that momentum goes on moving the other classes."""
    velocity = torch.zeros_like(pixels)
    for _ in range(sweeps):
        for c in range(classes):
            velocity = momentum * velocity + gradient_of(c, pixels)
            pixels = pixels - lr * velocity
    return pixels
