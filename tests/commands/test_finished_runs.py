"""evaluate, score, export, report, repeat, estimate and ls, as a user calls them."""

import re
from dataclasses import fields
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from refluence.commands.parse import parse
from refluence.compute import Compute
from refluence.condense import pools, work
from refluence.condense.method import Settings
from refluence.data import SourceOptions, load, load_distilled
from refluence.data.whitening import whitening
from refluence.evaluate import evaluate_set, protocols
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import methods, parse_arm
from refluence.jobs.resolve import resolve
from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.select import herding
from support.command_line import DIGITS, TINY, pictures, read, tree

COLUMNS = ("label", "score", "weight", "loss")
ONE = ("--nets", "1", "--quiet", "--threads", "1")


def test_evaluate_appends_beside_the_first_result(refluence, distilled):
    first = read(distilled / "evaluation.json")["evaluations"]
    said = refluence("evaluate", distilled, "--nets", "2", "--epochs", "1", "--threads", "1", "--quiet", "--save-model")
    assert said.code == 0, said.err
    found = read(distilled / "evaluation.json")["evaluations"]
    assert found[: len(first)] == first
    new = found[-1]
    assert new["protocol"] == "iwd-cpu:epochs=1", "the run's own protocol, with the flag's epochs"
    assert (new["nets"], new["split"], new["width"], new["norm"], new["source"]) == (2, "test", 8, "instance", "digits")
    assert f"{new['accuracy']:.1f} % test accuracy" in said.out
    assert read(distilled / "distilled" / "card.json")["test_uses"] == 2
    assert load_file(distilled / "model.safetensors")["classifier.weight"].shape == (10, 8 * 4 * 4)


def test_evaluate_on_validation_leaves_the_test_split_alone(refluence, distilled):
    words = ("evaluate", distilled, "--split", "val", "--protocol", "dc-cpu", "dsa-cpu", "--epochs", "1", "--width", "4")
    assert refluence(*words, "--norm", "none", "--model", "convnet2", *ONE).code == 0
    found = read(distilled / "evaluation.json")["evaluations"][1:]
    assert [(e["protocol"], e["split"], e["model"], e["width"], e["norm"]) for e in found] == [
        (f"{name}:epochs=1", "val", "convnet2", 4, "none") for name in ("dc-cpu", "dsa-cpu")
    ]
    assert read(distilled / "distilled" / "card.json")["test_uses"] == 1


def test_evaluate_with_resume_leaves_out_what_is_there(refluence, distilled):
    words = ("evaluate", distilled, "--epochs", "1", *ONE, "--resume")
    assert "nothing to do" not in refluence(*words).out
    before = tree(distilled)
    said = refluence(*words)
    assert (said.code, "nothing to do" in said.out) == (0, True)
    assert tree(distilled) == before
    assert "nothing to do" not in refluence(*words, "--seed", "5").out


def test_a_finished_run_stays_finished_after_evaluate(refluence, distilled):
    assert refluence("evaluate", distilled, "--epochs", "1", *ONE).code == 0
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "6", "--protocol", "iwd-cpu", "--out", distilled)
    said = refluence(*words, "--resume")
    assert "nothing to do" in said.out
    assert said.out.count("test accuracy") == 1, "the run's own result, not those appended later"


def test_evaluate_on_another_source(refluence, tmp_path):
    data, other = pictures(tmp_path / "pets"), pictures(tmp_path / "more", count=20)
    words = ("distill", "--data", data, "--ipc", "2", *TINY, "--method", "random", "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    said = refluence("evaluate", tmp_path / "run", "--data", other, "--epochs", "1", *ONE)
    assert said.code == 0, said.err
    assert read(tmp_path / "run" / "evaluation.json")["evaluations"][-1]["source"] == str(other)


def test_robust_scores(refluence, refused, distilled):
    before = (distilled / "evaluation.json").read_bytes()
    words = ("evaluate", distilled, "--robust", "--epochs", "1", *ONE)
    said = refluence(*words)
    assert said.code == 0, said.err
    (entry,) = read(distilled / "robust.json")["robust"]
    assert (entry["protocol"], entry["nets"], entry["split"]) == ("iwd-cpu:epochs=1", 1, "test")
    assert 0 <= entry["lrs"] <= 1
    assert [row["data"] for row in entry["rows"]] == ["full", "set", "random", "set", "random"]
    assert f"label-robust score {entry['lrs']:.3f}" in said.out
    assert f"augmentation-robust score {entry['ars']:.3f}" in said.out
    assert (distilled / "evaluation.json").read_bytes() == before
    assert read(distilled / "distilled" / "card.json")["test_uses"] == 2
    assert "nothing to do" in refluence(*words, "--resume").out
    assert refluence(*words, "--split", "val").code == 0
    assert [e["split"] for e in read(distilled / "robust.json")["robust"]] == ["test", "val"]
    assert read(distilled / "distilled" / "card.json")["test_uses"] == 2
    assert "--save-model" in refused(*words, "--save-model")


@pytest.mark.parametrize("where", ["run", "unit"])
def test_score_every_training_instance(refluence, distilled, compared, tmp_path, where):
    folder = distilled if where == "run" else compared / "units" / "dc" / "0"
    out = tmp_path / "new" / "scores.parquet"
    said = refluence("score", "--distilled", folder, "--out", out, *ONE)
    assert said.code == 0, said.err
    table = pq.read_table(out).to_pydict()
    assert {"index", "path", "label", "score", "weight", "loss", "fold"} <= set(table)
    train = read(folder / "config.json")["resolved"]["data"]["train"]
    assert len(set(table["index"])) == train
    assert f"{train} instances scored" in said.out
    assert len(set(table["weight"])) > 100
    assert (out.parent / "scores.html").exists()
    before = tree(out.parent)
    assert "nothing to do" in refluence("score", "--distilled", folder, "--out", out, *ONE, "--resume").out
    assert tree(out.parent) == before


def test_scores_are_not_overwritten_and_each_file_has_its_own_page(refluence, refused, distilled, tmp_path):
    for name in ("a", "b"):
        said = refluence("score", "--distilled", distilled, "--out", tmp_path / f"{name}.parquet", *ONE)
        assert f"{name}.html" in said.out
        assert (tmp_path / f"{name}.html").exists()
    before = (tmp_path / "a.parquet").read_bytes()
    message = refused("score", "--distilled", distilled, "--out", tmp_path / "a.parquet", *ONE, "--seed", "1")
    assert "--resume" in message
    assert (tmp_path / "a.parquet").read_bytes() == before


def test_a_run_with_an_infinite_temperature_can_be_scored_and_resumed(refluence, tmp_path):
    words = ("distill", *DIGITS, "--weights", "influence:tau=inf", "--iterations", "1", "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    said = refluence("score", "--distilled", tmp_path / "run", "--out", tmp_path / "s.parquet", *ONE)
    assert said.code == 0, said.err
    assert set(pq.read_table(tmp_path / "s.parquet").to_pydict()["weight"]) == {1.0}
    assert "nothing to do" in refluence(*words, "--resume").out


@pytest.mark.parametrize(
    ("text", "value", "bag"),
    [("influence:tau=2", "score", "label"), ("loss:tau=2", "loss", "label"), ("influence:tau=2,bag=all", "score", None)],
)
def test_the_column_weight_is_the_softmax_of_what_its_flag_names(refluence, distilled, tmp_path, text, value, bag):
    words = ("score", "--distilled", distilled, "--out", tmp_path / "s.parquet", "--weights", text)
    assert refluence(*words, *ONE).code == 0
    table = {k: torch.tensor(v).double() for k, v in pq.read_table(tmp_path / "s.parquet").to_pydict().items() if k in COLUMNS}
    bags = [table["label"] == c for c in range(10)] if bag else [table["label"] >= 0]
    for own in bags:
        scores = table[value][own]
        found = torch.softmax((scores - scores.mean()) / scores.std(correction=0) / 2, 0) * own.sum()
        assert torch.allclose(table["weight"][own], found)


def test_scores_can_be_dropped_in_the_next_run(refluence, distilled, tmp_path):
    assert refluence("score", "--distilled", distilled, "--out", tmp_path / "s.parquet", *ONE).code == 0
    words = ("distill", *DIGITS, "--method", "random", "--drop", f"{tmp_path / 's.parquet'}:0.5", "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    before = read(distilled / "config.json")["resolved"]["data"]["train"]
    assert read(tmp_path / "run" / "config.json")["resolved"]["data"]["train"] == pytest.approx(before / 2, abs=1)


def test_a_selection_has_no_objective_to_score_against(refused, compared, tmp_path):
    message = refused("score", "--distilled", compared / "units" / "random" / "0", "--out", tmp_path / "s.parquet")
    assert "random" in message
    assert "no objective" in message


def test_a_use_of_the_test_split_is_counted_before_it_can_be_lost(refluence, distilled, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("refluence.jobs.judge.evaluate_set", killed)
    assert refluence("evaluate", distilled, "--epochs", "1", *ONE).code == 130
    assert read(distilled / "distilled" / "card.json")["test_uses"] == 2


@pytest.mark.parametrize(("name", "file"), [("imagefolder", "train"), ("parquet", "train.parquet"), ("tensors", "card.json")])
def test_export(refluence, refused, distilled, tmp_path, name, file):
    said = refluence("export", distilled, "--format", name, "--out", tmp_path / "out")
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "out" / file).exists()
    tensors = [folder / "images.safetensors" for folder in (tmp_path / "out", distilled / "distilled")]
    assert tensors[0].read_bytes() == tensors[1].read_bytes()
    assert ("PNG holds 256 levels" in said.out) == (name != "tensors")
    before = tree(tmp_path / "out")
    assert "not empty" in refused("export", distilled, "--format", name, "--out", tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert refluence("export", distilled, "--format", name).code == 0
    assert (distilled / f"export-{name}" / file).exists()


def test_report_again(refluence, distilled, compared):
    for folder in (distilled, compared, compared / "units" / "dc" / "1"):
        (folder / "report.html").unlink(missing_ok=True)
        said = refluence("report", folder)
        assert said.code == 0, said.err
        assert "report.html" in said.out
        assert "<html" in (folder / "report.html").read_text()[:500].lower()


def test_repeat_is_the_same_bit_for_bit(refluence, distilled):
    said = refluence("repeat", distilled)
    assert said.code == 0, said.err
    again = distilled.parent / "distilled-repeat"
    assert "1 distilled set: the same bit for bit as in" in said.out
    for name in ("distilled/images.safetensors", "scores.parquet"):
        assert (again / name).read_bytes() == (distilled / name).read_bytes()
    assert read(again / "config.json")["resolved"] == read(distilled / "config.json")["resolved"]


def test_repeat_says_what_is_not_the_same(refluence, refused, compared):
    path = compared / "units" / "dc" / "1" / "distilled" / "images.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    said = refluence("repeat", compared)
    assert said.code == 0, said.err
    assert "8 distilled sets, 1 not the same bit for bit as in" in said.out
    assert said.out.strip().endswith("units/dc/1")
    assert "--resume" in refused("repeat", compared), "the repetition lies there already"
    assert "nothing to do" in refluence("repeat", compared, "--resume").out
    assert "the run itself" in refused("repeat", compared, "--out", compared)


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_estimate_says_time_memory_and_bytes_and_writes_nothing(refluence, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    methods = ("--methods", "random", "dc") if command == "compare" else ("--weights", "influence")
    said = refluence("estimate", command, *DIGITS, "--iterations", "5", *methods)
    assert said.code == 0, said.err
    *arms, last = [line for line in said.out.strip().splitlines() if not line.startswith("not in it")]
    assert len(arms) == (2 if command == "compare" else 1)
    stored = 20 * (4 * 64 + 8)
    assert all(re.search(rf"\d+ s to make, \d+ s to judge, {stored / 1000:.1f} kB stored", line) for line in arms)
    seeds = 3 if command == "compare" else 1
    assert f"{len(arms)} arm{'s' * (len(arms) > 1)} x {seeds} seed" in last
    assert re.search(r"peak memory \d+\.\d [GM]B", last)
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []


def test_estimate_counts_what_is_stored_beside_the_images(refluence, tmp_path):
    words = ("--iterations", "2", "--methods", "dc:label_lr=.1,stages=2,outer=2")
    said = refluence("estimate", "compare", *DIGITS, "--seeds", "1", *words)
    assert said.code == 0, said.err
    own = ("--data", "digits", "--ipc", "2", "--seeds", "1", "--out", tmp_path / "run")
    assert refluence("compare", *TINY, *own, *words).code == 0
    stored = read(next((tmp_path / "run").rglob("card.json")))["stored_bytes"]
    assert stored == 20 * (4 * 64 + 8 + 4 * 10 + 8)
    assert f"{stored / 1000:.1f} kB stored, per seed" in said.out


def test_estimate_says_what_is_not_in_it_and_pretrains_as_the_run_would(refluence, monkeypatch):
    steps = []
    real = herding.pretrain
    monkeypatch.setattr(herding, "pretrain", lambda *given: steps.append(given[-1]) or real(*given))
    words = ("estimate", "compare", *DIGITS, "--iterations", "2", "--workers", "2", "--seeds", "1")
    said = refluence(*words, "--methods", "herding", "dc", "dc+influence", "--no-controls", "--equal-seconds")
    assert said.code == 0, said.err
    assert steps == [5]
    assert "not in it: the arms of --equal-seconds" in said.out
    assert "not in it: 2 workers" in said.out


def test_learned_labels_and_rates_that_no_protocol_reads_are_said(refluence, tmp_path):
    words = (
        "compare",
        *TINY,
        "--data",
        "digits",
        "--seeds",
        "1",
        "--iterations",
        "4",
        "--methods",
        "dc:label_lr=1,lr_lr=.01,outer=4",
    )
    quiet = [word for word in words if word != "--quiet"]
    said = refluence(*quiet, "--out", tmp_path / "hard").err
    assert "the learned soft labels of this set: no protocol here trains with them; datm, frepo" in said
    assert "the learned learning rate of this set: no protocol here trains with it; mtt, datm would" in said
    said = refluence(*quiet, "--out", tmp_path / "soft", "--protocol", "datm").err
    assert "the learned" not in said


@pytest.mark.parametrize(
    ("method", "changes", "seen"),
    [
        ("dc", {}, (0, 0)),
        ("dm", {}, (0, 0)),
        ("idc", {"iterations": 25, "outer": 10, "pretrain": 7}, (3 * 7 * 8, 0)),  # three networks
        ("ncfm", {"pool": 3, "pretrain": 7, "iterations": 100}, (3 * 7 * 8, 0)),
        ("ncfm", {"pool": 3, "pretrain": 7, "iterations": 2}, (2 * 7 * 8, 0)),
        ("dc", {"iterations": 40, "outer": 10, "stages": 2, "stage_epochs": 5}, (0, 2 * 5 * 30)),  # two networks, 30 images
        ("dm", {"iterations": 6, "outer": 1, "stages": 3, "stage_epochs": 1}, (0, 2 * 20 + 2 * (20 + 40))),
        ("idm", {"iterations": 6, "outer": 1, "stages": 3, "stage_epochs": 1}, (0, 2 * 20 + 2 * (20 + 40))),
    ],
)
def test_what_networks_see_before_they_are_used(method, changes, seen):
    settings = Settings(ipc=6, iterations=20, outer=10, inner=1, net_batch=8).with_(**changes)
    assert methods()[method].networks.seen_beforehand(settings, 60) == seen


def test_estimate_scales_training_before_the_first_image_step_and_does_not_run_it(refluence, monkeypatch):
    ran = []
    for module in (work, pools):
        real = module.train_on
        monkeypatch.setattr(module, "train_on", lambda *given, real=real: ran.append(given[4]) or real(*given))
    making = []
    for pretrain in (0, 10**6):
        said = refluence("estimate", "compare", *DIGITS, "--iterations", "9", "--methods", f"ncfm:pretrain={pretrain},pool=2")
        assert said.code == 0, said.err
        making.append(re.search(r": (\d+) s to make|: \d+ min to make|: [\d.]+ h to make", said.out).group(1))
    assert making[0] is not None, "seconds"
    assert making[1] is None, "two networks of a million steps: minutes or hours"
    assert sum(ran) <= 10


@pytest.mark.parametrize(
    ("flags", "steps"), [((), None), (("--iterations", "5000"), 250), (("--size", "cpu", "--iterations", "100"), 250)]
)
def test_the_steps_of_herding_follow_the_iterations_of_the_size(flags, steps):
    _, given = parse(["distill", "--data", "digits", "--size", "paper", "--out", "x", *flags])
    train = SimpleNamespace(members=lambda label: range(99))
    dataset = SimpleNamespace(shape=(1, 8, 8), classes=("a", "b"), validated_elsewhere=False, train=train)
    assert resolve(given, parse_arm("herding"), dataset, 0).plan.steps == steps


def test_estimate_refuses_what_the_command_would_refuse(refused):
    assert "--ipc 0:" in refused("estimate", "distill", *DIGITS, "--ipc", "0")
    assert "'dcc'" in refused("estimate", "compare", *DIGITS, "--methods", "dcc")


def test_ls_finds_what_the_package_has(refluence):
    said = refluence("ls")
    assert said.code == 0
    for name in ("random", "herding", "full", "dc", "influence", "shuffled", "flipped", "loss", "dc-cpu", "dsa", "iwd"):
        assert re.search(rf"^  {name} ", said.out, re.M), name
    for title in ("methods", "weights", "protocols", "models", "recipes"):
        assert re.search(rf"^{title}", said.out, re.M)
    keys = {f.name for kind in (Settings, Weighting) for f in fields(kind)} | {"steps", "easiest"}
    told = set(re.findall(r"^  (\w+) +\S", said.out, re.M))
    assert keys - told == {"ipc", "kind"}, "every key of an arm; --ipc is a flag, the kind stands before the colon"


@pytest.mark.parametrize("more", [(), ("--robust",)])
def test_networks_that_judge_are_compiled_on_request(refluence, distilled, monkeypatch, more):
    compiled = []
    monkeypatch.setattr(Compute, "compiled", lambda self, net: compiled.append(self.compile) or net)
    words = ("evaluate", distilled, "--protocol", "dc-cpu", "--epochs", "1", "--split", "val", *ONE, *more)
    for flag in ((), ("--compile",)):
        compiled.clear()
        assert refluence(*words, *flag).code == 0
        assert set(compiled) == {bool(flag)}
        assert len(compiled) >= 2 * (30 if more else 1), "training and prediction, of every network"


def test_a_protocol_that_whitens(refluence, refused, tmp_path):
    """Judged and scored from the command line; no network is kept that other commands would feed wrongly."""
    out = tmp_path / "out"
    data = ["--data", pictures(tmp_path / "pets", count=20), "--ipc", "1", *TINY, "--out", out]
    assert refluence("distill", *data, "--method", "random", "--protocol", "mtt", "--epochs", "2").code == 0
    (entry,) = read(out / "evaluation.json")["evaluations"]
    assert entry["protocol"] == "mtt:epochs=2"
    assert refluence("evaluate", out, "--robust", "--nets", "1", "--epochs", "2", "--protocol", "frepo", "--quiet").code == 0
    other = str(pictures(tmp_path / "more", count=30, bright=40))
    words = ("--data", other, "--protocol", "frepo", "--epochs", "2", "--nets", "1", "--seed", "3")
    assert refluence("evaluate", out, *words, "--quiet").code == 0
    small, dataset, protocol = load_distilled(out), load(other, SourceOptions()), protocols()["frepo"].with_(epochs=2)
    assert small.mean != dataset.mean
    spec = ModelSpec("convnet1", dataset.shape, 2, 8)
    facts = (spec, protocol, dataset.test, streams(3), 1)
    by_hand = evaluate_set(small, *facts, whitened=whitening("frepo", dataset.normalised_as(small.mean, small.std)))
    assert read(out / "evaluation.json")["evaluations"][-1]["curve"] == by_hand.to_dict()["curve"], "as the set was normalised"
    message = refused("evaluate", out, "--save-model", "--protocol", "frepo", "--quiet")
    assert "--save-model keeps a network for images as they are, frepo whitens them" in message
