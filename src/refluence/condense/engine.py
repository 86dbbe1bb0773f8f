"""Which engine a run's influence will come from, asked of a fresh network and a few real images before the run."""

from __future__ import annotations

import torch

from refluence.compute import Compute
from refluence.condense.method import Method, Settings
from refluence.data.dataset import Dataset
from refluence.influence import capture
from refluence.models import ModelSpec, build
from refluence.seeds import Rng

FEW = 4


def engine(method: Method, settings: Settings, dataset: Dataset, spec: ModelSpec, rng: Rng, compute: Compute) -> str:
    """One line. A statistic of rows (embeddings) needs only forward passes.

    Errors: `InputError` for a network whose instances have no gradient of their own.
    """
    if method.statistic.name != "gradient":
        return f"influence by forward passes, from the {method.statistic.name} of each instance"
    net, few = build(spec, rng("network", 0), compute.device).eval(), torch.arange(min(FEW, len(dataset.train)))
    distance = method.distance(settings)
    names = [name for name, p in net.named_parameters() if p.requires_grad and distance.uses(p)]
    x, y = dataset.pixels(dataset.train, few, compute.device), dataset.train.labels[few].to(compute.device)
    return str(capture(net, x, y, names=names).choice)
