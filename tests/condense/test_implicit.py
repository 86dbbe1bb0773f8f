"""The implicit term while distilling, against a dense inverse and against the definition of q, in float64."""

import pytest
import torch

from refluence.condense import implicit
from refluence.condense.implicit import Implicit, total
from refluence.condense.real_side import RealSide
from refluence.influence.curvature import Curvature
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import Weighting
from support.brute_force import flat
from support.small_methods import in_float64, start, wide

DAMPING = 0.3


def prepared(name, monkeypatch):
    in_float64(monkeypatch)
    work = start(name, data=wide((7, 4)), inner=1, net_batch=8)
    if name == "idm":  # the pool's networks are not trained at the start
        next(work.steps())
    work.networks.ready(work.step, work.synthetic)
    return work, list(work._class_batches())


@pytest.mark.parametrize("name", ["idc", "idm", "ncfm"])
def test_q_is_the_derivative_of_the_objective_by_the_network(name, monkeypatch):
    """d/dtheta sum_c D(a_c(theta), b_c(theta)), by central differences along random directions."""
    work, batches = prepared(name, monkeypatch)
    pairs = [(b.bound.statistic, b.shown, (b.x, b.y)) for b in batches]
    q = total(work.net, pairs, work.distance)
    parameters = dict(work.net.named_parameters())
    h = 1e-6
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        direction = {k: torch.randn(p.shape, generator=g, dtype=p.dtype) for k, p in parameters.items()}
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for k, p in parameters.items():
                    p.add_(direction[k], alpha=sign * h)
            ends.append(sum(work.distance.value(e.mean(work.net, [s]), e.mean(work.net, [r])) for e, s, r in pairs))
            with torch.no_grad():
                for k, p in parameters.items():
                    p.add_(direction[k], alpha=-sign * h)
        expected = (ends[0] - ends[1]) / (2 * h)
        found = sum((q[k] * direction[k]).sum() for k in q)
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-6)


def test_scores_are_those_of_a_dense_inverse(monkeypatch):
    """-(n_c/N) <(H + lambda)^-1 q, grad l_j>, H the Gauss-Newton matrix of all data, written out."""
    work, batches = prepared("idc1", monkeypatch)
    data = work.dataset
    monkeypatch.setattr(implicit, "BATCH", len(data.train))
    solver = Implicit(
        data, work.settings, work.rng, work.device, Curvature("ggn", damping=DAMPING, tolerance=1e-10, iterations=2000)
    )
    pairs = [(b.bound.statistic, b.shown, (b.x, b.y)) for b in batches]
    solution = solver.solve(work.net, pairs, work.distance, 0)
    q = flat(total(work.net, pairs, work.distance))
    net, parameters = work.net, dict(work.net.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    matrix = torch.zeros(len(q), len(q), dtype=torch.float64)
    x = data.pixels(data.train)

    def logits(vector, image):
        own = {k: part.view_as(p) for (k, p), part in zip(parameters.items(), vector.split(sizes), strict=True)}
        return torch.func.functional_call(net, own, (image[None],))[0]

    theta = flat({k: p.detach() for k, p in parameters.items()})
    for image in x:
        jacobian = torch.func.jacrev(logits)(theta, image)
        p = logits(theta, image).softmax(0).detach()
        matrix += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / len(x)
    exact = torch.linalg.solve(matrix + DAMPING * torch.eye(len(q), dtype=torch.float64), q)
    torch.testing.assert_close(flat(solution.x), exact, rtol=1e-5, atol=1e-7 * float(exact.abs().max()))
    for c, batch in enumerate(batches):
        scores = solution.scores(net, batch.x, batch.y, batch.positions)
        for j in range(len(batch.y)):
            loss = torch.nn.functional.cross_entropy(net(batch.x[j : j + 1]), batch.y[j : j + 1])
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(parameters.values()))])
            share = (data.train.labels == c).double().mean()
            torch.testing.assert_close(scores[j].double(), -share * (exact @ gradient), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("terms", ["implicit", "both"])
def test_the_parts_add_up_to_what_is_weighted(terms, monkeypatch):
    work, _ = prepared("idc1", monkeypatch)
    table = RunningInfluence(11)
    side = RealSide(
        work.method, Weighting("influence", terms=terms), table, work.compute, work.settings, work.real.implicit or
        Implicit(work.dataset, work.settings, work.rng, work.device),
    )  # fmt: skip
    plain = RealSide(work.method, Weighting("influence"), RunningInfluence(11), work.compute, work.settings)
    explicit = [m.terms.explicit for m in plain.match(work.net, work._class_batches(), 0, torch.Generator())]
    for match, alone in zip(side.match(work.net, work._class_batches(), 0, torch.Generator()), explicit, strict=True):
        parts = match.terms
        torch.testing.assert_close(parts.explicit, alone, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(parts.scores, parts.implicit + (parts.explicit if terms == "both" else 0))
        torch.testing.assert_close(table.raw[match.batch.positions], parts.scores.double())
        assert float(parts.implicit.std()) > 0
