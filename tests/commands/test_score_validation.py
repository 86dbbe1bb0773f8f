"""`refluence score --data SRC`: every training instance scored out of fold against validation data; stopped and resumed."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.commands.score import look_wrong
from refluence.data import SourceOptions, load
from refluence.data.scores import ScoreTable
from refluence.score.settings import CrossFit
from support.command_line import pictures, read, tree

QUICK = ("--width", "4", "--epochs", "1", "--curvature", "identity", "--threads", "1", "--quiet")
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def pets(tmp_path):
    return pictures(tmp_path / "pets", count=24)


@pytest.fixture
def score(refluence, pets, tmp_path):
    """Score the pets in 3 folds into a file of that name."""

    def run(name="scores", *more):
        return refluence("score", "--data", pets, "--folds", "3", *QUICK, "--out", tmp_path / f"{name}.parquet", *more)

    return run


@pytest.fixture
def stop(monkeypatch):
    """Let Ctrl-C come when as many folds have been scored."""
    from refluence.score import folds_work

    real, done = folds_work.score_fold, []

    def after(folds):
        done.clear()

        def scored(*given, **named):
            if len(done) == folds:
                raise KeyboardInterrupt
            done.append(given[3])
            return real(*given, **named)

        monkeypatch.setattr(folds_work, "score_fold", scored)
        return done

    return after


def table(path):
    return {name: np.array(column) for name, column in pq.read_table(path).to_pydict().items()}


def facts(path):
    return json.loads(pq.read_schema(path).metadata[b"refluence"])


def test_every_training_instance_is_scored_once_out_of_fold(score, pets, tmp_path):
    said = score()
    assert (said.code, said.err) == (0, "")
    found, data = table(tmp_path / "scores.parquet"), load(str(pets))
    assert list(found) == ["index", "path", "label", "score", "weight", "loss", "fold", "suggested"]
    assert found["index"].tolist() == data.train.rows.tolist()
    assert found["label"].tolist() == data.train.labels.tolist()
    assert found["path"].tolist() == list(data.train.paths)
    for label in (0, 1):
        assert np.ptp(np.bincount(found["fold"][found["label"] == label], minlength=3)) <= 1, "stratified"
    assert np.isfinite(found["score"]).all()
    assert (found["loss"] >= 0).all()
    assert set(found["suggested"]) <= {0, 1}
    harmful = found["score"] > 0
    assert ((found["weight"] > 0) & (found["weight"] < 2)).all()
    assert ((found["weight"] < 1) == harmful).all()
    assert f"{len(data.train)} instances scored out of fold" in said.out
    assert f"validation accuracy on {len(data.val)} images" in said.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "pets", "scores.csv", "scores.html", "scores.parquet"]


def test_the_ten_worst_are_named_on_the_terminal_in_the_csv_and_under_the_pictures(refluence, score, pets, tmp_path):
    words = ["score", "--data", pets, "--folds", "3", *QUICK[:-1], "--out", tmp_path / "scores.parquet"]
    said = refluence(*words)
    assert said.code == 0, said.err
    worst = ScoreTable.load(tmp_path / "scores.parquet").most_harmful(10)
    lines = said.out.splitlines()
    assert lines[-11] == "The 10 most harmful (label -> suggestion):"
    names = [("cat", "dog")[label] for label in worst.label]
    other = [f" -> {('cat', 'dog')[c]}" if c != label else "" for c, label in zip(worst.suggested, worst.label, strict=True)]
    expected = [f"{path}  {name}{new}" for path, name, new in zip(worst.paths, names, other, strict=True)]
    assert [line.strip() for line in lines[-10:]] == expected
    with (tmp_path / "scores.csv").open() as file:
        assert [line["path"] for line in csv.DictReader(file)][:10] == list(worst.paths)
    page = (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert all(f"<small>{Path(path).name}</small>" in page for path in worst.paths)
    assert "scores.csv has the most harmful first" in page
    assert "most harmful" not in score("quiet").out


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (
            {"wrong_share": 0.174, "validation": {"accuracy": 60.0}},
            "about 17 % of the labels look wrong to networks that are right on 60 % of the validation images",
        ),
        ({"wrong_share": 0.174, "validation": {"accuracy": 14.0}}, None),
        ({"wrong_share": 0.004, "validation": {"accuracy": 60.0}}, "hardly any labels look wrong (0.4 %)"),
        ({"wrong_share": None, "validation": {"accuracy": 60.0}}, None),
        ({}, None),
    ],
)
def test_how_many_labels_look_wrong_is_a_line_where_the_networks_learned(facts, says):
    one = torch.ones(1, dtype=torch.int64)
    columns = dict.fromkeys(("index", "label", "score", "weight", "loss", "suggested"), one)
    table = ScoreTable(**columns, facts={"classes": list("0123456789"), **facts})
    assert look_wrong(replace(table, suggested=1 - one), Path("s.parquet")) is None, "the networks contradict most labels"
    found = look_wrong(table, Path("s.parquet"))
    assert found is says is None or found.startswith(says)
    if found and found.startswith("about"):
        assert "leave as many out with --drop s.parquet:0.17, relabel as many with --relabel s.parquet:0.17, or try" in found
        assert "X+pruned:by=score" in found


def test_a_file_of_ones_own_is_not_overwritten(refused, pets, tmp_path):
    (tmp_path / "votes.csv").write_text("file,label\n")
    said = refused("score", "--data", pets, *QUICK, "--out", tmp_path / "votes.parquet")
    assert "votes.csv is written beside it" in said
    assert (tmp_path / "votes.csv").read_text() == "file,label\n"


def test_the_file_says_what_decided_its_numbers(score, pets, tmp_path):
    assert score("scores", "--damping", "0.5", "--seed", "3").code == 0
    told = facts(tmp_path / "scores.parquet")
    assert told["validation"]["images"] == len(load(str(pets)).val)
    assert len(told["validation"]["accuracies"]) == len(told["damping"]) == len(told["iterations"]) == 3
    assert 0 <= told["validation"]["accuracy"] <= 100
    assert (told["source"], told["classes"], told["folds"], told["seed"]) == (str(pets), ["cat", "dog"], 3, 3)
    assert told["curvature"] == "identity"
    assert told["resolved"]["crossfit"]["epochs"] == 1
    assert told["resolved"]["crossfit"]["curvature"]["damping"] == 0.5
    assert {"torch", "threads"} <= set(told["resolved"]["machine"])


def test_with_validation_from_elsewhere_the_risk_is_on_it_alone(score, tmp_path):
    other = pictures(tmp_path / "elsewhere", count=6)
    said = score("a", "--validation", other)
    assert said.code == 0, said.err
    assert facts(tmp_path / "a.parquet")["terms"] == "implicit"
    assert facts(tmp_path / "a.parquet")["validation"]["images"] == 12
    assert score("b", "--validation", other, "--terms", "both").code == 0
    assert facts(tmp_path / "b.parquet")["terms"] == "both"
    assert score("c").code == 0
    assert facts(tmp_path / "c.parquet")["terms"] == "both"


def test_the_seed_decides_and_nothing_else(score, tmp_path):
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", "1"))):
        assert score(name, *more).code == 0
    a, b, c = ((tmp_path / f"{name}.parquet").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_stopped_run_goes_on_to_the_same_bits(score, refused, pets, stop, tmp_path):
    assert score("whole").code == 0
    done, parts = stop(1), tmp_path / "scores.parts"
    said = score()
    assert said.code == 130
    assert "--resume" in said.err
    assert sorted(p.name for p in parts.iterdir()) == ["checkpoint", "config.json", "metrics.jsonl"]
    assert read(parts / "config.json")["command"] == "score"
    before = tree(parts)
    words = ("score", "--data", pets, "--folds", "3", *QUICK, "--out", tmp_path / "scores.parquet")
    assert "add --resume" in refused(*words)
    assert "crossfit.epochs is 1 there, 2 here" in refused(*words, "--resume", "--epochs", "2")
    assert "seed is 0 there, 1 here" in refused(*words, "--resume", "--seed", "1")
    assert tree(parts) == before
    done = stop(99)
    assert score("scores", "--resume").code == 0
    assert done == [1, 2], "the first fold is not scored again"
    assert (tmp_path / "scores.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not parts.exists()


def test_a_finished_run_is_left_alone(score, refused, pets, stop, tmp_path):
    assert score().code == 0
    stop(0)
    before = tree(tmp_path)
    assert "nothing to do" in score("scores", "--resume").out
    assert tree(tmp_path) == before
    words = ("score", "--data", pets, "--folds", "3", *QUICK, "--out", tmp_path / "scores.parquet")
    assert "is there already" in refused(*words)
    assert "crossfit.folds is 3 there, 2 here" in refused(*words, "--folds", "2", "--resume")
    assert tree(tmp_path) == before
    text = (tmp_path / "scores.csv").read_bytes()
    for name in ("scores.html", "scores.csv"):
        (tmp_path / name).unlink()
    assert score("scores", "--resume").code == 0
    assert (tmp_path / "scores.html").exists(), "a kill between scores and page"
    assert (tmp_path / "scores.csv").read_bytes() == text
    for name in ("scores.html", "scores.csv"):
        (tmp_path / name).unlink()
        del before[name]
    assert tree(tmp_path) == before


def test_a_broken_checkpoint_is_named(score, stop, tmp_path):
    stop(2)
    assert score().code == 130
    (tmp_path / "scores.parts" / "checkpoint" / "state.safetensors").write_bytes(b"half")
    stop(99)
    said = score("scores", "--resume")
    assert said.code == 2
    assert "state.safetensors is not a checkpoint" in said.err
    (tmp_path / "scores.parts" / "checkpoint" / "state.safetensors").unlink()
    assert score("scores", "--resume").code == 0


def test_more_networks_are_averaged(score, tmp_path):
    for name, nets in (("one", "1"), ("two", "2")):
        assert score(name, "--nets", nets).code == 0
    one, two = table(tmp_path / "one.parquet"), table(tmp_path / "two.parquet")
    assert len(facts(tmp_path / "two.parquet")["validation"]["accuracies"]) == 6
    assert (one["fold"] == two["fold"]).all()
    assert not np.allclose(one["score"], two["score"])
    second = 2 * two["loss"] - one["loss"]  # the second network alone
    assert (second > -1e-9).all()


def test_weights_follow_the_scores_as_asked(score, tmp_path):
    for name, weights in (("softmax", "influence:sign=-1"), ("loss", "loss:link=top,keep=.25,bag=all"), ("none", "uniform")):
        assert score(name, "--weights", weights).code == 0, name
    softmax, loss, none = (table(tmp_path / f"{name}.parquet") for name in ("softmax", "loss", "none"))
    for label in (0, 1):
        mine = softmax["label"] == label
        assert softmax["weight"][mine].mean() == pytest.approx(1)
        assert np.corrcoef(softmax["weight"][mine], softmax["score"][mine])[0, 1] < -0.5
    kept = loss["weight"] > 0
    assert kept.mean() == pytest.approx(0.25, abs=0.03)
    assert loss["loss"][kept].min() >= loss["loss"][~kept].max()
    assert set(none["weight"]) == {1.0}


def test_the_most_harmful_are_dropped_in_the_next_run(refluence, tmp_path):
    out = tmp_path / "scores.parquet"
    assert refluence("score", "--data", "digits", "--folds", "2", *QUICK, "--out", out).code == 0
    quick = ("--ipc", "2", "--nets", "1", "--epochs", "1", "--iterations", "1", "--width", "4", "--quiet", "--threads", "1")
    words = ("distill", "--data", "digits", "--drop", f"{out}:0.05", *quick, "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    found = table(out)
    gone = set(found["index"]) - set(load("digits", SourceOptions(drop=f"{out}:0.05")).train.rows.tolist())
    assert gone == set(found["index"][np.argsort(-found["score"], kind="stable")[: round(0.05 * len(found["score"]))]])
    assert read(tmp_path / "run" / "config.json")["resolved"]["data"]["train"] == len(found["index"]) - len(gone)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the folder of real datasets is absent ({DATA})")
def test_human_labels_are_scored_and_the_worst_left_out(refluence, tmp_path):
    rows = [5000 * c + i for c in range(10) for i in range(20)]
    (tmp_path / "small").mkdir()
    pq.write_table(pq.read_table(DATA / "cifar10" / "train.parquet").take(rows), tmp_path / "small" / "train.parquet")
    pq.write_table(pq.read_table(DATA / "cifar10n" / "train.parquet").take(rows), tmp_path / "votes.parquet")
    source = ("--data", tmp_path / "small", "--labels", f"{tmp_path / 'votes.parquet'}:random_label1")
    out = tmp_path / "scores.parquet"
    said = refluence("score", *source, "--folds", "2", *QUICK, "--out", out)
    assert said.code == 0, said.err
    votes = pq.read_table(tmp_path / "votes.parquet").column("random_label1").to_numpy()
    found = table(out)
    assert (found["label"] == votes[found["index"]]).all()
    page = (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert "votes.parquet:random_label1" in page
    quick = ("--ipc", "1", "--method", "random", "--nets", "1", "--epochs", "1", "--width", "4", "--quiet", "--threads", "1")
    assert refluence("distill", *source, "--drop", f"{out}:0.1", *quick, "--out", tmp_path / "run").code == 0
    left = read(tmp_path / "run" / "config.json")["resolved"]["data"]["train"]
    assert left == len(found["index"]) - round(0.1 * len(found["index"]))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), ["--data SRC is missing", "--distilled"]),
        (("--data", "digits", "--folds", "1"), ["folds", "1", "2"]),
        (("--data", "digits", "--folds", "500"), ["--folds 500", "training images", "at most"]),
        (("--data", "digits", "--nets", "0"), ["--nets 0:"]),
        (("--data", "digits", "--epochs", "0"), ["--epochs 0:"]),
        (("--data", "digits", "--lr", "-1"), ["lr", "-1"]),
        (("--data", "digits", "--curvature", "fisher"), ["'fisher'", "ggn"]),
        (("--data", "digits", "--damping", "much"), ["--damping much", "auto"]),
        (("--data", "digits", "--damping", "-1"), ["damping", "-1"]),
        (("--data", "digits", "--weights", "influenza"), ["'influenza'"]),
        (("--data", "digits", "--weights", "influence:where=inside"), ["where means nothing here"]),
        (("--data", "digits", "--weights", "influence:bag=batch"), ["bag=batch", "class or all"]),
        (("--data", "digits", "--weights", "influence:tau"), ["key=value"]),
        (("--data", "digits", "--model", "resnet"), ["'resnet'", "convnet"]),
        (("--data", "digits", "--model", "convnet6"), ["depth 6", "8x8"]),
        (("--data", "nowhere/at/all"), ["nowhere/at/all"]),
        (("--distilled", "runs/x", "--folds", "3"), ["--folds 3", "--distilled"]),
        (("--distilled", "runs/x", "--curvature", "ggn"), ["--curvature ggn", "--distilled"]),
    ],
)
def test_what_cannot_be_scored(refused, tmp_path, monkeypatch, flags, expected):
    monkeypatch.chdir(tmp_path)
    message = refused("score", *flags, "--quiet", "--out", tmp_path / "out" / "s.parquet")
    assert all(word in message for word in expected), message
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []


def test_places_that_cannot_be_written(refused, pets, tmp_path):
    words = ("score", "--data", pets, *QUICK, "--folds", "3", "--out")
    (tmp_path / "file").write_text("x")
    assert "cannot write" in refused(*words, tmp_path / "file" / "s.parquet")
    assert ".parquet" in refused(*words, tmp_path / "scores.csv")
    (tmp_path / "folder.parquet").mkdir()
    assert ".parquet" in refused(*words, tmp_path / "folder.parquet")
    (tmp_path / "s.parts").mkdir()
    (tmp_path / "s.parts" / "thesis.txt").write_text("It was a dark night.")
    for more in ((), ("--resume",)):
        assert "s.parts is not empty" in refused(*words, tmp_path / "s.parquet", *more)
    assert (tmp_path / "s.parts" / "thesis.txt").exists()
    pq.write_table(pa.table({"index": [1], "score": [0.5]}), tmp_path / "other.parquet")
    assert "other.parquet holds another run" in refused(*words, tmp_path / "other.parquet", "--resume")
    (tmp_path / "text.parquet").write_text("x")
    assert "cannot be read as scores" in refused(*words, tmp_path / "text.parquet", "--resume")


def test_a_class_too_small_for_a_validation_split(refused, tmp_path):
    data = pictures(tmp_path / "tiny", count=1)
    assert "too small to cut" in refused("score", "--data", data, *QUICK, "--out", tmp_path / "s.parquet")
    pictures(tmp_path / "rare", count=24)
    pictures(tmp_path / "few", classes=("owl",), count=4)
    (tmp_path / "few" / "owl").rename(tmp_path / "rare" / "owl")
    message = refused("score", "--data", tmp_path / "rare", *QUICK, "--out", tmp_path / "s.parquet")
    assert "--folds 5: class 'owl' has only 2 training images; at most 2 would do, or --small-classes drop" in message


def test_classes_too_small_for_the_folds_can_be_left_out(refluence, tmp_path):
    pictures(tmp_path / "rare", count=24)
    for name, count in (("owl", 4), ("elk", 1)):
        pictures(tmp_path / name, classes=(name,), count=count)
        (tmp_path / name / name).rename(tmp_path / "rare" / name)
    words = ("score", "--data", tmp_path / "rare", *QUICK[:-1], "--folds", "3", "--terms", "explicit")
    done = refluence(*words, "--small-classes", "drop", "--out", tmp_path / "s.parquet")
    assert done.code == 0
    assert "'elk' (1), 'owl' (2); 3 are asked for" in done.err
    assert facts(tmp_path / "s.parquet")["classes"] == ["cat", "dog"]
    assert "leaves out the 2 classes that have fewer than 3" in refluence(*words, "--out", tmp_path / "t.parquet").err


def test_defaults_in_help_and_documentation_are_those_of_the_code(refluence):
    usual = CrossFit()
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", refluence("score", "--help").out).split())
    page = (Path(__file__).parents[2] / "docs" / "interface.md").read_text(encoding="utf-8")
    named = {
        name: getattr(usual, name) for name in ("folds", "epochs", "batch", "lr", "weight_decay", "terms", "networks", "risk")
    }
    named |= {"curvature": usual.curvature.kind, "damping": usual.curvature.damping}
    for name, value in named.items():
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"{flag} [^-].*?\(default: {value}\b", said), flag
        row = next(line for line in page.splitlines() if line.startswith("| `--") and flag in line.split("|")[1])
        flags = re.findall(r"--[a-z-]+", row.split("|")[1])
        # `NUMBER|auto` holds an escaped bar: the default stands in the last but one cell
        defaults = re.split(r"(?<!\\)\|", row)[2].strip().strip("`").split(", ")
        assert defaults[flags.index(flag)] == str(value), flag


def test_all_networks_may_score_every_instance(score, pets, tmp_path):
    said = score("scores", "--networks", "all", "--terms", "explicit")
    assert said.code == 0
    assert "scored by all folds" in said.out
    found, told = table(tmp_path / "scores.parquet"), facts(tmp_path / "scores.parquet")
    assert len(found["score"]) == len(load(str(pets)).train)
    assert abs(found["score"].mean()) < 1e-6, "each network's scores are held against their mean"
    assert told["networks"] == "all"
