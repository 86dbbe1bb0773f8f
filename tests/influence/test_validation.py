"""phi_j against retraining: a convex model is fitted again, exactly, with a little more of j and without j."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from refluence.errors import InputError
from refluence.influence.curvature import Curvature
from refluence.influence.directional import Scorer
from refluence.influence.losses import DistillationLoss, cross_entropy
from refluence.influence.validation import self_influence, validation_influence
from refluence.influence.weighting import Weighting, weights
from support.cases import make
from support.convex import Convex, blobs
from support.draws import generator

EXACT = Curvature("ggn", tolerance=1e-12, iterations=500)  # of a linear model the Gauss-Newton matrix is the Hessian


def influence(case: Convex, train=None, **options):
    train = [(case.x, case.y)] if train is None else train
    options = {"loss": case.loss, "curvature": EXACT, "weight_decay": case.lam} | options
    return validation_influence(case.model, train, [(case.vx, case.vy)], risk=cross_entropy, **options)


def more_of_each(case: Convex, chosen: list[int], base: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """dM/d eps_j by central differences of exactly retrained models, eps the weight added to (1/N) sum_i w_i l_i."""
    n, flat = len(case.x), case.train(base)
    step = eps * n * torch.eye(n, dtype=torch.float64)[chosen]
    return (case.risk(case.solve(base + step, flat)) - case.risk(case.solve(base - step, flat))) / (2 * eps)


# the truth: retraining


@pytest.mark.parametrize("kind", ["ggn", "hessian"])
def test_phi_is_the_derivative_of_the_risk_by_the_weight(kind):
    case, _ = blobs()
    truth = more_of_each(case, [0, 1, 2, 50, 199], torch.ones(200, dtype=torch.float64))
    found = influence(case, curvature=Curvature(kind, tolerance=1e-12, iterations=500))
    torch.testing.assert_close(found.scores[[0, 1, 2, 50, 199]], truth, rtol=1e-3, atol=1e-8)
    assert found.risk == pytest.approx(float(case.risk(case.train()[None])))
    assert found.solution.damping == pytest.approx(case.lam)


def test_phi_is_that_derivative_for_a_distillation_loss_too():
    case, _ = blobs(80)
    teacher = 3 * torch.randn(80, 3, generator=generator(5), dtype=torch.float64)
    case.y, case.loss = (case.y, teacher), DistillationLoss(temperature=3.0, alpha=0.4)
    chosen = list(range(0, 80, 9))
    truth = more_of_each(case, chosen, torch.ones(80, dtype=torch.float64))
    torch.testing.assert_close(influence(case).scores[chosen], truth, rtol=1e-3, atol=1e-8)


def test_phi_is_that_derivative_for_weighted_training_too():
    case, _ = blobs(80)
    base = 2 * torch.rand(80, generator=generator(6), dtype=torch.float64)
    base[0] = 0  # not in training at all: its score says what letting it in would do
    chosen = list(range(0, 80, 9))
    truth = more_of_each(case, chosen, base)
    found = influence(case, [(case.x[:50], case.y[:50], base[:50]), (case.x[50:], case.y[50:], base[50:])]).scores[chosen]
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-8)
    unweighted = influence(case).scores[chosen]
    assert not torch.allclose(unweighted, truth, rtol=1e-2)


def test_leaving_one_out_is_predicted():
    case, _ = blobs(200, 5)
    flat = case.train()
    without = case.solve(1 - torch.eye(200, dtype=torch.float64), flat)
    truth = case.risk(without) - case.risk(flat[None])
    predicted = -influence(case).scores / 200
    slope = float((predicted * truth).sum() / predicted.square().sum())
    assert float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]) > 0.99
    assert 0.9 < slope < 1.2


# the sign


def test_what_is_validated_on_is_helpful_and_weighs_more():
    case, _ = blobs()
    case.train()
    for j in (0, 7, 31):
        one = [(case.x[j : j + 1], case.y[j : j + 1])]
        phi = validation_influence(case.model, [(case.x, case.y)], one, curvature=EXACT, weight_decay=case.lam).scores
        assert float(phi[j]) < 0
        for standard in ("scale", "none"):
            sigmoid = Weighting("influence", link="sigmoid", sign=-1, standardise=standard)
            assert float(weights(phi, sigmoid)[j]) > 1
            assert float(weights(phi, Weighting("flipped", link="sigmoid", sign=-1, standardise=standard))[j]) < 1


@pytest.mark.parametrize("kind", ["ggn", "identity"])
def test_flipped_labels_rank_harmful(kind):
    case, wrong = blobs(300, flipped=0.1)
    case.train()
    phi = influence(case, curvature=Curvature(kind)).scores
    ranks = phi.argsort().argsort().double() + 1
    k, n = int(wrong.sum()), len(phi)
    area = (float(ranks[wrong].sum()) - k * (k + 1) / 2) / (k * (n - k))
    assert area > 0.85
    sigmoid = Weighting("influence", link="sigmoid", sign=-1)
    assert float(weights(phi, sigmoid)[wrong].mean()) < 0.8 < 1 < float(weights(phi, sigmoid)[~wrong].mean())


# brute force on networks


def dense(case, validation, lam, curvature_batch=None):
    """-<(G + lam)^-1 g_val, g_j> with the Gauss-Newton matrix and every g_j written out."""
    named = case.named()
    g = torch.stack([flat(torch.autograd.grad(each, list(named.values()), retain_graph=True)) for each in case.losses()])
    z = case.model(case.x)
    rows = [flat(torch.autograd.grad(e, list(named.values()), retain_graph=True)) for e in z.flatten()]
    J, p = torch.stack(rows).view(*z.shape, -1), torch.softmax(z, 1).detach()
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    G = torch.einsum("nkp,nkl,nlq->pq", J, S, J) / len(z)
    risk = case.loss(case.model(validation[0]), validation[1]).mean()
    v = torch.linalg.solve(G + lam * torch.eye(len(G), dtype=G.dtype), flat(torch.autograd.grad(risk, list(named.values()))))
    return -g @ v


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("name", ["group", "batch"])
def test_scores_of_a_network_are_those_of_the_dense_matrices(name):
    case = make(name)
    validation = (torch.randn(5, 3, 8, 8, generator=generator(3), dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0]))
    exact = Curvature("ggn", damping=0.1, tolerance=1e-12, iterations=2000)
    found = validation_influence(case.model, [(case.x, case.y)], [validation], curvature=exact)
    torch.testing.assert_close(found.scores, dense(case, validation, 0.1), rtol=1e-8, atol=1e-10)


def test_identity_curvature_is_minus_the_gradient_dot_product():
    case = make("instance")
    found = validation_influence(case.model, [(case.x, case.y)], [(case.x[:4], case.y[:4])], curvature=Curvature("identity"))
    g = torch.stack([flat(torch.autograd.grad(e, list(case.named().values()), retain_graph=True)) for e in case.losses()])
    torch.testing.assert_close(found.scores, -g @ g[:4].mean(0), rtol=1e-9, atol=1e-12)


def test_neither_order_nor_batches_change_a_score():
    case = make("group")
    validation = [(case.x[:5], case.y[:5])]
    options = {"curvature": Curvature("ggn", damping=0.1, tolerance=1e-12, iterations=2000)}
    want = validation_influence(case.model, [(case.x, case.y)], validation, **options).scores
    order = torch.randperm(11, generator=generator(1))
    x, y = case.x[order], case.y[order]
    uneven = [(x[:1], y[:1]), (x[1:8], y[1:8]), (x[8:], y[8:])]
    torch.testing.assert_close(validation_influence(case.model, uneven, validation, **options).scores, want[order])
    for chunk in (1, 4, 100):
        scorer = Scorer(case.model, chunk=chunk)
        again = validation_influence(case.model, [(case.x, case.y)], validation, scorer=scorer, **options).scores
        torch.testing.assert_close(again, want)
    split = [(case.x[:2], case.y[:2]), (case.x[2:5], case.y[2:5])]
    torch.testing.assert_close(validation_influence(case.model, [(case.x, case.y)], split, **options).scores, want)


def test_a_few_parameters_and_other_data_for_the_curvature():
    case = make("mlp")
    train, validation = [(case.x, case.y)], [(case.x[:4], case.y[:4])]
    names = [n for n, _ in case.model.named_parameters()][-2:]
    some = validation_influence(case.model, train, validation, names=iter(names), curvature=Curvature("identity"))
    assert set(some.solution.x) == set(names)
    exact = Curvature("ggn", damping=0.1, tolerance=1e-10, iterations=1000)
    own = validation_influence(case.model, train, validation, curvature=exact)
    half = validation_influence(case.model, train, validation, fit=[(case.x[:6], case.y[:6])], curvature=exact)
    assert len(half.scores) == 11
    assert not torch.allclose(half.scores, own.scores, rtol=1e-3)
    warm = validation_influence(case.model, train, validation, x0=own.solution.x, curvature=exact)
    assert warm.solution.iterations < own.solution.iterations
    torch.testing.assert_close(warm.scores, own.scores, rtol=1e-6, atol=1e-9)


# the model and the machine


def snapshot(model):
    return {
        "tensors": {k: t.clone() for k, t in model.state_dict().items()},
        "flags": [(p.requires_grad, p.grad) for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [len(h) for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)],
        "rng": torch.get_rng_state(),
        "grad": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("name", ["batch", "instance", "shared"])
def test_the_model_is_left_as_it_was(name):
    case = make(name)
    parameters = list(case.model.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    before = snapshot(case.model)
    validation_influence(case.model, [(case.x, case.y)], [(case.x[:4], case.y[:4])], curvature=Curvature(damping=0.1))
    self_influence(case.model, [(case.x, case.y)])
    after = snapshot(case.model)
    for name, tensor in before.pop("tensors").items():
        assert torch.equal(tensor, after["tensors"][name])
    after.pop("tensors")
    assert torch.equal(before.pop("rng"), after.pop("rng"))
    assert before == after


def test_batch_statistics_are_refused():
    case = make("batch")
    case.model.train()
    for call in (
        lambda: validation_influence(case.model, [(case.x, case.y)], [(case.x, case.y)]),
        lambda: self_influence(case.model, [(case.x, case.y)]),
    ):
        with pytest.raises(InputError, match=r"call model.eval\(\)"):
            call()


class Stream:
    """Chunks made when they are asked for; `most` is how many of them were alive at once."""

    def __init__(self, chunks: int, size: int = 8):
        self.chunks, self.size, self.alive, self.most, self.reads = chunks, size, 0, 0, 0

    def __iter__(self):
        self.reads += 1
        for k in range(self.chunks):
            values = np.random.default_rng(k).standard_normal((self.size, 6))
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(values, self._gone)
            x = torch.from_numpy(values)
            del values
            yield x, (x[:, 0] > 0).long()

    def _gone(self):
        self.alive -= 1


def test_data_larger_than_memory_is_read_chunk_by_chunk():
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    stream, validation = Stream(30), Stream(4)
    options = {"curvature": Curvature("ggn", damping=0.1, tolerance=1e-10)}
    gc.disable()  # what is freed is freed at once, not by the collector
    try:
        found = validation_influence(model, stream, validation, **options)
        own = self_influence(model, stream)
        assert stream.reads > 3
        assert stream.most <= 3
    finally:
        gc.enable()
    held = list(Stream(30))
    torch.testing.assert_close(found.scores, validation_influence(model, held, list(validation), **options).scores)
    torch.testing.assert_close(own, self_influence(model, [tuple(torch.cat(t) for t in zip(*held, strict=True))]))


def test_a_loader_in_another_order_at_every_pass_is_refused():
    case, _ = blobs()
    rows = TensorDataset(case.x, case.y)
    random = RandomSampler(rows)
    shuffled = [DataLoader(rows, 8, shuffle=True), DataLoader(rows, batch_sampler=BatchSampler(random, 8, False))]
    for loader in shuffled:
        with pytest.raises(InputError, match=r"another order at every pass, .*: give the DataLoader shuffle=False"):
            influence(case, loader)
    assert torch.equal(influence(case, DataLoader(rows, len(rows))).scores, influence(case).scores)


def test_a_generator_is_refused():
    case = make("mlp")
    with pytest.raises(InputError, match="only once"):
        validation_influence(case.model, ((x, y) for x, y in [(case.x, case.y)]), [(case.x, case.y)])


# self-influence


@pytest.mark.parametrize("name", ["instance", "batch", "shared", "rare", "soft"])
def test_self_influence_is_the_squared_gradient(name, monkeypatch):
    case = make(name)
    named = case.named()
    g = torch.stack([flat(torch.autograd.grad(e, list(named.values()), retain_graph=True)) for e in case.losses()])
    want = g.square().sum(1)
    torch.testing.assert_close(self_influence(case.model, [(case.x, case.y)], loss=case.loss), want)
    uneven = [(case.x[:3], case.y[:3]), (case.x[3:], case.y[3:])]
    monkeypatch.setattr("refluence.influence.validation.ROOM", 1)
    torch.testing.assert_close(self_influence(case.model, uneven, loss=case.loss), want)


def test_self_influence_of_some_parameters_under_a_distillation_loss():
    case = make("mlp")
    teacher = torch.randn(11, 3, generator=generator(2), dtype=torch.float64)
    loss, y = DistillationLoss(2.0, 0.5), (case.y, teacher)
    name, p = next(iter(case.named().items()))
    g = [torch.autograd.grad(e, p, retain_graph=True)[0] for e in loss(case.model(case.x), y)]
    want = torch.stack([t.square().sum() for t in g])
    torch.testing.assert_close(self_influence(case.model, [(case.x, y)], loss=loss, names=[name]), want)


def test_squares_of_complex_gradients_are_real():
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.filter = nn.Parameter(torch.ones(4, dtype=torch.complex128) + 0.3j)

        def forward(self, x):
            return torch.fft.ifft(torch.fft.fft(x) * self.filter).real

    net, x, y = Spectrum(), torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 4
    got = self_influence(net, [(x, y)])
    for j in range(6):
        (g,) = torch.autograd.grad(nn.functional.cross_entropy(net(x[j : j + 1]), y[j : j + 1]), list(net.parameters()))
        torch.testing.assert_close(got[j], g.abs().square().sum())
