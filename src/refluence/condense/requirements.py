"""What a method asks of a network beside logits, tried on two images before a run begins.

embedding            the input of a last linear layer          DM, IDM, NCFM; DREAM and cluster starts, which cluster it
gradient by pixels   d/dx of the embedding                     the same
second derivative    d/dx of the gradient by the weights       DC, DSA, IDC, DREAM, PDD; implicit terms
one gradient         nothing is drawn at random                every method: dropout layers are switched off (ours)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from refluence.condense.method import Method, Settings
from refluence.errors import InputError
from refluence.influence import capture
from refluence.influence.differentiable import plain_kernels
from refluence.influence.weighting import Weighting
from refluence.matching.features import embedding
from refluence.models import ModelSpec, OwnSpec, build, is_library
from refluence.models.library import reason
from refluence.models.plain import without_dropout
from refluence.randomness import drawn_so_far, seeded

IMAGES = 2
OTHERS = "dm, idm and ncfm, which match embeddings, need none"


def check_network(spec: ModelSpec, method: Method, settings: Settings, weighting: Weighting | None = None) -> None:
    """`InputError` that says what a network lacks for this method, and which methods do without it. Ours lack nothing."""
    if not isinstance(spec, OwnSpec) and not is_library(spec.name):
        return
    why, gradients = embeds(method, settings), method.statistic.name == "gradient"
    if why and not spec.width:
        raise InputError(
            f"{spec.name} has no last linear layer, and so no embedding, which {why}: methods that match gradients, such as "
            "dc, dsa and idc, need none"
        )
    generator = torch.Generator().manual_seed(0)
    net = still(build(spec, generator))
    x, y = torch.randn(IMAGES, *spec.shape, generator=generator, requires_grad=True), torch.zeros(IMAGES, dtype=torch.int64)
    with seeded(0):
        _check_drawn(spec, net, x)
        implicit = weighting is not None and weighting.scored and weighting.terms != "explicit" and method.inner_is_real
        if gradients or implicit:
            distance = method.distance(settings)
            used = {n: p for n, p in net.named_parameters() if p.requires_grad and (distance.uses(p) or not gradients)}
            _check_twice(spec, net, used, (x, y), method.name if gradients else f"the implicit term of {method.name}")
        if gradients:
            try:
                capture(net, x.detach(), y)
            except (InputError, RuntimeError) as error:
                raise InputError(_unfit(spec, method.name, f"{_line(error)}", f"one gradient an image: {OTHERS}")) from None
        else:
            try:
                torch.autograd.grad(embedding(net, x)["features"].sum(), x)
            except RuntimeError as error:
                raise InputError(_unfit(spec, method.name, _line(error), "a gradient by the pixels")) from None


def embeds(method: Method, settings: Settings) -> str:
    """Why a run reads embeddings, as a message says it; nothing where it does not."""
    if method.statistic.name != "gradient":
        return f"{method.name} matches"
    if settings.cluster_every:
        return f"{method.name} clusters (cluster_every={settings.cluster_every})"
    return "initial=cluster clusters" if settings.initial == "cluster" else ""


def still(net: nn.Module) -> nn.Module:
    """The network as matching calls it: training, with batch norm's statistics as they are and without dropout, in place."""
    without_dropout(net).train()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return net


def _check_drawn(spec: ModelSpec, net: nn.Module, x: Tensor) -> None:
    before = drawn_so_far()
    with torch.no_grad():
        net(x)
    if drawn_so_far() != before:
        raise InputError(
            f"{spec.name} draws random numbers while it trains, beside dropout layers: an image has no one gradient to match; "
            "draw in nn.Dropout layers, which are switched off while a set is made"
        )


def _check_twice(spec: ModelSpec, net: nn.Module, used: dict[str, nn.Parameter], pair: tuple[Tensor, Tensor], who: str) -> None:
    x, y = pair
    if not used:
        raise InputError(f"{spec.name} has no weight whose gradient {who} compares, a convolution: dc and dsa take all layers")
    try:
        with plain_kernels(net):
            loss = cross_entropy(net(x), y)
            found = torch.autograd.grad(loss, list(used.values()), create_graph=True, allow_unused=True)
            gradients = {name: g for name, g in zip(used, found, strict=True) if g is not None}
            torch.autograd.grad(torch.stack([g.square().sum() for g in gradients.values()]).sum(), x)
    except RuntimeError as error:
        raise InputError(_unfit(spec, who, _line(error), f"a second derivative: {OTHERS}")) from None
    if unread := [name for name in used if name not in gradients]:
        raise InputError(
            f"the logits of {spec.name} do not depend on {unread[0].removeprefix('net.')}, whose gradient {who} compares: "
            "leave it out, or freeze it (requires_grad_(False))"
        )


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if isinstance(error, InputError) else reason(error)


def _unfit(spec: ModelSpec, who: str, why: str, needed: str) -> str:
    return f"{spec.name} can judge a set, not make one by {who} ({why}), which takes {needed}"
