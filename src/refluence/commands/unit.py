"""One unit: an arm and a seed. Makes its small set (or resumes making it), judges it, and writes the unit's folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from refluence.commands.arms import Arm, methods
from refluence.commands.score_files import extremes, write_scores
from refluence.commands.session import Session
from refluence.condense.base import Method, Settings
from refluence.condense.loop import Distillation
from refluence.condense.scoring import influence
from refluence.data import Dataset
from refluence.data.distilled import DistilledSet, count_test_use, load_distilled, read_card, save_distilled
from refluence.errors import InputError, RunError
from refluence.evaluate.evaluation import evaluate
from refluence.evaluate.protocols import Protocol, protocols
from refluence.files import read_json, write_json, write_tensors
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import Weighting, weights
from refluence.models import ModelSpec
from refluence.run import checkpoint
from refluence.run import device as machine
from refluence.run.folder import Metrics
from refluence.run.seeds import streams

PICTURE_NETS = 2  # random networks that the order of the distilled pictures is measured on


@dataclass(frozen=True)
class Unit:
    """Everything that decides a unit's result, resolved: no default is left open."""

    arm: Arm
    seed: int
    ipc: int
    settings: Settings | None  # None: the arm selects real images
    weighting: Weighting
    model: ModelSpec
    protocols: tuple[Protocol, ...]
    nets: int
    split: str

    def describe(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return {**asdict(self), "arm": self.arm.name}


def resolve(flags: Any, arm: Arm, dataset: Dataset, seed: int) -> Unit:
    """Turn flags (a mixture of size, evaluation and data flags) into a unit; refuses what cannot run."""
    if flags.ipc < 1:
        raise InputError(f"--ipc is {flags.ipc}: it must be at least 1 image per class")
    method, paper = methods()[arm.method], flags.size == "paper"
    width = flags.width if flags.width is not None else (128 if paper else 32)
    if width < 1:
        raise InputError(f"--width is {width}: it must be at least 1")
    model = ModelSpec(flags.model, dataset.shape, len(dataset.classes), width=width, norm=flags.norm)
    settings = None
    if isinstance(method, Method):
        asked = {k: getattr(flags, k) for k in ("iterations", "real_batch", "inner", "initial", "allocation")}
        settings = method.settings(flags.ipc, flags.size).with_(**{k: v for k, v in asked.items() if v is not None})
        settings = arm.settings(settings)
    nets = flags.nets if flags.nets is not None else (5 if paper else 3)
    if nets < 1:
        raise InputError(f"--nets is {nets}: it must be at least 1")
    return Unit(arm, seed, flags.ipc, settings, arm.weighting(), model, choose_protocols(flags), nets, flags.split)


def choose_protocols(flags: Any) -> tuple[Protocol, ...]:
    """The named protocols with the flags' own epochs and batch; default: `dc` at the run's size."""
    names = flags.protocol or (("dc",) if getattr(flags, "size", "cpu") == "paper" else ("dc-cpu",))
    known = protocols()
    for name in names:
        if name not in known:
            raise InputError(f"unknown protocol '{name}': choose one of {', '.join(sorted(known))}")
    changes = {k: v for k in ("epochs", "batch") if (v := getattr(flags, k)) is not None}
    for name, value in changes.items():
        if value < 1:
            raise InputError(f"--{name} is {value}: it must be at least 1")
    return tuple(known[name].with_(**changes) for name in names)


def run_unit(unit: Unit, session: Session, folder: Path) -> list[dict[str, Any]]:
    """Rows of this unit, one per protocol. What is finished is read, not made again."""
    if not (folder / "distilled" / "card.json").exists():
        (make_selection if unit.settings is None else make_distillation)(unit, session, folder)
    if not (folder / "evaluation.json").exists():
        judge(unit, session, folder)
    card = read_card(folder / "distilled")
    return [
        {
            "arm": unit.arm.name,
            "seed": unit.seed,
            "protocol": e["protocol"],
            "split": e["split"],
            "accuracy": e["accuracy"],
            "nets": e["accuracies"],
            "balanced_accuracy": e["balanced_accuracy"],
            "macro_f1": e["macro_f1"],
            **{k: card[k] for k in ("seconds", "peak_bytes", "stored_bytes", "ess", "images", "iterations")},
        }
        for e in read_json(folder / "evaluation.json")["evaluations"]
    ]


def make_distillation(unit: Unit, session: Session, folder: Path) -> None:
    """Run Algorithm 1 from the start or the last checkpoint, and write `distilled/`."""
    assert unit.settings is not None, "a selection has no settings"
    method, dataset, rng = methods()[unit.arm.method], session.dataset, streams(unit.seed)
    work = Distillation(method, unit.settings, unit.weighting, dataset, unit.model, rng, session.compute)
    spent = _Spent(session.compute.device)
    if saved := checkpoint.load(folder):
        work.restore(saved[0])
        spent.restore(saved[1])
    metrics = Metrics(folder / "metrics.jsonl", work.step)
    what, last = f"{unit.arm.name} seed {unit.seed}", time.monotonic()
    try:
        for event in session.reporter.track(work.steps(), what, unit.settings.iterations, work.step):
            spent.step(event.ess)
            metrics.write({**asdict(event), "seconds": round(spent.seconds, 3)})
            if time.monotonic() - last >= session.checkpoint_seconds:
                checkpoint.save(folder, work.state(), spent.state())
                last = time.monotonic()
    except RunError as error:
        good = f"the last good checkpoint is {folder / checkpoint.NAME}" if checkpoint.load(folder) else "no checkpoint yet"
        raise RunError(f"{what}: {error}; {good}; a smaller image_lr, or --precision fp32, may help") from None
    finally:
        metrics.close()
    checkpoint.save(folder, work.state(), spent.state())
    card = {**_card(unit, dataset), "iterations": unit.settings.iterations, **spent.summary(unit.settings.iterations)}
    if unit.weighting.kind in ("influence", "shuffled", "flipped"):
        write_influence(unit, dataset, work.table, folder)
    device = session.compute.device
    pictures, _, _ = influence(
        work.images, work.labels, method, unit.settings, dataset, unit.model, rng, nets=PICTURE_NETS, device=device
    )
    facts = (dataset.classes, dataset.mean, dataset.std)
    _save(folder, DistilledSet(work.images.cpu(), work.labels.cpu(), *facts, influence=pictures), card)


class _Spent:
    """Seconds, peak memory and effective sample size of a run, over all of its sessions."""

    def __init__(self, device: torch.device):
        self.memory, self.begin = machine.PeakMemory(device), time.monotonic()
        self.before, self.seconds, self.ess, self.peak = 0.0, 0.0, 0.0, 0

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
    """scores.parquet of the run's running means, with the weights that they come to, and the report's pictures."""
    weight = torch.ones(len(dataset.train), dtype=torch.float64)
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[table.visits[members] > 0]
        bag = dataclasses.replace(unit.weighting, kind="influence")
        weight[members] = weights(table.raw[members], bag)
    losses = torch.full_like(weight, torch.nan)  # a run that weights by influence keeps no losses
    write_scores(folder / "scores.parquet", dataset, table.raw, table.visits, weight, losses)
    chosen = extremes(dataset, table.raw, table.visits)
    tensors = {"images": dataset.train.images[chosen], "rows": dataset.train.rows[chosen]}
    write_tensors(folder / "scores_images.safetensors", tensors)


def make_selection(unit: Unit, session: Session, folder: Path) -> None:
    """Choose real images and write them as a distilled set."""
    dataset, device = session.dataset, session.compute.device
    memory, begin = machine.PeakMemory(device), time.monotonic()
    selection = methods()[unit.arm.method]
    positions = selection.select(dataset, unit.ipc, unit.model, streams(unit.seed), device)
    images, labels = dataset.pixels(dataset.train, positions), dataset.train.labels[positions]
    card = {
        **_card(unit, dataset),
        "iterations": 0,
        "seconds": round(time.monotonic() - begin, 3),
        "peak_bytes": memory.bytes(),
        "ess": None,
        "rows": dataset.train.rows[positions].tolist() if selection.name != "full" else None,
    }
    _save(folder, DistilledSet(images, labels, dataset.classes, dataset.mean, dataset.std), card)


def judge(unit: Unit, session: Session, folder: Path) -> None:
    """Train fresh networks on the unit's set under every protocol and write evaluation.json."""
    small, rng = load_distilled(folder / "distilled"), streams(unit.seed)
    what = f"{unit.arm.name} seed {unit.seed}"
    found = [
        judge_once(small, unit.model, protocol, unit.split, rng, unit.nets, session, f"{what}: {protocol.name}")
        for protocol in unit.protocols
    ]
    if unit.split == "test":
        count_test_use(folder / "distilled")
    write_json(folder / "evaluation.json", {"evaluations": found})


def judge_once(
    small: DistilledSet,
    model: ModelSpec,
    protocol: Protocol,
    split: str,
    rng,
    nets: int,
    session: Session,
    what: str,
    keep: Callable[[int, torch.nn.Module], None] = lambda index, net: None,
) -> dict[str, Any]:
    """One evaluation as plain values, under a progress bar. `keep(index, network)` sees each network when it is trained."""
    held_out = session.dataset.test if split == "test" else session.dataset.val
    with session.reporter.bar(what, nets) as advance:

        def progress(index, scores, net):
            keep(index, net)
            advance()

        facts, device = (small.mean, small.std), session.compute.device
        result = evaluate(small.images, small.labels, model, protocol, held_out, *facts, rng, nets, device, progress)
    return {**result.to_dict(), "split": split}


def _card(unit: Unit, dataset: Dataset) -> dict[str, Any]:
    return {
        "arm": unit.arm.name,
        "method": unit.arm.method,
        "seed": unit.seed,
        "ipc": unit.ipc,
        "source": dataset.source,
        "model": asdict(unit.model),
    }


def _save(folder: Path, small: DistilledSet, card: dict[str, Any]) -> None:
    save_distilled(folder / "distilled", small, {**card, "images": len(small.labels)})
