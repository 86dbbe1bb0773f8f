"""A small problem that a network can learn, and stateless generators."""

import hashlib

import pytest
import torch

from refluence.data.dataset import Split
from refluence.models import ModelSpec

MEAN, STD = (0.5,), (0.25,)


def rng(purpose: str, index: int) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@pytest.fixture
def problem():
    """Three classes of 8 x 8 grey images, told apart by the bright third: (images normalised, labels, split, spec)."""
    labels = torch.arange(60) % 3
    noise = torch.randint(0, 120, (60, 1, 8, 8), generator=rng("problem", 0))
    for i, label in enumerate(labels.tolist()):
        noise[i, :, :, label * 3 : label * 3 + 2] += 120
    split = Split(noise[30:].to(torch.uint8), labels[30:], torch.arange(30))
    images = (noise[:30].float() / 255 - MEAN[0]) / STD[0]
    return images, labels[:30], split, ModelSpec("convnet1", (1, 8, 8), 3, 8)
