"""The shared tiny cases, models x losses x data, in float64: every engine is held to the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.models import ModelSpec, build
from support.draws import generator

SAMPLES, SIZE = 11, 8


@dataclass(frozen=True)
class Case:
    """`model` is in eval mode; `x` `(11, C, 8, 8)`; `y` `(11,)` with classes of unequal size, or soft `(11, K)`."""

    model: nn.Module
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def losses(self) -> Tensor:
        return self.loss(self.model(self.x), self.y)

    def named(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def direction(self, seed: int = 7) -> dict[str, Tensor]:
        g = generator(seed)
        return {k: torch.randn(p.shape, generator=g, dtype=p.dtype) for k, p in self.named().items()}

    def to(self, dtype: torch.dtype) -> Case:
        y = self.y.to(dtype) if self.y.is_floating_point() else self.y
        return Case(self.model.to(dtype), self.x.to(dtype), y, self.loss)


class Shared(nn.Module):
    """One convolution called twice, and a last layer whose weight is also used by the layer before it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.InstanceNorm2d(4, affine=True)
        self.mix = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.mix.weight
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.again(F.gelu(self.first(x))))
        h = self.norm(self.again(torch.tanh(h))).mean((2, 3))
        return self.out(self.tied(torch.tanh(self.mix(h))))


class Rare(nn.Module):
    """The corners of the covered layers: strides, dilation, groups, odd padding, tokens, ReLU in place."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 2), bias=False),
            nn.GroupNorm(2, 4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", groups=6),
            nn.Conv2d(6, 5, 3, stride=2),
        )
        self.tokens = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 2, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.convs(x).flatten(2).mT).mean(1)


class TimeFirst(nn.Module):
    """A layer whose input is `(T, B, 3)`: at B = T its first axis has the length of the batch, and is not the batch."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.inner, self.out = length, nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.flatten(2)[:, :, : self.length].permute(2, 0, 1)
        return self.out(torch.tanh(self.inner(steps)).mean(0))


class Patches(nn.Module):
    """A layer whose input holds the four patches of every image as rows of their own, `(4B, 48)`."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(48, 4), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = x.reshape(-1, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 48)
        return self.out(torch.tanh(self.inner(patches)).reshape(-1, 16))


def distillation(logits: Tensor, y: Tensor) -> Tensor:
    """Soft-label loss at temperature 2 plus a squared term: `(B, K)` and `(B, K)` to `(B,)`."""
    kl = F.kl_div(F.log_softmax(logits / 2, 1), y, reduction="none").sum(1)
    return 4 * kl + 0.1 * logits.square().sum(1)


def _convnet(norm: str) -> nn.Module:
    net = build(ModelSpec("convnet2", (3, SIZE, SIZE), 3, width=8, norm=norm), generator(1))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after some training, then frozen
            module.running_mean.uniform_(-0.5, 0.5, generator=generator(2))
            module.running_var.uniform_(0.5, 2, generator=generator(3))
    return net


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 10), nn.Tanh(), nn.LayerNorm(10), nn.Linear(10, 3))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "instance": lambda: _convnet("instance"),
    "group": lambda: _convnet("group"),
    "batch": lambda: _convnet("batch"),
    "layer": lambda: _convnet("layer"),
    "none": lambda: _convnet("none"),
    "mlp": _mlp,
    "shared": Shared,
    "rare": Rare,
}
NAMES = [*MODELS, "soft"]
ROWS: dict[str, Callable[[], nn.Module]] = {  # samples are not the rows of every layer: nothing for the ghost method
    "time first": lambda: TimeFirst(SIZE),
    "time as long as the batch": lambda: TimeFirst(SAMPLES),
    "patches": Patches,
}


def make(name: str) -> Case:
    """A case by name: a key of `MODELS` or `ROWS` with cross-entropy, or "soft" for the instance ConvNet with soft labels."""
    g = generator(0)
    x = torch.randn(SAMPLES, 3, SIZE, SIZE, generator=g, dtype=torch.float64)
    model = (MODELS | ROWS)["instance" if name == "soft" else name]().double().eval()
    for p in model.parameters():  # away from the symmetric start, where norms are at one and zero
        p.data.copy_(0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64) + (p.dim() == 1))
    if name == "soft":
        y = torch.softmax(torch.randn(SAMPLES, 3, generator=g, dtype=torch.float64), 1)
        return Case(model, x, y, distillation)
    classes = 2 if name == "rare" else 3
    y = torch.tensor([0] * 6 + [1] * 4 + [classes - 1])
    return Case(model, x, y, lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"))
