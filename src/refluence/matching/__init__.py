"""What 'alike' means: statistics, discrepancies, Siamese augmentation."""

from refluence.matching.characteristic import Characteristic, characteristic, frequencies
from refluence.matching.discrepancies import L1, Discrepancy, FlatCosine, RowCosine, Squared
from refluence.matching.features import embedding, mean_statistic, row_scores
from refluence.matching.kernel import MMD, RBF, linear, median_bandwidth

__all__ = [
    "L1",
    "MMD",
    "RBF",
    "Characteristic",
    "Discrepancy",
    "FlatCosine",
    "RowCosine",
    "Squared",
    "characteristic",
    "embedding",
    "frequencies",
    "linear",
    "mean_statistic",
    "median_bandwidth",
    "row_scores",
]
