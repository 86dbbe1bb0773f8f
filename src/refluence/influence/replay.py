"""What a capture gives, for networks whose layers cannot be read: every contraction is a pass of its own.

    gradient(omega)   autograd of (1/B) sum_j omega_j l_j        scores(v)   an exact engine of directional.py

Parameters, buffers and modes are those of the moment of the capture: copies of them stand in the model for each pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from refluence.errors import InputError
from refluence.influence.differentiable import Losses, leaves
from refluence.influence.directional import Scorer
from refluence.influence.engines import Choice
from refluence.influence.losses import Loss, take
from refluence.influence.parameters import Parameters, check_direction
from refluence.influence.truth import twice
from refluence.matching.statistics import Targets


class Replay:
    """`losses` `(B,)`, `gradient` and `scores` as a `Capture` has them. `reason`: why the layers cannot be read."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Targets,
        loss: Loss,
        names: tuple[str, ...],
        chunk: int,
        reason: str,
    ):
        self.choice = Choice("autograd", reason)
        self._model, self._loss, self._chunk = model, loss, chunk
        x, y = tree_map(lambda t: t.detach().clone(), (x, y))
        self._batch = [(x[i : i + chunk], take(y, slice(i, i + chunk))) for i in range(0, len(x), chunk)]
        self._paired = any(len(a) == 1 for a, _ in self._batch) and Scorer(model, loss=loss).choice(x, y, names).paired
        self._values = {name: t.detach().clone() for name, t in _tensors(model).items()}
        self._modes = [module.training for module in model.modules()]
        self._names = names
        whole = Losses(model, loss)
        with torch.no_grad():
            self.losses = torch.cat([self._each(whole, a, b) for a, b in self._batch])

    def gradient(self, weights: Tensor | None = None) -> Parameters:
        """(1/B) sum_j omega_j g_j, by name. `weights` `(B,)` of mean 1; None: all ones."""
        if weights is not None and weights.shape != self.losses.shape:
            raise InputError(f"weights must have the shape {tuple(self.losses.shape)}, got {tuple(weights.shape)}")
        total = {name: torch.zeros_like(self._values[name]) for name in self._names}
        n, whole = len(self.losses), Losses(self._model, self._loss)
        parts = [None] * len(self._batch) if weights is None else weights.split(self._chunk)
        with self._then(), leaves(self._model, self._names) as moving, torch.enable_grad():
            for (x, y), omega in zip(self._batch, parts, strict=True):
                each = self._each(whole, x, y)
                value = each.sum() if omega is None else each @ omega.to(each)
                if value.requires_grad:
                    found = torch.autograd.grad(value / n, list(moving.values()), materialize_grads=True)
                    for name, g in zip(moving, found, strict=True):
                        total[name] += g
        return total

    def _each(self, whole: Losses, x: Tensor, y: Targets) -> Tensor:
        """The losses; a sample by itself sees itself beside it where a batch of one is no good."""
        return whole(*twice(x, y, 0))[:1] if self._paired and len(x) == 1 else whole(x, y)

    def scores(self, v: Parameters) -> Tensor:
        """<v, g_j> for every j, `(B,)`. Names missing in v count as zero and cost nothing. At least float32."""
        check_direction(v, {name: self._values[name] for name in self._names})
        scorer = Scorer(self._model, loss=self._loss, chunk=self._chunk)
        with self._then():
            return torch.cat([scorer(x, y, v) for x, y in self._batch])

    @contextmanager
    def _then(self) -> Iterator[None]:
        """The model as it was at the moment of the capture: parameters, buffers, modes."""
        own, modules = _tensors(self._model), list(self._model.modules())
        now, modes = {name: t.data for name, t in own.items()}, [module.training for module in modules]
        try:
            for module, mode in zip(modules, self._modes, strict=True):
                module.training = mode
            for name, t in own.items():
                t.data = self._values[name]
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            for name, t in own.items():
                t.data = now[name]


def _tensors(model: nn.Module) -> Parameters:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
