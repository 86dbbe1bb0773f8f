"""Class-mean gradients against a loop, Algorithm 2 by hand, and the works: stopped anywhere they resume to the same bits."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from refluence.compute import Compute
from refluence.errors import InputError, RunError
from refluence.generate.checkpoints import look, of_classes, of_mean_gradients, regular
from refluence.generate.class_gradients import chosen, class_gradients
from refluence.generate.surrogate import Surrogate, SurrogateSettings, surrogate_defaults
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.trajectory import Trajectory, TrajectoryWork
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

DATA = tiny_dataset()
MODEL = ModelSpec("convnet1", DATA.shape, 3, 4, "batch")
SETTINGS = SurrogateSettings(epochs=3, batch=16, threshold=0.99, lr=0.1)


def training(settings=SETTINGS, model=MODEL) -> TrajectoryWork:
    return TrajectoryWork(settings.training, model, DATA, streams(0), Compute())


def finished(one):
    list(one.steps())
    return one.artifact()


@functools.cache
def trained() -> Trajectory:
    return finished(training())


def work(settings=SETTINGS, weights=None) -> SurrogateWork:
    return SurrogateWork(settings, trained(), DATA, streams(0), Compute(), weights)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_gradients_are_weighted_means_of_single_ones(weighted):
    net = build(MODEL, torch.Generator().manual_seed(0)).double().eval()
    for buffer in net.buffers():
        buffer.add_(1)
    data = dataclasses.replace(DATA)
    weights = torch.rand(len(data.train), generator=torch.Generator().manual_seed(1)) if weighted else None
    data = Doubled(**{f.name: getattr(data, f.name) for f in dataclasses.fields(data)})
    positions = chosen(data, 5, streams(0))
    net.train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    found = class_gradients(net, data, positions, weights, chunk=3)
    assert net.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    net.eval()
    for c, members in enumerate(positions):
        assert len(members) == 5
        assert data.train.labels[members].unique().tolist() == [c]
        share = torch.ones(5, dtype=torch.float64) if weights is None else weights[members].double()
        rows = []
        for j in members.tolist():
            loss = cross_entropy(net(data.pixels(data.train, torch.tensor([j]))), torch.tensor([c]))
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]))
        torch.testing.assert_close(found[c], (share / share.sum()) @ torch.stack(rows), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(class_gradients(net, data, positions, weights, chunk=100), found)


class Doubled(type(DATA)):
    def pixels(self, split, positions=slice(None), device="cpu"):
        return super().pixels(split, positions, device).double()


def test_weights_that_leave_a_class_out_and_too_few_images_are_refused():
    net = build(MODEL, torch.Generator().manual_seed(0))
    weights = (DATA.train.labels != 1).float()
    with pytest.raises(InputError, match="weights of all images of class 'class 1' are 0"):
        class_gradients(net, DATA, chosen(DATA, None, streams(0)), weights)
    with pytest.raises(InputError, match=r"class 'class 2' has 9 training images: .*10 was asked for"):
        work(dataclasses.replace(SETTINGS, real=10))


def test_algorithm_2_compares_with_the_last_kept_checkpoint():
    angles = torch.tensor([0.0, 40.0, 50.0, 90.0, 100.0]).deg2rad()  # cos 45 degrees is .707
    kept, last = [], None
    for number, angle in enumerate(angles):
        gradients = torch.stack([angle.cos(), angle.sin()])[None]
        if look(gradients, last, 0.7, of_mean_gradients)[1]:
            kept.append(number)
            last = gradients
    assert kept == [0, 2, 4]


def test_similarities_differ_where_classes_have_gradients_of_different_length():
    a = torch.tensor([[10.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[10.0, 0.0], [0.0, -1.0]])
    assert of_mean_gradients(a, b) == pytest.approx(99 / 101)
    assert of_classes(a, b) == pytest.approx(0.0)


def test_regular_checkpoints_span_the_training():
    assert regular(50, 4) == [0, 17, 33, 50]
    assert regular(3, 1) == [0]
    found = finished(work(dataclasses.replace(SETTINGS, regular=2)))
    assert found.epochs == (0, 3)


@pytest.mark.parametrize("threshold", [-1.0, 0.9999, 1.0])
def test_as_many_regular_checkpoints_as_are_retained(threshold):
    retaining = dataclasses.replace(SETTINGS, threshold=threshold)
    retained, spread = finished(work(retaining)), work(dataclasses.replace(retaining, evenly=True))
    states = [spread.state() for _ in spread.steps()]
    found = spread.artifact()
    assert list(found.epochs) == regular(SETTINGS.epochs, len(retained))
    for net, gradients in zip(found.networks(), found.gradients, strict=True):
        torch.testing.assert_close(class_gradients(net, DATA, spread.positions), gradients)
    for state in states:
        other = work(dataclasses.replace(retaining, evenly=True))
        other.restore(state)
        assert finished(other).epochs == found.epochs
    assert "evenly" not in retaining.to_json()


def test_kept_checkpoints_are_those_of_the_training_with_their_gradients():
    one = work()
    found = finished(one)
    assert found.epochs[0] == 0
    assert len(trained()) == SETTINGS.epochs + 1
    for net, gradients, epoch in zip(found.networks(), found.gradients, found.epochs, strict=True):
        assert all(torch.equal(t, trained().checkpoints[epoch][name]) for name, t in net.state_dict().items())
        assert not net.training
        torch.testing.assert_close(class_gradients(net, DATA, one.positions), gradients)
    again = Surrogate.from_state(MODEL, found.state())
    assert again.epochs == found.epochs
    assert again.rates == (SETTINGS.lr,) * len(found)
    assert (again.mean, again.std) == (DATA.mean, DATA.std)
    assert all(torch.equal(t, again.state()[name]) for name, t in found.state().items())


@pytest.mark.parametrize(("begun", "total", "stop"), [(training, 3, 1), (training, 3, 2), (work, 4, 1), (work, 4, 3)])
def test_a_work_that_was_stopped_goes_on_to_the_same_bits(begun, total, stop):
    whole, first, second = begun(), begun(), begun()
    steps = first.steps()
    for _ in range(stop):
        next(steps)
    second.restore({name: t.clone() for name, t in first.state().items()})
    a, b = finished(whole).state(), finished(second).state()
    assert whole.total == second.step == total
    assert a.keys() == b.keys()
    assert all(torch.equal(t, b[name]) for name, t in a.items())


def test_what_is_counted_of_a_training_are_steps_of_sgd(monkeypatch):
    monkeypatch.setattr("refluence.generate.trajectory.BLOCK", 4)
    one = training(dataclasses.replace(SETTINGS, batch=len(DATA.train) // 6))
    assert (one.per_epoch, one.total) == (6, 6)
    assert [one.units(step) for step in range(7)] == [0, 4, 6, 10, 12, 16, 18]


def test_a_training_that_diverges_says_so():
    with pytest.raises(RunError, match="surrogate diverged in epoch 1"):
        finished(training(dataclasses.replace(SETTINGS, lr=1e30), ModelSpec("convnet1", DATA.shape, 3, 4, "none")))


def test_a_checkpoint_of_a_version_that_trained_and_looked_at_once_is_not_gone_on_from():
    one = work()
    with pytest.raises(KeyError, match="kept"):
        one.restore({"step": torch.tensor(3), "kept.0": torch.zeros(3, 2)})
    assert (one.step, one.kept) == (0, {})


def test_a_saved_surrogate_says_what_it_holds(tmp_path):
    one = work()
    list(one.steps())
    result = one.result()
    result.artifact.save(tmp_path, result.card)
    assert {path.name for path in (tmp_path / "surrogate").iterdir()} == {"model.safetensors", "card.json", "README.md"}
    assert result.card["epochs_kept"] == list(result.artifact.epochs)
    trained().save(tmp_path, {})
    again = Trajectory.from_state(MODEL, load_file(tmp_path / "trajectory" / "model.safetensors"))
    assert again.stored_bytes == trained().stored_bytes
    assert all(torch.equal(t, again.state()[name]) for name, t in trained().state().items())


def test_defaults_ask_for_no_more_images_than_there_are():
    assert surrogate_defaults(DATA, "cpu").real == 9
    assert surrogate_defaults(DATA, "paper") == SurrogateSettings()
