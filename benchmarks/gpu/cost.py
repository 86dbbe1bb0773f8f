"""Seconds and peak memory on the device: steps, scores, judging, and a run of IDC until the end.

The DC step stands beside the literal loop (literal_dc.py), scores beside per-sample gradients by `vmap(grad)`
(influence_peers.py), judging beside a plain training loop. DM and IDC are compared with themselves unweighted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from influence_peers import Task, per_sample_gradients
from literal_dc import inner_epoch, outer_step
from torch import nn

from gpu.rows import Numbers, Rows
from gpu.sizes import Size, random_dataset
from gpu.turns import Turn, group, titled, wait
from refluence.compute import Compute
from refluence.condense import dc, dm, idc
from refluence.condense.loop import Distillation
from refluence.condense.method import Method, Settings
from refluence.data.dataset import Dataset
from refluence.evaluate import evaluate, protocols
from refluence.influence import Scorer, Weighting, risk_gradient
from refluence.models import ModelSpec, build
from refluence.seeds import streams

STEPS = {"dc": dc.METHOD, "dm": dm.METHOD, "idc": idc.METHOD}
WAYS = {  # name: (weights, precision, compiled)
    "plain": ("uniform", "fp32", False),
    "weighted": ("influence", "fp32", False),
    "plain, bf16": ("uniform", "bf16", False),
    "weighted, bf16": ("influence", "bf16", False),
    "plain, compiled": ("uniform", "fp32", True),
    "weighted, compiled": ("influence", "fp32", True),
    "weighted, bf16, compiled": ("influence", "bf16", True),
}
MANY = 10**6  # steps: a network that is measured is never the last one
VALIDATION = 64


def published(method: Method, size: Size) -> Settings:
    """The published numbers, smaller at the size of a test."""
    settings = method.settings(size.ipc, "paper", size.spec.shape)
    return settings if size.real is None else settings.with_(real_batch=size.real, net_batch=size.real)


def work_of(
    method: Method, settings: Settings, way: str, spec: ModelSpec, dataset: Dataset, device: torch.device
) -> Distillation:
    """A run of a method in one of the ways."""
    weights, precision, compiled = WAYS[way]
    return Distillation(method, settings, Weighting(weights), dataset, spec, streams(0), Compute(device, precision, compiled))


def step_of(method: Method, way: str, size: Size, dataset: Dataset, device: torch.device, inner: int) -> Turn:
    """One image step after the other, with `inner` of the network's training between two; a network is never the last one."""
    outer = 1 if method is dm.METHOD else MANY
    settings = published(method, size).with_(iterations=MANY, outer=outer, inner=inner)
    going = work_of(method, settings, way, size.spec, dataset, device).steps()
    return lambda: next(going)


def steps(rows: Rows, size: Size, device: torch.device, compiled: bool, until: float) -> None:
    """An image step on all classes, of DC, DM and IDC, eager or compiled; then DC's and IDC's with the training between two."""
    dataset = random_dataset(size.spec, (size.real or 256) + 64)
    ways = [what for what, way in WAYS.items() if way[2] == compiled or what == "plain"]
    between = {"dc": size.inner, "idc": 32 if size.real is None else size.inner}
    groups = [(name, f"{name} image step", 0, ways) for name in STEPS]
    if not compiled:
        groups += [(name, f"{name} step with {n} of the network", n, ["plain", "weighted"]) for name, n in between.items()]
    for name, title, inner, chosen in groups:
        makers = {what: partial(step_of, STEPS[name], what, size, dataset, device, inner) for what in chosen}
        if name == "dc" and not compiled:
            makers = {"literal": partial(literal, size, dataset, device, inner), **makers}
        group(rows, titled(title, compiled), makers, size, device, until, next(iter(makers)))


def literal(size: Size, dataset: Dataset, device: torch.device, inner: int) -> Turn:
    """The published loop on the same data: literal_dc.py."""
    rng, settings = streams(0), published(dc.METHOD, size)
    net, classes = build(size.spec, rng("network"), device), size.spec.classes
    images = torch.randn(classes * size.ipc, *size.spec.shape, generator=rng("images")).to(device).requires_grad_()
    labels = torch.arange(classes, device=device).repeat_interleave(size.ipc)
    of_images = torch.optim.SGD([images], lr=settings.image_lr, momentum=settings.image_momentum)
    of_net, drawn = torch.optim.SGD(net.parameters(), lr=settings.net_lr), rng("real-batch")
    members = [dataset.train.members(c) for c in range(classes)]

    def draw(c: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = members[c][torch.randperm(len(members[c]), generator=drawn)[: settings.real_batch]]
        return dataset.pixels(dataset.train, chosen, device), torch.full((len(chosen),), c, device=device)

    return lambda: outer_step(net, images, labels, draw, classes, of_images, of_net, inner, settings.net_batch)


def scores(rows: Rows, size: Size, device: torch.device, compiled: bool, until: float) -> None:
    """The gradient of some validation instances, and the scores of the training instances along it."""
    rng = streams(0)
    net = build(size.spec, rng("network"), device).eval()
    x = torch.randn(size.scored, *size.spec.shape, generator=rng("x")).to(device)
    y = (torch.arange(size.scored) % size.spec.classes).to(device)
    task = Task(net, x[:VALIDATION], y[:VALIDATION], size.chunk)

    def forward() -> None:
        with torch.no_grad():
            for part in x.split(size.chunk):
                net(part)

    def ours(engine: str, precision: str = "fp32", fused: bool = False) -> Callable[[], Turn]:
        def make() -> Turn:
            scorer = Scorer(net, engine=engine, precision=precision, compile=fused, chunk=size.chunk)
            return lambda: scorer(x, y, risk_gradient(net, [(task.x, task.y)])[0])

        return make

    def peer() -> Turn:
        score = per_sample_gradients(task)
        return lambda: score(x, y)

    makers: dict[str, Callable[[], Turn]] = {"per-sample gradients": peer, "forward passes alone": lambda: forward}
    for engine in ("ghost",) if compiled else ("ghost", "forward", "double_backward"):
        makers[engine] = ours(engine)
    if compiled:
        makers["ghost, compiled"] = ours("ghost", fused=True)
        makers["ghost, bf16, compiled"] = ours("ghost", "bf16", fused=True)
    else:
        makers["ghost, bf16"] = ours("ghost", "bf16")
    group(rows, titled(f"{size.scored} scores", compiled), makers, size, device, until, "per-sample gradients")


def judging(rows: Rows, size: Size, device: torch.device, compiled: bool, until: float) -> None:
    """One network trained on a set by the protocol `dc`, and what it says of the test images."""
    spec, dataset = size.spec, random_dataset(size.spec, size.ipc, size.tested)
    images, labels = dataset.pixels(dataset.train), dataset.train.labels
    protocol = protocols()["dc"].with_(epochs=size.epochs)

    def ours(called: Callable[[nn.Module], nn.Module]) -> Turn:
        pixels = (dataset.mean, dataset.std)
        return lambda: evaluate(
            images, labels, spec, protocol, dataset.test, *pixels, streams(0), 1, str(device), compiled=called
        )

    makers = {"literal": partial(plain, size, dataset, device), "ours": partial(ours, Compute().compiled)}
    if compiled:
        makers["ours, compiled"] = partial(ours, Compute(compile=True).compiled)
    group(rows, titled(f"judging, {size.epochs} epochs", compiled), makers, size, device, until, "literal")


def plain(size: Size, dataset: Dataset, device: torch.device) -> Turn:
    """The same as such scripts write it down: a DataLoader, an optimiser, the test images in chunks."""
    images, labels = dataset.pixels(dataset.train, device=device), dataset.train.labels.to(device)

    def turn() -> float:
        net = build(size.spec, streams(0)("network"), device)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for _ in range(size.epochs):
            inner_epoch(net, images, labels, optimiser, 256)
        net.eval()
        with torch.no_grad():
            right = [
                (net(dataset.pixels(dataset.test, part, device)).argmax(1).cpu() == dataset.test.labels[part]).sum()
                for part in torch.arange(len(dataset.test)).split(256)
            ]
        return float(sum(right)) / len(dataset.test)

    return turn


def until_the_end(rows: Rows, size: Size, device: torch.device, source: Dataset | None) -> None:
    """IDC on data like CIFAR-10 for the time that is left, in the fastest weighted way that this run has measured."""
    dataset = source or random_dataset(size.spec, 64 if size.real else 5000)
    found = {
        what: outcome.numbers["median_s"]
        for name, what, outcome in rows.rows
        if name.startswith("idc image step") and what.startswith("weighted") and outcome.state == "ok"
    }
    what = min(found, key=found.__getitem__, default="weighted")

    def run() -> Numbers:
        spec = ModelSpec(size.spec.name, dataset.shape, len(dataset.classes), width=size.spec.width)
        work = work_of(idc.METHOD, published(idc.METHOD, replace(size, spec=spec)), what, spec, dataset, device)
        seconds, losses = [], []
        going, begin = work.steps(), time.perf_counter()
        for event in going:
            wait(device)
            now = time.perf_counter()
            seconds.append(now - begin)
            begin = now
            losses.append(event.loss)
            if len(seconds) == size.last or rows.clock.left() < 3 * statistics.median(seconds[-5:]) + 1:
                break
        each = statistics.median(seconds)
        steps = work.settings.iterations
        return {
            "data": dataset.source, "image_steps": len(seconds), "median_s": each, "published_steps": steps,
            "extrapolated_h": statistics.fmean(seconds[1:] or seconds) * steps / 3600,
            "loss_first": losses[0], "loss_last": losses[-1],
        }  # fmt: skip

    rows.check(f"idc, {size.ipc} images a class, until the end", what, run, patience=float("inf"))
