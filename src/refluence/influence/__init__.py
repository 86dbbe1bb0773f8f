"""Which instances matter: directional derivatives, distillation influence, weights."""

from refluence.influence.bags import bag_weights
from refluence.influence.capture import Capture, capture
from refluence.influence.controls import random_weights, shuffle
from refluence.influence.curvature import CURVATURES, Curvature, Operator, Solution, inverse_product, operator
from refluence.influence.directional import Scorer, directional, scores
from refluence.influence.distillation import Pair, RunningInfluence, combined, distillation_influence, match
from refluence.influence.layers import Unsupported
from refluence.influence.links import (
    LINKS,
    effective_sample_size,
    entropy,
    exp_weights,
    prune_weights,
    relu_weights,
    sigmoid_weights,
    softmax_weights,
    standardise,
    tau_for_share,
    top_weights,
)
from refluence.influence.losses import CrossEntropy, DistillationLoss, SquaredError, cross_entropy
from refluence.influence.risk import risk_gradient
from refluence.influence.solvers import IndefiniteError
from refluence.influence.statistic import Gradients, Means, Samples
from refluence.influence.tracin import tracin
from refluence.influence.trajectory import Trajectory, sgd
from refluence.influence.unrolled import unrolled_influence
from refluence.influence.validation import ValidationInfluence, self_influence, validation_influence
from refluence.influence.weigher import Weigher
from refluence.influence.weighting import KINDS, Weighting, parse_weighting, weights

__all__ = [
    "CURVATURES",
    "KINDS",
    "LINKS",
    "Capture",
    "CrossEntropy",
    "Curvature",
    "DistillationLoss",
    "Gradients",
    "IndefiniteError",
    "Means",
    "Operator",
    "Pair",
    "RunningInfluence",
    "Samples",
    "Scorer",
    "Solution",
    "SquaredError",
    "Trajectory",
    "Unsupported",
    "ValidationInfluence",
    "Weigher",
    "Weighting",
    "bag_weights",
    "capture",
    "combined",
    "cross_entropy",
    "directional",
    "distillation_influence",
    "effective_sample_size",
    "entropy",
    "exp_weights",
    "inverse_product",
    "match",
    "operator",
    "parse_weighting",
    "prune_weights",
    "random_weights",
    "relu_weights",
    "risk_gradient",
    "scores",
    "self_influence",
    "sgd",
    "shuffle",
    "sigmoid_weights",
    "softmax_weights",
    "standardise",
    "tau_for_share",
    "top_weights",
    "tracin",
    "unrolled_influence",
    "validation_influence",
    "weights",
]
