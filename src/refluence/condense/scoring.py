"""The influence of every instance on the objective at a *given* synthetic set S (IWD eq. 8 and 24), real and synthetic.

    I_j     = E_theta0 sum_t <grad_2 D(a_t, b_t), phi_j>        j real: over all of D, or over one batch a class
    I_i^syn = E_theta0 sum_t <grad_1 D(a_t, b_t), phi_i>        i synthetic: orders the pictures as Fig. 5 does (reading: ours)

The mean over t is reported in place of the sum: the same order, a scale that does not grow with the number of steps. Explicit
terms alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.condense.method import Method, Settings
from refluence.condense.networks import Context
from refluence.condense.norms import freeze_norm_statistics
from refluence.condense.statistics import Bound
from refluence.condense.synthetic import Synthetic
from refluence.data.dataset import Dataset
from refluence.influence.distillation import RunningInfluence
from refluence.matching.discrepancies import first_derivative, second_derivative
from refluence.models import ModelSpec
from refluence.randomness import seeded
from refluence.seeds import Rng


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
    track: Callable[[list[tuple[int, int]]], Iterator[tuple[int, int]]] = iter,
    soft: Tensor | None = None,
    lr: float | None = None,
) -> tuple[Tensor, RunningInfluence, Tensor]:
    """Influence of the synthetic images `(M,)`, of real instances (a table over `dataset.train`), and their losses `(N,)`.

    `images`: stored, normalised; `soft` labels `(M, K)` and a learning rate `lr` where they were learned too. The networks are
    those of the method, from random streams of their own; a and b are of images as they are, also where the run's matching
    augments them. `whole`: b is the mean over *all* of a class and every instance is scored; else over one real batch a class.
    A stored image that decodes into several has the sum of theirs. Losses are means over the points, NaN where an instance was
    not visited.
    """
    device, compute = torch.device(device), Compute(torch.device(device))

    def stream(purpose: str, index: int = 0, /) -> torch.Generator:
        return rng(f"scoring-{purpose}", index)

    settings = settings.with_(stages=1)
    table, losses = RunningInfluence(len(dataset.train)), RunningInfluence(len(dataset.train))
    pictures = torch.zeros(len(images), dtype=torch.float64)
    small = Synthetic(images, labels, settings.with_(initial="real"), dataset, method.unit_pixels, device)
    if small.logits is not None and soft is not None:
        small.logits.data.copy_(soft.clamp_min(torch.finfo(soft.dtype).tiny).log())
    if lr is not None:
        small.log_rate = math.log(lr)
    members = [dataset.train.members(c) for c in range(len(dataset.classes))]
    networks = method.networks(Context(settings.with_(iterations=nets * settings.outer), dataset, spec, stream, compute))
    distance, at, where = method.distance(settings), 0, points(nets, settings.outer)
    for number, t in track(where):
        step = number * settings.outer + t
        with seeded(stream("point", step), device):
            for between in range(at, step):
                networks.ready(between, small)
                networks.advance(between, small)
            networks.ready(step, small)
            freeze_norm_statistics(networks.net, dataset, members, stream("norm-batch", step), device)
            bound = method.statistic.at(networks.net, networks.net, distance, settings, stream("frequencies", step), compute)
            for c in range(len(members)):
                positions = members[c]
                if not whole:
                    order = torch.randperm(len(positions), generator=stream("batch", number * len(members) + c))
                    positions = positions[order[: settings.real_batch]]
                rows, leaves = small.leaves(c)
                x, y = small.view(c, leaves)
                own = bound.measure(x.detach(), y.detach())
                a, b = own.gradient(), _mean(bound, dataset, positions, c, device)
                direction = second_derivative(distance, a, b)[1]
                for chunk in positions.split(settings.real_batch):
                    x, y = _real(dataset, chunk, c, device)
                    kept = bound.measure(x, y)
                    score, loss = kept.scores(direction).cpu(), kept.losses.cpu()
                    table.add(chunk, score, score)
                    losses.add(chunk, loss, loss)
                mine = own.scores(first_derivative(distance, a, b)[1]).cpu().double()
                pictures[rows.cpu()] += mine.view(-1, len(rows)).sum(0) / len(where)
            networks.advance(step, small)
        at = step + 1
    return pictures, table, losses.raw.masked_fill(losses.visits == 0, torch.nan)


def _mean(bound: Bound, dataset: Dataset, positions: Tensor, label: int, device: torch.device) -> dict[str, Tensor]:
    """b of one class over `positions`, in chunks."""
    total: dict[str, Tensor] = {}
    for chunk in positions.split(256):
        x, y = _real(dataset, chunk, label, device)
        for name, value in bound.mean(x, y, None).items():
            total[name] = total.get(name, 0) + value * (len(chunk) / len(positions))
    return total


def _real(dataset: Dataset, positions: Tensor, label: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return dataset.pixels(dataset.train, positions, device), torch.full((len(positions),), label, device=device)
