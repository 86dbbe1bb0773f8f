"""What 'alike' means: statistics, discrepancies, Siamese augmentation."""

from refluence.matching.characteristic import Characteristic, Waves, characteristic, frequencies
from refluence.matching.discrepancies import L1, Discrepancy, FlatCosine, RowCosine, Squared
from refluence.matching.features import embedding, mean_statistic, row_scores
from refluence.matching.kernel import MMD, RBF, linear, median_bandwidth
from refluence.matching.statistics import Measured, Statistic

__all__ = [
    "L1",
    "MMD",
    "RBF",
    "Characteristic",
    "Discrepancy",
    "FlatCosine",
    "Measured",
    "RowCosine",
    "Squared",
    "Statistic",
    "Waves",
    "characteristic",
    "embedding",
    "frequencies",
    "linear",
    "mean_statistic",
    "median_bandwidth",
    "row_scores",
]
