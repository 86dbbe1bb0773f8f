"""Folders as transfers leave them, filled with plausible numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from refluence.evaluate import summarise, verdict
from refluence.evaluate.references import by_chance
from report.fabricate import shapes

TEACHER = {"model": {"name": "convnet1", "width": 128, "norm": "instance"}, "parameters": 80_000, "sha256": "ab" * 32}
OF_WEIGHTS = {"auc": "auc", "noisy": "noisy_weight", "clean": "clean_weight"}
"""What a card says of weights, and what a row calls it."""
ARMS = {"scratch": 93.1, "kd": 94.0, "kd+shuffled": 94.1, "kd+loss": 94.6, "joint+shuffled": 93.9, "joint": 95.2}


def student(
    folder: Path,
    arm: str = "joint",
    seed: int = 0,
    classes: list[str] | None = None,
    rows: int = 200,
    accuracy: float = 95.2,
    steps: int = 300,
    noisy: bool = True,
    without: tuple[str, ...] = (),
    texts: bool = False,
) -> Path:
    """The folder of a student; `without`: config, metrics, student, evaluation, scores, pictures."""
    rng = np.random.default_rng(seed)
    classes = classes or ["circle", "square", "ring", "cross"]
    weighted = not by_chance(arm) or "shuffled" in arm
    folder.mkdir(parents=True, exist_ok=True)
    if "config" not in without:
        asked = {"data": "shapes", "noise": "symmetric:0.2" if noisy else None, "labels": None, "size": "cpu"}
        config = {"version": 1, "command": "transfer", "arguments": asked, "arm": arm, "seed": seed}
        (folder / "config.json").write_text(json.dumps(config))
    if "metrics" not in without:
        _metrics(folder, arm, weighted, steps, rng)
    if "student" not in without:
        _card(folder, arm, seed, classes, rows, weighted and noisy)
    if "evaluation" not in without:
        each = np.clip(accuracy + rng.normal(0, 3, len(classes)), 0, 100).tolist()
        worst = int(np.argmin(each))
        entry: dict[str, Any] = {"protocol": "student", "split": "test", "accuracy": accuracy, "accuracies": [accuracy]}
        entry |= {"balanced_accuracy": accuracy - 0.2, "macro_f1": accuracy - 0.4, "per_class": each}
        entry |= {"worst_class": {"class": classes[worst], "accuracy": each[worst]}, "imbalance": 1.0}
        (folder / "evaluation.json").write_text(json.dumps({"evaluations": [entry]}))
    if weighted and "scores" not in without:
        kind = arm.partition("+")[2] or "influence"
        _scores(folder, kind, classes, rows, noisy, rng, "pictures" not in without, texts)
    return folder


def compare(folder: Path, seeds: int = 3, arms: dict[str, float] | None = None, **options: Any) -> Path:
    """A comparison of students."""
    rng, rows = np.random.default_rng(1), []
    for arm, centre in (arms or ARMS).items():
        for seed in range(seeds):
            accuracy = float(centre + rng.normal(0, 0.2))
            own = student(folder / "units" / arm / str(seed), arm, seed, accuracy=accuracy, **options)
            entry = json.loads((own / "evaluation.json").read_text())["evaluations"][0]
            card = json.loads((own / "student" / "card.json").read_text())
            row = {"arm": arm, "seed": seed, "protocol": "student", "split": "test", "accuracy": accuracy, "nets": [accuracy]}
            row |= {"worst_class": entry["worst_class"]["accuracy"], "imbalance": 1.0}
            row |= {key: card[key] for key in ("seconds", "peak_bytes", "stored_bytes", "ess", "parameters")}
            row |= {"teacher_accuracy": 97.5 + seed / 10} if arm != "scratch" else {}
            known = card.get("weights") or {}
            rows.append(row | {name: known[key] for key, name in OF_WEIGHTS.items() if key in known})
    summary = summarise(rows)
    results = {"rows": rows, "summary": summary, "verdict": verdict(summary, rows), "notes": ["The test split was read once."]}
    (folder / "results.json").write_text(json.dumps(results))
    config = {"version": 1, "command": "transfer", "arguments": {"data": "shapes", "noise": "symmetric:0.2", "size": "cpu"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _metrics(folder: Path, arm: str, weighted: bool, steps: int, rng: np.random.Generator) -> None:
    lines, gains, moving = [], (None, None), arm.startswith(("joint", "teacher", "staged"))
    for block, step in enumerate(range(20, steps + 1, 20)):
        if weighted and step % 60 == 0:
            gains = (float(-2e-4 - 1e-5 * rng.random()), float(rng.normal(-3e-5, 1e-4)))
        event: dict[str, Any] = {"step": block, "epoch": block // 3, "loss": 2 * float(np.exp(-step / 90)) + 0.3, "lr": 0.05}
        event |= {"student_accuracy": 95 - 60 * float(np.exp(-step / 60))} if step % 60 == 0 else {"student_accuracy": None}
        event["teacher_accuracy"] = None if arm == "scratch" else 97 + (step / steps if moving else 0)
        event |= {"ess": 1.0, "below_one": 0.0, "correlation": 0.0, "chi_square": 0.0, "worst_case": event["loss"]}
        if weighted and step >= 60:
            event |= {"ess": 0.82 + 0.02 * float(rng.random()), "below_one": 0.4, "correlation": -0.4, "chi_square": 0.11}
            event["worst_case"] = event["loss"] * 1.4
        event |= {"gain_weighing": gains[0], "gain_watching": gains[1]}
        lines.append(json.dumps(event))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _card(folder: Path, arm: str, seed: int, classes: list[str], rows: int, known: bool) -> None:
    card: dict[str, Any] = {"arm": arm, "method": arm.split("+")[0], "seed": seed, "summary": f"what {arm.split('+')[0]} does"}
    card |= {"weights_summary": "what these weights are" if "+" in arm else None, "source": "shapes", "train": rows}
    card |= {
        "model": {"name": "convnet1", "width": 8, "norm": "instance"},
        "parameters": 2_570,
        "classes": classes,
        "epochs": 5,
    }
    card |= {"seconds": 12.5, "peak_bytes": 3e8, "stored_bytes": 10_280, "ess": 0.83, "below_one": 0.4, "test_uses": 1}
    card |= {"teacher": TEACHER, "teacher_accuracy": 97.5} if arm != "scratch" else {}
    card |= {"weights": {"clean": 1.1, "noisy": 0.6, "auc": 0.93}} if known else {}
    (folder / "student").mkdir(exist_ok=True)
    (folder / "student" / "card.json").write_text(json.dumps(card))


def _scores(
    folder: Path, kind: str, classes: list[str], rows: int, noisy: bool, rng: np.random.Generator, pictures: bool, texts: bool
) -> None:
    stored = np.arange(rows) % len(classes)
    wrong = (np.arange(rows) % 5 == 0) & noisy
    label = np.where(wrong, (stored + 1) % len(classes), stored)
    score = rng.normal(0, 2e-3, rows) + 5e-3 * wrong
    columns = {"index": np.arange(rows) * 2, "path": [None] * rows, "label": label, "score": score, "loss": rng.random(rows)}
    columns |= {"weight": 2 / (1 + np.exp(score / 2e-3)), **({"stored": stored} if noisy else {})}
    table = pa.table(columns).replace_schema_metadata({"refluence": json.dumps({"weights": {"kind": kind}})})
    pq.write_table(table, folder / "scores.parquet")
    worst = np.argsort(-score)[:24]
    if texts:
        words = {str(2 * row): f"a text about {classes[stored[row]]}, number {row}" for row in worst}
        (folder / "scores_texts.json").write_text(json.dumps(words))
    elif pictures:
        images = np.concatenate([shapes(1, int(stored[row]), 8, 1, rng) for row in worst])
        save_file({"images": images, "rows": worst.astype(np.int64) * 2}, folder / "scores_images.safetensors")
