"""Sources of real data, and the distilled set on disk."""

from refluence.data.allocation import allocate
from refluence.data.dataset import Dataset, Split
from refluence.data.distilled import (
    DistilledSet,
    count_test_use,
    decoded,
    load_distilled,
    read_card,
    save_distilled,
    to_uint8,
)
from refluence.data.export import export
from refluence.data.loading import load
from refluence.data.objects import Single, Source
from refluence.data.scores import ScoreTable
from refluence.options import SourceOptions

__all__ = [
    "Dataset",
    "DistilledSet",
    "ScoreTable",
    "Single",
    "Source",
    "SourceOptions",
    "Split",
    "allocate",
    "count_test_use",
    "decoded",
    "export",
    "load",
    "load_distilled",
    "read_card",
    "save_distilled",
    "to_uint8",
]
