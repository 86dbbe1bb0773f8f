"""What a run left in its folder, read tolerantly: a file that is missing is None, a broken one is an `InputError`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors import safe_open

from refluence.errors import InputError
from refluence.files import Json, read_json
from refluence.report.words import finite


@dataclass(frozen=True)
class Distilled:
    """Labels (M,) and, if there are any, `influence` (M,) and `stage` (M,) of the images in a file; those are read later."""

    path: Path
    labels: np.ndarray
    influence: np.ndarray | None
    stage: np.ndarray | None = None

    def images(self, rows: list[int]) -> np.ndarray:
        """These images as float32 (len(rows), C, H, W), normalised. A whole real set may be stored: a few are read."""
        with safe_open(self.path, "np") as stored:
            part = stored.get_slice("images")
            return np.concatenate([part[row : row + 1] for row in rows]).astype(np.float32)


@dataclass(frozen=True)
class Scores:
    """Influence of the scored real instances, all (N,); `pictures` maps a row of the dataset to uint8 (C, H, W).

    `loss`, `suggested` (the class that the model would rather give), `stored` (the label of the source, where the run had
    another, -1 for a class that it had not) and `weight` are None where the file has none, as is `shifted`, bool: the image was
    brought from another domain. `facts` is what `refluence score` says of its run; `{}` for scores that a distillation left.
    `texts` are those of some rows, where instances are texts.
    """

    index: np.ndarray
    label: np.ndarray
    score: np.ndarray
    path: list[str | None]
    pictures: dict[int, np.ndarray]
    loss: np.ndarray | None = None
    suggested: np.ndarray | None = None
    stored: np.ndarray | None = None
    shifted: np.ndarray | None = None
    facts: Json = field(default_factory=dict)
    weight: np.ndarray | None = None
    texts: dict[int, str] = field(default_factory=dict)

    @property
    def wrong(self) -> np.ndarray | None:
        """Which are known to be wrong, by their label or because they are from another domain; None where nothing is known."""
        mislabelled = None if self.stored is None else self.stored != self.label
        if mislabelled is None or self.shifted is None:
            return self.shifted if mislabelled is None else mislabelled
        return mislabelled | self.shifted

    @property
    def spread(self) -> float:
        """The size of a large score: 99.9 % are not further from zero."""
        return float(np.quantile(np.abs(self.score), 0.999))


@dataclass(frozen=True)
class Unit:
    """One arm with one seed. `student`: it makes a trained network, not a set. `quality`: of its set beside real images."""

    folder: Path
    arm: str
    seed: str
    config: Json | None
    card: Json
    metrics: list[Json]
    evaluations: list[Json]
    student: bool = False
    quality: Json | None = None

    @property
    def classes(self) -> list[str]:
        """The class names, if the card has them."""
        return [str(name) for name in self.card.get("classes") or []]

    def distilled(self) -> Distilled | None:
        """The learned images."""
        path = self.folder / "distilled" / "images.safetensors"
        tensors = read_tensors(path, ("images", "labels"), lazy="images")
        if tensors is None:
            return None
        return Distilled(path, tensors["labels"], tensors.get("influence"), tensors.get("stage"))

    def cleaned_images(self) -> dict[str, np.ndarray] | None:
        """Some of the training images that the arm left out or relabelled beforehand (data/cleaned_images.py)."""
        return read_tensors(self.folder / "cleaned_images.safetensors", ("images", "rows", "labels", "to", "stored"))

    def scores(self) -> Scores | None:
        """The influence of the real instances."""
        return read_scores(self.folder / "scores.parquet")


def read_unit(folder: Path, arm: str | None = None, seed: str | None = None) -> Unit:
    """Read the small files of a unit folder; the tensors are read when asked for."""
    config = _json(folder / "config.json")
    trained = _json(folder / "student" / "card.json")
    card = trained or _json(folder / "distilled" / "card.json") or {}
    evaluation = _json(folder / "evaluation.json") or []
    if isinstance(evaluation, dict):
        evaluation = evaluation.get("evaluations", [evaluation])
    name = card.get("arm") or (config or {}).get("arm") or arm or card.get("method") or folder.name
    number = seed if seed is not None else card.get("seed", (config or {}).get("seed", ""))
    return Unit(
        folder,
        str(name),
        str(number),
        config,
        card,
        read_lines(folder / "metrics.jsonl"),
        [_numbers(e) for e in evaluation],
        student=trained is not None or (config or {}).get("command") == "transfer",
        quality=_json(folder / "quality.json"),
    )


def read_units(folder: Path) -> list[Unit]:
    """Every finished or half-finished unit below `folder/units/ARM/SEED/`, seeds in numerical order."""
    seeds = [seed for arm in sorted(_folders(folder / "units")) for seed in sorted(_folders(arm), key=_number)]
    return [read_unit(seed, seed.parent.name, seed.name) for seed in seeds]


def read_results(folder: Path) -> Json | None:
    """The table of a comparison, or None for a unit folder."""
    return _json(folder / "results.json")


def read_scores(parquet: Path, pictures: dict[int, np.ndarray] | None = None) -> Scores | None:
    """Scores with the pictures beside them (`scores_images.safetensors`) or the given ones; None if there are none."""
    if not parquet.is_file():
        return None
    try:
        table = pq.read_table(parquet)
        columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in ("index", "label", "score")}
        more = {
            name: table.column(name).to_numpy(zero_copy_only=False)
            for name in ("loss", "suggested", "stored", "shifted", "weight")
            if name in table.column_names
        }
        facts = json.loads((table.schema.metadata or {}).get(b"refluence", b"{}"))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{parquet} cannot be read as scores (columns index, label, score): {error}") from error
    paths = table.column("path").to_pylist() if "path" in table.column_names else [None] * table.num_rows
    score = columns["score"].astype(np.float64)
    known = np.flatnonzero(np.isfinite(score))
    if pictures is None:
        stored = read_tensors(parquet.with_name("scores_images.safetensors"), ("images", "rows"))
        pictures = {} if stored is None else dict(zip(map(int, stored["rows"]), stored["images"], strict=True))
    texts = _json(parquet.with_name("scores_texts.json")) or {}
    return Scores(
        columns["index"][known].astype(np.int64),
        columns["label"][known].astype(np.int64),
        score[known],
        [paths[i] for i in known],
        pictures,
        more["loss"][known].astype(np.float64) if "loss" in more else None,
        more["suggested"][known].astype(np.int64) if "suggested" in more else None,
        more["stored"][known].astype(np.int64) if "stored" in more else None,
        more["shifted"][known].astype(bool) if "shifted" in more else None,
        facts,
        more["weight"][known].astype(np.float64) if "weight" in more else None,
        {int(row): str(words) for row, words in texts.items()},
    )


def _numbers(evaluation: Json) -> Json:
    """An evaluation (percent) with None for a score that is missing or no number, and without such networks."""
    scores = {name: finite(evaluation.get(name)) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    nets = [finite(v) for v in evaluation.get("accuracies") or []]
    return {**evaluation, **scores, "accuracies": [v for v in nets if v is not None]}


def _folders(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")] if folder.is_dir() else []


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdigit() else (10**9, folder.name)


def read_object(path: Path) -> Json:
    """A file of one JSON object; {} where it is missing."""
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def read_lines(path: Path) -> list[Json]:
    """One JSON object a line; an unfinished last line (a run that was killed) is left out."""
    if not path.is_file():
        return []
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line)) if line.strip() else None
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number}, cannot be read as JSON: {error}") from error
    return [entry for entry in found if isinstance(entry, dict)]


def read_tensors(path: Path, needed: tuple[str, ...], lazy: str | None = None) -> dict[str, np.ndarray] | None:
    """The tensors of a file but the one named `lazy`."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as stored:
            names = list(stored.keys())
            tensors = {name: stored.get_tensor(name) for name in names if name != lazy}
    except Exception as error:  # safetensors raises its own class, derived from Exception alone
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path} has no tensor named {missing[0]!r}; it holds {sorted(names)}")
    return tensors
