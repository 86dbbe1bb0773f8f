"""Guidance where the truth is known: half of every class of digits lies upside down, and only the upright half counts.

    python benchmarks/guidance_truth.py [--out FILE.jsonl]

The denoiser learns both halves; the surrogate's mean gradients are those of upright images alone (weights of 1 and 0). A row
for each kind of guidance, all of the same noise: how many of 200 samples an independent classifier calls upright and how many
turned, `share` upright of these, and `modes`, images of which no earlier one of the class has a cosine of .9 or more.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from sklearn.svm import SVC
from torch import Tensor

import refluence as rf
from refluence.compute import Compute
from refluence.generate.settings import Guidance, Settings
from refluence.generate.surrogate import surrogate_defaults
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.training import DenoiserWork, denoising_defaults
from refluence.generate.trajectory import TrajectoryWork
from refluence.generate.work import SamplingWork
from refluence.models import network
from refluence.seeds import streams

CLASSES, PER_CLASS = 10, 20


def turned(images: Tensor) -> Tensor:
    return images.flip((2, 3))


def modes(z: Tensor, alike: float = 0.9) -> int:
    """Images `(n, ...)` of which no earlier one that counts has a higher cosine."""
    led = list[Tensor]()
    for each in torch.nn.functional.normalize(z.flatten(1), dim=1):
        if all(float(each @ other) < alike for other in led):
            led.append(each)
    return len(led)


GUIDANCE: dict[str, dict[str, bool | float]] = {
    "none": {},
    "influence, k = 5": {"influence": True},
    "influence, k = 20": {"influence": True, "k": 20.0},
    "deviation, gamma = 50": {"deviation": True},
    "deviation, gamma = 200": {"deviation": True, "gamma": 200.0},
}


class Halves:
    """Digits of which every second one is upside down, and what is sampled of them."""

    def __init__(self) -> None:
        digits = rf.load("digits").train
        x, y, number = digits.images.float() / 255, digits.labels, torch.arange(len(digits))
        mixed = torch.where((number % 2 == 1)[:, None, None, None], turned(x), x)
        self.data = rf.load((mixed, y), test=(x[:50], y[:50]))
        upright = (self.data.train.rows % 2 == 0).double()
        both = torch.cat([x, turned(x)]).flatten(1).numpy()
        self.judge = SVC(C=10).fit(both, torch.cat([y, y + CLASSES]).numpy())
        config, settings = denoising_defaults(self.data.shape, self.data.classes)
        self.denoiser = self.driven(DenoiserWork(config, settings, self.data, streams(0), Compute())).artifact
        spec = network("convnet:32", self.data.shape, CLASSES)
        own = replace(surrogate_defaults(self.data, "cpu"), epochs=10)
        trajectory = self.driven(TrajectoryWork(own.training, spec, self.data, streams(0), Compute())).artifact
        self.surrogate = self.driven(SurrogateWork(own, trajectory, self.data, streams(0), Compute(), upright)).artifact

    @staticmethod
    def driven(work):
        for _ in work.steps():
            pass
        return work.result()

    def sampled(self, **guidance):
        """Images of a class or its like upside down, and the card of the set."""
        settings = Settings(batch=100, guidance=Guidance(**guidance))
        counts = (PER_CLASS,) * CLASSES
        work = SamplingWork(settings, self.denoiser, self.surrogate, self.data, counts, streams(1), Compute())
        result = self.driven(work)
        pixels = work.pixels().flatten(1).numpy()
        called, labels = torch.from_numpy(self.judge.predict(pixels)), work.labels
        found = int((called == labels).sum()), int((called == labels + CLASSES).sum())
        return *found, result.card, sum(modes(work.z[labels == c]) for c in range(CLASSES))


def rows() -> list[dict]:
    halves, found = Halves(), []
    for name, guidance in GUIDANCE.items():
        upright, upside_down, card, distinct = halves.sampled(**guidance)
        share = upright / (upright + upside_down)
        energy = card["influence"]["mean"]
        found.append({"guidance": name, "upright": upright, "turned": upside_down, "share": share, "modes": distinct})
        found[-1] |= {"influence": energy, "nearest": card["nearest"], "torch": torch.__version__}
        print(f"{name}: {share:.2f} upright, {distinct} modes, G_I {energy:.3f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.dumps(row) for row in rows()]
    if flags.out is not None:
        flags.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
