"""Samples that begin at k-means centres of encoded real images, noised, and not at noise (D4M, CVPR 2024; modes.py)."""

from __future__ import annotations

from refluence.generate.method import Generator

METHOD = Generator("d4m", "dit, begun at noised k-means centres of real images", "arXiv 2407.15138", from_modes=True)
