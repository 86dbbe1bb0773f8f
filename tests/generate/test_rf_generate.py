"""rf.generate, rf.train_denoiser, rf.finetune_denoiser and rf.Denoiser: what is trained, sampled, written and refused."""

from dataclasses import replace

import pytest
import torch

import refluence as rf
from refluence.errors import InputError
from refluence.files import read_json
from refluence.jobs.repeat import repeat_run

QUICK = {"ipc": 1, "steps": 4, "threads": 1}
JUDGED = {"nets": 1, "epochs": 1, "width": 4}


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.fixture(scope="module")
def denoiser(data):
    return rf.train_denoiser(data, iterations=3, threads=1)


def test_a_denoiser_in_memory_its_folder_and_the_run_that_made_it_sample_the_same(data, denoiser, tmp_path):
    denoiser.save(tmp_path / "saved")
    again = rf.train_denoiser(data, iterations=3, threads=1, out=tmp_path / "run")
    assert all(tensor.equal(again.state()[name]) for name, tensor in denoiser.state().items())
    made = rf.generate(data, "dit", denoiser=denoiser, **QUICK).set.images
    for other in (tmp_path / "saved", str(tmp_path / "run"), rf.Denoiser.load(tmp_path / "run"), again):
        assert rf.generate(data, "dit", denoiser=other, **QUICK).set.images.equal(made)


def test_one_that_is_trained_inside_the_run_is_that_of_train_denoiser(data, denoiser):
    made = rf.generate(data, "dit", denoiser_iterations=3, **QUICK).set.images
    assert made.equal(rf.generate(data, "dit", denoiser=denoiser, **QUICK).set.images)


def test_fine_tuning_leaves_the_denoiser_as_it_is(data, denoiser):
    before = denoiser.state()
    tuned = rf.finetune_denoiser(data, denoiser, iterations=1, threads=1)
    assert (tuned.method, denoiser.method) == ("minimax", "dit")
    assert all(tensor.equal(denoiser.state()[name]) for name, tensor in before.items())
    assert any(not tensor.equal(tuned.state()[name]) for name, tensor in before.items())
    assert rf.generate(data, "minimax", denoiser=tuned, **QUICK).card["denoiser"]["method"] == "minimax"


def test_a_run_with_a_denoiser_from_python_is_recorded_by_its_digest(data, denoiser, tmp_path):
    run = rf.generate(data, "dit", denoiser=denoiser, out=tmp_path / "run", **QUICK, **JUDGED)
    config = read_json(tmp_path / "run" / "config.json")
    assert config["command"] == "generate sample"
    assert config["arguments"]["denoiser"] == "Denoiser()"
    again = rf.generate(data, "dit", denoiser=denoiser, out=tmp_path / "run", **QUICK, **JUDGED)
    assert again.set.images.equal(run.set.images)
    with pytest.raises(InputError, match="was made from a denoiser that was given in Python: repeat it there"):
        repeat_run(tmp_path / "run", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    other = rf.train_denoiser(data, iterations=1, threads=1)
    with pytest.raises(InputError, match="holds another run"):
        rf.generate(data, "dit", denoiser=other, out=tmp_path / "run", **QUICK, **JUDGED)


def test_a_comparison_takes_the_same_options(data, denoiser):
    found = rf.compare(data, ["random", "dit:cfg=1", "dit"], seeds=1, denoiser=denoiser, steps=4, ipc=1, threads=1, **JUDGED)
    assert [row["arm"] for row in found.rows] == ["random", "dit:cfg=1", "dit"]


def test_the_same_seed_gives_the_same_bits_and_another_one_others(data, denoiser):
    first, again, other = (rf.generate(data, "dit", denoiser=denoiser, seed=s, **QUICK).set.images for s in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_a_loop_of_ones_own_samples_the_same(data, denoiser):
    work = rf.start(data, "dit", denoiser=denoiser, ipc=1, steps=4, sample_batch=4)
    assert [event.images for event in work.steps()] == [4, 4, 2]
    made = rf.generate(data, "dit", denoiser=denoiser, sample_batch=4, **QUICK).set.images
    assert work.result().artifact.images.equal(made)


def test_a_denoiser_of_some_classes_in_another_order(data, denoiser):
    """The noise of an image is that of its class by number: 7 as class 0 begins as 0 did, and becomes a 7."""
    keep = [7, 3]
    rows = torch.cat([data.train.members(c) for c in keep])
    labels = torch.cat([torch.full((len(data.train.members(c)),), i) for i, c in enumerate(keep)])
    some = rf.load((data.train.pictures(rows), labels), test=(data.train.pictures(rows), labels))
    named = replace(some, classes=("7", "3"))
    made = rf.generate(named, "dit", denoiser=denoiser, **QUICK).set
    assert made.classes == ("7", "3")
    assert denoiser.labels is None, "what was given stays as it is"
    with pytest.raises(InputError, match="knows 0, 1, 2"):
        rf.generate(replace(some, classes=("7", "cat")), "dit", denoiser=denoiser, **QUICK)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: rf.generate("digits", "dc"), "method is 'dc': it samples no images: rf.distill makes its set"),
        (lambda: rf.distill("digits", "dit"), "rf.generate makes such a set"),
        (lambda: rf.generate("digits", "dit+igdd"), "unknown guidance 'igdd'"),
        (lambda: rf.generate("digits", "dit", k=3), "'dit' does not read it: k needs 'dit\\+influence' or 'dit\\+igd'"),
        (lambda: rf.generate("digits", guidance="influence"), r"it is part of the arm, rf.generate\(data, 'dit\+influence'\)"),
        (lambda: rf.generate("digits", "dit", stepps=3), "has no option 'stepps': did you mean steps?"),
        (lambda: rf.generate("digits", "dit", iterations=3), "has no option 'iterations'"),
        (lambda: rf.generate("digits", "dit", image_size=3), r"rf.load\(…, image_size=…\)"),
        (lambda: rf.generate("digits", "dit", denoiser=5), "denoiser is 5: it must be dit, unet, a folder"),
        (lambda: rf.generate("digits", "dit", denoiser="/nowhere/x"), "there is no folder /nowhere/x"),
        (lambda: rf.generate("digits", "dit", ipc=0), "ipc is 0: "),
        (lambda: rf.generate("digits", "dit+igd", range="0:.01"), "none of the 50 steps"),
        (lambda: rf.train_denoiser("digits", network="dyt"), "network is 'dyt': did you mean dit?"),
        (lambda: rf.train_denoiser("digits", steps=5), "has no option 'steps'"),
        (lambda: rf.finetune_denoiser("digits", "/nowhere/x"), "there is no folder /nowhere/x"),
        (lambda: rf.Denoiser.load("/nowhere/x"), "/nowhere/x is no denoiser"),
    ],
)
def test_what_cannot_be_is_one_line(call, expected):
    with pytest.raises(InputError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)
