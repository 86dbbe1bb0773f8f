"""ZCA whitening against a singular value decomposition in float64, and what it is for."""

import pytest
import torch

from refluence.data.dataset import Dataset, Split
from refluence.data.whitening import LARGEST, whitening, whitens

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def dataset(count=300, channels=3, size=(4, 3)) -> Dataset:
    """Pixels that hang together: each is the one before and some noise."""
    steps = torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(3)).flatten(1).cumsum(1)
    images = (128 + 12 * steps.view(count, channels, *size)).clamp(0, 255).to(torch.uint8)
    split = Split(images, torch.arange(count) % 2, torch.arange(count))
    return Dataset("walk", ("a", "b"), split, split.first(9), split.first(5), MEAN[:channels], STD[:channels])


def literal(kind: str, data: Dataset, images: torch.Tensor) -> torch.Tensor:
    """As the sources' code has it: MTT's on [0, 1] pixels, FRePo's on normalised ones."""
    x, seen = (s.double().flatten(1) / 255 for s in (data.train.images, images))
    if kind == "frepo":
        mean, std = (torch.tensor(v).double().repeat_interleave(12) for v in (data.mean, data.std))
        x, seen = (x - mean) / std, (seen - mean) / std
    mu = x.mean(0)
    covariance = (x - mu).T @ (x - mu) / len(x)
    ridge = 0.1 if kind == "mtt" else 0.1 * float(covariance.trace()) / 36
    u, s, _ = torch.linalg.svd(covariance + ridge * torch.eye(36))
    return ((seen - mu) @ (u * s.rsqrt()) @ u.T).view(len(images), 3, 4, 3)


@pytest.mark.parametrize("kind", ["mtt", "frepo"])
@pytest.mark.parametrize("norm", [(MEAN, STD), ((0.1, 0.2, 0.3), (1.0, 0.5, 0.7))])
def test_equals_the_sources_formula(kind, norm):
    data = dataset().normalised_as(*norm)
    found = whitening(kind, data)(data.pixels(data.test))
    torch.testing.assert_close(found.double(), literal(kind, data, data.test.images), rtol=1e-4, atol=1e-4)


def test_whitened_pixels_hang_together_less():
    data = dataset()
    x = data.pixels(data.train)
    before, after = (torch.corrcoef(images.flatten(1).T).abs() for images in (x, whitening("frepo", data)(x)))
    off = ~torch.eye(36, dtype=torch.bool)
    assert after[off].mean() < before[off].mean() / 3


def test_is_fitted_on_the_training_split_alone_and_kept():
    data = dataset()
    other = Dataset(data.source, data.classes, data.train, data.test, data.val, MEAN, STD)
    assert torch.equal(whitening("mtt", data).matrix, whitening("mtt", other).matrix)
    kept = whitening("mtt", data)
    for kind in ("", "frepo", ""):
        whitening(kind, data)
    assert whitening("mtt", data) is kept


def test_grey_and_large_images_are_left_as_they_are():
    assert whitens("mtt", (3, LARGEST, LARGEST))
    assert not whitens("mtt", (3, LARGEST, LARGEST + 1))
    assert not whitens("mtt", (1, 8, 8))
    assert not whitens("", (3, 8, 8))
    assert whitening("frepo", dataset(channels=1)) is None
