"""The library in one place: keyword functions that print nothing and, unless they are given `out`, write nothing.

data = rf.load("digits")
run = rf.distill(data, "dc+influence", ipc=10)
rf.evaluate(run, data, protocol="dsa-cpu").accuracy
"""

from __future__ import annotations

from refluence.api.comparing import compare
from refluence.api.denoisers import finetune_denoiser, train_denoiser
from refluence.api.judging import evaluate, quality
from refluence.api.scoring import score
from refluence.api.sets import distill, generate, select, start
from refluence.api.sources import load, open
from refluence.api.students import transfer
from refluence.jobs.session import Machine

__all__ = [
    "Machine",
    "compare",
    "distill",
    "evaluate",
    "finetune_denoiser",
    "generate",
    "load",
    "open",
    "quality",
    "score",
    "select",
    "start",
    "train_denoiser",
    "transfer",
]
