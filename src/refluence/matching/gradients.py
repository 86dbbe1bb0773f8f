"""The statistic of gradient matching: the gradient of a class's mean loss, on the synthetic and on the real side.

    Phi_syn(S; theta)     = grad_theta (1/M_c) sum_i l(theta; s_i)                (differentiable in S)
    Phi_real(D, w; theta) = grad_theta (1/n)   sum_j omega_j l(theta; z_j)        omega of mean 1, a constant

`names` are the parameters to differentiate: those that the discrepancy ignores cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from refluence.functional import call_at

CHUNK = 64  # samples per pass: bounds the activations that are held at once


def plain(net: nn.Module) -> nn.Module:
    """The network behind a compiled one, whose parameters keep their names."""
    return getattr(net, "_orig_mod", net)


def synthetic_gradient(net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Gradient of the mean loss over `x (M_c, C, H, W)`, with the graph that leads back to `x`."""
    parameters = dict(net.named_parameters())
    wanted = [parameters[n] for n in names]
    gradients = torch.autograd.grad(cross_entropy(net(x), y), wanted, create_graph=True)
    return dict(zip(names, gradients, strict=True))


def real_gradient(
    net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str], omega: Tensor | None = None, chunk: int = CHUNK
) -> dict[str, Tensor]:
    """Gradient of (1/n) sum_j omega_j l_j over `x (n, C, H, W)`; `omega (n,)` of mean 1, None for ones. Detached."""
    parameters = dict(plain(net).named_parameters())
    wanted = [parameters[n] for n in names]
    total: list[Tensor] | None = None
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        losses = cross_entropy(net(x[part]), y[part], reduction="none")
        weighted = losses.sum() if omega is None else losses @ omega[part].to(losses)
        gradients = torch.autograd.grad(weighted / len(x), wanted)
        total = list(gradients) if total is None else [t.add_(g) for t, g in zip(total, gradients, strict=True)]
    assert total is not None, "a real batch holds at least one instance"
    return dict(zip(names, total, strict=True))


def per_sample_gradients(
    net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str], chunk: int = CHUNK
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Chunks of (positions, k of them; gradients `(k, *shape)`): for weights *outside* the distance, which need no less."""
    net = plain(net)
    parameters = {n: p.detach() for n, p in net.named_parameters()}
    fixed = {**parameters, **dict(net.named_buffers())}
    wanted = {n: parameters[n] for n in names}

    def loss(wanted: dict[str, Tensor], xi: Tensor, yi: Tensor) -> Tensor:
        return cross_entropy(call_at(net, {**fixed, **wanted}, xi[None]), yi[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        yield part, each(wanted, x[part], y[part])
