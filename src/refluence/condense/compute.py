"""Where and how the heavy passes run: device, precision, compilation. The mathematics does not change with any of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import nn

from refluence.condense.graphs import Graphs


@dataclass(frozen=True)
class Compute:
    """`precision` bf16: real gradients and network training under autocast; synthetic gradients stay in float32.

    `compile`: network training and plain real gradients go through `torch.compile`. In fp32 so do gradients that are
    differentiated again (the synthetic side) and those of single instances, as the graphs of graphs.py.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    compile: bool = False
    graphs: Graphs = field(default_factory=Graphs, compare=False, repr=False)

    @property
    def fuses(self) -> bool:
        """Whether twice differentiated and per-instance gradients are compiled too."""
        return self.compile and self.precision == "fp32"

    def autocast(self) -> AbstractContextManager:
        """The context of a pass at the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def compiled(self, net: nn.Module) -> nn.Module:
        """The network as the plain passes call it; it shares the parameters of `net`."""
        return torch.compile(net) if self.compile else net
