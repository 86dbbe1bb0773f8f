"""The one training loop. For every batch of the caller's, in the caller's order:

    theta <- optimiser(theta, grad 1/B sum_i w_i l_i(theta); rate of the step)

A mixed batch (CutMix, MixUp) has two losses an image, in the shares of its two images, each with the weight of the image that
its label is of:

    l = r mean_i w_i l(z_i, y_i) + (1 - r) mean_i w_pi(i) l(z_i, y_pi(i))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, cast

import torch
from torch import Tensor, nn

from refluence.randomness import seeded
from refluence.training.objectives import Loss, T, mean_loss
from refluence.training.optimisers import Optimiser, set_rate

Inputs = Tensor | tuple[Tensor, ...]
"""What a network is called with: one tensor `(B, ...)`, or several."""


@dataclass(frozen=True)
class Batch(Generic[T]):
    """Inputs `x` `(B, ...)` as the network sees them, or several of these, and targets `y` as the loss takes them.

    `weights` `(B,)`: of each instance's loss; none: the plain mean. `rows` `(B,)`: which instances they are, for `seen`.
    `partner` `(B,)`: pi, the positions in the batch of the images that are mixed in; `share`: r, of the image itself.
    """

    x: Inputs
    y: T
    weights: Tensor | None = None
    rows: Tensor | None = None
    partner: Tensor | None = None
    share: float = 1.0


Seen = Callable[[Batch[T], Tensor, Tensor], None]
"""Gets a batch, its logits `(B, C)` and its mean loss, both without a graph."""


def fit(
    net: nn.Module,
    optimiser: Optimiser,
    batches: Iterable[Batch[T]],
    loss: Loss[T],
    *,
    schedule: Callable[[int], float] | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    seen: Seen[T] | None = None,
    stepped: Callable[[], None] | None = None,
) -> None:
    """One step of the optimiser for each batch, in place, in the mode (training or evaluation) in which the network is.

    The gradients of the last step stay on the parameters, as after any step of PyTorch.

    Args:
        net: gives logits of a batch's `x`.
        optimiser: of the network's parameters. It keeps its state, so that training can go on in another call.
        batches: read one at a time, each after the step before it.
        loss: `(logits, y)` to the losses `(B,)`.
        schedule: the learning rate of step 0, 1, … of this call; none: the optimiser's own.
        generator: seeds what the network itself draws (dropout) in this call; none: global state is left as it is.
        device: where the network draws.
        seen: called before each step.
        stepped: called after each step.

    Raises:
        InputError: losses or weights are not one number an instance.

    Example:
        >>> import torch
        >>> from refluence.training.objectives import Objective
        >>> net = torch.nn.Linear(2, 3)
        >>> batch = Batch(torch.eye(2), torch.tensor([0, 2]), weights=torch.tensor([1.5, 0.5]))
        >>> fit(net, torch.optim.SGD(net.parameters(), lr=1.0), [batch] * 50, Objective("ce"))
        >>> net(batch.x).argmax(1).tolist()
        [0, 2]
    """
    with nullcontext() if generator is None else seeded(generator, device):
        for number, batch in enumerate(batches):
            if schedule is not None:
                set_rate(optimiser, schedule(number))
            logits = net(*batch.x) if isinstance(batch.x, tuple) else net(batch.x)
            value = batch_loss(loss, logits, batch)
            if seen is not None:
                seen(batch, logits.detach(), value.detach())
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            if stepped is not None:
                stepped()


def batch_loss(loss: Loss[T], logits: Tensor, batch: Batch[T]) -> Tensor:
    """The weighted mean loss of a batch, mixed or not, from its logits `(B, C)`: a scalar."""
    own = mean_loss(loss, logits, batch.y, batch.weights)
    if batch.partner is None:
        return own
    weights = None if batch.weights is None else batch.weights[batch.partner]
    return batch.share * own + (1 - batch.share) * mean_loss(loss, logits, _taken(batch.y, batch.partner), weights)


def _taken(y: T, index: Tensor) -> T:
    return cast(T, y[index] if isinstance(y, Tensor) else tuple(part[index] for part in y))
