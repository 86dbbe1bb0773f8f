"""Every engine, curvature and method on the device, held against the CPU.

    what       compared with                               measured as                                     fp32   bf16
    engine     each instance's own gradient, in float64    |got - want| / |want| of the scores             1e-4   3e-2
    capture    the same, and the mean gradient             the larger of both                              1e-4
    curvature  the same solve on the CPU                   |got - want| / |want| of (C + damping I)^-1 v   1e-2
    method     the same steps on the CPU, fp32             |got - want| / |want - start| of the images     5e-2   0.5
    selection  the same choice on the CPU                  share of the images that only one chose         0.1

A method's images move by gradients of gradients, and rounding grows step by step: the tolerances (ours) leave room for that. In
bf16 gradients of the real side have 8 bits. TF32 is off.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from functools import cache, partial
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor, nn

import refluence.condense
import refluence.select
from gpu.rows import Disagreement, Numbers, Rows
from gpu.sizes import Size, random_dataset
from refluence.compute import Compute
from refluence.condense.loop import Distillation
from refluence.condense.method import Method, Settings
from refluence.data.dataset import Dataset
from refluence.influence import CURVATURES, Curvature, Scorer, Weighting, capture, inverse_product
from refluence.influence.engines import ENGINES
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from refluence.select.selection import Selection

TOLERANCES = {  # (what, precision): largest error
    ("engine", "fp32"): 1e-4,
    ("engine", "bf16"): 3e-2,
    ("capture", "fp32"): 1e-4,
    ("curvature", "fp32"): 1e-2,
    ("method", "fp32"): 5e-2,
    ("method", "bf16"): 0.5,
    ("selection", "fp32"): 0.1,
}
LOOSE = {"dream": 1.5}  # methods whose k-means may choose other images after a rounding: they start, and move about as far
HALF = ("auto", "ghost")  # the engines that run in bf16
STEPS, LEARNED = 4, 2  # image steps of a method, images a class
Vectors = Mapping[str, Tensor]
Declared = TypeVar("Declared", Method, Selection)


def declared(package: ModuleType, kind: type[Declared]) -> dict[str, Declared]:
    """The methods of a kind that the modules of a package declare, by name."""
    names = [info.name for info in pkgutil.iter_modules(package.__path__)]
    found = [getattr(importlib.import_module(f"{package.__name__}.{name}"), "METHOD", None) for name in names]
    return {method.name: method for method in found if isinstance(method, kind)}


def variants(compiled: bool, half: bool = True) -> list[tuple[str, bool]]:
    """(precision, compiled)."""
    return [(p, compiled) for p in ("fp32", "bf16") if half or p == "fp32"]


def label(name: str, precision: str, compiled: bool) -> str:
    """`dc, bf16, compiled`."""
    return f"{name}, {precision}" + (", compiled" if compiled else "")


def engines(
    rows: Rows, size: Size, device: torch.device, compiled: bool, until: float, names: Collection[str] = ENGINES
) -> None:
    """The scores of each engine, and the mean gradient and the scores of a capture."""
    question = Question(size.check, 4 * size.few)
    for name in names:
        if compiled and name == "single":
            continue  # never compiled
        for precision, fused in variants(compiled, half=name in HALF):
            rows.check(
                "engine", label(name, precision, fused), partial(scored, question, device, name, precision, fused), until
            )
    if not compiled:
        rows.check("capture", label("auto", "fp32", False), partial(captured, question, device), until)


class Question:
    """A network, instances and a direction on the CPU, with the scores that are right, in float64."""

    def __init__(self, spec: ModelSpec, count: int):
        rng = streams(0)
        self.net = build(spec, rng("network")).eval()
        self.x = torch.randn(count, *spec.shape, generator=rng("x"))
        self.y = torch.arange(count) % spec.classes
        drawn = rng("direction")
        self.v = {name: torch.randn(p.shape, generator=drawn) for name, p in self.net.named_parameters()}
        exact, wide = deepcopy(self.net).double(), {name: t.double() for name, t in self.v.items()}
        self.scores = Scorer(exact, engine="single")(self.x.double(), self.y, wide)
        loss = nn.functional.cross_entropy(exact(self.x.double()), self.y)
        self.mean = dict(zip(self.v, torch.autograd.grad(loss, list(exact.parameters())), strict=True))

    def on(self, device: torch.device) -> tuple[nn.Module, Tensor, Tensor, dict[str, Tensor]]:
        """Copies there."""
        v = {name: t.to(device) for name, t in self.v.items()}
        return deepcopy(self.net).to(device), self.x.to(device), self.y.to(device), v


def scored(question: Question, device: torch.device, engine: str, precision: str, compiled: bool) -> Numbers:
    """One engine; its error."""
    net, x, y, v = question.on(device)
    scorer = Scorer(net, engine=engine, precision=precision, compile=compiled, chunk=16)
    got, taken = scorer(x, y, v), scorer.choice(x, y, v).engine
    return agreed("engine", precision, {"scores": got}, {"scores": question.scores}, taken=taken)


def captured(question: Question, device: torch.device) -> Numbers:
    """The contractions of one pass; the larger error."""
    net, x, y, v = question.on(device)
    kept = capture(net, x, y)
    mean = agreed("capture", "fp32", kept.gradient(), question.mean)
    rest = agreed("capture", "fp32", {"scores": kept.scores(v)}, {"scores": question.scores})
    return max(mean, rest, key=lambda numbers: numbers["error"]) | {"taken": kept.choice.engine}


def curvatures(rows: Rows, size: Size, device: torch.device, until: float, names: Collection[str] = CURVATURES) -> None:
    """The solution of each curvature."""
    question, cpu = Question(size.check, 2 * size.few), torch.device("cpu")

    def solved(kind: str, where: torch.device) -> dict[str, Tensor]:
        net, x, y, v = question.on(where)
        how = Curvature(kind, damping=10.0, tolerance=1e-4, iterations=50)
        return inverse_product(net, [(x, y)], v, how).x

    def compared(kind: str) -> Numbers:
        return agreed("curvature", "fp32", solved(kind, device), solved(kind, cpu))

    for kind in names:
        rows.check(
            "curvature",
            label(kind, "fp32", False),
            partial(compared, kind),
            until,
        )


def methods(
    rows: Rows, size: Size, device: torch.device, compiled: bool, until: float, names: Collection[str] | None = None
) -> None:
    """A few steps of each condensation method, weighted by influence."""
    dataset = random_dataset(size.check, 2 * size.few)
    for name, method in declared(refluence.condense, Method).items():
        if names is not None and name not in names:
            continue
        reference = cache(partial(stepped, method, dataset, size, Compute(torch.device("cpu"))))
        for precision, fused in variants(compiled):
            compute = Compute(device, precision, fused)
            rows.check(
                "method",
                label(name, precision, fused),
                partial(moved, method, dataset, size, compute, reference),
                until,
            )


def moved(
    method: Method, dataset: Dataset, size: Size, compute: Compute, reference: Callable[[], dict[str, Tensor]]
) -> Numbers:
    """How far the images of some steps are from those of the CPU, as a share of how far they went."""
    if compute.compile:
        torch.compiler.reset()  # so that no earlier network counts towards the limit of recompilations
    got, want = stepped(method, dataset, size, compute), reference()
    loss = float((got["loss"] - want["loss"]).abs().max() / want["loss"].abs().max())
    far = {"": got["images"] - want["start"]}, {"": want["images"] - want["start"]}
    return agreed("method", compute.precision, *far, tolerance=LOOSE.get(method.name), loss_error=loss)


def short(method: Method, size: Size) -> Settings:
    """The numbers of a method's short size, shorter still."""
    own = method.settings(LEARNED, "cpu", size.check.shape)
    return own.with_(
        iterations=STEPS, outer=min(own.outer, 2), inner=min(own.inner, 2), real_batch=size.few, net_batch=size.few,
        pretrain=min(own.pretrain, 2), pool=min(own.pool, 2), pool_every=2, frequencies=64, stage_epochs=1,
    )  # fmt: skip


def stepped(method: Method, dataset: Dataset, size: Size, compute: Compute) -> dict[str, Tensor]:
    """Images before and after some steps, and the losses, on the CPU."""
    work = Distillation(method, short(method, size), Weighting("influence"), dataset, size.check, streams(0), compute)
    start = work.images.detach().cpu().clone()
    losses = [event.loss for event in work.steps()]
    return {"start": start, "images": work.images.detach().cpu().clone(), "loss": torch.tensor(losses)}


def selections(rows: Rows, size: Size, device: torch.device, until: float, names: Collection[str] | None = None) -> None:
    """The choice of each selection."""
    dataset = random_dataset(size.check, 2 * size.few)
    counts = [size.few // 2] * size.check.classes

    def chosen(selection: Selection, where: torch.device) -> set[int]:
        return set(selection.select(dataset, counts, size.check, streams(0), str(where), 4).tolist())

    def compared(selection: Selection) -> Numbers:
        got, want = chosen(selection, device), chosen(selection, torch.device("cpu"))
        return judged("selection", "fp32", len(got - want) / len(want))

    for name, selection in declared(refluence.select, Selection).items():
        if names is None or name in names:
            rows.check("selection", label(name, "fp32", False), partial(compared, selection), until)


def agreed(
    what: str, precision: str, got: Vectors, want: Vectors, tolerance: float | None = None, **more: float | str
) -> Numbers:
    """The relative error of named tensors taken as one vector; see `judged`."""
    apart = sum(float((got[k].cpu().double() - want[k].cpu().double()).square().sum()) for k in want) ** 0.5
    whole = sum(float(want[k].cpu().double().square().sum()) for k in want) ** 0.5
    return judged(what, precision, apart / whole if whole else float("nan"), tolerance, **more)


def judged(what: str, precision: str, error: float, tolerance: float | None = None, **more: float | str) -> Numbers:
    """The numbers of an error within its tolerance (None: that of the table); `Disagreement` beyond, and at NaN."""
    tolerance = TOLERANCES[what, precision] if tolerance is None else tolerance
    numbers: Numbers = {"error": error, "tolerance": tolerance, **more}
    if not error <= tolerance:
        raise Disagreement(f"{error:.2g} away from the CPU, more than {tolerance:g}", numbers)
    return numbers
