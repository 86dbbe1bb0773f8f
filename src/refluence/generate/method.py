"""What a method of generation declares: which denoiser its images are sampled from.

    z_T ~ N(0, I),   z_{t-1} = s(z_t, t, eps) [- rho_t grad G_I - gamma grad G_D]      (IGD, ICLR 2025, eq. 9)

How sampling is guided is the arm's variant: `dit`, `dit+influence`, `dit+deviation`, `dit+igd`,
`dit+entropy`, `dit+modes`, `dit+learnability`, `dit+pool`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generator:
    """A way to sample images.

    Args:
        name: what arms call it.
        summary: one line for `refluence ls`.
        source: the paper, such as "arXiv 2311.15529".
        finetuned: whether the denoiser is fine-tuned first, by Minimax.
        from_modes: whether images begin at noised k-means centres of real ones (modes.py).

    Example:
        >>> import refluence as rf
        >>> rf.methods()["minimax"].finetuned
        True
    """

    name: str
    summary: str
    source: str = ""
    finetuned: bool = False
    from_modes: bool = False
