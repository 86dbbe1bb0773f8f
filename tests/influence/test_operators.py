import copy

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.influence.losses import cross_entropy
from refluence.influence.operators import DAMPING_SHARE, mean_diagonal, operator
from support.brute_force import flat, unflat
from support.cases import Case, make
from support.curvature import batches, exact_hessian, gauss_newton, losses_and_targets, sample_weights

NETS = ["instance", "group", "batch", "mlp", "shared"]
LOSSES = ["hard", "soft", "squared", "kd half", "kd 4", "kd alone"]


def assert_equal(got, want, tolerance=1e-10):
    assert float((got - want).abs().max()) <= tolerance * float(want.abs().max())


@pytest.mark.parametrize("name", [*NETS, "rare"])
def test_gauss_newton_equals_the_dense_matrix(name):
    case = make(name)
    matrix = gauss_newton(case, cross_entropy, case.y)
    for seed in (1, 2):
        v = case.direction(seed)
        got = operator(case.model, batches(case), damping=0.25)(v)
        assert list(got) == list(v)
        assert not any(t.requires_grad for t in got.values())
        assert_equal(flat(got), matrix @ flat(v) + 0.25 * flat(v))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss_name", LOSSES)
def test_gauss_newton_for_every_loss_and_sample_weights(loss_name, weighted):
    case = make("instance")
    loss, y = losses_and_targets(case)[loss_name]
    w = sample_weights(case) if weighted else None
    matrix = gauss_newton(case, loss, y, w)
    v = case.direction()
    assert_equal(flat(operator(case.model, batches(case, y, w), loss=loss, damping=0)(v)), matrix @ flat(v))


@pytest.mark.parametrize("name", NETS)
def test_hessian_equals_the_dense_matrix(name):
    case = make(name)
    loss, y = losses_and_targets(case)["kd 4" if name == "group" else "hard"]
    w = sample_weights(case)
    matrix = exact_hessian(case, loss, y, w)
    v = case.direction()
    got = operator(case.model, batches(case, y, w), "hessian", loss=loss, damping=0.25)(v)
    assert_equal(flat(got), matrix @ flat(v) + 0.25 * flat(v))


@pytest.mark.parametrize("name", ["instance", "group"])
def test_hessian_agrees_with_differences_of_gradients(name):
    """Guards the dense matrix too: nothing here is a second derivative."""
    case = make(name)
    v, named, h = case.direction(), case.named(), 1e-6

    def gradient(sign):
        shifted = copy.deepcopy(case.model)
        for k, p in shifted.named_parameters():
            p.data.add_(sign * h * v[k])
        losses = case.loss(shifted(case.x), case.y)
        return flat(dict(zip(named, torch.autograd.grad(losses.mean(), list(shifted.parameters())), strict=True)))

    want = (gradient(1) - gradient(-1)) / (2 * h)
    got = flat(operator(case.model, batches(case), "hessian", damping=0)(v))
    assert_equal(got, want, 1e-6)


def test_hessian_takes_any_loss_and_gauss_newton_says_what_it_lacks():
    case = make("soft")
    matrix = exact_hessian(case, case.loss, case.y)
    v = case.direction()
    made = operator(case.model, batches(case), "hessian", loss=case.loss, damping=0)
    assert_equal(flat(made(v)), matrix @ flat(v))
    with pytest.raises(InputError, match=r"needs a loss with `hessian`.*use kind 'hessian'"):
        operator(case.model, batches(case), loss=case.loss)


def test_names_restrict_to_a_block():
    case = make("group")
    names = [k for k in case.named() if k.endswith("bias")]
    matrix = gauss_newton(case, cross_entropy, case.y, names=names)
    v = {k: t for k, t in case.direction().items() if k in names}
    assert_equal(flat(operator(case.model, batches(case), damping=0, names=names)(v)), matrix @ flat(v))


class NoForward(torch.autograd.Function):
    """x^3/3 + x without forward AD."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3 / 3 + x

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0].square() + 1)


class Cube(nn.Module):
    """x^3/3 + x: as a function without forward AD, or plainly."""

    plain = False

    def forward(self, x):
        return x**3 / 3 + x if self.plain else NoForward.apply(x)


def test_operations_without_forward_mode_fall_back_to_double_backward():
    case = make("mlp")
    g = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), Cube(), nn.Linear(4, 3)).double()
    for p in model.parameters():
        p.data.copy_(0.1 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    case = Case(model, case.x, case.y, cross_entropy)
    v = case.direction()
    made = operator(model, batches(case), damping=0)
    first, again = flat(made(v)), flat(made(v))
    model[2].plain = True
    want = gauss_newton(case, cross_entropy, case.y) @ flat(v)
    assert_equal(first, want)
    assert_equal(again, want)


def test_a_fault_of_the_model_itself_is_raised():
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("my own fault")

    model = nn.Sequential(nn.Flatten(), Broken(192, 3)).double()
    case = make("mlp")
    v = {k: torch.ones_like(p) for k, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match="my own fault"):
        operator(model, batches(case), damping=1.0)(v)


def test_symmetric_and_positive_semi_definite():
    case = make("instance")
    u, v = case.direction(1), case.direction(2)
    made = operator(case.model, batches(case), damping=0)
    assert float(flat(made(u)) @ flat(v)) == pytest.approx(float(flat(u) @ flat(made(v))), rel=1e-11)
    assert float(flat(made(u)) @ flat(u)) > 0


@pytest.mark.parametrize("kind", ["ggn", "hessian"])
def test_uneven_batches_and_their_order_do_not_matter(kind):
    case = make("batch")
    v, w = case.direction(), sample_weights(case)
    want = flat(operator(case.model, [(case.x, case.y, w)], kind, damping=0.1)(v))
    assert_equal(flat(operator(case.model, batches(case, weights=w)[::-1], kind, damping=0.1)(v)), want, 1e-12)


def test_float32_agrees_with_float64():
    case, small = make("instance"), make("instance").to(torch.float32)
    v = case.direction()
    want = flat(operator(case.model, batches(case), damping=0)(v))
    got = flat(operator(small.model, batches(small), damping=0)({k: t.float() for k, t in v.items()}))
    assert_equal(got.double(), want, 1e-4)


def test_identity_is_the_vector_itself():
    case = make("mlp")
    v = case.direction()
    made = operator(case.model, batches(case), "identity", damping=5.0)
    assert made.damping == 1
    assert all(torch.equal(t, v[k]) for k, t in made(v).items())
    assert made.products == 0


def test_automatic_damping_is_weight_decay_or_a_share_of_the_mean_diagonal():
    case = make("mlp")
    assert operator(case.model, batches(case), weight_decay=3e-4).damping == 3e-4
    assert operator(case.model, batches(case), damping=0.5, weight_decay=3e-4).damping == 0.5
    mean = float(gauss_newton(case, cross_entropy, case.y).diagonal().mean())
    made = operator(case.model, batches(case))
    assert made.damping == pytest.approx(DAMPING_SHARE * mean, rel=0.5)  # eight random probes
    assert made.damping == operator(case.model, batches(case)).damping
    assert made.products == 8
    assert operator(case.model, batches(case), "hessian").damping == made.damping
    soft = make("soft")
    assert operator(soft.model, batches(soft), "hessian", loss=soft.loss).damping > 0


def test_the_mean_diagonal_is_exact_for_a_diagonal_matrix_and_leaves_damping_out():
    model = nn.Linear(3, 3, bias=False).double()
    x = torch.eye(3, dtype=torch.float64)
    loss = type("Half", (), {"__call__": lambda s, z, y: 0.5 * z.square().sum(1), "hessian": lambda s, z, y, u: u})()
    assert mean_diagonal(operator(model, [(x, x)], loss=loss, damping=7.0)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["identity", "ggn", "hessian"])
def test_the_model_is_left_as_it_was(kind):
    case = make("instance")
    case.model.train()
    next(case.model.parameters()).requires_grad_(False)
    before, state = copy.deepcopy(case.model), torch.get_rng_state()
    with torch.no_grad():
        operator(case.model, batches(case), kind)(case.direction())
    for a, b in zip(before.parameters(), case.model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad
        assert b.grad is None
    assert [m.training for m in before.modules()] == [m.training for m in case.model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert not [m for m in case.model.modules() if m._forward_hooks or m._backward_hooks or m._forward_pre_hooks]


def test_a_constant_loss_has_no_curvature():
    case = make("mlp")
    flat_loss = lambda logits, y: logits.sum(1) * 0 + 1  # noqa: E731
    with pytest.raises(InputError, match=r"no automatic damping.*give a damping > 0"):
        operator(case.model, batches(case), "hessian", loss=flat_loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "fisher"}, "unknown operator 'fisher': choose one of identity, ggn, hessian"),
        ({"damping": -1}, "damping must be a number >= 0 or auto, got -1"),
        ({"damping": "some"}, "got 'some'"),
        ({"damping": float("nan")}, "got nan"),
        ({"weight_decay": -1e-4}, "weight_decay must be >= 0, got -0.0001"),
        ({"names": ["nope"]}, "no parameter 'nope'"),
    ],
)
def test_bad_arguments(arguments, message):
    case = make("mlp")
    with pytest.raises(InputError, match=message):
        operator(case.model, batches(case), **arguments)


def test_bad_vectors_and_modes():
    case = make("mlp")
    made = operator(case.model, batches(case), damping=1)
    v = case.direction()
    with pytest.raises(InputError, match=r"1\.bias in one of the two only"):
        made({k: t for k, t in v.items() if k != "1.bias"})
    with pytest.raises(InputError, match=r"vector\['1.bias'\] must have the shape \(10,\), got \(3,\)"):
        made({**v, "1.bias": torch.ones(3)})
    batch = make("batch")
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        operator(batch.model.train(), batches(batch))
    with pytest.raises(InputError, match="the batches are empty"):
        operator(case.model, [], damping=1)(v)
    assert unflat(flat(v), v).keys() == v.keys()


class Numbers(torch.autograd.Function):
    """x^3, whose backward computes with plain numbers."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.x**2 * g


class OfNumbers(nn.Module):
    def forward(self, x):
        return Numbers.apply(x)


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_a_second_derivative_that_is_wrong_in_silence_is_refused(kind):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), OfNumbers(), nn.Linear(4, 3))
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    v = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    made = operator(net, [(x, y)], kind, damping=0.0)
    if kind == "hessian":
        with pytest.raises(InputError, match="second derivatives of this network are wrong"):
            made(v)
    else:  # J v needs the backward alone, which is right
        assert all(t.isfinite().all() for t in made(v).values())
    net[1] = nn.Tanh()
    operator(net, [(x, y)], kind, damping=0.0)(v)
