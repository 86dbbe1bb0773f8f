"""A classifier's training loop with a weight for each row, by what each row does to held-out data; some labels are wrong."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import refluence as rf


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(16, 16), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10)
    )


def train(data: rf.Dataset, w: Tensor, epochs: int = 8) -> float:
    """Train on all rows, row j with weight w_j; the accuracy in percent on the test split."""
    net, x, y = network(), data.pixels(data.train), data.train.labels
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64):
            losses = cross_entropy(net(x[batch]), y[batch], reduction="none")  # one a row
            loss = (w[batch] * losses).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        right = net(data.pixels(data.test)).argmax(1) == data.test.labels
    return 100 * float(right.float().mean())


def main() -> None:
    data = rf.load("digits", noise="symmetric:.4")  # your own: a folder, a torch Dataset, arrays
    w = rf.score(data, folds=2, epochs=4, width=8).weights(data)  # (N,), in the order of data.train
    print(f"weights {float(w.min()):.2f} to {float(w.max()):.2f}, mean {float(w.mean()):.2f}; 1 is a score of 0")
    print(f"{train(data, torch.ones_like(w)):.1f} % test accuracy without weights, {train(data, w):.1f} % with them (one seed)")


if __name__ == "__main__":
    main()
