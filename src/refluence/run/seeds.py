"""Randomness from (seed, purpose, index), never from global state, the rank or the clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch


def streams(seed: int) -> Callable[[str, int], torch.Generator]:
    """`rng(purpose, index)`: a CPU generator that always starts in the same state for the same three words."""

    def rng(purpose: str, index: int = 0) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    return rng
