"""Randomness from (seed, purpose, index), never from global state, the rank or the clock."""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch


class Rng(Protocol):
    """`rng(purpose, index)`: a CPU generator that always starts in the same state for the same seed and the same two words."""

    def __call__(self, purpose: str, index: int = 0, /) -> torch.Generator:
        """A fresh generator."""


def streams(seed: int) -> Rng:
    """The generators of one seed."""

    def rng(purpose: str, index: int = 0) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    return rng
