"""Works of transfers: stopped after any block and continued to the same bits, and what weights do to a run."""

from dataclasses import replace

import pytest
import torch

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
    monkeypatch.setattr("refluence.transfer.batches.BLOCK", 3)
    whole = work_of(arm, DATA)
    states, events = [], []
    for event in whole.steps():
        states.append({name: t.clone() for name, t in whole.state().items()})
        events.append(event)
    assert len(states) == whole.total == whole.step == (12 if arm == "staged" else 6)
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


@pytest.mark.parametrize("kind", ["loss", "small-loss", "adapt"])
def test_rivals_weigh(kind):
    work = work_of(f"kd+{kind}", DATA)
    events = list(work.steps())
    assert events[0].ess == 1
    assert events[-1].ess < 1
    (table,) = work.result().beside
    assert len(table) == len(DATA.train)
    assert float(table.weight.std()) > 0
