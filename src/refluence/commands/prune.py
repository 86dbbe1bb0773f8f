"""The training split of a run that prunes before it distils: scored once, kept in the folder, the same after a resume."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import LongTensor, Tensor

from refluence.commands.arms import methods
from refluence.commands.session import Session
from refluence.commands.unit import Unit
from refluence.condense.loop import Distillation
from refluence.condense.prune import kept, restrict
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import write_tensors
from refluence.influence.weighting import Weighting
from refluence.seeds import streams
from refluence.select.influence import scores as influence_scores
from refluence.select.young_networks import losses, mean_over_networks

FILE = "kept.safetensors"


def pruned(unit: Unit, session: Session, folder: Path) -> tuple[Dataset, float, dict[str, Any]]:
    """What the unit distils from, the seconds that ranking took, and what the card says of it.

    `kept.safetensors` in the folder: `rows` that were kept, and `scores` of every training instance (the highest are best).
    """
    dataset, how = session.dataset, unit.weighting
    if not how.prunes:
        return dataset, 0.0, {}
    found = _read(folder / FILE, dataset)
    if found is None:
        begin = time.monotonic()
        ranking = scores(unit, session)
        positions = kept(ranking, dataset, how.keep, how.sign)
        found = positions, time.monotonic() - begin
        tensors = {"rows": dataset.train.rows[positions], "scores": ranking}
        write_tensors(folder / FILE, tensors, {"seconds": str(found[1])})
    positions, seconds = found
    facts = {"share": how.keep, "by": how.by, "images": len(positions), "of": len(dataset.train), "seconds": round(seconds, 3)}
    return restrict(dataset, positions), seconds, {"kept": facts}


def scores(unit: Unit, session: Session) -> Tensor:
    """What instances are ranked by `(N,)`, the highest kept first: influence, minus the loss, or random numbers.

    Influence is that of the run's own method at its own initial images, at random real ones where these are noise (ours: the
    source does not say where); the loss is the mean over three networks trained on the training split
    (`select/young_networks.py`).
    """
    dataset, rng, device, steps = session.dataset, streams(unit.seed), session.compute.device, unit.selection_steps
    if unit.weighting.by == "random":
        return torch.rand(len(dataset.train), generator=rng("prune-random", 0), dtype=torch.float64)
    if unit.weighting.by == "loss":
        return -mean_over_networks(losses, dataset, unit.model, rng, device, steps)
    assert unit.settings is not None, "a selection does not prune"
    method = methods()[unit.arm.method]
    settings = unit.settings.with_(initial="real") if unit.settings.initial == "noise" else unit.settings
    start = Distillation(method, settings, Weighting(), dataset, unit.model, rng, session.compute)
    return influence_scores(start.images, start.labels, method, settings, dataset, unit.model, rng, device, steps)


def _read(path: Path, dataset: Dataset) -> tuple[LongTensor, float] | None:
    """Positions and seconds as an earlier session wrote them; None where there was none."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            seconds, rows = float(file.metadata()["seconds"]), file.get_tensor("rows")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not what a run that prunes wrote ({error}); delete it to rank again") from error
    return torch.isin(dataset.train.rows, rows).nonzero().flatten(), seconds
