"""Where and how the heavy passes run: device, precision, compilation. The mathematics does not change with any of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

MOST = 24  # graphs: where classes have images in many numbers, compiling each would take longer than it saves
R = TypeVar("R", covariant=True)


class Made(Protocol[R]):
    """A graph that was made of a function."""

    @property
    def function(self) -> Callable[..., R]:
        """What was compiled, as it is without that."""

    def __call__(self, *inputs: Any) -> R:
        """The function's value."""


@dataclass
class Graphs:
    """The graphs that were made so far, by what they depend on beside values."""

    made: dict[Hashable, Made[Any]] = field(default_factory=dict)

    def of(
        self, kind: str, net: nn.Module, names: Sequence[str], x: Tensor, y: Tensor, make: Callable[[], Made[R]]
    ) -> Callable[..., R]:
        """The graph of this kind for networks built like `net` and batches like (x, y); beyond `MOST` what it is made of."""
        modes = tuple(module.training for module in net.modules())
        key = (kind, repr(net), modes, tuple(names), x.shape, x.dtype, x.device, y.shape[1:], y.dtype)
        if key not in self.made:
            made = make()
            if len(self.made) >= MOST:
                return made.function
            self.made[key] = made
        return self.made[key]


@dataclass(frozen=True)
class Compute:
    """`precision` bf16: real gradients and network training under autocast; synthetic gradients stay in float32.

    `compile`: network training and plain real gradients go through `torch.compile`. In fp32 so do gradients that are
    differentiated again (the synthetic side) and those of single instances, as compiled graphs (condense/graphs.py).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    compile: bool = False
    graphs: Graphs = field(default_factory=Graphs, compare=False, repr=False)

    @property
    def fuses(self) -> bool:
        """Whether twice differentiated and per-instance gradients are compiled too."""
        return self.compile and self.precision == "fp32"

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a pass at the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, net: nn.Module) -> nn.Module:
        """The network as the plain passes call it; it shares the parameters of `net`."""
        return cast(nn.Module, torch.compile(net)) if self.compile else net
