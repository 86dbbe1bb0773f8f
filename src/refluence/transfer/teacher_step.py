"""How a teacher learns from where its student is about to be (KD-AIF, arXiv 2501.02705; LGTM, arXiv 2305.09651):

    S'   = S - eta grad_S (1/B) sum_i w_i L_S(z_i; T, S)                             one step of plain gradient descent
    O(T) = (1/B) sum_i w_i^T L_T(z_i; T, S')    [+ L_val(S'(T))]                     eta is the student's rate

detached    grad_T O with S' held fixed and without L_val, the default
influence   adds d L_val(S'(T)) / dT as LGTM does, by a central difference along v = grad L_val(S'):
            -eta [grad_T L_S(T, S + eps v) - grad_T L_S(T, S - eps v)] / 2 eps,      eps = .01 / |v|
            (LGTM's code has the teacher's rate as eta; S' is made with the student's)
unrolled    adds the same exactly, by differentiating through the step: the student's backward pass is differentiated too

L_S and L_T are those of losses.py, L_val is cross-entropy. Weights are constants: S' depends on T through L_S alone. Both
networks are called in evaluation mode, as LGTM calls them, so that no buffer moves and nothing is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.functional import call_at
from refluence.influence.differentiable import logits_at
from refluence.influence.losses import cross_entropy
from refluence.influence.parameters import Parameters, add, dot
from refluence.training.objectives import Loss, T, mean_loss
from refluence.training.predict import evaluating
from refluence.transfer.losses import teacher_loss

GRADIENTS = ("detached", "influence", "unrolled")
STEP = 0.01  # length of LGTM's difference, |eps v|
Imitation = Loss[tuple[Tensor, Tensor]]
"""The student's loss: its logits and (labels, teacher logits) to `(B,)`."""


def look_ahead(
    student: nn.Module, x: Tensor, targets: T, loss: Loss[T], lr: float, weights: Tensor | None = None
) -> Parameters:
    """S', the student's parameters after one step of gradient descent on a batch. The student is left as it was.

    Args:
        student: gives logits `(B, C)`.
        x: inputs `(B, ...)`.
        targets: what `loss` takes.
        loss: `(logits, targets)` to `(B,)`.
        lr: the rate eta.
        weights: w `(B,)` of mean 1; none: ones.

    Returns:
        name -> tensor of those parameters that require gradients, for `call_at`.
    """
    with evaluating(student), torch.enable_grad():
        before = _leaves(student)
        value = mean_loss(loss, call_at(student, before, x), targets, weights)
        after = add(before, _gradient(value, before), -lr)
    return {name: p.detach() for name, p in after.items()}


def teacher_gradient(
    teacher: nn.Module,
    student: nn.Module,
    ahead: Parameters,
    x: Tensor,
    labels: Tensor,
    *,
    how: str,
    alpha: float,
    loss: Imitation,
    lr: float,
    weights: Tensor | None = None,
    teacher_weights: Tensor | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    step: float = STEP,
) -> Parameters:
    """The gradient of O by the teacher's parameters. Both networks are left as they were.

    Args:
        teacher: gives logits `(B, C)`.
        student: at S.
        ahead: S' of `look_ahead`, from the same batch, loss, rate and weights.
        x: inputs `(B, ...)`.
        labels: `(B,)`.
        how: one of `GRADIENTS`.
        alpha: share of KL(p_S || p_T) in L_T.
        loss: the student's, L_S.
        lr: the student's rate eta.
        weights: w `(B,)` of the student's instances; none: ones.
        teacher_weights: w^T `(B,)` of the teacher's; none: ones.
        validation: inputs and labels of L_val; `detached` reads none.
        step: length of the difference of `influence`.

    Returns:
        name -> tensor of those of the teacher's parameters that require gradients.

    Raises:
        InputError: an unknown `how`, or no validation instances for one that reads them.
    """
    if how not in GRADIENTS:
        raise InputError(f"the teacher's gradient must be one of {', '.join(GRADIENTS)}, got {how!r}")
    own: Parameters = {name: p for name, p in teacher.named_parameters() if p.requires_grad}
    with evaluating(teacher), evaluating(student), torch.enable_grad():
        logits = teacher(x)
        with torch.no_grad():
            seen = call_at(student, ahead, x)
        value = mean_loss(lambda t, y: teacher_loss(t, seen, y, alpha), logits, labels, teacher_weights)
        if how != "detached":
            if validation is None:
                raise InputError(f"the teacher's gradient {how} needs validation instances")
            y = labels, logits
            if how == "influence":
                value = value - lr * _difference(student, ahead, x, y, loss, weights, validation, step)
            else:
                value = value + _unrolled(student, x, y, loss, lr, weights, validation)
        return _gradient(value, own)


def _difference(
    student: nn.Module,
    ahead: Parameters,
    x: Tensor,
    y: tuple[Tensor, Tensor],
    loss: Imitation,
    weights: Tensor | None,
    validation: tuple[Tensor, Tensor],
    step: float,
) -> Tensor:
    """[L_S(T, S + eps v) - L_S(T, S - eps v)] / 2 eps with the graph that leads to T."""
    at = {name: p.detach().requires_grad_() for name, p in ahead.items()}
    v = _gradient(cross_entropy(call_at(student, at, validation[0]), validation[1]).mean(), at)
    length = dot(v, v) ** 0.5
    if length == 0:
        return y[1].sum() * 0
    here, eps = {name: p.detach() for name, p in student.named_parameters() if name in v}, step / length
    sides = []
    for sign in (eps, -eps):
        with torch.no_grad():
            z = call_at(student, add(here, v, sign), x)
        sides.append(mean_loss(loss, z, y, weights))
    return (sides[0] - sides[1]) / (2 * eps)


def _unrolled(
    student: nn.Module,
    x: Tensor,
    y: tuple[Tensor, Tensor],
    loss: Imitation,
    lr: float,
    weights: Tensor | None,
    validation: tuple[Tensor, Tensor],
) -> Tensor:
    """L_val(S'(T)) with the graph that leads to T."""
    before = _leaves(student)
    value = mean_loss(loss, logits_at(student, before, x), y, weights)
    after = add(before, _gradient(value, before, again=True), -lr)
    return cross_entropy(logits_at(student, after, validation[0]), validation[1]).mean()


def _leaves(net: nn.Module) -> Parameters:
    """The parameters that require gradients, each a tensor of its own."""
    return {name: p.detach().requires_grad_() for name, p in net.named_parameters() if p.requires_grad}


def _gradient(value: Tensor, by: Parameters, again: bool = False) -> Parameters:
    """By every one of `by`, zeros where the value does not depend on it; with `again` it can be differentiated."""
    each = torch.autograd.grad(value, list(by.values()), create_graph=again, materialize_grads=True)
    return dict(zip(by, each, strict=True))
