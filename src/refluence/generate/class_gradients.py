"""The gradient of the mean loss of each class at one network (IGD eq. 6), perhaps weighted (IWD's weights; ours):

    g_c = sum_i w_i grad l(x_i, c; theta) / sum_i w_i        over all images of class c, or so many that were drawn

The network is in evaluation mode, so that no image's gradient depends on others and buffers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.errors import InputError, option
from refluence.influence import risk_gradient
from refluence.seeds import Rng
from refluence.training.predict import evaluating

CHUNK_PIXELS = 2**18  # images at once x height x width


@dataclass(frozen=True, eq=False)
class ClassImages:
    """The training images at `positions (n,)` of one class as batches (x, y, omega), read anew at every pass.

    `omega (n,)`: weights of mean 1, None for ones. `chunk`: images that are turned into floats at once.
    """

    dataset: Dataset
    positions: Tensor
    omega: Tensor | None
    device: torch.device
    chunk: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        split, parts = self.dataset.train, self.positions.split(self.chunk)
        weights = [None] * len(parts) if self.omega is None else self.omega.split(self.chunk)
        for part, omega in zip(parts, weights, strict=True):
            x = self.dataset.pixels(split, part, self.device)
            yield x, split.labels[part].to(self.device), None if omega is None else omega.to(self.device)


def chosen(dataset: Dataset, real: int | None, rng: Rng) -> list[Tensor]:
    """Positions of the training images that stand for each class: all, or `real` of each, drawn by `rng("real-images", class)`.

    Raises:
        InputError: a class has fewer, or none.
    """
    found = []
    for label, name in enumerate(dataset.classes):
        members = dataset.train.members(label)
        if len(members) < (real or 1):
            few = f"class '{name}' has {len(members)} training images"
            raise InputError(f"{few}: {option('real')} can be at most that, {real} was asked for" if len(members) else few)
        if real is not None:
            members = members[torch.randperm(len(members), generator=rng("real-images", label))[:real]].sort().values
        found.append(members)
    return found


def inside_class(dataset: Dataset, positions: Tensor, weights: Tensor | None) -> Tensor | None:
    """Weights `(n,)` of mean 1 of the images of one class at `positions (n,)`, from those of all training images `(N,)`.

    Raises:
        InputError: none of them counts.
    """
    if weights is None:
        return None
    own = weights[positions].double()
    if not bool(own.sum() > 0):
        name = dataset.classes[int(dataset.train.labels[positions[0]])]
        raise InputError(f"the weights of all images of class '{name}' are 0: its mean gradient has none to average")
    return own / own.mean()


def class_gradients(
    net: nn.Module,
    dataset: Dataset,
    positions: Sequence[Tensor],
    weights: Tensor | None = None,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
) -> Tensor:
    """The mean gradient of every class, flat over the network's parameters in their order.

    Args:
        net: on `device`; its mode and buffers are as they were afterwards.
        dataset: its training split is read in chunks.
        positions: of the images of each class, as `chosen` gives them.
        weights: `(N,)` of the training split, not below 0; of each class only their ratios count. None: all alike.
        device: where it runs.
        chunk: images at once (default: by their size).

    Returns:
        `(C, P)`, on the CPU, in the precision of the network.

    Raises:
        InputError: a class whose weights are all 0.
    """
    size, device = chunk or max(1, CHUNK_PIXELS // dataset.area), torch.device(device)
    rows = []
    with evaluating(net):
        for members in positions:
            images = ClassImages(dataset, members, inside_class(dataset, members, weights), device, size)
            gradients, _ = risk_gradient(net, images)
            rows.append(torch.cat([g.flatten() for g in gradients.values()]).cpu())
    return torch.stack(rows)
