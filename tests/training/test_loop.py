"""The training loop against the same steps written out in float64: weights, mixed batches, schedules, hooks, randomness."""

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.training.loop import Batch, fit
from refluence.training.objectives import FromTeacher, Objective

SIZE, LR = 12, 0.3


def draw(seed, *size, dtype=torch.float64):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X, Y, W = draw(0, SIZE, 4), torch.arange(SIZE) % 3, draw(1, SIZE).abs()
PARTNER = torch.tensor([2, 0, 3, 1])
ORDER = torch.randperm(SIZE, generator=torch.Generator().manual_seed(2)).split(4)


def network(dtype=torch.float64):
    net = nn.Linear(4, 3).to(dtype)
    net.load_state_dict({"weight": draw(3, 3, 4).to(dtype), "bias": draw(4, 3).to(dtype)})
    return net


def sgd(net, **options):
    return torch.optim.SGD(net.parameters(), lr=LR, **options)


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def trained(batches, loss=None, net=None, **options):
    net = network() if net is None else net
    fit(net, sgd(net, momentum=0.9), batches, Objective() if loss is None else loss, **options)
    return weights_of(net)


def batches(weights=None, mixed=False):
    pairs = {"partner": PARTNER, "share": 0.7} if mixed else {}
    return [Batch(X[p], Y[p], None if weights is None else weights[p], **pairs) for p in ORDER]


def literal(weights, mixed=False, rates=(LR,) * 3):
    """theta and its velocity moved by hand, instance by instance; the softmax gradient is p - onehot."""
    net = network()
    theta, bias = net.weight.detach().clone(), net.bias.detach().clone()
    velocity = (torch.zeros_like(theta), torch.zeros_like(bias))
    for positions, rate in zip(ORDER, rates, strict=True):
        of_theta, of_bias = torch.zeros_like(theta), torch.zeros_like(bias)
        for place, j in enumerate(positions.tolist()):
            other = int(positions[PARTNER[place]])
            for row, share in [(j, 0.7), (other, 0.3)] if mixed else [(j, 1.0)]:
                error = (theta @ X[j] + bias).softmax(0)
                error[Y[row]] -= 1
                of_theta += share * weights[row] * torch.outer(error, X[j]) / len(positions)
                of_bias += share * weights[row] * error / len(positions)
        velocity = (0.9 * velocity[0] + of_theta, 0.9 * velocity[1] + of_bias)
        theta, bias = theta - rate * velocity[0], bias - rate * velocity[1]
    return torch.cat([theta.flatten(), bias])


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("weights", [None, W])
def test_equals_a_literal_loop(weights, mixed):
    expected = literal(torch.ones(SIZE) if weights is None else weights, mixed)
    torch.testing.assert_close(trained(batches(weights, mixed)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["ce", "kl", "mse"])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_weights_of_one_are_no_weights_bit_for_bit(kind, labels, mixed, dtype):
    y = Y if labels == "hard" else draw(5, SIZE, 3).softmax(1).to(dtype)
    pairs = {"partner": PARTNER, "share": 0.7} if mixed else {}
    plain, ones = (
        trained([Batch(X[p].to(dtype), y[p], w, **pairs) for p in ORDER], Objective(kind, 3.0), network(dtype))
        for w in (None, torch.ones(4, dtype=dtype))
    )
    assert torch.equal(plain, ones)


def test_a_weight_of_zero_leaves_the_row_out_of_a_sum_that_is_divided_by_all():
    weights = torch.ones(4, dtype=torch.float64)
    weights[1] = 0
    rest = torch.tensor([0, 2, 3])
    net, other = network(), network()
    fit(net, sgd(net), [Batch(X[:4], Y[:4], weights)], Objective())
    fit(other, sgd(other), [Batch(X[rest], Y[rest])], Objective())  # the mean of three: 4/3 of the same sum over 4
    start = weights_of(network())
    torch.testing.assert_close(weights_of(net) - start, 0.75 * (weights_of(other) - start))


def test_any_function_is_a_loss_and_targets_may_be_several():
    def absolute(logits, y):
        labels, scale = y
        return (logits.gather(1, labels[:, None])[:, 0] - scale).abs()

    scale = draw(6, SIZE)
    found = trained([Batch(X[p], (Y[p], scale[p]), W[p], partner=PARTNER, share=0.7) for p in ORDER], absolute)
    net = network()
    optimiser = sgd(net, momentum=0.9)
    for p in ORDER:
        z, q = net(X[p]), p[PARTNER]
        own, other = ((z[range(4), Y[rows]] - scale[rows]).abs() * W[rows] for rows in (p, q))
        optimiser.zero_grad()
        (0.7 * own + 0.3 * other).mean().backward()
        optimiser.step()
    torch.testing.assert_close(found, weights_of(net))


@pytest.mark.parametrize("weights", [None, W])
def test_a_teacher_is_asked_about_the_inputs_and_does_not_learn(weights):
    teacher = nn.Linear(4, 3).double()
    of = [Batch(b.x, b.x, b.weights) for b in batches(weights)]
    soft = [Batch(b.x, (teacher(b.x) / 2).softmax(1).detach().pow(2), b.weights) for b in of]  # p^2 at temperature 2 is p
    net = network()
    found = trained(of, FromTeacher(teacher, 2.0), net)
    normalised = [Batch(b.x, b.y / b.y.sum(1, keepdim=True), b.weights) for b in soft]
    torch.testing.assert_close(found, trained(normalised, Objective("kl", 2.0)))
    assert teacher.weight.grad is None


def test_the_schedule_is_the_rate_of_each_step():
    rates = [0.1, 0.5, 0.02]
    torch.testing.assert_close(trained(batches(W), schedule=rates.__getitem__), literal(W, rates=rates))


def test_training_goes_on_in_another_call():
    net = network()
    optimiser = sgd(net, momentum=0.9)
    for batch in batches(W):
        fit(net, optimiser, [batch], Objective())
    assert torch.equal(weights_of(net), trained(batches(W)))


def test_hooks_come_before_and_after_each_step_and_batches_one_by_one():
    net, events = network(), []

    def reading():
        for number, batch in enumerate(batches()):
            events.append(("read", number, weights_of(net)))
            yield batch

    def seen(batch, logits, value):
        torch.testing.assert_close(logits, net(batch.x).detach())
        torch.testing.assert_close(value, nn.functional.cross_entropy(logits, batch.y))
        assert not logits.requires_grad
        assert not value.requires_grad
        events.append(("seen", weights_of(net)))

    fit(net, sgd(net), reading(), Objective(), seen=seen, stepped=lambda: events.append(("stepped", weights_of(net))))
    assert [event[0] for event in events] == ["read", "seen", "stepped"] * 3
    for read, before, after in zip(events[::3], events[1::3], events[2::3], strict=True):
        assert torch.equal(read[-1], before[-1])
        assert not torch.equal(before[-1], after[-1])


def test_what_the_network_draws_follows_from_the_generator_and_global_state_is_put_back():
    found = []
    for disturbance in (0, 5):
        net = nn.Sequential(nn.Dropout(0.5), network())
        torch.manual_seed(disturbance)
        before = torch.get_rng_state()
        found.append(trained(batches(), net=net, generator=torch.Generator().manual_seed(3)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)
    assert not torch.equal(found[0], trained(batches()))


def test_the_mode_is_the_callers():
    net = nn.Sequential(nn.Dropout(0.5), network()).eval()
    assert torch.equal(trained(batches(), net=net), trained(batches()))
    assert not net.training


@pytest.mark.parametrize(
    ("loss", "weights", "named"),
    [
        (Objective(), torch.ones(4, 1), r"weights must be one number an instance, shape \(4,\), got \(4, 1\)"),
        (Objective(), torch.ones(3), r"weights .* shape \(4,\), got \(3,\)"),
        (lambda z, y: z.square().mean(), None, r"a loss must be one number an instance, shape \(4,\), got \(\)"),
        (lambda z, y: z, torch.ones(4), r"a loss .* got \(4, 3\)"),
    ],
)
def test_shapes_are_checked_before_a_step(loss, weights, named):
    net = network()
    with pytest.raises(InputError, match=named):
        fit(net, sgd(net), [Batch(X[:4], Y[:4], weights)], loss)
    assert torch.equal(weights_of(net), weights_of(network()))
