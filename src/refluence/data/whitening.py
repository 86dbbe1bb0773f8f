"""ZCA whitening: x' = (x - mu) U (S + r)^(-1/2) U^T, with U S U^T the covariance of the training pixels about their mean mu.

    mtt     x in [0, 1], r = .1                    MTT (arXiv 2203.11932, its code; DATM the same)
    frepo   x normalised, r = .1 trace(S) / d      FRePo (arXiv 2206.00719, its code): a tenth of the mean eigenvalue

Both in the d = C H W pixels of an image. Fitted on `Dataset.train`, so on no validation or test image. Here both are an affine
map of normalised images, which is what every network gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from refluence.data.dataset import Dataset

KINDS = ("mtt", "frepo")
REGULARISER = 0.1
LARGEST = 32  # side; MTT's code whitens nothing larger, and d^2 numbers are kept
CHUNK = 4096


@dataclass(frozen=True)
class Whitening:
    """Normalised images `(B, C, H, W)` to whitened ones: flattened, times `matrix` `(d, d)`, plus `offset` `(d,)`."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The whitened images, of the same shape."""
        return torch.addmm(self.offset, x.flatten(1), self.matrix).view_as(x)

    def to(self, device: str | torch.device) -> Whitening:
        """The same on a device."""
        return Whitening(self.matrix.to(device), self.offset.to(device))


def whitens(kind: str, shape: tuple[int, int, int]) -> bool:
    """Whether images of this shape `(C, H, W)` are whitened: colour, of up to 32 pixels a side, as in MTT's code.

    FRePo's whitens larger ones too (docs/protocols.md).
    """
    return bool(kind) and shape[0] == 3 and max(shape[1:]) <= LARGEST


def whitening(kind: str, dataset: Dataset) -> Whitening | None:
    """The map of a kind for images normalised by `dataset.mean` and `std`; None where nothing is whitened."""
    return _fitted(kind, dataset) if whitens(kind, dataset.shape) else None


@lru_cache(maxsize=len(KINDS))
def _fitted(kind: str, dataset: Dataset) -> Whitening:
    """Kept, as it takes half a minute or so at 32 pixels."""
    mean, covariance = _moments(dataset)
    scale = torch.tensor(dataset.std).double().repeat_interleave(dataset.shape[1] * dataset.shape[2])
    if kind == "mtt":  # pixel = image * std + mean of its channel: the offset cancels
        covariance = scale[:, None] * covariance * scale
    values, vectors = torch.linalg.eigh(covariance)
    ridge = REGULARISER * (1.0 if kind == "mtt" else float(values.mean()))
    matrix = (vectors * (values.clamp(min=0) + ridge).rsqrt()) @ vectors.T
    if kind == "mtt":
        matrix = scale[:, None] * matrix
    return Whitening(matrix.float(), -(mean @ matrix).float())


def _moments(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Mean `(d,)` and (population) covariance `(d, d)` of the normalised training images, float64."""
    train, d = dataset.train, dataset.train.images[0].numel()
    total, square = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for start in range(0, len(train), CHUNK):
        x = dataset.pixels(train, slice(start, start + CHUNK)).flatten(1)
        total += x.sum(0, dtype=torch.float64)
        square += (x.T @ x).double()
    mean = total / len(train)
    return mean, square / len(train) - mean.outer(mean)
