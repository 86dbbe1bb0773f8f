"""The recorder of an inner training, for the influence through its steps (unrolled.py, where the symbols are explained):

    step t minimises  sum_r c_r W_r l_r(theta) + (weight_decay/2) |theta|^2,      W_r = sum_j A_rj w_j

by SGD with its learning rate and momentum at that step, over the rows r of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.parameters import Parameters, parameters_of
from refluence.matching.statistics import Targets

Batch = tuple[Tensor, Targets]


@dataclass(frozen=True)
class Step:
    """One step as it was taken: theta_t, the batch (or what makes it again), whose rows they are, and the optimiser."""

    parameters: Parameters  # those that the optimiser moves
    batch: Batch | Callable[[], Batch]
    indices: Tensor  # (B, k) dataset indices
    shares: Tensor  # (B, k), A_rj
    weights: Tensor  # (B,), W_r
    coefficients: Tensor  # (B,), c_r
    lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    fresh: bool


@dataclass
class Trajectory:
    """The recorder of an inner training on `n` instances: call `record` before each step of the optimiser.

    Keeps a copy of the parameters that have `requires_grad` (those the optimiser moves): P numbers a step, on the model's
    device or on `device`; a batch is kept by reference. u counts as 0 at the first recorded step: a recorder that starts
    late truncates the sum over steps.
    """

    n: int
    device: torch.device | str | None = None
    steps: list[Step] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def record(
        self,
        model: nn.Module,
        batch: Batch | Callable[[], Batch],
        indices: Tensor,
        *,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        shares: Tensor | None = None,
        weights: Tensor | None = None,
        coefficients: Tensor | float | None = None,
        fresh: bool = False,
    ) -> None:
        """Keep theta_t and what the step about to be taken does. `sgd(optimizer)` gives lr, momentum and so on.

        `batch`: (x, y) of B rows as the loss sees them (augmented, mixed), or a function that makes them again, so that
        images need not be kept. `indices` `(B,)` or `(B, k)`: the dataset index of each row or of its k parts, with
        `shares` of the same shape (default: ones). `weights` `(B,)`: W_r, and `coefficients`, c_r. By default w_j = 1/n on
        one simplex, W_r = sum_k shares_rk / n, and the step minimises a mean over rows, c_r = n/B: influences are dM/dw_j
        of distillation.py. For weights omega of mean 1 pass W_r = sum_k shares_rk omega and c_r = 1/B; dM/domega_j follows.
        A step that minimises sum_r c_r W_r l_r is what `c_r W_r` must reproduce. `fresh`: the momentum buffer is empty.

        CutMix with one loss a label, each weighted by its own instance, is 2B rows: each mixed image twice, with c_r times
        the share in each.

        Raises `InputError` for shapes that do not fit and indices outside 0 ... n-1.
        """
        indices = (indices[:, None] if indices.dim() == 1 else indices).detach().cpu().long()
        B = len(indices)
        if indices.dim() != 2 or not B:
            raise InputError(f"indices must have the shape (B,) or (B, k), got {tuple(indices.shape)}")
        if int(indices.min()) < 0 or int(indices.max()) >= self.n:
            raise InputError(f"indices must be from 0 to {self.n - 1}, got {int(indices.min())} to {int(indices.max())}")
        A = _wide(1.0).expand(indices.shape) if shares is None else _wide(shares).reshape(B, -1)
        if A.shape != indices.shape:
            raise InputError(f"shares must have the shape {tuple(indices.shape)} of the indices, got {tuple(A.shape)}")
        W = A.sum(1) / self.n if weights is None else _wide(weights)
        c = _wide(self.n / B if coefficients is None else coefficients)
        c = c.expand(B) if c.dim() == 0 else c
        for name, t in (("weights", W), ("coefficients", c)):
            if t.shape != (B,):
                raise InputError(f"{name} must have the shape ({B},), got {tuple(t.shape)}")
        if not (lr > 0 and 0 <= momentum < 1 and weight_decay >= 0 and math.isfinite(lr)):
            raise InputError(f"no such step: lr {lr}, momentum {momentum}, weight_decay {weight_decay}")
        if not callable(batch):
            x, y = batch
            batch = x.detach(), _detached(y)
        moving = [name for name, p in model.named_parameters() if p.requires_grad]
        theta = {k: p.to(self.device or p.device, copy=True) for k, p in parameters_of(model, moving).items()}
        self.steps.append(Step(theta, batch, indices, A, W, c, lr, momentum, weight_decay, nesterov, fresh))


def sgd(optimizer: torch.optim.Optimizer) -> dict[str, float | bool]:
    """lr, momentum, weight_decay and nesterov of a torch.optim.SGD, as `Trajectory.record` takes them.

    Raises `InputError` where the recursion does not hold: another optimiser, several groups, dampening, maximize.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        raise InputError(f"the unrolled influence is that of torch.optim.SGD, not of {type(optimizer).__name__}")
    if len(optimizer.param_groups) != 1:
        raise InputError(f"the unrolled influence needs one parameter group, got {len(optimizer.param_groups)}")
    group = optimizer.param_groups[0]
    for name in ("dampening", "maximize"):
        if group[name]:
            raise InputError(f"the unrolled influence needs {name}={type(group[name])(0)}, got {group[name]}")
    return {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}


def _detached(part: Targets) -> Targets:
    return tuple(t.detach() for t in part) if isinstance(part, (tuple, list)) else part.detach()


def _wide(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
