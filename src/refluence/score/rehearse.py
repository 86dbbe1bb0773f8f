"""A score rehearsed on a few images before anything is trained or written, for a network that is not one of ours."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import nn

from refluence.data import Dataset
from refluence.data.dataset import Split
from refluence.errors import InputError, RunError, option
from refluence.models.library import reason
from refluence.score.instances import score_rows
from refluence.score.settings import CrossFit

FEW = 4  # images
ITERATIONS = 2  # of the curvature's solver


def rehearse(net: nn.Module, dataset: Dataset, settings: CrossFit, name: str, device: torch.device, precision: str) -> None:
    """Score a few training images by the network as it is, with everything that was asked for.

    Errors: `InputError` for whatever goes wrong, a layer that is not supported or a derivative that PyTorch does not have.
    """
    small = replace(dataset, train=_few(dataset.train), val=_few(dataset.val))
    short = replace(settings, fit=FEW, curvature=replace(settings.curvature, iterations=ITERATIONS))
    rows, generator = torch.arange(len(small.train)), torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score_rows(net.to(device).eval(), small, rows, rows, short, generator, device, precision=precision)
    except RunError:  # so few images may have no solution
        return
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        less = "" if settings.terms == "explicit" else f"; {option('terms', 'explicit')} asks for no derivatives of it"
        why = error if isinstance(error, InputError) else reason(error)
        raise InputError(f"{name} cannot be scored: {why}{less}") from error


def _few(split: Split) -> Split:
    chosen = torch.linspace(0, len(split) - 1, min(FEW, len(split))).long()
    return split.take(chosen)
