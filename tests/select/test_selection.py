"""Every selection: the contract of `Selection`; random: uniform; herding: greedy optimal and brute force in float64."""

import hashlib
import importlib
import pkgutil
from itertools import combinations

import pytest
import torch

import refluence.select
from refluence.data.dataset import Dataset, Split
from refluence.errors import RunError
from refluence.models import ModelSpec
from refluence.select import herding, pretrain
from refluence.select.random import METHOD as RANDOM
from refluence.select.selection import Selection

SPEC = ModelSpec("convnet1", (1, 8, 8), 3, 4)
SIZES = (9, 4, 6)


def rng(purpose: str, index: int, seed: int = 0) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def seeded(seed: int):
    return lambda purpose, index: rng(purpose, index, seed)


@pytest.fixture
def dataset() -> Dataset:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(SIZES)])
    labels = labels[torch.randperm(len(labels), generator=rng("order", 0))]
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), generator=rng("images", 0)).to(torch.uint8)
    images[:, :, :, :2] = (labels * 100)[:, None, None, None].to(torch.uint8)
    split = Split(images, labels, torch.arange(100, 100 + len(labels)))
    return Dataset("test", ("a", "b", "c"), split, split, split, (0.5,), (0.25,))


def methods() -> dict[str, Selection]:
    modules = [importlib.import_module(f"refluence.select.{m.name}") for m in pkgutil.iter_modules(refluence.select.__path__)]
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def test_methods_are_found_by_looking_at_the_package():
    assert set(methods()) == {"random", "herding", "kcenter", "forgetting", "el2n", "loss", "influence", "full"}
    assert all(isinstance(method, Selection) and method.summary for method in methods().values())


@pytest.mark.parametrize("name", sorted(set(methods()) - {"full"}))
def test_counts_per_class_ascending_and_small_classes_give_all(dataset, name):
    positions = methods()[name].select(dataset, [5, 5, 2], SPEC, rng, "cpu", 3)
    assert positions.dtype == torch.long
    assert len(positions.unique()) == len(positions)
    assert dataset.train.labels[positions].tolist() == [0] * 5 + [1] * 4 + [2] * 2
    state = torch.get_rng_state()
    again = methods()[name].select(dataset, [5, 5, 2], SPEC, rng, "cpu", 3)
    assert torch.equal(positions, again)
    assert torch.equal(state, torch.get_rng_state())


def test_full_is_every_position(dataset):
    assert methods()["full"].select(dataset, [1] * 3, SPEC, rng, "cpu", 0).tolist() == list(range(sum(SIZES)))


def test_random_is_uniform_over_the_class(dataset):
    draws = [RANDOM.select(dataset, [3] * 3, SPEC, seeded(s), "cpu", None) for s in range(600)]
    counts = torch.bincount(torch.cat(draws), minlength=sum(SIZES)).double()
    for label, size in enumerate(SIZES):
        expected = 600 * 3 / size
        found = counts[dataset.train.members(label)]
        assert found.sum() == 600 * 3
        sd = (600 * (3 / size) * (1 - 3 / size)) ** 0.5
        assert ((found - expected).abs() < 4.5 * sd).all()


def features(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=rng("features", seed), dtype=torch.float64) + 2


@pytest.mark.parametrize("seed", range(5))
def test_each_choice_is_the_best_that_one_more_image_can_do(seed):
    """Written from the definition: the mean of the chosen, with each candidate in turn, against the class mean."""
    x = features(12, 3, seed)
    chosen = herding.herd(x, 12).tolist()
    assert sorted(chosen) == list(range(12))
    for k, pick in enumerate(chosen):
        errors = {c: float((x.mean(0) - x[[*chosen[:k], c]].mean(0)).norm()) for c in range(12) if c not in chosen[:k]}
        assert pick == min(errors, key=errors.get)


@pytest.mark.parametrize("seed", range(5))
def test_first_choice_is_the_best_subset_and_all_is_the_mean(seed):
    x = features(7, 2, seed)

    def best(k):
        return min((float((x.mean(0) - x[list(s)].mean(0)).norm()), s) for s in combinations(range(7), k))

    assert herding.herd(x, 1).tolist() == list(best(1)[1])
    assert float((x.mean(0) - x[herding.herd(x, 3)].mean(0)).norm()) >= best(3)[0] - 1e-12
    assert set(herding.herd(x, 6).tolist()) == set(range(7)) - {_worst_left_out(x)}


def _worst_left_out(x: torch.Tensor) -> int:
    """What greedy herding leaves to the end, replayed with the formula of the source word for word."""
    left, total = list(range(len(x))), torch.zeros_like(x[0])
    for k in range(len(x) - 1):
        pick = min(left, key=lambda i: float(((k + 1) * x.mean(0) - total - x[i]).norm()))
        left.remove(pick)
        total = total + x[pick]
    return left[0]


def test_the_first_choices_do_not_depend_on_how_many_follow():
    x = features(20, 4, 0)
    assert herding.herd(x, 8)[:3].tolist() == herding.herd(x, 3).tolist()
    assert herding.herd(x[:0], 3).tolist() == []


def test_herding_beats_random_at_its_own_game(dataset):
    net = pretrain.pretrain(dataset, SPEC, rng, "cpu", 5)
    members, x = pretrain.embed(net, dataset, 0, "cpu", "herding")
    x = x.double()

    def error(positions):
        mine = [members.tolist().index(p) for p in positions.tolist() if p in members]
        return float((x.mean(0) - x[mine].mean(0)).norm())

    herded = error(herding.select(dataset, [3] * 3, SPEC, rng, "cpu", 5))
    drawn = [error(RANDOM.select(dataset, [3] * 3, SPEC, seeded(s), "cpu", None)) for s in range(30)]
    assert herded < sum(drawn) / 30


def test_pretraining_learns_and_embeds_in_chunks(dataset, monkeypatch):
    net = pretrain.pretrain(dataset, SPEC, rng, "cpu", 60)
    x = dataset.pixels(dataset.train)
    assert (net(x).argmax(1) == dataset.train.labels).double().mean() > 0.9
    everything = torch.arange(len(dataset.train))
    whole = pretrain.outputs(net.features, dataset, everything, "cpu")
    monkeypatch.setattr(pretrain, "CHUNK_PIXELS", 5 * 64)
    torch.testing.assert_close(pretrain.outputs(net.features, dataset, everything, "cpu"), whole)
    assert whole.shape == (sum(SIZES), 4 * 4 * 4)


def test_herding_says_when_its_network_diverged(dataset, monkeypatch):
    monkeypatch.setattr(pretrain, "LR", 1e20)
    with pytest.raises(RunError, match=r"herding.*'a'.*diverged"):
        herding.select(dataset, [2] * 3, SPEC.with_(norm="none"), rng, "cpu", 8)
