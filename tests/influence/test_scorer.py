"""`Scorer` beyond the exactness that test_directional.py holds every engine to: re-use, order, precision, errors."""

import pytest
import torch

from refluence.errors import InputError
from refluence.influence import Scorer, scores
from refluence.models import ModelSpec, build
from support.cases import make


@pytest.mark.parametrize("engine", ["ghost", "forward", "double_backward"])
def test_scores_do_not_depend_on_chunks_or_on_the_order_of_samples(engine):
    case = make("instance")
    v, order = case.direction(), torch.randperm(11, generator=torch.Generator().manual_seed(1))
    want = scores(case.model, case.x, case.y, v)
    for chunk in (1, 3, 11, 64):
        scorer = Scorer(case.model, engine=engine, chunk=chunk)
        torch.testing.assert_close(scorer(case.x, case.y, v), want, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(scorer(case.x[order], case.y[order], v), want[order], rtol=1e-10, atol=1e-10)
        pieces = [scorer(case.x[part], case.y[part], v) for part in (slice(5, 11), slice(5))]
        torch.testing.assert_close(torch.cat(pieces[::-1]), want, rtol=1e-10, atol=1e-10)


def test_a_scorer_follows_the_model():
    case = make("group")
    scorer, v = Scorer(case.model), case.direction()
    before = scorer(case.x, case.y, v)
    with torch.no_grad():
        for p in case.model.parameters():
            p.mul_(1.2)
    after = scorer(case.x, case.y, v)
    torch.testing.assert_close(after, scores(case.model, case.x, case.y, v, engine="forward"), rtol=1e-10, atol=1e-10)
    assert float((after - before).abs().max()) > 1e-3


def test_the_model_is_left_as_it_was():
    case = make("shared")
    case.model.first.weight.requires_grad_(False)
    before = {k: t.clone() for k, t in case.model.state_dict().items()}
    state = torch.get_rng_state()
    scorer = Scorer(case.model)
    scorer(case.x, case.y, case.direction())
    assert not case.x.requires_grad
    assert all(torch.equal(t, before[k]) for k, t in case.model.state_dict().items())
    assert [k for k, p in case.model.named_parameters() if not p.requires_grad] == ["first.weight"]
    assert all(p.grad is None for p in case.model.parameters())
    assert not [m for m in case.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert torch.equal(state, torch.get_rng_state())


def test_bf16_keeps_the_ranking_of_a_convnet():
    g = torch.Generator().manual_seed(0)
    model = build(ModelSpec("convnet3", (3, 32, 32), 10, width=32), g).eval()
    x, y = torch.randn(128, 3, 32, 32, generator=g), torch.arange(128) % 10
    v = {k: torch.randn(p.shape, generator=g) for k, p in model.named_parameters()}
    want = scores(model, x, y, v)
    got = scores(model, x, y, v, precision="bf16")
    assert got.dtype == torch.float32
    assert not torch.equal(got, want)
    assert float(torch.corrcoef(torch.stack([got, want]))[0, 1]) > 0.999


def test_bad_options():
    case = make("mlp")
    for options, said in (
        ({"precision": "fp8"}, "unknown precision 'fp8': choose one of fp32, bf16"),
        ({"precision": "bf16", "engine": "forward"}, "precision bf16 is for the engine ghost, not 'forward'"),
        ({"chunk": 0}, "the chunk is 0 samples: it must be at least 1"),
    ):
        with pytest.raises(InputError, match=said):
            Scorer(case.model, **options)
    with pytest.raises(InputError, match="no samples to score"):
        Scorer(case.model)(case.x[:0], case.y[:0], case.direction())
    for engine in ("ghost", "forward", "double_backward", "single"):
        with pytest.raises(InputError, match=r"one value a sample, \(4,\), got \(\)"):
            scores(case.model, case.x, case.y, case.direction(), engine=engine, loss=torch.nn.CrossEntropyLoss())


@pytest.mark.parametrize("engine", ["auto", "forward", "single"])
def test_losses_come_with_scores(engine):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x, y = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 3
    v = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    scorer = Scorer(net, engine=engine, chunk=3)
    found, losses = scorer.with_losses(x, y, v)
    assert torch.equal(found, scorer(x, y, v))
    torch.testing.assert_close(losses, torch.nn.functional.cross_entropy(net(x), y, reduction="none").detach())
