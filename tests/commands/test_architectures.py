"""Other networks than ConvNets on the command line: sets judged across architectures, runs and scores of a ResNet."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from torch import nn

from refluence.cli import main
from refluence.condense.dc import METHOD as DC
from refluence.condense.requirements import check_network
from refluence.errors import InputError
from refluence.models import ModelSpec
from support.command_line import DIGITS, TINY, pictures, read, tree

ONE = ("--nets", "1", "--epochs", "1", "--threads", "1", "--quiet")
SMALL = "torchvision:shufflenet_v2_x0_5"


def test_several_networks_are_one_table(refluence, distilled):
    words = ("evaluate", distilled, "--nets", "2", "--epochs", "1", "--threads", "1", "--quiet", "--protocol", "dc-cpu")
    models = ("convnet", "resnet10", "resnet18:group", "resnetap10:none", SMALL, "resnet10:batch")
    said = refluence(*words, "--model", *models, "--split", "val")
    assert said.code == 0, said.err
    found = read(distilled / "evaluation.json")["evaluations"][1:]
    # the run has a ConvNet of width 8: ResNets have half of it, and the norms that they are published with; twice is once
    want = [("convnet1", 8, "instance"), ("resnet10", 4, "batch"), ("resnet18", 4, "group"), ("resnetap10", 4, "none")]
    assert [(e["model"], e["width"], e["norm"]) for e in found] == [*want, (SMALL, 1024, "batch")]
    assert {(e["protocol"], e["split"], e["nets"]) for e in found} == {("dc-cpu:epochs=1", "val", 2)}
    table = [[c.strip() for c in line.split("│")[1:-1]] for line in said.out.splitlines() if line.startswith("│")]
    for row, e in zip(table, found, strict=True):
        a, b = e["accuracies"]
        spread = abs(a - b) / 2**0.5
        accuracy = f"{e['accuracy']:.1f} ± {spread:.1f}"
        assert row == [e["model"], str(e["width"]), e["norm"], "dc-cpu:epochs=1", "val", accuracy, "2"]
    again = refluence(*words, "--model", *models, "--split", "val", "--resume")
    assert again.out.count("nothing to do") == len(found)
    assert again.out.count("│") == said.out.count("│"), "the table of what was asked, read again"
    page = refluence("report", distilled)
    assert page.code == 0, page.err
    text = (distilled / "report.html").read_text(encoding="utf-8")
    assert all(f"{m} width {w} {n} norm" in text for m, w, n in want)


def test_width_and_norm_are_those_of_every_network(refluence, distilled):
    words = ("evaluate", distilled, "--split", "val", *ONE, "--width", "2", "--norm", "none")
    said = refluence(*words, "--model", "convnet2", "resnet10", "resnet10:group")
    assert said.code == 0, said.err
    found = read(distilled / "evaluation.json")["evaluations"][1:]
    want = [("convnet2", 2, "none"), ("resnet10", 2, "none"), ("resnet10", 2, "group")]
    assert [(e["model"], e["width"], e["norm"]) for e in found] == want


def test_one_network_prints_no_table(refluence, distilled):
    said = refluence("evaluate", distilled, "--split", "val", *ONE, "--model", "resnet10")
    assert said.code == 0, said.err
    assert re.fullmatch(r"\S+, resnet10 width 4 batch norm: \S+ % val accuracy \(networks: \S+\)\n", said.out)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["convnet1", "resnet10:weight"], "--model resnet10:weight: behind the name stand a width and a norm, each once"),
        (["convnet1", "resnet10:layer"], "resnet10 has no layer norm"),
        (["convnet1", "resnet34"], "unknown model 'resnet34'"),
        (["resnetap10"], "one pixel in the last maps of resnetap10"),
        ([f"{SMALL}:group"], "has its own norm layers"),
        ([SMALL, "--width", "8"], "has its own width"),
        (["convnet1", "convnet2", "--save-model"], "--save-model keeps one network"),
    ],
)
def test_networks_that_cannot_judge_are_refused_before_any_does(refused, distilled, models, expected):
    before = tree(distilled)
    assert expected in refused("evaluate", distilled, *ONE, "--model", *models)
    assert tree(distilled) == before


def test_a_batch_of_one_image_that_batch_norm_cannot_take_is_one_line(refused, distilled):
    message = refused("evaluate", distilled, *ONE, "--split", "val", "--model", "resnet10", "--batch", "19")
    assert "another --batch than 19 for 20 images" in message


@pytest.fixture(scope="module")
def resnet_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("resnet") / "run"
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "2", "--model", "resnet10", "--width", "2")
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture
def resnet(resnet_once, tmp_path):
    return shutil.copytree(resnet_once, tmp_path / "resnet")


def test_a_set_is_made_with_a_resnet_judged_and_scored(refluence, resnet, tmp_path):
    config = read(resnet / "config.json")
    want = {"name": "resnet10", "shape": [1, 8, 8], "classes": 10, "width": 2, "norm": "batch"}
    assert config["resolved"]["unit"]["model"] == want
    assert config["arguments"]["norm"] is None, "what was asked, beside what it came to"
    entry = read(resnet / "evaluation.json")["evaluations"][0]
    assert (entry["model"], entry["width"], entry["norm"]) == ("resnet10", 2, "batch")
    out = tmp_path / "s.parquet"
    said = refluence("score", "--distilled", resnet, "--out", out, "--nets", "1", "--threads", "1", "--quiet")
    assert said.code == 0, said.err
    assert len(set(pq.read_table(out).to_pydict()["score"])) > 100
    assert refluence("evaluate", resnet, "--model", "convnet", "--split", "val", *ONE).code == 0
    assert read(resnet / "evaluation.json")["evaluations"][-1]["width"] == 4, "a ConvNet beside a ResNet of width 2"


def test_widths_follow_the_size_of_the_run(refluence, tmp_path):
    words = ("distill", *DIGITS[:4], "--method", "random", *ONE, "--model", "resnet10", "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    model = read(tmp_path / "run" / "config.json")["resolved"]["unit"]["model"]
    assert (model["width"], model["norm"]) == (16, "batch")


def test_a_librarys_network_scores_and_is_kept(refluence, refused, distilled, tmp_path):
    words = ("evaluate", distilled, "--split", "val", *ONE, "--model", SMALL, "--save-model")
    assert refluence(*words).code == 0
    file = distilled / "model.safetensors"
    assert load_file(file)["classifier.weight"].shape == (10, 1024)
    how = ("--curvature", "identity", "--terms", "explicit", "--threads", "1", "--quiet")
    said = refluence("score", "--data", "digits", "--load", file, *how, "--out", tmp_path / "a.parquet")
    assert said.code == 0, said.err
    assert f"{SMALL}, width 1024, batch norm" in said.out, "the file knows its network"
    pets = pictures(tmp_path / "pets", count=12)
    own = ("score", "--data", pets, "--folds", "2", "--epochs", "1", *how)
    said = refluence(*own, "--model", SMALL, "--out", tmp_path / "b.parquet")
    assert said.code == 0, said.err
    told = json.loads(pq.read_schema(tmp_path / "b.parquet").metadata[b"refluence"])
    want = {"name": SMALL, "shape": [3, 8, 8], "classes": 2, "width": 1024, "norm": "batch"}
    assert told["resolved"]["model"] == want
    assert "has its own norm layers" in refused(*own, "--model", SMALL, "--norm", "group", "--out", tmp_path / "c.parquet")


def test_scores_by_a_resnet_with_curvature(refluence, tmp_path):
    pets = pictures(tmp_path / "pets", count=12)
    words = ("score", "--data", pets, "--model", "resnet10", "--width", "2", "--folds", "2", "--epochs", "1", "--threads", "1")
    said = refluence(*words, "--quiet", "--out", tmp_path / "s.parquet")
    assert said.code == 0, said.err
    assert "resnet10, width 2, batch norm" in said.out


def test_a_network_that_only_judges_is_refused_before_a_run_begins(refused, tmp_path):
    words = ("distill", "--data", pictures(tmp_path / "pets", size=(32, 32)), "--ipc", "2", *TINY[:6], "--quiet")
    message = refused(*words, "--model", "torchvision:mobilenet_v3_small", "--out", tmp_path / "run")
    assert "torchvision:mobilenet_v3_small can judge a set, not make one" in message
    assert "dm, idm and ncfm, which match embeddings, need none" in message
    assert not (tmp_path / "run").exists()


def test_a_second_derivative_is_tried_too(monkeypatch):
    given = ModelSpec(SMALL, (3, 2, 2), 2), DC, DC.settings(1, "cpu")
    check_network(*given)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(16, 2))
    monkeypatch.setattr("refluence.condense.requirements.build", lambda *_: net)
    with pytest.raises(InputError, match=r"judge a set, not make one by dc .*derivative for aten::hardsigmoid_backward"):
        check_network(*given)
    net[1] = nn.Tanh()
    check_network(*given)


def test_a_network_with_attention_makes_a_set(refluence, tmp_path):
    words = ("distill", "--data", "digits", "--image-size", "32", "--weights", "influence", "--ipc", "1", "--iterations", "1")
    said = refluence(*words, *ONE[:-1], "--real-batch", "5", "--model", "timm:test_vit", "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert "engine autograd), since layer 'body'" in said.err
