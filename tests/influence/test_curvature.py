import copy

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.influence.curvature import CURVATURES, Curvature, inverse_product
from refluence.influence.losses import cross_entropy
from refluence.influence.risk import risk_gradient
from refluence.influence.solvers import IndefiniteError
from support.brute_force import flat, unflat
from support.cases import Case, make
from support.curvature import batches, exact_hessian, gauss_newton, losses_and_targets, sample_weights
from support.draws import generator

EXACT = [Curvature(kind, 1.0, 1e-10, 1000) for kind in ("ggn", "lbfgs", "lissa")]


def logistic(seed=0, n=60, features=6, classes=3, dtype=torch.float64):
    """A softmax regression whose Gauss-Newton matrix is its Hessian, features of unlike scales."""
    g = generator(seed)
    x = torch.randn(n, features, generator=g, dtype=dtype) * torch.logspace(-1.5, 1, features, dtype=dtype) + 0.5
    model = nn.Linear(features, classes).to(dtype)
    for p in model.parameters():
        p.data.copy_(0.1 * torch.randn(p.shape, generator=g, dtype=dtype))
    return Case(model, x, torch.randint(0, classes, (n,), generator=g), cross_entropy)


def relative(x, want):
    return float((flat(x).double() - want).norm() / want.norm())


@pytest.mark.parametrize("curvature", EXACT, ids=lambda c: c.kind)
def test_solutions_equal_those_of_the_dense_matrix(curvature):
    case = logistic()
    v = case.direction()
    matrix = gauss_newton(case, cross_entropy, case.y)
    want = torch.linalg.solve(matrix + torch.eye(len(matrix), dtype=torch.float64), flat(v))
    found = inverse_product(case.model, batches(case), v, curvature)
    assert found.converged
    assert relative(found.x, want) < 1e-8
    assert found.damping == 1
    assert found.kind == curvature.kind
    assert found.iterations == len(found.residuals) - 1
    assert found.products >= found.iterations


@pytest.mark.parametrize("name", ["instance", "group", "shared"])
def test_conjugate_gradients_on_networks_with_distillation_and_weights(name):
    case = make(name)
    loss, y = losses_and_targets(case)["kd 4"]
    w = sample_weights(case)
    matrix = gauss_newton(case, loss, y, w)
    v, _ = risk_gradient(case.model, batches(case), cross_entropy)
    want = torch.linalg.solve(matrix + 1e-2 * torch.eye(len(matrix), dtype=torch.float64), flat(v))
    found = inverse_product(case.model, batches(case, y, w), v, Curvature("ggn", 1e-2, 1e-12, 500), loss=loss)
    assert relative(found.x, want) < 1e-8


def test_the_hessian_damped_above_its_lowest_eigenvalue():
    case = make("mlp")
    matrix = exact_hessian(case, cross_entropy, case.y)
    lowest = float(torch.linalg.eigvalsh(matrix).min())
    assert lowest < 0
    v = case.direction()
    want = torch.linalg.solve(matrix + 2 * abs(lowest) * torch.eye(len(matrix), dtype=torch.float64), flat(v))
    found = inverse_product(case.model, batches(case), v, Curvature("hessian", 2 * abs(lowest), 1e-12, 1000))
    assert relative(found.x, want) < 1e-8
    with pytest.raises(IndefiniteError, match=r"raise damping or use ggn"):
        inverse_product(case.model, batches(case), v, Curvature("hessian", 0.1 * abs(lowest), 1e-12, 1000))


def test_identity_is_the_vector_and_its_damping_one():
    case = make("mlp")
    v = case.direction()
    found = inverse_product(case.model, batches(case), v, Curvature("identity"), weight_decay=1e-3)
    assert all(torch.equal(found.x[k], v[k]) for k in v)
    assert (found.damping, found.iterations, found.residuals, found.converged) == (1.0, 0, (), True)


def test_automatic_damping_and_weight_decay_are_reported():
    case = logistic()
    v = case.direction()
    assert inverse_product(case.model, batches(case), v, weight_decay=5e-4).damping == 5e-4
    auto = inverse_product(case.model, batches(case), v)
    assert auto.damping > 0
    assert auto.products == auto.iterations + 8


def test_large_damping_gives_the_direction_of_the_vector():
    case = make("instance")
    v = case.direction()
    found = inverse_product(case.model, batches(case), v, Curvature(damping=1e6))
    assert float(torch.nn.functional.cosine_similarity(flat(found.x), flat(v), dim=0)) > 1 - 1e-9


def test_a_warm_start_takes_fewer_iterations():
    case = make("group")
    v = case.direction()
    precise = Curvature("ggn", 1e-2, 1e-6, 500)
    cold = inverse_product(case.model, batches(case), v, precise)
    near = {k: 1.001 * t for k, t in cold.x.items()}
    warm = inverse_product(case.model, batches(case), v, precise, x0=near)
    assert 0 < warm.iterations < cold.iterations


def test_progress_names_and_float32():
    case = make("instance").to(torch.float32)
    first, *_, last, _ = case.named()
    names = [last, first]
    v = {k: t for k, t in case.direction().items() if k in names}
    seen = []
    found = inverse_product(
        case.model, batches(case), v, Curvature(damping=0.1), names=names, progress=lambda i, r: seen.append((i, r))
    )
    assert seen == list(enumerate(found.residuals))
    assert found.x.keys() == v.keys()
    assert all(t.dtype == torch.float32 for t in found.x.values())
    exact = make("instance")
    matrix = gauss_newton(exact, cross_entropy, exact.y, names=names)
    w = unflat(flat(v).double(), {k: p for k, p in exact.named().items() if k in names})
    residual = flat(w) - matrix @ flat(found.x).double() - 0.1 * flat(found.x).double()
    assert float(residual.norm() / flat(w).norm()) == pytest.approx(found.residuals[-1], rel=1e-2)


@pytest.mark.parametrize("kind", CURVATURES)
def test_the_model_is_left_as_it_was(kind):
    case = make("instance")
    case.model.train()
    next(case.model.parameters()).requires_grad_(False)
    before, state = copy.deepcopy(case.model), torch.get_rng_state()
    with torch.no_grad():
        inverse_product(case.model, batches(case), case.direction(), Curvature(kind, 30.0, 0.1, 5))
    for a, b in zip(before.parameters(), case.model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad
        assert b.grad is None
    assert all(torch.equal(a, b) for a, b in zip(before.buffers(), case.model.buffers(), strict=True))
    assert [m.training for m in before.modules()] == [m.training for m in case.model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert not [m for m in case.model.modules() if m._forward_hooks or m._backward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "fisher"}, "unknown curvature 'fisher': choose one of identity, ggn, hessian"),
        ({"preconditioner": "ilu"}, "unknown preconditioner 'ilu': choose one of none, kfac, ekfac"),
        ({"kind": "lissa", "preconditioner": "kfac"}, "is for ggn and hessian, got curvature 'lissa'"),
        ({"damping": -0.1}, "damping must be a number >= 0 or auto, got -0.1"),
        ({"damping": "much"}, "got 'much'"),
        ({"tolerance": 0}, r"tolerance must be a relative residual in \(0, 1\), got 0"),
        ({"tolerance": 2.0}, "got 2.0"),
        ({"iterations": 0}, "iterations must be a whole number, at least 1, got 0"),
        ({"iterations": 1.5}, "got 1.5"),
    ],
)
def test_bad_options_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Curvature(**arguments)


def test_bad_vectors_are_named():
    case = make("mlp")
    v = case.direction()
    broken = {**v, "1.bias": v["1.bias"] * float("nan")}
    with pytest.raises(InputError, match=r"v\['1.bias'\] has values that are not finite"):
        inverse_product(case.model, batches(case), broken)
    with pytest.raises(InputError, match=r"x0\['1.bias'\] has values"):
        inverse_product(case.model, batches(case), v, x0=broken)
    with pytest.raises(InputError, match="in one of the two only"):
        inverse_product(case.model, batches(case), {"1.bias": v["1.bias"]})


def test_every_kind_has_a_line():
    assert set(CURVATURES) == {"identity", "ggn", "hessian", "kfac", "ekfac", "lbfgs", "lissa"}
    assert not any("\n" in line for line in CURVATURES.values())
