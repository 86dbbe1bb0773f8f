"""Any module as the rest of the package sees a network: logits, and its embedding, the input of its last linear layer."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from refluence.errors import InputError


class Own(nn.Module):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, F)`.

    `place` names the last linear layer of `net`; None: it has none, and so no embedding.
    """

    def __init__(self, net: nn.Module, place: str | None):
        super().__init__()
        self.net, self.place = net, place

    def features(self, x: Tensor) -> Tensor:
        """Embedding `(B, F)` before the last linear layer."""
        if self.place is None:
            raise InputError(f"{type(self.net).__name__} has no last linear layer, and so no embedding")
        seen: list[Tensor] = []

        def see(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen.append(given[0])

        handle = self.net.get_submodule(self.place).register_forward_pre_hook(see)
        try:
            self.net(x)
        finally:
            handle.remove()
        return torch.cat([each.flatten(1) for each in seen], 1)  # most call it once

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.net(x)


@torch.no_grad()
def last_linear(net: nn.Module, x: Tensor, classes: int) -> tuple[str | None, int]:
    """The place of the linear layer that is called last on x `(B, ...)` and gives `(B, classes)`, and the length of its input.

    (None, 0) where there is none. Inputs of several calls stand side by side. The network is left in evaluation mode.
    """
    called: list[tuple[str, int]] = []
    with ExitStack() as hooks:
        for place, module in net.named_modules():
            if isinstance(module, nn.Linear):

                def see(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor, place: str = place) -> None:
                    if tuple(out.shape) == (len(x), classes):
                        called.append((place, given[0].shape[1]))

                hooks.enter_context(module.register_forward_hook(see))
        net.eval()(x)
    last = called[-1][0] if called else None
    return last, sum(length for place, length in called if place == last)


def bare(net: nn.Module) -> nn.Module:
    """The user's own network, where it is one; else the network itself."""
    return net.net if isinstance(net, Own) else net
