"""A small set made: distilled (from the start or the last checkpoint) or selected, and written to `distilled/`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import LongTensor

from refluence.commands.arms import methods
from refluence.commands.prune import pruned
from refluence.commands.score_files import extremes, write_scores
from refluence.commands.session import PICTURE_NETS, Session
from refluence.commands.unit import Unit
from refluence.condense.events import StepEvent
from refluence.condense.loop import Distillation
from refluence.condense.scoring import influence
from refluence.data import Dataset
from refluence.data.distilled import DistilledSet, save_distilled
from refluence.errors import InputError, RunError
from refluence.files import write_tensors
from refluence.influence.bags import bag_weights
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import BY_INFLUENCE, KINDS
from refluence.run import checkpoint
from refluence.run import device as machine
from refluence.run.folder import Metrics
from refluence.seeds import streams
from refluence.select.tiles import tiled


def make_distillation(unit: Unit, session: Session, folder: Path) -> None:
    """Run Algorithm 1 from the start or the last checkpoint, and write `distilled/`."""
    assert unit.settings is not None, "a selection has no settings"
    method, rng = methods()[unit.arm.method], streams(unit.seed)
    dataset, ranked, kept = pruned(unit, session, folder)
    work = Distillation(method, unit.settings, unit.weighting, dataset, unit.model, rng, session.compute)
    spent = _Spent(session.compute.device, ranked)
    if saved := checkpoint.load(folder):
        work.restore(saved[0])
        spent.restore(saved[1])
    metrics, last = Metrics(folder / "metrics.jsonl", work.step), time.monotonic()
    try:
        for event in session.reporter.track(_steps(work, unit, folder), unit.what, unit.settings.iterations, work.step):
            spent.step(event.ess)
            metrics.write({**asdict(event), "seconds": round(spent.seconds, 3)})
            if time.monotonic() - last >= session.checkpoint_seconds and _finite(work):
                checkpoint.save(folder, work.state(), spent.state())
                last = time.monotonic()
    finally:
        metrics.close()
    if not bool(work.images.isfinite().all()):
        raise _stopped(unit, folder, f"the images are not finite after iteration {work.step - 1}")
    checkpoint.save(folder, work.state(), spent.state())
    card = {**_card(unit, dataset), **kept, "iterations": unit.settings.iterations, **spent.summary(unit.settings.iterations)}
    if unit.weighting.kind in BY_INFLUENCE:
        write_influence(unit, dataset, work.table, folder)
    small = learned_set(work)
    if int(work.labels.bincount().max()) > 1:  # else there is nothing to order (commands/pooled.py says why it is none)
        where = (method, unit.settings, dataset, unit.model, rng)
        learned = {"soft": small.soft, "lr": small.lr}
        pictures, _, _ = influence(
            work.images, work.labels, *where, nets=PICTURE_NETS, device=session.compute.device, **learned
        )
        small = replace(small, influence=pictures.nan_to_num(0.0))  # their order alone is of use
    _save(folder, small, card)


def learned_set(work: Distillation) -> DistilledSet:
    """What a run has learned so far, as it is stored."""
    synthetic, settings, dataset = work.synthetic, work.settings, work.dataset
    return DistilledSet(
        work.images.cpu(),
        work.labels.cpu(),
        *(dataset.classes, dataset.mean, dataset.std),
        soft=None if synthetic.soft is None else synthetic.soft.cpu(),
        stage=synthetic.stage.cpu() if settings.stages > 1 else None,
        factor=settings.factor,
        lr=synthetic.rate if settings.lr_lr else None,
    )


def _steps(work: Distillation, unit: Unit, folder: Path) -> Iterator[StepEvent]:
    """The steps that are left; numbers that are no longer finite end the run with its iteration and last checkpoint."""
    try:
        yield from work.steps()
    except RunError as error:
        raise _stopped(unit, folder, str(error)) from None
    except InputError as error:  # scores that cannot be made weights
        raise _stopped(unit, folder, f"{error} at iteration {work.step}") from None


def _finite(work: Distillation) -> bool:
    """Whether a checkpoint taken now could be gone on from: the next step may not have noticed yet."""
    return all(bool(tensor.isfinite().all()) for tensor in work.state().values())


def _stopped(unit: Unit, folder: Path, why: str) -> RunError:
    saved = checkpoint.load(folder)
    good = f"{folder / checkpoint.NAME}, after {int(saved[0]['step'])} iterations" if saved else "none yet"
    return RunError(
        f"{unit.what}: {why}; last good checkpoint: {good}. "
        "A smaller image_lr (as in dc:image_lr=.01), or --precision fp32, may help, in a new folder"
    )


class _Spent:
    """Seconds, peak memory and effective sample size of a run, over all of its sessions."""

    def __init__(self, device: torch.device, before: float):
        self.memory, self.begin = machine.PeakMemory(device), time.monotonic()
        self.before, self.seconds, self.ess, self.peak = before, before, 0.0, 0

    def step(self, ess: float) -> None:
        self.seconds, self.ess = self.before + time.monotonic() - self.begin, self.ess + ess

    def state(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "ess": self.ess, "peak": max(self.peak, self.memory.bytes())}

    def restore(self, state: dict[str, Any]) -> None:
        self.before = self.seconds = state["seconds"]
        self.ess, self.peak = state["ess"], state["peak"]

    def summary(self, steps: int) -> dict[str, Any]:
        state = self.state()
        return {"seconds": round(state["seconds"], 3), "peak_bytes": state["peak"], "ess": self.ess / steps}


def write_influence(unit: Unit, dataset: Dataset, table: RunningInfluence, folder: Path) -> None:
    """scores.parquet of the run's running means, and the report's pictures."""
    losses = torch.full_like(table.raw, torch.nan)  # a run that weights by influence keeps no losses
    labels, classes, rng = dataset.train.labels, len(dataset.classes), streams(unit.seed)
    weight = bag_weights(table.raw, losses, labels, unit.weighting, rng, classes=classes, seen=table.visits > 0)
    write_scores(folder / "scores.parquet", dataset, table.raw, table.visits, weight, losses)
    chosen = extremes(dataset, table.raw, table.visits)
    tensors = {"images": dataset.train.pictures(chosen), "rows": dataset.train.rows[chosen]}
    write_tensors(folder / "scores_images.safetensors", tensors)


def make_selection(unit: Unit, session: Session, folder: Path) -> None:
    """Choose real images and write them as a distilled set."""
    dataset, device = session.dataset, session.compute.device
    memory, begin = machine.PeakMemory(device), time.monotonic()
    positions = chosen(unit, session)
    images, labels = tiled(dataset, positions, unit.factor)
    card = {
        **_card(unit, dataset),
        "iterations": 0,
        "seconds": round(time.monotonic() - begin, 3),
        "peak_bytes": memory.bytes(),
        "ess": None,
        "rows": dataset.train.rows[positions].tolist() if unit.arm.method != "full" else None,
    }
    facts = (dataset.classes, dataset.mean, dataset.std)
    _save(folder, DistilledSet(images, labels, *facts, factor=unit.factor), card)


def chosen(unit: Unit, session: Session) -> LongTensor:
    """Positions of the training images that the unit's selection keeps, factor^2 for each one that is stored."""
    dataset, selection = session.dataset, methods()[unit.arm.method]
    counts = [unit.factor**2 * count for count in unit.counts(dataset)]
    own = {key: value for key, value in unit.arm.chosen().items() if key not in ("factor", "steps")}
    rng, device = streams(unit.seed), session.compute.device
    return selection.select(dataset, counts, unit.model, rng, device, unit.selection_steps, **own)


def _card(unit: Unit, dataset: Dataset) -> dict[str, Any]:
    return {
        "arm": unit.arm.name,
        "method": unit.arm.method,
        "summary": methods()[unit.arm.method].summary,
        "weights_summary": KINDS[unit.weighting.kind],
        "seed": unit.seed,
        "ipc": unit.ipc,
        "source": dataset.source,
        "model": asdict(unit.model),
    }


def _save(folder: Path, small: DistilledSet, card: dict[str, Any]) -> None:
    save_distilled(folder / "distilled", small, {**card, "images": len(small.labels)})
