"""Curvature as an operator on parameters, C + lambda I, applied without ever forming a matrix:

    ggn        C v = (1/N) sum_j w_j J_j^T S_j J_j v,   J_j = dz_j/dtheta (z: logits),  S_j = d^2 l_j/dz_j^2  (losses.py)
    hessian    C v = (1/N) sum_j w_j grad <grad l_j, v>
    identity   C = 0, lambda = 1: curvature ignored, so that influence is a plain product of gradients

The generalised Gauss-Newton matrix (Schraudolph 2002; Martens 2020, arXiv 1412.1193, sec. 8) is positive semi-definite
at any theta; the Hessian is so only near a minimum. One Gauss-Newton product is one forward pass with its tangent
J v and one backward pass of S J v. Second derivatives are taken only by double backward: forward-mode derivatives of
gradients through instance norm are wrong in torch 2.14. The default lambda is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.functional import jvp
from refluence.influence.batches import check_fixed, passes
from refluence.influence.differentiable import Losses, leaves, logits_at, plain_kernels
from refluence.influence.links import number
from refluence.influence.losses import Curved, Loss, cross_entropy
from refluence.influence.parameters import Parameters, add, dot, parameters_of, scaled, zeros
from refluence.influence.proof import key_of, reached, remembered
from refluence.influence.truth import PROBES as PROVING
from refluence.influence.truth import close
from refluence.influence.twice import check_twice
from refluence.matching.statistics import Batches, Targets

OPERATORS = ("identity", "ggn", "hessian")
DAMPING_SHARE = 1e-2  # automatic damping, in mean diagonal entries of the Gauss-Newton matrix
PROBES, SEED = 8, 0


class Operator:
    """v -> (C + damping I) v on parameters by name. Made by `operator`; `products` counts the applications so far.

    `kind`, `damping` and `names` say what it is; `model`, `batches` and `loss` are held, not copied: an operator is at
    the parameters that the model has when it is applied.
    """

    def __init__(self, model: nn.Module, batches: Batches, kind: str, loss: Loss, names: tuple[str, ...]):
        self.model, self.batches, self.kind, self.loss, self.names = model, batches, kind, loss, names
        self.damping = 1.0 if kind == "identity" else 0.0
        self.products = 0

    def __call__(self, v: Parameters) -> Parameters:
        """(C + damping I) v, the shapes and names of v being those of the parameters."""
        if self.kind == "identity":
            return {name: v[name].clone() for name in self.names}
        check_vector(v, parameters_of(self.model, self.names))
        self.products += 1
        total, count = zeros(v), 0
        for x, y, w in passes(self.batches, next(iter(v.values())).device):
            total = add(total, self._product(x, y, w, v))
            count += len(x)
        return add(scaled(total, 1 / count), v, self.damping)

    def _product(self, x: Tensor, y: Targets, w: Tensor | None, v: Parameters) -> Parameters:
        if self.kind == "hessian":
            check_twice(self.model, self.names, x, y, self.loss)
        tangents = {name: v[name].detach() for name in self.names}
        with leaves(self.model, self.names) as moving, torch.enable_grad():
            if self.kind == "hessian":
                each = Losses(self.model, self.loss)(x, y)
                gradients = _grad((each if w is None else each * w.to(each.dtype)).sum(), moving, create_graph=True)
                return {k: t.detach() for k, t in _grad(_dot(gradients, tangents), moving).items()}
            z, jv = self._tangent(x, y, moving, tangents)
            assert isinstance(self.loss, Curved), "asked by `operator`"
            u = self.loss.hessian(z.detach(), y, jv.detach())
            if w is not None:
                u = u * w.to(u.dtype).view(-1, *[1] * (u.dim() - 1))
            return _grad(z, moving, u)

    def _tangent(self, x: Tensor, y: Targets, moving: Parameters, v: Parameters) -> tuple[Tensor, Tensor]:
        """Logits z (with their graph) and J v: forward mode, or d<J^T u, v>/du where that is wrong or not there."""
        if self._forward_mode(x, y):
            found = jvp(lambda p: logits_at(self.model, p, x), (moving,), (v,))
            return found[0], found[1]
        check_twice(self.model, self.names, x, y, self.loss, _double_backward)
        return _double_backward(self.model, x, moving, v)

    def _forward_mode(self, x: Tensor, y: Targets) -> bool:
        """Whether forward mode gives J v as double backward does, for four instances and a random v: asked as in proof.py."""

        def ask() -> tuple[bool, bool]:
            if not reached(self.model, self.loss, self.names, x, y):
                return False, False
            generator, few = torch.Generator().manual_seed(SEED), x[:PROVING]
            with leaves(self.model, self.names) as moving:
                v = {k: torch.randn(p.shape, generator=generator).to(p) for k, p in moving.items()}
                try:
                    got = jvp(lambda p: logits_at(self.model, p, few), (moving,), (v,))[1]
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:  # an operation without forward AD
                    return False, False
                try:
                    _, want = _double_backward(self.model, few, moving, v)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:  # an operation without second derivatives: forward mode is all there is
                    return True, False
                apart = (got.detach() - want.detach()).abs().max()
                return bool(apart <= close(want.dtype) * want.detach().abs().max()), False

        return x.is_meta or remembered(key_of("tangent", self.model, self.names, self.loss, x, y), ask, self.model)


def operator(
    model: nn.Module,
    batches: Batches,
    kind: str = "ggn",
    *,
    loss: Loss = cross_entropy,
    damping: float | str = "auto",
    weight_decay: float = 0.0,
    names: Iterable[str] | None = None,
) -> Operator:
    """The damped curvature of the mean loss over `batches` at the model's parameters in `names` (default: all).

    `kind`: "identity", "ggn" (the loss must have `hessian`, see losses.py) or "hessian" (any loss). `batches`: a
    re-iterable of (x, y) or (x, y, w), see batches.py; the same at every application. `damping`: everything that is
    added to the diagonal, the regulariser's own weight decay included; "auto" is `weight_decay` if that is positive,
    else 1e-2 of the mean diagonal entry of the Gauss-Newton matrix (of the Hessian for a loss without `hessian`), which
    costs eight products. The model is left as it was.

    Raises `InputError` for what cannot be differentiated sample by sample (BatchNorm in train mode, active dropout), for
    unknown names and kinds, and for a damping that is negative or cannot be found.
    """
    if kind not in OPERATORS:
        raise InputError(f"unknown operator '{kind}': choose one of {', '.join(OPERATORS)}")
    check_fixed(model)
    chosen = parameters_of(model, names)
    if kind == "ggn" and not isinstance(loss, Curved):
        raise InputError(f"the Gauss-Newton matrix needs a loss with `hessian`, got {loss!r}: use kind 'hessian' for it")
    made = Operator(model, batches, kind, loss, tuple(chosen))
    if kind != "identity":
        made.damping = _damping(made, damping, weight_decay)
    return made


def mean_diagonal(made: Operator) -> float:
    """The mean diagonal entry tr(C)/P of an operator (its damping excluded), by Hutchinson's estimator.

    tr(C) = E <r, C r> for r of random signs (Hutchinson 1990), here eight r from a generator of its own.
    """
    generator = torch.Generator().manual_seed(SEED)
    chosen = parameters_of(made.model, made.names)
    size, total = sum(p.numel() for p in chosen.values()), 0.0
    for _ in range(PROBES):
        r = {k: (torch.randint(0, 2, p.shape, generator=generator) * 2 - 1).to(p) for k, p in chosen.items()}
        total += dot(r, made(r)) - made.damping * size
    return total / PROBES / size


def check_damping(damping: float | str) -> None:
    """Raise `InputError` unless damping is "auto" or a finite number >= 0."""
    if damping != "auto" and not (number(damping) and 0 <= damping < math.inf):
        raise InputError(f"damping must be a number >= 0 or auto, got {damping!r}")


def check_vector(v: Parameters, like: Parameters) -> None:
    """Raise `InputError` unless v has exactly the names and shapes of the parameters."""
    if v.keys() != like.keys():
        differ = sorted(v.keys() ^ like.keys())
        raise InputError(f"a vector must have the names of the parameters: {', '.join(differ)} in one of the two only")
    for name, p in like.items():
        if v[name].shape != p.shape:
            raise InputError(f"vector['{name}'] must have the shape {tuple(p.shape)}, got {tuple(v[name].shape)}")


def _damping(made: Operator, damping: float | str, weight_decay: float) -> float:
    check_damping(damping)
    if damping != "auto":
        return float(damping)
    if weight_decay < 0:
        raise InputError(f"weight_decay must be >= 0, got {weight_decay!r}")
    if weight_decay > 0:
        return float(weight_decay)
    kind = "ggn" if isinstance(made.loss, Curved) else made.kind
    probe = Operator(made.model, made.batches, kind, made.loss, made.names)
    found = DAMPING_SHARE * abs(mean_diagonal(probe))
    made.products += probe.products
    if not 0 < found < math.inf:
        raise InputError(f"no automatic damping: the curvature's mean diagonal entry gives {found!r}: give a damping > 0")
    return found


def _double_backward(model: nn.Module, x: Tensor, moving: Parameters, v: Parameters) -> tuple[Tensor, Tensor]:
    with plain_kernels(model):
        z = model(x)
    u = torch.zeros_like(z, requires_grad=True)  # J^T u is linear in u, so any u will do
    (jv,) = _grad(_dot(_grad(z, moving, u, create_graph=True), v), {"u": u}, retain_graph=True).values()
    return z, jv


def _grad(out: Tensor, leaves: Parameters, grad_outputs: Tensor | None = None, **options: bool) -> Parameters:
    if not out.requires_grad:
        return zeros(leaves)
    found = torch.autograd.grad(out, list(leaves.values()), grad_outputs, materialize_grads=True, **options)
    return dict(zip(leaves, found, strict=True))


def _dot(a: Parameters, b: Parameters) -> Tensor:
    return torch.stack([(t * b[k]).sum() for k, t in a.items()]).sum()
