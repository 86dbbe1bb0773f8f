import math

import pytest
import torch

from refluence.errors import RunError
from refluence.influence.solvers import IndefiniteError, largest_eigenvalue, lbfgs, lissa, pcg
from support.draws import generator

N = 30
ALL = [pcg, lbfgs, lissa]


def system(low=0.1, high=10.0, seed=0, dtype=torch.float64):
    """A symmetric matrix with eigenvalues from low to high, as an operator on two named tensors, and a right-hand side."""
    g = generator(seed)
    q, _ = torch.linalg.qr(torch.randn(N, N, generator=g, dtype=torch.float64))
    matrix = q @ torch.diag(torch.linspace(low, high, N, dtype=torch.float64)) @ q.T
    b = torch.randn(N, generator=g, dtype=torch.float64)

    def apply(v):
        apply.calls += 1
        return named(matrix.to(dtype) @ join(v))

    apply.calls = 0
    return matrix, apply, named(b.to(dtype))


def named(vector):
    return {"a": vector[:12].view(3, 4), "b": vector[12:]}


def join(v):
    return torch.cat([v["a"].flatten(), v["b"]])


def exact(matrix, b):
    return torch.linalg.solve(matrix, join(b).double())


def relative(x, want):
    return float((join(x) - want).norm() / want.norm())


@pytest.mark.parametrize(("solve", "iterations", "error"), [(pcg, 60, 1e-8), (lbfgs, 60, 1e-8), (lissa, 3000, 1e-8)])
def test_every_solver_finds_the_solution_of_torch(solve, iterations, error):
    matrix, apply, b = system()
    found = solve(apply, b, tolerance=1e-10, iterations=iterations)
    assert found.converged
    assert relative(found.x, exact(matrix, b)) < error
    assert {k: t.shape for k, t in found.x.items()} == {k: t.shape for k, t in b.items()}


def test_conjugate_gradients_end_after_as_many_steps_as_eigenvalues():
    matrix, apply, b = system()
    found = pcg(apply, b, tolerance=1e-13, iterations=2 * N)
    assert found.iterations <= N + 3
    assert relative(found.x, exact(matrix, b)) < 1e-12


@pytest.mark.parametrize("solve", ALL)
def test_residuals_are_the_true_relative_ones_and_are_reported(solve):
    matrix, apply, b = system()
    seen = []
    found = solve(apply, b, tolerance=1e-3, iterations=2000, progress=lambda i, r: seen.append((i, r)))
    assert seen == list(enumerate(found.residuals))
    assert found.residuals[0] == 1
    assert found.residuals[-1] <= 1e-3 < found.residuals[-2]
    right = join(b)
    assert found.residuals[-1] == pytest.approx(float((right - matrix @ join(found.x)).norm() / right.norm()), rel=1e-6)
    assert found.iterations == len(seen) - 1


@pytest.mark.parametrize("solve", ALL)
def test_the_cap_is_kept_and_said(solve):
    _, apply, b = system()
    found = solve(apply, b, tolerance=1e-12, iterations=4)
    assert found.iterations == 4
    assert not found.converged


@pytest.mark.parametrize("solve", ALL)
def test_a_warm_start_takes_fewer_steps(solve):
    matrix, apply, b = system()
    near = named(exact(matrix, b) * 1.01)
    cold = solve(apply, b, tolerance=1e-4, iterations=1000)
    warm = solve(apply, b, tolerance=1e-4, iterations=1000, x0=near)
    assert warm.iterations < cold.iterations
    assert warm.residuals[0] == pytest.approx(0.01, rel=1e-6)
    there = solve(apply, b, tolerance=1e-4, x0=named(exact(matrix, b)))
    assert there.iterations == 0
    assert there.converged


@pytest.mark.parametrize("solve", ALL)
def test_an_indefinite_operator_is_refused(solve):
    _, apply, b = system(low=-1.0)
    with pytest.raises(IndefiniteError, match=r"p\^T A p = -.* at iteration \d+: raise damping or use ggn"):
        solve(apply, b, tolerance=1e-10, iterations=1000)


@pytest.mark.parametrize("solve", ALL)
def test_numbers_that_are_not_finite_are_named(solve):
    _, _, b = system()
    with pytest.raises(RunError, match=r"nan|inf"):
        solve(lambda v: {k: t * math.nan for k, t in v.items()}, b)


@pytest.mark.parametrize("solve", ALL)
def test_a_right_hand_side_of_zero_gives_zero(solve):
    _, apply, b = system()
    found = solve(apply, {k: torch.zeros_like(t) for k, t in b.items()})
    assert float(join(found.x).abs().max()) == 0
    assert found.converged
    assert found.iterations == 0


def test_exact_steps_make_l_bfgs_take_the_steps_of_conjugate_gradients():
    _, apply, b = system()
    a, c = pcg(apply, b, tolerance=1e-6), lbfgs(apply, b, tolerance=1e-6)
    assert c.residuals == pytest.approx(a.residuals, rel=1e-6)


def test_the_exact_preconditioner_needs_one_step_and_a_good_one_few():
    matrix, apply, b = system(low=1e-4, high=100)
    perfect = pcg(apply, b, tolerance=1e-8, precondition=lambda r: named(torch.linalg.solve(matrix, join(r))))
    assert perfect.iterations == 1
    noisy = matrix + 0.1 * torch.eye(N, dtype=torch.float64)
    plain = pcg(apply, b, tolerance=1e-6, iterations=500)
    good = pcg(apply, b, tolerance=1e-6, iterations=500, precondition=lambda r: named(torch.linalg.solve(noisy, join(r))))
    assert good.iterations < plain.iterations
    assert relative(good.x, exact(matrix, b)) < 1e-4


def test_an_indefinite_preconditioner_is_refused():
    _, apply, b = system()
    with pytest.raises(RunError, match="preconditioner is not positive definite"):
        pcg(apply, b, precondition=lambda r: {k: -t for k, t in r.items()})


def test_conjugate_gradients_stay_true_in_float32_over_many_steps():
    matrix, apply, b = system(low=1e-3, high=10, dtype=torch.float32)
    found = pcg(apply, b, tolerance=1e-5, iterations=300)
    assert found.converged
    true = (join(b).double() - matrix @ join(found.x).double()).norm() / join(b).double().norm()
    assert float(true) < 1e-4


def test_the_largest_eigenvalue_is_bounded_from_below():
    matrix, apply, b = system()
    top = float(torch.linalg.eigvalsh(matrix).max())
    found = largest_eigenvalue(apply, b)
    assert 0.8 * top < found <= top * (1 + 1e-12)
    assert found == largest_eigenvalue(apply, b)


def test_the_neumann_series_recovers_from_a_scale_that_is_too_small(monkeypatch):
    matrix, apply, b = system()
    monkeypatch.setattr("refluence.influence.solvers.largest_eigenvalue", lambda apply, b: 0.5)
    found = lissa(apply, b, tolerance=1e-6, iterations=3000)
    assert found.converged
    assert relative(found.x, exact(matrix, b)) < 1e-5
    assert all(a >= b for a, b in zip(found.residuals, found.residuals[1:], strict=False))


def test_solvers_leave_their_inputs_and_global_randomness_alone():
    _, apply, b = system()
    x0 = named(torch.ones(N, dtype=torch.float64))
    before, state = join(b).clone(), torch.get_rng_state()
    for solve in ALL:
        solve(apply, b, x0=x0)
    assert torch.equal(join(b), before)
    assert torch.equal(join(x0), torch.ones(N, dtype=torch.float64))
    assert torch.equal(torch.get_rng_state(), state)
