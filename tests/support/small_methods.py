"""Every method on one tiny case in float64: two classes, a real batch that is the whole class, networks of six channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from refluence.condense import networks
from refluence.condense.loop import Distillation
from refluence.condense.method import Method
from refluence.data.dataset import Dataset
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import methods
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet2", (3, 8, 8), 2, width=4)
UNIFORM = Weighting()
METHODS = sorted(name for name, method in methods().items() if isinstance(method, Method))
SMALL = {"iterations": 6, "real_batch": 9, "inner": 2, "pretrain": 3, "stage_epochs": 1, "frequencies": 7, "net_batch": 8}


@dataclass(frozen=True)
class Wide(Dataset):
    """A dataset whose pixels are float64."""

    def pixels(self, split, positions=slice(None), device="cpu"):
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (self.mean, self.std))
        return (split.images[positions].double() / 255 - mean) / std


def wide(sizes=(7, 6)) -> Wide:
    data = tiny_dataset(sizes)
    return Wide(**{name: getattr(data, name) for name in data.__dataclass_fields__})


def small(name: str, **changes):
    """A method and its settings at a size that takes a fraction of a second."""
    method = methods()[name]
    settings = method.settings(3, "cpu", (3, 8, 8))
    return method, settings.with_(**{"outer": min(3, settings.outer), **SMALL, **changes})


def run(name: str, weighting: Weighting = UNIFORM, data: Dataset | None = None, spec: ModelSpec = SPEC, **changes):
    """A distillation that was run to its end, with its `events`."""
    work = start(name, weighting, data, spec, **changes)
    work.events = list(work.steps())
    return work


def start(name: str, weighting: Weighting = UNIFORM, data: Dataset | None = None, spec: ModelSpec = SPEC, **changes):
    method, settings = small(name, **changes)
    data = data or tiny_dataset((23, 14))
    return Distillation(method, settings, weighting, data, replace(spec, classes=len(data.classes)), streams(0))


def in_float64(monkeypatch) -> None:
    """Networks of distillations in float64."""
    monkeypatch.setattr(networks, "build", lambda *words: build(*words).double())
