"""Folders as runs leave them, filled with plausible numbers and with pictures one can recognise: circles and squares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from refluence.evaluate import summarise, verdict

MEAN, STD = 0.4, 0.3


def shapes(count: int, label: int, size: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """`count` uint8 pictures (C, size, size): circles for even labels, squares for odd ones, with some noise."""
    y, x = np.mgrid[:size, :size]
    pictures = np.empty((count, channels, size, size), np.uint8)
    for number in range(count):
        radius = size * rng.uniform(0.2, 0.38)
        cx, cy = size / 2 + rng.normal(0, size / 20, 2)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        if label % 2:
            inside = np.maximum(abs(x - cx), abs(y - cy)) < 0.85 * radius
        hue = 0.5 + 0.45 * np.sin(label + np.arange(channels) * 2.1)
        back = 0.12 + 0.2 * rng.random()
        image = np.where(inside, hue[:, None, None] if channels > 1 else 0.9, back)
        noisy = image + rng.normal(0, 0.06, (channels, size, size))
        pictures[number] = (np.clip(noisy, 0, 1) * 255).astype(np.uint8)
    return pictures


def unit(
    folder: Path,
    arm: str = "dc+influence",
    seed: int = 0,
    classes: list[str] | None = None,
    ipc: int = 10,
    size: int = 16,
    channels: int = 3,
    steps: int = 200,
    real: int = 60,
    accuracy: float = 87.0,
    without: tuple[str, ...] = (),
) -> Path:
    """A unit folder; `without` names what to leave out: config, metrics, distilled, influence, evaluation, scores, pictures."""
    rng = np.random.default_rng(seed)
    classes = classes or ["circle", "square"]
    weighted = "+" in arm
    folder.mkdir(parents=True, exist_ok=True)
    if "config" not in without:
        config = {"version": 1, "data": {"source": "shapes"}, "arm": arm, "ipc": ipc, "seed": seed, "matching": {"lr": 0.1}}
        (folder / "config.json").write_text(json.dumps(config))
    if "metrics" not in without:
        _metrics(folder, arm, steps, len(classes), rng)
    if "distilled" not in without:
        _distilled(folder / "distilled", arm, classes, ipc, size, channels, rng, "influence" not in without)
    if "evaluation" not in without:
        nets = [accuracy + float(rng.normal(0, 0.7)) for _ in range(3)]
        report = {"protocol": "dc-cpu", "split": "test", "accuracies": nets, "accuracy": float(np.mean(nets))}
        report |= {"balanced_accuracy": float(np.mean(nets)) - 0.21, "macro_f1": float(np.mean(nets)) - 0.43}
        report["curve"] = [[e, 2.2 * 0.97**e] for e in range(100)]
        (folder / "evaluation.json").write_text(json.dumps({"evaluations": [report]}))
    if cleans(arm):
        if "+scores" not in arm and "cleaned" not in without:
            _cleaned(folder, arm, classes, size, channels, rng)
    elif "scores" not in without and weighted:
        _scores(folder, classes, real, size, channels, rng, "pictures" not in without)
    return folder


def compare(folder: Path, seeds: int = 5, arms: dict[str, float] | None = None, **options: Any) -> Path:
    """A compare folder with its units, as `compare` on a real dataset leaves it."""
    rng = np.random.default_rng(1)
    arms = arms or {"random": 71.2, "herding": 76.9, "dc": 86.1, "dc+influence": 86.7, "dc+shuffled": 86.0}
    protocol, rows, table = "dc-cpu", [], {}
    for arm, centre in arms.items():
        table[arm] = centre + rng.normal(0, 0.9, seeds)
        for seed in range(seeds):
            learned = arm.split("+")[0] not in ("random", "herding")
            left_out = () if learned else ("metrics", "influence")
            unit(folder / "units" / arm / str(seed), arm, seed, accuracy=table[arm][seed], without=left_out, **options)
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "protocol": protocol,
                    "accuracy": float(table[arm][seed]),
                    "nets": [float(table[arm][seed])] * 3,
                }
                | {"seconds": 31.4 + 9 * learned + seed, "peak_bytes": 412_300_000, "stored_bytes": 25_600}
                | {"ess": 1.0 if cleans(arm) and learned else 0.525 + seed / 100 if "+" in arm else 1.0 if learned else None}
                | ({name: cleaned(arm, 10)[name] for name in ("share", "auc")} if cleans(arm) else {})
            )
    results = {
        "rows": rows,
        "summary": summarise(rows) if any(map(cleans, arms)) else _summary(table, protocol, seeds),
        "notes": ["The test split was read once per arm and seed."],
    }
    results["verdict"] = (
        f"influence weights: +0.6 points over uniform [−0.8, 2.0], over shuffled +0.7 [−0.6, 2.0], n = {seeds}: "
        f"no difference shown; n = {seeds} could show 1.7"
    )
    if any(map(cleans, arms)):
        results["verdict"] = verdict(results["summary"], rows)
    (folder / "results.json").write_text(json.dumps(results))
    config = {"version": 1, "data": {"source": "shapes"}, "ipc": options.get("ipc", 10), "size": "cpu", "seeds": seeds}
    (folder / "config.json").write_text(json.dumps(config | {"methods": list(arms)}))
    return folder


def _summary(table: dict[str, np.ndarray], protocol: str, seeds: int) -> list[dict[str, Any]]:
    summary = []
    for arm, values in table.items():
        against = {"dc+influence": ["dc", "dc+shuffled"], "dc": ["random"]}.get(arm, [None])
        for other in [a for a in against if a is None or a in table] or [None]:
            row = {"arm": arm, "protocol": protocol, "mean": float(values.mean()), "n": seeds, "against": other}
            row |= {"sd": float(values.std(ddof=1)) if seeds > 1 else None, "difference": None, "low": None, "high": None}
            row["primary"] = (arm, other) == ("dc+influence", "dc")
            if other is not None:
                pairs = values - table[other]
                row["difference"] = float(pairs.mean())
                if seeds > 1:
                    half = 2.776 * pairs.std(ddof=1) / np.sqrt(seeds)
                    row |= {"low": float(pairs.mean() - half), "high": float(pairs.mean() + half)}
                    row |= {
                        "smallest_shown": float(half),
                        "pairs": seeds,
                        "p": 0.107,
                        "p_holm": 0.107 if row["primary"] else 0.214,
                    }
            summary.append(row)
    return summary


def _metrics(folder: Path, arm: str, steps: int, classes: int, rng: np.random.Generator) -> None:
    weighted, own = "+" in arm, np.random.default_rng(2)
    lines = []
    for step in range(steps):
        by_class = 3 * np.exp(-step / 70) + 0.8 + 0.1 * np.arange(classes) + rng.normal(0, 0.12, classes)
        entry = {"step": step, "loss": float(by_class.sum()), "seconds": 0.05, "loss_by_class": by_class.tolist()}
        entry["ess"] = float(0.5 + 0.2 * np.exp(-step / 50) + rng.normal(0, 0.02)) if weighted else 1.0
        lines.append(json.dumps(entry | (influence_of_step(arm, step, classes, own) if weighted else {})))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def influence_of_step(arm: str, step: int, classes: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """The fields by class of an arm with weights: where it says `terms=`, an implicit term a hundred times as wide."""
    explicit = 2e-3 * np.exp(-step / 150) * (1 + np.arange(classes)) * np.exp(rng.normal(0, 0.1, classes))
    fields = {"spread_by_class": explicit}
    if "terms=" in arm:
        agreement, implicit = rng.uniform(-0.1, 0.1, classes), 100 * explicit
        spread = np.sqrt(explicit**2 + implicit**2 + 2 * agreement * explicit * implicit)
        fields |= {"explicit_by_class": explicit, "implicit_by_class": implicit, "agreement_by_class": agreement}
        fields["spread_by_class"] = spread if "terms=both" in arm else implicit
    if "bag=" in arm:
        fields["weight_by_class"] = 1 + 0.4 * np.linspace(-1, 1, classes) + rng.normal(0, 0.05, classes)
    return {name: values.tolist() for name, values in fields.items()}


def _distilled(
    folder: Path, arm: str, classes: list[str], ipc: int, size: int, channels: int, rng: np.random.Generator, influence: bool
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.concatenate([shapes(ipc, label, size, channels, rng) for label in range(len(classes))])
    images = (pixels.astype(np.float32) / 255 - MEAN) / STD
    if arm.startswith("dc"):
        images += rng.normal(0, 0.35, images.shape).astype(np.float32)
    tensors = {"images": images, "labels": np.repeat(np.arange(len(classes)), ipc)}
    if influence:
        tensors["influence"] = rng.normal(0, 2e-3, len(images)).astype(np.float32)
    save_file(tensors, folder / "images.safetensors")
    card = {"classes": classes, "mean": [MEAN] * channels, "std": [STD] * channels, "arm": arm, "method": arm.split("+")[0]}
    card |= {"ipc": ipc, "stored_bytes": int(images.nbytes), "test_uses": 1}
    kind = arm.split(":")[0].partition("+")[2]
    if cleans(arm):
        card["cleaned"] = cleaned(arm, len(classes))
    card |= {"summary": f"what {card['method']} does", "weights_summary": f"what {kind} weights are" if kind else None}
    (folder / "card.json").write_text(json.dumps(card))


def cleans(arm: str) -> bool:
    """Whether the arm does something to training images before the run."""
    return arm.split(":")[0].partition("+")[2] in ("pruned", "selected", "relabelled", "scores")


def cleaned(arm: str, classes: int) -> dict[str, Any]:
    """What the card of such an arm says of it."""
    kind, by = arm.split(":")[0].partition("+")[2], arm.partition("by=")[2].partition(",")[0] or "score"
    found = {"kind": kind, "by": by, "share": None if kind == "scores" else 0.37, "rows": 37 * classes, "of": 100 * classes}
    auc = {"score": 0.9812, "held-out-loss": 0.9634, "random": 0.5021}.get(by)
    return {**found, "auc": auc, "decided": "cut from train" if by == "score" else None, "seconds": 12.3}


def _cleaned(folder: Path, arm: str, classes: list[str], size: int, channels: int, rng: np.random.Generator) -> None:
    """Two pictures of each class; every other one has the label of the source too, every relabelled one another class."""
    labels = np.repeat(np.arange(len(classes)), 2)[:24]
    other = (labels + 1) % len(classes)
    tensors = {"images": np.concatenate([shapes(1, int(c), size, channels, rng) for c in other]), "labels": labels}
    tensors |= {"rows": np.arange(len(labels)) * 7, "to": other if "relabelled" in arm else labels}
    stored = np.where(np.arange(len(labels)) % 2, other, labels)
    save_file({**tensors, "stored": stored}, folder / "cleaned_images.safetensors")


def _scores(
    folder: Path, classes: list[str], real: int, size: int, channels: int, rng: np.random.Generator, pictures: bool
) -> None:
    total = real * len(classes)
    label = np.repeat(np.arange(len(classes)), real)
    score = rng.standard_t(4, total) * 2e-4 + 1e-4
    columns = {"index": np.arange(total) * 3, "path": [f"train/{classes[c]}/{i:05d}.png" for i, c in enumerate(label)]}
    columns |= {"label": label, "score": score, "weight": np.full(total, 1 / total), "loss": rng.random(total)}
    pq.write_table(pa.table(columns | {"fold": np.zeros(total, np.int64)}), folder / "scores.parquet")
    if pictures:
        rows = np.concatenate(
            [np.argsort(score[label == c])[[*range(5), *range(-5, 0)]] + c * real for c in range(len(classes))]
        )
        images = np.concatenate([shapes(1, int(label[row]), size, channels, rng) for row in rows])
        save_file({"images": images, "rows": rows.astype(np.int64) * 3}, folder / "scores_images.safetensors")


def validation_scores(
    path: Path,
    classes: list[str],
    real: int = 40,
    size: int = 16,
    stored: np.ndarray | None = None,
    shifted: np.ndarray | None = None,
    **facts: Any,
) -> tuple[Path, dict[int, np.ndarray]]:
    """A scores.parquet as `refluence score --data` leaves it, and the pictures of all rows."""
    rng = np.random.default_rng(0)
    total = real * len(classes)
    label = np.repeat(np.arange(len(classes)), real)
    suggested = np.where(rng.random(total) < 0.2, rng.integers(0, len(classes), total), label)
    columns = {"index": np.arange(total) * 2, "path": [None] * total, "label": label}
    columns |= {"score": rng.standard_t(3, total) * 2e-3, "weight": rng.random(total) * 2, "loss": rng.random(total) * 3}
    columns |= {"fold": np.arange(total) % 5, "suggested": suggested}
    columns |= {name: each for name, each in (("stored", stored), ("shifted", shifted)) if each is not None}
    told = {"kind": "validation", "source": "shapes", "classes": classes, "model": "convnet1, width 32, instance norm"}
    told |= {
        "load": None,
        "labels": None,
        "train": total,
        "folds": 5,
        "nets": 1,
        "networks": "held-out",
        "curvature": "ggn",
        "seed": 0,
    }
    told |= {"terms": "both", "risk": "error"}
    told |= {"validation": {"images": 143, "source": "cut from train", "accuracy": 92.1, "accuracies": [91.0, 92.1, 93.2]}}
    told |= {"damping": [0.011, 0.012, 0.013], "iterations": [9, 9, 9], "resolved": {"seed": 0}}
    told |= {"residual": [0.009, 0.008, 0.007], "converged": True}
    table = pa.table(columns).replace_schema_metadata({"refluence": json.dumps(told | facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path, {2 * row: shapes(1, int(label[row]), size, 3, rng)[0] for row in range(total)}
