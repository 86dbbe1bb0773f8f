"""The library from Python: every public function, its example, and that it does what the command line does."""

from __future__ import annotations

import dataclasses
import inspect
import pydoc
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

import refluence as rf
from refluence import api
from refluence.cli import main
from refluence.condense.dm import METHOD
from refluence.condense.work import DistillationWork
from refluence.errors import InputError
from refluence.jobs.session import Session
from refluence.matching.discrepancies import FlatCosine
from support.command_line import DIGITS

TINY = {"ipc": 2, "iterations": 3, "width": 8, "threads": 1}
FUNCTIONS = ("load", "distill", "select", "start", "evaluate", "compare", "score", "open")
ONE = torch.ones(1)
TABLE = rf.ScoreTable(index=ONE.long(), label=ONE.long(), score=ONE, weight=ONE, loss=ONE)
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_run(path, capsys):
    names = runpy.run_path(str(path), run_name="example")
    if "main" in names:
        names["main"]()
        assert "%" in capsys.readouterr().out


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_signature_of_api(name):
    assert inspect.signature(getattr(rf, name)) == inspect.signature(getattr(api, name))


def test_every_public_name_is_there():
    for name in rf.__all__:
        assert getattr(rf, name) is not None
    assert set(rf.__all__) <= set(dir(rf))
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        _ = rf.distil


def test_help_of_a_folder_is_that_of_its_function():
    for name in ("select", "evaluate", "score"):
        text = pydoc.plain(pydoc.render_doc(getattr(rf, name)))
        assert f"{name}(" in text.splitlines()[3]
        assert "\n    Args:\n" in text
        assert inspect.getdoc(getattr(api, name)).splitlines()[0] in text


def test_importing_the_library_loads_no_torch():
    code = "import sys, refluence; assert 'torch' not in sys.modules; print(refluence.__version__, refluence.api.load)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_folders_with_the_name_of_a_function_are_both():
    import refluence.select.herding as module

    assert rf.select.herding is module
    assert callable(rf.select)
    assert callable(rf.evaluate)


def test_distill_makes_the_bits_of_the_command_line(tmp_path, data):
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "3", "--out", str(tmp_path / "run"))
    assert main(words) == 0
    own = rf.open(tmp_path / "run")
    options = {"ipc": own.job.ipc, "iterations": 3, "width": own.job.model.width, "threads": 1}
    given = {"real_batch": own.job.plan.settings.real_batch, "initial": own.job.plan.settings.initial}
    run = rf.distill(data, "dc+influence", **options, **given)
    stored = load_file(tmp_path / "run/distilled/images.safetensors")
    assert torch.equal(run.set.images, stored["images"])
    assert torch.equal(own.set.images, stored["images"])
    assert run.costs["stored_bytes"] == own.costs["stored_bytes"]


def test_a_stopped_run_continues_in_its_folder(tmp_path, data, monkeypatch):
    whole = rf.distill(data, "dc", **TINY)
    real = Session.driver
    monkeypatch.setattr(Session, "driver", property(lambda self: dataclasses.replace(real.fget(self), checkpoint_seconds=0.0)))
    real_step = DistillationWork.image_step

    def stop(work):
        if work.step == 2:
            raise KeyboardInterrupt
        return real_step(work)

    with monkeypatch.context() as patched:
        patched.setattr(DistillationWork, "image_step", stop)
        with pytest.raises(KeyboardInterrupt):
            rf.distill(data, "dc", out=tmp_path, **TINY)
    assert (tmp_path / "checkpoint/state.safetensors").exists()
    run = rf.distill(data, "dc", out=tmp_path, **TINY)
    assert torch.equal(run.set.images, whole.set.images)
    assert run.job == whole.job


def test_the_folder_of_a_run_is_one_of_the_command_line(tmp_path, data, capsys):
    rf.distill(data, "dm+influence", out=tmp_path / "run", **TINY, nets=1, epochs=1)
    with pytest.raises(InputError, match=r"holds another run .*seed"):
        rf.distill(data, "dm+influence", out=tmp_path / "run", seed=1, **TINY, nets=1, epochs=1)
    words = ("--method", "dm", "--weights", "influence", "--ipc", "2", "--iterations", "3", "--width", "8", "--nets", "1")
    more = ("--epochs", "1", "--threads", "1", "--quiet", "--resume", "--out", str(tmp_path / "run"))
    assert main(("distill", "--data", "digits", *words, *more)) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert (tmp_path / "run/report.html").exists()
    assert main(("repeat", str(tmp_path / "run"))) == 0
    assert "the same bit for bit" in capsys.readouterr().out
    assert rf.open(tmp_path / "run").costs["iterations"] == 3
    with pytest.raises(InputError, match="holds no Refluence run"):
        rf.open(tmp_path)


def test_a_method_of_ones_own(data):
    same, other = dataclasses.replace(METHOD, name="same"), dataclasses.replace(METHOD, name="other", discrepancy=FlatCosine())
    published = rf.distill(data, "dm", **TINY).set.images
    assert torch.equal(rf.distill(data, same, **TINY).set.images, published)
    assert torch.equal(
        rf.distill(data, other, **TINY).set.images, rf.distill(data, "dm:distance=flat-cosine", **TINY).set.images
    )
    assert not torch.equal(rf.distill(data, other, **TINY).set.images, published)


def test_another_method_of_ones_own_is_another_run(tmp_path, data):
    mine = dataclasses.replace(METHOD, name="mine")
    out, short = tmp_path / "run", {**TINY, "nets": 1, "epochs": 1}
    first = rf.distill(data, mine, out=out, **short)
    assert torch.equal(rf.distill(data, dataclasses.replace(mine), out=out, **short).set.images, first.set.images)
    other = dataclasses.replace(mine, settings=lambda *given: METHOD.settings(*given))
    with pytest.raises(InputError, match=r"holds another run .*declared"):
        rf.distill(data, other, out=out, **short)
    assert main(("repeat", str(out))) == 2


def test_each_use_of_the_test_split_is_counted(tmp_path, data):
    run = rf.select(data, "random", ipc=1, out=tmp_path / "run", nets=1, epochs=1, width=4, threads=1)
    assert run.card["test_uses"] == 1, "the run's own judging"
    rf.evaluate(run, data, nets=1, epochs=1, width=4)
    rf.evaluate(run, data, nets=1, epochs=1, width=4, split="val")
    assert rf.open(tmp_path / "run").card["test_uses"] == 2


def test_a_run_is_judged_by_its_own_network(data):
    run = rf.select(data, "random", ipc=2, width=4, threads=1)
    short = {"nets": 1, "epochs": 3}
    assert rf.evaluate(run, data, **short).curve == rf.evaluate(run.set, data, width=4, **short).curve
    assert rf.evaluate(run, data, width=8, **short).curve == rf.evaluate(run.set, data, width=8, **short).curve
    found = rf.compare(data, ["random"], ipc=1, seeds=1, protocol="dc-cpu", width=4, **short)
    assert [row["protocol"] for row in found.rows] == ["dc-cpu:epochs=3"]


def test_the_folder_of_a_run_is_judged_by_its_own_network_too(data, tmp_path):
    short = {"nets": 1, "epochs": 1, "threads": 1}
    run = rf.select(data, "random", ipc=1, width=4, norm="batch", out=tmp_path / "run", **short)
    own = rf.evaluate(run, data, **short)
    found = rf.evaluate(str(tmp_path / "run"), data, **short)
    assert found.curve == own.curve
    assert rf.evaluate(tmp_path / "run/distilled", data, **short).curve != own.curve, "a set without its run: convnet"
    assert rf.open(tmp_path / "run").card["test_uses"] == 4


def test_a_run_resumes_with_the_threads_that_it_had(tmp_path, data):
    short = {"ipc": 1, "nets": 1, "epochs": 1, "width": 4, "out": tmp_path / "run"}
    before = torch.get_num_threads()
    first = rf.select(data, "random", threads=2, **short)
    again = rf.select(data, "random", **short)
    assert torch.get_num_threads() == before
    assert torch.equal(first.set.images, again.set.images)


def test_data_and_results_fit_on_a_line(data):
    assert repr(data).startswith("Dataset(digits: 10 classes, images 1 x 8 x 8, train ")
    assert len(repr(data.train)) < 80
    assert len(repr(rf.evaluate(rf.select(data, ipc=1), data, nets=1, epochs=1, width=4))) < 500


def test_nothing_is_written_or_printed(data, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = rf.distill(data, "dm+influence", **TINY)
    rf.evaluate(run, data, nets=1, epochs=1, width=8)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_numbers_and_devices_of_other_libraries_are_taken(tmp_path, data):
    given = {"device": torch.device("cpu"), "width": 4, "threads": 1, "nets": 1, "epochs": 1}
    run = rf.select(data, "random", ipc=np.int64(1), seed=np.int64(3), out=tmp_path / "run", **given)
    assert type(rf.open(tmp_path / "run").job.seed) is int
    found = rf.compare(data, ["random"], ipc=np.int32(1), seed=np.int64(3), seeds=np.int64(1), out=tmp_path / "c", **given)
    assert found.rows[0]["seed"] == 3
    assert repr(run.set) == "DistilledSet(10 images 1 x 8 x 8 of 10 classes)"


def test_a_set_is_a_torch_dataset(data):
    small = rf.select(data, "random:factor=2", ipc=2, threads=1).set
    batch, labels = next(iter(DataLoader(small, batch_size=4)))
    assert (tuple(batch.shape), tuple(labels.shape)) == ((4, 1, 8, 8), (4,))
    images, labels = small.tensors()
    assert (len(small), len(images), len(labels)) == (20, 80, 80)


def test_a_comparison_is_paired_and_says_its_verdict(data):
    found = rf.compare(data, ["random", "dm+influence"], seeds=2, nets=1, epochs=1, **TINY)
    assert [(row["arm"], row["seed"]) for row in found.rows][:4] == [
        ("random", 0),
        ("dm", 0),
        ("dm+influence", 0),
        ("dm+shuffled", 0),
    ]
    assert len(found.rows) == 8
    assert "n = 2" in found.verdict
    assert found.verdict in repr(found)
    assert found._repr_html_().count("<tr>") == len(found.summary) + 1


def test_a_run_shows_its_pictures(data):
    run = rf.select(data, "random", ipc=1, threads=1)
    assert run._repr_html_().count("<img") == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rf.distill("digits", "dm", ipcc=1), "distill.. has no option 'ipcc': did you mean ipc[?]"),
        (lambda: rf.load("digits", image_siz=8), "load.. has no option 'image_siz': did you mean image_size[?]"),
        (lambda: rf.distill("digits", "dmm"), "unknown method 'dmm' .* did you mean dm"),
        (lambda: rf.evaluate("nowhere", "digits"), "nowhere does not exist"),
        (lambda: rf.evaluate(rf.select("digits").set, "digits", nets=0), "nets is 0: it must be a whole number, at least 1"),
        (lambda: rf.evaluate(rf.select("digits").set, "digits", split="tset"), "split is 'tset': did you mean test"),
        (lambda: rf.evaluate(rf.select("digits").set, (torch.rand(60, 3, 8, 8), [0, 1, 2] * 20)), "has the classes 0, 1, 2"),
        (lambda: rf.distill("digits", "dm", ipc="2"), "ipc is '2': it must be a whole number"),
        (lambda: rf.distill("digits", "dm", seed="a"), "seed is 'a': it must be a whole number"),
        (lambda: rf.distill("digits", "dm", size="big"), "size is 'big': choose one of cpu, paper"),
        (lambda: rf.distill("digits", "dm", precision="fp8"), "precision is 'fp8': .*choose one of fp32, bf16"),
        (lambda: rf.start("digits", "dm", progress=True), "progress is True: a loop of your own shows how far it is"),
        (lambda: rf.start("digits", "dm", threads=2), "threads is 2: a loop of your own sets them, torch.set_num_threads"),
        (lambda: rf.evaluate(rf.select("digits").set, "digits", ["dc-cpu"]), "protocol is .'dc-cpu'.: it must be one name"),
        (lambda: rf.evaluate(rf.load("digits"), "digits"), "a Dataset is judged: give a set, a run or a folder first"),
        (lambda: rf.distill("digits", "dm", threads=-1), "threads is -1: it must be a whole number, at least 0"),
        (lambda: rf.distill("digits", dataclasses.replace(METHOD, unit_pixels=True)), "the package has a method 'dm'"),
        (lambda: rf.select("digits", "dm"), "dm learns images: rf.distill makes its set"),
        (lambda: rf.distill(rf.load((torch.rand(30, 1, 8, 8), [0] * 24 + [1] * 6)), "dm", ipc=5), "ipc is 5, class '1' has"),
        (lambda: rf.compare("digits", "dm"), "methods is 'dm': give a list of arms"),
        (lambda: rf.compare("digits", METHOD), "methods is Method.*: give a list of arms"),
        (lambda: rf.compare("digits", ["random"], method="dm"), "no option 'method': did you mean methods[?] .*, executor, "),
        (lambda: rf.distill("digits", methods=["dm"]), "no option 'methods': did you mean method[?] .*, seed, "),
        (lambda: rf.distill("digits", drop="s.parquet:.1"), r"it says how data are read, rf.load\(…, drop=…\)"),
        (lambda: rf.distill("dm", rf.load("digits")), "a method is a Dataset: the data come first: give an arm such as"),
        (lambda: rf.distill("digits", ["dm"]), "a method is a list: give an arm such as"),
        (lambda: rf.select("digits", None), "a method is a NoneType: give an arm such as"),
        (lambda: rf.distill("digits", "dm", out=5), "out is 5: it must be a path"),
        (lambda: rf.score("digits", out=5), "out is 5: it must be a path"),
        (lambda: rf.compare("digits", ["random"], out=5), "out is 5: it must be a path"),
        (lambda: rf.score("digits", dict(torch.nn.Linear(64, 10).named_parameters())), r"^.{0,250}$"),
        (lambda: rf.load("digits", drop=TABLE), r"drop is a table: save it, table.save\(.scores.\), and say the share too"),
        (lambda: rf.compare("digits", ["random"], seeds=0), "seeds is 0: it must be a whole number, at least 1"),
        (lambda: rf.evaluate(rf.select("digits").set, "digits", "dcc-cpu"), "unknown protocol 'dcc-cpu': did you mean dc-cpu"),
    ],
)
def test_a_wrong_call_says_what_was_probably_meant(call, message):
    with pytest.raises(InputError, match=message):
        call()
