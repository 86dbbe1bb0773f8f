"""Which instances matter: directional derivatives, distillation influence, weights."""

from refluence.influence.capture import Capture, capture
from refluence.influence.directional import directional, scores
from refluence.influence.layers import Unsupported
from refluence.influence.losses import CrossEntropy, Distillation, SquaredError, cross_entropy
from refluence.influence.risk import risk_gradient
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
    "CrossEntropy",
    "Distillation",
    "SquaredError",
    "Unsupported",
    "Weighting",
    "capture",
    "cross_entropy",
    "directional",
    "effective_sample_size",
    "parse_weighting",
    "risk_gradient",
    "scores",
    "shuffle",
    "softmax_weights",
    "standardise",
    "tau_for_share",
    "weights",
]
