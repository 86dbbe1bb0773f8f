"""Gradients of several instances at a time, believed where they are those of autograd of one after the other (truth.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from refluence.influence.differentiable import Losses
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Loss, cross_entropy, take
from refluence.influence.parameters import Parameters
from refluence.influence.proof import believed, key_of, reached, remembered
from refluence.influence.truth import PROBES, close, each_gradient, finer, truth
from refluence.matching.gradients import CHUNK, per_sample_gradients
from refluence.matching.statistics import Targets

Rows = Callable[[Tensor, Targets], Parameters]
"""x `(n, ...)`, y to gradients `(n, *shape)` by name."""


def trusted(model: nn.Module, names: Sequence[str], x: Tensor, y: Targets, loss: Loss, rows: Rows, what: str) -> bool:
    """Whether `rows` gives the gradients of four instances as autograd does. `what` names the question.

    Raises `InputError` for a network that draws at random or whose instances see each other.
    """

    def ask() -> tuple[bool, bool]:
        few, targets = x[:PROBES], take(y, slice(PROBES))
        with finer(model, few, targets) as fine:
            truth(model, loss, names, *fine)
        if not reached(model, loss, names, few, targets):
            return False, False
        try:
            got = believed(lambda: rows(few, targets))
        except Unsupported:
            return False, False
        want = one_by_one(model, names, few, targets, loss)
        apart = sum(float((got[k].to(g) - g).norm()) for k, g in want.items())
        kind = max((g.dtype for g in want.values()), key=lambda kind: torch.finfo(kind).eps)
        return apart <= close(kind) * sum(float(g.norm()) for g in want.values()), False

    return remembered(key_of(what, model, names, loss, x, y), ask, model)


def square(rows: Tensor) -> Tensor:
    """|g_j|^2 `(n,)` of gradients `(n, *shape)`, in float32 at least: a complex number is two real ones."""
    rows = torch.view_as_real(rows) if rows.is_complex() else rows
    return rows.to(torch.promote_types(rows.dtype, torch.float32)).square().flatten(1).sum(1)


def one_by_one(model: nn.Module, names: Sequence[str], x: Tensor, y: Targets, loss: Loss) -> Parameters:
    """Gradients `(n, *shape)` by name, by autograd of one instance after the other."""
    each = list(each_gradient(Losses(model, loss), names, x, y))
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def instance_gradients(
    model: nn.Module, x: Tensor, y: Tensor, names: Sequence[str], loss: Loss = cross_entropy
) -> Iterator[tuple[slice, Parameters]]:
    """Chunks of (positions, gradients `(k, *shape)` by name); of the cross-entropy several at a time, where that is exact."""

    def at_once(x: Tensor, y: Targets) -> Parameters:
        assert isinstance(y, Tensor), "cross-entropy has one target"
        return next(per_sample_gradients(model, x, y, names))[1]

    if loss is cross_entropy and trusted(model, names, x, y, loss, at_once, "instance gradients"):
        yield from per_sample_gradients(model, x, y, names)
    else:
        for start in range(0, len(x), CHUNK):
            part = slice(start, start + CHUNK)
            yield part, one_by_one(model, names, x[part], y[part], loss)


def gradient_norms(model: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> Tensor:
    """|grad l_j| `(n,)` by the parameters in `names`: GraDN, the difficulty of arXiv 2408.12483, sec. 3."""
    chunks = instance_gradients(model, x, y, names)
    return torch.cat([reduce(torch.add, map(square, gradients.values())) for _, gradients in chunks]).sqrt()
