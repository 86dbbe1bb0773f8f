"""What recipes of knowledge distillation share: the two networks of a size, and parts whose arms make students."""

from __future__ import annotations

from collections.abc import Mapping

from refluence.recipes.base import Part

ROWS = 10_000  # training rows of large sets at size cpu
LARGE = ("cifar10", "cifar100", "svhn", "mnist", "sst2", "qnli")
PAPER: Mapping[str, object] = {"teacher": "resnet32x4", "student": "mobilenetv2"}
"""The pair of KD-AIF's Table 1, each at the rate that the CRD protocol has for it."""
CPU: Mapping[str, object] = {"teacher": "convnet:128", "student": "convnet:32"}
TEXT: Mapping[str, object] = {"teacher": "minilm", "student": "minilm-2"}
WIDE: Mapping[str, object] = {"teacher": "wrn-28-2", "student": "wrn-28-2"}
"""Of the semi-supervised benchmarks: Meta Pseudo Labels (arXiv 2003.10580) has the same network twice."""
CONTROLS = ("scratch", "kd", "kd+shuffled")


def part(
    name: str,
    data: str,
    size: str,
    arms: tuple[str, ...],
    *,
    seeds: int = 3,
    networks: Mapping[str, object] | None = None,
    transfer: Mapping[str, object] | None = None,
    source: Mapping[str, object] | None = None,
    pairs: tuple[tuple[str, str], ...] = (),
    primary: str | None = None,
    clean: str | None = None,
) -> Part:
    """A comparison of students: five seeds at size paper; at size cpu `seeds`, small networks and few rows.

    `networks`: at size paper, else `PAPER`. `transfer`: further fields of `TransferOptions` at both sizes.
    """
    pair = (PAPER if networks is None else networks) if size == "paper" else CPU
    few = {"rows": ROWS} if size == "cpu" and data in LARGE else {}
    return Part(
        name,
        data,
        0,
        arms,
        ("student",),
        seeds if size == "cpu" else 5,
        transfer={**(TEXT if networks is TEXT else pair), **(transfer or {})},
        source={**few, **(source or {})},
        pairs=pairs,
        primary=primary,
        clean=clean,
    )
