"""Sets measured beside real images: by the same networks for all, written once, and nothing of it where it is not asked for."""

import json
import math

import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import DistilledSet
from refluence.errors import InputError
from refluence.jobs import measuring, quality, source_network
from refluence.jobs.denoisers import SurrogateNeed
from refluence.jobs.job import Job
from refluence.jobs.session import Machine, open_session
from refluence.models import pretrained

pytest.importorskip("ot")
SHORT = {"ipc": 2, "width": 4, "nets": 1, "epochs": 1, "threads": 1}
ASKED = {**SHORT, "quality": True, "feature_network": "convnet1:4"}
ROW = {"influence", "frechet", "coverage", "wasserstein", "redundancy"}


@pytest.fixture(scope="module")
def data():
    return rf.load("digits", rows=200)


@pytest.fixture
def made(monkeypatch):
    """The networks that are trained for measuring."""
    trained = []
    for need in (source_network.TeacherNeed, SurrogateNeed, quality.RealNeed):
        real = need.make

        def make(own, session, folder, real=real):
            trained.append(own.name)
            return real(own, session, folder)

        monkeypatch.setattr(need, "make", make)
    return trained


def stored(folder):
    return json.loads((folder / "quality.json").read_text())


def test_all_sets_are_measured_by_the_same_networks_and_once(tmp_path, data, made, monkeypatch):
    out = tmp_path / "run"
    rows = rf.compare(data, ["random", "herding"], seeds=1, out=out, **ASKED).rows
    assert sorted(made) == ["features", "surrogate", "teacher"], "once for all arms"
    for row in rows:
        found = stored(out / "units" / row["arm"] / "0")
        assert {name: row[name] for name in ROW} == {name: found[name] for name in ROW}
        assert all(math.isfinite(row[name]) for name in ROW)
        assert (found["real"], found["network"], found["own"]) == (len(data.train), "convnet1", 20)
        assert len(found["points"]["at"]) == 20
    assert rows[0]["frechet"] != rows[1]["frechet"]

    def never(*given):
        raise AssertionError("it is read")

    monkeypatch.setattr(quality, "measured", never)
    assert rf.compare(data, ["random", "herding"], seeds=1, out=out, **ASKED).rows == rows


def test_influence_is_measured_at_a_surrogate_that_guides_nothing(data):
    how = rf.distill(data, "random", **ASKED).job.quality
    judges, guides = quality.surrogate_of(how), SurrogateNeed(how.guide)
    assert {**judges.facts, "seed": 0} == guides.facts
    assert judges.facts["seed"] != guides.facts["seed"]
    session = open_session(data, Machine())
    nets = [need.trajectory.work(session).net.state_dict() for need in (judges, guides)]
    assert any(not torch.equal(a, b) for a, b in zip(*(net.values() for net in nets), strict=True))
    stored = how.to_json()
    earlier = {name: value for name, value in stored.items() if name not in ("seed", "threshold")}
    assert quality.surrogate_of(measuring.Measuring.from_json(earlier)).facts == guides.facts


def test_the_threshold_of_coverage_may_be_said(tmp_path, data, capsys):
    asked = {**ASKED, "feature_network": "convnet1:4", "out": tmp_path / "run"}
    run = rf.distill(data, "random", **asked, coverage_threshold=1e9)
    found = stored(tmp_path / "run")
    assert (found["coverage"], found["threshold"], found["measuring"]["threshold"]) == (100.0, 1e9, 1e9)
    assert Job.from_json(json.loads(json.dumps(run.job.to_json()))) == run.job
    said = ["evaluate", str(tmp_path / "run"), "--coverage-threshold", "1e-9"]
    assert main([*said, "--quality", "--threads", "1", "--quiet"]) == 0
    assert (stored(tmp_path / "run")["coverage"], stored(tmp_path / "run")["threshold"]) == (0.0, 1e-9)
    assert main(said) == 2
    assert "it is for --quality" in capsys.readouterr().err
    assert rf.quality(run, data, feature_network="convnet1:4", coverage_threshold=2e9).threshold == 2e9


def test_a_stopped_run_is_measured_before_it_is_judged(tmp_path, data, made, monkeypatch):
    from refluence.jobs import made_sets

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(made_sets, "judge_set", killed)
        with pytest.raises(KeyboardInterrupt):
            rf.distill(data, "random", out=tmp_path / "run", **ASKED)
    before = (tmp_path / "run" / "quality.json").read_bytes()
    rf.distill(data, "random", out=tmp_path / "run", **ASKED)
    assert (tmp_path / "run" / "quality.json").read_bytes() == before
    assert sorted(made) == ["features", "surrogate", "teacher"]


def test_nothing_is_measured_that_nobody_asked_for(tmp_path, data, made):
    run = rf.distill(data, "random", out=tmp_path / "run", **SHORT)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "quality" not in config["resolved"]["unit"]
    assert not (tmp_path / "run" / "quality.json").exists()
    assert not ROW & set(rf.compare(data, ["random"], seeds=1, **SHORT).rows[0])
    assert made == []
    measured = rf.distill(data, "random", out=tmp_path / "measured", **ASKED)
    assert torch.equal(run.set.images, measured.set.images)
    accuracies = [
        json.loads((tmp_path / name / "evaluation.json").read_text())["evaluations"][0]["accuracies"]
        for name in ("run", "measured")
    ]
    assert accuracies[0] == accuracies[1]
    job = measured.job
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert job.quality.real == 2000


def test_a_finished_run_is_measured_by_evaluate(tmp_path, data, capsys):
    folder, asked = tmp_path / "run", ["--feature-network", "convnet1:4", "--threads", "1", "--quiet"]
    rf.distill(data, "random", out=folder, **SHORT)
    before = (folder / "evaluation.json").read_bytes()
    assert main(["evaluate", str(folder), "--quality", *asked]) == 0
    assert "coverage" in capsys.readouterr().out
    assert stored(folder)["network"] == "convnet1"
    assert (folder / "evaluation.json").read_bytes() == before, "no network was judged, the test split not read"
    assert main(["evaluate", str(folder), "--quality", "--resume", *asked]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--quality", "--robust"]) == 2
    assert main(["evaluate", str(folder), *asked]) == 2
    said = capsys.readouterr().err
    assert "leave out --robust" in said
    assert "it is for --quality" in said


def test_what_is_not_written_is_measured_too(data, made):
    first, second = rf.compare(data, ["random"], seeds=2, **ASKED).rows
    assert set(first) >= ROW
    assert first["wasserstein"] != second["wasserstein"]
    assert sorted(made) == ["features", "surrogate", "teacher"], "the session remembers them"


def test_images_are_seen_as_those_of_the_source_are(data):
    session = open_session(data, Machine())
    pixels = torch.rand(20, 1, 8, 8)
    job = rf.distill(data, "random", **ASKED).job
    sets = [
        DistilledSet((pixels - mean) / std, torch.arange(20) % 10, data.classes, (mean,), (std,))
        for mean, std in ((data.mean[0], data.std[0]), (0.5, 0.25))
    ]
    first, second = (quality.measured(job, small, session) for small in sets)
    for name in ("influence", "frechet", "coverage", "wasserstein"):
        assert first[name] == pytest.approx(second[name], rel=1e-3), name
    one = DistilledSet(pixels[:10], torch.arange(10), data.classes, data.mean, data.std)
    assert quality.measured(job, one, session)["redundancy"] is None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"feature_network": "resnet10"}, "it is for the quality of a set"),
        ({"coverage_threshold": 300.0}, "it is for the quality of a set"),
        ({"quality": True, "coverage_threshold": 0.0}, "above 0"),
        ({"quality": True, "feature_network": "resnet11"}, "unknown model .resnet11"),
        ({"quality": True, "feature_network": "pretrained:resnet10"}, "pretrained:torchvision:NAME"),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path, data, asked, words):
    with pytest.raises(InputError, match=words):
        rf.distill(data, "random", out=tmp_path / "run", **SHORT, **asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("asked", [{"quality": True}, {"protocol": ("rded-cpu",)}])
def test_data_that_no_network_can_be_trained_on_are_refused_before_any_work(tmp_path, asked):
    with pytest.raises(InputError, match="trains a network on the source first, and the validation split has 10 instances"):
        rf.distill(rf.load("digits", rows=100), "random", out=tmp_path / "run", **SHORT, **asked)
    assert not (tmp_path / "run").exists()


def test_inception_is_asked_for_with_its_own_weights_and_size(data, monkeypatch):
    """Its weights are not here: what is asked of their loader is."""
    said = []

    def load(*given):
        said.append(given)
        raise InputError("not here")

    monkeypatch.setattr(measuring, "load_teacher", load)
    with pytest.raises(InputError, match="not here"):
        rf.distill(data, "random", **SHORT, quality=True, feature_network="pretrained:torchvision:inception_v3")
    assert said == [("pretrained:299", "torchvision:inception_v3", data.shape, data.classes)]
    assert pretrained.PRETRAINED == "pretrained"
