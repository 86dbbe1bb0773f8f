"""How unsure a classifier is of an image, as an energy: the guidance of UAG, with a denoiser that is not trained further.

    H(x)    = - sum over k of p_k log p_k,    p = softmax of the classifier at x
    eps'    = eps - lambda sqrt(1 - abar_t) grad_z H(D(z0_hat))              lambda = 10, for t <= 795 of 1000

As classifier guidance (arXiv 2105.05233, Algorithm 2) with H in the place of log p(y | x): samples become those of which the
classifier is less sure; a negative lambda makes them surer. Stated of UAG: the form, its sign, lambda, the steps, and that H is
summed over the batch. Ours: the classifier is the trained surrogate, the steps are meant by their
log-SNR, and the gradient goes back through the denoiser or, as an option, stops there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from refluence.generate.surrogate import Surrogate


class EntropyEnergy:
    """H of images, by a surrogate as it is after its training.

    Args:
        surrogate: the classifier.
        device: where it runs.
    """

    def __init__(self, surrogate: Surrogate, device: torch.device | str = "cpu"):
        self.net = surrogate.classifier(device).requires_grad_(False)

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """H `(B,)` of images `(B, C, H, W)`, normalised as the surrogate's, and its gradient by them, both detached; `y` is not
        looked at."""
        source = x.detach().requires_grad_()
        with torch.enable_grad():
            value = entropy(self.net(source))
            (slope,) = torch.autograd.grad(value.sum(), source)
        return value.detach(), slope


def entropy(logits: Tensor) -> Tensor:
    """H `(B,)` in nats of predictions `(B, K)`.

    Example:
        >>> round(float(entropy(torch.zeros(1, 4))), 4)  # log 4
        1.3863
    """
    logs = log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(1)
