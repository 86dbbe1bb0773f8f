"""The flags that commands share. Plain values only: what was asked is stored in config.json and can be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Where the real data comes from."""

    data: Annotated[str, arg(metavar="SRC")]
    """digits | a folder with train.parquet | FOLDER:TASK | an image folder (train/<class>/…) | a Hugging Face Hub id."""
    image_column: str | None = None
    """Column of the images (default: found by its type)."""
    label_column: str | None = None
    """Column of the labels (default: label, labels, class, …)."""
    labels: Annotated[str | None, arg(metavar="FILE:COLUMN")] = None
    """Other training labels, row by row, for example human annotations."""
    group_column: str | None = None
    """Rows of one group (a patient, a scene) never straddle a split."""
    image_size: int | None = None
    """Resize and crop every image to this many pixels; needed when sizes differ."""
    small_classes: Literal["refuse", "cap", "drop"] = "refuse"
    """What to do with a class that has fewer images than --ipc."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, counted and listed, instead of stopping."""
    drop: Annotated[str | None, arg(metavar="SCORES:SHARE")] = None
    """Leave out the most harmful training instances: scores.parquet:0.1 drops a tenth."""


@dataclass(frozen=True, kw_only=True)
class SizeFlags:
    """How much work: one word sets every default, single flags override."""

    size: Literal["cpu", "paper"] = "cpu"
    """cpu: short and small, named as such. paper: the published numbers."""
    iterations: int | None = None
    """Image-optimiser steps."""
    real_batch: int | None = None
    """Real images per class and step."""
    inner: int | None = None
    """Epochs of network training on the synthetic set between two image steps."""
    initial: Literal["noise", "real"] | None = None
    """Where the synthetic images start (default: the method's)."""
    model: str = "convnet"
    """convnet (depth by image size) or convnet1 … convnet6."""
    width: int | None = None
    """Channels per layer: 32 at size cpu, 128 at size paper."""
    norm: Literal["instance", "group", "batch", "none"] = "instance"
    """Normalisation layer. It moves accuracy by points, so it is always named."""


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags:
    """How a small set is judged: networks trained on it from scratch."""

    protocol: tuple[str, ...] = ()
    """Named protocols (see `refluence ls`); the first is the primary one. Default: the method's, at the run's size."""
    nets: int | None = None
    """Networks per set: 3 at size cpu, 5 at size paper."""
    epochs: int | None = None
    """Epochs of each network, instead of the protocol's."""
    batch: int | None = None
    """Batch size, instead of the protocol's."""
    split: Literal["test", "val"] = "test"
    """test for the final number; val (cut from train) for every choice you make on the way."""


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """How the machine is used."""

    seed: int = 0
    """First seed; everything random follows from it."""
    device: str = "auto"
    """auto | cpu | cuda | mps."""
    threads: int = 0
    """Processor threads (0: automatic). Bit-identical results need the same number."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: real gradients and network training in bfloat16."""
    compile: bool = False
    """Compile the networks: about a minute first, then faster; pays on long runs."""
    checkpoint_seconds: float = 10.0
    """Seconds between two checkpoints."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True, kw_only=True)
class OutFlags:
    """Where the results go."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder of this run; it is made. One folder holds one run."""
    resume: bool = False
    """Continue the run in DIR. Nothing there yet: start. Finished: do nothing."""
