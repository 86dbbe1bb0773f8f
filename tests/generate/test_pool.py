"""What is selected from a pool, held to the sets that exhaustive search finds."""

from itertools import combinations

import torch

from refluence.generate.influence import InfluenceEnergy
from refluence.generate.pool import by_herding, by_influence, greedy, mean_embedding, products, sampled_counts
from refluence.influence.losses import cross_entropy
from refluence.influence.rows import one_by_one
from refluence.matching.features import embedding
from refluence.select.herding import herd
from support.diffusion import tiny_surrogate
from support.tiny_data import rng, tiny_dataset

DATA = tiny_dataset((9, 8), (1, 8, 8))
SURROGATE = tiny_surrogate(DATA)


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def test_a_pool_has_so_many_times_the_images():
    assert sampled_counts((10, 3), 1.5) == (15, 5)
    assert sampled_counts((10,), 1.1) == (11,)  # 11.000000000000002
    assert sampled_counts((10, 1), None) == (30, 3)


def test_products_are_those_of_single_gradients():
    net, x, wanted = SURROGATE.networks()[0], images(4), torch.nn.functional.normalize(SURROGATE.gradients[0], dim=1)
    names = [name for name, _ in net.named_parameters()]
    each = one_by_one(net, names, x, torch.ones(4).long(), cross_entropy)
    rows = torch.cat([each[name].flatten(1) for name in names], 1)
    along, among = products(net, x, 1, wanted[1])
    assert torch.allclose(along, (rows @ wanted[1]).double(), atol=1e-6)
    assert torch.allclose(among, (rows @ rows.T).double(), atol=1e-6)


def energy_of(rows: torch.Tensor, towards: torch.Tensor, shares: torch.Tensor, chosen: list[int]) -> float:
    """G_I of a set: `rows (E, N, P)`, unit vectors `towards (E, P)`."""
    total = rows[:, chosen].sum(1)
    return float((shares * (1 - (total * towards).sum(1) / total.norm(dim=1))).sum())


def test_each_choice_lowers_the_energy_of_the_set_furthest():
    g = torch.Generator().manual_seed(6)
    rows = torch.randn(3, 8, 5, generator=g, dtype=torch.float64) + 0.3
    towards = torch.nn.functional.normalize(torch.randn(3, 5, generator=g, dtype=torch.float64) + 1, dim=1)
    shares = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    chosen = greedy(torch.einsum("enp,ep->en", rows, towards), rows @ rows.transpose(1, 2), shares, 4).tolist()
    for k in range(4):
        before, best = chosen[:k], chosen[k]
        values = {j: energy_of(rows, towards, shares, [*before, j]) for j in range(8) if j not in before}
        assert min(values, key=values.__getitem__) == best
    alone = sorted(range(8), key=lambda j: energy_of(rows, towards, shares, [j]))[:4]
    assert energy_of(rows, towards, shares, chosen) < energy_of(rows, towards, shares, alone)


def test_two_images_by_influence_are_better_than_most_pairs():
    energy, x = InfluenceEnergy(SURROGATE), images(8)
    chosen = by_influence(x, 1, energy, 2).tolist()
    parts = [products(net, x, 1, wanted[1]) for net, wanted in zip(energy.nets, energy.wanted, strict=True)]

    def value(pair: tuple[int, ...]) -> float:
        cosines = [along[list(pair)].sum() / among[list(pair)][:, list(pair)].sum().sqrt() for along, among in parts]
        return sum(share * float(1 - cosine) for share, cosine in zip(energy.shares, cosines, strict=True))

    every = sorted(value(pair) for pair in combinations(range(8), 2))
    assert value(tuple(chosen)) <= every[3]
    assert len(set(chosen)) == 2


def test_herding_follows_the_mean_embedding_of_real_images():
    net, x = SURROGATE.networks()[-1], images(12)
    mean = mean_embedding(DATA, 0, net, rng, torch.device("cpu"))
    real = DATA.pixels(DATA.train, DATA.train.members(0))
    with torch.no_grad():
        assert torch.allclose(mean, embedding(net, real)["features"].double().mean(0), atol=1e-6)
        features = embedding(net, x)["features"].double()
    chosen = by_herding(x, mean, net, 3)
    first = (features - mean).square().sum(1).argmin()
    assert int(chosen[0]) == int(first)
    assert float((features[chosen].mean(0) - mean).norm()) < float((features.mean(0) - mean).norm())
    assert chosen.tolist() == herd(features, 3, mean=mean).tolist()
