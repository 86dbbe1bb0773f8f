"""A tiny dataset with classes of unequal size, drawn with a pattern per class so that there is something to learn."""

import torch

from refluence.data.dataset import Dataset, Split


def tiny_dataset(sizes=(23, 14, 9), shape=(3, 8, 8), seed=0) -> Dataset:
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
