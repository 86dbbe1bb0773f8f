"""What judging would take is measured without what the first training of a process pays once."""

from types import SimpleNamespace

import pytest
import torch

import refluence as rf
from refluence.jobs import estimate, estimated_sets, few_steps, source_network
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.denoisers import SurrogateNeed
from refluence.jobs.resolve import resolve
from refluence.jobs.resolve_student import resolve_student
from refluence.jobs.session import Machine, open_session
from refluence.jobs.teachers import TeacherNeed, teacher_of
from refluence.options import JobOptions, TransferOptions
from refluence.transfer import kd
from refluence.work import Cost


def test_the_first_arm_does_not_pay_for_what_is_loaded_once(monkeypatch):
    session = open_session("digits", Machine())
    job = resolve(JobOptions(ipc=1, epochs=40, nets=2), parse_arm("random"), session.dataset, 0)
    clock, trained = [0.0], []

    def train(*arguments, **how):
        protocol = arguments[3]
        trained.append(protocol.epochs)
        clock[0] += (50.0 if len(trained) == 1 else 0.0) + 3.0 + 0.5 * protocol.epochs

    monkeypatch.setattr(estimated_sets, "evaluate", train)
    monkeypatch.setattr(estimated_sets, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    scale = len(session.dataset.test) / len(session.dataset.val)
    assert [estimate.judging_seconds(job, session) for _ in range(2)] == [pytest.approx(2 * (0.5 * 40 + 3.0 * scale))] * 2
    assert trained == [1, 5, 10] * 2


def test_what_judges_need_is_measured_and_not_made(monkeypatch):
    monkeypatch.setattr(source_network, "TEACHERS", {"cpu": "convnet1:4"})
    for need in (TeacherNeed, SurrogateNeed):
        monkeypatch.setattr(need, "make", lambda *given: pytest.fail("it is not trained"))
    session = open_session(rf.load("digits", rows=200), Machine())
    asked = JobOptions(ipc=1, nets=1, epochs=10, width=4, protocol=("rded-cpu",), quality=True, feature_network="convnet1:8")
    job = resolve(asked, parse_arm("random"), session.dataset, 0)
    found = estimate.needed_seconds([job, job], session)
    assert [what for what, _ in found] == ["teacher", "trajectory", "surrogate", "teacher"]
    assert all(seconds > 0 for _, seconds in found)
    assert estimate.judging_seconds(job, session) > 0


def test_a_student_and_its_teacher_are_measured_on_a_few_steps_and_counted_whole(monkeypatch):
    clock, stepped = [0.0], []

    def fit(net, optimiser, batches, loss, *, seen, **how):
        for batch in batches:
            stepped.append(len(batch.x))
            clock[0] += 0.25
            seen(batch, None, torch.zeros(()))

    monkeypatch.setattr("refluence.transfer.work.fit", fit)
    monkeypatch.setattr(few_steps, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    session = open_session("digits", Machine())
    asked = TransferOptions(teacher="convnet1:4", student="convnet1:4", epochs=3, batch=8)
    job = resolve_student(asked, parse_arm("kd"), session.dataset, 0, kd.METHOD, teacher_of(asked, session.dataset))
    seconds, _ = estimate.making_seconds(job, session)
    assert len(stepped) == 2 * (1 + estimate.STEPS) * 4
    each = 3 * (len(session.dataset.train) // 8)
    assert seconds == pytest.approx(2 * each * 0.25, rel=0.02)  # the last block of an epoch is shorter


def test_what_takes_long_is_measured_once(monkeypatch):
    clock, done = [0.0], []

    def run(times):
        done.append(times)
        clock[0] += 20.0 * times

    monkeypatch.setattr(few_steps, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert few_steps.tried([Cost("slow", 3, run)]) == 60.0
    assert done == [1]
