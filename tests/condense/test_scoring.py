"""The influence of real and synthetic instances at a given S, against per-sample gradients and the definition."""

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from refluence.condense.dc import METHOD
from refluence.condense.network_training import train_on_synthetic
from refluence.condense.norms import freeze_norm_statistics
from refluence.condense.scoring import influence, points
from refluence.matching.discrepancies import first_derivative, second_derivative
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet2", (3, 8, 8), 3, width=6)
SETTINGS = METHOD.settings(2, "cpu").with_(real_batch=5, inner=3)  # chunks smaller than every class


def small_set():
    g = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 8, 8, generator=g), torch.arange(3).repeat_interleave(2)


def each_gradient(net, x, y, names):
    """Per-sample gradients one by one: a list of dicts."""
    parameters = dict(net.named_parameters())
    wanted = [parameters[n] for n in names]
    rows = (torch.autograd.grad(cross_entropy(net(x[j : j + 1]), y[j : j + 1]), wanted) for j in range(len(x)))
    return [dict(zip(names, row, strict=True)) for row in rows]


def brute_force(norm: str, nets: int):
    """Means over the same thetas, from the definition: mean gradients, then inner products with the derivatives of D."""
    data, (images, labels), rng = tiny_dataset(), small_set(), streams(0)
    members = [data.train.members(c) for c in range(3)]
    real, synthetic = torch.zeros(len(data.train)), torch.zeros(6)
    where = points(nets, SETTINGS.outer)
    for number in range(nets):
        net = build(dataclasses.replace(SPEC, norm=norm), rng("scoring-network", number))
        for t in range(SETTINGS.outer):
            if (number, t) in where:
                freeze_norm_statistics(net, data, members, rng("scoring-norm-batch", number * SETTINGS.outer + t), "cpu")
                names = [n for n, p in net.named_parameters() if p.dim() > 1]
                for c in range(3):
                    g = each_gradient(net, data.pixels(data.train, members[c]), torch.full((len(members[c]),), c), names)
                    h = each_gradient(net, images[labels == c], labels[labels == c], names)
                    b, a = ({n: torch.stack([row[n] for row in rows]).mean(0) for n in names} for rows in (g, h))
                    _, v = second_derivative(METHOD.discrepancy, a, b)
                    _, u = first_derivative(METHOD.discrepancy, a, b)
                    real[members[c]] += torch.stack([sum((v[n] * row[n]).sum() for n in names) for row in g]) / len(where)
                    synthetic[labels == c] += torch.stack([sum((u[n] * row[n]).sum() for n in names) for row in h]) / len(where)
            train_on_synthetic(net, images, labels, SETTINGS, rng("scoring-inner", number * SETTINGS.outer + t))
    return synthetic, real


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_whole_scores_equal_brute_force(norm):
    spec = dataclasses.replace(SPEC, norm=norm)
    pictures, table, losses = influence(*small_set(), METHOD, SETTINGS, tiny_dataset(), spec, streams(0), nets=2, whole=True)
    synthetic, real = brute_force(norm, 2)
    torch.testing.assert_close(table.raw.float(), real, rtol=1e-3, atol=1e-3 * float(real.abs().max()))
    torch.testing.assert_close(pictures.float(), synthetic, rtol=1e-3, atol=1e-3 * float(synthetic.abs().max()))
    assert table.visits.tolist() == [len(points(2, SETTINGS.outer))] * len(table.raw)
    assert losses.isfinite().all()
    assert losses.min() > 0


def test_a_batch_a_class_visits_that_many_and_leaves_the_others_open():
    _, table, losses = influence(*small_set(), METHOD, SETTINGS, tiny_dataset(), SPEC, streams(0), nets=1)
    assert int(table.visits.sum()) == len(points(1, SETTINGS.outer)) * 3 * SETTINGS.real_batch
    assert torch.equal(losses.isnan(), table.visits == 0)
    assert (table.visits == 0).any()


def test_points_are_at_most_four_times_from_the_first_to_the_last():
    assert points(2, 1) == [(0, 0), (1, 0)]
    assert [t for _, t in points(1, 10)] == [0, 3, 6, 9]
