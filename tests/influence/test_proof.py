"""When an engine is asked, what is remembered, and what is said; that its numbers are right is test_any_network.py's."""

import gc
import weakref
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from refluence.errors import InputError
from refluence.influence import Means, Scorer, Unsupported, capture, losses, proof, risk_gradient, scores, self_influence, truth
from refluence.influence.differentiable import Losses, plain_kernels
from refluence.influence.operators import operator
from refluence.influence.structure import signature
from refluence.influence.twice import check_twice
from refluence.matching.gradients import per_sample_gradients
from refluence.models import ModelSpec, build
from support.cases import make


@pytest.fixture
def asked(monkeypatch):
    """How often autograd was asked for the truth, nothing being remembered at the start."""
    monkeypatch.setattr(proof, "_answers", type(proof._answers)())
    counted, original = [], truth.truth

    def counting(*args):
        counted.append(len(args))
        return original(*args)

    for module in ("capture", "directional", "rows"):
        monkeypatch.setattr(import_module(f"refluence.influence.{module}"), "truth", counting)
    return counted


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def batch(n=6):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 2, 2, generator=g, dtype=torch.float64), torch.arange(n) % 3


def ones(net):
    return {name: torch.ones_like(p) for name, p in net.named_parameters()}


def test_a_structure_is_asked_once_whatever_its_values_and_whichever_network_has_it(asked):
    x, y = batch()
    for _ in range(3):
        net = mlp()
        capture(net, x, y)
        capture(net, x.flip(0), y)
        with torch.no_grad():
            net[1].weight.mul_(2)
        capture(net, x, y)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[1].register_forward_hook(lambda m, a, out: 2 * out),
        lambda net: net[1].register_forward_pre_hook(lambda m, a: (2 * a[0],)),
        lambda net: net[1].weight.register_hook(lambda g: 2 * g),
        lambda net: prune.l1_unstructured(net[1], "weight", 0.5),
        lambda net: nn.utils.parametrizations.weight_norm(net[1]),
        lambda net: setattr(net[1], "forward", lambda a: F.linear(a, net[1].weight)),
        lambda net: setattr(net[3], "weight", nn.Parameter(torch.ones(3, 4, dtype=torch.float64))) or net.append(net[3]),
        lambda net: net.train(),
        lambda net: net[3].weight.requires_grad_(False),
    ],
)
def test_another_structure_is_asked_again(asked, change):
    net, (x, y) = mlp().eval(), batch()
    names = [name for name, _ in net.named_parameters()]
    before = signature(net, names, F.cross_entropy, x, y)
    assert signature(net, names, F.cross_entropy, x.flip(0), y) == before
    change(net)
    assert signature(net, names, F.cross_entropy, x, y) != before


def test_a_hook_added_later_is_noticed(asked):
    net, (x, y) = mlp(), batch()
    scorer = Scorer(net)
    scorer(x, y, ones(net))
    net[1].register_forward_hook(lambda m, a, out: out / (1 + m.weight.norm()))
    want = [torch.autograd.grad(F.cross_entropy(net(x[j : j + 1]), y[j : j + 1]), list(net.parameters())) for j in range(6)]
    got = scorer(x, y, ones(net))
    torch.testing.assert_close(got, torch.stack([sum(g.sum() for g in each) for each in want]), rtol=1e-10, atol=1e-12)


def test_a_parameter_that_is_silent_at_its_value_is_asked_about_at_moved_values(asked):
    net, (x, y) = mlp(), batch()
    with torch.no_grad():
        net[3].weight.zero_()  # no gradient reaches the first layer
    before = [p.clone() for p in net.parameters()]
    for _ in range(9):
        capture(net, x, y)
    assert len(asked) == 2
    assert all(torch.equal(p, was) for p, was in zip(net.parameters(), before, strict=True))


def test_a_parameter_that_stays_silent_is_asked_about_twice(asked):
    net, (x, y) = mlp(), batch()
    net[2] = nn.Threshold(100, 0)  # nothing comes through
    for _ in range(9):
        capture(net, x, y)
    assert len(asked) == 2


def test_a_bias_before_a_norm_has_rounding_for_a_gradient_and_is_asked_about_once(asked):
    case = make("instance").to(torch.float32)
    capture(case.model, case.x, case.y)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("make_layer", "said"),
    [
        (
            lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
            "'2' .Linear. does not use its parameter 'weight_orig'",
        ),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), "'2.parametrizations.weight'"),
        (lambda: nn.Bilinear(4, 4, 4), "'2' .Twice. has parameters"),
    ],
)
def test_what_cannot_be_read_is_named_and_captured_all_the_same(make_layer, said):
    class Twice(nn.Bilinear):
        def forward(self, x):
            return super().forward(x, x)

    layer = make_layer()
    layer = Twice(4, 4, 4) if isinstance(layer, nn.Bilinear) else layer
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), layer, nn.Tanh(), nn.Linear(4, 3)).double().eval()
    x, y = batch()
    with pytest.raises(Unsupported, match=said):
        capture(net, x, y, engine="ghost")
    taken = capture(net, x, y)
    assert taken.choice.engine == "autograd"
    assert "(engine autograd), since layer '2" in str(taken.choice)
    names, omega = [name for name, _ in net.named_parameters()], torch.rand(6, dtype=torch.float64)
    each = F.cross_entropy(net(x), y, reduction="none")
    want = torch.autograd.grad((each * omega).mean(), list(net.parameters()))
    with torch.no_grad():
        net[1].weight.add_(1)  # a capture is of the moment at which it was made
    got = taken.gradient(omega)
    for name, g in zip(names, want, strict=True):
        torch.testing.assert_close(got[name], g, rtol=1e-10, atol=1e-12)
    assert list(got) == names


def test_a_weight_used_elsewhere_is_named():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(12, 4), nn.Linear(12, 3)

        def forward(self, x):
            return self.last(F.linear(torch.tanh(self.first(x.flatten(1))), self.first.weight.T))

    net, (x, y) = Tied().double(), batch()
    for refuse in (lambda: capture(net, x, y, engine="ghost"), lambda: scores(net, x, y, ones(net), engine="ghost")):
        with pytest.raises(Unsupported, match=r"layer 'first': the gradient of 'first.weight' is not that of its calls"):
            refuse()
    assert Scorer(net).choice(x, y, ones(net)).engine == "forward"


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


@pytest.mark.parametrize(
    ("layer", "said"),
    [(Centred(), r"couples the samples of a batch: .* \(seen in the gradient of '1\.weight'\)"), (Noisy(), "layer '2'.*Noisy")],
)
def test_instances_without_a_gradient_of_their_own_are_refused_at_every_door(layer, said):
    net, (x, y) = mlp().insert(2, layer).eval(), batch()
    v, state = ones(net), torch.get_rng_state()
    doors = [
        lambda: capture(net, x, y),
        lambda: self_influence(net, [(x, y)]),
        *(lambda e=e: scores(net, x, y, v, engine=e) for e in ("auto", "ghost", "forward", "double_backward", "single")),
    ]
    for door in doors:
        for _ in range(2):  # remembered, it is refused alike
            with pytest.raises(InputError, match=said):
                door()
    assert torch.equal(state, torch.get_rng_state())


def test_a_checkpoint_that_hides_its_parameters_is_refused():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Sequential):
        reentrant = True

        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=self.reentrant)

    net, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), Checkpointed(nn.Linear(4, 3))).double(), batch()
    with pytest.raises(InputError, match="use_reentrant=False"):
        scores(net, x, y, {"2.0.weight": torch.ones(3, 4)})
    net[2].reentrant = False
    assert capture(net, x, y).choice.engine == "ghost"


def test_a_penalty_in_the_loss_counts_at_every_door():
    net, (x, y) = mlp(), batch()

    def loss(logits, y):
        return F.cross_entropy(logits, y, reduction="none") + 0.1 * net[1].weight.square().sum()

    v = ones(net)
    want = torch.autograd.grad(loss(net(x), y).mean(), list(net.parameters()))
    gradient, _ = risk_gradient(net, [(x, y)], loss)
    for got in (gradient, capture(net, x, y, loss=loss).gradient()):
        for name, g in zip(v, want, strict=True):
            torch.testing.assert_close(got[name], g, rtol=1e-10, atol=1e-12)
    each = [torch.autograd.grad(loss(net(x[j : j + 1]), y[j : j + 1])[0], list(net.parameters())) for j in range(6)]
    squares = torch.stack([sum(g.square().sum() for g in one) for one in each])
    torch.testing.assert_close(self_influence(net, [(x, y)], loss=loss), squares, rtol=1e-10, atol=0)
    product = operator(net, [(x, y)], "hessian", loss=loss, damping=0.0, names=["1.weight"])({"1.weight": v["1.weight"]})
    plain = operator(net, [(x, y)], "hessian", damping=0.0, names=["1.weight"])({"1.weight": v["1.weight"]})
    torch.testing.assert_close(product["1.weight"] - plain["1.weight"], 0.2 * v["1.weight"], rtol=1e-9, atol=1e-12)


def test_a_module_with_two_names_is_left_whole():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), shared, nn.Tanh(), shared, nn.Linear(4, 3)).double()
    x, y = batch()
    v = ones(net)
    want = scores(net, x, y, v, engine="single")
    for engine in ("forward", "double_backward"):
        torch.testing.assert_close(scores(net, x, y, v, engine=engine), want, rtol=1e-10, atol=1e-12)
    assert all(isinstance(p, nn.Parameter) for m in net.modules() for p in m._parameters.values())


def test_a_network_that_writes_its_own_weights_takes_no_functional_engine():
    class Held(nn.Linear):
        """Weights that every forward holds to a largest norm."""

        def forward(self, x):
            self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.5)
            return super().forward(x)

    net, (x, y) = mlp().insert(2, Held(4, 4).double()).eval(), batch()
    choice = Scorer(net).choice(x, y, ones(net))
    assert choice.engine == "single"
    with pytest.raises(Unsupported, match="gives it other values"):
        scores(net, x, y, ones(net), engine="forward")


def test_a_network_that_takes_no_batch_of_one_is_scored_at_every_length():
    class Squeezed(nn.Module):
        def forward(self, x):
            return x.squeeze()

    plain, (x, y) = mlp(), batch(7)
    net = nn.Sequential(*plain, Squeezed())
    v = ones(net)
    for n in (7, 4, 1):
        for engine in ("auto", "single"):
            got = scores(net, x[:n], y[:n], v, engine=engine, chunk=3)
            torch.testing.assert_close(got, scores(plain, x[:n], y[:n], v, engine="single"), rtol=1e-10, atol=1e-12)


def test_kernels_are_put_back():
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    net = nn.LSTM(3, 4)
    with suppress(ValueError), plain_kernels(net):
        assert not torch.backends.mha.get_fastpath_enabled()
        assert not torch.backends.mkldnn.enabled
        raise ValueError
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled)


@pytest.mark.parametrize("kind", ["ggn", "hessian"])
def test_attention_and_recurrent_layers_have_a_curvature(kind):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
            self.last, self.out = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.last(self.layer(x.flatten(2).mT @ torch.eye(3, 4).to(x)))[0][:, -1])

    torch.manual_seed(0)
    net, (x, y) = Both().double().eval(), batch()
    v = ones(net)
    got = operator(net, [(x, y)], kind, damping=0.0)(v)
    flat, names = [p.detach() for p in net.parameters()], list(v)

    def risk(*p):
        return (
            Losses(net, lambda z, y: F.cross_entropy(z, y, reduction="none")).at(dict(zip(names, p, strict=True)), x, y).mean()
        )

    step = 1e-5
    ahead, behind = (
        torch.autograd.grad(risk(*(moved := [(p + s * step).requires_grad_() for p in flat])), moved) for s in (1, -1)
    )
    if kind == "hessian":
        for name, a, b in zip(names, ahead, behind, strict=True):
            torch.testing.assert_close(got[name], (a - b) / (2 * step), rtol=1e-4, atol=1e-7)
    assert float(sum((got[k] * v[k]).sum() for k in v)) != 0


def test_a_probe_of_numbers_that_are_not_finite_is_left_to_later(asked):
    net, (x, y) = mlp(), batch()
    with torch.no_grad():
        net[3].bias.fill_(torch.nan)
    assert scores(net, x, y, ones(net)).isnan().any()
    with torch.no_grad():
        net[3].bias.zero_()
    capture(net, x, y)
    assert Scorer(net).choice(x, y, ones(net)).engine == "ghost"


def test_a_frozen_model_and_its_buffers_are_left_as_they_were():
    case = make("batch")
    net = nn.utils.spectral_norm(nn.Linear(3, 3)).double()  # its forward moves a buffer in training mode
    model = nn.Sequential(case.model, net).requires_grad_(False)
    before = {name: b.clone() for name, b in model.named_buffers()}
    v = ones(model)
    scores(model.eval(), case.x, case.y, v)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert not any(p.requires_grad for p in model.parameters())


class Config:
    def __init__(self, centred):
        self.centred = centred


class Choosing(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        centred = self.how.get("centred") if isinstance(self.how, dict) else self.how.centred
        return x - x.mean(0) if centred else x


@pytest.mark.parametrize("kind", [dict, lambda **k: Config(**k)])
def test_settings_in_containers_and_objects_belong_to_the_structure(asked, kind):
    x, y = batch()
    nets = [mlp().insert(2, Choosing(kind(centred=centred))) for centred in (False, True, False)]
    for net, fine in zip(nets, (True, False, True), strict=True):
        if fine:
            capture(net, x, y)
        else:
            with pytest.raises(InputError, match="couples the samples"):
                capture(net, x, y)
    assert len(asked) == 2


def test_a_network_that_counts_its_calls_is_asked_once_it_is_known_to(asked):
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x

    net, (x, y) = mlp().insert(2, Counting()), batch()
    for _ in range(5):
        capture(net, x, y)
    assert len(asked) == 2


def test_what_is_remembered_keeps_no_network_alive(asked):
    class Stops(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)

        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs)

    net, (x, y) = mlp().insert(2, Stops().double()), batch()
    with suppress(Unsupported):
        capture(net, x, y, engine="ghost")
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_a_loss_that_cannot_be_hashed_is_known_by_what_it_is_made_of(asked):
    @dataclass
    class Scaled:
        by: float

        def __call__(self, logits, y):
            return self.by * F.cross_entropy(logits, y, reduction="none")

    net, (x, y) = mlp(), batch()
    for by in (1.0, 1.0, 2.0, 2.0):
        capture(net, x, y, loss=Scaled(by))
    assert len(asked) == 2


def test_a_replayed_capture_is_of_its_moment():
    net = nn.Sequential(
        nn.Flatten(), prune.l1_unstructured(nn.Linear(12, 4), "weight", 0.5), nn.BatchNorm1d(4), nn.Linear(4, 3)
    )
    net, (x, y) = net.double().eval(), batch()
    taken = capture(net, x, y)
    assert taken.choice.engine == "autograd"
    want, scored = taken.gradient(), taken.scores(ones(net))
    net.train()
    net(x)
    with torch.no_grad():
        net[1].weight_mask.fill_(1)
        x.zero_()
    assert all(torch.equal(g, want[name]) for name, g in taken.gradient().items())
    assert torch.equal(taken.scores(ones(net)), scored)
    assert net.training
    assert bool(net[1].weight_mask.all())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_asked_in_single(kind):
    class Leaning(nn.Module):
        def forward(self, x):
            return x - 0.1 * x.mean(0)

    x, y = batch()
    net = mlp().to(kind)
    assert Scorer(net).choice(x.to(kind), y, ones(net)).engine == "ghost"
    with pytest.raises(InputError, match="couples the samples"):
        capture(mlp().insert(2, Leaning()).to(kind), x.to(kind), y)


def test_complex_parameters_count_as_two_real_ones():
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.filter = nn.Parameter(torch.randn(4, dtype=torch.complex128))

        def forward(self, x):
            return torch.fft.ifft(torch.fft.fft(x) * self.filter).real

    net, (x, y) = mlp().insert(2, Spectrum()), batch()
    v = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    step, want = 1e-6, []
    for sign in (1, -1):
        moved = {name: p.detach() + sign * step * v[name] for name, p in net.named_parameters()}
        want.append(sign * Losses(net, lambda z, y: F.cross_entropy(z, y, reduction="none")).at(moved, x, y) / (2 * step))
    for engine in ("auto", "forward", "single"):
        got = scores(net, x, y, v, engine=engine)
        assert got.dtype == torch.float64
        torch.testing.assert_close(got, sum(want), rtol=1e-6, atol=1e-8)
    assert Scorer(net).choice(x, y, v).engine == "forward"


def test_every_statistic_leaves_a_module_with_two_names_whole():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), shared, nn.Tanh(), shared, nn.Linear(4, 3)).double()
    x, y = batch()
    Means(lambda net, x: {"rows": net(x)}).pull(net, [(x, y)], {"rows": torch.ones(3, dtype=torch.float64)})
    list(per_sample_gradients(net, x, y, [name for name, _ in net.named_parameters()]))
    assert all(isinstance(p, nn.Parameter) for m in net.modules() for p in m._parameters.values())


def test_inference_mode_is_refused():
    net, (x, y) = mlp(), batch()
    doors = [lambda: capture(net, x, y), lambda: scores(net, x, y, ones(net)), lambda: risk_gradient(net, [(x, y)])]
    with torch.inference_mode():
        made = mlp()
        for door in doors:
            with pytest.raises(InputError, match=r"use torch\.no_grad"):
                door()
    with pytest.raises(InputError, match="inference_mode"):
        capture(made, x, y)
    assert Scorer(net).choice(x, y, ones(net)).engine == "ghost"


def test_an_honest_network_has_honest_second_derivatives():
    case = make("rare")  # ReLU, max-like kinks, norms
    black = torch.zeros_like(case.x)
    for x in (case.x, black):
        check_twice(case.model, [name for name, _ in case.model.named_parameters()], x, case.y, case.loss)


def test_a_wide_network_has_a_kink_next_to_every_point_and_is_honest():
    net = build(ModelSpec("convnet3", (3, 32, 32), 4, width=32), torch.Generator().manual_seed(0)).eval()
    x, y = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(4)
    check_twice(net, [name for name, _ in net.named_parameters()], x, y, losses.cross_entropy)


def test_what_a_loss_or_a_class_is_switched_to_belongs_to_the_structure():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.squared = False

        def forward(self, logits, y):
            each = F.cross_entropy(logits, y, reduction="none")
            return each.square() if self.squared else each

    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    net, loss, (x, y) = mlp().insert(2, Doubled()), Loss(), batch()
    net[2].flag = np.bool_(False)
    names = [name for name, _ in net.named_parameters()]
    found = {signature(net, names, loss, x, y)}
    loss.squared = True
    found.add(signature(net, names, loss, x, y))
    net[2].flag = np.bool_(True)
    found.add(signature(net, names, loss, x, y))
    Doubled.forward = lambda self, x: x - x.mean(0)
    found.add(signature(net, names, loss, x, y))
    assert len(found) == 4


def test_a_penalty_counts_in_half_precision_too():
    net = mlp().to(torch.bfloat16)
    held, (x, y) = list(net.parameters()), batch()
    x = x.to(torch.bfloat16)

    def loss(logits, y):
        return F.cross_entropy(logits, y, reduction="none") + 0.5 * sum(p.square().sum() for p in held)

    v = ones(net)
    want = scores(net, x, y, v, loss=loss, engine="single").double()
    for got in (scores(net, x, y, v, loss=loss), capture(net, x, y, loss=loss).scores(v)):
        assert float((got.double() - want).abs().max() / want.abs().max()) < 0.05
    assert all(p.dtype == torch.bfloat16 for p in net.parameters())


def test_odd_attributes_are_no_obstacle(asked):
    net, (x, y) = mlp(), batch()
    net[2].size, net[2].data = SimpleNamespace(shape=224), list(range(100_000))
    capture(net, x, y)
    net[2].data = list(range(50_000))
    capture(net, x, y)
    assert len(asked) == 2
