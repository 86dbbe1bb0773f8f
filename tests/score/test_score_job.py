"""Scores as works: stopped after any step and continued to the same bits, in any order of networks; their plans in JSON."""

import copy
import itertools
import json
from dataclasses import replace

import pytest
import torch

from refluence.arm import read_arm
from refluence.compute import Compute
from refluence.condense.dm import METHOD
from refluence.errors import InputError, RunError
from refluence.influence.curvature import Curvature
from refluence.influence.weighting import Weighting
from refluence.jobs.job import BareJob, Job, read_job
from refluence.models import ModelSpec
from refluence.models.custom import trained_spec
from refluence.run import checkpoint
from refluence.run.drive import Driver, drive
from refluence.run.progress import Reporter
from refluence.score import folds_work, instances
from refluence.score.at_set import ScoringSet
from refluence.score.crossfit import score_model
from refluence.score.job import Scoring, Trained
from refluence.score.settings import CrossFit
from refluence.score.train import train_epochs
from refluence.score.wrong_share import wrong_share
from refluence.seeds import streams
from refluence.work import Prepared
from support.tiny_data import split, tiny_dataset

FEW = CrossFit(folds=2, epochs=1, batch=8, curvature=Curvature("ggn", damping=1.0, iterations=2))
WEIGHTS = Weighting("influence", link="sigmoid", sign=-1, bag="all")
CPU = torch.device("cpu")
DRIVER = Driver(CPU, Reporter(quiet=True), 0.0)


@pytest.fixture
def data():
    return split(tiny_dataset())


@pytest.fixture
def spec(data):
    return ModelSpec("convnet1", data.shape, len(data.classes), width=4)


@pytest.fixture
def works(data, spec, monkeypatch):
    """A function that opens a new work of folds, or of a trained network, which reads four rows at a time."""
    monkeypatch.setattr(instances, "CHUNK_PIXELS", 4 * data.shape[1] * data.shape[2])
    net = spec.fresh(torch.Generator().manual_seed(3)).eval()
    plans = {
        "folds": Scoring(FEW, WEIGHTS, nets=2),
        "all": Scoring(replace(FEW, networks="all"), WEIGHTS),
        "trained": Scoring(FEW, WEIGHTS, trained=Trained("digest", net=net)),
        "explicit": Scoring(replace(FEW, terms="explicit"), WEIGHTS, trained=Trained("digest", net=net)),
    }
    return lambda kind: plans[kind].open(data, spec, streams(0), Compute(CPU), Prepared())


def bits(work):
    columns = {name: column.tobytes() for name, column in work.result().artifact.arrays().items()}
    return {**columns, "phi": work.scored().phi.numpy().tobytes(), "wrong_share": work.scored().wrong_share}


@pytest.mark.parametrize("kind", ["folds", "all", "trained", "explicit"])
def test_a_work_stopped_after_any_step_goes_on_to_the_same_bits(works, kind):
    whole = works(kind)
    states = [{name: t.clone() for name, t in whole.state().items()} for _ in whole.steps()]
    assert len(states) == whole.total == whole.step
    assert whole.total >= 3 or kind == "all"
    for steps, state in enumerate(states, 1):
        other = works(kind)
        other.restore(state)
        assert other.step == steps
        assert [event.step for event in other.steps()] == list(range(steps, whole.total))
        assert bits(other) == bits(whole)


@pytest.mark.parametrize("kind", ["folds", "trained"])
def test_the_checkpoint_of_any_run_continues_it(works, kind, tmp_path, monkeypatch):
    def stopped(work, after):
        real = work.steps

        def steps():
            for event in real():
                yield event
                if event.step == after:
                    raise KeyboardInterrupt

        work.steps = steps
        return work

    for after in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            drive(stopped(works(kind), after), tmp_path, "scores", DRIVER)
    work, said = works(kind), list[str]()
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "say", said.append)
    result, costs = drive(work, tmp_path, "scores", Driver(CPU, reporter, 0.0))
    assert said == [f"scores: goes on after 2 of {work.total} steps"]
    whole = works(kind)
    assert list(whole.steps())
    assert bits(work) == bits(whole)
    assert result.card["kind"] == "validation"
    assert costs["seconds"] > 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(whole.total))


@pytest.mark.parametrize(("kind", "terms"), [("folds", "both"), ("trained", "both"), ("explicit", "explicit")])
def test_a_score_less_its_implicit_part_is_the_explicit_one(works, data, spec, kind, terms):
    work = works(kind)
    list(work.steps())
    scored = work.scored()
    plan = replace(work.plan, settings=replace(work.plan.settings, terms="explicit"))
    explicit = plan.open(data, spec, streams(0), Compute(CPU), Prepared())
    list(explicit.steps())
    assert scored.phi.dtype == torch.float64
    assert bool((scored.phi != 0).any()) == (terms == "both")
    torch.testing.assert_close(scored.score - scored.phi, explicit.scored().score, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["folds", "all"])
def test_the_share_of_wrong_labels_is_from_the_networks_that_held_a_row_out(works, data, spec, kind):
    work = works(kind)
    assert work.scored().wrong_share is None
    list(work.steps())
    settings, nets = work.plan.settings, work.plan.nets
    p = torch.zeros(len(data.train), len(data.classes))
    for fold, net in itertools.product(range(settings.folds), range(nets)):
        held, members = ((work.fold_of == fold).nonzero().flatten(), (work.fold_of != fold).nonzero().flatten())

        def rng(purpose, index=0, net=net):
            return streams(0)(f"{purpose}/network {net}" if net else purpose, index)

        model = spec.bare(rng("network", fold))
        assert list(train_epochs(model, data, members, settings, rng, fold, CPU)) == [0]
        p[held] += model.eval()(data.pixels(data.train, held)).detach().softmax(1) / nets
    assert work.scored().wrong_share == pytest.approx(wrong_share(data.train.labels, p), abs=1e-12)
    assert work.result().artifact.wrong_share == work.result().card["wrong_share"] == work.scored().wrong_share


def test_where_nothing_is_held_out_or_kept_no_share_is_known(works, data, spec, monkeypatch):
    trained = works("trained")
    list(trained.steps())
    soft = replace(data, train=replace(data.train, soft=torch.eye(3)[data.train.labels]))
    softly = works("folds").plan.open(soft, spec, streams(0), Compute(CPU), Prepared())
    monkeypatch.setattr(folds_work, "LARGEST", 2 * len(data.train) * len(data.classes) - 1)
    large = works("folds")
    for work in (softly, large):
        list(work.steps())
        assert not any(name.endswith("held_out") for name in work.state())
        work.restore(work.state())
    for work in (trained, softly, large):
        assert work.scored().wrong_share is work.result().artifact.wrong_share is None


def test_the_implicit_part_alone_is_the_whole_score(works, data, spec):
    work = works("folds")
    plan = replace(work.plan, settings=replace(work.plan.settings, terms="implicit", checkpoints=2, epochs=2))
    work = plan.open(data, spec, streams(0), Compute(CPU), Prepared())
    list(work.steps())
    assert torch.equal(work.scored().phi, work.scored().score)


def test_a_checkpoint_of_an_earlier_version_is_refused_in_a_line(works, tmp_path):
    work = works("folds")
    next(work.steps())
    earlier = {name: t for name, t in work.state().items() if not name.endswith(("/phi", "/held_out"))}
    checkpoint.save(tmp_path, earlier, {"seconds": 0.0, "peak": 0})
    with pytest.raises(InputError, match=r"state.safetensors is not a checkpoint of this version \(no '0/phi'\); delete it"):
        drive(works("folds"), tmp_path, "scores", DRIVER)


def test_networks_may_be_made_in_any_order(works):
    one, other = works("folds"), works("folds")
    list(one.steps())
    for number in (2, 0, 3, 1):
        other.found[number] = other.part(number)
    assert bits(other) == bits(one)


def test_a_trained_network_scores_as_in_one_pass(works, data):
    work = works("trained")
    list(work.steps())
    want = score_model(data, copy.deepcopy(work.net), FEW, streams(0))
    found = work.scored().found[0]
    for name in ("positions", "score", "phi", "loss", "suggested"):
        assert torch.equal(getattr(found, name), getattr(want, name)), name
    assert (found.damping, found.iterations, found.accuracy) == (want.damping, want.iterations, want.accuracy)


def test_scores_that_are_not_finite_end_the_run(data, spec):
    net = spec.fresh(torch.Generator().manual_seed(3)).eval()
    net.classifier.bias.data.fill_(torch.inf)
    plan = Scoring(replace(FEW, terms="explicit"), WEIGHTS, trained=Trained("digest", net=net))
    with pytest.raises(RunError, match="scores are not finite"):
        list(plan.open(data, spec, streams(0), Compute(CPU), Prepared()).steps())


@pytest.mark.parametrize(
    "plan",
    [
        Scoring(FEW, WEIGHTS, nets=3),
        Scoring(replace(FEW, curvature=Curvature()), Weighting("influence", tau=float("inf")), trained=Trained("0" * 64)),
        ScoringSet(read_arm("dm+influence:tau=.5"), METHOD, METHOD.settings(1, "cpu"), Weighting("influence"), 2),
    ],
    ids=["folds", "trained", "set"],
)
def test_a_job_without_an_arm_reads_back_to_the_same(plan, spec):
    job = BareJob(3, plan, spec)
    stored = json.loads(json.dumps(job.to_json(), allow_nan=False))
    again = read_job(stored)
    assert again == job
    assert not isinstance(again, Job)
    assert json.loads(json.dumps(again.to_json())) == stored


def test_a_trained_network_that_is_not_handed_over_is_asked_for(data, spec):
    job = read_job(json.loads(json.dumps(BareJob(0, Scoring(FEW, WEIGHTS, trained=Trained("ab" * 32)), spec).to_json())))
    with pytest.raises(InputError, match=r"trained before \(sha256 abababababab\): hand it over again"):
        job.plan.open(data, job.model, streams(0), Compute(CPU), Prepared())


def test_a_trained_network_is_known_by_its_numbers(spec):
    net = spec.fresh(torch.Generator().manual_seed(3))
    first, again = (trained_spec(each, spec.shape, spec.classes) for each in (net, copy.deepcopy(net)))
    assert first.sha256 == again.sha256
    assert first.bare(torch.Generator()) is not net
    net.classifier.bias.data[0] += 1
    assert trained_spec(net, spec.shape, spec.classes).sha256 != first.sha256
