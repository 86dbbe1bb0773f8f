"""Compiled graphs of the gradient statistic against the plain passes, in float64."""

import pytest
import torch

from refluence import compute
from refluence.compute import Compute
from refluence.condense import graphs
from refluence.condense.graphs import Graphs
from refluence.condense.loop import Distillation
from refluence.influence import capture
from refluence.influence.weighting import Weighting
from refluence.matching.gradients import synthetic_gradient
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from support.small_methods import start

pytestmark = pytest.mark.slow
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def network(norm, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return build(ModelSpec("convnet1", (3, 4, 4), 3, 4, norm), generator, "cpu").double().eval()


@pytest.mark.parametrize(("norm", "soft"), [("instance", True), ("batch", False)])
def test_values_are_those_of_the_plain_passes_at_any_network(norm, soft):
    made, names = Graphs(), [n for n, p in network(norm).named_parameters() if p.dim() > 1]
    for seed in (0, 1):  # one compilation serves both
        net = network(norm, seed)
        x, y = torch.randn(5, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
        leaves = [x.requires_grad_()]
        if soft:
            y = torch.rand(5, 3, dtype=torch.float64).requires_grad_()
            leaves.append(y)
        a, expected = graphs.synthetic(made, net, x, y, names), synthetic_gradient(net, x, y, names)
        cotangents = [torch.randn_like(t) for t in expected.values()]
        found = torch.autograd.grad(list(a.values()), leaves, cotangents)
        for own, other in zip(found, torch.autograd.grad(list(expected.values()), leaves, cotangents), strict=True):
            torch.testing.assert_close(own, other, **CLOSE)
        batch, labels = torch.randn(67, 3, 4, 4, dtype=torch.float64), torch.arange(67) % 3  # a chunk of 64, one of 3
        kept, plain = graphs.real(made, net, batch, labels, names), capture(net, batch, labels, names=names)
        omega = torch.rand(67, dtype=torch.float64)
        torch.testing.assert_close(dict(a), {k: t.detach() for k, t in expected.items()}, **CLOSE)
        torch.testing.assert_close(kept.losses, plain.losses, **CLOSE)
        torch.testing.assert_close(kept.gradient(omega), plain.gradient(omega), **CLOSE)
        torch.testing.assert_close(kept.gradient(), plain.gradient(), **CLOSE)
        torch.testing.assert_close(kept.scores(expected), plain.scores(expected), **CLOSE)
    assert sorted(key[0] for key in made.made) == ["gradient", "pulled", "rows"]


def test_a_compiled_run_is_the_plain_one_up_to_rounding():
    spec = ModelSpec("convnet1", (3, 8, 8), 2, 4, "none")
    plain = start("dc", Weighting("influence"), spec=spec, inner=0)
    given = plain.method, plain.settings, Weighting("influence"), plain.dataset, spec, streams(0)
    compiled = Distillation(*given, Compute(compile=True))
    events = [list(run.steps()) for run in (plain, compiled)]
    assert compiled.compute.graphs.made
    torch.testing.assert_close(compiled.images, plain.images, rtol=1e-3, atol=1e-4)
    for own, other in zip(*events, strict=True):
        assert own.ess == pytest.approx(other.ess, rel=1e-3)


def test_beyond_so_many_graphs_the_plain_functions_serve(monkeypatch):
    monkeypatch.setattr(compute, "MOST", 0)
    made, net = Graphs(), network("instance")
    x, y = torch.randn(3, 3, 4, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2])
    names = ["classifier.weight"]
    a, expected = graphs.synthetic(made, net, x, y, names), synthetic_gradient(net, x, y, names)
    own, other = (torch.autograd.grad(t[names[0]].square().sum(), x)[0] for t in (a, expected))
    torch.testing.assert_close(own, other, **CLOSE)
    kept = graphs.real(made, net, x.detach(), y, names)
    torch.testing.assert_close(kept.gradient(), capture(net, x.detach(), y, names=names).gradient(), **CLOSE)
    assert not made.made
