"""What the card of a sampled set says of its images: how they train, and how redundant they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from refluence.errors import option
from refluence.files import Json
from refluence.generate.influence import InfluenceEnergy

CHUNK = 50  # images at a time
STILL = 1e-4  # of its norm: an image that a guided step moves by less is not guided to be seen


def influence_facts(
    energy: InfluenceEnergy, images: Tensor, labels: Tensor, classes: Sequence[str], device: torch.device
) -> Json:
    """The mean G_I (IGD eq. 7; lower is better) of images `(N, C, H, W)`, normalised as the surrogate's, and of each class."""
    parts = zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
    values = torch.cat([energy.energy(x.to(device), y.to(device)).cpu() for x, y in parts])
    by_class = {name: float(values[labels == c].mean()) for c, name in enumerate(classes) if c in labels}
    return {"mean": float(values.mean()), "by_class": by_class}


def redundancy_facts(pixels: Tensor, labels: Tensor, classes: Sequence[str]) -> Json:
    """How redundant images `(N, C, H, W)` of pixels from 0 to 1 are: the highest cosine with another image of the class, of
    pixels from -1 to 1. `nearest` is the mean of the images, None without two of a class; `nearest_by_class` of each class.

    Example:
        >>> pixels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).view(4, 1, 1, 2)
        >>> round(redundancy_facts(pixels, torch.tensor([0, 0, 0, 1]), ("a", "b"))["nearest_by_class"]["a"], 3)
        0.667
    """
    highest = {}
    for label in labels.unique().tolist():
        unit = normalize((2 * pixels[labels == label] - 1).flatten(1), dim=1)
        if len(unit) > 1:
            highest[classes[label]] = (unit @ unit.T).fill_diagonal_(-torch.inf).amax(1)
    mean = float(torch.cat(list(highest.values())).mean()) if highest else None
    return {"nearest": mean, "nearest_by_class": {name: float(found.mean()) for name, found in highest.items()}}


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images `(N, C, H, W)` of pixels from 0 to 1."""
    return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def warn_where_still(moves: Mapping[str, Sequence[float]]) -> None:
    """Say so where guidance by "influence" or "deviation" moved images by next to nothing, and what would change it.

    `moves`: by how much of their norm it did, at a guided step, for each batch.
    """
    larger = {"influence": f"{option('k')} or {option('kappa')}", "deviation": f"{option('gamma')} (or more images a class)"}
    for what, shares in moves.items():
        if shares and (moved := sum(shares) / len(shares)) < STILL:
            warnings.warn(
                f"guidance by {what} moved images by {moved:.1e} of their norm a guided step, which is next to nothing: "
                f"a larger {larger[what]}, or another {option('range')}, would change it",
                stacklevel=2,
            )
