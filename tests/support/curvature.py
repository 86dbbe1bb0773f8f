"""Curvature matrices formed whole in float64, the brute force that operators and solvers are held to."""

from __future__ import annotations

import torch
from torch.func import functional_call, hessian, jacrev

from refluence.influence.losses import DistillationLoss, SquaredError, cross_entropy, take
from support.brute_force import flat, unflat
from support.draws import generator


def gauss_newton(case, loss, y, weights=None, names=None):
    """(1/N) sum_j w_j J_j^T S_j J_j, with J by reverse mode and S by the second derivative of the loss itself."""
    every = {k: p.detach() for k, p in case.named().items()}
    chosen = {k: p for k, p in every.items() if names is None or k in names}
    jacobian = jacrev(lambda p: functional_call(case.model, {**every, **p}, (case.x,)))(chosen)
    jacobian = torch.cat([t.flatten(2) for t in jacobian.values()], 2)
    z = case.model(case.x).detach()
    total = 0
    for j in range(len(z)):
        one = take(y, slice(j, j + 1))
        s = hessian(lambda u, one=one: loss(u[None], one)[0])(z[j])
        total = total + (1 if weights is None else weights[j]) * jacobian[j].T @ s @ jacobian[j]
    return total / len(z)


def exact_hessian(case, loss, y, weights=None):
    """The Hessian of the weighted mean loss, column by column, by double backward."""
    named = {k: p.detach() for k, p in case.named().items()}

    def gradient(vector):
        each = loss(functional_call(case.model, unflat(vector, named), (case.x,)), y)
        return torch.autograd.grad((each if weights is None else each * weights).mean(), vector, create_graph=True)[0]

    return torch.autograd.functional.jacobian(gradient, flat(named), vectorize=True)


def losses_and_targets(case):
    """name -> (loss, y) for a case with three logits."""
    g = generator(11)
    n = len(case.x)
    teacher = 2 * torch.randn(n, 3, generator=g, dtype=torch.float64)
    soft = torch.softmax(torch.randn(n, 3, generator=g, dtype=torch.float64), 1)
    return {
        "hard": (cross_entropy, case.y),
        "soft": (cross_entropy, soft),
        "squared": (SquaredError(), soft),
        "kd half": (DistillationLoss(0.5, 0.3), (case.y, teacher)),
        "kd 4": (DistillationLoss(4.0, 0.3), (case.y, teacher)),
        "kd alone": (DistillationLoss(2.0, 0.0), (case.y, teacher)),
    }


def batches(case, y=None, weights=None):
    """Three batches of 1, 7 and the rest."""
    y = case.y if y is None else y
    cuts = [slice(0, 1), slice(1, 8), slice(8, None)]
    return [(case.x[c], take(y, c)) if weights is None else (case.x[c], take(y, c), weights[c]) for c in cuts]


def sample_weights(case):
    return 2 * torch.rand(len(case.x), generator=generator(4), dtype=torch.float64)
