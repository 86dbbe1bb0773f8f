"""Which instances matter: directional derivatives, distillation influence, weights."""

from refluence.influence.capture import Capture, capture
from refluence.influence.directional import directional, scores
from refluence.influence.layers import Unsupported
from refluence.influence.weighting import (
    KINDS,
    Weighting,
    effective_sample_size,
    parse_weighting,
    shuffle,
    softmax_weights,
    standardise,
    tau_for_share,
    weights,
)

__all__ = [
    "KINDS",
    "Capture",
    "Unsupported",
    "Weighting",
    "capture",
    "directional",
    "effective_sample_size",
    "parse_weighting",
    "scores",
    "shuffle",
    "softmax_weights",
    "standardise",
    "tau_for_share",
    "weights",
]
