"""What jobs run with: a loaded source and a prepared machine; and what of both decides a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refluence.compute import Compute
from refluence.condense.job import PICTURE_NETS
from refluence.condense.norms import NORM_BATCH
from refluence.data import Dataset, SourceOptions
from refluence.data.partition import TEST_FRACTION
from refluence.run import device as machine
from refluence.run.drive import Driver
from refluence.run.progress import Reporter
from refluence.select import forgetting, pretrain, young_networks
from refluence.select import influence as by_influence


@dataclass(frozen=True)
class Session:
    """A prepared machine and a loaded source."""

    dataset: Dataset
    compute: Compute
    reporter: Reporter
    checkpoint_seconds: float = 10.0

    @property
    def driver(self) -> Driver:
        """How works are driven here."""
        return Driver(self.compute.device, self.reporter, self.checkpoint_seconds)


def about(session: Session, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a result beside the jobs: the data as it was read, the machine's part, numbers that no flag sets.

    `options` are those of the source that were asked for.
    """
    dataset, compute = session.dataset, session.compute
    return {
        "data": {
            "source": dataset.source,
            "classes": list(dataset.classes),
            "shape": list(dataset.shape),
            "train": len(dataset.train),
            "val": len(dataset.val),
            "test": len(dataset.test),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "options": {k: v for k, v in options.items() if k != "val_fraction" or v != SourceOptions.val_fraction},
        },
        "machine": {
            **machine.describe(),
            "device": compute.device.type,
            "precision": compute.precision,
            "compile": compute.compile,
        },
        "constants": {
            "val_fraction": SourceOptions.val_fraction,
            "test_fraction": TEST_FRACTION,
            "picture_nets": PICTURE_NETS,
            "norm_batch": NORM_BATCH,
            "pretraining": {
                "steps": pretrain.STEPS,
                "batch": pretrain.BATCH,
                "lr": pretrain.LR,
                "momentum": pretrain.MOMENTUM,
                "weight_decay": pretrain.WEIGHT_DECAY,
                "early_nets": young_networks.NETS,
                "forgetting_steps": forgetting.STEPS,
                "influence_points": by_influence.STEPS,
            },
        },
    }
