"""Random tiny networks in float64, built of the blocks of blocks.py in random order, and their gradients sample by sample.

A `Spec` is what hypothesis draws, and all that a failure needs to be replayed: `build(spec)`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from refluence.influence import cross_entropy
from support.block_parts import SIDE, WIDTH, Do
from support.blocks import COUPLED, HOOKED, ODD, PLAIN, RANDOM
from support.draws import generator

CLASSES = 3
BLOCKS = PLAIN | ODD | HOOKED | RANDOM | COUPLED


@dataclass(frozen=True)
class Spec:
    """Blocks in their order, what is done to the whole, and a seed of the values."""

    blocks: tuple[str, ...]
    around: str = "nothing"
    n: int = 5
    seed: int = 0
    soft: bool = False
    later: str = "values"

    @property
    def kinds(self) -> set[str]:
        return {*self.blocks, self.around}

    @property
    def plain(self) -> bool:
        """Whether every engine must answer."""
        return self.kinds <= {*PLAIN, "nothing"}

    @property
    def answered(self) -> bool:
        """Whether engine "auto" must answer."""
        return self.kinds <= {*PLAIN, *ODD, "nothing", *ALTERED}

    @property
    def random(self) -> bool:
        return bool(self.kinds & RANDOM.keys())


@dataclass
class Network:
    """`model` in eval mode; two batches of unlike sizes; `loss(model(x), y)` gives `(n,)`."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: list[tuple[Tensor, Tensor]]


def head_of_stem(net: Network) -> None:
    stem = net.model.stem
    net.model.head = Do(lambda s, x: s.m(x) + F.linear(x[:, :18], stem.weight.view(WIDTH, -1)[:CLASSES]), m=net.model.head)


def cosine_head(net: Network) -> None:
    net.model.head = Do(
        lambda s, x: 5 * F.linear(F.normalize(x, dim=1), F.normalize(s.m.weight, dim=1)), m=nn.Linear(64, CLASSES)
    )


def penalty(net: Network) -> None:
    stem, plain = net.model.stem, net.loss
    net.loss = lambda z, y: plain(z, y) + 0.1 * stem.weight.square().sum() * z.detach().sum(1)


def faint_penalty(net: Network) -> None:
    stem, plain = net.model.stem, net.loss
    net.loss = lambda z, y: plain(z, y) + 1e-5 * stem.weight.square().sum()


def frozen_stem(net: Network) -> None:
    net.model.stem.requires_grad_(False)


def held_penalty(net: Network) -> None:
    weight, plain = net.model.stem.weight, net.loss
    net.loss = lambda z, y: plain(z, y) + 0.1 * weight.square().sum()


def batch_loss(net: Network) -> None:
    plain = net.loss
    net.loss = lambda z, y: plain(z, y) * torch.softmax(plain(z, y).detach(), 0)


ALTERED: dict[str, Callable[[Network], None]] = {  # the instances keep gradients of their own, which "auto" must find
    "head of the stem": head_of_stem,
    "cosine head": cosine_head,
    "penalty": penalty,
    "faint penalty": faint_penalty,
    "frozen stem": frozen_stem,
}
AROUND = {"nothing": lambda net: None, **ALTERED, "held penalty": held_penalty, "loss of the batch": batch_loss}
LATER: dict[str, Callable[[nn.Module], object]] = {  # between two uses of one Scorer
    "values": lambda model: [p.data.mul_(1.1) for p in model.parameters()],
    "hook": lambda model: model.stem.register_forward_hook(lambda m, args, out: 2 * out),
    "pruned": lambda model: prune.l1_unstructured(model.head if isinstance(model.head, nn.Linear) else model.stem, "bias", 0.5),
    "new forward": lambda model: setattr(model.stem, "forward", lambda x: F.conv2d(x, model.stem.weight.square())),
    "coupled": lambda model: model.act.register_forward_hook(lambda m, args, out: out - out.mean(0)),
}
KINDS = [*BLOCKS, *(kind for kind in AROUND if kind != "nothing")]


def specs(kind: str) -> st.SearchStrategy[Spec]:
    """Networks that hold this kind, among up to three other blocks that have gradients of their own."""
    others = st.one_of(
        st.lists(st.sampled_from(list(PLAIN)), max_size=3),
        st.lists(st.sampled_from([*PLAIN, *ODD]), min_size=1, max_size=3),
        st.lists(st.sampled_from([*PLAIN, *ODD, *HOOKED]), min_size=1, max_size=3),
    )
    around = st.sampled_from(["nothing", "nothing", *ALTERED]) if kind in {*ODD, *HOOKED} else st.just("nothing")

    def spec(before, after, around, *rest):
        if kind in AROUND:
            return Spec((*before, *after[:1]), kind, *rest)
        return Spec((*before[:2], kind, *after[:1]), around, *rest)

    rest = st.integers(5, 6), st.integers(0, 2**16), st.booleans(), st.sampled_from(list(LATER))
    return st.builds(spec, others, others, around, *rest)


def build(spec: Spec) -> Network:
    g = generator(spec.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        made = [BLOCKS[kind]() for kind in spec.blocks]
        layers = {"stem": nn.Conv2d(2, WIDTH, 3), "act": nn.Tanh()}
        for i, block in enumerate(made):
            layers |= {f"block{i}": block, f"act{i}": nn.Tanh()}
        layers |= {"flat": nn.Flatten(), "head": nn.Linear(WIDTH * SIDE * SIDE, CLASSES)}
        batches = [(randn(n, 2, 6, 6, generator=g), torch.randint(CLASSES, (n,), generator=g)) for n in (spec.n, 3)]
        net = Network(nn.Sequential(OrderedDict(layers)), cross_entropy, batches)
        if spec.soft:
            net.batches = [(x, torch.softmax(randn(len(x), CLASSES, generator=g), 1)) for x, _ in batches]
        AROUND[spec.around](net)
    net.model.double().eval()
    with torch.no_grad():
        for p in net.model.parameters():  # away from the symmetric start, where norms are at one and zero
            p.copy_(0.4 * randn(*p.shape, generator=g) + (p.dim() == 1))
        for name, b in net.model.named_buffers():
            if "running_" in name:
                b.uniform_(0.5, 2, generator=g)
    return net


def randn(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def alone(net: Network, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Name -> the gradients `(n, *shape)` of every instance without the others, frozen parameters too.

    The instance stands beside a copy of itself that does not count: in a batch of one, PyTorch's batch norm on the CPU misreads
    a gradient whose channels lie last in memory, and a `squeeze` drops the axis of the samples.
    """
    return _rows(net, lambda j: net.loss(net.model(x[[j, j]]), y[[j, j]])[0], len(x))


def together(net: Network, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The same of every instance within its batch: other numbers where instances couple."""
    with trained(net.model):
        each = net.loss(net.model(x), y)
    return _rows(net, each.__getitem__, len(x))


def _rows(net: Network, loss: Callable[[int], Tensor], n: int) -> dict[str, Tensor]:
    """By `backward`, which every network can do that can be trained (`torch.autograd.grad` is refused by some)."""
    rows = []
    with trained(net.model):
        for j in range(n):
            net.model.zero_grad()
            loss(j).backward(retain_graph=True)
            rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in net.model.parameters()])
        net.model.zero_grad()
    names = [name for name, _ in net.model.named_parameters()]
    return {name: torch.stack(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)}


@contextmanager
def trained(model: nn.Module) -> Iterator[None]:
    """While open, every parameter has a gradient, frozen ones too."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(True)
    try:
        yield
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
