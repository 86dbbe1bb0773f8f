"""Students as jobs: made, judged, compared, repeated, continued where they were stopped, and refused before any work."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import refluence as rf
from refluence.cli import main
from refluence.errors import InputError
from refluence.evaluate.relations import RANDOM
from refluence.evaluate.students import relation
from refluence.files import read_json
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import students_beside, with_controls
from refluence.jobs.comparing import Comparing
from refluence.jobs.job import StudentJob, read_arm_job
from refluence.jobs.repeat import repeat_run
from refluence.jobs.teachers import TeacherNeed
from refluence.models import ModelSpec
from refluence.options import TransferOptions
from refluence.transfer.artifact import Student
from refluence.transfer.batches import Course
from refluence.transfer.halves import halves
from refluence.transfer.work import TransferWork
from support.students import asked_again

SHORT = {"teacher": "convnet1:6", "student": "convnet1:4", "epochs": 2, "threads": 1}
WORDS = ["transfer", "--data", "digits", "--rows", "300", "--val-fraction", ".25", "--teacher", "convnet1:6", "--student"]
WORDS += ["convnet1:4", "--epochs", "2", "--threads", "1", "--quiet"]
ARMS = ["scratch", "kd:temperature=2", "kd+loss", "kd+adapt", "student:curvature=ggn", "teacher", "joint:teacher_lr=.01"]


@pytest.fixture(scope="module")
def data():
    return rf.load("digits", rows=300, noise="symmetric:.2", val_fraction=0.25)


def short(**options):
    return TransferOptions(**{k: v for k, v in {**SHORT, **options}.items() if k != "threads"})


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("size", ["cpu", "paper"])
def test_json_reads_back_to_the_same_job(data, arm, size):
    (job,) = Comparing(methods=(arm,), transfer=short(size=size), seeds=1, controls=False).jobs(data)
    stored = json.loads(json.dumps(job.to_json(), allow_nan=False))
    assert read_arm_job(stored) == job == pickle.loads(pickle.dumps(job))
    assert isinstance(job, StudentJob)
    assert json.loads(json.dumps(StudentJob.from_json(stored).to_json())) == stored


def test_at_size_paper_each_network_learns_at_its_rate(data):
    """The CRD protocol: .01 for MobileNetV2 and ShuffleNets, .05 for the others."""
    for teacher, student, rates in (
        ("resnet32x4", "mobilenetv2", (0.05, 0.01)),
        ("shufflenetv2", "resnet8x4", (0.01, 0.05)),
    ):
        for arm in ("kd", "kd:loss=dkd"):
            asked = TransferOptions(size="paper", teacher=teacher, student=student)
            (job,) = Comparing(methods=(arm,), transfer=asked, seeds=1, controls=False).jobs(data)
            assert (job.plan.teacher.settings.lr, job.plan.settings.lr) == rates
            assert job.plan.settings.epochs == job.plan.teacher.settings.epochs == 240
    asked = TransferOptions(size="paper", teacher="resnet32x4", student="mobilenetv2", lr=0.02)
    (job,) = Comparing(methods=("kd",), transfer=asked, seeds=1, controls=False).jobs(data)
    assert (job.plan.teacher.settings.lr, job.plan.settings.lr) == (0.02, 0.02)


def test_a_mechanism_by_influence_brings_what_it_is_compared_with():
    arms = [arm.name for arm in with_controls(["joint:teacher_lr=.1,epochs=2,temperature=3"], True)]
    own = "teacher_lr=.1,epochs=2,temperature=3"
    assert arms == ["scratch:epochs=2", "kd:epochs=2,temperature=3", f"joint:{own}", f"joint+shuffled:{own}"]
    assert [arm.name for arm in with_controls(["kd", "kd+loss"], True)] == ["kd", "kd+loss"]
    assert [arm.name for arm in with_controls(["joint"], False)] == ["joint"]


@pytest.mark.parametrize(
    ("arm", "arms"),
    [
        ("kd", ["scratch", "kd"]),
        ("kd+loss:epochs=2", ["scratch:epochs=2", "kd:epochs=2", "kd+loss:epochs=2"]),
        ("kd:also=validation", ["scratch", "kd", "kd:also=validation"]),
        ("student:tau=2", ["scratch", "kd", "student:tau=2", "student+shuffled:tau=2"]),
        ("scratch", ["scratch"]),
        ("semi", ["scratch:batch=32,steps=2000", "semi"]),
        ("semi+influence", ["scratch:batch=32,steps=2000", "semi", "semi+influence", "semi+shuffled"]),
        (
            "semi+loss:lr=.1,steps=900",
            ["scratch:lr=.1,batch=32,steps=900", "semi:lr=.1,steps=900", "semi+loss:lr=.1,steps=900"],
        ),
    ],
)
def test_transfer_over_seeds_compares_with_the_student_alone_and_plain_distillation(arm, arms):
    assert [each.name for each in with_controls(students_beside(arm), True)] == arms


def test_the_student_alone_beside_pseudo_labels_takes_as_many_updates():
    few = rf.load("digits", labelled=100)
    for size, options, batch, steps in (
        ("cpu", "", 32, 2000),
        ("cpu", ":batch=16,steps=400,wait=9", 16, 400),
        ("paper", "", 100, 300_000),
    ):
        asked = short(size=size, epochs=None)
        arms = students_beside(f"semi+influence{options}", asked)
        alone, semi, *_ = Comparing(methods=arms, transfer=asked, seeds=1).jobs(few)
        course = Course(len(few.train), alone.plan.settings)
        assert (course.size, semi.plan.settings.steps) == (batch, steps)
        assert steps <= course.total < steps + course.per_epoch
        assert relation(semi.arm, alone.arm) == RANDOM
        assert alone.plan.settings.lr == (0.2 if size == "cpu" else 0.05), "its own rate"


@pytest.mark.parametrize(
    ("asked", "options", "stands"),
    [
        ("scratch:batch=32,epochs=667", {}, True),
        ("scratch", {"epochs": 667, "batch": 32}, True),
        ("scratch:steps=2000", {}, True),
        ("scratch", {}, False),
        ("scratch:batch=16,steps=2000", {}, False),
        ("scratch:batch=32,steps=900", {}, False),
    ],
)
def test_a_student_alone_that_is_asked_for_stands_beside_pseudo_labels_where_it_is_as_long(asked, options, stands):
    semi = ["semi", "semi+influence", "semi+shuffled"]
    few, own = rf.load("digits", labelled=100), short(**{"epochs": None, **options})
    jobs = Comparing(methods=(asked, "semi+influence"), transfer=own, seeds=2).jobs(few)
    brought = "scratch:batch=32,steps=2000"
    names = [asked, *([] if stands else [brought]), *semi]
    assert [(job.arm.name, job.seed) for job in jobs] == [(name, seed) for seed in (0, 1) for name in names]
    assert [arm.name for arm in with_controls([asked, "semi+influence"], True)] == [asked, brought, *semi]


def test_one_of_two_ways_to_ask_for_a_student_alone_is_refused():
    few = rf.load("digits", labelled=100)
    with pytest.raises(InputError, match="are the same: give one of them"):
        Comparing(methods=("scratch:batch=32,epochs=667", "scratch:batch=32,steps=2000"), transfer=short()).jobs(few)


def test_steps_may_say_how_long_a_student_learns(data):
    jobs = Comparing(methods=("kd:steps=20", "kd:also=validation,steps=20"), transfer=short(), seeds=1, controls=False).jobs(
        data
    )
    counts = [len(data.train), len(data.train) + len(halves(data.val)[0])]
    for job, count in zip(jobs, counts, strict=True):
        course = Course(count, job.plan.settings)
        assert 20 <= course.total < 20 + course.per_epoch
    with pytest.raises(InputError, match="epochs and steps both say how long it is"):
        with_controls(["kd:epochs=2,steps=20"], False)


def test_arms_that_mean_nothing_are_refused():
    for arm, said in (
        ("kd:curvature=ggn", "no instance is weighted"),
        ("student:teacher_lr=.1", "the teacher does not learn"),
        ("scratch:temperature=2", "there is no teacher"),
        ("scratch+influence", "kd takes them"),
        ("joint+influence", "leave out +influence"),
        ("kd+pruned", "weigh training instances"),
        ("kd:image_lr=1", "unknown option"),
    ):
        with pytest.raises(InputError, match=said.replace("+", r"\+")):
            with_controls([arm], False)
    with pytest.raises(InputError, match="students are compared with students, sets with sets"):
        Comparing(methods=("kd", "random"), transfer=short()).arms()


@pytest.mark.parametrize(
    ("arms", "options", "said"),
    [
        (("kd",), {"curvature": "ggn"}, "curvature='ggn' means nothing for kd: no instance is weighted"),
        (("kd", "student"), {"teacher_gradient": "influence"}, "means nothing for kd, student: the teacher does not learn"),
        (("scratch",), {"loss": "dkd"}, "loss='dkd' means nothing for scratch: there is no teacher"),
        (("semi",), {"loss": "mse"}, "loss='mse' means nothing for semi: semi has numbers of its own"),
        (("semi",), {"epochs": 5}, "epochs=5 means nothing for semi: steps say how long it is, as in semi:steps=1000"),
        (("scratch:steps=9", "semi"), {"epochs": 5}, "means nothing for scratch:steps=9, semi: steps say how long it is"),
        (
            ("kd:steps=9",),
            {"epochs": 5, "teacher_epochs": 2},
            "epochs=5 means nothing for kd:steps=9: steps say",
        ),
        (("scratch", "semi"), {"teacher_epochs": 5}, "means nothing for scratch, semi: no teacher is trained first"),
    ],
)
def test_numbers_that_no_arm_reads_are_refused(arms, options, said):
    with pytest.raises(InputError, match=said):
        Comparing(methods=arms, transfer=TransferOptions(teacher="convnet1:6", **options), controls=False).arms()


def test_epochs_that_the_teacher_alone_reads_are_not_refused():
    Comparing(methods=("kd:steps=9",), transfer=TransferOptions(teacher="convnet1:6", epochs=5), controls=False).arms()


def test_a_student_by_dkd_has_a_rate_at_which_its_larger_loss_does_not_collapse(data):
    def rates(arms, **options):
        asked = Comparing(methods=arms, transfer=short(**options), seeds=1, controls=False)
        return [(job.plan.settings.lr, job.plan.teacher and job.plan.teacher.settings.lr) for job in asked.jobs(data)]

    assert rates(("scratch", "kd", "kd:loss=dkd", "kd:loss=dkd,lr=.1")) == [(0.2, None), (0.2, 0.2), (0.02, 0.2), (0.1, 0.2)]
    assert rates(("scratch", "student"), loss="dkd") == [(0.2, None), (0.02, 0.2)]
    assert rates(("kd",), loss="dkd", lr=0.3) == [(0.3, 0.3)]


def test_imitation_by_dkd_rises_at_size_paper(data):
    def onsets(*arms, **options):
        jobs = Comparing(methods=arms, transfer=short(**options), seeds=1, controls=False).jobs(data)
        return [job.plan.settings.onset for job in jobs]

    assert onsets("scratch", "kd", "kd:loss=dkd", "kd:loss=dkd,onset=3", size="paper") == [0, 0, 20, 3]
    assert onsets("kd:loss=dkd", size="cpu") == [0]


def test_numbers_that_one_arm_reads_are_taken():
    for arms, options in ((("kd", "student"), {"curvature": "ggn"}), (("semi", "kd"), {"loss": "dkd"})):
        assert Comparing(methods=arms, transfer=TransferOptions(**options), controls=False).arms()


def test_a_comparison_shares_one_teacher_a_seed_and_says_what_each_student_is(tmp_path, data):
    found = rf.compare(data, ["student"], seeds=2, out=tmp_path / "run", **SHORT)
    arms = ["scratch", "kd", "student", "student+shuffled"]
    assert [(row["arm"], row["seed"]) for row in found.rows] == [(arm, seed) for seed in (0, 1) for arm in arms]
    teachers = sorted(place.name for place in (tmp_path / "run" / "shared").iterdir() if place.is_dir())
    assert len(teachers) == 2
    for row in found.rows:
        assert row["nets"] == [row["accuracy"]]
        assert row["worst_class"] <= row["accuracy"]
        assert row["parameters"] == 698
        assert (row.get("teacher_accuracy") is None) == (row["arm"] == "scratch")
        assert (row.get("auc") is None) == (row["arm"] in ("scratch", "kd"))
        assert {"noisy_weight", "clean_weight"} <= row.keys() or row["arm"] in ("scratch", "kd")
        assert (row["ess"] < 1) == (row["arm"] not in ("scratch", "kd")) or row["ess"] == 1
    folder = tmp_path / "run" / "units" / "student" / "1"
    names = {path.name for path in (folder / "student").iterdir() if not path.name.startswith(".")}
    assert names == {"model.safetensors", "card.json", "README.md"}
    card = json.loads((folder / "student" / "card.json").read_text())
    assert (card["test_uses"], card["classes"], card["train"]) == (1, list("0123456789"), len(data.train))
    run = rf.StudentRun.load(folder)
    assert (run.accuracy, run.student.parameters) == (found.rows[6]["accuracy"], 698)
    assert len(run.scores) == len(data.train)
    again = rf.compare(data, ["student"], seeds=2, out=tmp_path / "run", **SHORT)
    assert (again.rows, again.verdict) == (found.rows, found.verdict)


@pytest.mark.parametrize("length", ["epochs=1", "steps=6"])
def test_each_unit_records_the_flags_that_make_it_by_itself(tmp_path, data, monkeypatch, length):
    real = equal_seconds.decide
    slow = lambda made, rows: real(made, [{**row, "seconds": 3.0 if "student" in row["arm"] else 1.0} for row in rows])  # noqa: E731
    monkeypatch.setattr(equal_seconds, "decide", slow)
    monkeypatch.setattr("refluence.report.write", lambda folder: (folder / "report.html").touch())
    arms = [f"scratch:{length}", f"kd:{length}", f"student:{length}"]
    options = {**SHORT, "alpha": 0.3}
    rf.compare(data, arms, seeds=1, controls=False, equal_seconds=True, out=tmp_path / "run", **options)
    units = {place.parent.parent.name: read_json(place) for place in (tmp_path / "run" / "units").glob("*/0/config.json")}
    assert len(units) == 4
    for name, config in units.items():
        again, made = asked_again(config, data)
        if name.startswith("scratch"):  # which does not read it: it is not asked of it alone, where it would be refused
            assert (again["transfer"].pop("alpha"), made["transfer"].pop("alpha")) == (0.1, 0.3)
        assert again == made, name
        assert made["transfer"]["epochs"] == (3 if "equal_seconds" in name else 1)


def test_the_same_student_comes_from_python_the_command_line_and_again(tmp_path, capsys):
    assert main([*WORDS, "--mechanism", "joint", "--out", str(tmp_path / "run")]) == 0
    assert "% test accuracy, its teacher" in capsys.readouterr().out
    run = rf.StudentRun.load(tmp_path / "run")
    source = rf.load("digits", rows=300, val_fraction=0.25)
    there = rf.transfer(source, "joint", **SHORT)
    for name, tensor in there.student.state().items():
        assert torch.equal(tensor, run.student.state()[name]), name
    assert (there.accuracy, there.card["gain_watching"]) == (run.accuracy, run.card["gain_watching"])
    assert torch.equal(there.scores.weight, run.scores.weight)
    again = repeat_run(tmp_path / "run", tmp_path / "again")
    assert (again.what, again.names, again.differing) == ("student", (".",), ())
    assert main([*WORDS, "--mechanism", "joint", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out
    for where in ("student", "teacher"):
        assert (tmp_path / "run" / where / "model.safetensors").exists()


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_run_that_is_stopped_in_its_teacher_or_its_student_continues_to_the_same_bits(tmp_path, data, monkeypatch, stop):
    options = {**SHORT, "epochs": 3, "checkpoint_seconds": 0}
    whole = rf.transfer(data, "student", out=tmp_path / "whole", **options)
    block, done = TransferWork._block, []

    def killed(work, steps):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(work)
        return block(work, steps)

    monkeypatch.setattr(TransferWork, "_block", killed)
    with pytest.raises(KeyboardInterrupt):
        rf.transfer(data, "student", out=tmp_path / "part", **options)
    monkeypatch.setattr(TransferWork, "_block", block)
    run = rf.transfer(data, "student", out=tmp_path / "part", **options)
    for name, tensor in whole.student.state().items():
        assert torch.equal(tensor, run.student.state()[name]), name
    assert run.accuracy == whole.accuracy
    metrics = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "part")]
    assert len(metrics[0]) == len(metrics[1])


def test_a_student_is_judged_again_and_its_weights_can_score(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main([*WORDS, "--mechanism", "kd", "--out", out]) == 0
    assert main(["evaluate", out, "--split", "val", "--quiet"]) == 0
    assert "val accuracy on digits, worst class" in capsys.readouterr().out
    entries = json.loads((tmp_path / "run" / "evaluation.json").read_text())["evaluations"]
    assert [entry["split"] for entry in entries] == ["test", "val"]
    assert main(["evaluate", out, "--split", "val", "--quiet", "--resume"]) == 0
    assert "evaluated already" in capsys.readouterr().out
    assert main(["evaluate", out, "--nets", "2", "--quiet"]) == 2
    assert "holds a student" in capsys.readouterr().err
    words = ["score", "--data", "digits", "--load", f"{out}/student/model.safetensors", "--terms", "explicit", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "s.parquet")]) == 0
    assert main(["score", "--distilled", out, "--quiet", "--out", str(tmp_path / "t.parquet")]) == 2
    assert "holds a student" in capsys.readouterr().err
    assert main(["estimate", *WORDS, "--mechanism", "student", "--seeds", "2"]) == 0
    assert "in all:" in capsys.readouterr().out


def test_networks_of_ones_own_teach_and_learn(data):
    def small(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, classes))

    big = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    before = {name: tensor.clone() for name, tensor in big.state_dict().items()}
    begun = small(None, 10)
    for student in (small, begun):
        run = rf.transfer(data, "joint", teacher=big, student=student, epochs=1)
        assert run.student.parameters == sum(p.numel() for p in begun.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in big.state_dict().items()), "the user's stays as it is"
    assert type(run.student.net) is nn.Sequential


def test_a_small_set_is_a_source_for_a_small_model(tmp_path, data):
    chosen = rf.select(data, "random", ipc=4, nets=1, epochs=1, width=4, threads=1, out=tmp_path / "set")
    run = rf.transfer(rf.load(chosen.folder), "kd", **SHORT)
    assert run.card["train"] == 40
    assert 0 <= run.accuracy <= 100


def test_teachers_are_shared_by_what_decides_them(data):
    arms = Comparing(methods=("kd:epochs=5", "student", "scratch"), transfer=short(), seeds=1, controls=False).jobs(data)
    facts = [TeacherNeed(job.plan.teacher, job.seed).facts for job in arms if job.plan.teacher is not None]
    assert len(facts) == 2
    assert facts[0] == facts[1]
    other = Comparing(methods=("kd",), transfer=short(teacher_epochs=4), seeds=1, controls=False).jobs(data)
    assert TeacherNeed(other[0].plan.teacher, 0).facts != facts[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mechanism", "kd", "--teacher", ""], "model"),
        (["--mechanism", "dm"], "makes a small set"),
        (["--mechanism", "kdd"], "--mechanism kdd: unknown: did you mean kd? choose one of joint, kd, scratch"),
        (["--equal-seconds"], "add --seeds N"),
        (["--load-teacher", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--temperature", "0"], "--temperature 0.0: it must be"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, words, said):
    out = tmp_path / "run"
    assert main([*WORDS, *words, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0], lines[0]
    assert not out.exists()


def test_a_teacher_is_missing(tmp_path, capsys):
    words = [word for word in WORDS if word not in ("--teacher", "convnet1:6")]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "--teacher is missing: 'student' learns from one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_notes_on_the_data_are_said_where_the_run_begins_and_not_before_an_error(tmp_path, capsys):
    words = [word for word in WORDS if word != "--quiet"]
    assert main([*words, "--mechanism", "scratch", "--out", str(tmp_path / "run")]) == 0
    assert "digits: --rows 300: 300 of" in capsys.readouterr().err
    words = [word for word in words if word not in ("--teacher", "convnet1:6")]
    assert main([*words, "--mechanism", "kd", "--out", str(tmp_path / "other")]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("digits: 1797 images in 10 classes"), "which is said before they are read"
    assert "--teacher is missing" in last


def test_uniform_weights_are_kept_too(tmp_path, data):
    run = rf.transfer(data, "student:tau=inf", out=tmp_path / "run", **SHORT)
    assert run.scores.facts["weights"]["tau"] == "inf"
    assert run.card["ess"] == 1


def test_a_student_of_its_teachers_architecture_does_not_begin_as_it_did(tmp_path, data):
    options = {**SHORT, "student": "convnet1:6"}
    run = rf.transfer(data, "scratch", out=tmp_path / "alone", **options)
    taught = rf.transfer(data, "kd", out=tmp_path / "taught", **options)
    own, teacher = run.student.state(), load_file(taught.folder / "teacher" / "model.safetensors")
    assert own.keys() == teacher.keys()
    assert not torch.equal(own["classifier.weight"], teacher["classifier.weight"])


@pytest.mark.parametrize(
    ("methods", "words", "said"),
    [
        (["random"], ["--teacher", "convnet1:6"], "--teacher is for students"),
        (["kd"], ["--teacher", "convnet1:6", "--ipc", "7"], "--ipc is for small sets"),
        (["scratch"], ["--protocol", "dsa-cpu"], "--protocol is for small sets"),
    ],
)
def test_options_of_the_other_family_are_refused(tmp_path, capsys, methods, words, said):
    out = tmp_path / "run"
    assert main(["compare", "--data", "digits", "--methods", *methods, *words, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_run_is_the_same_from_the_command_line_and_from_data_that_were_loaded(tmp_path):
    words = ["--data", "digits", "--mechanism", "scratch", "--student", "convnet1:4", "--epochs", "1", "--threads", "1"]
    assert main(["transfer", *words, "--out", str(tmp_path / "said"), "--quiet"]) == 0
    own = {"student": "convnet1:4", "epochs": 1, "threads": 1}
    for name, source in (("loaded", rf.load("digits")), ("named", "digits")):
        rf.transfer(source, "scratch", out=tmp_path / name, **own)
        said, ours = (json.loads((tmp_path / each / "config.json").read_text())["resolved"] for each in ("said", name))
        assert ours == said
        again = rf.transfer(source, "scratch", out=tmp_path / "said", **own)
        assert again.card["seconds"] == rf.StudentRun.load(tmp_path / "said").card["seconds"], (
            "one goes on where the other ended"
        )


def test_a_student_is_judged_saved_and_digested_from_python(tmp_path, data):
    run = rf.transfer(data, "joint", out=tmp_path / "run", **SHORT)
    judged = rf.evaluate(run, data)
    assert (judged.accuracy, judged.split) == (run.accuracy, "test")
    assert min(each for each in judged.per_class if each is not None) == judged.per_class[int(judged.worst_class)]
    assert rf.evaluate(run, data, split="val").split == "val"
    assert json.loads((tmp_path / "run" / "student" / "card.json").read_text())["test_uses"] == 2
    assert rf.evaluate(tmp_path / "run", data, split="val") == rf.evaluate(run, data, split="val"), "by its folder too"
    assert not (tmp_path / "run" / "checkpoint").exists(), "it lies there whole"
    for options in ({"nets": 2}, {"protocol": "dm-cpu"}):
        for of in (run, str(tmp_path / "run")):
            with pytest.raises(InputError, match="is for a set"):
                rf.evaluate(of, data, **options)
    with pytest.raises(InputError, match=r"rf\.StudentRun\.load\("):
        rf.open(tmp_path / "run")
    learned = json.loads((tmp_path / "run" / "teacher" / "card.json").read_text())["sha256"]
    assert run.card["teacher"]["sha256"] == learned != run.card["teacher_sha256"]
    run.student.save(tmp_path / "copy")
    again = Student.load(tmp_path / "copy" / "student")
    for name, tensor in run.student.state().items():
        assert torch.equal(tensor, again.state()[name]), name
    said = (tmp_path / "copy" / "student" / "README.md").read_text()
    built = eval(said.partition("`refluence.models.")[2].partition("`")[0], {"ModelSpec": ModelSpec, "torch": torch})
    built.load_state_dict(again.state())
    assert 'rf.StudentRun.load("RUN").student.net' in said
    there = rf.transfer(data, "kd", **SHORT)
    assert there.card["teacher_accuracy"] == run.card["teacher_accuracy"]
