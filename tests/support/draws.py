"""Random numbers of tests: a generator of its own for every draw, never global state."""

import torch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
