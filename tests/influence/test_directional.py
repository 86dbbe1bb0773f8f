import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from refluence.errors import InputError
from refluence.influence import Unsupported, directional, ghost, scores
from support.cases import ROWS, SAMPLES, SIZE, make

ENGINES = ("auto", "ghost", "forward", "double_backward")


def brute(case, v):
    """<v, g_j> from per-sample gradients by vmap(grad)."""

    def one(p, x, y):
        return case.loss(functional_call(case.model, p, (x[None],)), y[None])[0]

    p = {k: t.detach() for k, t in case.named().items()}
    each = vmap(grad(one), (None, 0, 0))(p, case.x, case.y)
    return sum((v[k] * each[k]).flatten(1).sum(1) for k in v)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_equals_per_sample_gradients(case, engine):
    v = case.direction()
    some = dict(list(v.items())[::2])
    for direction in (v, some):
        want = brute(case, direction)
        for chunk in (4, 64):
            got = scores(case.model, case.x, case.y, direction, engine=engine, loss=case.loss, chunk=chunk)
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))
            assert not got.requires_grad


@pytest.mark.parametrize("name", ["group", "batch"])
def test_agrees_with_the_derivative_of_the_weighted_objective(name):
    """Central differences of M(w + eps e_j) for M = half the squared distance of the weighted mean gradient to a."""
    case = make(name)
    named, a, n = case.named(), case.direction(), len(case.x)

    def mean_gradient(w):
        return dict(zip(named, torch.autograd.grad((case.losses() * w).sum() / n, list(named.values())), strict=True))

    def objective(w):
        return sum(0.5 * (mean_gradient(w)[k] - a[k]).square().sum() for k in a)

    ones = torch.ones(n, dtype=torch.float64)
    b = mean_gradient(ones)
    got = scores(case.model, case.x, case.y, {k: b[k] - a[k] for k in a}) / n
    steps = 1e-4 * torch.eye(n, dtype=torch.float64)
    want = torch.stack([(objective(ones + e) - objective(ones - e)) / 2e-4 for e in steps])
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_agrees_with_float64(engine):
    case, small = make("instance"), make("instance").to(torch.float32)
    v = case.direction()
    want = scores(case.model, case.x, case.y, v)
    got = scores(small.model, small.x, small.y, {k: t.float() for k, t in v.items()}, engine=engine)
    assert float((got.double() - want).abs().max() / want.abs().max()) < 1e-5


class Positions(nn.Module):
    """A parameter of its own: no ghost dot product."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, 8, 8))

    def forward(self, x):
        return x + self.shift


class Backwardable(torch.autograd.Function):
    """A square without forward AD."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Square(nn.Module):
    def forward(self, x):
        return Backwardable.apply(x)


def test_auto_falls_back_from_ghost_to_forward_to_double_backward():
    case = make("instance")
    for middle in (nn.Identity(), Square()):
        model = nn.Sequential(Positions(), middle, nn.Flatten(), nn.Linear(192, 3)).double()
        v = {k: torch.ones_like(p) for k, p in model.named_parameters()}
        want = scores(model, case.x, case.y, v, engine="double_backward")
        torch.testing.assert_close(scores(model, case.x, case.y, v), want, rtol=1e-12, atol=1e-12)
        with pytest.raises(Unsupported, match="Positions"):
            scores(model, case.x, case.y, v, engine="ghost")
    with pytest.raises(Unsupported, match="it stops with RuntimeError"):
        scores(model, case.x, case.y, v, engine="forward")


@pytest.mark.parametrize("chunk", [1, 2, SIZE, SAMPLES, 64])
@pytest.mark.parametrize("name", ROWS)
def test_rows_that_are_not_samples_are_refused_by_ghost_and_exact_by_auto(name, chunk):
    case = make(name)
    v = case.direction()
    for direction in (v, {k: v[k] for k in ("inner.weight",)}):
        got = scores(case.model, case.x, case.y, direction, loss=case.loss, chunk=chunk)
        torch.testing.assert_close(got, brute(case, direction), rtol=1e-10, atol=1e-10)
        for n in (1, SAMPLES):
            with pytest.raises(Unsupported, match=r"layer 'inner' sees \d+ rows for 1 samples"):
                scores(case.model, case.x[:n], case.y[:n], direction, engine="ghost", chunk=chunk)
    outer = {k: v[k] for k in ("out.weight", "out.bias")}  # its rows are the samples
    got = scores(case.model, case.x, case.y, outer, engine="ghost", chunk=chunk)
    torch.testing.assert_close(got, brute(case, outer), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_norm_in_train_mode_is_refused(engine):
    case = make("batch")
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        scores(case.model.train(), case.x, case.y, case.direction(), engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_active_dropout_is_refused(engine):
    case = make("mlp")
    case.model.insert(3, nn.Dropout(0.5))
    v = case.direction()
    with pytest.raises(InputError, match=r"layer '3' drops units at random: call model\.eval\(\) first"):
        scores(case.model.train(), case.x, case.y, v, engine=engine)
    got = scores(case.model.eval(), case.x, case.y, v, engine=engine)
    torch.testing.assert_close(got, brute(case, v), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_direction_is_taken_to_the_dtype_and_the_device_of_the_model(engine):
    case = make("mlp")
    v = {k: t.float() for k, t in case.direction().items()}
    got = scores(case.model, case.x, case.y, v, engine=engine)
    torch.testing.assert_close(got, brute(case, v), rtol=1e-10, atol=1e-10)
    got = scores(case.model.to("meta"), case.x.to("meta"), case.y.to("meta"), v, engine=engine)
    assert got.is_meta


def test_bad_directions_and_engines():
    case = make("mlp")
    with pytest.raises(InputError, match="unknown engine 'fast': choose one of auto, ghost, forward, double_backward"):
        scores(case.model, case.x, case.y, case.direction(), engine="fast")
    with pytest.raises(InputError, match="'nope'"):
        scores(case.model, case.x, case.y, {"nope": torch.ones(1)})
    with pytest.raises(InputError, match="empty"):
        scores(case.model, case.x, case.y, {})
    with pytest.raises(InputError, match="must have the shape"):
        scores(case.model, case.x, case.y, {"1.bias": torch.ones(1)})


def ridge(params, batch):
    x, y = batch
    return 0.5 * (x @ params["w"] - y).square() + 0.05 * params["w"].square().sum()


@pytest.mark.parametrize("engine", ["auto", "forward", "double_backward"])
def test_directional_takes_any_loss(engine):
    g = torch.Generator().manual_seed(0)
    w, v, x, y = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((4,), (4,), (9, 4), (9,)))
    batches = [(x[:5], y[:5]), (x[5:], y[5:])]
    got = directional(ridge, {"w": w.requires_grad_()}, {"w": v}, batches, engine=engine)
    want = ((x @ w - y)[:, None] * x + 0.1 * w) @ v
    torch.testing.assert_close(got, want.detach(), rtol=1e-12, atol=1e-12)
    assert not got.requires_grad


def test_directional_reports_the_fault_of_the_loss_itself():
    def broken(params, batch):
        raise RuntimeError("my own fault")

    with pytest.raises(RuntimeError, match="my own fault"):
        directional(broken, {"w": torch.ones(2)}, {"w": torch.ones(2)}, [None])
    with pytest.raises(InputError, match="no samples"):
        directional(ridge, {"w": torch.ones(2)}, {"w": torch.ones(2)}, [])


@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 2}, {"groups": 2}, {"padding": "valid"}])
def test_maps_that_are_large_on_the_cpu_are_never_multiplied_whole(monkeypatch, how):
    g = torch.Generator().manual_seed(0)
    layers = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4).eval(), nn.ReLU(), nn.Conv2d(4, 6, 1, bias=False, **how)
    model = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    x, y = torch.randn(3, 2, 7, 7, generator=g).double(), torch.arange(3)
    v = {name: torch.randn(p.shape, generator=g).double() for name, p in model.named_parameters()}
    want = scores(model, x, y, v, engine="single")
    monkeypatch.setattr(ghost, "LARGE", 0)
    torch.testing.assert_close(scores(model, x, y, v, engine="ghost"), want, rtol=1e-10, atol=1e-10)
