"""Protocols are found by looking, and say what they are."""

import dataclasses
import json

import pytest

from refluence.evaluate import protocols
from refluence.evaluate.augment import augmenter
from refluence.evaluate.sizes import RULES
from refluence.models import ModelSpec


def test_both_learning_rates_of_the_paper_can_be_run():
    found = {name: protocols()[name] for name in ("dc", "dsa", "iwd", "dc-cpu", "dsa-cpu", "iwd-cpu")}
    dc, iwd = found["dc"], found["iwd"]
    assert (dc.lr, iwd.lr) == (0.01, 0.1)
    assert dataclasses.replace(iwd, lr=dc.lr, name=dc.name, note=dc.note) == dc
    assert (dc.epochs, found["dsa"].epochs) == (300, 1000)
    for protocol in found.values():
        assert (protocol.momentum, protocol.weight_decay, protocol.batch) == (0.9, 5e-4, 256)
        assert (protocol.milestones, protocol.factor, protocol.rebuild) == ((0.5,), 0.1, True)


def test_short_protocols_say_so_and_differ_in_the_epochs_alone():
    found = protocols()
    for name in ("dc", "dsa", "iwd", "idc"):
        short, full = found[f"{name}-cpu"], found[name]
        assert short.epochs < full.epochs
        assert "short" in short.note
        assert dataclasses.replace(short, name=full.name, note=full.note, epochs=full.epochs) == full


def spec(channels, norm="instance", name="convnet1") -> ModelSpec:
    return ModelSpec(name, (channels, 8, 8), 2, 4, norm)


def test_augmentation_by_channels():
    found = protocols()
    assert found["dc"].strategy(spec(3)) == "none"
    assert found["dc"].strategy(spec(1)) == "dc_grey"
    assert "flip" in found["dsa"].strategy(spec(3)).split("_")
    assert "flip" not in found["dsa"].strategy(spec(1)).split("_")
    assert found["idc"].strategy(spec(3)) == "color_crop_flip_scale_rotate"
    assert found["idc"].strategy(spec(1)) == "color_crop_scale_rotate"
    for protocol in found.values():
        for channels in (1, 3):
            augmenter(protocol.strategy(spec(channels)), protocol.mode)
    assert not found["dc"].augments(spec(3))
    assert found["dc"].augments(spec(1))
    assert dataclasses.replace(found["dc"], mix="mixup").augments(spec(3))


def test_dc_crops_or_adds_noise_for_convnets_with_batch_norm_alone():
    for name in ("dc", "iwd", "dc-cpu", "iwd-cpu"):
        for channels in (1, 3):
            assert protocols()[name].strategy(spec(channels, "batch")) == "crop_noise"
        assert protocols()[name].strategy(spec(3, "batch", "resnet10")) == "none"
    assert protocols()["dsa"].strategy(spec(3, "batch")) == protocols()["dsa"].strategy(spec(3))


def test_the_trajectory_and_kernel_family_whitens():
    assert {name: p.zca for name, p in protocols().items() if p.zca} == {"mtt": "mtt", "datm": "mtt", "frepo": "frepo"}


def test_overrides_are_told_by_the_name():
    dc = protocols()["dc"]
    assert dc.with_() is dc
    assert dc.with_(epochs=300) is dc
    changed = dc.with_(epochs=3).with_(batch=8).with_(epochs=5)
    assert (changed.epochs, changed.batch, changed.name) == (5, 8, "dc:epochs=5,batch=8")
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.epochs = 1


ROWS = {  # section by section what the sources state: optimiser, rate, decay, batch, loss, mix, soft labels
    "dm": ("sgd", 0.01, 5e-4, 256, "ce", "none", False),
    "idc": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
    "idc-imagenet": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
    "mtt": ("sgd", 0.01, 5e-4, 256, "ce", "none", False),
    "datm": ("sgd", 0.01, 5e-4, 256, "ce", "none", True),
    "frepo": ("adam", 3e-4, 0.0, 500, "mse", "none", True),
    "sre2l": ("adamw", 1e-3, 0.01, 1024, "kl", "cutmix", True),
    "sre2l-cifar": ("adamw", 1e-3, 0.01, 128, "kl", "mixup", True),
    "sre2l-tiny": ("adamw", 1e-3, 0.01, 1024, "kl", "cutmix", True),
    "rded": ("adamw", 1e-3, 0.01, 100, "kl", "cutmix", True),
    "minimax": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
    "igd": ("adamw", 1e-3, 0.01, 64, "ce", "cutmix", False),
    "ncfm": ("adamw", 1e-3, 0.01, 128, "ce", "cutmix", True),
    "iwd-idc": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
    "pdd": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
    "iwd-pdd": ("sgd", 0.01, 5e-4, 64, "ce", "cutmix", False),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_field(name):
    p = protocols()[name]
    assert (p.optimiser, p.lr, p.weight_decay, p.batch, p.loss, p.mix, p.soft) == ROWS[name]


def test_protocols_survive_config_json():
    for protocol in protocols().values():
        stored = json.loads(json.dumps(dataclasses.asdict(protocol)))
        assert type(protocol)(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}) == protocol


@pytest.mark.parametrize(
    ("per_class", "classes", "epochs"),
    [(1, 10, 3000), (2, 10, 2000), (10, 10, 2000), (11, 10, 1500), (50, 10, 1500), (200, 10, 1000), (500, 10, 500),
     (501, 10, 300), (1, 100, 2000), (10, 100, 1300), (50, 100, 1000), (200, 100, 600), (500, 100, 300), (600, 100, 200)],
)  # fmt: skip
def test_epochs_of_idc_for_imagenet(per_class, classes, epochs):
    for name in ("idc-imagenet", "minimax", "igd"):
        assert protocols()[name].resolve(per_class * classes, classes).epochs == epochs


def test_sizes_by_rule():
    frepo, rded = protocols()["frepo"], protocols()["rded"]
    assert [frepo.resolve(n * c, c).epochs for n, c in ((50, 10), (1, 100), (10, 100), (50, 100))] == [1000, 1000, 2000, 5000]
    assert [rded.resolve(n * 10, 10).batch for n in (1, 10, 50)] == [10, 50, 100]
    assert [rded.resolve(n * 100, 100).batch for n in (1, 10, 50)] == [20, 100, 200]
    assert rded.resolve(5, 10).batch == 5, "no more than there are"
    assert set(RULES) == {p.rule for p in protocols().values()} - {""}


def test_what_a_flag_sets_is_stronger_than_a_rule():
    igd = protocols()["igd"]
    asked = igd.with_(epochs=3000)
    assert (asked.name, asked.resolve(1000, 10).epochs) == ("igd:epochs=3000", 3000)
    assert igd.with_(batch=9).resolve(1000, 10).epochs == 1000
    assert protocols()["rded"].with_(epochs=4).resolve(20, 2).batch == 20
