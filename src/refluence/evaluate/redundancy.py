"""What a part of a small set says of another part: train on one tenth, judge on each of the others.

    A_ij = accuracy on part j of a network trained on part i,      redundancy = mean of A_ij over i != j

The higher, the more alike the parts: each says of the classes what another one says already. The j-th image of every class is
in part j mod P, so that every part has all classes. P is ten, or as many as the smallest class has images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from refluence.data.distilled import DistilledSet, decoded
from refluence.data.whitening import Whitening
from refluence.errors import InputError
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.train import Compiled, train
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.predict import evaluating, predict

PARTS = 10
CHUNK = 256


def parts(labels: Tensor, most: int = PARTS) -> list[Tensor]:
    """Positions of the images of each part; a single part where a class has one image.

    Example:
        >>> import torch
        >>> [part.tolist() for part in parts(torch.tensor([0, 0, 0, 1, 1]))]
        [[0, 2, 3], [1, 4]]
    """
    number = torch.empty_like(labels)
    counts = []
    for label in labels.unique().tolist():
        at = (labels == label).nonzero().flatten()
        number[at] = torch.arange(len(at))
        counts.append(len(at))
    count = min(most, *counts)
    return [(number % count == part).nonzero().flatten() for part in range(count)]


def mean_off_diagonal(matrix: Tensor) -> float:
    """The mean of a square matrix without its diagonal.

    Example:
        >>> import torch
        >>> mean_off_diagonal(torch.tensor([[9.0, 1.0], [3.0, 9.0]]))
        2.0
    """
    return float(matrix[~torch.eye(len(matrix), dtype=torch.bool)].mean())


def redundancy(
    small: DistilledSet,
    spec: ModelSpec,
    protocol: Protocol,
    rng: Rng,
    device: str | torch.device = "cpu",
    *,
    compiled: Compiled = lambda net: net,
    whitened: Whitening | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Tensor:
    """The matrix A `(P, P)` in percent, a network a row; the diagonal is accuracy on what was trained on.

    Args:
        small: the set; where it has soft labels, `protocol` says whether they are trained on.
        spec: the network.
        protocol: how it is trained on a part.
        rng: `rng(purpose, index)` gives CPU generators.
        device: where.
        compiled: what is called of the network.
        whitened: what images are seen through, as `evaluate` takes it.
        progress: called after each network.

    Raises:
        InputError: a set with a single image of a class.
    """
    whole = decoded(small)
    split = parts(whole.labels)
    if len(split) < 2:
        raise InputError("redundancy needs two images of each class, to train on one and judge on the other")
    labels = whole.soft if protocol.soft and whole.soft is not None else whole.labels
    images = whole.images if whitened is None else whitened(whole.images)

    def own(purpose: str, index: int = 0, /) -> torch.Generator:
        return rng(f"redundancy/{purpose}", index)

    rows = []
    for index, part in enumerate(split):
        net, _ = train(
            images[part], labels[part], spec, protocol, own, index, device, pixels=(small.mean, small.std), compiled=compiled
        )
        right = _called(net, images, device) == whole.labels
        rows.append(torch.stack([100 * right[other].double().mean() for other in split]))
        progress()
    return torch.stack(rows)


def _called(net: nn.Module, images: Tensor, device: str | torch.device) -> Tensor:
    """The class `(M,)` that a network calls each image."""
    with evaluating(net):
        return predict(lambda x: net(x).argmax(1).cpu(), lambda at: images[at].to(device), len(images), CHUNK, device=device)
