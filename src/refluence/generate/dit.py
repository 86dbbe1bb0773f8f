"""Samples of a class-conditional denoiser (DiT, arXiv 2212.09748), with classifier-free guidance.

eps = eps_null + cfg (eps_y - eps_null)         arXiv 2207.12598, eq. 6, with cfg = 1 + w
"""

from __future__ import annotations

from refluence.generate.method import Generator

METHOD = Generator("dit", "images sampled from a denoiser that was trained on the data", "arXiv 2212.09748")
