"""The implicit influence through inner training as it was run: u_t = dtheta_t/dw_j for all j by one sweep backwards.

IWD (arXiv 2510.27253) leaves this recursion out (its eq. 25 points to nothing); it is derived here. Step t minimises

    L_t(theta; w) = sum_r c_r W_r l_r(theta) + (lambda/2) |theta|^2,       W_r = sum_j A_rj w_j

over the rows r of its batch; A_rj is the share of instance j in row r (1 for its own row; mixup, CutMix: two shares), c_r the
coefficient with which the row's weight enters. With g_t = grad L_t and mu the momentum (torch.optim.SGD, dampening 0)

    m_{t+1} = mu m_t + g_t         d_t = m_{t+1}   (Nesterov: g_t + mu m_{t+1})         theta_{t+1} = theta_t - eta_t d_t

Forwards, plain SGD: u_{t+1} = (I - eta_t H_t) u_t - eta_t sum_r c_r A_rj grad l_r(theta_t). That costs one product per j. The
influence sum_t <q_t, u_t>, with q_t = dM_t/dtheta_t wherever M has a term, needs only the adjoint p_t = sum_{s>=t} (d theta_s
/ d theta_t)^T q_s and r_t, the same for m_t:

    p_T = q_T,  r_T = 0
    rho   = r_{t+1} - eta_t p_{t+1}     (Nesterov: r_{t+1} - mu eta_t p_{t+1})          dM/dm_{t+1}
    gamma = rho                         (Nesterov: rho - eta_t p_{t+1})                 dM/dg_t
    I_j  += sum_r c_r A_rj <gamma, grad l_r(theta_t)>
    p_t   = p_{t+1} + H_t gamma + q_t,      H_t = d^2 L_t/dtheta^2 with lambda,         r_t = mu rho

H_t gamma and all <gamma, grad l_r> are derivatives of the one number <gamma, g_t>, by theta and by W: one double backward a
step, and never one per instance. Exact for the steps recorded; batch norm in training mode included.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from refluence.errors import InputError
from refluence.influence.batches import on
from refluence.influence.differentiable import Losses
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.parameters import Parameters, parameters_of, zeros
from refluence.influence.proof import reached
from refluence.influence.trajectory import Step, Trajectory
from refluence.influence.twice import check_twice
from refluence.models.repeatable import random_layer


def unrolled_influence(
    model: nn.Module,
    trajectory: Trajectory,
    cotangents: Mapping[int, Parameters],
    *,
    loss: Loss = cross_entropy,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """sum_t <q_t, dtheta_t/dw_j> for every dataset index j, `(n,)` float64: the implicit part of I_j through the steps.

    The explicit part is added apart, at each t of M: `distillation_influence(..., terms="explicit")`.

    `cotangents[t]` is q_t = dM_t/dtheta_t, shaped like the parameters (missing names: zero), for 0 <= t <= len(trajectory);
    theta_t is what step t starts from, theta_T what the last step leaves. `match(...).q` gives it. `loss(model(x), y)` is the
    training's per-row loss `(B,)`; the model must be in the mode of training and is left as it was.
    `progress(t)` is called after each step of the sweep, from the largest time in `cotangents`, less one, down to 0.

    Raises `InputError` for times outside the trajectory, unknown names, a network that is random in that mode (dropout, noise)
    and batches that changed.
    """
    _check(model, cotangents, len(trajectory))
    scores, T = torch.zeros(trajectory.n, dtype=torch.float64), max(cotangents)  # what comes after T does not matter to M
    if not T:
        return scores
    _check_again(model, trajectory.steps[T - 1])
    fixed = parameters_of(model)
    p = zeros({k: fixed[k] for k in trajectory.steps[0].parameters})
    r = zeros(p)
    _add(p, cotangents.get(T, {}))
    for t in range(T - 1, -1, -1):
        step = trajectory.steps[t]
        eta, mu = step.lr, step.momentum
        rho = {k: r[k] - (mu * eta if step.nesterov else eta) * p[k] for k in p}
        gamma = {k: rho[k] - eta * p[k] for k in p} if step.nesterov else rho
        Hgamma, rows = _products(model, step, gamma, loss, fixed)
        scores.index_add_(0, step.indices.flatten(), (step.shares * rows[:, None]).flatten())
        for k in p:
            p[k] = p[k] + Hgamma[k] + step.weight_decay * gamma[k]
            r[k] = torch.zeros_like(p[k]) if step.fresh else mu * rho[k]
        _add(p, cotangents.get(t, {}))
        if progress is not None:
            progress(t)
    return scores


def _products(model: nn.Module, step: Step, gamma: Parameters, loss: Loss, fixed: Parameters) -> tuple[Parameters, Tensor]:
    """sum_r c_r W_r H_r gamma, and c_r <gamma, grad l_r> `(B,)`: the derivatives of <gamma, g_t> by theta and by W."""
    one = next(iter(fixed.values()))
    x, y = step.batch() if callable(step.batch) else step.batch
    x, y = on(x, one.device), on(y, one.device)
    if len(x) != len(step.indices):
        raise InputError(f"a step was recorded with {len(step.indices)} rows, its batch now has {len(x)}")
    if not reached(model, loss, tuple(step.parameters), x, y):
        raise InputError(
            "a parameter is not read from its module alone, or the network gives it other values: its steps cannot be run again"
        )
    check_twice(model, tuple(step.parameters), x, y, loss)
    theta = {k: t.to(one.device).detach().requires_grad_() for k, t in step.parameters.items()}
    buffers = {k: b.detach().clone() for k, b in model.named_buffers()}  # those that training mode would move
    weights = step.weights.to(one).requires_grad_()
    with torch.enable_grad():
        each = Losses(model, loss).at({**fixed, **theta, **buffers}, x, y)
        risk = (step.coefficients.to(each) * weights * each).sum()
        gradients = torch.autograd.grad(risk, list(theta.values()), create_graph=True, materialize_grads=True)
        dot = torch.stack([(g * gamma[k]).sum() for k, g in zip(theta, gradients, strict=True)]).sum()
    *second, rows = torch.autograd.grad(dot, [*theta.values(), weights], materialize_grads=True)
    return dict(zip(theta, second, strict=True)), rows.detach().cpu().double()


def _check(model: nn.Module, cotangents: Mapping[int, Parameters], T: int) -> None:
    shapes = {k: t.shape for k, t in parameters_of(model).items()}
    if not cotangents:
        raise InputError("no cotangents: give q_t = dM_t/dtheta_t for at least one t")
    for t, q in cotangents.items():
        if not 0 <= t <= T:
            raise InputError(f"cotangents has the time {t}: the trajectory goes from 0 to {T}")
        for name, tensor in q.items():
            if tensor.shape != shapes.get(name):
                raise InputError(f"q_{t}['{name}'] has the shape {tuple(tensor.shape)}, the model has {shapes.get(name)}")
    for label, module in model.named_modules():
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise InputError(f"layer '{label}' drops units at random, so a step cannot be run again: train without dropout")


def _check_again(model: nn.Module, step: Step) -> None:
    """Refuse a network that is random as it trains, on a few rows of a step and a copy of the model."""
    x, _ = step.batch() if callable(step.batch) else step.batch
    if layer := random_layer(copy.deepcopy(model), on(x[:4], next(model.parameters()).device)):
        raise InputError(
            f"{layer} gives the same input other outputs each time, so a step cannot be run again: train without it"
        )


def _add(total: Parameters, q: Parameters) -> None:
    for name in total.keys() & q.keys():  # a parameter that training does not move has no u
        total[name] = total[name] + q[name].to(total[name])
