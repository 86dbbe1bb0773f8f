"""TracIn against brute force, and against the derivative of the validation loss through the steps themselves."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from refluence.errors import InputError
from refluence.influence.losses import DistillationLoss, cross_entropy
from refluence.influence.tracin import tracin
from support.cases import make
from support.convex import blobs


def moved(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Another checkpoint of the model: its parameters and buffers, the parameters shaken."""
    g = torch.Generator().manual_seed(seed)
    own = {n for n, _ in model.named_parameters()}
    state = {k: t.clone() for k, t in model.state_dict().items()}
    return {k: t + 0.1 * torch.randn(t.shape, generator=g, dtype=t.dtype) if k in own else t for k, t in state.items()}


def gradients(model, x, y, loss):
    each = loss(model(x), y)
    rows = [torch.autograd.grad(e, list(model.parameters()), retain_graph=True) for e in each]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@pytest.mark.parametrize("name", ["instance", "batch", "mlp"])
def test_it_is_the_sum_of_gradient_dot_products(name):
    case = make(name)
    checkpoints = [(moved(case.model, seed), rate) for seed, rate in ((1, 0.1), (2, 0.02), (3, 0.0))]
    train, validation = [(case.x[:4], case.y[:4]), (case.x[4:], case.y[4:])], [(case.x[:3], case.y[:3])]
    seen = []
    found = tracin(case.model, iter(checkpoints), train, validation, progress=seen.append)
    want = torch.zeros(11, dtype=torch.float64)
    for state, rate in checkpoints:
        case.model.load_state_dict(state)
        g = gradients(case.model, case.x, case.y, cross_entropy)
        want -= rate * g @ g[:3].mean(0)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12)
    assert seen == [0, 1, 2]


def test_training_loss_and_risk_may_differ():
    case = make("mlp")
    teacher = torch.randn(11, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    loss = DistillationLoss(2.0, 0.5)
    y = (case.y, teacher)
    found = tracin(
        case.model, [(case.model.state_dict(), 0.5)], [(case.x, y)], [(case.x, case.y)], loss=loss, risk=cross_entropy
    )
    want = -0.5 * gradients(case.model, case.x, y, loss) @ gradients(case.model, case.x, case.y, cross_entropy).mean(0)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12)


def test_some_parameters_only():
    case = make("mlp")
    parameters = dict(case.model.named_parameters())
    name = list(parameters)[-1]
    found = tracin(case.model, [(case.model.state_dict(), 1.0)], [(case.x, case.y)], [(case.x, case.y)], names=iter([name]))
    each = cross_entropy(case.model(case.x), case.y)
    g = torch.stack([torch.autograd.grad(e, parameters[name], retain_graph=True)[0].flatten() for e in each])
    torch.testing.assert_close(found, -g @ g.mean(0))


def through_the_steps(case, rate, steps=3):
    """dM/dw_j of full-batch gradient descent on sum_j w_j l_j at w = 1/N, and the checkpoints on its way."""
    w = torch.full((len(case.x),), 1 / len(case.x), dtype=torch.float64, requires_grad=True)
    theta = {n: p.detach().clone().requires_grad_() for n, p in case.model.named_parameters()}
    checkpoints = []
    for _ in range(steps):
        checkpoints.append(({n: p.detach().clone() for n, p in theta.items()}, rate))
        total = w @ cross_entropy(functional_call(case.model, theta, (case.x,)), case.y)
        slopes = torch.autograd.grad(total, list(theta.values()), create_graph=True)
        theta = {n: p - rate * s for (n, p), s in zip(theta.items(), slopes, strict=True)}
    risk = cross_entropy(functional_call(case.model, theta, (case.vx,)), case.vy).mean()
    return torch.autograd.grad(risk, w)[0], checkpoints


def test_it_is_the_derivative_of_the_validation_loss_to_first_order():
    case, _ = blobs(60)
    errors = []
    for rate in (1e-2, 1e-3, 1e-4):
        truth, checkpoints = through_the_steps(case, rate)
        found = tracin(case.model, checkpoints, [(case.x, case.y)], [(case.vx, case.vy)])
        errors.append(float((found - truth).norm() / truth.norm()))
    assert errors[2] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.2)


def test_the_model_is_not_touched():
    case = make("batch")
    before = {k: t.clone() for k, t in case.model.state_dict().items()}
    rng = torch.get_rng_state()
    tracin(case.model, [(moved(case.model, 4), 0.1)], [(case.x, case.y)], [(case.x, case.y)])
    assert all(torch.equal(t, case.model.state_dict()[k]) for k, t in before.items())
    assert all(p.requires_grad and p.grad is None for p in case.model.parameters())
    assert not case.model.training
    assert torch.equal(rng, torch.get_rng_state())


def test_what_cannot_be_used_is_named():
    case = make("mlp")
    data, state = [(case.x, case.y)], case.model.state_dict()
    key = next(iter(state))
    less = {k: t for k, t in state.items() if k != key}
    for checkpoints, message in [
        ([], "no checkpoints"),
        ([(state, 0.1), (less, 0.1)], f"checkpoint 1 does not fit .* '{key}' is missing"),
        ([({**state, key: state[key][:2]}, 0.1)], "checkpoint 0 does not fit the model in 1 places"),
        ([({**state, "more": state[key]}, 0.1)], "'more' .* the model has no such tensor"),
        ([(state, -0.1)], "checkpoint 0 has the learning rate -0.1: it must be finite and not negative"),
        ([(state, float("nan"))], "learning rate nan"),
    ]:
        with pytest.raises(InputError, match=message):
            tracin(case.model, checkpoints, data, data)
