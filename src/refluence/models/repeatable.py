"""Networks whose numbers no run could repeat, found on a few images before any work.

    in evaluation mode    other logits under another seed of the global generators: dropout that was left on
    from the same seed    other weights, or other logits in training mode: a generator of its own that no seed of ours reaches
    made twice            the same parameters: what one fold teaches, the next one knows

Compared to the bit on the CPU; on an accelerator, where sums may run in another order, to a hundredth of the largest number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.randomness import drawn_so_far, seeded

TIMES, OFTEN = 2, 16  # passes; those of a network that draws random numbers, which may show rarely
TRAINED = 8  # passes in training mode
TOLERANCE = 0.01


def refuse_random_eval(model: nn.Module, x: Tensor, name: str = "the network") -> None:
    """Raise `InputError` where `model` in evaluation mode does not give `x` `(B, ...)` the same outputs at every time.

    The message names the first layer that gives equal inputs other outputs. Modes are put back.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        layer = random_layer(model, x)
    finally:
        for module, mode in modes:
            module.training = mode
    if layer is not None:
        raise InputError(
            f"{name} is random in evaluation mode: {layer} gives the same input other outputs each time; what it draws belongs "
            "into `if self.training:` (for dropout: training=self.training)"
        )


@torch.no_grad()
def random_layer(model: nn.Module, x: Tensor) -> str | None:
    """The first layer that gives other outputs for equal inputs, in the modes they are in, as a message names it; or None."""
    first, drew = _run(model, x, 0)
    for seed in range(1, OFTEN if drew else TIMES):
        if not _same(first, _run(model, x, seed)[0]):
            return _culprit(model, x, seed)
    return None


def refuse_unseeded(make: Callable[[], nn.Module], x: Tensor, name: str) -> None:
    """Raise `InputError` where two networks of `make()`, called with one seed, share what they learn, or start or train
    differently on `x` `(B, ...)`."""
    nets = [make() for _ in range(2)]
    learned = {id(p) for p in nets[0].parameters() if p.requires_grad}
    if shared := [key for key, p in nets[1].named_parameters() if id(p) in learned]:
        raise InputError(f"{name} is not a new one each time: {shared[0]} is made once; every network needs weights of its own")
    why = f"{name} draws random numbers that no seed holds"
    instead = "draw from torch, numpy.random or random directly, and count nothing outside the network"
    for (key, one), other in zip(nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True):
        if not _same(one, other):
            raise InputError(f"{why}: {key} differs between two networks of one seed; {instead}")
    said = []
    for net in nets:
        net.train()
        with seeded(0, x.device), torch.no_grad():
            said.append([net(x) for _ in range(TRAINED)])
    if not _same(*said):
        raise InputError(f"{why}: in training mode it gives other logits under the same seed; {instead}")


def _run(model: nn.Module, x: Tensor, seed: int) -> tuple[object, bool]:
    """The outputs under a seed, and whether the global generators were drawn from."""
    with seeded(seed, x.device):
        before = drawn_so_far(x.device)
        return model(x.clone()), drawn_so_far(x.device) != before


def _culprit(model: nn.Module, x: Tensor, seed: int) -> str:
    """The first layer whose calls under seeds 0 and `seed` have equal inputs and other outputs, as a message names it."""
    for (label, module, seen, said), (label_too, _, seen_too, said_too) in zip(
        *(_calls(model, x, s) for s in (0, seed)), strict=False
    ):
        if label and label == label_too and _same(seen, seen_too) and not _same(said, said_too):
            return f"layer '{label}' ({type(module).__name__})"
    return f"the forward of {type(model).__name__} itself"


def _calls(model: nn.Module, x: Tensor, seed: int) -> list[tuple[str, nn.Module, list[Tensor], list[Tensor]]]:
    """Every call of a layer in the order of their ends: label, layer, inputs, outputs."""
    calls, inputs = [], []

    def before(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        inputs.append([t.clone() for t in _tensors((args, kwargs))])

    def after(label: str) -> Callable[..., None]:
        return lambda module, args, out: calls.append((label, module, inputs.pop(), [t.clone() for t in _tensors(out)]))

    with ExitStack() as hooks:
        for label, module in model.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(before, with_kwargs=True))
            hooks.enter_context(module.register_forward_hook(after(label)))
        _run(model, x, seed)
    return calls


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _same(one: object, other: object) -> bool:
    mine, its = list(_tensors(one)), list(_tensors(other))
    return len(mine) == len(its) and all(a.shape == b.shape and _equal(a, b) for a, b in zip(mine, its, strict=True))


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.device.type == "cpu" or not a.is_floating_point():
        return bool(((a == b) | ((a != a) & (b != b))).all())  # not a number is itself here
    return torch.allclose(a, b, rtol=0, atol=TOLERANCE * float(a.abs().max()) if a.numel() else 0, equal_nan=True)
