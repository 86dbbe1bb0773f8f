"""Matching characteristic functions (NCFM, Wang et al. 2025, arXiv 2502.20653): amplitude and phase at random frequencies.

    b(t) = (1/n) sum_j omega_j exp(i <t, f_j>)                     R = |b|, r = |a|
    D(a, b) = mean_t sqrt(q),    q = alpha (R - r)^2 + beta max(2 (R r - Re(b conj a)), 1e-12)

    grad_2 by (Re b, Im b):   [alpha (R - r) b/R + beta (r b/R - a)] / (T sqrt(q))
    I_j = mean_t dq_j / (2 sqrt(q)),   dq_j = 2 alpha (R - r) rho_j + 2 beta (r rho_j - Re(phi_j conj a)),
                                       rho_j = Re(conj(b) phi_j) / R

Complex numbers are pairs of real tensors, "real" and "imag" `(T,)`. For alpha = beta = 1/2, D = mean_t |a - b| / sqrt(2).
The floor 1e-12 under the phase is the published code's; where it holds, the phase has no derivative. D is not smooth where
a(t) = b(t). The published loss is 300 times this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from refluence.errors import InputError
from refluence.matching.discrepancies import Values
from refluence.matching.features import embedding

FLOOR = 1e-12


def frequencies(count: int, width: int, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """Gaussian frequencies t `(count, width)` of standard deviation `scale`; NCFM takes 4096 of 1 for unit features."""
    return scale * torch.randn(count, width, generator=generator)


def characteristic(features: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Rows phi_j = exp(i <t, f_j>) `(B, T)`, as "real" and "imag", of features `(B, F)` at frequencies `(T, F)`."""
    if features.dim() != 2 or t.dim() != 2 or features.shape[1] != t.shape[1]:
        raise InputError(f"features (B, F) and frequencies (T, F) must share F, got {tuple(features.shape)}, {tuple(t.shape)}")
    angle = features @ t.to(features).mT
    return {"real": angle.cos(), "imag": angle.sin()}


class Waves:
    """Rows exp(i <t, f_j>) of unit features, at frequencies drawn when their width is first seen and then kept."""

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator = count, generator
        self.t: Tensor | None = None

    def __call__(self, net: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """The rows `(B, count)` of a batch."""
        f = normalize(embedding(net, x)["features"], dim=1)
        if self.t is None:
            self.t = frequencies(self.count, f.shape[1], self.generator).to(f)
        return characteristic(f, self.t)


@dataclass(frozen=True)
class Characteristic:
    """`scale` times the distance of two characteristic functions {"real", "imag"} `(T,)`: `alpha` amplitude, `beta` phase."""

    alpha: float = 0.5
    beta: float = 0.5
    scale: float = 1.0
    name: str = "characteristic"

    def uses(self, tensor: Tensor) -> bool:
        """Every frequency contributes."""
        return True

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        s, t = _pair(a), _pair(b)
        amplitude, phase = self._parts(s, t, s.norm(dim=0), t.norm(dim=0))
        return self.scale * (self.alpha * amplitude + self.beta * phase.clamp(min=FLOOR)).sqrt().mean()

    def second(self, a: Values, b: Values) -> dict[str, Tensor]:
        """grad_2 D in closed form."""
        s, t = _pair(a), _pair(b)
        r, R = s.norm(dim=0), t.norm(dim=0)
        amplitude, phase = self._parts(s, t, r, R)
        root = (self.alpha * amplitude + self.beta * phase.clamp(min=FLOOR)).sqrt()
        unit = torch.where(R > 0, t / R, 0.0)
        moving = torch.where(phase >= FLOOR, r * unit - s, 0.0)
        gradient = self.scale * (self.alpha * (R - r) * unit + self.beta * moving) / (root * len(root))
        return {"real": gradient[0], "imag": gradient[1]}

    @staticmethod
    def _parts(a: Tensor, b: Tensor, r: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
        return (R - r).square(), 2 * (R * r - (a * b).sum(0))


def _pair(statistic: Values) -> Tensor:
    return torch.stack([statistic["real"], statistic["imag"]])
