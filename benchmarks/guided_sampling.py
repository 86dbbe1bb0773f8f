"""Guided sampling over sampling without guidance, in one run: both ways to the gradient, and the deviation alone.

    python benchmarks/guided_sampling.py [--side 28] [--width 32] [--checkpoints 4] [--steps 50] [--batch 50] [--rounds 3]
        [--threads 1] [--out FILE.jsonl]

The default denoiser of that size (scale of classifier-free guidance 2) and a ConvNet as surrogate, both of random weights: time
does not depend on them. Images are random and belong to ten classes. A batch is sampled in each way in turn; a ratio is that of
one round, of seconds of the processor, which other work beside it changes less. Targets with the surrogate of width 32: at most
3 through the denoiser, at most 1.8 with stop-gradient.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from refluence.data.dataset import Dataset, Split
from refluence.generate.class_gradients import class_gradients
from refluence.generate.denoiser import build_denoiser
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.noise import guided_steps, timesteps
from refluence.generate.sampling import Steering, sample
from refluence.generate.settings import Guidance, Settings
from refluence.generate.surrogate import Surrogate
from refluence.generate.training import denoising_defaults
from refluence.models import network
from refluence.run import device as machine
from refluence.seeds import streams

IGD = Guidance(influence=True, deviation=True, low=-8.2)  # 15 of 50 steps, as published
WAYS = {
    "unguided": Guidance(),
    "full": IGD,
    "stop-gradient": replace(IGD, through=False),
    "deviation alone": replace(IGD, influence=False),
}
MEAN, STD = (0.5,), (0.25,)


def images(side: int) -> Dataset:
    pixels = torch.randint(0, 256, (100, 1, side, side), generator=streams(0)("images"), dtype=torch.uint8)
    split = Split(pixels, torch.arange(100) % 10, torch.arange(100))
    return Dataset("random", tuple(map(str, range(10))), split, split, split, MEAN, STD)


def surrogate(dataset: Dataset, width: int, checkpoints: int) -> Surrogate:
    model = network("convnet", dataset.shape, len(dataset.classes), convnet=width)
    nets = [model.fresh(streams(0)("network", number)) for number in range(checkpoints)]
    members = [dataset.train.members(label) for label in range(10)]
    gradients = tuple(class_gradients(net, dataset, members) for net in nets)
    states = tuple({name: t.detach().clone() for name, t in net.state_dict().items()} for net in nets)
    return Surrogate(model, states, gradients, tuple(range(checkpoints)), (0.01,) * checkpoints, MEAN, STD)


def seconds(flags: argparse.Namespace) -> dict[str, list[float]]:
    """Of a batch, by way and round."""
    dataset = images(flags.side)
    denoiser = build_denoiser(denoising_defaults(dataset.shape, dataset.classes)[0], streams(0)("denoiser"))
    denoiser.net.eval()
    energy = InfluenceEnergy(surrogate(dataset, flags.width, flags.checkpoints))
    noise = torch.randn(flags.batch, *denoiser.shape, generator=streams(0)("noise"))
    y = torch.arange(flags.batch) % 10
    steering = Steering(energy, lambda z0: (denoiser.decode(z0) - MEAN[0]) / STD[0])

    def timed(guidance: Guidance) -> float:
        begin = time.process_time()
        sample(denoiser, noise, y, Settings(steps=flags.steps, guidance=guidance), steering)
        return time.process_time() - begin

    timed(IGD)  # proofs of engines, and first use
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(flags.rounds):
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            found[way].append(timed(WAYS[way]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "side": 28,
        "width": 32,
        "checkpoints": 4,
        "steps": 50,
        "batch": 50,
        "rounds": 3,
        "threads": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    machine.prepare(flags.threads)
    torch.set_num_threads(flags.threads)
    found, guided = seconds(flags), len(guided_steps(IGD, timesteps("ddim", flags.steps)))
    facts = {name: value for name, value in vars(flags).items() if name != "out"} | {
        "guided": guided,
        "torch": torch.__version__,
    }
    rows = []
    for way, own in found.items():
        each = [a / b for a, b in zip(own, found["unguided"], strict=True)]
        rows.append({"what": way, "ratio": statistics.median(each), "least": min(each), "largest": max(each), "n": len(each)})
        print(
            f"{way}: {statistics.median(own):.2f} s a batch, {statistics.median(each):.2f} [{min(each):.2f}, {max(each):.2f}]"
        )
    if flags.out:
        with flags.out.open("a") as file:
            file.writelines(json.dumps({**row, **facts}) + "\n" for row in rows)


if __name__ == "__main__":
    main()
