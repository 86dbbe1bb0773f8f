"""IDC-I: IDC (Kim et al. 2022, arXiv 2205.14959) without multi-formation, factor 1; all else is idc.py's."""

from __future__ import annotations

from dataclasses import replace

from refluence.condense import idc
from refluence.condense.method import Settings


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """IDC's numbers with whole images."""
    return idc.settings(ipc, size, shape).with_(factor=1, cutmix=idc.cutmix(shape), augmentation="color_crop_cutout")


METHOD = replace(idc.METHOD, name="idc1", summary="idc without multi-formation", settings=settings)
