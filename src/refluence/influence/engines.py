"""The exact ways to per-instance gradients, by name, and which one was taken and why."""

from __future__ import annotations

from dataclasses import dataclass

ENGINES = ("auto", "ghost", "forward", "double_backward", "single")
PRECISIONS = ("fp32", "bf16")
_WAYS = {
    "ghost": "from the inputs and output gradients of the layers",
    "forward": "by forward-mode derivatives",
    "double_backward": "by double backward",
    "single": "by the gradient of one instance after the other",
    "autograd": "by autograd, a pass for each contraction",
}


@dataclass(frozen=True)
class Choice:
    """The engine that is taken, and why not an earlier one ("" for the first).

    `paired`: the network takes no batch of one. `shared`: the embeddings that see the same ids for all samples.
    `widest`: numbers of a sample in the layer that sees most of them, where layers are read.
    """

    engine: str
    reason: str = ""
    paired: bool = False
    shared: frozenset[str] = frozenset()
    widest: int = 0

    def __str__(self) -> str:
        """One line for a terminal."""
        return f"influence {_WAYS[self.engine]} (engine {self.engine})" + (f", since {self.reason}" if self.reason else "")
