"""Losses of knowledge distillation, one number an instance, from logits z of the student and t of the teacher:

    kd    T^2 KL(softmax(t/T) || softmax(z/T))                                                    arXiv 1503.02531, sec. 2
    dkd   T^2 [KL(b_t || b_z) + beta KL(q_t || q_z)]                                              arXiv 2203.08679, eq. 7
    mse   |z - t|^2 / 2C, over C classes: the limit of kd as T grows, for logits of mean 0        arXiv 1503.02531, eq. 4

where, at temperature T, b = (p_y, 1 - p_y) splits the label's class y from the others and q = p / (1 - p_y) is the distribution
among the others. Since KL(p_t || p_z) = KL(b_t || b_z) + (1 - p_y of the teacher) KL(q_t || q_z), kd weighs the last part less
the surer the teacher is, and dkd weighs it by beta for every instance. The student learns, with labels y (KD-AIF, arXiv
2501.02705), by

    L_S = (1 - alpha) imitation(z, t) + alpha CE(z, y)

and a teacher that learns too, in the form of LGTM (arXiv 2305.09651), which for KD-AIF is ours to justify, by

    L_T = alpha KL(p_S || p_T) + (1 - alpha) CE(t, y),      p_S a constant, no temperature
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.errors import InputError
from refluence.influence.losses import cross_entropy, softmax_hessian
from refluence.training.objectives import Targets, divergence

KINDS = ("kd", "dkd", "mse")


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) `(B,)` of logits `(B, C)`. A graph on the teacher's side is kept."""
    return temperature**2 * divergence(student, teacher, temperature, "none")


def dkd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, beta: float) -> Tensor:
    """T^2 [target part + beta non-target part] `(B,)` of logits `(B, C)` under labels `(B,)`."""
    own = _own(labels, student)
    (z_own, z_all, z_others), (t_own, t_all, t_others) = (_split(z / temperature, own) for z in (student, teacher))
    target = _term(t_own, z_own) + _term(t_all, z_all)
    return temperature**2 * (target + beta * _term(t_others, z_others).sum(1))


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """|z - t|^2 / 2C `(B,)` of logits `(B, C)`."""
    return 0.5 * (student - teacher).square().mean(1)


@dataclass(frozen=True)
class StudentLoss:
    """(1 - alpha) times the imitation of a teacher, plus alpha times cross-entropy with the labels.

    The teacher's logits are taken as they come: without a graph they are data, with one the loss is differentiable by them.

    Args:
        kind: kd, dkd or mse.
        alpha: share of the labels in [0, 1]. 1 never looks at the teacher; 0 looks at the labels only for dkd.
        temperature: of both networks, in kd and dkd.
        beta: weight of dkd's non-target part.
        share: of the imitation's weight, in [0, 1].

    Raises:
        InputError: a value outside its range.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0, 1.0]])
        >>> StudentLoss("kd", alpha=0.0)(z, (torch.tensor([0]), z)).tolist()
        [0.0]
    """

    kind: str = "kd"
    alpha: float = 0.1
    temperature: float = 4.0
    beta: float = 8.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"loss must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha, the share of the labels, must be in [0, 1], got {self.alpha!r}")
        if not self.temperature > 0:
            raise InputError(f"temperature must be > 0, got {self.temperature!r}")
        if not self.beta >= 0:
            raise InputError(f"beta must be >= 0, got {self.beta!r}")
        if not 0 <= self.share <= 1:
            raise InputError(f"share, of the imitation's weight, must be in [0, 1], got {self.share!r}")

    def __call__(self, logits: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
        """`(B,)` for student logits `(B, C)` and y = (labels `(B,)`, teacher logits `(B, C)`)."""
        labels, teacher = _parts(y, logits)
        if self.alpha == 1:
            return cross_entropy(logits, labels)
        soft, weight = self._imitation(logits, labels, teacher), (1 - self.alpha) * self.share
        soft = soft if weight == 1 else weight * soft
        return soft if self.alpha == 0 else soft + self.alpha * cross_entropy(logits, labels)

    def _imitation(self, logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
        if self.kind == "mse":
            return mse(logits, teacher)
        if self.kind == "kd":
            return kd(logits, teacher, self.temperature)
        return dkd(logits, teacher, labels, self.temperature, self.beta)

    def hessian(self, logits: Tensor, y: tuple[Tensor, Tensor], u: Tensor) -> Tensor:
        """S_j u_j `(B, C)` for u `(B, C)`, S_j the second derivative by the logits, for the Gauss-Newton matrix.

        dkd's second derivative is p_y (1 - p_y) d d^T + (beta + p_y of the teacher - p_y) (diag(q) - q q^T) with d = 1 at y and
        -q elsewhere: its second factor is negative where the student is surer of the label than the teacher by more than
        beta. There it counts as 0, so that S_j is positive semi-definite.
        """
        labels, teacher = _parts(y, logits)
        hard = softmax_hessian(logits, u)
        if self.alpha == 1:
            return hard
        if self.kind == "mse":
            soft = u / logits.shape[1]
        elif self.kind == "kd":
            soft = softmax_hessian(logits / self.temperature, u)
        else:
            soft = self._dkd_hessian(logits, labels, teacher, u)
        return (1 - self.alpha) * self.share * soft + self.alpha * hard

    def _dkd_hessian(self, logits: Tensor, labels: Tensor, teacher: Tensor, u: Tensor) -> Tensor:
        own = _own(labels, logits)
        among = torch.softmax((logits / self.temperature).masked_fill(own, -torch.inf), 1)
        p, q = (torch.softmax(z / self.temperature, 1).gather(1, labels[:, None]) for z in (logits, teacher))
        apart = own.to(among) - among
        label = p * (1 - p) * apart * (apart * u).sum(1, keepdim=True)
        others = among * u - among * (among * u).sum(1, keepdim=True)
        return label + (self.beta + q - p).clamp_min(0) * others


class Rising:
    """A student's loss whose imitation reaches its weight within so many epochs, by as much in each (DKD's own code)."""

    def __init__(self, loss: StudentLoss, epochs: int):
        self.loss, self.epochs = loss, epochs

    def begin(self, epoch: int) -> None:
        """What an epoch has of it, from 0 on: the first (1 / epochs)."""
        self.loss = replace(self.loss, share=min(1.0, (epoch + 1) / self.epochs))

    def __call__(self, logits: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
        """See `StudentLoss`."""
        return self.loss(logits, y)

    def hessian(self, logits: Tensor, y: tuple[Tensor, Tensor], u: Tensor) -> Tensor:
        """See `StudentLoss`."""
        return self.loss.hessian(logits, y, u)


def teacher_loss(teacher: Tensor, student: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """alpha KL(p_S || p_T) + (1 - alpha) CE `(B,)` of a teacher's logits `(B, C)`; the student's are constants."""
    return alpha * divergence(teacher, student.detach(), 1.0, "none") + (1 - alpha) * F.cross_entropy(
        teacher, labels, reduction="none"
    )


def _parts(y: Targets, logits: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(y, (tuple, list)) or len(y) != 2:
        raise InputError(f"distillation needs y = (labels, teacher logits), got {type(y).__name__}")
    if y[1].shape != logits.shape:
        raise InputError(f"teacher logits must have the student's shape {tuple(logits.shape)}, got {tuple(y[1].shape)}")
    return y[0], y[1]


def _own(labels: Tensor, logits: Tensor) -> Tensor:
    """Where the label's class is, `(B, C)`. One comparison, which vmap maps too."""
    return labels[:, None] == torch.arange(logits.shape[1], device=logits.device)


def _split(z: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p_y `(B,)`, log(1 - p_y) `(B,)`, and the logarithms of q `(B, C)`, -inf at the label."""
    others = z.masked_fill(own, -torch.inf)
    whole, rest = z.logsumexp(1), others.logsumexp(1)
    return (z * own).sum(1) - whole, rest - whole, others - rest[:, None]


def _term(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p (log p - log q), 0 where p is."""
    gone = log_p == -torch.inf
    return log_p.exp() * (log_p - log_q).masked_fill(gone, 0.0)
