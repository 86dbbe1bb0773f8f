"""A new last layer for a network that was trained on other classes: multinomial regression on its features, all else fixed.

    f_i = features(x_i), computed once;   z_i = (f_i - m) / s, m and s over the training rows
    min_{W, b} (1/N) sum_i CE(W z_i + b, y_i),   then W / s and b - (W / s) m take f_i itself

AdamW from zero through the shared loop, 30 epochs and at least 500 steps, the rate rising for a fifth of them and falling to 0
(ours). Everything random is the order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.models.pretrained import set_head, zero_head
from refluence.models.renormalised import Renormalised
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.optimisers import make
from refluence.training.predict import evaluating, predict
from refluence.training.schedules import triangle

EPOCHS, LEAST, BATCH, LR, DECAY, RISE = 30, 500, 64, 3e-3, 1e-2, 0.2  # LEAST: steps
CHUNK = 64  # images whose features are computed at once


def fit_head(net: Renormalised, dataset: Dataset, rng: Rng, device: torch.device | str = "cpu") -> Renormalised:
    """Train the last layer of a loaded network on the training rows, in place.

    Args:
        net: a network of `models.pretrained`, for images as the dataset normalises them.
        dataset: its labelled training rows are read.
        rng: gives the order of the rows.
        device: where the features are computed.

    Returns:
        The network, in evaluation mode, on the CPU.
    """
    train = dataset.train
    with evaluating(net.to(device)):
        fetch = lambda part: dataset.pixels(train, part, device)  # noqa: E731
        features = predict(net.features, fetch, len(train), CHUNK, device=device).cpu()
    set_head(net.cpu(), linear_head(features, train.labels, len(dataset.classes), rng))
    return net.eval()


def linear_head(features: Tensor, labels: Tensor, classes: int, rng: Rng) -> nn.Linear:
    """The linear layer from features `(N, F)` to logits `(N, classes)` that was trained on `labels (N,)`."""
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    z, head = (features - mean) / std, zero_head(features.shape[1], classes)
    size = min(BATCH, len(z))
    each = -(-len(z) // size)
    epochs = max(EPOCHS, -(-LEAST // each))

    def batches() -> Iterator[Batch[Tensor]]:
        for epoch in range(epochs):
            for rows in torch.randperm(len(z), generator=rng("head-order", epoch)).split(size):
                yield Batch(z[rows], labels[rows])

    optimiser = make(head, "adamw", LR, weight_decay=DECAY)
    fit(head, optimiser, batches(), Objective("ce"), schedule=lambda step: LR * triangle(step + 1, epochs * each, RISE))
    with torch.no_grad():
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
    return head
