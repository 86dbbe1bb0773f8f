"""What a network gives for many instances, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from refluence.randomness import seeded


@torch.no_grad()
def predict(
    function: Callable[[Tensor], Tensor],
    fetch: Callable[[slice], Tensor],
    count: int,
    chunk: int,
    *,
    device: torch.device | str = "cpu",
    seed: int | None = 0,
    even: bool = False,
) -> Tensor:
    """`function` of `count` instances, `chunk` at a time, joined along the first dimension. Nothing is differentiated.

    Args:
        function: inputs `(n, ...)` to outputs `(n, ...)`; they stay on the device on which it leaves them.
        fetch: the inputs at a slice of positions.
        count: how many instances there are, at least 1.
        chunk: how many are fetched at a time. Sums over other chunk sizes may differ in their last bits.
        device: where the function draws.
        seed: of what the function itself draws; none: global state is left as it is.
        even: the last chunk reaches back to be as long as the others, so that a compiled function meets one shape.

    Example:
        >>> import torch
        >>> data = torch.arange(5.0)
        >>> predict(torch.square, data.__getitem__, len(data), chunk=2).tolist()
        [0.0, 1.0, 4.0, 9.0, 16.0]
    """
    parts = []
    with nullcontext() if seed is None else seeded(seed, device):
        for start in range(0, count, chunk):
            first = max(0, min(start, count - chunk)) if even else start
            parts.append(function(fetch(slice(first, min(first + chunk, count))))[start - first :])
    return torch.cat(parts)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in evaluation mode for a block; then the mode of each of its modules is put back."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
