"""How far an image is from training a network as its class does (IGD eq. 7), and the gradient of that by the image:

    E(x, c) = 1/|R| sum_e eta_e (1 - cos(g_c(theta_e), a_e))        a_e = grad_theta l(x, c; theta_e)

over the retained checkpoints. eta_e are learning rates, divided by their mean ("trained", the paper), or 1 ("equal", the
released code).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from refluence.errors import InputError, did_you_mean
from refluence.functional import call_at
from refluence.generate.surrogate import Surrogate
from refluence.influence.differentiable import plain_kernels

AVERAGING = ("trained", "equal")
TINY = 1e-12  # beside the norm of an image's gradient: a gradient of 0 has cosine 0


class InfluenceEnergy:
    """Eq. 7 of batches of images of any classes, at the checkpoints of a surrogate."""

    def __init__(self, surrogate: Surrogate, device: torch.device | str = "cpu", averaging: str = "trained"):
        if averaging not in AVERAGING:
            raise InputError(f"unknown averaging '{averaging}': {did_you_mean(averaging, AVERAGING)}")
        rates = torch.tensor(surrogate.rates if averaging == "trained" else [1.0] * len(surrogate))
        self.shares = (rates / rates.sum()).tolist()
        self.nets = surrogate.networks(device)
        self.wanted = [(g / (g.norm(dim=1, keepdim=True) + TINY)).to(device) for g in surrogate.gradients]

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """E `(B,)` of images `(B, C, H, W)`, normalised as the surrogate's, of classes y `(B,)`."""
        return self.gradient(x, y)[0]

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """E `(B,)` and dE/dx `(B, C, H, W)` of each image, both detached."""
        energy, slope = x.new_zeros(len(x)), torch.zeros_like(x)
        for net, wanted, share in zip(self.nets, self.wanted, self.shares, strict=True):
            cosine, by_image = cosine_gradient(net, x.detach(), y, wanted[y])
            energy += share * (1 - cosine)
            slope -= share * by_image
        return energy, slope


def cosine_gradient(net: nn.Module, x: Tensor, y: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """cos(wanted_i, grad l_i) `(B,)` and its gradient by x_i, for unit vectors `wanted (B, P)`."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def one(p: dict[str, Tensor], xi: Tensor, yi: Tensor) -> Tensor:
        return cross_entropy(call_at(net, p, xi[None]), yi[None])

    with plain_kernels(net), torch.enable_grad():
        x = x.detach().requires_grad_()
        each = vmap(grad(one), in_dims=(None, 0, 0))(parameters, x, y)
        rows = torch.cat([each[name].flatten(1) for name in parameters], 1)
        cosine = (rows * wanted).sum(1) / (rows.square().sum(1).clamp_min(TINY**2).sqrt() + TINY)
        (slope,) = torch.autograd.grad(cosine.sum(), x)
    return cosine.detach(), slope
