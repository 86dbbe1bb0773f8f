"""Pruning keeps exactly the right rows of each class; keeping all of them is the base method bit for bit."""

from dataclasses import replace

import pytest
import torch

from refluence.condense.dc import METHOD
from refluence.condense.loop import Distillation
from refluence.data.clean import check_share, kept, kept_count, relabelled, restrict
from refluence.errors import InputError, RunError
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet1", (3, 8, 8), 3, width=4)
SETTINGS = METHOD.settings(2, "cpu").with_(iterations=3, inner=1, real_batch=8)


def scores(data, seed=0):
    return torch.randn(len(data.train), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("keep", [0.02, 0.2, 0.5, 0.9, 1.0])
def test_the_best_of_each_class_stay(keep, sign):
    data = tiny_dataset()
    s = scores(data)
    expected = []
    for c in range(3):
        members = [i for i in range(len(data.train)) if data.train.labels[i] == c]
        ranked = sorted(members, key=lambda i: -sign * float(s[i]))
        expected += ranked[: max(1, int(keep * len(members) + 0.5))]
    assert kept(s, data, keep, sign).tolist() == sorted(expected)


def test_ties_go_by_position_and_numbers_are_asked_for():
    data = tiny_dataset()
    same = torch.zeros(len(data.train))
    expected = torch.cat([data.train.members(c)[: kept_count(n, 0.5)] for c, n in enumerate((23, 14, 9))]).sort().values
    assert torch.equal(kept(same, data, 0.5), expected)
    with pytest.raises(RunError, match="46 of 46 scores to prune by are not numbers"):
        kept(same / 0, data, 0.5)


def test_instances_keep_their_rows_and_paths():
    data = tiny_dataset()
    positions = torch.tensor([1, 5, 8])
    small = restrict(data, positions)
    assert small.train.rows.tolist() == data.train.rows[positions].tolist()
    assert torch.equal(small.train.images, data.train.images[positions])
    assert torch.equal(small.train.labels, data.train.labels[positions])
    assert (small.val, small.test, small.mean, small.std) == (data.val, data.test, data.mean, data.std)
    assert restrict(data, torch.arange(len(data.train))) is data


def run(data, weighting):
    work = Distillation(METHOD, SETTINGS, weighting, data, SPEC, streams(0))
    for event in work.steps():
        assert event.ess == 1
    return work


def test_keeping_all_is_the_base_method_bit_for_bit_and_keeping_less_is_not():
    data = tiny_dataset()
    base = run(data, Weighting()).images
    for kind in ("pruned", "selected"):
        weighting = Weighting(kind, keep=1.0)
        work = run(restrict(data, kept(scores(data), data, weighting.keep)), weighting)
        assert torch.equal(work.images, base)
        assert int(work.table.visits.sum()) == 0, "nothing is measured on the way"
    fewer = run(restrict(data, kept(scores(data), data, 0.5)), Weighting("pruned", keep=0.5)).images
    assert not torch.equal(fewer, base)


def test_a_share_too_small_for_the_distilled_set_is_refused():
    data = tiny_dataset()
    with pytest.raises(InputError, match=r"keep=0.1 leaves 1 of the 9 .*'class 2', fewer than its 2 .*: keep=0.23 or"):
        check_share(data, (2, 2, 2), 0.1)
    check_share(data, (2, 2, 2), 0.23)
    check_share(data, (2, 1, 1), 0.1)
    with pytest.raises(
        InputError,
        match=r"leaves 1 of the 9 .*fewer than the 4 that factor=2 lays into 1 stored one: keep=0.45 or a smaller factor",
    ):
        check_share(data, (1, 1, 1), 0.1, 4)
    with pytest.raises(InputError, match=r"leaves 2 of the 23 .*'class 0', fewer than its 3"):
        check_share(data, (3, 1, 1), 0.1)


def test_every_class_is_looked_at_not_only_the_one_with_the_fewest_for_each():
    """14/2 is the smallest, and floor(.1 14 + .5) = 1 < 2; with 15/2 it is 2 and class 0 alone is short."""
    with pytest.raises(InputError, match=r"keep=0.1 leaves 2 of the 24 .*'class 0', fewer than its 3"):
        check_share(tiny_dataset((24, 15, 20)), (3, 2, 1), 0.1)


def test_the_labels_before_are_no_truth():
    """What the source says stays the truth of relabelled rows, and where it says nothing, nothing is known."""
    train = tiny_dataset().train
    after = relabelled(train, train.rows[:3], (train.labels[:3] + 1) % 3)
    assert (after.labels != train.labels).nonzero().flatten().tolist() == [0, 1, 2]
    assert after.stored is None
    known = replace(train, stored=train.labels.clone())
    assert relabelled(known, train.rows[:3], (train.labels[:3] + 1) % 3).stored.tolist() == train.labels.tolist()
