"""What a run of `score` has done so far: one file a network of a fold, beside --out, until all are there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refluence.errors import InputError, RunError
from refluence.files import write_tensors
from refluence.run.folder import CONFIG
from refluence.score.instances import FoldScores

TENSORS = ("positions", "score", "loss", "suggested")
NUMBERS = ("damping", "iterations", "residual", "converged", "accuracy")


@dataclass(frozen=True)
class Part:
    """One network of one fold; `fold` is None for a loaded network, which scores everything."""

    fold: int | None
    net: int = 0

    @property
    def name(self) -> str:
        """Its file."""
        return "model.safetensors" if self.fold is None else f"fold{self.fold}-net{self.net}.safetensors"


@dataclass(frozen=True)
class Scored:
    """The parts as one: `score`, `loss` (float64) and `suggested` `(N,)`, and what each part says of its network."""

    score: Tensor
    loss: Tensor
    suggested: Tensor
    accuracies: list[float]
    dampings: list[float]
    iterations: list[int]
    residuals: list[float]
    converged: bool


def save_part(folder: Path, part: Part, found: FoldScores) -> None:
    """Write a part. Numbers that are not finite end the run: they could be neither ranked nor weighted."""
    if not bool(found.score.isfinite().all()) or not bool(found.loss.isfinite().all()):
        where = "" if part.fold is None else f" of fold {part.fold}"
        raise RunError(f"scores{where} are not finite: a larger --damping, or a smaller --lr, would help")
    header = {name: getattr(found, name) for name in NUMBERS}
    write_tensors(folder / part.name, {name: getattr(found, name) for name in TENSORS}, {"header": json.dumps(header)})


def load_part(folder: Path, part: Part) -> FoldScores:
    """Read a part again."""
    path = folder / part.name
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["header"])
            return FoldScores(**{name: file.get_tensor(name) for name in TENSORS}, **{n: header[n] for n in NUMBERS})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a part of this version ({error}); delete it to score this fold again") from error


def together(folder: Path, parts: Sequence[Part], count: int) -> Scored:
    """All parts of `count` instances: scores and losses are means over the networks that scored an instance, `suggested` is
    what most of them say."""
    read = [load_part(folder, part) for part in parts]
    scored = torch.zeros(count, dtype=torch.int64)
    for found in read:
        scored[found.positions] += 1
    if not bool((scored == scored.max()).all()):
        raise RunError(f"{int((scored < scored.max()).sum())} of {count} instances lack scores in {folder}: delete it")
    score, loss = (torch.zeros(count, dtype=torch.float64) for _ in range(2))
    said, place = torch.zeros(count, int(scored[0]), dtype=torch.int32), torch.zeros_like(scored)
    for found in read:
        at = found.positions
        score[at] += found.score.double()
        loss[at] += found.loss.double()
        said[at, place[at]] = found.suggested.int()
        place[at] += 1
    return Scored(
        score / scored,
        loss / scored,
        said.mode(1).values.long(),
        [found.accuracy for found in read],
        [found.damping for found in read],
        [found.iterations for found in read],
        [found.residual for found in read],
        all(found.converged for found in read),
    )


def remove(folder: Path, parts: Sequence[Part]) -> None:
    """Delete what this run wrote into `folder`, and the folder where nothing else lies in it."""
    for name in [*(part.name for part in parts), CONFIG]:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
