"""The flags that commands share, in groups as `--help` shows them.

Plain values only: what was asked is stored in config.json and can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

# An optional value's help says what its absence means, so no "(default: None)" is printed behind it.
Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
Switch = Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")]
Names = Annotated[tuple[str, ...], arg(metavar="[NAME …]", help_behavior_hint="")]
Norm = Annotated[
    Literal["instance", "group", "batch", "layer", "none"] | None,
    arg(metavar="{instance,group,batch,layer,none}", help_behavior_hint=""),
]


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """How the source is read. Most sources need none of these."""

    image_size: Number = None
    """Resize and crop every image to N x N pixels; needed when sizes differ."""
    image_column: Name = None
    """Column of the images (default: found by its type)."""
    label_column: Name = None
    """Column of the labels (default: label, labels, class, …)."""
    labels: Annotated[str | None, arg(metavar="FILE:COLUMN", help_behavior_hint="")] = None
    """Other training labels, row by row, for example human annotations."""
    group_column: Name = None
    """Rows of one group (a patient, a scene) never straddle a split."""
    small_classes: Literal["refuse", "cap", "drop"] = "refuse"
    """What to do with a class that has fewer training images than --ipc."""
    skip_corrupt: Switch = False
    """Leave out images that cannot be decoded, counted and listed, instead of stopping."""
    validation: Annotated[str | None, arg(metavar="SRC", help_behavior_hint="")] = None
    """Validation images from another source, all of them, for example from where the model will be used (default: the split
    `val` beside `test`, else cut from train)."""
    drop: Annotated[str | None, arg(metavar="SCORES:SHARE", help_behavior_hint="")] = None
    """Leave out the training instances with the highest score (dM/dw): scores.parquet:0.1 drops a tenth."""


@dataclass(frozen=True, kw_only=True)
class SizeFlags:
    """How much work: --size sets all of these at once, single flags override it."""

    size: Literal["cpu", "paper"] = "cpu"
    """cpu: short and small, named as such. paper: the published numbers."""
    iterations: Number = None
    """Steps of the image optimiser (default: 200 at size cpu)."""
    real_batch: Number = None
    """Real images per class and step (default: 64 at size cpu; at size paper the method's own, 256 for dc)."""
    inner: Number = None
    """Training between two image steps: epochs on the synthetic set (dc, dsa) or steps on the real one (idc, idm)."""
    initial: Annotated[
        Literal["noise", "real", "cluster"] | None, arg(metavar="{noise,real,cluster}", help_behavior_hint="")
    ] = None
    """Where the synthetic images start (default: real at size cpu, the published start at size paper)."""
    allocation: Literal["equal", "proportional"] = "equal"
    """Images per class: the same for each, or by class size."""
    model: Annotated[str, arg(metavar="NAME")] = "convnet"
    """convnet (depth by image size), convnet1 … convnet6, resnet10, resnet18, resnetap10, torchvision:NAME or timm:NAME."""
    width: Number = None
    """Channels per layer (default: 32 at size cpu, 128 at size paper), of a resnet in its first stage (16, 64)."""
    norm: Norm = None
    """Normalisation layer (default: the published one of the model). It moves accuracy by points, so it is always named."""


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags:
    """How a small set is judged: networks trained on it from scratch."""

    protocol: Names = ()
    """Named protocols (see `refluence ls`), the first is the primary one (default: dc-cpu, or dc at size paper)."""
    nets: Number = None
    """Networks per set (default: 3 at size cpu, 5 at size paper)."""
    epochs: Number = None
    """Epochs of each network, instead of the protocol's."""
    batch: Number = None
    """Batch size, instead of the protocol's."""
    split: Literal["test", "val"] = "test"
    """test for the final number; val (held out of train) for every choice you make on the way."""


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """How the machine is used."""

    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """auto | cpu | cuda | cuda:1 | mps."""
    threads: Annotated[int, arg(metavar="N")] = 0
    """Processor threads (0: automatic). Bit-identical results need the same number."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: distil with real gradients and networks in bfloat16; evaluation and scores stay in float32."""
    compile: bool = False
    """Compile distillation and judging: about a minute first, then faster; pays on long runs."""
    quiet: Switch = False
    """No progress bars and no notes."""


@dataclass(frozen=True, kw_only=True)
class LongFlags(MachineFlags):
    """How the machine is used."""

    checkpoint_seconds: Annotated[float, arg(metavar="SECONDS")] = 10.0
    """Time between two checkpoints: what a kill can cost at most."""
