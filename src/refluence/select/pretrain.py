"""Networks trained on the real training set, for selections that need an embedding or losses.

Settings are ours: the ConvNet of the run, SGD .01, momentum .9, weight decay 5e-4, 500 steps of 128 images, no augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.errors import InputError, RunError
from refluence.matching import embedding
from refluence.models import ModelSpec, build
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.predict import predict

STEPS, BATCH, LR, MOMENTUM, WEIGHT_DECAY = 500, 128, 0.01, 0.9, 5e-4
CHUNK_PIXELS = 2**18  # images at once x height x width when nothing is learned
STEPS_PER_NET = 100_003  # a prime above any number of steps: each (network, step) has a random stream of its own


def pretrain(
    dataset: Dataset,
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device,
    steps: int,
    purpose: str = "herding",
    index: int = 0,
) -> nn.Module:
    """A network after `steps` steps on random batches of the training split, in evaluation mode.

    Randomness: `rng(f"{purpose}-network", index)` for the weights, `rng(f"{purpose}-batch", …)` for each step's batch,
    `rng(f"{purpose}-training", index)` for what the network itself draws.
    """
    net, size = build(spec, rng(f"{purpose}-network", index), device), len(dataset.train)

    def batches() -> Iterator[Tensor]:
        for step in range(steps):
            generator = rng(f"{purpose}-batch", index * STEPS_PER_NET + step)
            yield torch.randint(size, (min(BATCH, size),), generator=generator)

    train(net, dataset, batches(), rng(f"{purpose}-training", index), device)
    return net.eval()


def train(
    net: nn.Module,
    dataset: Dataset,
    batches: Iterable[Tensor],
    generator: torch.Generator,
    device: str | torch.device,
    seen: Callable[[Tensor, Tensor], None] = lambda positions, logits: None,
) -> None:
    """SGD on mean cross-entropy, one step for each batch of training positions `(B,)`, in place.

    `generator` seeds what the network itself draws; `seen(positions, logits)` gets the logits `(B, classes)` of a batch before
    the network learns from it.
    """

    def read() -> Iterator[Batch[Tensor]]:
        for positions in batches:
            x = dataset.pixels(dataset.train, positions, device)
            yield Batch(x, dataset.train.labels[positions].to(device), rows=positions)

    def report(batch: Batch[Tensor], logits: Tensor, _: Tensor) -> None:
        assert batch.rows is not None
        seen(batch.rows, logits)

    optimiser = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    fit(net, optimiser, read(), Objective(), generator=generator, device=device, seen=report)


def outputs(function: Callable[[Tensor], Tensor], dataset: Dataset, positions: Tensor, device: str | torch.device) -> Tensor:
    """`function` of the training images at `positions` `(n,)`, chunk by chunk: `(n, F)` on the CPU."""
    if not len(positions):
        return torch.zeros(0, 1)
    chunk = max(1, CHUNK_PIXELS // (dataset.shape[1] * dataset.shape[2]))

    def fetch(part: slice) -> Tensor:
        return dataset.pixels(dataset.train, positions[part], device)

    return predict(lambda x: function(x).cpu(), fetch, len(positions), chunk, device=device)


def has_embedding(spec: ModelSpec) -> None:
    """`InputError` for a network without a last linear layer."""
    if not spec.width:
        raise InputError(
            f"{spec.name} has no last linear layer, and so no embedding, by which these images are chosen: random, el2n, loss "
            "and forgetting need none"
        )


def embed(net: nn.Module, dataset: Dataset, label: int, device: str | torch.device, name: str) -> tuple[Tensor, Tensor]:
    """The positions `(n,)` of a class and their embeddings `(n, F)` before the classifier.

    Raises `RunError`, in the name of the selection `name`, if the embedding is not finite.
    """
    members = dataset.train.members(label)
    features = outputs(lambda x: embedding(net, x)["features"], dataset, members, device)
    if not features.isfinite().all():
        raise RunError(f"{name}: the embedding of class '{dataset.classes[label]}' is not finite: pre-training diverged")
    return members, features
