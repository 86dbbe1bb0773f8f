"""Robust scores on numbers computed by hand, and the trainings that they need on a small problem."""

import dataclasses
import json
import math

import pytest
import torch

from refluence.data import Dataset, DistilledSet
from refluence.data.dataset import Split
from refluence.errors import InputError, RunError
from refluence.evaluate import augmentation_robust_score, evaluate, label_robust_score, protocols, robust
from refluence.evaluate.robust import RATES, Bench, matched, taught, trainings
from support.tiny_data import MEAN, STD, rng


def normal(a):
    return (math.exp(a) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def test_label_robust_score_by_hand():
    """HLR .9 - .5 = .4, IOR .6 - .4 = .2: alpha = .1 - .2 = -.1, (e^-.1 - e^-1)/(e - e^-1) = .53696/2.35040."""
    assert label_robust_score(0.9, 0.5, 0.6, 0.4) == pytest.approx(0.53696 / 2.35040, abs=1e-5)
    assert label_robust_score(0.9, 0.5, 0.6, 0.4, w=1.0) == pytest.approx(normal(0.2))
    assert label_robust_score(0.9, 0.5, 0.6, 0.4, w=0.0) == pytest.approx(normal(-0.4))


def test_augmentation_robust_score_by_hand():
    """.6 - .5 = .1 with, .4 - .5 = -.1 without: beta = 0."""
    assert augmentation_robust_score(0.6, 0.5, 0.4, 0.5) == pytest.approx(0.26894, abs=1e-5)
    assert augmentation_robust_score(0.6, 0.5, 0.4, 0.5, gamma=0.75) == pytest.approx(normal(0.05))


def test_scores_stay_between_0_and_1_and_reach_both():
    assert label_robust_score(1.0, 0.0, 0.0, 1.0) == pytest.approx(0.0)
    assert label_robust_score(0.0, 1.0, 1.0, 0.0) == pytest.approx(1.0)
    assert label_robust_score(0.5, 0.5, 0.5, 0.5) == pytest.approx(1 / (1 + math.e))
    assert augmentation_robust_score(1.0, 0.0, 1.0, 0.0) == pytest.approx(1.0)
    assert augmentation_robust_score(0.0, 1.0, 0.0, 1.0) == pytest.approx(0.0)


@pytest.mark.parametrize("value", [52.0, -0.1, float("nan")])
def test_percentages_are_refused(value):
    with pytest.raises(InputError, match=r"fractions: .* is not in \[0, 1\]"):
        label_robust_score(0.9, value, 0.6, 0.4)
    with pytest.raises(InputError, match=r"fractions"):
        augmentation_robust_score(0.9, 0.1, 0.6, value)


@pytest.fixture
def scene(problem):
    """(dataset, a set of two images a class, spec)."""
    images, labels, split, spec = problem
    pixels = (images * STD[0] + MEAN[0]).mul(255).round().to(torch.uint8)
    train = Split(pixels, labels, torch.arange(30))
    dataset = Dataset("test", ("a", "b", "c"), train, split, split, MEAN, STD)
    return dataset, DistilledSet(images[:6], labels[:6], ("a", "b", "c"), MEAN, STD), spec


def bench(dataset, spec, name="dc-cpu", **changes):
    protocol = protocols()[name].with_(epochs=2)
    return Bench(**{"dataset": dataset, "spec": spec, "protocol": protocol, "rng": rng, "nets": 2, **changes})


def rows(found):
    return [(row.data, row.labels, row.augmented) for row in found.rows]


def test_hard_labels(scene):
    dataset, small, spec = scene
    trained = []
    found = robust.robust(small, bench(dataset, spec, progress=lambda: trained.append(1)))
    kinds = [(data, "hard", augmented) for augmented in (False, True) for data in ("set", "random")]
    assert rows(found) == [("full", "hard", False), *kinds]
    assert len(trained) == trainings(small, 2) == 5 * (len(RATES) + 2)
    full, plain, random_plain, with_, random_with = (row.accuracy for row in found.rows)
    assert found.hlr == full - plain
    assert found.ior == with_ - random_with, "dc augments grey images"
    assert found.lrs == pytest.approx(label_robust_score(full, plain, with_, random_with))
    assert found.ars == pytest.approx(augmentation_robust_score(with_, random_with, plain, random_plain))
    assert len(found.lrs_nets) == len(found.ars_nets) == 2
    assert found.stored_bytes == found.random_bytes == 6 * 64 * 4 + 6 * 8
    plain_json = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain_json["rows"][0]["accuracy"] == full
    assert all(0 <= a <= 1 for row in plain_json["rows"] for a in row["accuracies"])


def test_soft_labels_are_compared_with_soft_labels(scene):
    dataset, small, spec = scene
    soft = torch.full((6, 3), 0.1).scatter(1, small.labels[:, None], 0.8)
    small = dataclasses.replace(small, soft=soft)
    found = robust.robust(small, bench(dataset, spec, nets=1))
    kinds = [(data, "soft", augmented) for augmented in (False, True) for data in ("set", "random")]
    assert rows(found) == [("full", "hard", False), ("set", "hard", False), *kinds]
    assert trainings(small, 1) == 6 * (len(RATES) + 1)
    assert found.stored_bytes == found.random_bytes == 6 * 64 * 4 + 6 * 8 + 6 * 3 * 4


def test_a_set_that_holds_several_in_stages_has_a_rival_in_stages(scene):
    dataset, small, spec = scene
    small = dataclasses.replace(small, factor=2, stage=torch.arange(6) // 3)
    seen = []

    def row(self, data, images, labels, augmented, stage=None):
        seen.append((data, len(images), None if stage is None else stage.bincount().tolist()))
        return original(self, data, images, labels, augmented, stage)

    original = Bench.row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "row", row)
        robust.robust(small, bench(dataset, spec, "pdd", nets=1))
    assert seen == [("full", 30, None), *[("set", 24, [12, 12]), ("random", 6, [3, 3])] * 2]


def test_a_row_is_the_rate_that_is_best_on_validation(scene):
    """Written out: five rates with one network on `val`, then the networks on `test` at the best of them."""
    dataset, small, spec = scene
    val = dataclasses.replace(dataset.test, labels=dataset.test.labels.roll(1))  # another split than test
    dataset = dataclasses.replace(dataset, val=val)
    here = bench(dataset, spec, nets=3)
    row = here.row("set", small.images, small.labels, False)
    plain = dataclasses.replace(here.protocol, augmentation="none", augmentation_grey="none")
    tried = {}
    for share in RATES:
        protocol = dataclasses.replace(plain, lr=share * 0.01)
        facts = (small.images, small.labels, spec, protocol)
        tried[protocol.lr] = evaluate(*facts, val, MEAN, STD, rng, 1).accuracy
        if protocol.lr == row.lr:
            expected = evaluate(*facts, dataset.test, MEAN, STD, rng, 3)
    assert row.lr == max(tried, key=tried.get)
    assert row.accuracies == tuple(a / 100 for a in expected.accuracies)


def test_a_rate_that_diverges_is_passed_over(scene, monkeypatch):
    dataset, small, spec = scene
    wild = dataclasses.replace(protocols()["dc-cpu"].with_(epochs=3), lr=1e30)
    with pytest.raises(RunError, match=r"no learning rate of dc-cpu:epochs=3 .* set data"):
        bench(dataset, spec, protocol=wild).row("set", small.images, small.labels, False)
    trained = []

    def diverges(images, labels, spec, protocol, *rest, **more):
        if protocol.lr > 0.02:
            raise RunError("diverged")
        return evaluate(images, labels, spec, protocol, *rest, **more)

    monkeypatch.setattr(robust, "evaluate", diverges)
    row = bench(dataset, spec, progress=lambda: trained.append(1)).row("set", small.images, small.labels, False)
    assert row.lr in (0.001, 0.005, 0.01)
    assert len(trained) == 7, "progress counts the networks that diverged"


def test_what_augmented_means(scene):
    dataset, _, spec = scene
    here = bench(dataset, spec, "idc-cpu")
    assert here._protocol("set", 6, True).mix == "cutmix"
    plain = here._protocol("set", 6, False)
    in_colour, batch = dataclasses.replace(spec, shape=(3, 8, 8)), dataclasses.replace(spec, norm="batch")
    assert (plain.mix, plain.strategy(spec), plain.strategy(in_colour)) == ("none", "none", "none")
    assert bench(dataset, batch)._protocol("set", 6, False).strategy(batch) == "none"
    colour = dataclasses.replace(
        dataset, train=Split(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.arange(3), torch.arange(3))
    )
    assert "rotate" in bench(colour, in_colour)._protocol("set", 6, True).strategy(in_colour), "dc has none in colour: DSA"
    assert bench(dataset, spec)._protocol("set", 6, True).strategy(spec) == "dc_grey"


def test_the_full_data_can_be_bounded(scene):
    dataset, _, spec = scene
    many = protocols()["dc-cpu"]
    assert bench(dataset, spec, protocol=many, full_images=300)._protocol("full", 30, False).epochs == 10
    assert bench(dataset, spec, protocol=many, full_images=3)._protocol("full", 30, False).epochs == 1
    assert bench(dataset, spec, protocol=many, full_images=300)._protocol("set", 30, False).epochs == 100
    assert bench(dataset, spec, protocol=many)._protocol("full", 30, False).epochs == 100
    frepo = dataclasses.replace(protocols()["frepo"], batch=10)
    assert bench(dataset, spec, protocol=frepo, full_images=300)._protocol("full", 30, False).epochs == 30


def test_random_images_are_of_the_same_classes_and_not_repeated(scene):
    dataset, small, _ = scene
    found = matched(small.labels, dataset, rng("robust-random", 0))
    assert torch.equal(dataset.train.labels[found], small.labels)
    assert len(set(found.tolist())) == 6
    assert not torch.equal(found, matched(small.labels, dataset, rng("robust-random", 1)))
    with pytest.raises(InputError, match="class a has 10 training images: 11 are to be drawn"):
        matched(torch.zeros(11, dtype=torch.int64), dataset, rng("x", 0))


def test_a_teacher_labels_in_evaluation_mode(scene):
    from refluence.models import build

    _, small, spec = scene
    net = build(spec.with_(norm="batch"), rng("n", 0))
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = taught(net, small.images)
    assert net.training
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    torch.testing.assert_close(found, net.eval()(small.images).softmax(1).detach())
