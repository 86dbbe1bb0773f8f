"""The text that a drawn network's file begins with: layers and networks that do what is not expected of them."""
# ruff: noqa: F401

from __future__ import annotations

import copy
import os
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint


def layer(forward, **parts):
    """A layer from its forward pass and from what makes its parts."""

    def make():
        net = type("Odd", (nn.Module,), {"forward": forward})()
        for key, part in parts.items():
            setattr(net, key, part())
        return net

    return make


def wrapping(forward):
    """A network around another one."""
    return lambda net: layer(forward, net=lambda: net)()


def says(self, x):
    print("hello [red] refluence: ")
    print("hello", file=sys.stderr)
    return x


def later(self, x):
    self.calls += self.training
    if self.calls > 9:
        raise ValueError("too often")
    return x


def two(self, x):
    if len(x) == 1:
        raise ValueError("one image\nis too few")
    return x


def counts(self, x):
    self.n += 1
    return x * (1 + 0.01 * self.n)


def attend(self, x):
    t = x.flatten(2).mT
    return self.a(t, t, t, need_weights=False)[0].mT.reshape(x.shape)


def conv():
    return nn.Conv2d(4, 4, 3, padding=1)


def inferred(net):
    with torch.inference_mode():
        return copy.deepcopy(net)


Always = layer(lambda self, x: F.dropout(x, 0.3))
Attention = layer(attend, a=lambda: nn.MultiheadAttention(4, 2, batch_first=True))
Coupled = layer(lambda self, x: x - x.mean(0))
Counts = layer(counts, n=int)
Noise = layer(lambda self, x: x + torch.rand(len(x), 1, 1, 1) * random.random() if self.training else x)
Prints = layer(says)
Detached = layer(lambda self, x: x.detach())
Rounds = layer(lambda self, x: x.round())
Fourier = layer(
    lambda self, x: torch.fft.ifft2(torch.fft.fft2(x) * torch.view_as_complex(self.w)).real,
    w=lambda: nn.Parameter(torch.ones(4, 1, 1, 2)),
)
Sparse = layer(
    lambda self, x: x + self.e(torch.zeros(1, dtype=torch.long)).view(1, 4, 1, 1), e=lambda: nn.Embedding(3, 4, sparse=True)
)
Numpy = layer(lambda self, x: torch.from_numpy(x.detach().numpy().copy()))
Checkpoint = layer(lambda self, x: checkpoint(self.c, x, use_reentrant=False), c=conv)
Nan = layer(lambda self, x: x * float("nan"))
Late = layer(lambda self, x: x * float("nan") if self.training else x)
Quits = layer(lambda self, x: sys.exit(3))
Integers = layer(lambda self, x: x.long().float())
Writes = layer(lambda self, x: x.mul_(2))
Two = layer(two)
Later = layer(later, calls=int)
Tuple = wrapping(lambda self, x: (self.net(x), 1))
Dict = wrapping(lambda self, x: {"logits": self.net(x)})
Doubled = wrapping(lambda self, x: self.net(x).double())
Integral = wrapping(lambda self, x: self.net(x).long())
hooked = conv()
hooked.register_forward_hook(lambda module, given, out: out * 2)
again = conv()
shared = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
