"""Which real images of a class a match is held against.

random     without replacement, a new batch each time
clusters   DREAM (Liu et al. 2023, arXiv 2302.14416, sec. 3.3): k-means of the class's embeddings under the current network,
           the images nearest to the k = `real_batch` centres, kept for `cluster_every` image steps
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refluence.condense.settings import Settings
from refluence.data.dataset import Dataset
from refluence.matching.features import embedding
from refluence.training.predict import predict

CHUNK = 256
ROUNDS = 10  # iterations of k-means at most: the centres are wanted roughly


class Batches:
    """Draws positions `(n_c,)` in the training split; its state is the last clustering."""

    def __init__(self, dataset: Dataset, members: Sequence[Tensor], settings: Settings):
        self.dataset, self.members, self.settings = dataset, members, settings
        self.chosen: dict[int, Tensor] = {}

    def refresh(self, net: nn.Module, step: int, fresh: bool, generator: torch.Generator, device: torch.device) -> None:
        """Cluster anew where this image step asks for it; `fresh`: the network is a new one."""
        every = self.settings.cluster_every
        if not every or not (fresh or step % every == 0 or not self.chosen):
            return
        for c, members in enumerate(self.members):
            self.chosen[c] = nearest(self.dataset, net, members, self.settings, self.settings.real_batch, generator, device)

    def draw(self, label: int, generator: torch.Generator) -> Tensor:
        """Positions of one class's batch: all of it where it is smaller than `real_batch`."""
        if self.settings.cluster_every:
            return self.chosen[label]
        members = self.members[label]
        return members[torch.randperm(len(members), generator=generator)[: self.settings.real_batch]]

    def state(self) -> dict[str, Tensor]:
        """Tensors that restore the clustering."""
        return {f"chosen.{c}": positions for c, positions in self.chosen.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.chosen = {int(k.removeprefix("chosen.")): v for k, v in state.items() if k.startswith("chosen.")}


def nearest(
    dataset: Dataset,
    net: nn.Module,
    members: Tensor,
    settings: Settings,
    count: int,
    generator: torch.Generator,
    device: torch.device | str,
) -> Tensor:
    """Positions `(count,)` of the members nearest to k-means centres, each once; `candidates` bounds how many compete."""
    order = members[torch.randperm(len(members), generator=generator)]
    if settings.candidates:
        order = order[: max(settings.candidates, count)]
    if len(order) <= count:
        return order

    def embedded(x: Tensor) -> Tensor:
        return embedding(net, x)["features"].float().cpu()

    def fetch(part: slice) -> Tensor:
        return dataset.pixels(dataset.train, order[part], device)

    features = predict(embedded, fetch, len(order), CHUNK, seed=None)
    return order[representatives(features, count, int(torch.randint(2**31, (), generator=generator)))]


def representatives(features: Tensor, count: int, seed: int) -> Tensor:
    """Rows `(count,)` of `features (N, F)`: the nearest to each k-means centre that is not taken yet, centre by centre."""
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=1, max_iter=ROUNDS, init="k-means++", random_state=seed).fit(features.numpy())
    distance = torch.cdist(torch.from_numpy(found.cluster_centers_).to(features), features)
    chosen: list[int] = []
    for row in distance:
        row[chosen] = torch.inf
        chosen.append(int(row.argmin()))
    return torch.tensor(chosen)
