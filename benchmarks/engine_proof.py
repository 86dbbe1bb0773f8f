"""What it costs that engines prove themselves: the comparison with autograd beside the scoring pass that it comes before.

    python benchmarks/engine_proof.py [--rounds 7] [--threads 2] [--width 128] [--size 32] [--count 1000]

One ConvNet-3 at its first use in a process against `count` scores by the engine that was chosen (influence/proof.py). Both in
turn, round by round, everything that was remembered being forgotten before each; the ratio is that of the two neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from refluence.influence import Scorer, proof
from refluence.models import ModelSpec, build


def measured(rounds: int, width: int, size: int, count: int) -> list[tuple[float, float]]:
    """(seconds of the comparison, seconds of the pass) of each round."""
    generator = torch.Generator().manual_seed(0)
    net = build(ModelSpec("convnet3", (3, size, size), 10, width=width), generator).eval()
    x, y = torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 10
    v = {name: torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}
    scorer, found = Scorer(net), []
    scorer(x[:64], y[:64], v)  # the allocator and the kernels are warm
    for _ in range(rounds):
        proof.forget()
        begin = time.perf_counter()
        scorer.choice(x, y, v)
        between = time.perf_counter()
        scorer(x, y, v)
        found.append((between - begin, time.perf_counter() - between))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 7), ("threads", 2), ("width", 128), ("size", 32), ("count", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    found = measured(flags.rounds, flags.width, flags.size, flags.count)
    ratios = sorted(proof / scoring for proof, scoring in found)
    print(f"{flags.count} scores: {statistics.median(b for _, b in found):.2f} s   comparison: ", end="")
    print(f"{1000 * statistics.median(a for a, _ in found):.0f} ms", end="   ")
    print(f"share: {100 * statistics.median(ratios):.2f} % [{100 * ratios[0]:.2f}, {100 * ratios[-1]:.2f}], n = {len(ratios)}")


if __name__ == "__main__":
    main()
