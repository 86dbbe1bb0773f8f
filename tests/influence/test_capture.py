import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from refluence.errors import InputError
from refluence.influence import Unsupported, capture
from refluence.influence.layers import _unfolded_rows
from support.cases import NAMES, make
from support.draws import generator


def close(got, want, tolerance):
    """Relative to the largest entry of all tensors: a bias before an instance norm has a gradient of exactly zero."""
    scale = max(float(t.abs().max()) for t in want.values())
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].shape == want[name].shape
        assert float((got[name] - want[name]).abs().max()) <= tolerance * scale, name


def autograd(case, weights=None):
    losses = case.losses() if weights is None else case.losses() * weights
    named = case.named()
    return dict(zip(named, torch.autograd.grad(losses.mean(), list(named.values())), strict=True))


def per_sample(case):
    """Brute force, name -> `(B, *shape)`: vmap(grad), with batch-free layers seeing one sample at a time."""

    def one(p, x, y):
        return case.loss(functional_call(case.model, p, (x[None],)), y[None])[0]

    p = {k: t.detach() for k, t in case.named().items()}
    return vmap(grad(one), (None, 0, 0))(p, case.x, case.y)


@pytest.mark.parametrize("room", [0, 2**29])
class TestContractions:
    def test_gradient_is_autograd_of_the_weighted_mean(self, case, room):
        taken = capture(case.model, case.x, case.y, loss=case.loss, chunk=4, room=room)
        torch.testing.assert_close(taken.losses, case.losses().detach(), rtol=1e-13, atol=0)
        close(taken.gradient(), autograd(case), 1e-12)
        omega = torch.rand(len(case.x), generator=generator(5), dtype=torch.float64) * 2
        close(taken.gradient(omega), autograd(case, omega), 1e-12)
        close(taken.gradient(), autograd(case), 1e-12)  # contracting leaves the capture as it was

    def test_no_weights_is_all_ones_bit_for_bit(self, case, room):
        case = case.to(torch.float32)
        taken = capture(case.model, case.x, case.y, loss=case.loss, chunk=4, room=room)
        plain, ones = taken.gradient(), taken.gradient(torch.ones(len(case.x)))
        assert all(torch.equal(plain[k], ones[k]) for k in plain)

    def test_scores_are_dot_products_with_per_sample_gradients(self, case, room):
        v, each = case.direction(), per_sample(case)
        want = sum((v[k] * each[k]).flatten(1).sum(1) for k in v)
        got = capture(case.model, case.x, case.y, loss=case.loss, chunk=3, room=room).scores(v)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))

    def test_a_direction_may_name_some_parameters_only(self, case, room):
        matrices = {k: t for k, t in case.direction().items() if t.dim() > 1}
        full = capture(case.model, case.x, case.y, loss=case.loss, room=room)
        some = capture(case.model, case.x, case.y, loss=case.loss, room=room, names=matrices)
        zeros = {k: matrices.get(k, torch.zeros_like(t)) for k, t in case.named().items()}
        torch.testing.assert_close(some.scores(matrices), full.scores(zeros), rtol=1e-12, atol=1e-12)
        close(some.gradient(), {k: t for k, t in full.gradient().items() if k in matrices}, 1e-13)


def test_chunks_and_order_do_not_matter(case):
    v, order = case.direction(), torch.randperm(len(case.x), generator=generator(3))
    want = capture(case.model, case.x, case.y, loss=case.loss, chunk=11)
    for chunk in (1, 2, 5, 64):
        got = capture(case.model, case.x, case.y, loss=case.loss, chunk=chunk)
        torch.testing.assert_close(got.scores(v), want.scores(v), rtol=1e-12, atol=1e-12)
        close(got.gradient(), want.gradient(), 1e-12)
    mixed = capture(case.model, case.x[order], case.y[order], loss=case.loss)
    torch.testing.assert_close(mixed.scores(v), want.scores(v)[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name):
    case = make(name)
    v = case.direction()
    want = capture(case.model, case.x, case.y, loss=case.loss)
    scores, gradient = want.scores(v), want.gradient()
    small = make(name).to(torch.float32)
    got = capture(small.model, small.x, small.y, loss=small.loss)
    error = got.scores({k: t.float() for k, t in v.items()}).double() - scores
    assert float(error.abs().max() / scores.abs().max()) < 1e-5
    close({k: t.double() for k, t in got.gradient().items()}, gradient, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_was(name):
    case = make(name)
    case.model.train(name not in ("batch",))
    next(case.model.parameters()).requires_grad_(False)
    before, state = copy.deepcopy(case.model), torch.get_rng_state()
    capture(case.model, case.x, case.y, loss=case.loss).scores(case.direction())
    for (_, a), (_, b) in zip(before.named_parameters(), case.model.named_parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad
        assert b.grad is None
    assert all(torch.equal(a, b) for a, b in zip(before.buffers(), case.model.buffers(), strict=True))
    assert [m.training for m in before.modules()] == [m.training for m in case.model.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert not case.x.requires_grad
    assert not hooks(case.model)


def hooks(model):
    return [m for m in model.modules() if m._forward_hooks or m._backward_hooks or m._forward_pre_hooks]


def test_frozen_parameters_and_no_grad_are_no_obstacle():
    case = make("instance")
    want = capture(case.model, case.x, case.y).gradient()
    case.model.requires_grad_(False)
    with torch.no_grad():
        close(capture(case.model, case.x, case.y).gradient(), want, 0)


def test_hooks_are_removed_after_an_error():
    case = make("instance")

    def broken(logits, y):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        capture(case.model, case.x, case.y, loss=broken)
    assert not hooks(case.model)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.scale


def odd():
    return nn.Sequential(nn.Conv2d(3, 2, 3), Odd(), nn.Flatten(), nn.Linear(72, 3)).double()


def test_unsupported_layers_are_named():
    case = make("instance")
    with pytest.raises(Unsupported, match=r"'1' \(Odd\)"):
        capture(odd(), case.x, case.y, engine="ghost")
    names = ["0.weight", "3.weight"]
    taken = capture(odd(), case.x, case.y, names=names, engine="ghost")  # not asked for, so not in the way
    assert list(taken.gradient()) == names


def test_a_layer_with_its_own_forward_is_unsupported():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    case = make("instance")
    with pytest.raises(Unsupported, match="Standardised"):
        capture(nn.Sequential(Standardised(3, 3, 8), nn.Flatten()).double(), case.x, case.y, engine="ghost")
    parametrised = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 8)), nn.Flatten()).double()
    with pytest.raises(Unsupported, match="0"):
        capture(parametrised, case.x, case.y, engine="ghost")


def test_a_layer_that_is_never_called_is_named():
    case = make("instance")
    case.model.spare = nn.Linear(2, 2).double()
    with pytest.raises(Unsupported, match="'spare' is never called"):
        capture(case.model, case.x, case.y, engine="ghost")


@pytest.mark.parametrize(("name", "rows"), [("time first", 8), ("patches", 4)])
def test_a_layer_whose_rows_are_not_the_samples_is_named(name, rows):
    case = make(name)
    with pytest.raises(Unsupported, match=f"layer 'inner' sees {rows} rows for 1 samples"):
        capture(case.model, case.x, case.y, engine="ghost")
    assert not hooks(case.model)


def test_an_input_changed_in_place_is_refused():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 3, 1), nn.Linear(192, 3)

        def forward(self, x):
            x = x * 1
            h = self.conv(x.detach())
            x.detach().add_(1)
            return self.out((h + x).flatten(1))

    case = make("instance")
    with pytest.raises((Unsupported, RuntimeError), match=r"in place|inplace"):
        capture(InPlace().double(), case.x, case.y, engine="ghost")


def test_batch_norm_must_be_frozen():
    case = make("batch")
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        capture(case.model.train(), case.x, case.y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["nope"]}, "no parameter 'nope'"),
        ({"names": []}, "names is empty"),
        ({"loss": lambda logits, y: logits.sum()}, "one value a sample"),
    ],
)
def test_bad_arguments(arguments, message):
    case = make("mlp")
    with pytest.raises(InputError, match=message):
        capture(case.model, case.x, case.y, **arguments)


def test_bad_contractions():
    case = make("mlp")
    taken = capture(case.model, case.x, case.y)
    with pytest.raises(InputError, match=r"shape \(11,\), got \(3,\)"):
        taken.gradient(torch.ones(3))
    with pytest.raises(InputError, match="'nope'"):
        taken.scores({"nope": torch.ones(3)})
    with pytest.raises(InputError, match=r"v\['1.bias'\] must have the shape \(10,\), got \(3,\)"):
        taken.scores({"1.bias": torch.ones(3)})
    with pytest.raises(InputError, match="empty"):
        taken.scores({})
    with pytest.raises(InputError, match="empty batch"):
        capture(case.model, case.x[:0], case.y[:0])


def test_channels_last_gives_the_same():
    case = make("instance")
    v = case.direction()
    want = capture(case.model, case.x, case.y)
    model = case.model.to(memory_format=torch.channels_last)
    got = capture(model, case.x.to(memory_format=torch.channels_last), case.y)
    torch.testing.assert_close(got.scores(v), want.scores(v), rtol=1e-11, atol=1e-11)
    close(got.gradient(), want.gradient(), 1e-12)


@pytest.mark.parametrize("name", ["instance", "rare"])
def test_both_ways_to_per_sample_gradients_agree(name, monkeypatch):
    case = make(name)
    v = case.direction()
    want = capture(case.model, case.x, case.y).scores(v)
    monkeypatch.setattr("refluence.influence.layers._conv_rows", _unfolded_rows)  # what an accelerator takes
    got = capture(case.model, case.x, case.y).scores(v)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("room", [0, 2**29])
def test_autocast_keeps_the_direction_of_gradients_and_the_order_of_scores(room):
    case = make("instance").to(torch.float32)
    v = case.direction()
    exact = capture(case.model, case.x, case.y, room=room)
    with torch.autocast("cpu", torch.bfloat16):
        rough = capture(case.model, case.x, case.y, room=room)
    assert all(g.dtype == torch.float32 for g in rough.gradient().values())
    a, b = (torch.cat([g.flatten() for g in c.gradient().values()]) for c in (exact, rough))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.99
    v = {k: t.float() for k, t in v.items()}
    assert torch.corrcoef(torch.stack([exact.scores(v), rough.scores(v).float()]))[0, 1] > 0.98
