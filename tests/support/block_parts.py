"""What the blocks of blocks.py are made of: layers of four channels, forwards that use them in odd ways, own functions."""

from __future__ import annotations

import types
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune

WIDTH, SIDE = 4, 4


class Do(nn.Module):
    """`forward(x) = f(self, x)`; modules, parameters and other values become attributes."""

    def __init__(self, f: Callable[[Do, Tensor], Tensor], **parts):
        super().__init__()
        self.f = f
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self, x)


def conv(**kw) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, **{"kernel_size": 3, "padding": 1, **kw})


def linear(**kw) -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, **kw)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def tokens(x: Tensor) -> Tensor:
    """`(n, 16, 4)`."""
    return x.flatten(2).mT


def image(t: Tensor) -> Tensor:
    return t.mT.reshape(-1, WIDTH, SIDE, SIDE)


def on_tokens(module: nn.Module, f: Callable[[nn.Module, Tensor], Tensor] = lambda m, t: m(t)) -> Do:
    return Do(lambda s, x: image(f(s.m, tokens(x))), m=module)


def shifted_tokens() -> Do:
    """Tokens that each see the one before: their gradient has channels last in memory."""
    return on_tokens(nn.Identity(), lambda m, t: torch.sin(t.contiguous()) * torch.cat([t[:, :1], t[:, :-1]], 1))


def tied(a: nn.Module, b: nn.Module, name: str) -> Do:
    setattr(b, name, getattr(a, name))
    return Do(lambda s, x: s.b(torch.tanh(s.a(x))), a=a, b=b)


def with_hook(module: nn.Module, kind: str, hook: Callable) -> nn.Module:
    getattr(module, f"register_{kind}")(hook)
    return module


def pruned(module: nn.Module, *names: str) -> nn.Module:
    for name in names:
        prune.l1_unstructured(module, name, 0.5)
    return module


def own_forward(module: nn.Module) -> nn.Module:
    module.forward = types.MethodType(lambda m, x: F.conv2d(x, m.weight * m.weight, m.bias, padding=1), module)
    return module


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Called(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return 2 * super().__call__(x)


class Standardised(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight / (0.1 + weight.norm()), bias)


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w + w.mT


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Once(Square):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -0.5 * g


class Alone(nn.Dropout):
    """Dropout that is on in eval mode too."""

    def train(self, mode: bool = True):
        return super().train(True)


def global_hook(s: Do, x: Tensor) -> Tensor:
    handle = register_module_forward_hook(lambda m, args, out: 2 * out if m is s.m else None)
    try:
        return s.m(x)
    finally:
        handle.remove()


def with_no_grad(s: Do, x: Tensor) -> Tensor:
    out = s.m(x)
    with torch.no_grad():
        return out + torch.tanh(s.m(out))


def halves_in_place(s: Do, x: Tensor) -> Tensor:
    out = s.m(x)
    out[:, :2].mul_(2)
    return out


def sorted_rows(s: Do, x: Tensor) -> Tensor:
    order = x.detach().flatten(1).sum(1).argsort()
    return s.m(x[order])[order.argsort()]


def experts(s: Do, x: Tensor) -> Tensor:
    first = x.detach().flatten(1).mean(1) > 0
    out = torch.zeros_like(x)
    out[first], out[~first] = s.a(x[first]), s.b(x[~first])
    return out


def time_first(f: Callable[[nn.Module, Tensor], Tensor] = lambda m, t: m(t), length: int = 5, **parts) -> Do:
    """The first `length` tokens as `(length, n, 4)`: at n = length the first axis is as long as the batch."""
    return Do(lambda s, x: x + f(s.m, tokens(x)[:, :length].transpose(0, 1)).mean(0)[:, :, None, None], **parts)


def inner_gradient(s: Do, x: Tensor) -> Tensor:
    """x minus the gradient of an energy of x, as in energy-based and implicit layers."""
    return x - torch.func.grad(lambda t: torch.tanh(s.m(t)).square().sum())(x)


def inner_autograd(s: Do, x: Tensor) -> Tensor:
    with torch.enable_grad():
        t = x if x.requires_grad else x.detach().requires_grad_()
        return x - torch.autograd.grad(torch.tanh(s.m(t)).square().sum(), t, create_graph=True)[0]


def gradient_hook(hook: Callable[[Tensor], Tensor]) -> Do:
    def f(s: Do, x: Tensor) -> Tensor:
        out = x * 1
        if out.requires_grad:
            out.register_hook(hook)
        return out

    return Do(f)


def hooked_parameter() -> nn.Module:
    module = conv()
    module.weight.register_hook(lambda g: 2 * g)
    return module


def alias() -> Do:
    """A weight that is also held in a tuple, where no replacement of parameters finds it."""
    module = conv()
    return Do(lambda s, x: F.conv2d(torch.tanh(s.m(x)), s.held[0], padding=1), m=module, held=(module.weight,))


def doubled(module: nn.Module, inputs: tuple[Tensor | None], outputs: tuple[Tensor]) -> tuple[Tensor | None]:
    return tuple(None if g is None else 2 * g for g in inputs)


def functional_for_some(s: Do, x: Tensor) -> Tensor:
    """The weight a second time, for one sample in four, told by its last digits."""
    rare = (1e4 * x.detach().flatten(1).sum(1).abs()).frac() < 0.25
    return s.m(x) + F.conv2d(x, s.m.weight, padding=1) * rare[:, None, None, None]


def largest_norm(s: Do, x: Tensor) -> Tensor:
    """Weights that every forward holds to a largest norm, in place."""
    s.m.weight.data = torch.renorm(s.m.weight.data, 2, 0, 1.0)
    return s.m(x)


def counted(s: Do, x: Tensor) -> Tensor:
    s.count.add_(1)
    return s.m(x)


def with_buffer(module: Do, name: str, value: Tensor) -> Do:
    module.register_buffer(name, value)
    return module


def loop(s: Do, x: Tensor) -> Tensor:
    return torch.cat([s.m(x[i : i + 1]) for i in range(len(x))])


def unbatched(s: Do, x: Tensor) -> Tensor:
    return torch.stack([s.m(each) for each in x])


def cells(s: Do, x: Tensor) -> Tensor:
    h = torch.zeros_like(x[:, :, 0, 0])
    for t in tokens(x)[:, :3].unbind(1):
        h = s.m(t, h)
    return x + h[:, :, None, None]


def add_vector(x: Tensor, t: Tensor) -> Tensor:
    """`(n, 4)` or `(4,)` added to every position."""
    return x + t[..., None, None]


def heads(s: Do, x: Tensor) -> Tensor:
    q, k, v = s.m(tokens(x)).chunk(3, -1)
    return image(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0])


def experts_of(x: Tensor) -> Tensor:
    """Indices `(n, 4)` below 8 made of the content of an image."""
    return (x.detach().mean((2, 3)) * 40).long().abs() % 8
