"""Evaluation networks side by side (vmap over stacked parameters) against one after the other: seconds a step, and the ratio.

    python benchmarks/side_by_side.py [--rounds 5] [--threads 2]

Five networks, 100 images, SGD steps without momentum on both sides. Rounds alternate; medians are reported.
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
from refluence.run.seeds import streams

NETS, IMAGES, LR = 5, 100, 0.01
SIZES = [("convnet1", (1, 8, 8), 32), ("convnet3", (3, 32, 32), 32), ("convnet3", (3, 32, 32), 128)]


def after_each_other(nets, x, y) -> None:
    for net in nets:
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(cross_entropy(net(x), y), parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-LR)


def side_by_side(net, stacked, x, y) -> None:
    def loss(parameters):
        return cross_entropy(functional_call(net, parameters, (x,)), y)

    gradients = vmap(grad(loss))(stacked)
    with torch.no_grad():
        for name, gradient in gradients.items():
            stacked[name].add_(gradient, alpha=-LR)


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
    print("| network | one after the other, s | side by side, s | ratio |\n|---|---|---|---|")
    for name, shape, width in SIZES:
        spec = ModelSpec(name, shape, 10, width=width)
        nets = [build(spec, streams(0)("network", i)) for i in range(NETS)]
        stacked, _ = stack_module_state(nets)
        stacked = {k: v.detach() for k, v in stacked.items()}
        x, y = torch.randn(IMAGES, *shape, generator=streams(0)("x", 0)), torch.arange(IMAGES) % 10
        pairs = [
            (seconds(after_each_other, nets, x, y), seconds(side_by_side, nets[0], stacked, x, y))
            for _ in range(flags.rounds + 1)
        ]
        a, b = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
        ratio = statistics.median(q / p for p, q in pairs[1:])
        print(f"| {name}, width {width}, {shape[1]} px | {a:.4f} | {b:.4f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
