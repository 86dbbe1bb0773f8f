"""The last block of a network with its head: the parameters by which the influence in a large network costs little.

The head is the last linear layer. The last block is the last of the modules of one class that stand one after the other in a
`ModuleList` or `Sequential` before it: a transformer's layer, a residual block. What stands between the two (a last norm, a
pooler) belongs to them. A network without such a row of blocks has its head alone. The choice is ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def last_block(net: nn.Module, head: str) -> tuple[str, ...]:
    """The names of the parameters of the last block and the head, in the network's order.

    Args:
        net: any network.
        head: the place of its last linear layer, as `net.named_modules()` names it.

    Returns:
        Names as `net.named_parameters()` gives them; those of the head alone where there is no row of blocks before it.

    Example:
        >>> from torch import nn
        >>> block = lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> net = nn.Sequential(nn.Sequential(block(), block()), nn.LayerNorm(2), nn.Linear(2, 3))
        >>> last_block(net, "2")
        ('0.1.0.weight', '0.1.0.bias', '1.weight', '1.bias', '2.weight', '2.bias')
    """
    names = [name for name, _ in net.named_parameters()]
    own = [name for name in names if _within(name, head)]
    before = names[: names.index(own[0])] if own else names
    blocks = [place for place in _blocks(net) if place != head and any(_within(name, place) for name in before)]
    if not blocks:
        return tuple(own)
    first = next(i for i, name in enumerate(before) if _within(name, blocks[-1]))
    return (*before[first:], *own)


def _within(name: str, place: str) -> bool:
    return name.startswith(f"{place}.")


def _blocks(net: nn.Module, prefix: str = "") -> Iterator[str]:
    """The place of the last block of every row of blocks that is in no other one, in the network's order."""
    if isinstance(net, (nn.ModuleList, nn.Sequential)):
        composite = [(name, child) for name, child in net.named_children() if next(child.children(), None) is not None]
        if composite and sum(type(child) is type(composite[-1][1]) for _, child in composite) > 1:
            yield f"{prefix}{composite[-1][0]}"
            return
    for name, child in net.named_children():
        yield from _blocks(child, f"{prefix}{name}.")
