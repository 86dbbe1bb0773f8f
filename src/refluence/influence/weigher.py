"""Weights over the course of a run: from the scores of a batch, step by step, to the weights of its instances.

    r_j    <- running mean of standardise(I_j) over the visits of j                    what an instance is known by
    s      =  memory r + (1 - memory) standardise(I);  r where this step measures nothing (refresh)
    omega  =  link(sign s), in the bag: a class of the batch, the batch, or everything seen so far
    omega  ~  omega_before^carry omega                                                 mirror ascent, see `carried`
    omega  =  1 while the weights warm up

A `Weigher` knows instances by their position in the training split and nothing else of them: scores may come from images,
logits or latents, of any loss. It holds the running means; what it does to one bag are functions. Standardising in the bag,
the running means of standardised scores, memory, warm-up and carry are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.influence.links import standardise
from refluence.influence.running import RunningInfluence
from refluence.influence.weighting import Weighting, weights


class Weigher:
    """Turns scores into weights, visit after visit; its state is the table of running means.

    Example:
        >>> import torch
        >>> from refluence.influence import RunningInfluence, Weigher, Weighting
        >>> weigher = Weigher(Weighting("influence", tau=0.5, refresh=2), RunningInfluence(100), steps=10)
        >>> positions, scores = torch.arange(8), torch.linspace(-1, 1, 8)
        >>> weigher.measures(0), weigher.measures(1)
        (True, False)
        >>> omega = weigher.weigh(positions, scores, 0, torch.Generator())
        >>> omega.shape, int(omega.argmax()), round(float(omega.mean()), 4)
        (torch.Size([8]), 7, 1.0)
        >>> later = weigher.weigh(positions, None, 1, torch.Generator())  # from the running means
        >>> bool(torch.allclose(later.float(), omega, rtol=1e-4))
        True
    """

    def __init__(self, weighting: Weighting, table: RunningInfluence, steps: int = 0):
        """Weights by `weighting` over a run.

        Args:
            weighting: the kind of weights and their options.
            table: the running means of every instance of the training split; this object goes on writing into it.
            steps: how many steps the run has, of which `weighting.warmup` is a share.
        """
        self.weighting, self.table = weighting, table
        self.begin = weighting.warmup * steps

    def measures(self, step: int) -> bool:
        """Whether scores are measured at this step (`refresh`); else `weigh` takes none and reads the running means."""
        return self.weighting.scored and step % self.weighting.refresh == 0

    def weigh(
        self,
        positions: Tensor,
        scores: Tensor | None,
        step: int,
        generator: torch.Generator,
        labels: Tensor | None = None,
    ) -> Tensor | None:
        """The weights omega of one batch; a weighted mean is (1/n) sum_j omega_j x_j.

        Args:
            positions: `(n,)` of its instances in the training split, all different.
            scores: `(n,)` dM/dw_j of each (the losses for kind "loss", minus the gradient norms for "difficulty"), or None.
            step: the number of the step, from 0.
            generator: what the kinds "shuffled" and "random" draw from.
            labels: `(n,)`, the bag of each where `bag="class"`; None: the batch is of one class.

        Returns:
            omega `(n,)` on the CPU, or None where all weigh the same: uniform weights, or weights that warm up.

        Raises:
            InputError: positions, scores or labels that differ in number, or scores that are not finite.
        """
        if not self.weighting.scored:
            return None
        for name, t in (("scores", scores), ("labels", labels)):
            if t is not None and t.shape != positions.shape:
                raise InputError(f"{name} must have the shape of positions {tuple(positions.shape)}, got {tuple(t.shape)}")
        positions, scores = positions.cpu(), None if scores is None else scores.detach().cpu()
        if labels is None or self.weighting.bag != "class":
            return self._bag(positions, scores, step, generator)
        labels = labels.cpu()
        bags = [(labels == label).nonzero().flatten() for label in labels.unique()]
        parts = [self._bag(positions[bag], None if scores is None else scores[bag], step, generator) for bag in bags]
        weighed = [omega for omega in parts if omega is not None]
        return torch.cat(weighed)[torch.cat(bags).argsort()] if weighed else None

    def _bag(self, positions: Tensor, scores: Tensor | None, step: int, generator: torch.Generator) -> Tensor | None:
        weighting, table = self.weighting, self.table
        if scores is not None:
            table.add(positions, scores, standardise(scores, weighting.standardise))
        if step < self.begin:
            return None
        if weighting.bag == "all":
            seen = table.visits > 0
            every = torch.ones(len(seen), dtype=torch.float64)
            every[seen] = weights(table.standardised[seen], weighting, generator)
            return every[positions]
        scores = blended(scores, table.standardised[positions], weighting)
        if not weighting.carry:
            return weights(scores, weighting, generator)
        omega, table.log[positions] = carried(scores, weighting, table.log[positions], generator)
        return omega

    def state(self) -> dict[str, Tensor]:
        """Tensors that restore the running means and the carried weights bit for bit."""
        return self.table.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.table.restore(state)


def blended(scores: Tensor | None, running: Tensor, weighting: Weighting) -> Tensor:
    """What one bag is weighted by `(n,)`: new scores, the running means where there are none, or with `memory` both."""
    if scores is None:
        return running
    memory = weighting.memory
    return memory * running.to(scores) + (1 - memory) * standardise(scores, weighting.standardise) if memory else scores


def carried(scores: Tensor, weighting: Weighting, before: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror ascent on the simplex, w ~ w_before^rho exp(sign I / tau): omega and log omega, before any shuffling `(n,)`.

    The step of the exponentiated gradient (Kivinen and Warmuth 1997) for max_w <w, I> - tau KL(w | w_before^rho); ours here.
    """
    plain = weights(scores, weighting.with_(kind="influence" if weighting.kind in ("shuffled", "random") else weighting.kind))
    log = weighting.carry * before.to(plain) + plain.clamp_min(torch.finfo(plain.dtype).tiny).log()
    log = log - log.logsumexp(0) + math.log(len(log))
    omega = log.exp()
    if weighting.kind in ("shuffled", "random"):
        omega = weighting.control(omega, generator)
    return omega, log.double()
