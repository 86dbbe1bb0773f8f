"""The influence of every instance on the objective at a *given* synthetic set S (IWD eq. 8 and 24), real and synthetic.

    I_j     = E_theta0 sum_t <grad_2 D(a_t, b_t), g_j>        j real: over all of D, or over one batch a class
    I_i^syn = E_theta0 sum_t <grad_1 D(a_t, b_t), g_i>        i synthetic: orders the pictures as Fig. 5 does (reading: ours)

The mean over t is reported in place of the sum: the same order, a scale that does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from refluence.condense.base import Method, Settings
from refluence.condense.loop import Rng, freeze_norm_statistics, train_on_synthetic
from refluence.data.dataset import Dataset
from refluence.influence.capture import capture
from refluence.influence.distillation import RunningInfluence, explicit
from refluence.matching import augment
from refluence.matching.discrepancies import first_derivative, second_derivative
from refluence.models import ModelSpec, build


def points(nets: int, outer: int) -> list[tuple[int, int]]:
    """The (initialisation, t) at which theta is taken: at most four t between 0 and outer - 1 for each network."""
    times = sorted({round(i * (outer - 1) / 3) for i in range(4)})
    return [(net, t) for net in range(nets) for t in times]


def influence(
    images: Tensor,
    labels: Tensor,
    method: Method,
    settings: Settings,
    dataset: Dataset,
    spec: ModelSpec,
    rng: Rng,
    *,
    nets: int = 3,
    whole: bool = False,
    device: torch.device | str = "cpu",
    track: Callable[[list], Iterator] = iter,
) -> tuple[Tensor, RunningInfluence, Tensor]:
    """Influence of the synthetic images `(M,)`, of real instances (a table over `dataset.train`), and their losses `(N,)`.

    The network is taken as matching takes it (batch norm frozen on real images); a and b are of images as they are, also
    where the run's matching augments them. `whole`: b is the mean over *all* of a class and every instance is scored; else
    over one real batch a class.
    Losses are means over the points, NaN where an instance was not visited.
    """
    images, labels = images.to(device), labels.to(device)
    table, losses = RunningInfluence(len(dataset.train)), RunningInfluence(len(dataset.train))
    synthetic = torch.zeros(len(images), dtype=torch.float64)
    augmentation = augment.parse(settings.augmentation) if settings.augmentation else None
    members = [dataset.train.members(c) for c in range(len(dataset.classes))]
    where, net, at = points(nets, settings.outer), None, (-1, 0)
    for point in track(where):
        if point[0] != at[0]:
            net, at = build(spec, rng("scoring-network", point[0]), device), (point[0], 0)
        while at[1] < point[1]:
            generator = rng("scoring-inner", point[0] * settings.outer + at[1])
            train_on_synthetic(net, images, labels, settings, generator, augmentation)
            at = (at[0], at[1] + 1)
        freeze_norm_statistics(net, dataset, members, rng("scoring-norm", point[0] * settings.outer + point[1]), device)
        names = {n for n, p in net.named_parameters() if method.discrepancy.uses(p)}
        for c in range(len(dataset.classes)):
            of_class = labels == c
            small = capture(net, images[of_class], labels[of_class], names=names)
            positions = members[c]
            if not whole:
                order = torch.randperm(len(positions), generator=rng("scoring-batch", point[0] * len(dataset.classes) + c))
                positions = positions[order[: settings.real_batch]]
            a, b = small.gradient(), _mean_gradient(net, dataset, positions, c, names, device)
            direction = second_derivative(method.discrepancy, a, b)[1]
            for chunk in positions.split(settings.real_batch):
                kept = _real(net, dataset, chunk, c, names, device)
                table.add(chunk, *[explicit(kept, direction).cpu()] * 2)
                losses.add(chunk, *[kept.losses.cpu()] * 2)
            mine = small.scores(first_derivative(method.discrepancy, a, b)[1])
            synthetic[of_class.cpu()] += mine.cpu().double() / len(where)
    return synthetic, table, losses.raw.masked_fill(losses.visits == 0, torch.nan)


def _mean_gradient(net, dataset: Dataset, positions: Tensor, label: int, names: set[str], device) -> dict[str, Tensor]:
    """b of one class over `positions`, in chunks."""
    total: dict[str, Tensor] = {}
    for chunk in positions.split(256):
        part = _real(net, dataset, chunk, label, names, device).gradient()
        for name, value in part.items():
            total[name] = total.get(name, 0) + value * (len(chunk) / len(positions))
    return total


def _real(net, dataset: Dataset, positions: Tensor, label: int, names: set[str], device):
    x = dataset.pixels(dataset.train, positions, device)
    return capture(net, x, torch.full((len(positions),), label, device=x.device), names=names)
