"""The mean loss of a set and its gradient, the right-hand side of every influence of a validation set:

M(theta) = (1/N) sum_j w_j l_j(theta)        q = dM/dtheta
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from refluence.influence.batches import check_fixed, passes
from refluence.influence.differentiable import Losses, leaves
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.parameters import Parameters, parameters_of, zeros
from refluence.matching.statistics import Batches


def risk_gradient(
    model: nn.Module,
    batches: Batches,
    loss: Loss = cross_entropy,
    names: Iterable[str] | None = None,
) -> tuple[Parameters, float]:
    """The gradient of the mean loss over all batches by the parameters in `names` (default: all), and the mean loss.

    `batches`: a re-iterable of (x, y) or (x, y, w) (see batches.py); `loss(model(x), y)` gives per-sample losses `(B,)`.
    Parameters that the loss does not depend on get zeros. The model is left as it was.

    Raises `InputError` for no samples, unknown names, a loss that is not per sample, BatchNorm in train mode and active
    dropout.
    """
    check_fixed(model)
    total = zeros(parameters_of(model, names))
    losses, count, risk = Losses(model, loss), 0, 0.0
    with leaves(model, total) as moving, torch.enable_grad():
        for x, y, w in passes(batches, next(iter(total.values())).device):
            each = losses(x, y)
            part = (each if w is None else each * w.to(each.dtype)).sum()
            if part.requires_grad:
                gradients = torch.autograd.grad(part, list(moving.values()), materialize_grads=True)
                for name, g in zip(moving, gradients, strict=True):
                    total[name] += g
            count, risk = count + len(x), risk + float(part.detach())
    return {name: t.detach() / count for name, t in total.items()}, risk / count
