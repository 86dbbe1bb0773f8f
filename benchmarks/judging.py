"""Ways to train evaluation networks: one after the other, side by side (vmap over stacked parameters), compiled.

    python benchmarks/judging.py [--rounds 5] [--threads 2]

Five networks, 100 images, an SGD step without momentum each, and 1,000 test images through one network. Rounds go through the
ways in turn; medians of the seconds and of each round's ratio to one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from refluence.models import ModelSpec, build
from refluence.run import device as machine
from refluence.seeds import streams

NETS, IMAGES, TEST, LR = 5, 100, 1000, 0.01
SIZES = [("convnet1", (1, 8, 8), 32), ("convnet3", (3, 32, 32), 32), ("convnet3", (3, 32, 32), 128)]
HEADS = (
    "network", "a step, s", "side by side / it", "compiled / it", "1,000 test images, s", "compiled / it", "first compiled, s",
)  # fmt: skip


def after_each_other(nets, called, x, y) -> None:
    for net, call in zip(nets, called, strict=True):
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(cross_entropy(call(x), y), parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-LR)


def side_by_side(net, stacked, x, y) -> None:
    def loss(parameters):
        return cross_entropy(functional_call(net, parameters, (x,)), y)

    gradients = vmap(grad(loss))(stacked)
    with torch.no_grad():
        for name, gradient in gradients.items():
            stacked[name].add_(gradient, alpha=-LR)


@torch.inference_mode()
def test(net, call, x) -> None:
    net.eval()
    for chunk in x.split(250):
        call(chunk)
    net.train()


def seconds(work, *arguments) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    machine.prepare(flags.threads)
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for name, shape, width in SIZES:
        spec = ModelSpec(name, shape, 10, width=width)
        nets = [build(spec, streams(0)("network", i)) for i in range(NETS)]
        compiled = [torch.compile(net) for net in nets]
        stacked = {k: v.detach() for k, v in stack_module_state(nets)[0].items()}
        x, y = torch.randn(TEST, *shape, generator=streams(0)("x", 0)), torch.arange(IMAGES) % 10
        ways = (
            (after_each_other, nets, nets, x[:IMAGES], y),
            (side_by_side, nets[0], stacked, x[:IMAGES], y),
            (after_each_other, nets, compiled, x[:IMAGES], y),
            (test, nets[0], nets[0], x),
            (test, nets[0], compiled[0], x),
        )
        first, *rounds = [[seconds(*way) for way in ways] for _ in range(flags.rounds + 1)]
        middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
        beside, faster, tested = (statistics.median(r[i] / r[base] for r in rounds) for i, base in ((1, 0), (2, 0), (4, 3)))
        print(
            f"| {name}, width {width}, {shape[1]} px | {middle[0]:.4f} | {beside:.2f} | {faster:.2f} "
            f"| {middle[3]:.3f} | {tested:.2f} | {first[2] + first[4]:.1f} |"
        )


if __name__ == "__main__":
    main()
