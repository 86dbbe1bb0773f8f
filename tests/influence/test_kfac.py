import builtins

import curvlinops.ekfac
import pytest
import torch
from curvlinops import GGNLinearOperator
from torch import nn

from refluence.errors import InputError, RunError
from refluence.influence import kfac
from refluence.influence.curvature import Curvature, inverse_product
from refluence.influence.kfac import factored
from refluence.influence.losses import DistillationLoss, SquaredError, cross_entropy
from refluence.influence.operators import operator
from refluence.transfer.losses import StudentLoss
from support.brute_force import flat, unflat
from support.cases import Case, make
from support.curvature import batches, gauss_newton, sample_weights
from support.draws import generator

BOTH = [False, True]


def linear(n=9, x=None, classes=3, bias=True, seed=0):
    g = generator(seed)
    x = torch.randn(n, 5, generator=g, dtype=torch.float64) if x is None else x
    model = nn.Linear(5, classes, bias=bias).double()
    for p in model.parameters():
        p.data.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    return Case(model, x, torch.randint(0, classes, (len(x),), generator=g), cross_entropy)


def dense_solution(case, loss, y, v, damping, names=None):
    matrix = gauss_newton(case, loss, y, names=names)
    return torch.linalg.solve(matrix + damping * torch.eye(len(matrix), dtype=torch.float64), flat(v))


def assert_solves(inverse, v, want, tolerance=1e-9):
    got = flat(inverse(v))
    assert float((got - want).norm() / want.norm()) < tolerance


@pytest.mark.parametrize("name", ["instance", "group", "batch", "mlp"])
@pytest.mark.parametrize("squared", BOTH)
def test_our_gauss_newton_matrix_is_that_of_curvlinops(name, squared):
    case = make(name)
    y = torch.randn(len(case.x), 3, generator=generator(5), dtype=torch.float64) if squared else case.y
    theirs = nn.MSELoss() if squared else nn.CrossEntropyLoss()
    data = batches(case, y)
    parameters = list(case.model.parameters())
    v = case.direction()
    want = GGNLinearOperator(case.model, theirs, parameters, data, check_deterministic=False) @ flat(v)
    got = operator(case.model, data, loss=SquaredError() if squared else cross_entropy, damping=0)(v)
    scale = 2 / 3 if squared else 1  # theirs has a mean over three outputs and no half
    torch.testing.assert_close(scale * flat(got), want.detach(), rtol=1e-9, atol=1e-12 * float(want.detach().abs().max()))


@pytest.mark.parametrize("corrected", BOTH)
@pytest.mark.parametrize("bias", BOTH)
def test_exact_for_one_linear_layer_and_one_sample(corrected, bias):
    case = linear(n=1, bias=bias)
    v = case.direction()
    inverse = factored(operator(case.model, [(case.x, case.y)], damping=0.3), corrected=corrected)
    assert_solves(inverse, v, dense_solution(case, cross_entropy, case.y, v, 0.3))
    assert inverse.note == ""


@pytest.mark.parametrize("corrected", BOTH)
def test_exact_for_one_linear_layer_and_the_same_input_every_time(corrected):
    row = torch.randn(1, 5, generator=generator(3), dtype=torch.float64)
    case = linear(x=row.expand(9, 5).contiguous())
    v = case.direction()
    data = [(case.x[:4], case.y[:4]), (case.x[4:], case.y[4:])]
    inverse = factored(operator(case.model, data, damping=0.3), corrected=corrected)
    assert_solves(inverse, v, dense_solution(case, cross_entropy, case.y, v, 0.3))


@pytest.mark.parametrize("corrected", BOTH)
def test_exact_for_squared_error_on_a_linear_layer(corrected):
    """S = I: the curvature of the outputs does not depend on the sample, so the product of means is the mean."""
    case = linear(classes=4)
    y = torch.randn(9, 4, generator=generator(5), dtype=torch.float64)
    v = case.direction()
    made = operator(case.model, [(case.x[:2], y[:2]), (case.x[2:], y[2:])], loss=SquaredError(), damping=0.3)
    assert_solves(factored(made, corrected=corrected), v, dense_solution(case, SquaredError(), y, v, 0.3))


def test_labels_do_not_matter_and_may_be_soft():
    case = linear()
    soft = torch.softmax(torch.randn(9, 3, generator=generator(5), dtype=torch.float64), 1)
    v = case.direction()
    hard = flat(factored(operator(case.model, [(case.x, case.y)], damping=0.3))(v))
    assert torch.equal(flat(factored(operator(case.model, [(case.x, soft)], damping=0.3))(v)), hard)


@pytest.mark.parametrize("corrected", BOTH)
@pytest.mark.parametrize("name", ["instance", "group", "batch", "mlp", "shared", "rare"])
def test_other_parameters_are_a_dense_block_solved_exactly(name, corrected):
    case = make(name)
    v = case.direction()
    inverse = factored(operator(case.model, batches(case), damping=0.2), corrected=corrected)
    plain = (nn.Linear, nn.Conv2d)
    modules = [(label, m) for label, m in case.model.named_modules() if m._parameters]
    outside = {f"{label}.{k}" for label, m in modules if not isinstance(m, plain) for k in m._parameters}
    outside |= {"mix.weight"} if name == "shared" else set()  # tied
    if name == "rare":
        outside |= {f"convs.{i}.{k}" for i in (3, 5) for k in ("weight", "bias")}  # groups
    outside = [k for k in case.named() if k in outside]
    numbers = sum(case.named()[k].numel() for k in outside)
    assert inverse.note == f"{numbers} numbers outside the layers that K-FAC reads in a dense block"
    got = inverse(v)
    assert list(got) == list(v)
    block = {k: v[k] for k in outside}
    want = dense_solution(case, cross_entropy, case.y, block, 0.2, outside)
    assert float((flat({k: got[k] for k in outside}) - want).norm() / want.norm()) < 1e-9


def test_a_large_block_of_other_parameters_is_diagonal(monkeypatch):
    case = make("mlp")
    names = ["3.weight", "3.bias"]
    monkeypatch.setattr(kfac, "DENSE", 10)
    monkeypatch.setattr(kfac, "PROBES", 200)
    v = {k: torch.ones(10, dtype=torch.float64) for k in names}
    inverse = factored(operator(case.model, [(case.x, case.y)], damping=0.2, names=names))
    assert inverse.note == "20 numbers outside the layers that K-FAC reads in a diagonal block"
    want = 1 / (gauss_newton(case, cross_entropy, case.y, names=names).diagonal() + 0.2)
    torch.testing.assert_close(flat(inverse(v)), want, rtol=0.1, atol=0)


def test_sample_weights_are_in_the_other_block_and_refused_as_an_inverse():
    case = make("mlp")
    w = sample_weights(case)
    names = ["3.weight", "3.bias"]
    v = {k: t for k, t in case.direction().items() if k in names}
    made = operator(case.model, batches(case, weights=w), damping=0.2, names=names)
    with pytest.raises(InputError, match="K-FAC has no sample weights: leave them out, or use kind 'ggn'"):
        factored(made)
    matrix = gauss_newton(case, cross_entropy, case.y, w, names)
    want = torch.linalg.solve(matrix + 0.2 * torch.eye(20, dtype=torch.float64), flat(v))
    assert_solves(factored(made, exact=False), v, want)


@pytest.mark.parametrize("corrected", BOTH)
@pytest.mark.parametrize("name", ["instance", "rare", "shared"])
def test_symmetric_positive_definite(name, corrected):
    case = make(name)
    inverse = factored(operator(case.model, batches(case), damping=0.01), corrected=corrected)
    u, v = case.direction(1), case.direction(2)
    assert float(flat(inverse(u)) @ flat(v)) == pytest.approx(float(flat(u) @ flat(inverse(v))), rel=1e-8)
    assert float(flat(inverse(u)) @ flat(u)) > 0


def regression():
    """A softmax regression with features of unlike scales."""
    g = generator(0)
    x = torch.randn(200, 10, generator=g, dtype=torch.float64) * torch.logspace(-1.5, 1, 10, dtype=torch.float64)
    model = nn.Linear(10, 4).double()
    for p in model.parameters():
        p.data.copy_(0.1 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return Case(model, x, torch.randint(0, 4, (200,), generator=g), cross_entropy)


@pytest.mark.parametrize("factors", ["kfac", "ekfac"])
def test_as_a_preconditioner_it_saves_iterations_on_a_logistic_regression(factors):
    case = regression()
    v = case.direction()
    plain = inverse_product(case.model, [(case.x, case.y)], v, Curvature("ggn", 1e-3, 1e-6, 500))
    fast = inverse_product(case.model, [(case.x, case.y)], v, Curvature("ggn", 1e-3, 1e-6, 500, factors))
    assert fast.iterations < plain.iterations / 2
    want = dense_solution(case, cross_entropy, case.y, v, 1e-3)
    assert float((flat(fast.x) - want).norm() / want.norm()) < 1e-4


def test_as_a_preconditioner_it_does_not_change_the_solution_of_a_weighted_network():
    case = make("instance")
    v, data = case.direction(), batches(case, weights=sample_weights(case))
    plain = inverse_product(case.model, data, v, Curvature("ggn", 1e-2, 1e-10, 1000))
    fast = inverse_product(case.model, data, v, Curvature("ggn", 1e-2, 1e-10, 1000, "kfac"))
    assert float((flat(fast.x) - flat(plain.x)).norm() / flat(plain.x).norm()) < 1e-7
    assert fast.note == "32 numbers outside the layers that K-FAC reads in a dense block"


def test_as_a_preconditioner_of_the_hessian():
    case = make("mlp")
    v, data = case.direction(), batches(case)
    plain = inverse_product(case.model, data, v, Curvature("hessian", 20.0, 1e-10, 300))
    fast = inverse_product(case.model, data, v, Curvature("hessian", 20.0, 1e-10, 300, "ekfac"))
    assert float((flat(fast.x) - flat(plain.x)).norm() / flat(plain.x).norm()) < 1e-8


@pytest.mark.parametrize("kind", ["kfac", "ekfac"])
def test_a_direct_solution_says_how_far_from_the_gauss_newton_matrix_it_is(kind):
    case = regression()
    v = case.direction()
    seen = []
    data = [(case.x, case.y)]
    found = inverse_product(case.model, data, v, Curvature(kind, 0.1), progress=lambda i, r: seen.append((i, r)))
    matrix = gauss_newton(case, cross_entropy, case.y)
    left = flat(v) - matrix @ flat(found.x) - 0.1 * flat(found.x)
    assert found.residuals == (pytest.approx(float(left.norm() / flat(v).norm()), rel=1e-9),)
    assert seen == [(0, found.residuals[0])]
    assert found.iterations == 0
    assert found.converged


def test_ekfac_is_nearer_to_the_matrix_than_kfac():
    """EK-FAC is the best diagonal in the eigenbasis, in the Frobenius norm."""
    case = regression()
    matrix, size = gauss_newton(case, cross_entropy, case.y), 44

    def distance(corrected):
        inverse = factored(operator(case.model, [(case.x, case.y)], damping=1.0), corrected=corrected)
        basis = torch.eye(size, dtype=torch.float64)
        columns = [flat(inverse(unflat(basis[i], case.named()))) for i in range(size)]
        approximate = torch.linalg.inv(torch.stack(columns)) - torch.eye(size, dtype=torch.float64)
        return float((approximate - matrix).norm())

    assert distance(True) < distance(False)


def test_models_in_float32_and_frozen_give_the_same():
    case, small = make("group"), make("group").to(torch.float32)
    v = case.direction()
    want = flat(factored(operator(case.model, batches(case), damping=0.2))(v))
    small.model.requires_grad_(False)
    with torch.no_grad():
        got = factored(operator(small.model, batches(small), damping=0.2))({k: t.float() for k, t in v.items()})
    assert float((flat(got).double() - want).norm() / want.norm()) < 1e-4


class Mine:
    """Squared error under another name: curvlinops does not know it."""

    def __call__(self, z, y):
        return 0.5 * (z - y).square().sum(1)

    def hessian(self, z, y, u):
        return u


@pytest.mark.parametrize("corrected", BOTH)
def test_a_loss_of_ones_own_gives_what_the_known_one_gives(corrected):
    case = make("instance")
    y = torch.randn(len(case.x), 3, generator=generator(5), dtype=torch.float64)
    v = case.direction()
    known, own = (
        factored(operator(case.model, batches(case, y), loss=loss, damping=0.2), corrected=corrected)
        for loss in (SquaredError(), Mine())
    )
    assert_solves(own, v, flat(known(v)))


@pytest.mark.parametrize("corrected", BOTH)
@pytest.mark.parametrize("kind", ["kd", "dkd", "mse"])
def test_distillation_losses_are_exact_for_one_linear_layer_and_one_sample(kind, corrected):
    case = linear(n=1)
    teacher = torch.randn(1, 3, generator=generator(6), dtype=torch.float64)
    loss, y, v = StudentLoss(kind, alpha=0.3, temperature=2.0), (case.y, teacher), case.direction()
    inverse = factored(operator(case.model, [(case.x, y)], loss=loss, damping=0.3), corrected=corrected)
    assert_solves(inverse, v, dense_solution(case, loss, y, v, 0.3))


def test_a_loss_without_a_hessian_is_refused():
    case = linear()
    made = operator(case.model, [(case.x, case.y)], "hessian", loss=lambda z, y: z.square().sum(1), damping=1.0)
    with pytest.raises(InputError, match=r"K-FAC needs a loss with `hessian"):
        factored(made)


def test_other_outputs_and_no_damping_are_refused():
    case = linear()
    with pytest.raises(InputError, match="K-FAC needs a damping > 0, got 0"):
        factored(operator(case.model, [(case.x, case.y)], damping=0))
    x, y = torch.randn(4, 2, 5, dtype=torch.float64), torch.randn(4, 2, 3, dtype=torch.float64)
    with pytest.raises(InputError, match=r"outputs of shape \(B, K\), got \(4, 2, 3\)"):
        factored(operator(case.model, [(x, y)], loss=SquaredError(), damping=1.0))


def test_a_missing_curvlinops_names_the_extra(monkeypatch):
    case, found = linear(), builtins.__import__

    def without(name, *rest):
        if name.startswith("curvlinops"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'refluence\[curvature\]'"):
        factored(operator(case.model, [(case.x, case.y)], damping=1.0))


def test_a_layer_whose_weight_is_used_elsewhere_too_is_in_the_other_block():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(torch.tanh(nn.functional.linear(self.first(x), self.first.weight)))

    torch.manual_seed(0)
    net, x, y = Again().double(), torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3
    inverse = factored(operator(net, [(x, y)], "ggn", damping=0.1))
    assert inverse.note == "20 numbers outside the layers that K-FAC reads in a dense block"


@pytest.mark.parametrize("distilled", BOTH)
def test_factors_whose_eigenvalues_are_not_found_are_made_in_double_precision(monkeypatch, distilled):
    found = curvlinops.ekfac.eigh

    def only_in_double(matrix):
        if matrix.dtype != torch.float64:
            raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")
        return found(matrix)

    case = make("mlp")
    case.model.float()
    loss = DistillationLoss(4, 0.3) if distilled else cross_entropy
    y = (case.y, torch.randn(len(case.y), 3, generator=generator(1))) if distilled else case.y
    data = [(case.x.float(), y)]
    v = {name: torch.randn(p.shape, generator=generator(2)) for name, p in case.model.named_parameters()}
    want = factored(operator(case.model, data, loss=loss, damping=0.1), corrected=True)(v)
    monkeypatch.setattr("curvlinops.ekfac.eigh", only_in_double)
    got = factored(operator(case.model, data, loss=loss, damping=0.1), corrected=True)(v)
    assert {t.dtype for t in got.values()} == {torch.float32}
    assert_near(flat(got), flat(want))


def assert_near(got, want):
    assert float((got - want).norm() / want.norm()) < 1e-3


def test_factors_that_have_no_eigenvalues_are_refused_in_one_line(monkeypatch):
    def none(matrix):
        raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")

    case = make("mlp")
    monkeypatch.setattr("curvlinops.ekfac.eigh", none)
    with pytest.raises(RunError, match="eigenvalues of a layer's factor were not found: use ggn"):
        factored(operator(case.model, [(case.x, case.y)], damping=0.1), corrected=True)
