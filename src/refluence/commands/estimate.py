"""`refluence estimate compare|distill …`: a few steps measured, the whole run's time, memory and bytes said."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from refluence.commands.arms import arm_of, methods, with_controls
from refluence.commands.compare import executor_of
from refluence.commands.make import chosen, learned_set
from refluence.commands.networks import check_distillable
from refluence.commands.prune import scores
from refluence.commands.session import Session, check_numbers, open_session
from refluence.commands.unit import Unit, resolve
from refluence.condense.loop import Distillation
from refluence.condense.method import Method, Settings
from refluence.condense.network_training import sgd, train_on
from refluence.condense.networks import on_stage
from refluence.data.distilled import stored_bytes
from refluence.evaluate.evaluation import evaluate
from refluence.models import build
from refluence.report.words import counted
from refluence.run import device as machine
from refluence.seeds import streams

STEPS = 3
EPOCHS = 5


def run(flags: Any) -> None:
    """Measure each arm briefly and print a line each, then the total."""
    check_numbers(flags)
    if hasattr(flags, "methods"):
        arms, seeds = with_controls(flags.methods, flags.controls), flags.seeds
    else:
        arms, seeds = [arm_of(flags.method, flags.weights)], 1
    session = open_session(flags)
    memory = machine.PeakMemory(session.compute.device)
    total, stored = 0.0, 0
    units = [resolve(flags, arm, session.dataset, flags.seed) for arm in arms]
    check_distillable(unit.model for unit in units if unit.settings is not None)
    warm_up(units[0], session)
    for unit in units:
        making, kept = making_seconds(unit, session)
        judging = judging_seconds(unit, session)
        total, stored = total + seeds * (making + judging), stored + seeds * kept
        print(f"{unit.arm.name}: {clock(making)} to make, {clock(judging)} to judge, {size(kept)} stored, per seed")
    print(
        f"in all: {clock(total)} for {counted(len(arms), 'arm')} x {counted(seeds, 'seed')}, peak memory "
        f"{size(memory.bytes())}, {size(stored)} stored (measured on {STEPS} steps; a busier machine takes longer)"
    )
    if getattr(flags, "equal_seconds", False):
        print("not in it: the arms of --equal-seconds, each about as long as its influence arm")
    if hasattr(flags, "workers") and (workers := executor_of(units * seeds, session, flags).size) > 1:
        print(f"not in it: {workers} workers side by side, which take less time in all, and more memory")


def warm_up(unit: Unit, session: Session) -> None:
    """A pass forwards and backwards, so that the first arm does not pay for what PyTorch loads once."""
    dataset, device = session.dataset, session.compute.device
    x = dataset.pixels(dataset.train, slice(0, 64), device)
    for _ in range(2):
        build(unit.model, streams(unit.seed)("warm-up", 0), device)(x).square().mean().backward()


def making_seconds(unit: Unit, session: Session) -> tuple[float, int]:
    """Seconds to make the unit's set, and the bytes that are stored of it."""
    dataset, method = session.dataset, methods()[unit.arm.method]
    if not isinstance(method, Method) or unit.settings is None:
        begin = time.perf_counter()
        images = len(chosen(unit, session)) // unit.factor**2
        return time.perf_counter() - begin, images * (4 * dataset.train.images[0].numel() + 8)
    begin = time.perf_counter()
    if unit.weighting.prunes:
        scores(unit, session)
    ranking = time.perf_counter() - begin
    settings = unit.settings.with_(pretrain=0)  # counted apart: it does not come with every step
    work = Distillation(method, settings, unit.weighting, dataset, unit.model, streams(unit.seed), session.compute)
    steps = work.steps()
    next(steps)  # the first step warms up
    begin = time.perf_counter()
    done = sum(1 for _, _ in zip(range(STEPS), steps, strict=False))
    matching = settings.iterations * (time.perf_counter() - begin) / max(done, 1)
    return ranking + matching + beforehand_seconds(work, unit.settings), stored_bytes(learned_set(work))


def beforehand_seconds(work: Distillation, settings: Settings) -> float:
    """Seconds of the training of networks that comes before image steps: on D, or on the images of earlier stages."""
    settings = settings.with_(outer=work.settings.outer)
    images, labels = work.synthetic.training_set((settings.stages - 1) // 2)
    on_real, on_earlier = work.method.networks.seen_beforehand(settings, len(work.labels) * settings.factor**2)
    total, net = 0.0, work.networks
    size, stage = len(labels), on_stage(settings, images.shape[1])
    for seen, data, how, model, per_step in (  # D is counted in whole batches, an earlier stage's images each
        (on_real, net.real, settings, net.plain, settings.net_batch),
        (on_earlier, (size, lambda p: (images[p], labels[p])), stage, net.net, min(stage.net_batch, size)),
    ):
        if seen:
            optimiser = sgd(work.net, how)
            begin = time.perf_counter()
            with work.compute.autocast():
                train_on(model, optimiser, data, how, STEPS, streams(0)("estimate", 0))
            total += seen * (time.perf_counter() - begin) / (STEPS * per_step)
    return total


def judging_seconds(unit: Unit, session: Session) -> float:
    """Seconds of the unit's evaluation: a short one on validation data, scaled. The test split is not read."""
    dataset, device = session.dataset, session.compute.device
    many = max(unit.factor, unit.settings.factor if unit.settings is not None else 1) ** 2
    some = [p for c, n in enumerate(unit.counts(dataset)) for p in dataset.train.members(c)[: many * n].tolist()]
    images, labels = dataset.pixels(dataset.train, some), dataset.train.labels[some]
    total = 0.0
    for protocol in (replace(p, zca="").resolve(len(images), unit.model.classes) for p in unit.protocols):  # as fast without
        short = [min(EPOCHS, protocol.epochs), min(2 * EPOCHS, protocol.epochs)]
        spent = []
        for epochs in short:
            begin = time.perf_counter()
            evaluate(images, labels, unit.model, protocol.with_(epochs=epochs), dataset.val, dataset.mean, dataset.std,
                     streams(unit.seed), 1, device, compiled=session.compute.compiled)  # fmt: skip
            spent.append(time.perf_counter() - begin)
        slope = max(spent[1] - spent[0], 0) / max(short[1] - short[0], 1)
        scale = len(dataset.test) / max(len(dataset.val), 1)
        total += unit.nets * (slope * protocol.epochs + max(spent[0] - slope * short[0], 0) * scale)
    return total


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
