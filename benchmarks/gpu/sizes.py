"""How large the parts of on_gpu.py are: the published size, and one for a test on the CPU. Images are random."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from refluence.data.dataset import Dataset, Split
from refluence.models import ModelSpec


@dataclass(frozen=True)
class Size:
    """`check`: the network of the comparisons with the CPU, whose real batches have `few` images a class.

    `spec`: the network whose time is measured, with `real` images a class (None: as each method has it published) in a step and
    `ipc` learned ones; `scored` instances in passes of `chunk`; `epochs` of judging; `tested` test images;
    `last` image steps at most in the last part (0: until the end).
    """

    check: ModelSpec
    few: int
    spec: ModelSpec
    real: int | None
    ipc: int
    inner: int
    scored: int
    chunk: int
    epochs: int
    tested: int
    rounds: int
    last: int


PUBLISHED = Size(
    check=ModelSpec("convnet3", (3, 32, 32), 4, width=32), few=16,
    spec=ModelSpec("convnet3", (3, 32, 32), 10, width=128), real=None, ipc=10, inner=50,
    scored=4096, chunk=256, epochs=100, tested=10_000, rounds=5, last=0,
)  # fmt: skip
TINY = Size(
    check=ModelSpec("convnet1", (3, 8, 8), 2, width=4), few=6,
    spec=ModelSpec("convnet1", (3, 8, 8), 2, width=4), real=6, ipc=2, inner=1,
    scored=16, chunk=8, epochs=2, tested=20, rounds=1, last=3,
)  # fmt: skip


def random_dataset(spec: ModelSpec, per_class: int, tested: int = 20) -> Dataset:
    """A dataset of the shape and the classes that a network expects; validation and test images are the same."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        images = torch.randint(0, 256, (n, *spec.shape), generator=generator, dtype=torch.uint8)
        return Split(images, torch.arange(n) % spec.classes, torch.arange(n))

    train, test = split(spec.classes * per_class), split(tested)
    names, channels = tuple(map(str, range(spec.classes))), spec.shape[0]
    return Dataset("random", names, train, test, test, (0.5,) * channels, (0.25,) * channels)
