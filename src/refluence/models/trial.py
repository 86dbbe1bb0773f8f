"""A user's network tried on a few images before any work: what it gives, that it trains, that a run could be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from refluence.errors import InputError, option
from refluence.models.library import reason
from refluence.models.repeatable import refuse_random_eval, refuse_unseeded
from refluence.randomness import seeded
from refluence.text import TextShape

TRIED = 2  # images that a network is tried on


def check(make: Callable[[], nn.Module], name: str, shape: tuple[int, int, int], classes: int, trains: bool = True) -> None:
    """Try a network of `make()` on a few images `shape` (C, H, W) and on one; with its gradient, where it is to be trained.

    Errors: `InputError` where its logits are not finite floats `(n, classes)`, where it fails, changes its images, or where no
    run could repeat its numbers (repeatable.py).
    """
    net = make()
    if not any(p.requires_grad for p in net.parameters()):
        raise unusable(name, "the network has no parameter to train")
    x = inputs(shape)
    for mode, count in ((False, TRIED), (False, 1), *([(True, TRIED)] if trains else [])):
        given = x[:count].clone()
        with seeded(0), tried(name, shape, count), torch.set_grad_enabled(mode):
            logits = net.train(mode)(given)
        when = f"{_images(count, shape)}{' while it trains' if mode else ''}"
        got = f"{tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        if got != str((count, classes)):
            boxed = " (return its .logits)" if isinstance(getattr(logits, "logits", None), torch.Tensor) else ""
            raise unusable(name, f"the network gives {got} for {when}; expected logits {(count, classes)}{boxed}")
        if not logits.is_floating_point():
            raise unusable(name, f"the network gives {logits.dtype} for {when}; expected logits, which are floats")
        if not bool(logits.isfinite().all()):
            raise unusable(name, f"the network gives logits that are not finite for {when}, whose numbers are")
        if not torch.equal(given, x[:count]):
            raise unusable(name, "the network writes into the instances that it is given; it must copy them first")
    if trains:
        try:
            logits.float().square().sum().backward()
        except Exception as error:
            raise unusable(name, f"the network has no gradient ({reason(error)})") from error
    with tried(name, shape, TRIED):
        what = f"{option('model')} {name}: the network"
        refuse_random_eval(net, x, what)
        if trains:
            refuse_unseeded(make, x, what)


def unusable(name: str, why: str) -> InputError:
    """The error of a user's network."""
    return InputError(f"{option('model')} {name}: {why}")


@contextmanager
def tried(name: str, shape: tuple[int, int, int], count: int) -> Iterator[None]:
    """Passes of a user's network: `InputError` where it fails."""
    try:
        with torch.no_grad():
            yield
    except InputError:  # says already what the network does
        raise
    except (Exception, SystemExit) as error:
        failed = f"the network fails on {_images(count, shape)} ({reason(error)})"
        remedy = (
            f"{option('max_length')} cuts texts" if isinstance(shape, TextShape) else f"{option('image_size')} resizes images"
        )
        raise unusable(name, f"{failed}; {remedy}") from error


def inputs(shape: tuple[int, int, int], count: int = TRIED) -> Tensor:
    """So many instances of a shape, at random: images `(n, C, H, W)`, or ids `(n, L)` of texts, the second half as long."""
    generator = torch.Generator().manual_seed(0)
    if not isinstance(shape, TextShape):
        return torch.randn(count, *shape, generator=generator)
    ids = torch.randint(0, shape.vocabulary, (count, shape.length), generator=generator)
    ids[1:, shape.length // 2 :] = shape.pad
    return ids


def _images(count: int, shape: tuple[int, int, int]) -> str:
    if isinstance(shape, TextShape):
        return f"{count} text{'s' * (count > 1)} of {shape.length} tokens"
    return f"{count} image{'s' * (count > 1)} of {' x '.join(map(str, shape))}"
