"""What a denoiser costs to train, and what its samples are worth to a classifier that never saw it.

    python benchmarks/denoiser_training.py [--data digits] [--image-size N] [--kind dit|unet] [--iterations N] [--batch N]
        [--cfg 1 2 4] [--seed 0] [--threads 2] [--out FILE.jsonl]

One row: parameters, seconds of the training (and of processors, all threads together, which other work on the machine changes
little), images a second, and for each scale of classifier-free guidance two shares, in percent, by support-vector machines of
scikit-learn on pixels:

    recognised   samples that one trained on real images (at most 10,000) puts into their class
    accuracy     test images (at most 4,000) that one trained on the samples, 50 a class, is right about

The first alone rewards samples that are all alike. Beside them the accuracy of the first machine, and that of one trained on 50
real images a class. The defaults at 8 pixels were chosen with both in view, on the test images of digits.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.svm import SVC

from refluence.compute import Compute
from refluence.data import load
from refluence.data.dataset import Dataset, Split, unit
from refluence.generate.denoiser import Denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.sampling import sample
from refluence.generate.settings import Settings
from refluence.generate.training import DenoiserSettings, DenoiserWork, denoising_defaults
from refluence.options import SourceOptions
from refluence.run import device as machine
from refluence.seeds import streams

PER_CLASS, REAL, TESTED = 50, 10_000, 4_000
Rows = tuple[np.ndarray, np.ndarray]


def train(dataset: Dataset, config: DenoiserConfig, settings: DenoiserSettings, seed: int) -> tuple[Denoiser, float, float]:
    """The denoiser, the seconds of its steps, and those of the processors."""
    work = DenoiserWork(config, settings, dataset, streams(seed), Compute())
    begin, processors = time.perf_counter(), time.process_time()
    for event in work.steps():
        if event.step % 10 == 0:
            print(f"block {event.step} of {work.total}: loss {event.loss:.3f}", flush=True)
    return work.artifact(), time.perf_counter() - begin, time.process_time() - processors


def rows_of(split: Split, most: int, seed: int = 0) -> Rows:
    """Pixels and labels of at most so many images, drawn."""
    kept = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:most]
    return unit(split.images[kept]).flatten(1).numpy(), split.labels[kept].numpy()


def sampled(denoiser: Denoiser, per_class: int, cfg: float, seed: int) -> Rows:
    """Pixels and labels of samples without guidance by influence, so many a class."""
    y = torch.arange(len(denoiser.config.classes)).repeat_interleave(per_class)
    noise = torch.randn(len(y), *denoiser.shape, generator=streams(seed)("noise", 0))
    parts = [
        sample(denoiser, z, of, Settings(cfg=cfg)).z for z, of in zip(noise.split(PER_CLASS), y.split(PER_CLASS), strict=True)
    ]
    return denoiser.decode(torch.cat(parts)).clamp(0, 1).flatten(1).numpy(), y.numpy()


def fitted(rows: Rows) -> SVC:
    return SVC(C=10).fit(*rows)


def judged(denoiser: Denoiser, dataset: Dataset, scales: list[float], seed: int, per_class: int = PER_CLASS) -> dict:
    """The shares in percent; see the top of the file."""
    real, test = rows_of(dataset.train, REAL), rows_of(dataset.test, TESTED)
    few = dataset.train.first(per_class)
    knows = fitted(real)
    row: dict = {
        "accuracy_real": 100 * knows.score(*test),
        "accuracy_real_few": 100 * fitted(rows_of(few, len(few))).score(*test),
        "recognised": {},
        "accuracy": {},
    }
    for cfg in scales:
        rows = sampled(denoiser, per_class, cfg, seed)
        row["recognised"][f"{cfg:g}"] = 100 * knows.score(*rows)
        row["accuracy"][f"{cfg:g}"] = 100 * fitted(rows).score(*test)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--kind", choices=("dit", "unet"), default="dit")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--cfg", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    machine.prepare(flags.threads)
    torch.set_num_threads(flags.threads)
    dataset = load(flags.data, SourceOptions(image_size=flags.image_size))
    config, settings = denoising_defaults(dataset.shape, dataset.classes, kind=flags.kind)
    settings = replace(settings, iterations=flags.iterations or settings.iterations, batch=flags.batch or settings.batch)
    denoiser, seconds, processors = train(dataset, config, settings, flags.seed)
    row = {
        "data": Path(flags.data).name,
        "shape": list(dataset.shape),
        "kind": config.kind,
        "parameters": denoiser.parameters,
        "iterations": settings.iterations,
        "batch": settings.batch,
        "seed": flags.seed,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(processors, 1),
        "images_a_second": round(settings.iterations * settings.batch / seconds),
        "threads": flags.threads,
        **judged(denoiser, dataset, flags.cfg, flags.seed),
        "torch": torch.__version__,
    }
    print(f"{row['parameters']:,} parameters, {row['images_a_second']} images a second")
    print(f"{seconds:.1f} s of training, {processors:.1f} s of processors")
    print(f"real images: {row['accuracy_real']:.1f} %; {PER_CLASS} of them a class: {row['accuracy_real_few']:.1f} %")
    for cfg in row["recognised"]:
        print(f"cfg {cfg}: {row['recognised'][cfg]:.1f} % recognised, {row['accuracy'][cfg]:.1f} % accuracy")
    if flags.out:
        with flags.out.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
