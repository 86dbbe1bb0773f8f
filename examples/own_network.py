"""A torch `Dataset` distilled with a network of your own: judged, scored, saved, and loaded again as training data."""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

import refluence as rf


class Digits(Dataset):
    """Any map-style dataset of (image, label) would do: images as tensors, arrays or PIL."""

    def __init__(self):
        self.images, self.labels = load_digits(return_X_y=True)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return torch.tensor(self.images[index] / 16, dtype=torch.float32).view(1, 8, 8), int(self.labels[index])


class Network(nn.Module):
    """Nothing is asked of it but logits; methods that match embeddings take the input of its last linear layer."""

    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(shape[0], 8, 3, padding=1), nn.GroupNorm(8, 8)
        self.head = nn.Linear(8 * shape[1] * shape[2] // 4, classes)

    def forward(self, x):
        return self.head(nn.functional.avg_pool2d(self.norm(self.conv(x)).relu(), 2).flatten(1))


def main() -> None:
    data = rf.load(Digits())
    run = rf.distill(data, "dm+influence", ipc=2, iterations=20, model=Network)
    print(run, run.scores)
    print(f"{rf.evaluate(run, data, nets=2, epochs=30).accuracy:.1f} % test accuracy by the same network")
    print(f"{rf.evaluate(run, data, nets=2, epochs=30, model='convnet', width=8).accuracy:.1f} % by another one")

    table = rf.score(data, Network, folds=2, epochs=1, terms="explicit")
    print(f"rows of the data that harm most: {table.most_harmful(5).index.tolist()}")

    with tempfile.TemporaryDirectory() as folder:
        run.set.save(folder)
        small = rf.load(folder, test=data)  # trains on the set; validation and test are those of the data
    print(small)
    print(rf.select(small, "el2n:steps=5", ipc=1, model=Network))


if __name__ == "__main__":
    main()
