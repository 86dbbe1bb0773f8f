"""Denoisers, trained and fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refluence import keywords, report
from refluence.api.sources import Data, session_for
from refluence.generate.denoiser import Denoiser
from refluence.jobs.denoiser_runs import DenoiserJob, training, tuning
from refluence.jobs.denoiser_runs import make as make_denoiser
from refluence.jobs.session import Machine, Session
from refluence.options import (
    DenoiserOptions,
    FinetuneOptions,
    SeedOptions,
)
from refluence.run import device


def train_denoiser(data: Data, *, seed: int = 0, out: str | Path | None = None, **options: Any) -> Denoiser:
    """Train a diffusion model of the data from scratch, which `generate` samples from.

    Args:
        data: as in `distill`.
        seed: everything random follows from it.
        out: a folder for the run as `refluence generate train` writes it, with the denoiser in `out/denoiser`. The same call
            continues a run that was stopped. None: nothing is written.
        options: fields of `DenoiserOptions` (`network`, `prediction`, `space`, `iterations`, `size`, …) and of `Machine`.

    Returns:
        The denoiser.

    Raises:
        InputError: data that it cannot be trained on, an unknown option or value, an `out` that holds another run.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> denoiser = rf.train_denoiser("digits", iterations=2)
        >>> denoiser.method, denoiser.shape
        ('dit', (1, 8, 8))
    """
    keywords.check(options, keywords.names(DenoiserOptions) | keywords.names(Machine), train_denoiser)
    asked, session = keywords.picked(DenoiserOptions, options), session_for(data, options)
    return _denoiser(training(asked, session, SeedOptions(seed=seed).seed), session, out)


def finetune_denoiser(
    data: Data, denoiser: str | Path | Denoiser, *, seed: int = 0, out: str | Path | None = None, **options: Any
) -> Denoiser:
    """Fine-tune a denoiser by Minimax, so that its samples represent the real images and differ (arXiv 2311.15529).

    Args:
        data: as in `distill`.
        denoiser: what `train_denoiser` gave, a folder, or a name of the Hub. It stays as it is.
        seed: everything random follows from it.
        out: as in `train_denoiser`.
        options: fields of `FinetuneOptions` (`method`, `iterations`, `size`) and of `Machine`.

    Returns:
        Another denoiser, of method `"minimax"`.

    Raises:
        InputError: no denoiser, or one of other classes or another size; an unknown option or value.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> denoiser = rf.train_denoiser("digits", iterations=2)
        >>> rf.finetune_denoiser("digits", denoiser, iterations=2).method
        'minimax'
    """
    keywords.check(options, keywords.names(FinetuneOptions) | keywords.names(Machine), finetune_denoiser)
    asked, session = keywords.picked(FinetuneOptions, options), session_for(data, options)
    base = str(denoiser) if isinstance(denoiser, Path) else denoiser
    return _denoiser(tuning(asked, base, session, SeedOptions(seed=seed).seed), session, out)


def _denoiser(job: DenoiserJob, session: Session, out: str | Path | None) -> Denoiser:
    folder = keywords.folder(out)
    with device.threads(keywords.threads(session, folder)):
        return make_denoiser(job, session, folder, page=report.write)[0]
