"""What a small set is like beside real images, by the features phi of one network (IGD, ICLR 2025, A.8, Figs. 1 and 3).

    Fréchet distance, coverage, Wasserstein distance     frechet.py, coverage.py, wasserstein.py
    mean influence energy G_I (eq. 7)                    measured by the caller, at the checkpoints of a surrogate
    redundancy                                           redundancy.py
    points of the plane                                  projection.py

None of these is accuracy: in the source random images have the lowest Fréchet distance and the highest coverage, and train the
worst networks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.evaluate.coverage import Coverage, coverage
from refluence.evaluate.frechet import frechet
from refluence.evaluate.projection import project
from refluence.evaluate.redundancy import mean_off_diagonal
from refluence.evaluate.wasserstein import wasserstein
from refluence.files import Json

POINTS = 500
"""Images of the set, and as many real ones, that are drawn as points."""


@dataclass(frozen=True)
class Features:
    """Images as a network embeds them.

    Args:
        small: features `(m, F)` of the set.
        labels: its classes `(m,)`.
        real: features `(n, F)` of real images.
        real_labels: their classes `(n,)`.
        own: `(n,)` bool: the real images that the set holds itself (`coverage.held`).
    """

    small: Tensor
    labels: Tensor
    real: Tensor
    real_labels: Tensor
    own: Tensor

    def __post_init__(self) -> None:
        for name, rows, beside in (("small", self.small, self.labels), ("real", self.real, self.real_labels)):
            if rows.ndim != 2 or len(rows) < 2 or len(rows) != len(beside):
                raise InputError(f"{name}: features (n, F) of at least two images with n labels, got {tuple(rows.shape)}")


@dataclass(frozen=True)
class Points:
    """Coordinates in the plane and classes of images."""

    at: tuple[tuple[float, float], ...] = field(repr=False)
    labels: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Quality:
    """Numbers of a set beside real images.

    `coverage` and `redundancy` are in percent; `threshold` is the distance within which a real image is covered, `own` real
    images were left out of it, of `real` in all. `influence` is the mean energy G_I, the lower the more the images train as
    their class does, `influence_by_class` that of each class; None without a surrogate. `redundancy` is None for one image a
    class.
    """

    frechet: float
    coverage: float
    wasserstein: float
    threshold: float
    real: int
    own: int
    influence: float | None = None
    influence_by_class: tuple[float | None, ...] = ()
    redundancy: float | None = None
    matrix: tuple[tuple[float, ...], ...] = ()
    points: Points | None = field(default=None, repr=False)
    real_points: Points | None = field(default=None, repr=False)

    def to_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def quality(
    features: Features,
    energies: Tensor | None = None,
    matrix: Tensor | None = None,
    *,
    classes: int,
    seed: int = 0,
    threshold: float | None = None,
) -> Quality:
    """Everything that is said of a set.

    Args:
        features: of the set and of real images, by the same network.
        energies: the influence energy `(m,)` of each image of the set.
        matrix: `(P, P)`, of `redundancy`.
        classes: how many there are.
        seed: of the points of the plane.
        threshold: the distance of features within which a real image is covered (None: `coverage.spacing`).

    Raises:
        InputError: fewer than two images, or POT is not installed.

    Example:
        >>> import torch
        >>> rows, labels = torch.eye(4), torch.tensor([0, 1, 0, 1])
        >>> found = quality(Features(rows, labels, rows, labels, torch.zeros(4, dtype=torch.bool)), classes=2)
        >>> found.coverage, found.wasserstein, found.influence
        (100.0, 0.0, None)
    """
    covered: Coverage = coverage(features.real, features.small, features.own, threshold)
    points, real_points = _points(features, seed)
    return Quality(
        frechet=frechet(features.small, features.real),
        coverage=100 * covered.share,
        wasserstein=wasserstein(features.small, features.real),
        threshold=covered.threshold,
        real=len(features.real),
        own=covered.own,
        influence=None if energies is None else float(energies.double().mean()),
        influence_by_class=() if energies is None else _by_class(energies, features.labels, classes),
        redundancy=None if matrix is None else mean_off_diagonal(matrix),
        matrix=() if matrix is None else tuple(tuple(row) for row in matrix.tolist()),
        points=points,
        real_points=real_points,
    )


def _by_class(energies: Tensor, labels: Tensor, classes: int) -> tuple[float | None, ...]:
    of_class = [energies[labels == label].double() for label in range(classes)]
    return tuple(float(each.mean()) if len(each) else None for each in of_class)


def _points(features: Features, seed: int) -> tuple[Points, Points]:
    """Points of the first images of the set, spread over it, and of the first real ones."""
    spread = torch.linspace(0, len(features.small) - 1, min(POINTS, len(features.small))).long()
    labels, real_labels = features.labels[spread], features.real_labels[:POINTS]
    small, real = project(features.small[spread], features.real[:POINTS], seed)
    return _rounded(small, labels), _rounded(real, real_labels)


def _rounded(points: Tensor, labels: Tensor) -> Points:
    return Points(tuple((round(x, 2), round(y, 2)) for x, y in points.tolist()), tuple(labels.tolist()))
