"""Protocols are found by looking, and say what they are."""

import dataclasses

import pytest

from refluence.evaluate import protocols
from refluence.matching.augment import parse


def test_both_learning_rates_of_the_paper_can_be_run():
    found = protocols()
    assert set(found) == {"dc", "dsa", "iwd", "dc-cpu", "dsa-cpu", "iwd-cpu"}
    dc, iwd = found["dc"], found["iwd"]
    assert (dc.lr, iwd.lr) == (0.01, 0.1)
    assert dataclasses.replace(iwd, lr=dc.lr, name=dc.name, note=dc.note) == dc
    assert (dc.epochs, found["dsa"].epochs) == (300, 1000)
    for protocol in found.values():
        assert (protocol.momentum, protocol.weight_decay, protocol.batch) == (0.9, 5e-4, 256)
        assert (protocol.milestones, protocol.factor, protocol.rebuild) == ((0.5,), 0.1, True)


def test_short_protocols_say_so_and_differ_in_the_epochs_alone():
    found = protocols()
    for name in ("dc", "dsa", "iwd"):
        short, full = found[f"{name}-cpu"], found[name]
        assert short.epochs < full.epochs
        assert "short" in short.note
        assert dataclasses.replace(short, name=full.name, note=full.note, epochs=full.epochs) == full


def test_augmentation_by_channels():
    found = protocols()
    assert found["dc"].strategy(3) == "none"
    assert found["dc"].strategy(1) == "dc_grey"
    assert "flip" in found["dsa"].strategy(3).split("_")
    assert "flip" not in found["dsa"].strategy(1).split("_")
    for protocol in found.values():
        for channels in (1, 3):
            parse(protocol.strategy(channels), protocol.mode)


def test_overrides_are_told_by_the_name():
    dc = protocols()["dc"]
    assert dc.with_() is dc
    assert dc.with_(epochs=300) is dc
    changed = dc.with_(epochs=3).with_(batch=8).with_(epochs=5)
    assert (changed.epochs, changed.batch, changed.name) == (5, 8, "dc:epochs=5,batch=8")
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.epochs = 1
