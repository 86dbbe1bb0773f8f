"""Global random numbers from our seed: what foreign code draws while it trains or runs a network.

Our own code draws from generators of (seed, purpose, index). Dropout, stochastic depth, noise and a user's numpy draw from
global state; inside `seeded` that state follows from such a generator, and afterwards it is what it was.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(source: torch.Generator | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """The global generators of torch (the CPU's and that of `device`), numpy and Python, seeded for a block, then put back.

    `source`: a seed, or a generator whose state decides (it does not move: what is drawn from it stays the same). Global
    state belongs to the process: a block holds no `yield`, and no other thread that draws runs beside it.
    """
    seed = source if isinstance(source, int) else _seed_of(source)
    generators = global_generators(device)
    before, numpys, pythons = [g.get_state() for g in generators], np.random.get_state(), random.getstate()
    for generator in generators:
        generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        np.random.set_state(numpys)
        random.setstate(pythons)


def global_generators(device: torch.device | str = "cpu") -> list[torch.Generator]:
    """Torch's own generators: that of the CPU, and that of `device` where it is another."""
    device = torch.device(device)
    if device.type == "cpu":
        return [torch.default_generator]
    torch.zeros((), device=device)  # an accelerator has generators once it is in use
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    module = torch.get_device_module(device)
    index = module.current_device() if device.index is None else device.index
    return [torch.default_generator, module.default_generators[index]]


def drawn_so_far(device: torch.device | str = "cpu") -> bytes:
    """Where the global generators stand: the same bytes until one of them is drawn from."""
    states = [g.get_state().numpy().tobytes() for g in global_generators(device)]
    numpys = np.random.get_state(legacy=True)
    assert isinstance(numpys, tuple), "the state of numpy's generator is a tuple unless a dictionary is asked for"
    _, keys, *rest = numpys
    return _digest(*states, keys.tobytes(), repr((rest, random.getstate())).encode())


def _seed_of(generator: torch.Generator) -> int:
    """A seed that a generator's state decides, by a hash: the global numbers are not those that it gives itself."""
    return int.from_bytes(_digest(generator.get_state().numpy().tobytes())[:8], "little") >> 1


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
