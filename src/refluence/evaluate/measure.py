"""How well a network classifies a split: accuracy, balanced accuracy (mean recall), macro-F1 (mean F1), in percent.

With n_ij the number of instances of class i that are called j: accuracy = sum_i n_ii / n; recall_i = n_ii / n_i. ;
F1_i = 2 n_ii / (n_i. + n_.i). As in scikit-learn, recall is averaged over the classes that the split has, and F1 over
those that it has or that the network names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.data.dataset import Split, unit
from refluence.errors import InputError
from refluence.training import predict as chunks

Called = Callable[[nn.Module], Callable[[Tensor], Tensor]]
"""A network to what is called in its place: compiled, perhaps, or behind a whitening."""
CHUNK_PIXELS = 2**18  # images at once x height x width: 256 images of 32 x 32


@dataclass(frozen=True)
class Scores:
    """Percent of a split, 0 to 100."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class Worst:
    """The class that a network knows least of, and its accuracy on it in percent."""

    accuracy: float
    name: str


def predict(
    net: nn.Module,
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    device: str | torch.device = "cpu",
    compiled: Called = lambda net: net,
) -> Tensor:
    """Class `(N,)` with the largest logit, in evaluation mode, for every image of the split; the mode is put back.

    `mean` and `std` are per channel on [0, 1] pixels, as in `Dataset.pixels`. `compiled` makes what is called of the network;
    so that it meets one shape, the last chunk reaches back to be as long as the others.
    """
    centre, spread = (torch.as_tensor(value, dtype=torch.float32, device=device).view(-1, 1, 1) for value in (mean, std))
    chunk = max(1, CHUNK_PIXELS // (split.images.shape[-2] * split.images.shape[-1]))

    def fetch(part: slice) -> Tensor:
        return unit(split.images[part].to(device)).sub_(centre).div_(spread)

    with chunks.evaluating(net):
        called = compiled(net)
        return chunks.predict(lambda x: called(x).argmax(1), fetch, len(split), chunk, device=device, even=True)


def score(
    net: nn.Module,
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    device: str | torch.device = "cpu",
    compiled: Called = lambda net: net,
) -> Scores:
    """Scores of a network on a split, called as `compiled(net)`. Raises `InputError` for an empty split."""
    if not len(split):
        raise InputError("there is nothing to evaluate on: the split is empty")
    return from_predictions(split.labels, predict(net, split, mean, std, device, compiled).cpu())


def imbalance(labels: Tensor) -> float:
    """The imbalance ratio of labels `(N,)`: the largest class over the smallest one that has an instance."""
    counts = torch.bincount(labels)
    return float(counts.max() / counts[counts > 0].min())


def from_predictions(labels: Tensor, predicted: Tensor) -> Scores:
    """Scores from true and predicted classes, both `(N,)`."""
    classes = int(max(labels.max(), predicted.max())) + 1
    counts = torch.bincount(labels * classes + predicted, minlength=classes * classes).view(classes, classes).double()
    right, of_class, called = counts.diagonal(), counts.sum(1), counts.sum(0)
    present, seen = of_class > 0, of_class + called > 0
    return Scores(
        accuracy=100 * float(right.sum() / counts.sum()),
        balanced_accuracy=100 * float((right[present] / of_class[present]).mean()),
        macro_f1=100 * float((2 * right[seen] / (of_class + called)[seen]).mean()),
    )


def per_class(labels: Tensor, predicted: Tensor, classes: int) -> tuple[float | None, ...]:
    """The accuracy on the instances of each class (its recall), in percent; None of a class that the split has not.

    Args:
        labels: true classes `(N,)`.
        predicted: `(N,)` classes, or logits `(N, C)`.
        classes: how many there are.

    Example:
        >>> import torch
        >>> per_class(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3)
        (50.0, None, 100.0)
    """
    called = predicted.argmax(1) if predicted.is_floating_point() else predicted
    right = torch.bincount(labels[called == labels], minlength=classes).tolist()
    of_class = torch.bincount(labels, minlength=classes).tolist()
    return tuple(100 * r / n if n else None for r, n in zip(right, of_class, strict=True))


def worst_class(accuracies: Sequence[float | None], names: Sequence[str]) -> Worst:
    """The class that `per_class` finds the lowest accuracy of, the first of equal ones.

    Raises:
        InputError: no class has an instance.

    Example:
        >>> worst_class((50.0, None, 100.0), ("cat", "dog", "frog"))
        Worst(accuracy=50.0, name='cat')
    """
    known = [(accuracy, name) for accuracy, name in zip(accuracies, names, strict=True) if accuracy is not None]
    if not known:
        raise InputError("there is nothing to evaluate on: the split is empty")
    return Worst(*min(known, key=lambda one: one[0]))
