"""Works of transfers: stopped after any block and continued to the same bits, and what weights do to a run."""

import warnings
from dataclasses import replace

import pytest
import torch

from refluence.transfer import learning
from refluence.transfer.losses import Rising
from support.transfers import FEW, data, work_of

DATA = data()
WEIGHTED = ["student", "kd+shuffled", "kd+random", "kd+influence:bag=batch,link=relu", "kd+influence:bag=class"]
ARMS = ["scratch", "kd", "teacher", "joint", "joint+shuffled", "staged", *WEIGHTED]


def bits(work):
    return {name: t.detach().clone() for name, t in work.artifact().net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("arm", ARMS)
def test_a_work_stopped_after_any_block_goes_on_to_the_same_bits(arm, monkeypatch):
    monkeypatch.setattr("refluence.transfer.stage.BLOCK", 3)
    whole = work_of(arm, DATA)
    states, events = [], []
    for event in whole.steps():
        states.append({name: t.clone() for name, t in whole.state().items()})
        events.append(event)
    assert len(states) == whole.total == whole.step == (12 if arm == "staged" else 6)
    assert whole.units(whole.total) == len(whole.phases) * whole.course.total
    assert [whole.units(i + 1) - whole.units(i) for i in range(6)] == [len(whole.course.block(i)) for i in range(6)]
    for steps, state in enumerate(states, 1):
        assert all(bool(t.isfinite().all()) for t in state.values())
        other = work_of(arm, DATA)
        other.restore(state)
        assert list(other.steps()) == events[steps:]
        assert same(bits(other), bits(whole))
        assert other.result().card == whole.result().card


@pytest.mark.parametrize(
    "arm", ["student", "kd+shuffled", "kd+random", "kd+flipped", "kd+influence:bag=batch", "teacher", "joint", "staged"]
)
def test_uniform_weights_and_a_teacher_that_stays_give_kd_back(arm):
    still = replace(FEW, teacher_lr=1e-30)  # less than the last bit of any parameter
    said = f"{arm}{',' if ':' in arm else ':'}tau=inf"
    plain, even, weighted = work_of("kd", DATA), work_of(said, DATA, still), work_of(arm, DATA, replace(FEW, teacher_lr=0.1))
    for work in (plain, even, weighted):
        list(work.steps())
    assert same(bits(even), bits(plain))
    assert not same(bits(weighted), bits(plain))


def test_weights_that_never_come_to_be_raise_a_warning():
    with pytest.warns(UserWarning, match=r"nothing is scored, .* after step (\d+) of \1; more epochs"):
        work_of("student", DATA, replace(FEW, epochs=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for arm, epochs, refresh in (("student", 2, 0), ("student", 1, 1), ("kd", 1, 0)):
            work_of(arm, DATA, replace(FEW, epochs=epochs, refresh=refresh))


@pytest.mark.parametrize("kind", ["loss", "small-loss", "adapt"])
def test_rivals_weigh(kind):
    work = work_of(f"kd+{kind}", DATA)
    events = list(work.steps())
    assert events[0].ess == 1
    assert events[-1].ess < 1
    table, _ = work.result().beside
    assert len(table) == len(DATA.train)
    assert float(table.weight.std()) > 0


def test_planted_mislabels_weigh_less_than_one():
    clean = data((30, 30, 30))
    wrong = torch.zeros(len(clean.train), dtype=torch.bool)
    wrong[::9] = True
    labels = torch.where(wrong, (clean.train.labels + 1) % 3, clean.train.labels)
    noisy = replace(clean, train=replace(clean.train, labels=labels, stored=clean.train.labels))
    work = work_of("student", noisy, replace(FEW, epochs=6, alpha=0.5))
    list(work.steps())
    said = work.result().card["weights"]
    assert said["noisy"] < 1
    assert said["noisy"] < said["clean"]
    assert said["auc"] > 0.9
    assert work.result().card["below_one"] > 0


def test_a_gain_is_watched_on_both_halves_and_means_stand_on_the_card():
    work = work_of("student", DATA)
    events = list(work.steps())
    assert events[0].gain_watching is None
    assert all(event.gain_weighing <= 0 for event in events[1:])  # Theorem 1 with curvature identity, to first order
    card = work.result().card
    for name in ("ess", "below_one", "chi_square", "gain_weighing", "gain_watching"):
        assert card[name] == pytest.approx(sum(getattr(event, name) for event in events[1:]) / 2)
    assert work_of("kd", DATA).result().card["gain_watching"] is None


def test_the_labels_of_the_weighing_half_train_too_where_it_is_asked():
    plain, more = work_of("kd", DATA), work_of("student", DATA, replace(FEW, also="validation"))
    assert len(more.setting.rows.split) == len(DATA.train) + len(more.setting.weighing.positions)
    assert len(plain.setting.rows.split) == len(DATA.train)
    list(more.steps())
    assert len(more.result().beside[0]) == len(DATA.train)
    assert more.result().card["rows"] == len(more.setting.rows.split)


def test_a_teacher_that_falls_goes_back_to_where_it_was_best_and_the_caller_keeps_his():
    settings = replace(FEW, epochs=4, teacher_lr=1e4)
    work = work_of("joint", DATA, settings)
    given = {name: t.clone() for name, t in work.teacher.state_dict().items()}
    with pytest.warns(UserWarning, match="fell from .* on the watching half: it goes back to where it was best") as said:
        events = list(work.steps())
    assert len([each for each in said if "fell from" in str(each.message)]) == 1
    stopped = [event.teacher_stopped for event in events]
    assert stopped[-1]
    assert stopped == sorted(stopped)
    first = stopped.index(True)
    assert {event.teacher_accuracy for event in events[first:]} == {events[first].teacher_accuracy}
    learned = work.result().card["teacher"]["learned"]
    assert learned["stopped"]
    assert learned["accuracy"] == learned["accuracy_before"]
    assert same(given, dict(work.teacher.state_dict())), "its first epoch ruined it"
    untouched = work_of("joint", DATA, settings)
    assert same(given, dict(untouched.teacher.state_dict()))


def test_a_fixed_teacher_is_asked_once_where_nothing_is_augmented(monkeypatch):
    work = work_of("student", DATA, replace(FEW, augment=False))
    seen = []
    work.teacher.register_forward_hook(lambda net, given, out: seen.append(len(out)))
    list(work.steps())
    assert sum(seen) == len(DATA.train)
    augmented = work_of("kd", DATA)
    augmented.teacher.register_forward_hook(lambda net, given, out: seen.append(len(out)))
    list(augmented.steps())
    assert sum(seen) == len(DATA.train) + augmented.course.total * FEW.batch


def test_weights_that_say_nothing_are_warned_of_once():
    with pytest.warns(UserWarning, match="weights are nearly uniform") as said:
        list(work_of("student:tau=inf", DATA).steps())
    assert len(said) == 1


def test_weights_by_class_move_no_weight_between_classes():
    work = work_of("student:bag=class", data((40, 20, 10)))
    list(work.steps())
    weights, labels = work.stage.weighed.weights, work.setting.dataset.train.labels
    given = weights.of(torch.arange(len(labels)))
    means = torch.stack([given[labels == label].mean() for label in range(3)])
    torch.testing.assert_close(means, torch.ones(3))
    omega = torch.stack([weights.omega[labels == label].mean() for label in range(3)])
    assert float((omega - omega.mean()).abs().max()) > 0.01, "the link's own values leave it free"


@pytest.mark.parametrize("arm", ["teacher", "joint", "staged"])
def test_a_teacher_whose_numbers_are_not_finite_goes_back_and_the_student_learns_on(arm):
    work = work_of(arm, DATA, replace(FEW, teacher_lr=1e38))
    given = {name: t.clone() for name, t in work.teacher.state_dict().items()}
    with pytest.warns(UserWarning, match="no longer finite: it goes back to where it was best") as said:
        events = list(work.steps())
    assert len([each for each in said if "no longer finite" in str(each.message)]) == 1
    assert events[0].teacher_stopped
    assert same(given, dict(work.teacher.state_dict()))
    assert all(bool(t.isfinite().all()) for t in bits(work).values())


def test_a_teacher_whose_answers_hide_that_it_is_not_finite_goes_back_at_the_end_of_a_block():
    work = work_of("joint", DATA)
    next(work.stage.learner.net.parameters()).data.view(-1)[0] = torch.inf
    with pytest.warns(UserWarning, match="no longer finite"):
        work.stage.check_teacher()
    assert work.stage.teacher_stopped
    assert work.stage.learner.finite


def test_the_student_is_copied_for_the_weights_of_its_teacher_only_where_these_are_due(monkeypatch):
    copies = []
    move = learning._move
    monkeypatch.setattr(learning, "_move", lambda *given: copies.append(move(*given)))
    work = work_of("teacher", DATA)
    list(work.steps())
    assert len(copies) == FEW.epochs - 1 < work.course.total


def test_imitation_that_rises_is_that_of_the_epoch_after_a_stop_too():
    settings = replace(FEW, onset=3, loss="dkd")
    whole, states = work_of("student", DATA, settings), []
    assert isinstance(whole.stage.rising, Rising)
    shares = []
    for _ in whole.steps():
        states.append({name: t.clone() for name, t in whole.state().items()})
        shares.append(whole.stage.rising.loss.share)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])
    other = work_of("student", DATA, settings)
    other.restore(states[0])
    assert len(list(other.steps())) == 2
    assert same(bits(other), bits(whole))
    assert not same(bits(whole), bits(work_of("student", DATA, replace(settings, onset=0))))
