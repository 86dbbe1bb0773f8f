"""Networks that draw random numbers while they train: from torch, numpy and Python, none of which a generator is given to."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.models import build


class Noise(nn.Module):
    """Dropout, a random brightness and a random mirror image; in evaluation mode the identity, unless `always`."""

    def __init__(self, always: bool = False):
        super().__init__()
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or self.always):
            return x
        x = F.dropout(x, 0.3) + 0.3 * torch.randn(len(x), 1, 1, 1).to(x) + 0.1 * float(np.random.randn())
        return x.flip(-1) if random.random() < 0.5 else x


def noisy(spec, generator, device="cpu", always=False) -> nn.Module:
    """`build`, with noise on the images."""
    net = build(spec, generator, device)
    net.body.insert(0, Noise(always))
    return net.train()


def stir(number: int) -> None:
    """Put the global generators somewhere else."""
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def stirred() -> tuple:
    """Where the global generators stand."""
    keys = np.random.get_state()
    return torch.get_rng_state().tolist(), keys[1].tolist(), keys[2:], random.getstate()
