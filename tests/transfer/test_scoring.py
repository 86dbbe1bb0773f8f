"""Scores and weights of training instances against brute force in float64, on a tiny pair of networks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from refluence.errors import InputError
from refluence.influence.weighting import Weighting
from refluence.transfer.losses import StudentLoss
from refluence.transfer.scoring import Measure, Scores
from refluence.transfer.settings import Settings
from refluence.transfer.weights import InstanceWeights
from support.draws import generator
from support.tiny_nets import CLASSES, N, Y, make_net, real

LOSS = StudentLoss("kd", alpha=0.5, temperature=2.0)
IDENTITY = Settings()
KD_AIF = Weighting("influence", link="sigmoid", sign=-1, bag="all", standardise="mad")
POSITIVE = ("identity", "ggn", "kfac", "ekfac", "lbfgs")


@pytest.fixture
def pair():
    """A student; training batches with a teacher's logits; validation batches."""
    student, teacher = make_net("mlp", 1), make_net("mlp", 2)
    x, more = real(), real(3)
    with torch.no_grad():
        y = (Y, 3 * teacher(x))
    return student, [(x, y)], [(more, Y)]


def gradient(net, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))])


def gradients(net, batches):
    ((x, y),) = batches
    rows = [LOSS(net(x[i : i + 1]), tuple(t[i : i + 1] for t in y)).sum() for i in range(len(x))]
    return torch.stack([gradient(net, value) for value in rows])


def gauss_newton(net, batches):
    """The dense matrix (1/N) sum_j J_j^T S_j J_j."""
    ((x, (labels, teacher)),) = batches
    size = sum(p.numel() for p in net.parameters())
    whole = torch.zeros(size, size, dtype=torch.float64)
    for i in range(len(x)):
        z = net(x[i : i + 1])
        rows = [torch.autograd.grad(z[0, c], list(net.parameters()), retain_graph=True) for c in range(CLASSES)]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        free = z.detach()[0].requires_grad_()
        one = labels[i : i + 1], teacher[i : i + 1]
        s = torch.autograd.functional.hessian(lambda free, one=one: LOSS(free[None], one).sum(), free)
        whole += jacobian.T @ s @ jacobian / len(x)
    return whole


@pytest.mark.parametrize("curvature", ["identity", "ggn", "lbfgs"])
def test_scores_are_those_of_brute_force(pair, curvature):
    student, train, validation = pair
    ((x, y),) = validation
    risk = gradient(student, F.cross_entropy(student(x), y))
    settings = replace(IDENTITY, curvature=curvature, damping=0.1)
    found = Measure(student, LOSS, "influence", settings, CLASSES)(train, validation, train)
    if curvature != "identity":
        h = gauss_newton(student, train)
        risk = torch.linalg.solve(h + 0.1 * torch.eye(len(h)), risk)
    wanted = -gradients(student, train) @ risk
    assert float((found.value - wanted).norm() / wanted.norm()) < (1e-9 if curvature == "identity" else 1e-2)
    torch.testing.assert_close(found.loss, LOSS(student(train[0][0]), train[0][1]).detach())


def test_weights_are_those_of_the_paper_scaled_by_the_median_deviation(pair):
    student, train, validation = pair
    scores = Measure(student, LOSS, "influence", IDENTITY, CLASSES)(train, validation, train)
    weights, rows = InstanceWeights(KD_AIF, Y, 10), torch.arange(N)
    weights.refresh(rows, scores, 1, generator())
    phi = scores.value
    scale = 1.4826 * (phi - phi.median()).abs().median()
    wanted = 2 / (1 + torch.exp((phi / scale).clamp(-2, 2)))
    torch.testing.assert_close(weights.omega, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights.of(rows), (wanted / wanted.mean()).float())


def test_only_the_last_layer_counts_where_it_is_asked(pair):
    student, train, validation = pair
    ((x, y),) = validation
    last = replace(IDENTITY, parameters="last")
    found = Measure(student, LOSS, "influence", last, CLASSES)(train, validation, train)
    size = sum(p.numel() for p in student.classifier.parameters())
    wanted = -gradients(student, train)[:, -size:] @ gradient(student, F.cross_entropy(student(x), y))[-size:]
    torch.testing.assert_close(found.value, wanted, rtol=1e-9, atol=1e-15)


def test_parameters_are_chosen_by_a_pattern_of_their_names(pair):
    student, train, validation = pair
    ((x, y),) = validation
    found = Measure(student, LOSS, "influence", replace(IDENTITY, parameters="*.bias"), CLASSES)(train, validation, train)
    risk = gradient(student, F.cross_entropy(student(x), y))
    chosen = torch.cat([torch.full((p.numel(),), name.endswith(".bias")) for name, p in student.named_parameters()])
    torch.testing.assert_close(found.value, -gradients(student, train)[:, chosen] @ risk[chosen], rtol=1e-9, atol=1e-15)
    with pytest.raises(InputError, match=r"parameters is 'lora': it must be all, last or a pattern of names such as \*lora\*"):
        Settings(parameters="lora")


@pytest.mark.parametrize("curvature", POSITIVE)
def test_a_validation_instance_that_trains_too_helps(pair, curvature):
    student, train, _ = pair
    ((x, (labels, logits)),) = train
    settings = replace(IDENTITY, curvature=curvature, risk="student")
    measure = Measure(student, LOSS, "influence", settings, CLASSES)
    for i in range(N):
        one = [(x[i : i + 1], (labels[i : i + 1], logits[i : i + 1]))]
        assert float(measure(train, one, train).value[i]) < 0


def test_identity_relu_and_the_batch_are_learning_to_reweight(pair):
    """w = max(0, -d L_val(theta - lr grad sum_i eps_i l_i) / d eps) at eps = 0, normalised: arXiv 1803.09050, eq. 8 and 9."""
    student, train, validation = pair
    ((x, y),), ((xv, yv),) = train, validation
    eps = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    own = dict(student.named_parameters())
    steps = torch.autograd.grad((eps * LOSS(student(x), y)).sum(), list(own.values()), create_graph=True)
    ahead = {name: p - 0.1 * g for (name, p), g in zip(own.items(), steps, strict=True)}
    (u,) = torch.autograd.grad(F.cross_entropy(torch.func.functional_call(student, ahead, (xv,)), yv), eps)
    wanted = (-u).clamp_min(0)
    weights = InstanceWeights(Weighting("influence", link="relu", sign=-1, bag="batch", standardise="none"), Y, 10)
    weights.refresh(
        torch.arange(N), Measure(student, LOSS, "influence", IDENTITY, CLASSES)(train, validation, train), 1, generator()
    )
    assert 0 < int((wanted > 0).sum()) < N
    torch.testing.assert_close(weights.of(torch.arange(N)), (wanted / wanted.mean()).float())


def test_adapt_is_the_similarity_of_features(pair):
    student, train, validation = pair
    found = Measure(student, LOSS, "adapt", IDENTITY, CLASSES)(train, validation, train)
    with torch.no_grad():
        own, anchors = student.features(train[0][0]), student.features(validation[0][0])
    wanted = -F.cosine_similarity(own[:, None], anchors[None], dim=2).mean(1)
    torch.testing.assert_close(found.value, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.loss, LOSS(student(train[0][0]), train[0][1]).detach())


@pytest.mark.parametrize("bag", ["all", "class"])
def test_shuffled_weights_are_the_same_numbers(bag):
    labels = torch.arange(40) % 2
    scores = Scores(torch.randn(40, generator=generator(), dtype=torch.float64), torch.ones(40))
    made = []
    for kind in ("influence", "shuffled"):
        weights = InstanceWeights(KD_AIF.with_(kind=kind, bag=bag), labels, 10)
        weights.refresh(torch.arange(40), scores, 1, generator(7))
        made.append(weights.omega)
    assert torch.equal(made[0].sort().values, made[1].sort().values)
    assert not torch.equal(*made)


def test_instances_behind_the_last_weighed_one_weigh_one():
    weights = InstanceWeights(KD_AIF, torch.zeros(6, dtype=torch.int64), 10)
    weights.refresh(torch.arange(6), Scores(torch.arange(6.0) - 3, torch.ones(6)), 1, generator())
    found = weights.of(torch.tensor([7, 0, 6, 5]))
    assert found[[0, 2]].tolist() == [1, 1]
    assert float(found[1]) > 1 > float(found[3])
