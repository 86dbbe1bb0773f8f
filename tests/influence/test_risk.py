import copy

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.influence.batches import passes
from refluence.influence.losses import DistillationLoss
from refluence.influence.risk import risk_gradient
from support.cases import make
from support.draws import generator


def uneven(case, weights=None):
    """Batches of 1, 7 and the rest."""
    cuts = [slice(0, 1), slice(1, 8), slice(8, None)]
    return [(case.x[c], case.y[c]) if weights is None else (case.x[c], case.y[c], weights[c]) for c in cuts]


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_autograd_of_the_mean_over_everything(case, weighted):
    w = torch.rand(len(case.x), generator=generator(4), dtype=torch.float64) * 2 if weighted else None
    mean = (case.losses() * (w if weighted else 1)).mean()
    want = torch.autograd.grad(mean, list(case.named().values()))
    got, risk = risk_gradient(case.model, uneven(case, w), case.loss)
    assert risk == pytest.approx(mean.item(), rel=1e-13)
    assert list(got) == list(case.named())
    for g, t in zip(got.values(), want, strict=True):
        torch.testing.assert_close(g, t, rtol=1e-11, atol=1e-14)
        assert not g.requires_grad


def test_names_choose_and_unused_parameters_get_zeros():
    case = make("mlp")
    case.model.spare = nn.Linear(2, 2).double()
    case.model.forward = lambda x: nn.Sequential.forward(case.model[:-1], x)
    full, _ = risk_gradient(case.model, uneven(case))
    assert float(full["spare.weight"].abs().max()) == 0
    some, _ = risk_gradient(case.model, uneven(case), names=["4.bias", "1.weight"])
    assert list(some) == ["1.weight", "4.bias"]
    assert all(torch.equal(some[k], full[k]) for k in some)


def test_targets_may_be_tuples():
    case = make("group")
    loss = DistillationLoss(2, 0.5)
    teacher = torch.randn(len(case.x), 3, generator=generator(2), dtype=torch.float64)
    got, risk = risk_gradient(
        case.model, [(case.x[:4], (case.y[:4], teacher[:4])), (case.x[4:], (case.y[4:], teacher[4:]))], loss
    )
    mean = loss(case.model(case.x), (case.y, teacher)).mean()
    assert risk == pytest.approx(mean.item(), rel=1e-13)
    want = torch.autograd.grad(mean, list(case.named().values()))
    assert all(torch.allclose(g, t, rtol=1e-11, atol=1e-14) for g, t in zip(got.values(), want, strict=True))


def test_the_model_is_left_as_it_was():
    case = make("instance")
    case.model.train()
    next(case.model.parameters()).requires_grad_(False)
    before, state = copy.deepcopy(case.model), torch.get_rng_state()
    with torch.no_grad():
        risk_gradient(case.model, uneven(case))
    for a, b in zip(before.parameters(), case.model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad
        assert b.grad is None
    assert case.model.training
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("numbers", "sizes"), [(4096, [64, 64, 2, 20]), (2621, [100, 30, 20]), (1, [130, 20])])
def test_big_batches_are_passed_in_pieces_by_the_size_of_a_sample(numbers, sizes):
    x, y = torch.arange(150.0)[:, None].expand(150, numbers), torch.arange(150)
    pieces = list(passes([(x[:130], y[:130], x[:130, 0]), (x[130:], y[130:])], torch.device("cpu")))
    assert [len(p[0]) for p in pieces] == sizes
    assert torch.equal(torch.cat([p[1] for p in pieces]), y)
    assert torch.equal(torch.cat([p[0] for p in pieces])[:, 0], x[:, 0])
    assert [p[2] is None for p in pieces] == [len(p[0]) == 20 for p in pieces]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda c: iter(uneven(c)), "pass a list, not a generator"),
        (lambda c: [], "the batches are empty"),
        (lambda c: [(c.x[:0], c.y[:0])], "the batches are empty"),
        (lambda c: [c.x], r"a batch must be \(x, y\) or \(x, y, w\), got Tensor"),
        (lambda c: [(c.x,)], "got 1 parts"),
        (lambda c: [(c.x, c.y[:5])], "a batch of 11 samples needs as many in y, got 5"),
        (lambda c: [(c.x, c.y, torch.ones(3))], "needs as many in w, got 3"),
        (lambda c: [(c.x, c.y, torch.ones(11, 1))], r"shape \(11,\), got \(11, 1\)"),
    ],
)
def test_bad_batches(batches, message):
    case = make("mlp")
    with pytest.raises(InputError, match=message):
        risk_gradient(case.model, batches(case))


def test_bad_models_names_and_losses():
    case = make("batch")
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        risk_gradient(case.model.train(), uneven(case))
    with pytest.raises(InputError, match="'1' drops units at random"):
        risk_gradient(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)).double(), uneven(case))
    mlp = make("mlp")
    with pytest.raises(InputError, match="no parameter 'nope'"):
        risk_gradient(mlp.model, uneven(mlp), names=["nope"])
    with pytest.raises(InputError, match="names is empty"):
        risk_gradient(mlp.model, uneven(mlp), names=[])
    with pytest.raises(InputError, match="the model has none"):
        risk_gradient(nn.Flatten(), uneven(mlp))
    with pytest.raises(InputError, match="one value a sample"):
        risk_gradient(mlp.model, uneven(mlp), lambda logits, y: logits.sum())
