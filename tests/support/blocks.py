"""Small blocks of networks, images `(n, 4, 4, 4)` to images of the same shape: what people write around a layer's plain call.

`PLAIN`: every engine answers. `ODD`: engine "auto" answers, the others may refuse. `HOOKED`: autograd alone sees all of the
gradient (hooks on gradients, parameters held outside their module), so "auto" may refuse as well. `RANDOM` and `COUPLED`: an
instance has no gradient of its own, and nothing answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from support.block_parts import (
    SIDE,
    WIDTH,
    Alone,
    Called,
    Do,
    Doubled,
    Once,
    Reversed,
    Square,
    Standardised,
    Symmetric,
    add_vector,
    alias,
    cells,
    conv,
    counted,
    doubled,
    experts,
    experts_of,
    frozen,
    functional_for_some,
    global_hook,
    gradient_hook,
    halves_in_place,
    heads,
    hooked_parameter,
    inner_autograd,
    inner_gradient,
    largest_norm,
    linear,
    loop,
    on_tokens,
    own_forward,
    parameter,
    pruned,
    shifted_tokens,
    sorted_rows,
    tied,
    time_first,
    unbatched,
    with_buffer,
    with_hook,
    with_no_grad,
)

PLAIN: dict[str, Callable[[], nn.Module]] = {
    "conv": conv,
    "conv, stride": lambda: nn.Sequential(conv(kernel_size=2, stride=2, padding=0), nn.Upsample(scale_factor=2)),
    "conv, circular": lambda: conv(padding_mode="circular"),
    "conv, reflect, same": lambda: conv(padding="same", padding_mode="reflect", dilation=1),
    "conv, groups, dilation": lambda: conv(groups=2, dilation=2, padding=2, bias=False),
    "linear, last axis": linear,
    "linear, no bias": lambda: linear(bias=False),
    "group norm": lambda: nn.GroupNorm(2, WIDTH),
    "layer norm": lambda: nn.LayerNorm([WIDTH, SIDE, SIDE]),
    "layer norm, last axis": lambda: nn.LayerNorm(SIDE),
    "relu in place": lambda: nn.Sequential(conv(), nn.ReLU(inplace=True)),
    "dropout, off": lambda: nn.Sequential(nn.Dropout(0.5), conv(), nn.Dropout2d(0.5)),
    "max pool": lambda: nn.Sequential(nn.MaxPool2d(2), conv(), nn.Upsample(scale_factor=2)),
}

ODD: dict[str, Callable[[], nn.Module]] = {
    # norms
    "instance norm": lambda: nn.InstanceNorm2d(WIDTH, affine=True),
    "instance norm, tracking": lambda: nn.InstanceNorm2d(WIDTH, affine=True, track_running_stats=True),
    "batch norm": lambda: nn.BatchNorm2d(WIDTH),
    "batch norm, then tokens": lambda: nn.Sequential(nn.BatchNorm2d(WIDTH), shifted_tokens()),
    "instance norm, then tokens": lambda: nn.Sequential(nn.InstanceNorm2d(WIDTH, affine=True), shifted_tokens()),
    "rms norm": lambda: on_tokens(nn.RMSNorm(WIDTH)),
    # one parameter, several uses
    "called twice": lambda: Do(lambda s, x: s.m(torch.tanh(s.m(x))), m=conv()),
    "twice in a sequential": lambda: nn.Sequential(*[conv(), nn.Tanh()] * 2),
    "two names": lambda: (lambda m: Do(lambda s, x: s.b(torch.tanh(s.a(x))), a=m, b=m))(conv()),
    "tied weight": lambda: tied(conv(), conv(), "weight"),
    "tied bias": lambda: tied(conv(), conv(), "bias"),
    "tied conv and linear": lambda: tied(conv(kernel_size=1, padding=0), on_tokens(linear()).m, "bias"),
    "tied norm": lambda: tied(nn.GroupNorm(1, WIDTH), nn.GroupNorm(2, WIDTH), "weight"),
    "functional too": lambda: Do(lambda s, x: F.conv2d(torch.tanh(s.m(x)), s.m.weight, padding=1), m=conv()),
    "functional alone": lambda: Do(lambda s, x: F.conv2d(x, s.m.weight, s.m.bias, padding=1), m=conv()),
    "functional for some": lambda: Do(functional_for_some, m=conv()),
    "transposed decoder": lambda: on_tokens(linear(), lambda m, t: F.linear(torch.tanh(m(t)), m.weight.t())),
    "divided by its norm": lambda: Do(lambda s, x: s.m(x) / (0.1 + s.m.weight.norm()), m=conv()),
    "bias used again": lambda: Do(lambda s, x: add_vector(s.m(x), s.m.bias), m=conv()),
    "no grad too": lambda: Do(with_no_grad, m=conv()),
    "detached too": lambda: Do(lambda s, x: s.m(x) + torch.tanh(s.m(x).detach()), m=conv()),
    "functional call": lambda: Do(lambda s, x: functional_call(s.m, dict(s.m.named_parameters()), (x,)), m=conv()),
    "functional call, doubled": lambda: Do(
        lambda s, x: functional_call(s.m, {k: 2 * p for k, p in s.m.named_parameters()}, (x,)), m=conv()
    ),
    # reparametrised
    "pruned": lambda: pruned(conv(), "weight"),
    "pruned weight and bias": lambda: pruned(linear(), "weight", "bias"),
    "weight norm, old": lambda: weight_norm(conv()),
    "weight norm": lambda: parametrizations.weight_norm(conv()),
    "spectral norm, old": lambda: spectral_norm(conv()),
    "spectral norm": lambda: parametrizations.spectral_norm(conv()),
    "symmetric": lambda: (lambda m: (parametrize.register_parametrization(m, "weight", Symmetric()), m)[1])(linear()),
    # hooks and overridden calls
    "forward hook": lambda: with_hook(conv(), "forward_hook", lambda m, args, out: 2 * out),
    "forward hook, own weight": lambda: with_hook(linear(), "forward_hook", lambda m, args, out: out * m.weight.norm()),
    "forward pre-hook": lambda: with_hook(conv(), "forward_pre_hook", lambda m, args: (torch.tanh(args[0]) * 2,)),
    "faint hook": lambda: with_hook(conv(), "forward_hook", lambda m, args, out: (1 + 1e-6) * out),
    "global hook": lambda: Do(global_hook, m=conv()),
    "keyword call": lambda: Do(lambda s, x: s.m(input=x), m=conv()),
    "own forward of a class": lambda: Doubled(WIDTH, WIDTH),
    "own call of a class": lambda: Called(WIDTH, WIDTH),
    "own forward of an instance": lambda: own_forward(conv()),
    "own conv forward": lambda: Standardised(WIDTH, WIDTH, 3, padding=1),
    "forward method alone": lambda: Do(lambda s, x: s.m.forward(x), m=conv()),
    "data parallel": lambda: nn.DataParallel(conv()),
    # rows that are not the samples
    "tokens as rows": lambda: on_tokens(linear(), lambda m, t: m(t.reshape(-1, WIDTH)).view(t.shape)),
    "time first": lambda: time_first(m=linear()),
    "time first norm": lambda: time_first(m=nn.LayerNorm(WIDTH)),
    "flipped": lambda: Do(lambda s, x: s.m(x.flip(0)).flip(0), m=conv()),
    "sorted": lambda: Do(sorted_rows, m=conv()),
    "sample by sample": lambda: Do(loop, m=conv()),
    "unbatched": lambda: Do(unbatched, m=conv()),
    "two views": lambda: Do(lambda s, x: torch.stack(s.m(torch.cat([x, x.flip(3)])).chunk(2)).tanh().sum(0), m=conv()),
    "numpy inside": lambda: Do(lambda s, x: s.m(x * torch.from_numpy(np.sign(x.detach().numpy()))), m=conv()),
    "numbers inside": lambda: Do(lambda s, x: s.m(x * x.new_tensor(x.detach().tolist()).sign()), m=conv()),
    "experts": lambda: Do(experts, a=conv(), b=conv()),
    "squeezed": lambda: Do(lambda s, x: add_vector(x, s.m(x.mean((2, 3)).squeeze())), m=linear()),
    "constant input": lambda: Do(lambda s, x: add_vector(x, s.m(s.m.weight.new_ones(5, WIDTH)).tanh().mean(0)), m=linear()),
    "vmap": lambda: on_tokens(linear(), lambda m, t: torch.vmap(m)(t)),
    "vmap, functional": lambda: on_tokens(linear(), lambda m, t: torch.vmap(lambda u: u @ m.weight)(t)),
    # attention, recurrence, other layers
    "attention": lambda: on_tokens(nn.MultiheadAttention(WIDTH, 2, batch_first=True), lambda m, t: m(t, t, t)[0]),
    "attention, time first": lambda: time_first(
        lambda m, t: m(t, t, t, need_weights=False)[0], m=nn.MultiheadAttention(WIDTH, 2)
    ),
    "dot product attention": lambda: Do(heads, m=nn.Linear(WIDTH, 3 * WIDTH)),
    "transformer": lambda: on_tokens(nn.TransformerEncoderLayer(WIDTH, 2, 4, batch_first=True)),
    "lstm": lambda: on_tokens(nn.LSTM(WIDTH, WIDTH, batch_first=True), lambda m, t: m(t[:, :4])[0].repeat(1, 4, 1)),
    "gru": lambda: on_tokens(nn.GRU(WIDTH, WIDTH), lambda m, t: m(t[:, :4].transpose(0, 1))[0].transpose(0, 1).repeat(1, 4, 1)),
    "gru cell": lambda: Do(cells, m=nn.GRUCell(WIDTH, WIDTH)),
    "transposed conv": lambda: nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1),
    "conv 1d": lambda: Do(lambda s, x: s.m(x.flatten(2)).view_as(x), m=nn.Conv1d(WIDTH, WIDTH, 3, padding=1)),
    "conv 3d": lambda: Do(lambda s, x: s.m(x[:, None])[:, 0], m=nn.Conv3d(1, 1, 3, padding=1)),
    "bilinear": lambda: on_tokens(nn.Bilinear(WIDTH, WIDTH, WIDTH), lambda m, t: m(t, t)),
    "embedding": lambda: Do(lambda s, x: add_vector(x, s.m(experts_of(x)).sum(1)), m=nn.Embedding(8, WIDTH)),
    "embedding bag": lambda: Do(lambda s, x: add_vector(x, s.m(experts_of(x))), m=nn.EmbeddingBag(8, WIDTH)),
    "prelu": lambda: nn.PReLU(WIDTH),
    # parameters of one's own
    "scale": lambda: Do(lambda s, x: x * s.p[:, None, None], p=parameter(WIDTH)),
    "position": lambda: Do(lambda s, x: x + s.p, p=parameter(WIDTH, SIDE, SIDE)),
    "parameter list": lambda: Do(lambda s, x: x * s.p[0] + s.p[1], p=nn.ParameterList([parameter(1), parameter(1)])),
    "einsum": lambda: Do(lambda s, x: torch.einsum("nchw,dc->ndhw", x, s.p), p=parameter(WIDTH, WIDTH)),
    "distances": lambda: on_tokens(linear(), lambda m, t: torch.cdist(t, m.weight)),
    "cosines": lambda: on_tokens(linear(), lambda m, t: F.linear(F.normalize(t, dim=-1), F.normalize(m.weight, dim=-1))),
    "complex": lambda: Do(
        lambda s, x: torch.fft.ifft2(torch.fft.fft2(x) * torch.view_as_complex(s.p)).real, p=parameter(WIDTH, SIDE, SIDE, 2)
    ),
    "unused": lambda: Do(lambda s, x: s.m(x), m=conv(), spare=linear(), p=parameter(2)),
    "frozen": lambda: nn.Sequential(frozen(conv()), nn.Tanh(), conv()),
    # flow of gradients
    "checkpoint": lambda: Do(lambda s, x: checkpoint(s.m, x, use_reentrant=False), m=conv()),
    "straight through": lambda: nn.Sequential(conv(), Do(lambda s, x: x + (torch.round(x) - x).detach())),
    "detached": lambda: Do(lambda s, x: x + torch.tanh(s.m(x.detach())), m=conv()),
    "square roots": lambda: Do(lambda s, x: (s.m(x).abs() + 1).sqrt(), m=conv()),
    "output in place": lambda: Do(halves_in_place, m=conv()),
    "own function": lambda: nn.Sequential(conv(), Do(lambda s, x: Square.apply(x))),
    "counter": lambda: with_buffer(Do(counted, m=conv()), "count", torch.zeros(1)),
    "permuted channels": lambda: with_buffer(Do(lambda s, x: s.m(x[:, s.i]), m=conv()), "i", torch.tensor([2, 0, 3, 1])),
}

HOOKED: dict[str, Callable[[], nn.Module]] = {
    "full backward hook": lambda: with_hook(conv(), "full_backward_hook", doubled),
    "full backward pre-hook": lambda: with_hook(conv(), "full_backward_pre_hook", lambda m, go: (2 * go[0],)),
    "clipped gradient": lambda: gradient_hook(lambda g: g.clamp(-0.01, 0.01)),
    "clipped gradient norm": lambda: gradient_hook(lambda g: g / (0.1 + g.norm())),
    "parameter hook": hooked_parameter,
    "reversal": lambda: nn.Sequential(conv(), Do(lambda s, x: Reversed.apply(x))),
    "once differentiable": lambda: nn.Sequential(conv(), Do(lambda s, x: Once.apply(x))),
    "checkpoint, reentrant": lambda: Do(lambda s, x: checkpoint(s.m, x, use_reentrant=True), m=conv()),
    "held elsewhere": alias,
    "largest norm": lambda: Do(largest_norm, m=conv()),
    "gradient inside": lambda: Do(inner_gradient, m=conv()),
    "autograd inside": lambda: Do(inner_autograd, m=conv()),
}

RANDOM: dict[str, Callable[[], nn.Module]] = {
    "functional dropout": lambda: Do(lambda s, x: F.dropout(s.m(x), 0.5, training=True), m=conv()),
    "dropout, always on": lambda: nn.Sequential(conv(), Alone(0.5)),
    "noise": lambda: Do(lambda s, x: s.m(x + 0.1 * torch.randn_like(x)), m=conv()),
    "numpy noise": lambda: Do(lambda s, x: s.m(x) * np.random.default_rng().uniform(0.5, 1), m=conv()),
    "python noise": lambda: Do(lambda s, x: s.m(x) * (1 + random.random()), m=conv()),
}

COUPLED: dict[str, Callable[[], nn.Module]] = {
    "batch norm, no statistics": lambda: nn.BatchNorm2d(WIDTH, track_running_stats=False),
    "functional batch norm": lambda: Do(lambda s, x: F.batch_norm(s.m(x), None, None, training=True), m=conv()),
    "centred": lambda: Do(lambda s, x: s.m(x) - s.m(x).mean(0), m=conv()),
    "centred, detached": lambda: Do(lambda s, x: x - 0.5 * x.detach().mean(0), m=conv()),
    "neighbour": lambda: Do(lambda s, x: s.m(x) + 0.5 * x.roll(1, 0), m=conv()),
    "first half": lambda: Do(lambda s, x: torch.cat([s.m(x[: len(x) // 2]), x[len(x) // 2 :]]), m=conv()),
    "attention over samples": lambda: Do(lambda s, x: (torch.softmax(x[:, 0, 0] @ x[:, 0, 0].T, 1) @ x.flatten(1)).view_as(x)),
    "sequence of samples": lambda: Do(
        lambda s, x: x + s.m(x.flatten(2).mean(2))[0][..., None, None] * 1.0, m=nn.GRU(WIDTH, WIDTH)
    ),
}
