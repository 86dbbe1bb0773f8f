"""What a student sees, and when: instances with their targets, the order of an epoch, augmentation, and the learning rate.

Randomness is keyed by the epoch (order) or the step of the optimiser (augmentation), so a run that was stopped goes on with the
same batches. A last, smaller batch is left out: another one each epoch; a set smaller than a batch is one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.data.dataset import Dataset, Split
from refluence.data.text import TextDataset
from refluence.influence.batches import passes
from refluence.matching.augment import parse
from refluence.training.objectives import Targets
from refluence.training.predict import evaluating
from refluence.training.schedules import rates, triangle
from refluence.transfer.settings import Settings

RISE = 0.2  # share of the steps in which the rate of the schedule triangle rises
MILESTONES, FACTOR = (150 / 240, 180 / 240, 210 / 240), 0.1  # of the schedule steps: CRD, arXiv 1910.10699
BLOCK = 100  # steps of the optimiser between two checkpoints, at most
CHUNK_PIXELS, CHUNK_TEXTS = 2**19, 256  # what is turned into floats at once; texts that are padded together


@dataclass(frozen=True, eq=False)
class Instances:
    """Instances of a split at `positions (n,)` as batches (x, y), read anew at every pass.

    y is the labels `(B,)`, or where `logits (N, C)` of the whole split are given, (labels, logits).
    """

    dataset: Dataset
    split: Split
    positions: Tensor
    device: torch.device
    logits: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Targets]]:
        for part in self.positions.split(self._chunk):
            yield self.dataset.pixels(self.split, part, self.device), self._targets(part)

    def __len__(self) -> int:
        return -(-len(self.positions) // self._chunk)

    def take(self, positions: Tensor) -> Instances:
        """Others of the same split."""
        return Instances(self.dataset, self.split, positions, self.device, self.logits)

    def inputs(self) -> Tensor:
        """x of all of them, `(n, ...)`."""
        return self.dataset.pixels(self.split, self.positions, self.device)

    def labels(self) -> Tensor:
        """Their labels `(n,)`."""
        return self.split.labels[self.positions].to(self.device)

    def plain(self) -> Instances:
        """The same with their labels alone."""
        return Instances(self.dataset, self.split, self.positions, self.device)

    def _targets(self, positions: Tensor) -> Targets:
        labels = self.split.labels[positions].to(self.device)
        return labels if self.logits is None else (labels, self.logits[positions.to(self.device)])

    @property
    def _chunk(self) -> int:
        size = self.split.images.shape
        return max(1, CHUNK_PIXELS // (size[-1] * size[-2])) if len(size) == 4 else CHUNK_TEXTS


@torch.no_grad()
def logits_of(net: nn.Module, instances: Instances) -> Tensor:
    """Logits `(n, C)` of a network in evaluation mode, on its device."""
    return torch.cat([net(x) for x, _, _ in passes(instances.plain(), instances.device)])


def accuracy(net: nn.Module, instances: Instances) -> float:
    """Percent of the instances that a network is right on, in evaluation mode; its mode is put back."""
    with evaluating(net):
        right = logits_of(net, instances).argmax(1) == instances.labels()
    return 100 * float(right.double().mean())


def joined(dataset: Dataset, first: Split, second: Split) -> Split:
    """One split of the instances of both, without what training does not read; texts are padded to one length."""
    images = [first.images, second.images]
    if isinstance(dataset, TextDataset):
        longest = max(ids.shape[1] for ids in images)
        images = [F.pad(ids, (0, longest - ids.shape[1]), value=dataset.words.pad) for ids in images]
    labels, rows = torch.cat([first.labels, second.labels]), torch.cat([first.rows, second.rows])
    return Split(torch.cat(images), labels, rows)


@dataclass(frozen=True)
class Course:
    """The steps of an optimiser over `epochs` of so many instances, in blocks of `length` at most."""

    instances: int
    settings: Settings
    length: int = BLOCK

    @property
    def size(self) -> int:
        """Instances in a batch."""
        return min(self.settings.batch, self.instances)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.instances // self.size

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.settings.epochs * self.per_epoch

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.settings.epochs * -(-self.per_epoch // self.length)

    def block(self, number: int) -> range:
        """The steps of a block, all of one epoch."""
        epoch, part = divmod(number, -(-self.per_epoch // self.length))
        begin = epoch * self.per_epoch
        return range(begin + part * self.length, begin + min((part + 1) * self.length, self.per_epoch))

    def rows(self, step: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Positions `(B,)` of the batches of an epoch from this step on; `generator` is that of the epoch."""
        order = torch.randperm(self.instances, generator=generator)
        yield from order[step % self.per_epoch * self.size : self.per_epoch * self.size].split(self.size)

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0 on."""
        how = self.settings
        if how.schedule == "triangle":
            return how.lr * triangle(step + 1, self.total, RISE)
        if how.schedule == "constant":
            return how.lr
        return rates("steps", how.lr, how.epochs, milestones=MILESTONES, factor=FACTOR)[step // self.per_epoch]


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images `(B, C, H, W)` moved by up to an eighth of a side, and where they have colours mirrored half of the time."""
    strategy = parse("crop_flip" if x.shape[1] == 3 else "crop", "M")
    return strategy.apply(strategy.draw(generator, x.shape[2:], len(x)), x)
