"""The unrolled implicit term against differentiating a real short training run: by autograd, and by central differences."""

import functools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from refluence.errors import InputError
from refluence.influence.distillation import Pair, distillation_influence, match
from refluence.influence.losses import DistillationLoss
from refluence.influence.statistic import Gradients
from refluence.influence.trajectory import Trajectory, sgd
from refluence.influence.unrolled import unrolled_influence
from refluence.matching.discrepancies import RowCosine
from support.brute_force import close
from support.draws import generator
from support.tiny_nets import (
    CLASSES,
    COUNTS,
    OF,
    SYNTHETIC_OF,
    SYNTHETIC_Y,
    N,
    Y,
    losses,
    make_net,
    parameters,
    real,
    synthetic,
)

X, S, STEPS, TIMES, H = real(), synthetic(), 5, (0, 2, 3, 5), 1e-5
W = torch.softmax(0.5 * torch.randn(N, generator=generator(8), dtype=torch.float64), 0)  # one simplex over D, not uniform
OPTIMIZERS = {
    "sgd": {},
    "decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.8},
    "momentum-decay": {"momentum": 0.8, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "weight_decay": 0.1, "nesterov": True},
}


def soft_loss(logits, y):
    y = y if y.is_floating_point() else torch.nn.functional.one_hot(y, CLASSES)
    return -(torch.log_softmax(logits, 1) * y).sum(1)


def batches(mixed: bool):
    """(x, y, indices, shares) of every step: random rows, some twice; mixed: two images and labels in one row."""
    g, out = generator(4), []
    for t in range(STEPS):
        size = 4 if t % 2 else 3
        first, second = (torch.randint(N, (size,), generator=g) for _ in range(2))
        if not mixed:
            out.append((X[first], Y[first], first[:, None], torch.ones(size, 1, dtype=torch.float64)))
            continue
        share = torch.rand(size, generator=g, dtype=torch.float64)
        x = share[:, None, None, None] * X[first] + (1 - share[:, None, None, None]) * X[second]
        labels = torch.eye(CLASSES, dtype=torch.float64)
        y = share[:, None] * labels[Y[first]] + (1 - share[:, None]) * labels[Y[second]]
        out.append((x, y, torch.stack([first, second], 1), torch.stack([share, 1 - share], 1)))
    return out


def row_weights(w, indices, shares):
    return (shares * w[indices]).sum(1)


def lr(t):
    return 0.3 / (1 + t)


def run(net, w, optimizer, mixed):
    """A real run with torch.optim.SGD on sum_r (N/B) W_r l_r: parameters at every t, and its recording."""
    opt = torch.optim.SGD(net.parameters(), lr=lr(0), **OPTIMIZERS[optimizer])
    trajectory, thetas = Trajectory(N), []
    for t, (x, y, indices, shares) in enumerate(batches(mixed)):
        opt.param_groups[0]["lr"] = lr(t)
        rows = row_weights(w, indices, shares)
        trajectory.record(net, (x, y), indices, shares=shares, weights=rows, **sgd(opt))
        thetas.append({k: p.clone() for k, p in parameters(net).items()})
        opt.zero_grad()
        (N / len(x) * rows * soft_loss(net(x), y)).sum().backward()
        opt.step()
    opt.zero_grad()
    return [*thetas, {k: p.clone() for k, p in parameters(net).items()}], trajectory


def differentiable_run(net, w, optimizer, mixed):
    """The same run as a function of w that autograd can differentiate."""
    o = {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False, **OPTIMIZERS[optimizer]}
    p = {k: t.clone().requires_grad_() for k, t in parameters(net).items()}
    m, thetas = {k: torch.zeros_like(t) for k, t in p.items()}, [p]
    for t, (x, y, indices, shares) in enumerate(batches(mixed)):
        risk = (N / len(x) * row_weights(w, indices, shares) * soft_loss(functional_call(net, p, (x,)), y)).sum()
        g = dict(zip(p, torch.autograd.grad(risk, list(p.values()), create_graph=True), strict=True))
        g = {k: g[k] + o["weight_decay"] * p[k] for k in p}
        m = {k: o["momentum"] * m[k] + g[k] for k in p}
        p = {k: p[k] - lr(t) * (g[k] + o["momentum"] * m[k] if o["nesterov"] else m[k]) for k in p}
        thetas.append(p)
    return thetas


def objective(net, thetas, w):
    """sum over TIMES and classes of the row cosine of class gradients, from the definition; a graph to thetas and w."""
    total = 0.0
    for t in TIMES:
        p = {k: v if v.requires_grad else v.clone().requires_grad_() for k, v in thetas[t].items()}
        for c, n in enumerate(COUNTS):
            a, b = (
                dict(zip(p, torch.autograd.grad(u @ losses(net, p, x, y), list(p.values()), create_graph=True), strict=True))
                for x, y, u in (
                    (S[SYNTHETIC_OF[c]], SYNTHETIC_Y[SYNTHETIC_OF[c]], torch.full((2,), 0.5, dtype=torch.float64)),
                    (X[OF[c]], Y[OF[c]], w[OF[c]] * N / n),
                )
            )
            total = total + RowCosine().value(a, b)
    return total


def pairs():
    return [
        Pair([(S[SYNTHETIC_OF[c]], SYNTHETIC_Y[SYNTHETIC_OF[c]])], [(X[OF[c]], Y[OF[c]], N * W[OF[c]])], N / n)
        for c, n in enumerate(COUNTS)
    ]


def found(name, optimizer, mixed):
    """The library's explicit and implicit parts by dataset index."""
    net = make_net(name)
    thetas, trajectory = run(net, W, optimizer, mixed)
    names = tuple(k for k, p in net.named_parameters() if p.dim() > 1)
    statistic, explicit, cotangents = Gradients(names), torch.zeros(N, dtype=torch.float64), {}
    for t in TIMES:
        net.load_state_dict(thetas[t])
        cotangents[t] = match(net, pairs(), statistic, RowCosine()).q
        for c, part in enumerate(distillation_influence(net, pairs(), statistic, RowCosine()).scores):
            explicit[OF[c]] += part
    return explicit, unrolled_influence(net, trajectory, cotangents, loss=soft_loss)


CASES = [(name, o, mixed) for name in ("mlp", "group", "instance") for o in OPTIMIZERS for mixed in (False, True)]


@pytest.mark.parametrize(("name", "optimizer", "mixed"), CASES)
def test_explicit_and_unrolled_are_the_derivative_of_the_run_by_autograd(name, optimizer, mixed):
    explicit, implicit = found(name, optimizer, mixed)
    net, w = make_net(name), W.clone().requires_grad_()
    thetas = differentiable_run(net, w, optimizer, mixed)
    (whole,) = torch.autograd.grad(objective(net, thetas, w), w, retain_graph=True)
    (through,) = torch.autograd.grad(objective(net, thetas, W), w)
    close(explicit + implicit, whole, 1e-9)
    close(implicit, through, 1e-9)
    assert implicit.abs().max() > 1e-3 * explicit.abs().max()


@pytest.mark.parametrize("name", ["mlp", "group", "instance"])
@pytest.mark.parametrize(("optimizer", "mixed"), [(o, i % 2 == 0) for i, o in enumerate(OPTIMIZERS)])
def test_explicit_and_unrolled_are_the_derivative_of_the_run_by_central_differences(name, optimizer, mixed):
    explicit, implicit = found(name, optimizer, mixed)

    def value(w):
        net = make_net(name)
        return float(objective(net, run(net, w, optimizer, mixed)[0], w).detach())

    steps = H * torch.eye(N, dtype=torch.float64)
    want = torch.tensor([(value(W + e) - value(W - e)) / (2 * H) for e in steps], dtype=torch.float64)
    close(explicit + implicit, want, 1e-6)


@functools.cache
def recorded(optimizer="nesterov"):
    net = make_net("group")
    _, trajectory = run(net, W, optimizer, True)
    q = {k: torch.randn(p.shape, generator=generator(6), dtype=torch.float64) for k, p in parameters(net).items()}
    return net, trajectory, q


def test_influence_is_linear_in_the_cotangents_and_a_time_does_not_look_ahead():
    net, trajectory, q = recorded()
    each = [unrolled_influence(net, trajectory, {t: q}, loss=soft_loss) for t in range(STEPS + 1)]
    close(unrolled_influence(net, trajectory, dict.fromkeys(range(STEPS + 1), q), loss=soft_loss), sum(each), 1e-12)
    assert not each[0].any()  # theta_0 does not depend on the weights
    seen = set()
    for t in range(STEPS):
        seen |= set(trajectory.steps[t].indices.flatten().tolist())
        assert set(each[t + 1].nonzero().flatten().tolist()) == seen


def test_a_batch_that_is_made_again_and_the_default_weights():
    """A function in place of images; by default w = 1/n and the step minimises a mean, so that c_r W_r = 1/B."""
    net = make_net("mlp")
    q = {k: torch.ones_like(p) for k, p in parameters(net).items()}
    kept, made = Trajectory(N), Trajectory(N)
    explicit = Trajectory(N)
    for x, y, indices, _ in batches(False):
        kept.record(net, (x, y), indices[:, 0], lr=0.1)
        made.record(net, lambda i=indices[:, 0]: (X[i], Y[i]), indices, lr=0.1)
        ones = torch.ones(len(x), dtype=torch.float64)
        explicit.record(net, (x, y), indices, lr=0.1, weights=ones, coefficients=1 / len(x))  # omega of mean 1
    a, b, omega = (unrolled_influence(net, trajectory, {STEPS: q}) for trajectory in (kept, made, explicit))
    assert torch.equal(a, b)
    close(omega * N, a, 1e-12)


def test_two_rows_of_one_instance_add_up():
    """CutMix with one loss a label is two rows of each mixed image."""
    net, q = make_net("mlp"), {k: torch.ones_like(p) for k, p in parameters(make_net("mlp")).items()}
    i, once, twice = torch.tensor([2, 5]), Trajectory(N), Trajectory(N)
    once.record(net, (X[i], Y[i]), i, lr=0.1)
    c = torch.tensor([0.3, 0.3, 0.7, 0.7], dtype=torch.float64) * N / 2
    twice.record(net, (X[i].repeat(2, 1, 1, 1), Y[i].repeat(2)), i.repeat(2), lr=0.1, coefficients=c)
    close(*(unrolled_influence(net, t, {1: q}) for t in (twice, once)), 1e-12)


def test_an_optimiser_that_starts_anew_forgets_its_momentum():
    """`fresh` steps against a run whose optimiser is made again in the middle."""
    net, q = make_net("mlp"), {k: torch.ones_like(p) for k, p in parameters(make_net("mlp")).items()}

    def go(w, trajectory=None):
        net = make_net("mlp")
        for t, (x, y, indices, shares) in enumerate(batches(False)):
            if t in (0, 2):
                opt = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
            rows = row_weights(w, indices, shares)
            if trajectory is not None:
                trajectory.record(net, (x, y), indices, weights=rows, fresh=t == 2, **sgd(opt))
            opt.zero_grad()
            (N / len(x) * rows * soft_loss(net(x), y)).sum().backward()
            opt.step()
        return float(sum(p.sum() for p in parameters(net).values()))

    trajectory = Trajectory(N)
    go(W, trajectory)
    steps = H * torch.eye(N, dtype=torch.float64)
    want = torch.tensor([(go(W + e) - go(W - e)) / (2 * H) for e in steps], dtype=torch.float64)
    close(unrolled_influence(net, trajectory, {STEPS: q}, loss=soft_loss), want, 1e-6)


def test_distillation_from_a_teacher_has_tuples_for_targets():
    loss, teacher = DistillationLoss(2.0, 0.3), torch.randn(N, CLASSES, generator=generator(2), dtype=torch.float64)
    net = make_net("mlp")
    q = {k: torch.randn(p.shape, generator=generator(6), dtype=torch.float64) for k, p in parameters(net).items()}

    def go(w, trajectory=None):
        net = make_net("mlp")
        opt = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.5)
        for _, _, i, _ in batches(False):
            x, y, rows = X[i[:, 0]], (Y[i[:, 0]], teacher[i[:, 0]]), w[i[:, 0]]
            if trajectory is not None:
                trajectory.record(net, (x, y), i, weights=rows, **sgd(opt))
            opt.zero_grad()
            (N / len(x) * rows * loss(net(x), y)).sum().backward()
            opt.step()
        return float(sum((q[k] * p).sum() for k, p in parameters(net).items()))

    trajectory = Trajectory(N)
    go(W, trajectory)
    steps = H * torch.eye(N, dtype=torch.float64)
    want = torch.tensor([(go(W + e) - go(W - e)) / (2 * H) for e in steps], dtype=torch.float64)
    close(unrolled_influence(net, trajectory, {STEPS: q}, loss=loss), want, 1e-6)


@pytest.mark.parametrize("name", ["group", "instance"])
def test_float32_agrees_with_float64(name):
    found = []
    for dtype in (torch.float64, torch.float32):
        net = make_net(name).to(dtype)
        opt, trajectory = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.8, weight_decay=0.1), Trajectory(N, device="cpu")
        for x, y, indices, shares in batches(True):
            rows = row_weights(W, indices, shares)
            trajectory.record(net, (x.to(dtype), y.to(dtype)), indices, shares=shares, weights=rows, **sgd(opt))
            opt.zero_grad()
            (N / len(x) * rows.to(dtype) * soft_loss(net(x.to(dtype)), y.to(dtype))).sum().backward()
            opt.step()
        q = {k: torch.ones_like(p) for k, p in parameters(net).items()}
        found.append(unrolled_influence(net, trajectory, {STEPS: q}, loss=soft_loss))
    assert found[1].dtype == torch.float64
    close(found[1], found[0], 1e-4)


def test_batch_norm_in_training_mode_and_frozen_parameters():
    """Statistics of the batch are part of the step; a parameter that is not trained has no u."""

    def net():
        body = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU(), nn.Flatten(), nn.Linear(48, 2)
        ).double()
        for k, p in enumerate(body.parameters()):
            p.data.copy_(0.3 * torch.randn(p.shape, generator=generator(k), dtype=torch.float64) + (p.dim() == 1))
        body[4].bias.requires_grad_(False)
        return body.train()

    def go(w, trajectory=None):
        model = net()
        opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.2, momentum=0.5)
        for x, y, indices, shares in batches(False):
            rows = row_weights(w, indices, shares)
            if trajectory is not None:
                trajectory.record(model, (x, y), indices, weights=rows, **sgd(opt))
            opt.zero_grad()
            (N / len(x) * rows * soft_loss(model(x), y)).sum().backward()
            opt.step()
        return model

    trajectory = Trajectory(N)
    model = go(W, trajectory)
    q = {k: torch.randn(p.shape, generator=generator(9), dtype=torch.float64) for k, p in model.named_parameters()}
    before = {k: t.clone() for k, t in model.state_dict().items()}
    got = unrolled_influence(model, trajectory, {STEPS: q}, loss=soft_loss)
    assert all(torch.equal(before[k], t) for k, t in model.state_dict().items())

    def value(w):
        return float(sum((q[k] * p).sum() for k, p in parameters(go(w)).items()))

    steps = H * torch.eye(N, dtype=torch.float64)
    close(got, torch.tensor([(value(W + e) - value(W - e)) / (2 * H) for e in steps], dtype=torch.float64), 1e-6)


def test_a_long_run_arrives_at_the_stationary_term():
    """Full batches on a strongly convex problem: eq. 23 is the limit of the recursion."""
    net, decay = make_net("linear"), 0.1
    q = {k: torch.randn(p.shape, generator=generator(6), dtype=torch.float64) for k, p in parameters(net).items()}
    opt, trajectory = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9, weight_decay=decay), Trajectory(N)
    for _ in range(400):
        trajectory.record(net, lambda: (X, Y), torch.arange(N), weights=W, coefficients=1.0, **sgd(opt))
        opt.zero_grad()
        (W @ soft_loss(net(X), Y)).backward()
        opt.step()
    like = parameters(net)
    sizes = [t.numel() for t in like.values()]

    def risk(v):
        p = {k: part.view_as(t) for (k, t), part in zip(like.items(), v.split(sizes), strict=True)}
        return W @ losses(net, p, X, Y) + 0.5 * decay * v.square().sum()

    at = torch.cat([t.flatten() for t in like.values()])
    x = torch.linalg.solve(torch.autograd.functional.hessian(risk, at), torch.cat([q[k].flatten() for k in like]))
    each = [torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for loss in soft_loss(net(X), Y)]
    want = -torch.stack([torch.cat([g.flatten() for g in row]) @ x for row in each])
    close(unrolled_influence(net, trajectory, {400: q}, loss=soft_loss), want, 1e-6)


def test_the_model_is_left_as_it_was_and_progress_is_told():
    net, trajectory, q = recorded()
    before, state, seen = {k: t.clone() for k, t in net.state_dict().items()}, torch.get_rng_state(), []
    stored = [{k: t.clone() for k, t in s.parameters.items()} for s in trajectory.steps]
    unrolled_influence(net, trajectory, {1: q, 3: q}, loss=soft_loss, progress=seen.append)
    assert seen == [2, 1, 0]
    assert all(torch.equal(before[k], t) for k, t in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a[k], s.parameters[k]) for a, s in zip(stored, trajectory.steps, strict=True) for k in a)
    assert not any(t.requires_grad for s in trajectory.steps for t in s.parameters.values())


class Functional(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.1, self.training)


def test_bad_input():
    net, trajectory, q = recorded()
    with pytest.raises(InputError, match="time 6: the trajectory goes from 0 to 5"):
        unrolled_influence(net, trajectory, {6: q})
    with pytest.raises(InputError, match="no cotangents"):
        unrolled_influence(net, trajectory, {})
    with pytest.raises(InputError, match=r"q_2\['nope'\]"):
        unrolled_influence(net, trajectory, {2: {"nope": torch.ones(1)}})
    with pytest.raises(InputError, match="drops units at random"):
        unrolled_influence(nn.Sequential(nn.Flatten(), nn.Linear(32, 2), nn.Dropout(0.1)).double(), trajectory, {2: {}})
    functional = nn.Sequential(nn.Flatten(), Functional(), nn.Linear(32, 2)).double()
    with pytest.raises(InputError, match=r"layer '1' \(Functional\) gives the same input other outputs each time, so a step"):
        unrolled_influence(functional, trajectory, {2: {}})
    i = torch.tensor([0, 9])
    for arguments, message in (
        ({"indices": i}, "from 0 to 8, got 0 to 9"),
        ({"indices": i[:1], "shares": torch.ones(1, 2)}, r"shares must have the shape \(1, 1\)"),
        ({"indices": i[:1], "weights": torch.ones(2)}, r"weights must have the shape \(1,\), got \(2,\)"),
        ({"indices": i[:1], "momentum": 1.5}, "momentum 1.5"),
    ):
        with pytest.raises(InputError, match=message):
            Trajectory(N).record(net, (X[:1], Y[:1]), **{"lr": 0.1, **arguments})
    short = Trajectory(N)
    short.record(net, lambda: (X[:1], Y[:1]), torch.tensor([0, 1]), lr=0.1)
    with pytest.raises(InputError, match="recorded with 2 rows, its batch now has 1"):
        unrolled_influence(net, short, {1: q})


def test_only_what_the_recursion_covers_is_read_from_an_optimiser():
    p = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    assert sgd(torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)) == {
        "lr": 0.1, "momentum": 0.9, "weight_decay": 0, "nesterov": True
    }  # fmt: skip
    with pytest.raises(InputError, match="not of Adam"):
        sgd(torch.optim.Adam(p))
    with pytest.raises(InputError, match="one parameter group, got 2"):
        sgd(torch.optim.SGD([{"params": p[:1]}, {"params": p[1:]}], lr=0.1))
    with pytest.raises(InputError, match=r"dampening=0\.0, got 0\.5"):
        sgd(torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5))
    with pytest.raises(InputError, match="maximize=False, got True"):
        sgd(torch.optim.SGD(p, lr=0.1, maximize=True))
