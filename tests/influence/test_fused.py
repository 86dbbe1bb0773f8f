"""The traced pass of a chunk: the same numbers as the eager one, at every number of samples, traced once."""

import pytest
import torch
from torch import nn

from refluence.errors import InputError, RunError
from refluence.influence import Scorer, scores
from refluence.influence.fused import REWRITES, Fused
from support.cases import distillation, make

aten = torch.ops.aten


@pytest.fixture
def traces(monkeypatch):
    """Tracing without the compiler behind it; a list of what would have been compiled."""
    made = []
    monkeypatch.setattr(torch, "compile", lambda graph, **options: made.append(graph) or graph)
    return made


@pytest.mark.parametrize("engine", ["auto", "ghost", "forward", "double_backward"])
def test_the_traced_pass_equals_the_eager_one(case, engine, traces):
    v = case.direction()
    for direction in (v, dict(list(v.items())[::2])):
        want = scores(case.model, case.x, case.y, direction, loss=case.loss)
        got = Scorer(case.model, loss=case.loss, engine=engine, chunk=4, compile=True)(case.x, case.y, direction)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))
        assert not got.requires_grad
    assert len(traces) == 2


def test_one_trace_serves_other_directions_parameters_and_numbers_of_samples(traces):
    case = make("group")
    scorer = Scorer(case.model, loss=case.loss, chunk=4, compile=True)
    for seed in (1, 2):
        v = case.direction(seed)
        for n in (11, 8, 1):
            got = scorer(case.x[:n], case.y[:n], v)
            torch.testing.assert_close(got, scores(case.model, case.x[:n], case.y[:n], v), rtol=1e-10, atol=1e-10)
        with torch.no_grad():
            for p in case.model.parameters():
                p.mul_(1.1)
    assert len(traces) == 1
    scorer(case.x, case.y, dict(list(v.items())[:2]))
    scorer(case.x[:, :, :4].repeat(1, 1, 2, 1), case.y, v)
    assert len(traces) == 2


def test_time_as_long_as_the_chunk_is_left_to_the_forward_engine(traces):
    case = make("time as long as the batch")
    v = case.direction()
    want = scores(case.model, case.x, case.y, v, engine="double_backward")
    got = scores(case.model, case.x[:5], case.y[:5], v, chunk=11, compile=True)
    torch.testing.assert_close(got, want[:5], rtol=1e-10, atol=1e-10)
    assert len(traces) == 1


def test_buffers_and_modes_are_those_of_the_call(traces):
    case = make("batch")
    scorer, v = Scorer(case.model, chunk=11, compile=True), case.direction()
    before = scorer(case.x, case.y, v)
    with torch.no_grad():
        for buffer in case.model.buffers():
            buffer.add_(buffer.abs() * 0.2) if buffer.is_floating_point() else None
    after = scorer(case.x, case.y, v)
    torch.testing.assert_close(after, scores(case.model, case.x, case.y, v), rtol=1e-10, atol=1e-10)
    assert float((after - before).abs().max()) > 1e-3
    with pytest.raises(InputError, match=r"call model\.eval\(\)"):
        Scorer(case.model.train(), compile=True)(case.x, case.y, v)


def test_targets_in_a_tuple_and_tokens(traces):
    case = make("instance")
    teacher = torch.softmax(torch.randn(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)), 1)

    def loss(logits, y):
        return distillation(logits, y[1]) + nn.functional.cross_entropy(logits, y[0], reduction="none")

    options = {"loss": loss, "chunk": 4}
    v, y = case.direction(), (case.y, teacher)
    got = scores(case.model, case.x, y, v, compile=True, **options)
    torch.testing.assert_close(got, scores(case.model, case.x, y, v, **options), rtol=1e-10, atol=1e-10)

    model = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3)).double()
    tokens = torch.arange(44).reshape(11, 4) % 7
    for names in (["2.weight"], ["0.weight", "2.bias"]):
        v = {k: torch.ones_like(p) for k, p in model.named_parameters() if k in names}
        want = scores(model, tokens, case.y, v, engine="double_backward")
        for compiled in (False, True):
            got = scores(model, tokens, case.y, v, compile=compiled, chunk=4)
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), []), ((2, 4), (2, 4)), ((2, 2), (1, 1))])
def test_average_pooling_backward_is_rewritten_only_where_windows_do_not_overlap(kernel, stride):
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    dy = torch.randn_like(torch.nn.functional.avg_pool2d(x, kernel, stride or None))
    arguments = (dy, x, kernel, stride, (0, 0), False, True, None)
    got = REWRITES[aten.avg_pool2d_backward.default](*arguments)
    if stride == (1, 1):
        assert got is NotImplemented
    else:
        torch.testing.assert_close(got, aten.avg_pool2d_backward.default(*arguments), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_and_its_backward(groups, affine):
    x, dy = (torch.randn(3, 6, 4, 5, dtype=torch.float64) for _ in range(2))
    weight, bias = (torch.randn(6, dtype=torch.float64) if affine else None for _ in range(2))
    sizes = (3, 6, 20, groups)
    want = aten.native_group_norm.default(x, weight, bias, *sizes, 1e-5)
    got = REWRITES[aten.native_group_norm.default](x, weight, bias, *sizes, 1e-5)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    arguments = (dy, x, want[1], want[2], weight, *sizes)
    only_x = (True, False, False)
    got = REWRITES[aten.native_group_norm_backward.default](*arguments, only_x)[0]
    want = aten.native_group_norm_backward.default(*arguments, only_x)[0]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    assert REWRITES[aten.native_group_norm_backward.default](*arguments, (True, True, True)) is NotImplemented


def test_a_compiler_that_fails_is_a_failed_run(monkeypatch):
    def broken(*inputs):
        raise RuntimeError("no C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda graph, **options: broken)
    pass_ = Fused(lambda state, v, x, y: x.sum(1), 4)
    with pytest.raises(RunError, match=r"could not be compiled \(no C\+\+ compiler found\): go without compile"):
        pass_({}, {}, torch.ones(2, 3), torch.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_equals_eager(precision):
    case = make("group").to(torch.float32)
    scorer = Scorer(case.model, chunk=4, compile=True, precision=precision)
    for seed in (1, 2):
        v = {k: t.float() for k, t in case.direction(seed).items()}
        want = scores(case.model, case.x, case.y, v, precision=precision)
        off = 1e-4 if precision == "fp32" else 1e-2
        assert float((scorer(case.x, case.y, v) - want).abs().max() / want.abs().max()) < off
