"""What may be asked for beside an arm: the one declaration for keyword arguments, the command line and `config.json`.

One file a family. The groups are those in which `--help` shows them, under the name in `group`. Every value can be
written as JSON.
"""

from __future__ import annotations

from refluence.options.base import Options
from refluence.options.machine import MachineOptions, SeedOptions
from refluence.options.sampling import (
    OF_DEVIATION,
    OF_INFLUENCE,
    OF_LEARNABILITY,
    OF_POOL,
    OF_SURROGATE,
    DenoiserOptions,
    FinetuneOptions,
    SampleOptions,
    SamplingOptions,
    SetOptions,
)
from refluence.options.score import ScoreOptions
from refluence.options.sets import NORMS, WIDTHS, EvaluationOptions, JobOptions, NetworkOptions, SizeOptions
from refluence.options.source import SourceOptions
from refluence.options.transfer import TransferOptions

__all__ = [
    "NORMS",
    "OF_DEVIATION",
    "OF_INFLUENCE",
    "OF_LEARNABILITY",
    "OF_POOL",
    "OF_SURROGATE",
    "WIDTHS",
    "DenoiserOptions",
    "EvaluationOptions",
    "FinetuneOptions",
    "JobOptions",
    "MachineOptions",
    "NetworkOptions",
    "Options",
    "SampleOptions",
    "SamplingOptions",
    "ScoreOptions",
    "SeedOptions",
    "SetOptions",
    "SizeOptions",
    "SourceOptions",
    "TransferOptions",
]
