"""IWD eq. 8-26 against the definition: central differences of M(w + eps e_j), with and without retraining to stationarity."""

import functools

import pytest
import torch
import torch.nn.functional as F

from refluence.errors import InputError
from refluence.influence.capture import capture
from refluence.influence.curvature import Curvature, inverse_product
from refluence.influence.directional import scores
from refluence.influence.distillation import Pair, RunningInfluence, combined, distillation_influence, explicit, match
from refluence.influence.statistic import Gradients, Means, Samples
from refluence.matching.characteristic import Characteristic, characteristic, frequencies
from refluence.matching.discrepancies import L1, FlatCosine, RowCosine, Squared, second_derivative
from refluence.matching.features import embedding
from refluence.matching.kernel import MMD, RBF, linear
from support.brute_force import STEP, central, close, flat, unflat
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

DECAY = 0.05
X, S = real(), synthetic()
OMEGA = torch.softmax(torch.randn(N, generator=generator(8), dtype=torch.float64), 0) * N
T = frequencies(7, 32, generator(2)).double()


def spectrum(net, x):
    f = F.normalize(net.features(x).flatten(1))
    return characteristic(f, T[:, : f.shape[1]])


GRADIENTS = {"row": RowCosine(), "flat": FlatCosine(), "squared": Squared(), "idc": Squared(least=2), "l1": L1(least=2)}
FEATURES = {
    "dm": (Means(embedding), Squared()),
    "dm-cosine": (Means(embedding), FlatCosine()),
    "ncfm": (Means(spectrum), Characteristic(0.7, 0.3)),
    "mmd-rbf": (Samples(lambda net, x: net.features(x)), MMD(RBF(3.0))),
    "mmd-linear": (Samples(lambda net, x: net.features(x)), MMD(linear)),
}


def declared(kind, net):
    if kind in FEATURES:
        return FEATURES[kind]
    names = tuple(k for k, p in net.named_parameters() if GRADIENTS[kind].uses(p))
    return Gradients(names), GRADIENTS[kind]


def objective(net, kind, theta, w):
    """sum_c D(a_c, b_c) at parameters theta with weights w on one simplex over D, written out from the definition."""
    total = 0.0
    for c, n in enumerate(COUNTS):
        sides = ((S[SYNTHETIC_OF[c]], torch.full((2,), 0.5, dtype=torch.float64)), (X[OF[c]], w[OF[c]] * N / n))
        if kind in GRADIENTS:
            p = {k: t.detach().requires_grad_() for k, t in theta.items()}
            a, b = (
                dict(zip(p, torch.autograd.grad(u @ losses(net, p, x, torch.full((len(x),), c)), p.values()), strict=True))
                for x, u in sides
            )
            total = total + GRADIENTS[kind].value(a, b)
            continue
        saved = {k: t.clone() for k, t in parameters(net).items()}
        net.load_state_dict(theta)
        with torch.no_grad():
            phis = [FEATURES[kind][0].phi(net, x) if "mmd" not in kind else {"rows": net.features(x)} for x, _ in sides]
            if "mmd" in kind:
                a, b = ({**phi, "weights": u} for phi, (_, u) in zip(phis, sides, strict=True))
            else:
                a, b = ({k: u @ t for k, t in phi.items()} for phi, (_, u) in zip(phis, sides, strict=True))
            total = total + FEATURES[kind][1].value(a, b)
        net.load_state_dict(saved)
    return float(total)


def regularised(net, theta, w, x):
    return w @ losses(net, theta, x, Y) + 0.5 * DECAY * sum(t.square().sum() for t in theta.values())


def hessian(net, like, w, x):
    return torch.autograd.functional.hessian(lambda v: regularised(net, unflat(v, like), w, x), flat(like))


def retrain(net, theta, w, x=X, A=None, tolerance=1e-13):
    """Newton to a stationary point of the regularised weighted mean loss, from theta; A: a Hessian that is good enough."""
    v = flat(theta)
    for _ in range(30):
        p = unflat(v, theta)
        leaf = {k: t.clone().requires_grad_() for k, t in p.items()}
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(regularised(net, leaf, w, x), leaf.values())])
        if gradient.norm() < tolerance:
            return p
        v = v - torch.linalg.solve(hessian(net, p, w, x) if A is None else A, gradient)
    raise AssertionError("Newton did not converge")


def train(net, w, x=X):
    """A minimum near the net's start, put into the net."""
    leaf = {k: t.clone().requires_grad_() for k, t in parameters(net).items()}
    optimizer = torch.optim.LBFGS(list(leaf.values()), max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        value = regularised(net, leaf, w, x)
        value.backward()
        return value

    optimizer.step(closure)
    theta = retrain(net, {k: t.detach() for k, t in leaf.items()}, w, x)
    assert torch.linalg.eigvalsh(hessian(net, theta, w, x)).min() > 1e-3
    net.load_state_dict(theta)
    return theta


def pairs(omega=OMEGA, sizes=(2, 9), inner=None):
    """One pair a class, the real side in two uneven batches."""
    out = []
    for c, n in enumerate(COUNTS):
        x, y, w = X[OF[c]], torch.full((n,), c), omega[OF[c]]
        cut = [(x[:2], y[:2], w[:2]), (x[2:], y[2:], w[2:])]
        seen = None if inner is None else [(inner[OF[c]], y)]
        out.append(Pair([(S[SYNTHETIC_OF[c]], SYNTHETIC_Y[SYNTHETIC_OF[c]])], cut, N / n, seen))
    return out


def by_index(parts):
    out = torch.zeros(N, dtype=torch.float64)
    for c, part in enumerate(parts):
        out[OF[c]] = part
    return out


def dense_solve(net, w, x=X):
    p = parameters(net)
    A = hessian(net, p, w, x)
    return lambda q: unflat(torch.linalg.solve(A, flat({k: q[k] for k in p})), p)


@functools.cache
def trained(name):
    """The parameters at OMEGA, and those retrained at each w + eps e_j and each w - eps e_j."""
    net, w = make_net(name), OMEGA / N
    theta = train(net, w)
    A, steps = hessian(net, theta, w, X), STEP * torch.eye(N, dtype=torch.float64)
    return theta, [[(w + s * e, retrain(net, theta, w + s * e, A=A)) for s in (1, -1)] for e in steps]


def at_minimum(name):
    net, (theta, nudged) = make_net(name), trained(name)
    net.load_state_dict(theta)
    return net, nudged


def retrained(f, nudged):
    """(f(w + eps e_j, theta there) - f(w - eps e_j, theta there)) / 2 eps."""
    return torch.tensor([(f(*up) - f(*down)) / (2 * STEP) for up, down in nudged], dtype=torch.float64)


@pytest.mark.parametrize("name", ["mlp", "group", "instance"])
@pytest.mark.parametrize("kind", [*GRADIENTS, *FEATURES])
def test_explicit_term_is_the_whole_derivative_when_s_inner_is_s(kind, name):
    net, w = make_net(name), OMEGA / N
    result = distillation_influence(net, pairs(), *declared(kind, net))
    theta = parameters(net)
    close(by_index(result.scores), central(lambda u: objective(net, kind, theta, u), w))
    assert result.value == pytest.approx(objective(net, kind, theta, w), rel=1e-10)
    assert result.q is None
    assert result.solution is None


@pytest.mark.parametrize("name", ["linear", "mlp", "group", "instance"])
@pytest.mark.parametrize("kind", [*GRADIENTS, *FEATURES])
def test_both_terms_are_the_derivative_through_retraining_when_s_inner_is_d(kind, name):
    """theta(w) is the stationary point of the weighted loss: eq. 23 is exact, and so is eq. 26."""
    (net, nudged), w = at_minimum(name), OMEGA / N
    declaration, solve = declared(kind, net), dense_solve(net, w)
    both = distillation_influence(net, pairs(), *declaration, terms="both", solve=solve)
    close(by_index(both.scores), retrained(lambda u, theta: objective(net, kind, theta, u), nudged))
    implicit = by_index(distillation_influence(net, pairs(), *declaration, terms="implicit", solve=solve).scores)
    if name == "linear" and kind in FEATURES:  # features of the input do not move with theta
        assert not implicit.any()
    else:
        close(implicit, retrained(lambda _, theta: objective(net, kind, theta, w), nudged))
        assert implicit.abs().max() > 1e-3


def test_lemma_a_with_both_terms():
    """Renormalised weights: every influence moves by the same constant, -<I, w>."""
    (net, _), w = at_minimum("mlp"), OMEGA / N
    theta = parameters(net)
    A = hessian(net, theta, w, X)
    found = distillation_influence(net, pairs(), *declared("squared", net), terms="both", solve=dense_solve(net, w))
    scores = by_index(found.scores)

    def renormalised(u):
        u = u / u.sum()
        return objective(net, "squared", retrain(net, theta, u, A=A), u)

    close(central(renormalised, w), scores - scores @ w)
    assert abs(float(scores @ w)) > 1e-3


def test_without_the_class_factor_the_explicit_part_is_too_small():
    """The trap of scales: s_j has the factor N/n_c, u_j has not."""
    (net, nudged), w = at_minimum("mlp"), OMEGA / N
    plain = [Pair(p.synthetic, p.real) for p in pairs()]
    found = distillation_influence(net, plain, *declared("squared", net), terms="both", solve=dense_solve(net, w))
    want = retrained(lambda u, theta: objective(net, "squared", theta, u), nudged)
    assert (by_index(found.scores) - want).abs().max() > 0.01 * want.abs().max()


def test_solve_is_one_inverse_product_with_the_hessian():
    (net, _), w = at_minimum("group"), OMEGA / N
    solved = []

    def solve(q):
        how = Curvature("hessian", tolerance=1e-11, iterations=2000)
        solved.append(inverse_product(net, [(X[:4], Y[:4], OMEGA[:4]), (X[4:], Y[4:], OMEGA[4:])], q, how, weight_decay=DECAY))
        return solved[-1].x

    declaration = declared("row", net)
    by_iteration = distillation_influence(net, pairs(), *declaration, terms="both", solve=solve)
    direct = distillation_influence(net, pairs(), *declaration, terms="both", solve=dense_solve(net, w))
    assert len(solved) == 1
    close(by_index(by_iteration.scores), by_index(direct.scores), 1e-8)


@pytest.mark.parametrize("kind", ["row", "squared"])
def test_q_is_the_total_derivative_through_both_sides(kind):
    net, w = make_net("instance"), OMEGA / N
    q = match(net, pairs(), *declared(kind, net)).q
    theta, direction = parameters(net), unflat(torch.randn(flat(parameters(net)).shape, generator=generator(3)).double(), q)
    ahead, back = (objective(net, kind, {k: t + s * STEP * direction[k] for k, t in theta.items()}, w) for s in (1, -1))
    want = (ahead - back) / (2 * STEP)
    assert float(sum((q[k] * direction[k]).sum() for k in q)) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", ["mlp", "group", "instance"])
def test_combined_direction_is_the_sum_of_two_passes(name):
    net = make_net(name)
    statistic, discrepancy = declared("row", net)
    matched = match(net, pairs(), statistic, discrepancy)
    x = unflat(torch.randn(flat(matched.q).shape, generator=generator(3), dtype=torch.float64), matched.q)
    one_pass = distillation_influence(net, pairs(), statistic, discrepancy, terms="both", solve=lambda q: x)
    for c, n in enumerate(COUNTS):
        at = X[OF[c]], Y[OF[c]]
        v = matched.seconds[c]
        assert set(v) < set(x)  # the statistic leaves vectors out, inner training does not
        two = N / n * scores(net, *at, v) - scores(net, *at, x)
        close(scores(net, *at, combined(v, x, N / n)), two, 1e-12)
        close(one_pass.scores[c], two, 1e-12)


def test_inner_training_on_other_views_of_the_same_instances():
    """Matching augments, inner training too, each in its own way: two passes, and the derivative is still exact."""
    net, w, seen = make_net("mlp"), OMEGA / N, X.flip(-1) + 0.1
    theta = train(net, w, seen)
    A = hessian(net, theta, w, seen)
    found = distillation_influence(net, pairs(inner=seen), *declared("row", net), terms="both", solve=dense_solve(net, w, seen))
    close(by_index(found.scores), central(lambda u: objective(net, "row", retrain(net, theta, u, seen, A), u), w))


def test_a_loss_of_inner_training_that_is_not_the_matched_one_takes_its_own_pass():
    net, v = make_net("mlp"), None

    def doubled(logits, y):
        return 2 * F.cross_entropy(logits, y, reduction="none")

    statistic, discrepancy = declared("row", net)
    x = {k: torch.ones_like(p) for k, p in parameters(net).items()}
    found = distillation_influence(net, pairs(), statistic, discrepancy, terms="both", solve=lambda q: x, loss=doubled)
    for c, n in enumerate(COUNTS):
        v = match(net, pairs(), statistic, discrepancy, total=False).seconds[c]
        want = N / n * scores(net, X[OF[c]], Y[OF[c]], v) - 2 * scores(net, X[OF[c]], Y[OF[c]], x)
        close(found.scores[c], want, 1e-12)


def test_a_factor_of_one_is_the_scale_of_the_explicit_scores_of_a_class_batch():
    net = make_net("group")
    statistic, discrepancy = declared("row", net)
    plain = [Pair(p.synthetic, p.real) for p in pairs(torch.ones(N, dtype=torch.float64))]
    found = distillation_influence(net, plain, statistic, discrepancy)
    for c in range(CLASSES):
        kept = capture(net, X[OF[c]], Y[OF[c]], names=statistic.names)
        a = capture(net, S[SYNTHETIC_OF[c]], SYNTHETIC_Y[SYNTHETIC_OF[c]], names=statistic.names).gradient()
        v = second_derivative(discrepancy, a, kept.gradient())[1]
        close(found.scores[c], explicit(kept, v), 1e-10)


@pytest.mark.parametrize("kind", ["row", "dm", "ncfm", "mmd-rbf"])
def test_the_model_is_left_as_it_was(kind):
    net = make_net("instance").train()
    net.classifier.bias.requires_grad_(False)
    before = {k: t.clone() for k, t in net.state_dict().items()}
    state = torch.get_rng_state()
    distillation_influence(net, pairs(), *declared(kind, net), terms="both", solve=lambda q: q)
    assert all(torch.equal(before[k], t) for k, t in net.state_dict().items())
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == [True] * 5 + [False]
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_bad_input():
    net = make_net("mlp")
    with pytest.raises(InputError, match="unknown terms 'all': choose one of explicit, implicit, both"):
        distillation_influence(net, pairs(), *declared("row", net), terms="all")
    with pytest.raises(InputError, match="terms=both needs solve"):
        distillation_influence(net, pairs(), *declared("row", net), terms="both")
    batchnorm = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Flatten())
    with pytest.raises(InputError, match=r"model\.eval\(\)"):
        distillation_influence(batchnorm.double(), pairs(), Means(lambda net, x: {"features": net(x)}), Squared())


def test_running_influence_is_a_mean_by_position_and_restores_itself():
    table, g = RunningInfluence(5), generator(0)
    history = [torch.randn(3, generator=g, dtype=torch.float64) for _ in range(4)]
    places = [torch.tensor(p) for p in ([0, 1, 2], [2, 0, 4], [4, 2, 1], [0, 2, 4])]
    for where, score in zip(places, history, strict=True):
        table.add(where, score, score / 2)
    seen = torch.full((4, 5), torch.nan, dtype=torch.float64)
    for t, (where, score) in enumerate(zip(places, history, strict=True)):
        seen[t, where] = score
    visited = ~seen.isnan().all(0)
    torch.testing.assert_close(table.raw[visited], seen.nanmean(0)[visited], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(table.standardised, table.raw / 2, rtol=1e-12, atol=1e-15)
    assert table.visits.tolist() == [3, 2, 4, 0, 3]
    again = RunningInfluence(5)
    again.restore(table.state())
    assert all(torch.equal(again.state()[k], t) for k, t in table.state().items())
