"""Labels of a few instances and pseudo-labels of the others: a step by hand, bits after a stop, what is never read."""

import json
import re
from dataclasses import fields, replace

import pytest
import torch

from refluence.api import compare
from refluence.arm import read_arm
from refluence.cli import main
from refluence.compute import Compute
from refluence.data import ScoreTable, SourceOptions, load
from refluence.data.dataset import Dataset, Split
from refluence.errors import InputError
from refluence.evaluate.relations import CONTROL, EQUAL_SECONDS, RANDOM, UNIFORM
from refluence.evaluate.students import OF_SEMI, relation
from refluence.files import read_json
from refluence.influence.links import sigmoid_weights, standardise
from refluence.influence.weighting import Weighting
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import methods, parse_arm, with_controls
from refluence.jobs.job import read_job
from refluence.models import ModelSpec
from refluence.options import TransferOptions
from refluence.randomness import drawn_so_far
from refluence.seeds import streams
from refluence.transfer.arms import weighting_of
from refluence.transfer.batches import augmented
from refluence.transfer.check import check_unlabelled
from refluence.transfer.job import Loaded, Teacher, Transferring, settings_for
from refluence.transfer.semi import METHOD
from refluence.transfer.semi_course import SemiCourse, Stream
from refluence.transfer.semi_losses import pseudo
from refluence.transfer.semi_settings import CPU, PAPER, SemiSettings
from refluence.transfer.semi_views import cut_out, operations, photometric, randomly, views
from refluence.transfer.semi_work import SemiWork
from refluence.transfer.settings import Settings
from support.students import asked_again
from support.tiny_data import split, tiny_dataset

FEW = SemiSettings(batch=6, lr=0.1, steps=5, mu=2, ramp=4, wait=1, tune=4, tune_batch=8, threshold=0.34, average=0.5)
DEVICE = torch.device("cpu")


@pytest.fixture
def data():
    whole = split(tiny_dataset((23, 14, 19), shape=(1, 8, 8)))
    known = torch.arange(len(whole.train)) % 3 == 0
    others = whole.train.take((~known).nonzero().flatten())
    hidden = replace(others, labels=torch.full_like(others.labels, -1), stored=others.labels)
    return replace(whole, train=whole.train.take(known.nonzero().flatten()), unlabelled=hidden)


def work_of(data, arm="semi", settings=FEW, seed=0):
    said = read_arm(arm)
    spec = ModelSpec("convnet1", data.shape, len(data.classes), width=4)
    plan = Transferring(METHOD, said, settings, weighting_of(said, METHOD))
    rng = streams(seed)
    return SemiWork(plan, data, spec, rng, Compute(), spec.bare(rng("teacher-network", 0)))


def bits(work):
    nets = {"student": work.artifact().net, "teacher": work.teacher}
    return {f"{who}.{name}": t.detach().clone() for who, net in nets.items() for name, t in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def done(work):
    return work, list(work.steps())


@pytest.mark.parametrize("arm", ["semi", "semi+influence", "semi+shuffled", "semi+influence:bag=batch,memory=.5", "semi+loss"])
def test_a_work_stopped_after_any_block_goes_on_to_the_same_bits(data, arm, monkeypatch):
    monkeypatch.setattr("refluence.transfer.semi_work.BLOCK", 2)
    whole, states, events = work_of(data, arm), [], []
    for event in whole.steps():
        states.append({name: t.clone() for name, t in whole.state().items()})
        events.append(event)
    assert len(states) == whole.total == whole.step == 5
    for steps, state in enumerate(states, 1):
        assert all(bool(t.isfinite().all()) for t in state.values())
        other = work_of(data, arm)
        other.restore(state)
        assert list(other.steps()) == events[steps:]
        assert same(bits(other), bits(whole))
        assert other.result().card == whole.result().card


def test_weights_change_both_networks_and_shuffled_ones_otherwise(data):
    found = [bits(done(work_of(data, arm))[0]) for arm in ("semi", "semi+influence", "semi+shuffled")]
    for who in ("student", "teacher"):
        parts = [torch.cat([t.flatten() for name, t in each.items() if name.startswith(who)]) for each in found]
        assert not any(torch.equal(a, b) for a, b in ((parts[0], parts[1]), (parts[0], parts[2]), (parts[1], parts[2])))
    work, events = done(work_of(data, "semi+influence"))
    assert events[0].ess < 1
    assert work.result().card["weights"].keys() == {"clean", "noisy", "auc"}


def test_labels_that_are_not_known_are_never_read(data):
    poison = replace(
        data.unlabelled, labels=torch.full_like(data.unlabelled.labels, 99), stored=torch.full_like(data.unlabelled.stored, 7)
    )
    for arm in ("semi", "semi+influence"):
        one, other, bare = (
            done(work_of(replace(data, unlabelled=part), arm))[0]
            for part in (data.unlabelled, poison, replace(data.unlabelled, stored=None))
        )
        assert same(bits(one), bits(other))
        assert same(bits(one), bits(bare))
        assert one.result().card["pseudo"]["accuracy"] > other.result().card["pseudo"]["accuracy"] == 0
        assert bare.result().card["pseudo"]["accuracy"] is None


def test_global_randomness_is_left_alone(data):
    before = drawn_so_far()
    done(work_of(data, "semi+shuffled"))
    assert drawn_so_far() == before


def literal_step(data, work, settings, weighted):
    """Losses of the first step in float64, term by term, and what a step of plain descent makes of both networks."""
    teacher, student = work.teacher, work.student
    rng = streams(0)
    order = torch.randperm(len(data.unlabelled), generator=rng("unlabelled", 0))[: settings.batch * settings.mu]
    known = torch.randperm(len(data.train), generator=rng("labelled", 0))[: settings.batch]
    generator = rng("views", 0)
    known_operations = operations()
    weak, strong = views(
        data, data.unlabelled, order, settings.operations, settings.magnitude, generator, DEVICE, known_operations
    )
    plain, y = data.pixels(data.train, known), data.train.labels[known]

    x = augmented(plain, generator)
    p = [torch.softmax(teacher(one[None])[0] / settings.temperature, 0).detach() for one in weak]
    sure = [float(each.max()) >= settings.threshold for each in p]
    labels = [int(each.argmax()) for each in p]
    assert 5 <= sum(sure) < len(sure)

    def smooth(z, label):
        log, classes = z.log_softmax(0), len(z)
        return -(1 - settings.smoothing) * log[label] - settings.smoothing / classes * log.sum()

    omega = [1.0] * len(order)
    if weighted:
        risk = sum(-student(one[None])[0].log_softmax(0)[c] for one, c in zip(plain, y.tolist(), strict=True)) / len(y)
        v = torch.autograd.grad(risk, list(student.parameters()))
        phi = []
        for one, label, counts in zip(strong, labels, sure, strict=True):
            if counts:
                g = torch.autograd.grad(smooth(student(one[None])[0], label), list(student.parameters()))
                phi.append(-sum((a * b).sum() for a, b in zip(v, g, strict=True)))
        link = sigmoid_weights(standardise(torch.stack(phi), "mad"), 1.0, -1)
        link = iter((link / link.mean()).tolist())
        omega = [next(link) if counts else 1.0 for counts in sure]
    share = settings.lambda_u / settings.ramp
    of_teacher = sum(smooth(teacher(one[None])[0], c) for one, c in zip(x, y.tolist(), strict=True)) / len(y)
    of_student = 0.0
    for one, soft, label, counts, w in zip(strong, p, labels, sure, omega, strict=True):
        if counts:
            log = teacher(one[None])[0].log_softmax(0)
            of_teacher = of_teacher + (share * -(soft * log).sum() - w * log[label]) / len(order)
            of_student = of_student + w * smooth(student(one[None])[0], label) / len(order)
    found = []
    for loss, net in ((of_teacher, teacher), (of_student, student)):
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        found.append((loss.item(), [(q - settings.lr * g).detach() for q, g in zip(net.parameters(), gradients, strict=True)]))
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_that_of_the_equations_in_float64(data, weighted, monkeypatch):
    pixels = Dataset.pixels
    monkeypatch.setattr(Dataset, "pixels", lambda *given: pixels(*given).double())
    settings = FEW.with_(
        steps=1, wait=0, tune=0, momentum=0.0, weight_decay=0.0, schedule="constant", average=0.0, threshold=0.495
    )
    work = work_of(data, "semi+influence" if weighted else "semi", settings)
    for net in (work.teacher, work.student):
        net.double()
        with torch.no_grad():
            for q in net.parameters():
                q.mul_(1.5)
    work.average.hidden = [h.double() for h in work.average.hidden]
    (t_loss, t_next), (s_loss, s_next) = literal_step(data, work, settings, weighted)
    (event,) = work.steps()
    assert event.teacher_loss == pytest.approx(t_loss, rel=1e-7 if weighted else 1e-10)
    assert event.loss == pytest.approx(s_loss, rel=1e-7)  # weights are handed over in float32
    for net, after in ((work.teacher, t_next), (work.student, s_next)):
        for q, wanted in zip(net.parameters(), after, strict=True):
            torch.testing.assert_close(q, wanted, rtol=1e-6, atol=1e-8)


def test_what_is_less_sure_than_the_threshold_is_no_pseudo_label(data):
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.9, 0.0]])
    found = pseudo(logits, 1.0, 0.5)
    assert found.sure.tolist() == [True, False, True]
    assert pseudo(logits, 0.1, 0.5).sure.tolist() == [True, True, True]
    assert found.labels.tolist() == [0, 0, 1]
    none = work_of(data, settings=FEW.with_(threshold=0.999, weight_decay=0.0, tune=0))
    before = {name: t.clone() for name, t in none.student.state_dict().items()}
    _, (event,) = done(none)
    assert event.sure == 0
    assert same(before, dict(none.student.state_dict()))


def test_the_student_waits_and_is_tuned_on_labelled_instances(data):
    waiting = work_of(data, settings=FEW.with_(steps=4, wait=3, tune=0))
    before = {name: t.clone() for name, t in waiting.student.state_dict().items()}
    taught, course = waiting.optimisers[1], waiting.course
    assert [course.student_rate(step) > 0 for step in range(3, 4)] == [True]
    done(waiting)
    assert not same(before, dict(waiting.student.state_dict()))
    assert all(int(s["momentum_buffer"].numel() > 0) for s in taught.state.values())
    assert waiting.average.steps == 1
    tuned, events = done(work_of(data))
    assert [each.tuned for each in events] == [False, True]
    assert events[1].loss < events[0].teacher_loss * 5
    assert tuned.optimisers[1].param_groups[0]["lr"] == FEW.tune_lr
    assert tuned.optimisers[1].param_groups[0]["weight_decay"] == 0


def test_every_instance_is_seen_once_a_pass():
    stream = Stream("x", 10, 3, streams(0))
    for number in range(3):
        seen = torch.cat([stream.batch(3 * number + part) for part in range(3)])
        assert len(seen.unique()) == 9
    again = Stream("x", 10, 3, streams(0))
    assert torch.equal(again.batch(5), stream.batch(5))
    assert sorted(Stream("x", 4, 9, streams(0)).batch(7).tolist()) == [0, 1, 2, 3]


def test_rates_rise_and_fall():
    course = SemiCourse(PAPER)
    assert course.teacher_rate(0) == pytest.approx(0.05 / 5000)
    assert course.teacher_rate(4999) == pytest.approx(0.05)
    assert course.teacher_rate(299_999) < 1e-8
    assert course.student_rate(3000) == course.teacher_rate(0)
    assert (course.consistency(0), course.consistency(4999), course.consistency(9999)) == (8 / 5000, 8, 8)
    assert course.total == 3000 + 50
    assert course.block(2999) == range(299_900, 300_000)
    assert course.block(3000) == range(100)


@pytest.mark.parametrize("channels", [1, 3])
def test_strong_views_are_other_pixels_of_the_same_kind(channels):
    whole = tiny_dataset((9, 9), shape=(channels, 8, 8))
    images = whole.train.images
    one, again = (randomly(images, 2, 16, torch.Generator().manual_seed(3), operations()) for _ in range(2))
    assert torch.equal(one, again)
    assert one.dtype == torch.uint8
    assert one.shape == images.shape
    changed = (one != images).flatten(1).any(1)
    assert 9 <= int(changed.sum()) <= 18
    assert torch.equal(randomly(images, 0, 16, torch.Generator(), operations()), images)
    for name, operation in operations().items():
        for strength in (-1.0, 0.5):
            found = operation(images, strength)
            assert found.shape == images.shape, name
            assert found.dtype == images.dtype, name
    floats = randomly(images.float() / 255, 2, 30, torch.Generator().manual_seed(3), operations())
    assert bool(floats.isfinite().all())
    x = torch.ones(5, channels, 8, 8)
    holes = (cut_out(x, torch.Generator().manual_seed(0)) == 0).flatten(1).sum(1) / channels
    assert bool((holes > 0).all())
    assert int(holes.max()) <= 16


def test_operations_on_light_are_for_pictures_alone():
    def split_of(images):
        return Split(images, torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images)))

    assert photometric(split_of(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)))
    assert photometric(split_of(torch.rand(2, 1, 8, 8)))
    assert not photometric(split_of(torch.randn(20, 1, 8, 8)))
    assert not photometric(split_of(torch.rand(2, 2, 8, 8)))
    assert "equalise" not in operations(False)


def test_what_cannot_be_learned_from_is_one_line(data):
    plan = work_of(data).plan
    with pytest.raises(InputError, match=r"^semi learns from training instances without labels too, .*: labelled=100 takes"):
        check_unlabelled(plan, replace(data, unlabelled=None))
    loaded = Teacher(ModelSpec("convnet1", data.shape, 3, width=4), Settings(), Loaded("ab"))
    with pytest.raises(InputError, match="semi trains its teacher beside the student: leave out load_teacher"):
        check_unlabelled(replace(plan, teacher=loaded), data)
    with pytest.raises(InputError, match="wait=5: the student waits for fewer steps than there are, 5"):
        FEW.with_(wait=5)
    for name, arm in (("epochs=3", "semi:epochs=3"), ("teacher_lr=1", "semi+influence:teacher_lr=1"), ("mu=2", "kd:mu=2")):
        with pytest.raises(InputError, match=f"arm '{re.escape(arm)}': unknown option '{name}'"):
            parse_arm(arm)
    with pytest.raises(InputError, match="semi:mu=0': mu=0: it must be a whole number, at least 1"):
        parse_arm("semi:mu=0")


def test_shorter_runs_are_of_the_same_kind():
    assert (PAPER.lasting(3).steps, PAPER.lasting(3).tune, PAPER.lasting(3).wait) == (3, 3, 0)
    assert (CPU.lasting(1000).wait, CPU.lasting(4000).wait, CPU.lasting(4000).tune) == (150, 300, 200)
    assert CPU.length == 2000
    for options, wait in (("steps=300", 45), ("steps=1", 0), ("steps=4000", 300), ("steps=300,wait=7", 7), ("mu=3", 300)):
        arm = parse_arm(f"semi:{options}")
        assert settings_for(arm, TransferOptions(), methods()["semi"], network="convnet", text=False).wait == wait


def test_numbers_of_this_mechanism_are_named_where_arms_are_compared():
    assert set(OF_SEMI) == {f.name for f in fields(SemiSettings)} - {f.name for f in fields(Settings)}
    arms = [
        read_arm(text) for text in ("scratch:batch=32,steps=2000", "semi:mu=3", "semi+influence:mu=3", "semi+shuffled:mu=3")
    ]
    assert relation(arms[1], arms[0]) == RANDOM
    assert relation(arms[2], arms[1]) == UNIFORM
    assert relation(arms[2], arms[3]) == CONTROL
    assert relation(arms[2], read_arm("semi")) == relation(arms[1], read_arm("kd")) == ""
    assert [arm.name for arm in with_controls(["semi+influence:mu=3"], True)] == [arm.name for arm in arms]


def test_a_student_of_few_labels_is_a_job_like_others(tmp_path):
    few = "steps=4,wait=1,ramp=2,tune=2,batch=8,threshold=.05"
    flags = ["--data", "digits", "--labelled", "60", "--mechanism", f"semi+influence:{few}", "--student", "convnet1:4"]
    assert main(["transfer", *flags, "--teacher", "convnet1:8", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    card = read_json(tmp_path / "run" / "student" / "card.json")
    assert card["teacher"]["parameters"] > card["parameters"]
    assert card["labelled"] == 60
    assert (tmp_path / "run" / "teacher" / "model.safetensors").exists()
    job = read_job(read_json(tmp_path / "run" / "config.json")["resolved"]["unit"])
    assert isinstance(job.plan.settings, SemiSettings)
    assert job.plan.settings.steps == job.plan.iterations == 4
    assert read_job(json.loads(json.dumps(job.to_json()))) == job
    again = read_json(tmp_path / "run" / "evaluation.json")
    table = ScoreTable.load(tmp_path / "run")
    known = load("digits", SourceOptions(labelled=60)).unlabelled
    assert set(table.index.tolist()) <= set(known.rows.tolist()), "those without labels are weighed"
    assert 0 < len(table) == int((table.visits > 0).sum()) <= len(known)
    truth = dict(zip(known.rows.tolist(), known.stored.tolist(), strict=True))
    assert table.stored.tolist() == [truth[row] for row in table.index.tolist()]
    assert bool((table.label >= 0).all()), "pseudo-labels"
    assert (tmp_path / "run" / "scores_images.safetensors").exists()
    assert main(["repeat", str(tmp_path / "run")]) == 0
    assert read_json(tmp_path / "run-repeat" / "evaluation.json") == again


def test_an_arm_of_equal_seconds_has_more_steps(tmp_path, monkeypatch):
    real = equal_seconds.decide
    slow = lambda made, rows: real(made, [{**row, "seconds": 3.0 if "+" in row["arm"] else 1.0} for row in rows])  # noqa: E731
    monkeypatch.setattr(equal_seconds, "decide", slow)
    monkeypatch.setattr("refluence.report.write", lambda folder: (folder / "report.html").touch())
    few = "steps=4,wait=1,ramp=2,tune=2,batch=8"
    arms = [f"semi:{few}", f"semi+influence:{few}"]
    data = load("digits", SourceOptions(labelled=60))
    found = compare(
        data,
        arms,
        seeds=1,
        controls=False,
        equal_seconds=True,
        out=tmp_path / "run",
        student="convnet1:4",
        teacher="convnet1:4",
    )
    control = f"semi:equal_seconds=influence,{few}"
    assert [row["arm"] for row in found.rows] == [*arms, control]
    unit = read_json(next((tmp_path / "run" / "units").glob("semi@equal_seconds*/0/student/card.json")))
    assert unit["steps"] == 12
    assert any("has 12 steps" in note for note in read_json(tmp_path / "run" / "results.json")["notes"])
    config = read_json(next((tmp_path / "run" / "units").glob("semi@equal_seconds*/0/config.json")))
    again, made = asked_again(config, data)
    assert again == made
    assert made["transfer"]["steps"] == 12
    assert relation(read_arm(arms[1]), read_arm(control)) == EQUAL_SECONDS


def test_uniform_weights_are_no_weights(data):
    work = work_of(data)
    assert work.weights is None
    assert work.plan.weighting == Weighting()
