"""Controls of weighting: the same unevenness on instances that have not earned it.

    shuffled   the weights permuted in their bag: the same set of numbers
    random     omega_j = mean(omega) * n softmax(r / tau), r ~ N(0, 1), tau such that the entropy (or the effective sample
               size) is that of the given weights: as uneven, but of another shape

A gain that these show too is a gain of unevenness, not of influence. Both are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.influence.links import effective_sample_size, entropy, one_of, softmax_weights, tau_where

MATCHES = {"entropy": entropy, "ess": effective_sample_size}


def shuffle(omega: Tensor, generator: torch.Generator) -> Tensor:
    """The same weights `(n,)` in an order drawn from `generator` (CPU)."""
    order = torch.randperm(omega.numel(), generator=generator, device=generator.device)
    return omega[order.to(omega.device)]


def random_weights(omega: Tensor, generator: torch.Generator, match: str = "entropy") -> Tensor:
    """Weights `(n,)` of normal scores drawn from `generator`, with the mean of `omega` and its entropy (match="ess": ESS).

    Both grow with tau, so tau is found by bisection. Weights that are all equal come back as they are.
    """
    one_of("match", match, MATCHES)
    scores = torch.randn(omega.numel(), generator=generator, device=generator.device, dtype=torch.float64).cpu()
    if omega.max() == omega.min():
        return omega.clone()
    measure = MATCHES[match]
    drawn = softmax_weights(scores, tau_where(measure, measure(omega), scores))
    return (drawn * omega.cpu().double().mean()).to(omega)
