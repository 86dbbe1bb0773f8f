"""What autograd says of a few instances, each without the others: what an engine is held against (proof.py).

    dots       <v_k, grad_k l_j>     for four instances j and every parameter k
    mean       (1/4) sum_j grad l_j
    weighted   (1/4) sum_j c_j grad l_j,    c_j at random

v is drawn at random, parameter by parameter in the size that makes all of them count alike, so that no parameter's fault
hides behind another's. The weighted gradient is that of the whole batch too, by autograd: as c is random, the two are equal
only where no instance of a batch moves another's gradient (a plain sum would not show it). Where they differ the instances
have no gradient of their own, and no engine can give one.

A batch of one is no good to some networks: a `squeeze` drops its sample axis, and PyTorch's batch norm on the CPU misreads a
gradient whose channels lie last in memory (a batch norm before tokens). There an instance stands beside a copy of itself whose
loss does not count.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from refluence.errors import InputError
from refluence.influence.differentiable import Losses, leaves
from refluence.influence.losses import Loss, take
from refluence.influence.parameters import Parameters
from refluence.matching.statistics import Targets
from refluence.models.repeatable import random_layer

PROBES = 4
LEAST = 1e-2  # share of the whole gradient below which a parameter counts less


@dataclass(frozen=True)
class Truth:
    """The probe `x` `(n, ...)`, `y`, a direction `v`, and what autograd says of each instance alone.

    `dots`: name -> <v_k, grad_k l_j> `(n,)`; `mean` and `weighted` (by `c` `(n,)`): mean gradients by name. `tolerance`: of
    the type that the network computes in. `silent`: the names whose gradient is nought. `paired`: a batch of one is no good.
    """

    x: Tensor
    y: Targets
    v: Parameters
    c: Tensor
    dots: Parameters
    mean: Parameters
    weighted: Parameters
    tolerance: float
    silent: tuple[str, ...]
    paired: bool

    def wrong_scores(self, scores: Callable[[Parameters], Tensor]) -> list[str]:
        """The names along which `scores(v)` `(n,)` are not those of autograd; a list of all of them where only the sum is."""
        if not self._differ(scores(self.v), self.v):
            return []
        alone = [name for name in self.v if self._differ(scores({name: self.v[name]}), [name])]
        return alone or list(self.v)

    def wrong_gradient(self, gradient: Callable[[Tensor | None], Parameters]) -> list[str]:
        """The names for which `gradient(None)` or `gradient(c)`, mean gradients by name, are not those of autograd."""
        wrong = gradients_apart(gradient(None), self.mean, self.tolerance)
        return wrong or gradients_apart(gradient(self.c), self.weighted, self.tolerance)

    def _differ(self, got: Tensor, names: Iterable[str]) -> bool:
        parts = torch.stack([self.dots[name] for name in names])
        scale = max(float(parts.abs().sum(0).max()), LEAST * self.scale)
        return not float((got.detach().to(parts) - parts.sum(0)).abs().max()) <= self.tolerance * scale

    @property
    def scale(self) -> float:
        """The largest score that could come of `v` without cancellation."""
        return float(torch.stack(list(self.dots.values())).abs().sum(0).max())


def truth(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Targets) -> Truth | None:
    """What autograd says of the first instances of x, one at a time; None where its numbers are not finite.

    Raises `InputError` for a network that draws at random, or that lets the instances of a batch see each other.
    """
    x, y = (x[:PROBES].detach(), take(y, slice(PROBES))) if len(x) > 1 else twice(x.detach(), y, 0)
    if (layer := random_layer(model, x[:2])) is not None:
        raise InputError(
            f"{layer} gives the same instances other outputs each time, so they have no gradient of their own: call "
            "model.eval() and let the network draw at random in training alone (training=self.training)"
        )
    generator, n = torch.Generator().manual_seed(len(names)), len(x)
    c = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    whole = Losses(model, loss)
    with leaves(model, names) as moving, torch.enable_grad():
        each = whole(x, y)
        _check_checkpoints(each)
        c = c.to(each.device, each.dtype)
        together = gradient(each @ c / n, moving)
        tolerance = close(narrowest(each, moving))
        v = _direction(together, generator)
        for paired in (False, True):
            found = _alone(whole, x, y, moving, v, c, paired)
            if found is None:
                continue
            values, dots, mean, weighted = found
            if not all(bool(t.isfinite().all()) for t in (values, *weighted.values())):
                return None
            apart = gradients_apart(together, weighted, _loose(tolerance))
            wrong = float((values - each.detach().to(values)).abs().max()) > _loose(tolerance) * (1 + float(values.abs().max()))
            if not apart and not wrong:
                break
    if found is None or apart or wrong:
        _refuse(model, loss, names, x, y, apart)
    return Truth(x, y, v, c, dots, mean, weighted, tolerance, _silent(together, weighted, tolerance), paired)


def _alone(
    whole: Losses, x: Tensor, y: Targets, moving: Parameters, v: Parameters, c: Tensor, paired: bool
) -> tuple[Tensor, Parameters, Parameters, Parameters] | None:
    """Losses, dots, and the mean and weighted mean gradient of the instances alone; None where a batch of one does not work."""
    n, first = len(x), next(iter(moving.values()))
    wide = _wide(first).to_real()
    values, dots = first.new_empty(n, dtype=wide), {name: first.new_empty(n, dtype=wide) for name in moving}
    mean, weighted = ({name: torch.zeros_like(p) for name, p in moving.items()} for _ in range(2))
    for j in range(n):
        try:
            alone = whole(*(twice(x, y, j) if paired else (x[j : j + 1], take(y, slice(j, j + 1)))))[0]
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, ValueError):
            if paired:
                raise
            return None
        values[j] = alone.detach()
        for name, g in gradient(alone, moving).items():
            dots[name][j] = inner(g, v[name])
            mean[name] += g / n
            weighted[name] += g * (c[j] / n)
    return values, dots, mean, weighted


def _silent(together: Parameters, alone: Parameters, tolerance: float) -> tuple[str, ...]:
    """Names whose gradient is nought or next to it, and known so: two ways to it agree, which they do not on mere rounding."""
    largest = max(float(g.norm()) for g in alone.values())
    small = {name: g for name, g in alone.items() if float(g.norm()) <= tolerance * largest}
    return tuple(name for name, g in small.items() if float((together[name] - g).norm()) <= 0.1 * float(g.norm()))


def each_gradient(losses: Losses, names: Iterable[str], x: Tensor, y: Targets) -> Iterator[Parameters]:
    """grad l_j by name, of one instance after the other (beside a copy of itself, which every network takes)."""
    with leaves(losses.model, names) as moving, torch.enable_grad():
        for j in range(len(x)):
            yield gradient(losses(*twice(x, y, j))[0], moving)


def single(losses: Losses, v: Parameters, x: Tensor, y: Targets) -> Tensor:
    """<v, grad l_j> `(n,)`, in float32 at least, by the gradient of one instance after the other."""
    parts = []
    for gradient in each_gradient(losses, v, x, y):
        parts.append(torch.stack([inner(g, v[name]) for name, g in gradient.items()]).sum())
    return torch.stack(parts)


def inner(g: Tensor, v: Tensor) -> Tensor:
    """The change of a loss along v for its gradient g, in float32 at least: a complex number is two real ones."""
    parts = [torch.view_as_real(t) if t.is_complex() else t for t in (g, v.to(g))]
    return (parts[0].to(_wide(parts[0])) * parts[1].to(_wide(parts[1]))).sum()


def twice(x: Tensor, y: Targets, j: int) -> tuple[Tensor, Targets]:
    """A batch of instance j and a copy of it."""
    index = torch.tensor([j, j], device=x.device)
    return x[index], take(y, index)


def _check_checkpoints(each: Tensor) -> None:
    """Refuse checkpointing of the reentrant kind: autograd sees no parameter behind it, and takes its gradient for nought."""
    ahead, seen = [each.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name().startswith("CheckpointFunction"):
            raise InputError(
                "the network uses torch.utils.checkpoint with use_reentrant=True, where gradients of chosen parameters cannot "
                "be taken: use use_reentrant=False"
            )
        seen.add(node)
        ahead += [following for following, _ in node.next_functions]


def gradient(value: Tensor, moving: Parameters) -> Parameters:
    """The gradient of a number by leaves of its graph, by name; zeros for those that it does not depend on."""
    if not value.requires_grad:
        return {name: torch.zeros_like(p) for name, p in moving.items()}
    found = torch.autograd.grad(value, list(moving.values()), materialize_grads=True)
    return dict(zip(moving, found, strict=True))


def _direction(gradient: Parameters, generator: torch.Generator) -> Parameters:
    sizes = {name: float(g.norm()) for name, g in gradient.items()}
    floor = LEAST * max(sizes.values()) or 1.0
    return {
        name: torch.randn(g.shape, generator=generator, dtype=_widest(g)).to(g) / max(sizes[name], floor)
        for name, g in gradient.items()
    }


def gradients_apart(got: Parameters, want: Parameters, tolerance: float) -> list[str]:
    """The names whose gradients differ, held against their own size and a little of the whole."""
    sizes = {name: float(g.norm()) for name, g in want.items()}
    least = LEAST * max(sizes.values())
    return [
        name
        for name, g in want.items()
        if not float((got[name].detach().to(g) - g).norm()) <= tolerance * max(sizes[name], least)
    ]


def _refuse(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Targets, apart: list[str]) -> None:
    """Raise what a difference between an instance alone and one in a batch means, unless it is one of rounding."""
    if _only_rounding(model, loss, names, x, y):
        return
    what = f" (seen in the gradient of '{apart[0]}')" if apart else ""
    raise InputError(
        "the network, or its loss, couples the samples of a batch: an instance alone has another loss or gradient than in a "
        f"batch{what}, so none has a gradient of its own: use layers that see one sample at a time, or fixed statistics "
        "(model.eval())"
    )


def _only_rounding(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Targets) -> bool:
    """Whether a copy of the network in float64 sees its instances apart."""
    if not x.is_floating_point() or x.dtype == torch.float64 or x.device.type == "mps":
        return False
    try:
        wide = tree_map(lambda t: t.double() if t.is_floating_point() else t, (x, y))
        truth(copy.deepcopy(model).double(), loss, names, *wide)
    except Exception:  # whatever a copy cannot do, it does not show that this is rounding
        return False
    return True


@contextmanager
def finer(model: nn.Module, x: Tensor, y: Targets) -> Iterator[tuple[Tensor, Targets]]:
    """A batch, in float32 where it or the network is in half precision; inside, the network is too.

    Half precision has too few digits to tell a fault from rounding.
    """
    half = (torch.bfloat16, torch.float16)
    narrow = [(t, t.data) for t in (*model.parameters(), *model.buffers()) if t.dtype in half]
    try:
        for t, values in narrow:
            t.data = values.float()
        yield tree_map(lambda t: t.float() if t.dtype in half else t, (x, y))
    finally:
        for t, values in narrow:
            t.data = values


def close(kind: torch.dtype) -> float:
    """How far two exact ways to a number may be apart, as a share of it, where one computes in a type: 1e-4 in float32."""
    return 4 * torch.finfo(kind).eps ** (2 / 3)


def _loose(tolerance: float) -> float:
    """For a batch and its instances alone, whose kernels may differ."""
    return 3 * tolerance


def narrowest(losses: Tensor, moving: Parameters) -> torch.dtype:
    """The type with the fewest digits among those that a network computes in."""
    return max((losses.dtype, *(p.dtype for p in moving.values())), key=lambda kind: torch.finfo(kind).eps)


def _widest(t: Tensor) -> torch.dtype:
    return torch.complex128 if t.is_complex() else torch.float64


def _wide(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)
