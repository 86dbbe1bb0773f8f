"""Herding: of each class the images whose mean embedding follows the class mean (Welling 2009; iCaRL, arXiv 1611.07725).

Greedy, in the embedding psi of a network trained on the real training set, with mean mu of the class and sum s_k of the
k chosen so far:

    next = argmin over the not yet chosen of || (k + 1) mu - s_k - psi(x) ||

so that each choice brings the mean of the chosen as near to mu as one more image can. Settings of the network are ours:
the ConvNet of the run, SGD .01, momentum .9, weight decay 5e-4, 500 steps of 128 images; no augmentation. The order of
the choice is kept: the first k images are what herding would choose for k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.models import ModelSpec, build
from refluence.select.base import Selection

STEPS, BATCH, LR, MOMENTUM, WEIGHT_DECAY = 500, 128, 0.01, 0.9, 5e-4
CHUNK_PIXELS = 2**18  # images at once x height x width when embedding


def select(
    dataset: Dataset, counts: Sequence[int], spec: ModelSpec, rng, device: str = "cpu", steps: int | None = None
) -> LongTensor:
    """Positions in `dataset.train`; see `Selection`. `steps` are those of the network's training, 500 by default.

    Randomness: `rng("herding-network", 0)` for the weights, `rng("herding-batch", step)` for the batches. Raises
    `RunError` if the network's embedding is not finite.
    """
    net = pretrain(dataset, spec, rng, device, STEPS if steps is None else steps)
    chosen = []
    for label, count in enumerate(counts):
        members = dataset.train.members(label)
        features = embed(net, dataset, members, device)
        if not features.isfinite().all():
            raise RunError(f"herding: the embedding of class '{dataset.classes[label]}' is not finite: pre-training diverged")
        chosen.append(members[herd(features, count)])
    return torch.cat(chosen)


def herd(features: Tensor, count: int) -> LongTensor:
    """Positions of `count` rows of `features` `(N, F)`, or of all N if there are fewer, in the order of choice.

    ||t - psi||^2 is compared without its constant ||t||^2, in float64: one matrix-vector product a choice.
    """
    features = features.cpu().double()  # MPS has no float64
    mean, chosen_sum = features.mean(0), torch.zeros_like(features[0]) if len(features) else None
    score = features.square().sum(1)
    taken: list[int] = []
    for k in range(min(count, len(features))):
        distance = score - 2 * (features @ ((k + 1) * mean - chosen_sum))
        distance[taken] = torch.inf
        taken.append(int(distance.argmin()))
        chosen_sum = chosen_sum + features[taken[-1]]
    return torch.tensor(taken, dtype=torch.long)


def pretrain(dataset: Dataset, spec: ModelSpec, rng, device: str, steps: int) -> nn.Module:
    """The embedding network after `steps` steps on random batches of the training split, in evaluation mode."""
    net = build(spec, rng("herding-network", 0), device)
    optimiser = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    labels = dataset.train.labels
    for step in range(steps):
        batch = torch.randint(len(labels), (min(BATCH, len(labels)),), generator=rng("herding-batch", step))
        loss = F.cross_entropy(net(dataset.pixels(dataset.train, batch, device)), labels[batch].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return net.eval()


@torch.inference_mode()
def embed(net: nn.Module, dataset: Dataset, positions: Tensor, device: str) -> Tensor:
    """Embeddings `(n, F)` of training images before the classifier, on the CPU."""
    chunk = max(1, CHUNK_PIXELS // (dataset.shape[1] * dataset.shape[2]))
    parts = [net.features(dataset.pixels(dataset.train, p, device)).cpu() for p in positions.split(chunk) if len(p)]
    return torch.cat(parts) if parts else torch.zeros(0, 1)


METHOD = Selection("herding", "real images whose mean embedding follows the class mean", select, STEPS)
