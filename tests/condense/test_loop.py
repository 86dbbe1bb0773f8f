"""What an image step tells: spreads, agreement and mean weights of its classes, against NumPy on the scores themselves."""

import numpy as np
import pytest
import torch

from refluence.condense.events import agreement
from refluence.influence.weighting import Weighting
from support.small_methods import run, start

FIELDS = ("spread_by_class", "explicit_by_class", "implicit_by_class", "agreement_by_class", "weight_by_class")


def kept(work):
    """The matches of every image step of a run, one list a step."""
    steps, match = [], work.real.match

    def noted(*arguments):
        steps.append([])
        for found in match(*arguments):
            steps[-1].append(found)
            yield found

    work.real.match = noted
    return steps


@pytest.mark.parametrize("bag", ["class", "batch"])
@pytest.mark.parametrize("terms", ["both", "implicit"])
def test_the_decomposition_is_that_of_the_scores(bag, terms):
    work = start("idc", Weighting("influence", terms=terms, bag=bag), iterations=2)
    steps = kept(work)
    for event, matches in zip(work.steps(), steps, strict=False):
        for c, found in enumerate(matches):
            e, i, score, omega = (
                t.double().numpy() for t in (found.terms.explicit, found.terms.implicit, found.terms.scores, found.omega)
            )
            assert event.spread_by_class[c] == pytest.approx(np.std(score))
            assert event.explicit_by_class[c] == pytest.approx(np.std(e))
            assert event.implicit_by_class[c] == pytest.approx(np.std(i))
            assert event.agreement_by_class[c] == pytest.approx(np.corrcoef(e, i)[0, 1])
            assert event.weight_by_class[c : c + 1] == (() if bag == "class" else (pytest.approx(omega.mean()),))
            if terms == "both":
                parts = np.std(e) ** 2 + np.std(i) ** 2 + 2 * event.agreement_by_class[c] * np.std(e) * np.std(i)
                assert event.spread_by_class[c] ** 2 == pytest.approx(parts, rel=1e-4)
        assert len(matches) == len(event.spread_by_class) == 2
        assert sum(event.weight_by_class) == pytest.approx(0 if bag == "class" else 2, rel=1e-5)
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("weighting", "filled"),
    [
        (Weighting(), ()),
        (Weighting("influence"), ("spread_by_class",)),
        (Weighting("shuffled", bag="all"), ("spread_by_class", "weight_by_class")),
        (Weighting("loss", bag="batch"), ("weight_by_class",)),
    ],
    ids=["uniform", "influence", "shuffled in all", "loss in the batch"],
)
def test_what_was_not_measured_is_empty(weighting, filled):
    for event in run("dc", weighting, iterations=2).events:
        assert {name: len(getattr(event, name)) for name in FIELDS} == {name: 2 * (name in filled) for name in FIELDS}


def test_steps_between_two_measurements_tell_no_spread():
    told = [event.spread_by_class for event in run("dc", Weighting("influence", refresh=2), iterations=3).events]
    assert [len(spread) for spread in told] == [2, 0, 2]


def test_agreement_of_lines_and_of_constants():
    a = torch.arange(5.0)
    assert agreement(a, 3 * a + 1e4) == pytest.approx(1)
    assert agreement(a, -a) == pytest.approx(-1)
    assert agreement(a, torch.ones(5)) == 0
    assert agreement(a[:1], a[:1]) == 0


def test_shuffled_weights_are_as_uneven_in_the_first_step_and_later_as_their_own_images_make_them():
    ess = {}
    for kind in ("influence", "shuffled"):
        work = start("dm", Weighting(kind), iterations=3)
        steps = kept(work)
        ess[kind] = [event.ess for event in work.steps()]
        for matches, told in zip(steps, ess[kind], strict=True):
            by_class = [float(m.omega.sum() ** 2 / (len(m.omega) * m.omega.square().sum())) for m in matches]
            assert told == pytest.approx(np.mean(by_class), rel=1e-5)
    assert ess["shuffled"][0] == pytest.approx(ess["influence"][0], rel=1e-9)
    assert ess["shuffled"][1:] != pytest.approx(ess["influence"][1:], rel=1e-3)
