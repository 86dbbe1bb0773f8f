"""The page of a denoiser: how it was trained, its loss, and samples where they lie beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from refluence.files import Json
from refluence.report import charts, curves
from refluence.report.gallery import CLASSES, ClassRow, Gallery, Tile, class_name
from refluence.report.pictures import data_uri
from refluence.report.reading import read_lines, read_object, read_tensors
from refluence.report.sampled import part
from refluence.report.template import write_page
from refluence.report.words import amount, compact, counted, duration, finite, fixed, pretty

KIND = "denoiser"
SAMPLES = "samples.safetensors"
SHOWN = 10
PREDICTS = {
    "flow": "the direction from noise to image (flow matching)",
    "epsilon": "the noise",
    "v": "the velocity between image and noise (v-prediction)",
}
NAMES = {
    "reconstruction": "reconstruction: mean absolute error of the autoencoder, pixels from -1 to 1",
    "kl": "kl: divergence of the latents from normal ones, for each number of an image",
    "away": "away: one less the least cosine with a real latent of the class",
    "alike": "alike: the greatest cosine with a prediction of the class",
}
"""Losses of an autoencoder and of Minimax beside that of the denoiser."""
OF_AUTOENCODER = ("reconstruction", "kl")
SPLITS = {"train": "training", "val": "validation"}
NETWORKS = {"dit": "transformer (DiT)", "unet": "U-Net"}


def holds(folder: Path) -> bool:
    """Whether the folder is a run that made a denoiser, and no set."""
    return (folder / KIND / "card.json").is_file() and not any(
        (folder / name).exists() for name in ("distilled", "results.json")
    )


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of a run that trained or fine-tuned a denoiser; return its path."""
    card, shape = read_object(folder / KIND / "card.json"), read_object(folder / KIND / "config.json")
    config, metrics = read_object(folder / "config.json"), read_lines(folder / "metrics.jsonl")
    target = folder / "report.html"
    write_page(
        target,
        "denoiser.html.j2",
        title="Denoiser",
        verdict=_sentence(card, shape),
        facts=facts(card, shape),
        loss=loss(metrics, card),
        samples=samples(folder / KIND, [str(name) for name in shape.get("classes") or []]),
        notes=[str(note) for note in card.get("notes") or []],
        config=pretty(config) if config else None,
    )
    return target


def _sentence(card: Json, shape: Json) -> str:
    size, sides = finite(card.get("parameters")), " × ".join(str(side) for side in shape.get("shape") or [])
    words = "A denoiser" + (f" of {counted(len(shape['classes']), 'class', 'classes')}" if shape.get("classes") else "")
    words += f" for images of {sides}" if sides else ""
    words += f": {counted(int(size), 'parameter')}" if size else ""
    tuned = f", fine-tuned by {str(card['method']).capitalize()}" if card.get("method") not in (None, "dit") else ""
    seconds = f" in {duration(card['seconds'])}" if finite(card.get("seconds")) is not None else ""
    return f"{words}{tuned}{seconds if tuned else f', trained{seconds}' if seconds else ''}."


def facts(card: Json, shape: Json) -> list[tuple[str, str]]:
    """What was trained on what, in a few words each."""
    training = _numbers(card)
    images = finite(card.get("train")) or finite(card.get("images"))
    width, depth = finite(shape.get("width")), finite(shape.get("depth"))
    numbers = [f"width {int(width)}"] * bool(width) if width else []
    numbers += [f"depth {int(depth)}"] if depth else []
    found = [
        ("Data", str(card.get("source") or "")),
        ("Training images", f"{int(images):,}".replace(",", "\u202f") if images else ""),
        ("Network", ", ".join([NETWORKS.get(str(shape.get("kind")), str(shape.get("kind") or "")), *numbers]).strip(", ")),
        ("Predicts", PREDICTS.get(str(shape.get("prediction")), str(shape.get("prediction") or ""))),
        ("Latents", latents(card, shape)),
        ("Steps", _whole(training.get("iterations"))),
        ("Images a step", _whole(training.get("batch"))),
        ("Learning rate", compact(training["lr"]) if finite(training.get("lr")) is not None else ""),
        ("Fine-tuned", f"{_whole(card.get('moved'))} parameters" if finite(card.get("moved")) else ""),
        ("Seed", str(card.get("seed", ""))),
        ("Stored", amount(card["stored_bytes"]) if finite(card.get("stored_bytes")) else ""),
        ("Peak memory", amount(card["peak_bytes"]) if finite(card.get("peak_bytes")) else ""),
        ("SHA-256", f"{str(card['sha256'])[:12]}…" if card.get("sha256") else ""),
        ("Licence", str(card.get("licence") or "")),
    ]
    return [(name, words) for name, words in found if words]


def latents(card: Json, shape: Json) -> str:
    """Of a denoiser that works on latents: what they stand for, and how well images come back from them."""
    own, found = part(shape, "autoencoder"), part(part(card, "autoencoder"), "psnr")
    if not own:
        return ""
    back = [f"{fixed(found[key])} dB on {name} images" for key, name in SPLITS.items() if finite(found.get(key)) is not None]
    words = f"{own.get('latents')} numbers for each {own.get('factor')} × {own.get('factor')} pixels"
    return words + (f"; PSNR of decoded images {', '.join(back)}" if back else "")


def _numbers(card: Json) -> Json:
    """The settings of the fine-tuning, else of the training."""
    return part(card, "finetuning") or part(card, "training")


def _whole(value: object) -> str:
    number = finite(value)
    return f"{int(number):,}".replace(",", "\u202f") if number else ""


def loss(metrics: list[Json], card: Json) -> tuple[str, list[tuple[str, Markup]]]:
    """In words where the loss ended, and a curve for each kind of loss that was recorded."""
    drawn, said = [], ""
    for key in _losses(metrics):
        pairs = [(finite(entry.get("step")), finite(entry.get(key))) for entry in metrics]
        known = [(step, value) for step, value in pairs if step is not None and value is not None]
        trained = part(part(card, "autoencoder"), "settings") if key in OF_AUTOENCODER else _numbers(card)
        steps, first = finite(trained.get("iterations")), known[0][0] if known else 0.0
        each = steps / len(known) if steps and known else 1.0
        points = [((step - first + 1) * each, value) for step, value in known]
        if len(points) > 2:
            log = key == "loss" and min(value for _, value in points) > 0
            name = NAMES.get(key, key)
            line = charts.lines({key: curves.smooth(points)}, {key: charts.PALETTE[2]}, "step", key, f"{name} by step", log)
            drawn.append((name, line))
        if key == "loss" and points:
            said = f"From {fixed(points[0][1], 3)} to {fixed(points[-1][1], 3)}."
    return said, drawn


def _losses(metrics: list[Json]) -> list[str]:
    """The names of the recorded numbers but for place, time and learning rate, `loss` first."""
    names = [key for entry in metrics for key, value in entry.items() if finite(value) is not None]
    other = [name for name in dict.fromkeys(names) if name not in ("step", "seconds", "lr", "epoch", "images")]
    return sorted(other, key=lambda name: name != "loss")


def samples(place: Path, classes: list[str]) -> Gallery | None:
    """The stored samples, uint8 `images` (M, C, H, W) with `labels`, class by class; None where there are none."""
    stored = read_tensors(place / SAMPLES, ("images", "labels"))
    if stored is None or not len(stored["labels"]):
        return None
    rows = []
    for label in np.unique(stored["labels"])[:CLASSES]:
        name = class_name(classes, int(label))
        own = stored["images"][stored["labels"] == label][:SHOWN]
        rows.append(
            ClassRow(name, [Tile(data_uri(picture), "", f"{name}, sample {i + 1}") for i, picture in enumerate(own)], [])
        )
    many = len(np.unique(stored["labels"]))
    notes = [f"Shown are the first {CLASSES} of {many} classes."] if many > CLASSES else []
    return Gallery("", rows, notes, few=max(len(row.tiles) for row in rows) <= 3)
