"""Seconds and peak memory on the device: steps, scores, judging, and a run of IDC until the end.

The variants of a group stand side by side in one process and take their turns round by round, each waiting for the device. Peak
memory is what one more turn needs beyond what is held before it. The DC step stands beside the literal loop
(literal_dc.py), scores beside per-sample gradients by `vmap(grad)` (influence_peers.py), judging beside a plain training loop.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from influence_peers import Task, per_sample_gradients
from literal_dc import inner_epoch, outer_step
from torch import nn

from gpu.rows import Numbers, Outcome, Rows, free, spread
from gpu.sizes import Size, random_dataset
from refluence.compute import Compute
from refluence.condense import dc, dm, idc
from refluence.condense.loop import Distillation
from refluence.condense.method import Method
from refluence.data.dataset import Dataset
from refluence.evaluate import evaluate, protocols
from refluence.influence import Scorer, Weighting, risk_gradient
from refluence.models import ModelSpec, build
from refluence.run.device import PeakMemory
from refluence.seeds import streams

Turn = Callable[[], object]
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


def group(
    rows: Rows, name: str, makers: Mapping[str, Callable[[], Turn]], size: Size, device: torch.device, until: float, base: str
) -> None:
    """A row for each variant; `makers` give what is done in a turn. `base`: the variant to whose time each is compared."""
    ready: dict[str, Turn] = {}
    ends: dict[str, Outcome] = {}
    times: dict[str, list[float]] = {what: [] for what in makers}

    def start(what: str) -> Numbers:
        begin = time.perf_counter()
        turn = makers[what]()
        turn()
        wait(device)
        first = time.perf_counter() - begin
        peak = peak_of(turn, device)
        ready[what] = turn
        return {"first_s": round(first, 4), "peak_mb": round(peak / 2**20, 1)}

    def again(what: str) -> Numbers:
        times[what].append(timed(ready[what], device))
        return {}

    for what in makers:
        ends[what] = rows.attempt(lambda w=what: start(w), until)
    for number in range(size.rounds):
        for what in [w for w in makers if ends[w].state == "ok"]:
            if number and rows.clock.left(until) <= 0:
                continue
            outcome = rows.attempt(lambda w=what: again(w))
            if outcome.state != "ok":
                ends[what] = outcome
    for what, end in ends.items():
        more: Numbers = {}
        if end.state == "ok":
            more = spread(times[what])
            if times[base]:
                ratios = [a / b for a, b in zip(times[what], times[base], strict=False)]
                more |= {f"over_{base.replace(' ', '_')}": statistics.median(ratios)}
        rows.add(name, what, Outcome(end.state, end.note, end.numbers | more, end.seconds + sum(times[what])))
    ready.clear()
    free()


def titled(name: str, compiled: bool) -> str:
    """The name of a group; compiled variants have one of their own, with what they are compared with."""
    return f"{name}, compiled" if compiled else name


def timed(turn: Turn, device: torch.device) -> float:
    """Seconds of a turn, the device's work included."""
    wait(device)
    begin = time.perf_counter()
    turn()
    wait(device)
    return time.perf_counter() - begin


def peak_of(turn: Turn, device: torch.device) -> int:
    """Bytes that a turn needs beyond what is held before it (of the process, where the device is no CUDA or ROCm)."""
    memory = PeakMemory(device)
    before = memory.bytes()
    turn()
    wait(device)
    return memory.bytes() - before


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def work_of(
    method: Method, way: tuple[str, str, bool], size: Size, dataset: Dataset, device: torch.device, **numbers
) -> Distillation:
    """A run of a method at the published numbers, but for `numbers`."""
    weights, precision, compiled = way
    settings = method.settings(size.ipc, "paper", size.spec.shape).with_(**numbers)
    if size.real is not None:
        settings = settings.with_(real_batch=size.real, net_batch=size.real)
    compute = Compute(device, precision, compiled)
    return Distillation(method, settings, Weighting(weights), dataset, size.spec, streams(0), compute)


def steps(rows: Rows, size: Size, device: torch.device, compiled: bool, until: float) -> None:
    """An image step on all classes, of DC, DM and IDC, eager or compiled; then DC's and IDC's with the training between two."""
    ways = {what: way for what, way in WAYS.items() if way[2] == compiled or what == "plain"}
    for name, method in STEPS.items():
        dataset = random_dataset(size.spec, (size.real or 256) + 64)

        def maker(way: tuple[str, str, bool], method: Method = method, dataset: Dataset = dataset) -> Turn:
            kept = {"iterations": MANY, "inner": 0}
            return turns(
                work_of(method, way, size, dataset, device, **kept, **({} if method is dm.METHOD else {"outer": MANY}))
            )

        makers: dict[str, Callable[[], Turn]] = {what: (lambda w=way, m=maker: m(w)) for what, way in ways.items()}
        if name == "dc" and not compiled:
            makers = {"literal": lambda d=dataset: literal(size, d, device, inner=0), **makers}
        group(rows, titled(f"{name} image step", compiled), makers, size, device, until, next(iter(makers)))
    if compiled:
        return
    dataset = random_dataset(size.spec, (size.real or 256) + 64)
    for name, method, inner in (("dc", dc.METHOD, size.inner), ("idc", idc.METHOD, 32 if size.real is None else size.inner)):
        makers = {
            what: (
                lambda w=ways[what], m=method, i=inner: turns(
                    work_of(m, w, size, dataset, device, iterations=MANY, outer=MANY, inner=i)
                )
            )
            for what in ("plain", "weighted")
        }
        if name == "dc":
            makers = {"literal": lambda i=inner: literal(size, dataset, device, inner=i), **makers}
        group(rows, f"{name} step with {inner} of the network", makers, size, device, until, next(iter(makers)))


def turns(work: Distillation) -> Turn:
    """One step after the other."""
    going: Iterator = work.steps()
    return lambda: next(going)


def literal(size: Size, dataset: Dataset, device: torch.device, inner: int) -> Turn:
    """The published loop on the same data: literal_dc.py."""
    rng, settings = streams(0), dc.METHOD.settings(size.ipc, "paper", size.spec.shape)
    real = settings.real_batch if size.real is None else size.real
    net, classes = build(size.spec, rng("network"), device), size.spec.classes
    images = torch.randn(classes * size.ipc, *size.spec.shape, generator=rng("images")).to(device).requires_grad_()
    labels = torch.arange(classes, device=device).repeat_interleave(size.ipc)
    of_images = torch.optim.SGD([images], lr=settings.image_lr, momentum=settings.image_momentum)
    of_net, drawn = torch.optim.SGD(net.parameters(), lr=settings.net_lr), rng("real-batch")
    members = [dataset.train.members(c) for c in range(classes)]

    def draw(c: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = members[c][torch.randperm(len(members[c]), generator=drawn)[:real]]
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

    makers = {"literal": lambda: plain(size, dataset, device), "ours": lambda: ours(lambda net: net)}
    if compiled:
        makers["ours, compiled"] = lambda: ours(torch.compile)
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
    spec = ModelSpec(size.spec.name, dataset.shape, len(dataset.classes), width=size.spec.width)
    found = {
        what: outcome.numbers["median_s"]
        for name, what, outcome in rows.rows
        if name.startswith("idc image step") and what.startswith("weighted") and outcome.state == "ok"
    }
    what = min(found, key=found.__getitem__, default="weighted")

    def run() -> Numbers:
        work = work_of(idc.METHOD, WAYS[what], Size(**{**vars(size), "spec": spec}), dataset, device)
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
