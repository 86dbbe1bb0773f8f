"""Minimax fine-tuning: its loss against a loop, what moves, what is remembered, and the same bits wherever it is stopped."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from refluence.compute import Compute
from refluence.errors import InputError, RunError
from refluence.generate.denoiser import build_denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.minimax import MinimaxSettings, cosines, mark_difffit, minimax_defaults
from refluence.generate.minimax_work import MinimaxWork
from refluence.generate.noising import noised
from refluence.generate.predictions import STEPS, linear_abar, prediction
from refluence.seeds import streams
from support.diffusers_folders import save_pipeline
from support.tiny_data import tiny_dataset

DATA = tiny_dataset()
CONFIG = DenoiserConfig(DATA.shape, DATA.classes, patch=4, width=16, depth=1, heads=2)
SETTINGS = MinimaxSettings(iterations=50, batch=8, memory=5, ema=0.9)
CPU = torch.device("cpu")


def base(config=CONFIG):
    """A denoiser whose weights are nowhere zero."""
    g = torch.Generator().manual_seed(0)
    denoiser = build_denoiser(config, g)
    with torch.no_grad():
        for p in denoiser.net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return denoiser


def work(config=CONFIG, **changes) -> MinimaxWork:
    return MinimaxWork(base(config), replace(SETTINGS, **changes), DATA, streams(0), Compute())


# the loss


def by_loops(z0, y, real, pseudo):
    """P and N, one pair of vectors after another."""
    positive, negative, classes = 0.0, 0.0, sorted(set(y.tolist()))
    for c in classes:
        of_class = [z.flatten() for z, label in zip(z0, y.tolist(), strict=True) if label == c]
        for z in of_class if c in real else ():
            to_real = [z @ r.flatten() / (z.norm() * r.norm()) for r in real[c]]
            to_pseudo = [z @ p.flatten() / (z.norm() * p.norm()) for p in pseudo[c]]
            positive = positive + (1 - min(to_real)) / len(of_class) / len(classes)
            negative = negative + max(to_pseudo) / len(of_class) / len(classes)
    return positive, negative


def test_both_terms_and_their_gradients_are_those_of_a_loop():
    g = torch.Generator().manual_seed(3)
    z0 = torch.randn(7, 2, 3, 3, generator=g, dtype=torch.float64).requires_grad_()
    y = torch.tensor([2, 0, 2, 1, 0, 2, 3])
    real, pseudo = ({c: torch.randn(n, 2, 3, 3, generator=g, dtype=torch.float64) for c, n in sizes.items()} for sizes in SIZES)
    away, alike, weight = cosines(z0, y, real, pseudo)
    for number, expected in zip((away, alike), by_loops(z0, y, real, pseudo), strict=True):
        torch.testing.assert_close((weight * number).sum(), expected, rtol=1e-12, atol=0)
        ours, theirs = (torch.autograd.grad(value, z0, retain_graph=True)[0] for value in ((weight * number).sum(), expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert weight.sum() == pytest.approx(1)
    assert (away[6].item(), alike[6].item()) == (0, 0), "nothing is remembered of class 3"


SIZES = ({0: 4, 1: 1, 2: 3, 5: 2}, {0: 2, 1: 3, 2: 6, 5: 1})


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_z0_of_the_true_output_is_the_clean_image(kind):
    denoiser = base(replace(CONFIG, prediction=kind))
    denoiser.net.double()
    made = noised(denoiser, DATA.train, torch.arange(9), 0.0, torch.Generator().manual_seed(1), CPU)
    clean = prediction(kind).clean(made.x.double(), made.target.double(), made.t, linear_abar())
    torch.testing.assert_close(clean, made.z0.double(), rtol=0, atol=1e-3 if kind == "epsilon" else 1e-5)
    assert 0 <= float(made.t.min()) <= float(made.t.max()) < STEPS


def test_a_step_moves_by_the_gradient_of_the_whole_loss():
    """The first step after something is remembered, with SGD's gradient read off the parameters."""
    ours = work(positive=0.5, negative=0.7, label_drop=0.0)
    ours._moved(0)
    batch, y = ours._batch(1)
    named = dict(ours.net.named_parameters())
    with torch.no_grad():
        before = {name: p.clone() for name, p in named.items()}
    real, pseudo = dict(ours.real.of), dict(ours.pseudo.of)
    values = ours._moved(1)
    moved = {name: p.grad.clone() for name, p in named.items() if p.requires_grad}
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(before[name])
            p.grad = None
    output = ours.net(batch.x, batch.t, batch.label)
    positive, negative = by_loops(batch.x - (batch.t / STEPS).view(-1, 1, 1, 1) * output, y, real, pseudo)
    loss = (output - batch.target).square().mean() + 0.5 * positive + 0.7 * negative
    loss.backward()
    for name, gradient in moved.items():
        torch.testing.assert_close(gradient, named[name].grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(values, torch.stack((loss, positive, negative)).detach(), rtol=1e-5, atol=1e-6)


def test_without_both_weights_it_is_the_plain_loss():
    plain, whole = work(positive=0.0, negative=0.0), work()
    batch, _ = plain._batch(0)
    with torch.no_grad():
        expected = (plain.net(batch.x, batch.t, batch.label) - batch.target).square().mean()
    assert float(plain._moved(0)[0]) == pytest.approx(float(expected), rel=1e-6)
    for number in range(1, 4):
        plain._moved(number)
        whole._moved(number)
    assert any(not torch.equal(a, b) for a, b in zip(plain.moving, whole.moving, strict=True))


# what moves


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_only_parameters_of_difffit_move(kind):
    if kind == "unet":
        pytest.importorskip("diffusers")
    config = replace(CONFIG, kind=kind, width=8, depth=2)
    before = base(config).state()
    after = work(config, iterations=20, ema=0.0)
    list(after.steps())
    moved = {name for name, t in after.denoiser.state().items() if not torch.equal(t, before[name])}
    matrices = {name for name in before if before[name].ndim > 1}
    label = {"label.weight"} if kind == "dit" else {"class_embedding.weight"}
    assert moved & matrices == label
    assert len(moved) > 0.9 * len([name for name in before if before[name].ndim == 1])


def test_the_published_kind_of_denoiser_is_tuned_without_its_matrices(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    folder, data = tmp_path / "dit", tiny_dataset((6, 5), (3, 8, 8))
    save_pipeline(diffusers, folder, classes=2)
    ours = MinimaxWork(load_denoiser(folder, data.classes), replace(SETTINGS, batch=4), data, streams(0), Compute())
    before = ours.denoiser.state()
    list(ours.steps())
    ours.result().artifact.save(tmp_path)
    again = load_denoiser(tmp_path, data.classes, data.shape)
    moved = {name for name, t in again.state().items() if not torch.equal(t, before[name])}
    assert (again.method, again.null_label, again.shape) == ("minimax", 2, (4, 4, 4))
    assert all(before[name].ndim == 1 or "embedding_table" in name for name in moved)
    assert any(name.endswith("proj_out_2.bias") for name in moved)
    assert ours.real.of[0].shape[1:] == (4, 4, 4)


def test_difffit_finds_vectors_and_embeddings():
    net = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(4, 4, 1, bias=False))
    found = mark_difffit(net)
    assert [tuple(p.shape) for p in found] == [(3, 4), (4,), (4,), (4,)]
    assert not net[1].weight.requires_grad
    assert not net[3].weight.requires_grad


# memories and order


def test_memories_hold_the_last_of_each_class():
    ours = work(memory=3)
    seen = {c: [] for c in range(3)}
    for number in range(4):
        ours._moved(number)
        batch, y = ours._batch(number)
        for z, label in zip(batch.z0, y.tolist(), strict=True):
            seen[label].append(z)
    for label, held in seen.items():
        assert torch.equal(ours.real.of[label], torch.stack(held[-3:]))
        assert len(ours.pseudo.of[label]) == len(held[-3:])


def test_an_epoch_has_every_image_once_and_another_order_each_time():
    ours = work(batch=5)
    epochs = [
        [label for number in numbers for label in ours._batch(number)[0].z0.sum((1, 2, 3)).tolist()] for numbers in EPOCHS
    ]
    assert all(len(set(each)) == 45 for each in epochs)
    assert epochs[0] != epochs[1]
    assert work(batch=1000).batch_size == len(DATA.train)


EPOCHS = (range(9), range(9, 18))

# the work


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_a_stopped_fine_tuning_continues_to_the_same_bits(stop, kind):
    config = replace(CONFIG, prediction=kind)
    whole, first, second = work(config), work(config), work(config)
    events = list(whole.steps())
    steps = first.steps()
    kept = [next(steps) for _ in range(stop)]
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    list(steps)
    second.restore(state)
    assert kept + list(second.steps()) == events
    one, two = (each.result().artifact.state() for each in (whole, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.state().keys() == second.state().keys()
    assert all(torch.equal(a, second.state()[name]) for name, a in whole.state().items())
    assert [event.step for event in events] == [0, 1, 2]


def test_the_result_has_the_average_and_is_read_again(tmp_path):
    ours = work()
    untouched = base().state()
    list(ours.steps())
    result = ours.result()
    state, latest = result.artifact.state(), ours.denoiser.state()
    name = "blocks.0.up.bias"
    assert not torch.equal(state[name], latest[name])
    assert not torch.equal(state[name], untouched[name])
    assert result.card["finetuning"]["negative"] == 0.008
    assert result.card["moved"] == sum(p.numel() for p in ours.moving)
    result.artifact.save(tmp_path)
    again = load_denoiser(tmp_path, DATA.classes, DATA.shape)
    assert again.method == "minimax"
    assert all(torch.equal(again.state()[name], state[name]) for name in state)


@pytest.mark.parametrize(("weight", "part"), [("positive", "away"), ("negative", "alike")])
def test_a_large_weight_makes_its_part_smaller(weight, part):
    without, large = (list(work(iterations=100, lr=1e-2, **{**NEITHER, weight: value}).steps())[-3:] for value in (0.0, 20.0))
    means = [sum(getattr(event, part) for event in events) / 3 for events in (without, large)]
    assert means[1] < means[0] - 0.015, means


NEITHER = {"positive": 0.0, "negative": 0.0}


def test_numbers_that_are_no_longer_finite_end_it():
    with pytest.raises(RunError, match="fine-tuning of the denoiser diverged"):
        list(work(lr=1e30).steps())


def test_half_precision_is_finite_and_near():
    half, single = MinimaxWork(base(), SETTINGS, DATA, streams(0), Compute(precision="bf16")), work()
    events = [next(each.steps()) for each in (half, single)]
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in half.moving)
    assert events[0].loss == pytest.approx(events[1].loss, rel=0.05)
    assert events[0].alike == pytest.approx(events[1].alike, abs=0.05)


def test_sizes_and_ranges():
    assert minimax_defaults("paper", 9469) == MinimaxSettings(iterations=8 * 1183, batch=8, ema=0.9999)
    assert minimax_defaults("cpu", 60_000).iterations == 1000
    assert minimax_defaults("cpu", 5).iterations == 8
    with pytest.raises(InputError, match="memory"):
        MinimaxSettings(memory=0)
