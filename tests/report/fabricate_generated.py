"""Folders as samplings leave them: sets of circles and squares that grew from the same noise, and a denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from refluence.evaluate import summarise, verdict
from report.fabricate import MEAN, STD, shapes

ARMS = {"random": 71.2, "dit": 76.9, "dit+influence": 78.0, "dit+igd": 79.7, "dit+pool": 77.5, "minimax": 77.8}
GUIDANCE = {"influence": True, "deviation": True, "k": 5.0, "gamma": 50.0, "low": -8.2, "high": -3.6}


def unit(
    folder: Path,
    arm: str = "dit+igd",
    seed: int = 0,
    classes: list[str] | None = None,
    ipc: int = 10,
    size: int = 16,
    accuracy: float = 79.0,
    batches: int = 4,
    quality: bool = True,
) -> Path:
    """A unit folder of one arm."""
    classes = classes or ["circle", "square", "third", "fourth"]
    rng, kind = np.random.default_rng([seed, len(arm)]), arm.partition(":")[0].partition("+")[2]
    made = arm.partition("+")[0] in ("dit", "minimax")
    (folder / "distilled").mkdir(parents=True)
    settings = {"cfg": 2.0, "solver": "ddim", "steps": 50, "guidance": GUIDANCE, "pool": {"factor": 3.0, "by": "herding"}}
    guide = {"model": {"name": "convnet3"}, "settings": {"epochs": 10}} if kind else None
    (folder / "config.json").write_text(json.dumps({"resolved": {"job": {"sampling": settings, "guide": guide}}}))
    noise = np.random.default_rng(seed)
    pixels = np.concatenate([shapes(ipc, label, size, 3, noise) for label in range(len(classes))]) / 255.0
    pixels += 0.05 * rng.normal(size=pixels.shape) * (kind != "")
    images = ((pixels.clip(0, 1) - MEAN) / STD).astype(np.float32)
    save_file(
        {"images": images, "labels": np.repeat(np.arange(len(classes)), ipc)}, folder / "distilled" / "images.safetensors"
    )
    card: dict[str, Any] = {
        "classes": classes,
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "arm": arm,
        "method": arm.partition("+")[0],
    }
    card |= {"ipc": ipc, "seconds": 12.5, "stored_bytes": images.nbytes, "images": len(images), "seed": seed, "iterations": 0}
    if made:
        card |= sampled(arm, kind, classes, len(images), rng)
        lines = [{"step": i, "images": 10, "seconds": 1.0} for i in range(batches)]
        for line in lines:
            line |= {"energy": 0.6 - 0.01 * line["step"], "moved": 0.009} if kind in ("influence", "igd") else {}
            line |= {"deviation": 0.2 + 0.1 * line["step"]} if kind in ("deviation", "igd") else {}
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "distilled" / "card.json").write_text(json.dumps(card))
    nets = [accuracy + float(rng.normal(0, 0.7)) for _ in range(3)]
    evaluation = {"protocol": "dsa-cpu", "split": "test", "accuracies": nets, "accuracy": accuracy}
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": [evaluation]}))
    if quality:
        (folder / "quality.json").write_text(json.dumps(measured(kind, rng)))
    return folder


def sampled(arm: str, kind: str, classes: list[str], images: int, rng: np.random.Generator) -> dict[str, Any]:
    """What the card of a sampling says beside what every card says."""
    guided = kind in ("influence", "igd", "deviation")
    own = {"method": arm.partition("+")[0], "parameters": 243_137, "sha256": "0123456789abcdef" * 4}
    energies = {name: float(rng.normal(0.6, 0.02)) for name in classes}
    found: dict[str, Any] = {
        "denoiser": own,
        "cfg": 2.0,
        "solver": "ddim",
        "steps": 50,
        "guided_steps": list(range(6, 21)) if guided else [],
    }
    found |= {"sampled": 3 * images if kind == "pool" else images, "denoiser_seconds": 31.0}
    found |= {"nearest": 0.71, "nearest_by_class": {name: 0.7 + 0.01 * number for number, name in enumerate(classes)}}
    if kind:
        found |= {"influence": {"mean": 0.6, "by_class": energies}, "surrogate_seconds": 8.2}
    return found | ({"minimax_seconds": 14.0} if arm.startswith("minimax") else {"influence": None} if not kind else {})


def measured(kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """A quality.json."""
    better = 5.0 if kind in ("igd", "influence") else 0.0
    points, real = rng.normal(0, 9, (40, 2)).round(2), rng.normal(0, 20, (200, 2)).round(2)
    matrix = 60 + 10 * rng.random((5, 5)) + 30 * np.eye(5)
    found = {"frechet": 81.0 - better + rng.normal(), "coverage": 65.4 + better / 2 + rng.normal(), "threshold": 3.2}
    found |= {"wasserstein": 9.1 - better / 5 + rng.normal() / 9, "influence": 0.62 - better / 100 + rng.normal() / 200}
    found |= {"real": 1000, "own": 0, "redundancy": 65.0 + rng.normal(), "matrix": matrix.round(1).tolist()}
    places = {"points": points, "real_points": real}
    return found | {name: {"at": at.tolist(), "labels": [0] * len(at)} for name, at in places.items()}


def compare(folder: Path, seeds: int = 3, arms: dict[str, float] | None = None, **options: Any) -> Path:
    """A compare folder with its units."""
    rng, rows = np.random.default_rng(1), []
    for arm, centre in (arms or ARMS).items():
        for seed in range(seeds):
            accuracy = centre + float(rng.normal(0, 0.4))
            unit(folder / "units" / arm / str(seed), arm, seed, accuracy=accuracy, **options)
            rows.append({"arm": arm, "seed": seed, "protocol": "dsa-cpu", "accuracy": accuracy, "nets": [accuracy]})
            rows[-1] |= {"seconds": 12.5, "peak_bytes": 412_300_000, "stored_bytes": 25_600, "ess": None}
    summary = summarise(rows)
    results = {"rows": rows, "summary": summary, "notes": [], "verdict": verdict(summary, rows)}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.json").write_text(json.dumps({"version": 1, "data": {"source": "shapes"}, "ipc": 10, "seeds": seeds}))
    return folder


def denoiser(folder: Path, blocks: int = 30, drawn: bool = True) -> Path:
    """A run of `generate train`."""
    (folder / "denoiser").mkdir(parents=True)
    classes = ["circle", "square", "<b>third</b>"]
    shape = {"kind": "dit", "shape": [1, 8, 8], "classes": classes, "prediction": "flow", "width": 64, "depth": 4}
    card = {"method": "dit", "parameters": 243_137, "sha256": "0123456789abcdef" * 4, "command": "generate train", "seed": 0}
    card |= {
        "source": "digits",
        "train": 1295,
        "notes": ["a note"],
        "seconds": 31.2,
        "stored_bytes": 980_000,
        "peak_bytes": 3e8,
    }
    card |= {"training": {"iterations": 20 * blocks, "batch": 128, "lr": 1e-3}, "images": 1295}
    (folder / "denoiser" / "config.json").write_text(json.dumps(shape))
    (folder / "denoiser" / "card.json").write_text(json.dumps(card))
    (folder / "config.json").write_text(json.dumps({"command": "generate train", "resolved": {"seed": 0}}))
    lines = [{"step": i, "loss": 0.2 + 1.5 * 0.9**i, "lr": 1e-3, "seconds": i} for i in range(blocks)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if drawn:
        rng = np.random.default_rng(0)
        pictures = np.concatenate([shapes(8, label, 8, 1, rng) for label in range(3)])
        save_file({"images": pictures, "labels": np.repeat(np.arange(3), 8)}, folder / "denoiser" / "samples.safetensors")
    return folder
