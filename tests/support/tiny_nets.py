"""Smooth networks small enough for dense Hessians and retraining, a real set of two unequal classes, and a synthetic one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.draws import generator

N, CLASSES = 9, 2
Y = torch.tensor([0, 1, 0, 0, 1, 0, 0, 1, 0])  # six and three
SYNTHETIC_Y = torch.tensor([0, 0, 1, 1])
COUNTS = [6, 3]
OF = [torch.eq(Y, c) for c in range(CLASSES)]  # which rows are of class c
SYNTHETIC_OF = [torch.eq(SYNTHETIC_Y, c) for c in range(CLASSES)]


class Net(nn.Module):
    def __init__(self, body: nn.Module, width: int):
        super().__init__()
        self.body, self.classifier = body, nn.Linear(width, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))


class Uneven(nn.Module):
    """tanh of units at different scales, so that weight decay does not make them all alike."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x * torch.linspace(0.5, 2, x.shape[1], dtype=x.dtype))


def _conv(norm: nn.Module) -> Net:
    return Net(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), norm, nn.GELU(), nn.AvgPool2d(2), nn.Flatten()), 16)


NETS = {
    "linear": lambda: Net(nn.Flatten(), 32),
    "mlp": lambda: Net(nn.Sequential(nn.Flatten(), nn.Linear(32, 4), Uneven()), 4),
    "group": lambda: _conv(nn.GroupNorm(2, 4)),
    "instance": lambda: _conv(nn.InstanceNorm2d(4, affine=True)),
}


def make_net(name: str, seed: int = 1) -> nn.Module:
    net, g = NETS[name]().double(), generator(seed)
    for p in net.parameters():
        p.data.copy_(0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64) + (p.dim() == 1) * 0.5)
    return net


def real(seed: int = 0) -> Tensor:
    return torch.randn(N, 2, 4, 4, generator=generator(seed), dtype=torch.float64)


def synthetic() -> Tensor:
    return torch.randn(4, 2, 4, 4, generator=generator(5), dtype=torch.float64)


def losses(net: nn.Module, p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    logits = torch.func.functional_call(net, p, (x,))
    return -(F.log_softmax(logits, 1) * (y if y.is_floating_point() else F.one_hot(y, CLASSES))).sum(1)


def parameters(net: nn.Module) -> dict[str, Tensor]:
    return {k: p.detach() for k, p in net.named_parameters()}
