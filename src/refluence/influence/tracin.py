"""The influence of a training instance along a training run (TracInCP, Pruthi et al. 2020, arXiv 2002.08484, sec. 3):

    I_j = - sum_t eta_t < grad M(theta_t), grad l_j(theta_t) >        over checkpoints theta_t with learning rate eta_t

A step of gradient descent with weights w, theta_{t+1} = theta_t - eta_t sum_j w_j grad l_j(theta_t), changes the validation
risk M by dM/dw_j = -eta_t <grad M, grad l_j> to first order in eta_t: no curvature, but every stage of training. The paper's
score is the negative of this one (its positive scores are proponents, which lower M); here positive I_j raises M: harmful.
For weights of mean 1 in a step on the mean of N instances, divide by N.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.batches import passes
from refluence.influence.directional import Scorer
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.parameters import scaled
from refluence.influence.risk import risk_gradient
from refluence.matching.statistics import Batches


def tracin(
    model: nn.Module,
    checkpoints: Iterable[tuple[dict[str, Tensor], float]],
    train: Batches,
    validation: Batches,
    *,
    loss: Loss = cross_entropy,
    risk: Loss | None = None,
    names: Iterable[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The influence of every training instance along a training run (TracInCP, arXiv 2002.08484, sec. 3, sign reversed).

    A copy of the model is loaded; the model itself is not touched.

    Args:
        model: the network whose states the checkpoints are, in `eval()`.
        checkpoints: (state dict of parameters and buffers, learning rate) one after the other; they are read once, so they
            may be loaded as they come. For a run with momentum beta the effective rate is about eta / (1 - beta).
        train: batches (x, y) that can be read again; sample weights are not used.
        validation: the same for the risk; its sample weights are used.
        loss: the training loss, `(B,)`.
        risk: the validation loss, `(B,)` (default: `loss`).
        names: the parameters that count (default: all).
        progress: called as `progress(t)` after checkpoint t.

    Returns:
        `(N,)` in the order of `train`: I_j = -sum_t eta_t <grad M, grad l_j>, in units of the risk; positive is harmful. For
        weights of mean 1 in steps on the mean of N instances, divide by N.

    Raises:
        InputError: no checkpoints, one that does not fit the model, an impossible learning rate.

    Example:
        >>> import torch
        >>> from refluence import tracin
        >>> model, x, y = torch.nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1])
        >>> harmful = tracin(model, [(model.state_dict(), 0.1)], [(x, 1 - y)], [(x, y)])
        >>> harmful.shape, bool(harmful.isfinite().all())
        (torch.Size([2]), True)
    """
    own, names = copy.deepcopy(model), None if names is None else list(names)
    scorer, device = Scorer(own, loss=loss), next(own.parameters()).device
    total: Tensor | None = None
    for t, (state, rate) in enumerate(checkpoints):
        _load(own, state, t)
        if not math.isfinite(rate) or rate < 0:
            raise InputError(f"checkpoint {t} has the learning rate {rate!r}: it must be finite and not negative")
        gradient, _ = risk_gradient(own, validation, loss if risk is None else risk, names)
        against = scaled(gradient, -float(rate))
        part = torch.cat([scorer(x, y, against) for x, y, _ in passes(train, device)])
        total = part if total is None else total + part
        if progress is not None:
            progress(t)
    if total is None:
        raise InputError("no checkpoints: give at least one (state dict, learning rate)")
    return total


def _load(model: nn.Module, state: dict[str, Tensor], t: int) -> None:
    want = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    have = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if want != have:
        wrong = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
        name = wrong[0]
        raise InputError(
            f"checkpoint {t} does not fit the model in {len(wrong)} places: '{name}' is {have.get(name, 'missing')}, "
            f"the model has {want.get(name, 'no such tensor')}"
        )
    model.load_state_dict(state)
