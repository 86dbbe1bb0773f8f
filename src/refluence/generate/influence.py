"""How far an image is from training a network as its class does (IGD eq. 7), and the gradient of that by the image:

    E(x, c)  = 1/|R| sum_e eta_e (1 - cos(g_c(theta_e), a_e))             a_e = grad_theta l(x, c; theta_e)
    dE/dx    = d/dx sum_e <a_e, v_e>,   v_e = -eta_e/|R| (ghat - cos ahat) / |a_e|   held fixed

over the retained checkpoints R. eta_e are learning rates, divided by their mean ("trained", the paper), or 1 ("equal", the
released code). An image whose gradient is 0 has cosine 0, and nothing to be steered by.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from refluence.errors import InputError, did_you_mean
from refluence.generate.expanded import expanded_gradients
from refluence.generate.surrogate import Surrogate
from refluence.influence.differentiable import plain_kernels
from refluence.influence.layers import Unsupported

AVERAGING = ("trained", "equal")
PIXELS, NUMBERS = 2**17, 2**26  # of the images that are differentiated at once, and of their gradients
TINY, ALIKE = 1e-18, 1e-6  # of an image's gradient: shorter ones are 0; how far two routes may be apart in float64
Rows = Callable[[nn.Module, Tensor, Tensor], list[Tensor]]
"""Gradients `(B, ...)` by each parameter, with the graph that leads back to the images."""


class InfluenceEnergy:
    """Eq. 7 of images of any classes, at the checkpoints of a surrogate.

    Args:
        surrogate: its checkpoints and class-mean gradients.
        device: where it runs.
        averaging: one of `AVERAGING`.

    Raises:
        InputError: another averaging.
    """

    def __init__(self, surrogate: Surrogate, device: torch.device | str = "cpu", averaging: str = "trained"):
        if averaging not in AVERAGING:
            raise InputError(f"unknown averaging '{averaging}': {did_you_mean(averaging, AVERAGING)}")
        rates = torch.tensor(surrogate.rates if averaging == "trained" else [1.0] * len(surrogate), dtype=torch.float64)
        self.shares: list[float] = (rates / rates.sum()).tolist()
        self.nets = [net.requires_grad_(False) for net in surrogate.networks(device)]
        self.wanted = [normalize(g, dim=1).to(device) for g in surrogate.gradients]
        self.rows = rows_of(self.nets[0], surrogate.model.shape, surrogate.model.classes)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """E `(B,)` of images `(B, C, H, W)`, normalised as the surrogate's, of classes y `(B,)`."""
        return self._of(x, y, slope=False)[0]

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """E `(B,)` and dE/dx `(B, C, H, W)` of each image, both detached."""
        return self._of(x, y, slope=True)

    def _of(self, x: Tensor, y: Tensor, slope: bool) -> tuple[Tensor, Tensor]:
        x, energy, by_image = x.detach(), x.new_zeros(len(x)), torch.zeros_like(x)
        size = max(1, min(PIXELS // x[0, 0].numel(), NUMBERS // self.wanted[0].shape[1]))
        for net, wanted, share in zip(self.nets, self.wanted, self.shares, strict=True):
            for start in range(0, len(x), size):
                part = slice(start, start + size)
                cosine, along = cosines(net, x[part], y[part], wanted[y[part]], self.rows, slope)
                energy[part] += share * (1 - cosine)
                if along is not None:
                    by_image[part] -= share * along
        return energy, by_image


def cosines(
    net: nn.Module, x: Tensor, y: Tensor, wanted: Tensor, rows: Rows, slope: bool = True
) -> tuple[Tensor, Tensor | None]:
    """cos(wanted_i, a_i) `(B,)` of images `(B, C, H, W)`, for unit vectors `wanted (B, P)`, and its gradient by the images."""
    x = x.detach().requires_grad_()
    found = rows(net, x, y)
    flat = torch.cat([row.detach().flatten(1) for row in found], 1)
    norm = flat.norm(dim=1, keepdim=True)
    per_norm = torch.where(norm > TINY, 1 / norm, 0.0)
    cosine = (flat * wanted).sum(1, keepdim=True) * per_norm
    if not slope:
        return cosine[:, 0], None
    v = (wanted * per_norm).addcmul_(flat, -cosine * per_norm.square())
    parts = [part.view(row.shape) for part, row in zip(v.split([row[0].numel() for row in found], 1), found, strict=True)]
    reached = [(row, part) for row, part in zip(found, parts, strict=True) if row.requires_grad]
    (along,) = torch.autograd.grad([row for row, _ in reached], x, [part for _, part in reached])
    return cosine[:, 0], along


def rows_of(net: nn.Module, shape: tuple[int, ...], classes: int) -> Rows:
    """The fastest way to the gradients of single images `shape` (C, H, W) that is right for this network, tried on two."""
    twin, device, g = copy.deepcopy(net).double(), next(net.parameters()).device, torch.Generator().manual_seed(0)
    few = torch.randn(2, *shape, generator=g, dtype=torch.float64).to(device)
    wanted = torch.randn(2, sum(p.numel() for p in net.parameters()), generator=g, dtype=torch.float64).to(device)
    labels = torch.arange(2, device=device) % classes
    truth = cosines(twin, few, labels, wanted, single_gradients)[1]
    assert truth is not None
    try:
        found = cosines(twin, few, labels, wanted, expanded_gradients)[1]
    except (Unsupported, RuntimeError):  # shapes that do not fit are a network of another make
        return single_gradients
    right = found is not None and float((found - truth).norm()) <= ALIKE * float(truth.norm())
    return expanded_gradients if right else single_gradients


def single_gradients(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Rows `(B, ...)` of the gradient by each parameter, image by image, with their graph: for any network."""
    moving, rows = list(net.parameters()), list[tuple[Tensor, ...]]()
    before = [p.requires_grad for p in moving]
    try:
        net.requires_grad_()
        with plain_kernels(net), torch.enable_grad():
            for i in range(len(x)):
                loss = cross_entropy(net(x[i : i + 1]), y[i : i + 1])
                rows.append(torch.autograd.grad(loss, moving, create_graph=True, materialize_grads=True))
            return [torch.stack(each) for each in zip(*rows, strict=True)]
    finally:
        for p, flag in zip(moving, before, strict=True):
            p.requires_grad_(flag)
