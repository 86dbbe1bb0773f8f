"""Tiny real sets that a network can learn, and generators by purpose and index."""

import hashlib
from dataclasses import replace

import torch

from refluence.data.dataset import Dataset, Split
from refluence.models import ModelSpec

MEAN, STD = (0.5,), (0.25,)  # of the problem's pixels


def tiny_dataset(sizes=(23, 14, 9), shape=(3, 8, 8), seed=0) -> Dataset:
    """Classes of unequal size, each with a pattern of its own; train is validation and test too."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    patterns = torch.randint(0, 200, (len(sizes), *shape), generator=g)
    images = (patterns[labels] + torch.randint(0, 56, (len(labels), *shape), generator=g)).to(torch.uint8)
    order = torch.randperm(len(labels), generator=g)
    split = Split(images[order], labels[order], torch.arange(len(labels)))
    pixels = images.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    names = tuple(f"class {c}" for c in range(len(sizes)))
    return Dataset("tiny", names, split, split, split, tuple(mean.tolist()), tuple(std.tolist()))


def split(dataset: Dataset, step: int = 4) -> Dataset:
    """Every fourth instance is validation data; rows stay those of the whole."""
    whole, held = dataset.train, torch.arange(len(dataset.train)) % step == 0
    parts = [Split(whole.images[m], whole.labels[m], whole.rows[m]) for m in (~held, held)]
    return replace(dataset, train=parts[0], val=parts[1])


def tiny_problem() -> tuple[torch.Tensor, torch.Tensor, Split, ModelSpec]:
    """Three classes of 8 x 8 grey images with another third bright: images, normalised; labels; a held-out split; a model."""
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 120, (60, 1, 8, 8), generator=rng("problem", 0))
    for i, label in enumerate(labels.tolist()):
        noise[i, :, :, label * 3 : label * 3 + 2] += 120
    split = Split(noise[30:].to(torch.uint8), labels[30:], torch.arange(30))
    images = (noise[:30].float() / 255 - MEAN[0]) / STD[0]
    return images, labels[:30], split, ModelSpec("convnet1", (1, 8, 8), 3, 8)


def rng(purpose: str, index: int) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
