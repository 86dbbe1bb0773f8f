"""What is asked of a job that makes a small set: how much work, which network, and how the result is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from refluence.fields import setting
from refluence.options.base import Options

WIDTHS = {"cpu": 32, "paper": 128}  # of a ConvNet where its name says none; of other networks in proportion
NORMS = ("instance", "group", "batch", "layer", "none")


@dataclass(frozen=True, kw_only=True)
class SizeOptions(Options):
    """How much work: the size sets all of these at once, each of the others overrides it."""

    group: ClassVar[str] = "size"

    size: str = setting("cpu", "cpu: short and small, named as such. paper: the published numbers.", choices=("cpu", "paper"))
    iterations: int | None = setting(None, "Steps of the image optimiser (default: 200 at size cpu).", least=1)
    real_batch: int | None = setting(
        None, "Real images per class and step (default: 64 at size cpu; at size paper the method's own, 256 for dc).", least=1
    )
    inner: int | None = setting(
        None,
        "Training between two image steps: epochs on the synthetic set (dc, dsa) or steps on the real one (idc, idm).",
        least=0,
    )
    initial: str | None = setting(
        None,
        "Where the synthetic images start (default: real at size cpu, the published start at size paper).",
        choices=("noise", "real", "cluster"),
    )
    allocation: str = setting(
        "equal", "Images per class: the same for each, or by class size.", choices=("equal", "proportional")
    )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The network that makes the images, where one does, and judges them."""

    group: ClassVar[str] = "network"

    model: str | Callable[..., Any] = setting(
        "convnet",
        "convnet (depth by image size), convnet1 … convnet6, resnet10, resnet18, resnetap10, resnet8x4, wrn-16-2 and more "
        "(see `refluence ls`), with width and norm as in convnet3:32:group; torchvision:NAME, timm:NAME, or FILE.py:FUNCTION "
        "with your function (shape, classes) -> nn.Module.",
    )
    width: int | None = setting(
        None,
        "Channels per layer, of a resnet in its first stage (default: {sizes}; for resnet10, resnet18, resnetap10 half of it, "
        "for networks whose names say how large they are the published one).",
        least=1,
        by_size=WIDTHS,
    )
    norm: str | None = setting(
        None,
        "Normalisation layer (default: the published one of the model). It moves accuracy by points, so it is always named.",
        choices=NORMS,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """How a small set is judged: networks trained on it from scratch."""

    group: ClassVar[str] = "evaluation"

    protocol: tuple[str, ...] = setting(
        (), "Named protocols (see `refluence ls`), the first is the primary one (default: dc-cpu, or dc at size paper)."
    )
    nets: int | None = setting(None, "Networks per set (default: {sizes}).", least=1, by_size={"cpu": 3, "paper": 5})
    epochs: int | None = setting(None, "Epochs of each network, instead of the protocol's.", least=1)
    batch: int | None = setting(None, "Batch size, instead of the protocol's.", least=1)
    split: str = setting(
        "test",
        "test for the final number; val (held out of train) for every choice you make on the way.",
        choices=("test", "val"),
    )
    quality: bool = setting(
        False,
        "Also measure the set beside real images of train, to quality.json: Fréchet and Wasserstein distance, coverage, mean "
        "influence (at a surrogate of its own, trained as one that guides is but with another seed), redundancy.",
    )
    feature_network: str | None = setting(
        None,
        "The network whose features --quality compares: one of `refluence ls`, trained on the data first (default: resnet10), "
        "or pretrained:NAME with the weights of torchvision or timm, such as pretrained:torchvision:inception_v3.",
        metavar="NAME|pretrained:NAME",
    )
    coverage_threshold: float | None = setting(
        None,
        "The distance of features within which --quality counts a real image as covered, 300 in the source, which measures by "
        "Inception (default: the median distance of a real image to its nearest other one).",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class JobOptions(SizeOptions, NetworkOptions, EvaluationOptions):
    """How much work, which network, and how the result is judged. None leaves a number to the method and the size."""

    ipc: int = setting(10, "Images per class to keep.", least=1)
    scores: str | None = setting(
        None,
        "The table of `refluence score` by which arms drop (X+pruned:by=score), relabel (X+relabelled) or weigh (X+scores) "
        "(default: they make one, once a seed).",
        metavar="SCORES",
    )
