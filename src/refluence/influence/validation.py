"""The influence of a training instance on a validation risk (KD-AIF, arXiv 2501.02705; Koh and Liang 2017, 1703.04730):

    theta(eps) = arg min (1/N) sum_i l_i(theta) + R(theta) + eps l_j(theta)         M(theta) = (1/N_val) sum_k l_k(theta)
    phi_j = dM/d eps at eps = 0 = -< H^-1 grad M, grad l_j >                        H = grad^2 of the training objective

One solve for v = H^-1 grad M, then one directional pass for all j. Positive phi_j: more weight on j raises the validation
risk, so j is harmful; removing it is eps = -1/N and predicts a change of -phi_j / N. eps is an added weight where the N
weights sum to 1. H is taken as `Curvature` says (damped Gauss-Newton by default); the training loss l (a distillation
loss, say) and the risk (plain cross-entropy, say) may differ. theta should be where the training objective is stationary:
elsewhere phi_j is the effect of one damped Newton step and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from refluence.influence.batches import check_fixed, passes
from refluence.influence.curvature import Curvature, Solution, inverse_product
from refluence.influence.differentiable import Losses
from refluence.influence.directional import Scorer
from refluence.influence.losses import Loss, cross_entropy, take
from refluence.influence.parameters import Parameters, parameters_of, scaled
from refluence.influence.risk import risk_gradient
from refluence.influence.rows import one_by_one, square, trusted
from refluence.influence.solvers import Progress
from refluence.matching.statistics import Batches, Targets

ROOM = 2**26  # bytes of per-sample gradients that self_influence holds at once


@dataclass(frozen=True)
class ValidationInfluence:
    """`scores` `(N,)`: phi_j in the order of `train`, positive is harmful. `solution`: H^-1 grad M and how it was found
    (damping, residuals). `risk`: the mean validation loss M."""

    scores: Tensor
    solution: Solution
    risk: float


def validation_influence(
    model: nn.Module,
    train: Batches,
    validation: Batches,
    *,
    loss: Loss = cross_entropy,
    risk: Loss | None = None,
    curvature: Curvature = Curvature(),  # noqa: B008
    fit: Batches | None = None,
    weight_decay: float = 0.0,
    names: Iterable[str] | None = None,
    x0: Parameters | None = None,
    scorer: Callable[[Tensor, Targets, Parameters], Tensor] | None = None,
    progress: Progress | None = None,
) -> ValidationInfluence:
    """phi_j = -<H^-1 grad M, grad l_j>, the influence of each training instance on a validation risk M (1703.04730, eq. 2).

    grad l_j is unweighted: phi_j is per unit of added weight on j, where the N weights sum to 1, also for an instance whose own
    weight is 0. The model is left as it was.

    Args:
        model: the network, trained, in `eval()`.
        train: batches (x, y) or (x, y, w) that can be read again, such as a list; the instances j.
        validation: the same for the risk.
        loss: the training loss, `(B,)`.
        risk: the validation loss, `(B,)`, for targets as `validation` has them (default: `loss`).
        curvature: what stands for H: kind, damping, tolerance and iterations of the solve.
        fit: the batches whose curvature is H, with their weights w (default: `train`).
        weight_decay: of the training objective; it adds to H.
        names: the parameters that count (default: all).
        x0: where the solve starts, such as the solution at an earlier theta.
        scorer: a `Scorer` of this model and loss, perhaps compiled, to be used again.
        progress: called as `progress(iteration, residual)` during the solve.

    Returns:
        `scores` `(N,)`: phi_j in the order of `train`, in units of the risk; positive is harmful, and leaving j out changes
        the risk by about -phi_j / N. `solution`: H^-1 grad M and how it was found. `risk`: the mean validation loss M.

    Raises:
        InputError: unusable data, names or layers.
        RunError: the solve fails.

    Example:
        >>> import torch
        >>> from refluence import validation_influence
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> x, y = torch.eye(2).repeat(4, 1), torch.tensor([0, 1] * 4)
        >>> wrong = torch.cat([1 - y[:1], y[1:]])  # the label of the first is wrong
        >>> found = validation_influence(model, [(x, wrong)], [(x, y)])
        >>> int(found.scores.argmax())
        0
    """
    names = None if names is None else list(names)
    gradient, value = risk_gradient(model, validation, loss if risk is None else risk, names)
    solution = inverse_product(
        model,
        train if fit is None else fit,
        gradient,
        curvature,
        loss=loss,
        weight_decay=weight_decay,
        names=names,
        x0=x0,
        progress=progress,
    )
    scorer = Scorer(model, loss=loss) if scorer is None else scorer
    against, device = scaled(solution.x, -1.0), next(model.parameters()).device
    parts = [scorer(x, y, against) for x, y, _ in passes(train, device)]
    return ValidationInfluence(torch.cat(parts), solution, value)


def self_influence(
    model: nn.Module,
    train: Batches,
    *,
    loss: Loss = cross_entropy,
    names: Iterable[str] | None = None,
) -> Tensor:
    """The squared gradient norm |grad l_j|^2 of every training instance: its influence on its own loss in the identity metric.

    Never negative: large where one instance pulls the model by itself, as wrong labels do. (As dM/d eps with M = l_j it would
    be -|grad l_j|^2.) Per-sample gradients of a few samples are held at a time. The model is left as it was.

    Args:
        model: the network, in `eval()`.
        train: batches (x, y) that can be read again.
        loss: `(B,)`.
        names: the parameters that count (default: all).

    Returns:
        `(N,)` in the order of `train`, in squared units of a gradient of the loss.

    Raises:
        InputError: no samples, unknown names, a network whose instances have no gradient of their own.

    Example:
        >>> import torch
        >>> from refluence import self_influence
        >>> model = torch.nn.Linear(2, 2)
        >>> bool((self_influence(model, [(torch.ones(3, 2), torch.tensor([0, 1, 0]))]) > 0).all())
        True
    """
    check_fixed(model)
    names = tuple(parameters_of(model, names))
    chunk = max(1, ROOM // sum(p.numel() * p.element_size() for p in parameters_of(model, names).values()))
    at_once, squares = _gradients(model, names, loss), []
    for x, y, _ in passes(train, next(model.parameters()).device):
        believed = trusted(model, names, x, y, loss, at_once, "self-influence")
        for start in range(0, len(x), chunk):
            part = x[start : start + chunk], take(y, slice(start, start + chunk))
            squares.append(_squares(at_once(*part) if believed else one_by_one(model, names, *part, loss)))
    return torch.cat(squares)


def _gradients(model: nn.Module, names: tuple[str, ...], loss: Loss) -> Callable[[Tensor, Targets], Parameters]:
    """A function that gives the gradients of several instances at a time, by vmap."""
    losses = Losses(model, loss)

    def one(p: Parameters, fixed: Parameters, x: Tensor, y: Targets) -> Tensor:
        return losses.at({**fixed, **p}, x[None], take(y, None))[0]  # the sample as a batch of one

    def rows(x: Tensor, y: Targets) -> Parameters:
        fixed = {**parameters_of(model), **dict(model.named_buffers())}
        return vmap(grad(one), in_dims=(None, None, 0, 0))(parameters_of(model, names), fixed, x, y)

    return rows


def _squares(gradients: Parameters) -> Tensor:
    return reduce(torch.add, map(square, gradients.values()))
