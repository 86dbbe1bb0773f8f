"""The rival of guidance: more images than are kept, sampled without it, and of each class those that are best together (ours).

    herding      their mean embedding, at the last checkpoint of the surrogate, follows that of real images (select/herding.py)
    influence    G_I of the set: eq. 7 of IGD with the gradient of its mean loss in the place of one image's,

                     G_I(S) = sum_e share_e (1 - cos(g_c(theta_e), sum of a_j over S)),    a_j = grad_theta l(x_j, c; theta_e),

                 is lowered by each choice as far as one image can. (The images of lowest G_I each are near copies of one.)

Both see what guidance sees of the real images: statistics of a class at the surrogate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.generate.influence import InfluenceEnergy
from refluence.influence.rows import instance_gradients
from refluence.matching.features import embedding
from refluence.seeds import Rng
from refluence.select.herding import herd
from refluence.select.pretrain import outputs

FACTOR = 3.0
"""Times as many images as are kept, where nothing says otherwise."""
REAL = 1000  # images of a class that its mean embedding is of, at most


def sampled_counts(counts: tuple[int, ...], factor: float | None) -> tuple[int, ...]:
    """How many images of each class are sampled, so that `counts` can be kept.

    Example:
        >>> sampled_counts((10, 3), 1.5), sampled_counts((1,), None)
        ((15, 5), (3,))
    """
    return tuple(math.ceil(count * (FACTOR if factor is None else factor) - 1e-9) for count in counts)


def select(
    by: str, images: Tensor, labels: Tensor, counts: tuple[int, ...], energy: InfluenceEnergy, real: Dataset, rng: Rng
) -> Tensor:
    """Positions `(sum of counts,)` of the chosen among `images` `(N, C, H, W)` of classes `labels`, class after class.

    `images` and `real` are normalised as the images of the surrogate were. `by`: herding or influence.
    """
    device, net, found = energy.wanted[-1].device, energy.nets[-1], []
    for label, count in enumerate(counts):
        own = (labels == label).nonzero().flatten()
        among = images[own].to(device)
        if by == "influence":
            found.append(own[by_influence(among, label, energy, count)])
        else:
            found.append(own[by_herding(among, mean_embedding(real, label, net, rng, device), net, count)])
    return torch.cat(found)


def by_herding(images: Tensor, real: Tensor, net: nn.Module, count: int) -> Tensor:
    """Positions `(count,)` of the chosen among `images` `(N, C, H, W)` of one class, in the order of choice.

    `real (F,)` is the mean embedding that is followed.
    """
    with torch.no_grad():
        features = torch.cat([embedding(net, part)["features"].cpu() for part in images.split(256)])
    return herd(features, count, mean=real)


def mean_embedding(dataset: Dataset, label: int, net: nn.Module, rng: Rng, device: torch.device) -> Tensor:
    """The mean embedding `(F,)` of training images of a class, of all or of 1,000 that are drawn."""
    members = dataset.train.members(label)
    drawn = members[torch.randperm(len(members), generator=rng("pool-real", label))[:REAL]].sort().values
    mean = outputs(lambda x: embedding(net, x)["features"], dataset, drawn, device).double().mean(0)
    if not bool(mean.isfinite().all()):
        raise RunError(f"the embedding of class '{dataset.classes[label]}' is not finite: the surrogate diverged")
    return mean


def by_influence(images: Tensor, label: int, energy: InfluenceEnergy, count: int) -> Tensor:
    """Positions `(count,)` of the chosen among `images` `(N, C, H, W)` of one class, normalised, in the order of choice."""
    inner, pairs = [], []
    for net, wanted in zip(energy.nets, energy.wanted, strict=True):
        along, among = products(net, images, label, wanted[label])
        inner.append(along)
        pairs.append(among)
    return greedy(torch.stack(inner), torch.stack(pairs), torch.tensor(energy.shares, dtype=torch.float64), count)


def products(net: nn.Module, images: Tensor, label: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """<wanted, a_j> `(N,)` and <a_i, a_j> `(N, N)` of the gradients a of single images, float64 on the CPU.

    `wanted (P,)` is a unit vector.
    """
    names = [name for name, _ in net.named_parameters()]
    y = torch.full((len(images),), label, device=images.device)
    found = instance_gradients(net, images, y, names)
    rows = torch.cat([torch.cat([part[name].flatten(1) for name in names], 1) for _, part in found])
    return (rows @ wanted.to(rows)).double().cpu(), (rows @ rows.T).double().cpu()


def greedy(inner: Tensor, pairs: Tensor, shares: Tensor, count: int) -> Tensor:
    """Positions of `count` images, each of which lowers G_I of the set furthest.

    `inner (E, N)` and `pairs (E, N, N)`: of the gradients, at E checkpoints of weights `shares` `(E,)`.

    Example:
        >>> rows = torch.tensor([[1.0, 1.0], [1.0, -1.1], [0.9, 1.0]]).double()  # beside (1, 0)
        >>> greedy(rows[None, :, 0], (rows @ rows.T)[None], torch.ones(1).double(), 2).tolist()
        [0, 1]
    """
    taken: list[int] = []
    along, size, beside = inner.new_zeros(len(inner)), inner.new_zeros(len(inner)), torch.zeros_like(inner)
    own = pairs.diagonal(dim1=1, dim2=2)
    for _ in range(min(count, inner.shape[1])):
        sizes = (size[:, None] + 2 * beside + own).clamp_min(torch.finfo(inner.dtype).tiny)
        cosines = shares @ ((along[:, None] + inner) / sizes.sqrt())
        cosines[taken] = -torch.inf
        best = int(cosines.argmax())
        along, size = along + inner[:, best], size + 2 * beside[:, best] + own[:, best]
        beside = beside + pairs[:, best]
        taken.append(best)
    return torch.tensor(taken, dtype=torch.long)
