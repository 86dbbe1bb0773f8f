"""Softmax regression that is retrained exactly: the truth that an influence predicts, by Newton's method in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vmap

from refluence.influence.losses import cross_entropy
from support.draws import generator


@dataclass
class Convex:
    """The objective (1/N) sum_j w_j l_j + lam/2 |theta|^2 on `x` `(N, d)` and `y` as `loss` takes it; validation `vx`, `vy`."""

    x: Tensor
    y: object
    vx: Tensor
    vy: Tensor
    classes: int = 3
    lam: float = 1e-2
    loss: object = cross_entropy
    model: nn.Module = field(init=False)

    def __post_init__(self):
        self.model = nn.Linear(self.x.shape[1], self.classes).double()
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}

    def logits(self, flat: Tensor, x: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return functional_call(self.model, {n: p.view(s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}, (x,))

    def solve(self, w: Tensor, start: Tensor | None = None) -> Tensor:
        """The minimisers `(B, P)` for instance weights `(B, N)`."""
        size = sum(shape.numel() for shape in self.shapes.values())

        def objective(flat, w):
            return (w * self.loss(self.logits(flat, self.x), self.y)).mean() + self.lam / 2 * flat @ flat

        flat = torch.zeros(len(w), size, dtype=torch.float64) if start is None else start.expand(len(w), -1).clone()
        for _ in range(30):
            slope = vmap(grad(objective))(flat, w)
            flat = flat - torch.linalg.solve(vmap(hessian(objective))(flat, w), slope)
            if float(slope.abs().max()) < 1e-13:
                return flat
        raise AssertionError(f"Newton did not converge: gradient {float(slope.abs().max()):.1e}")

    def risk(self, flat: Tensor) -> Tensor:
        """The mean validation cross-entropy `(B,)` at parameters `(B, P)`."""
        return vmap(lambda f: cross_entropy(self.logits(f, self.vx), self.vy).mean())(flat)

    def train(self, w: Tensor | None = None) -> Tensor:
        """Fit the model itself and return its flat parameters `(P,)`."""
        flat = self.solve(torch.ones(1, len(self.x), dtype=torch.float64) if w is None else w[None])[0]
        with torch.no_grad():
            parts = flat.split([shape.numel() for shape in self.shapes.values()])
            for p, part in zip(self.model.parameters(), parts, strict=True):
                p.copy_(part.view(p.shape))
        return flat


def blobs(n: int = 200, d: int = 5, classes: int = 3, seed: int = 0, flipped: float = 0.0) -> tuple[Convex, Tensor]:
    """Overlapping Gaussian classes, and which training labels `(N,)` were flipped to another class."""
    g = generator(seed)
    centres = torch.randn(classes, d, generator=g, dtype=torch.float64)

    def draw(m):
        y = torch.randint(classes, (m,), generator=g)
        return centres[y] + torch.randn(m, d, generator=g, dtype=torch.float64), y

    (x, y), (vx, vy) = draw(n), draw(100)
    wrong = torch.rand(n, generator=g) < flipped
    other = (y + torch.randint(1, classes, (n,), generator=g)) % classes
    return Convex(x, torch.where(wrong, other, y), vx, vy, classes), wrong
