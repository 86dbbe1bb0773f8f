"""What arms do to instances before they begin: exactly the rows of the table, keyed by row, and the same bits after a stop."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import refluence as rf
from refluence.compute import Compute
from refluence.data.clean import by_row, relabelled
from refluence.errors import InputError, NoRoomError, RunError
from refluence.jobs import scores_need
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.cleaning import KEPT
from refluence.jobs.repeat import repeat_run
from refluence.jobs.resolve import resolve
from refluence.options import JobOptions
from refluence.recipes.base import Part
from refluence.recipes.noisy import RECIPE
from refluence.recipes.rows import describe
from refluence.report.cleaned import sentence
from refluence.score import folds_work

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1, "iterations": 3, "real_batch": 8}
SHARE = 0.37  # what the tables below take for wrong


@pytest.fixture(scope="module")
def data():
    return rf.load("digits", noise="symmetric:0.4", rows=300)


def table_of(dataset, seed=0):
    """Random columns: what an arm does with them is what is tested."""
    g, n = torch.Generator().manual_seed(seed), len(dataset.train)
    both, implicit, loss = (torch.randn(n, generator=g, dtype=torch.float64) for _ in range(3))
    suggested = torch.randint(0, 10, (n,), generator=g)
    share = torch.tensor(SHARE, dtype=torch.float64)
    return {"both": both, "implicit": implicit, "loss": loss.exp(), "suggested": suggested, "wrong_share": share}


@pytest.fixture
def tables(monkeypatch):
    """Tables of random columns, and the seeds for which one was made."""
    asked = []

    def make(need, session, folder):
        asked.append((need.seed, need.plan.settings.epochs))
        return table_of(session.dataset, need.seed)

    monkeypatch.setattr(scores_need.ScoresNeed, "make", make)
    return asked


def worst(data, badness, share):
    """Rows of the worst of each class, literally: all but the floor(keep n + 1/2) of the lowest badness, ties by position."""
    rows = []
    for label in range(10):
        members = [i for i in range(len(data.train)) if int(data.train.labels[i]) == label]
        ranked = sorted(members, key=lambda i: float(badness[i]))
        rows += [int(data.train.rows[i]) for i in ranked[max(1, math.floor((1 - share) * len(members) + 0.5)) :]]
    return sorted(rows)


@pytest.mark.parametrize("method", ["dm", "random"])
@pytest.mark.parametrize(
    ("options", "badness"),
    [
        ("by=score", lambda t: t["both"]),
        ("by=score,terms=implicit", lambda t: t["implicit"]),
        ("by=score,terms=explicit,keep=.5", lambda t: t["both"] - t["implicit"]),
        ("by=held-out-loss", lambda t: t["loss"]),
    ],
)
def test_pruned_arms_leave_out_what_the_table_says(tables, data, method, options, badness, tmp_path):
    run = rf.distill(data, f"{method}+pruned:{options}", out=tmp_path / "a", **SHORT)
    out = worst(data, badness(table_of(data)), 0.5 if "keep" in options else SHARE)
    rows = load_file(run.folder / KEPT)["rows"].tolist()
    assert rows == sorted(set(data.train.rows.tolist()) - set(out))
    said = run.card["cleaned"]
    assert (said["rows"], said["of"], said["share"]) == (
        len(out),
        len(data.train),
        pytest.approx(0.5 if "keep" in options else SHARE),
    )
    assert (said["decided"] is None) == ("loss" in options)
    if method == "random":
        assert set(run.card["rows"]) <= set(rows)


@pytest.mark.parametrize("method", ["dm", "random"])
@pytest.mark.parametrize("by", ["score", "held-out-loss", "random", "truth"])
def test_relabelled_arms_change_the_labels_that_the_table_says(tables, data, method, by, tmp_path):
    run = rf.distill(data, f"{method}+relabelled:by={by}", out=tmp_path / "a", **SHORT)
    kept, table, train = load_file(run.folder / KEPT), table_of(data), data.train
    if by == "truth":
        rows, labels = train.rows[train.stored != train.labels], train.stored[train.stored != train.labels]
        assert rows.tolist() == kept["relabelled_rows"].tolist()
        assert labels.tolist() == kept["labels"].tolist()
    else:
        badness = {"score": table["both"], "held-out-loss": table["loss"]}.get(by)
        if badness is not None:
            assert sorted(kept["relabelled_rows"].tolist()) == worst(data, badness, SHARE)
        assert kept["labels"].tolist() == by_row(kept["relabelled_rows"], train.rows, table["suggested"]).tolist()
    expected = dict(zip(train.rows.tolist(), train.labels.tolist(), strict=True))
    expected |= dict(zip(kept["relabelled_rows"].tolist(), kept["labels"].tolist(), strict=True))
    after = relabelled(train, kept["relabelled_rows"], kept["labels"])
    assert after.labels.tolist() == [expected[row] for row in train.rows.tolist()]
    assert after.stored.tolist() == train.stored.tolist(), "the truth is still that of the source"
    if method == "random":
        assert run.set.labels.tolist() == [expected[row] for row in run.card["rows"]]


def test_a_table_is_made_once_a_seed_for_all_arms_and_terms(tables, data, tmp_path):
    arms = [
        "random+pruned:by=score",
        "random+pruned:by=score,terms=implicit",
        "random+relabelled",
        "dm+scores",
        "random+pruned:by=random,keep=auto",
    ]
    found = rf.compare(data, arms, seeds=2, controls=False, out=tmp_path / "run", **{**SHORT, "iterations": 20})
    assert tables == [(0, 2), (1, 2)], "a tenth of the usual image steps, and of the 15 epochs"
    rows = {(row["arm"], row["seed"]): row for row in found.rows}
    assert rows["random+pruned:by=random,keep=auto", 1]["share"] == pytest.approx(SHARE), "the control leaves out as many"
    assert all(0 <= row["auc"] <= 1 for row in found.rows)


def test_the_table_is_that_of_score(data, tmp_path):
    """Bit for bit, both with all terms and with one; and a file gives the same sets as a table of the run's own."""
    own = {"width": 4, "seed": 3, "epochs": 1, "threads": 1}
    both, implicit = (rf.score(data, terms=terms, **own) for terms in ("both", "implicit"))
    arms = ["dm+pruned:by=score", "random+relabelled", "dm+scores", "random+scores:by=held-out-loss"]
    for number, arm in enumerate(arms):
        made = rf.distill(data, arm, seed=3, out=tmp_path / f"{number}", **{**SHORT, "iterations": 13})  # 13 of 200: one epoch
        both.save(tmp_path / "s.parquet")
        given = rf.distill(data, arm, seed=3, scores=str(tmp_path / "s.parquet"), **{**SHORT, "iterations": 13})
        assert torch.equal(made.set.images, given.set.images)
        assert torch.equal(made.set.labels, given.set.labels)
    files = [load_file(tmp_path / f"{number}" / KEPT) for number in range(3)]
    assert torch.equal(-files[0]["scores"], both.score)
    assert torch.equal(files[2]["weights"], both.weight)
    run = rf.distill(data, "random+pruned:by=score,terms=implicit", seed=3, out=tmp_path / "i", **{**SHORT, "iterations": 13})
    assert torch.equal(-load_file(run.folder / KEPT)["scores"], implicit.score)


def test_a_file_is_read_by_row_whatever_its_order(tables, data, tmp_path):
    table = table_of(data)
    scores = rf.ScoreTable.of(
        data,
        table["both"],
        torch.ones(len(data.train)),
        table["loss"],
        suggested=table["suggested"],
        facts={"wrong_share": SHARE},
    )
    scores.save(tmp_path / "s.parquet")
    mixed = pq.read_table(tmp_path / "s.parquet")
    order = np.random.default_rng(0).permutation(len(mixed))
    pq.write_table(mixed.take(order), tmp_path / "mixed.parquet")
    for arm in ("dm+pruned:by=score", "random+relabelled", "random+pruned:by=held-out-loss"):
        sets = [rf.distill(data, arm, **SHORT).set]
        sets += [rf.distill(data, arm, scores=str(tmp_path / f"{name}.parquet"), **SHORT).set for name in ("s", "mixed")]
        assert all(torch.equal(each.images, sets[0].images) for each in sets)
        assert all(torch.equal(each.labels, sets[0].labels) for each in sets)


def test_a_stopped_run_continues_to_the_same_bits(tables, data, tmp_path):
    for arm in ("dm+relabelled", "dm+pruned:by=score", "dm+scores"):
        whole = rf.distill(data, arm, out=tmp_path / f"{arm}-whole", checkpoint_seconds=0, **SHORT)
        work = rf.start(data, arm, **{**SHORT, "threads": 0})
        next(iter(work.steps()))
        state = {name: tensor.clone() for name, tensor in work.state().items()}
        again = rf.start(data, arm, **{**SHORT, "threads": 0})
        again.restore(state)
        assert len(list(again.steps())) == SHORT["iterations"] - 1
        assert torch.equal(again.artifact().images, whole.set.images)
        made = len(tables)
        (whole.folder / "evaluation.json").unlink()
        for path in (whole.folder / "distilled").iterdir():
            path.unlink()
        resumed = rf.distill(data, arm, out=whole.folder, checkpoint_seconds=0, **SHORT)
        assert len(tables) == made, "what was found of the instances is in the folder"
        assert torch.equal(resumed.set.images, whole.set.images)


def test_repeat_makes_the_same_set(tables, data, tmp_path):
    table = table_of(data)
    scores = rf.ScoreTable.of(data, table["both"], torch.ones(len(data.train)), table["loss"], facts={"wrong_share": SHARE})
    scores.save(tmp_path / "s.parquet")
    for name, arm, file in (("made", "random+relabelled", None), ("given", "dm+pruned:by=score", tmp_path / "s.parquet")):
        run = rf.distill(data, arm, scores=file, out=tmp_path / name, **SHORT)
        again = repeat_run(run.folder, tmp_path / f"{name}-again")
        assert (again.names, again.differing) == ((".",), ())
        assert torch.equal(rf.open(tmp_path / f"{name}-again").set.images, run.set.images)


def test_a_stopped_table_continues_in_the_midst_of_its_networks(data, tmp_path, monkeypatch):
    own = {**SHORT, "iterations": 13}
    whole = rf.compare(data, ["random+relabelled"], seeds=1, controls=False, out=tmp_path / "whole", **own)
    trained, real = [], folds_work.FoldsWork.steps

    def stopped(work):
        for event in real(work):
            trained.append(work.step)
            if len(trained) == 2:
                raise KeyboardInterrupt
            yield event

    monkeypatch.setattr(folds_work.FoldsWork, "steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        rf.compare(data, ["random+relabelled"], seeds=1, controls=False, out=tmp_path / "run", **own)
    monkeypatch.setattr(folds_work.FoldsWork, "steps", lambda work: (trained.append(work.step) or e for e in real(work)))
    again = rf.compare(data, ["random+relabelled"], seeds=1, controls=False, out=tmp_path / "run", **own)
    assert trained == [1, 2, 2, 3, 4, 5], "the network that was trained before the stop is kept"
    assert [row["accuracy"] for row in again.rows] == [row["accuracy"] for row in whole.rows]
    sets = [rf.open(next((tmp_path / name).glob("units/*/0"))).set for name in ("whole", "run")]
    assert torch.equal(sets[0].images, sets[1].images)
    assert not list((tmp_path / "run" / "shared").glob("*/checkpoint"))


def test_another_table_is_another_run_and_the_same_one_may_lie_elsewhere(data, tmp_path):
    table, ones = table_of(data), torch.ones(len(data.train))
    facts = {"source": "digits", "wrong_share": SHARE}
    for name, sign in (("s", 1), ("t", -1)):
        rf.ScoreTable.of(data, sign * table["both"], ones, table["loss"], facts=facts).save(tmp_path / f"{name}.parquet")
    arms, own = ["random+pruned:by=score"], {"seeds": 1, "controls": False, "out": tmp_path / "run", **SHORT}
    first = rf.compare(data, arms, scores=tmp_path / "s.parquet", **own)
    shutil.copy(tmp_path / "s.parquet", tmp_path / "copy.parquet")
    again = rf.compare(data, arms, scores=tmp_path / "copy.parquet", **own)
    assert [row["accuracy"] for row in again.rows] == [row["accuracy"] for row in first.rows]
    for changed in ({"scores": tmp_path / "t.parquet"}, {}):
        with pytest.raises(InputError) as caught:
            rf.compare(data, arms, **changed, **own)
        assert "scores" in str(caught.value)
        assert "\n" not in str(caught.value)
    shutil.copy(tmp_path / "t.parquet", tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"s\.parquet has changed"):
        rf.compare(data, arms, scores=tmp_path / "s.parquet", **own)
    with pytest.raises(InputError, match=r"scores is a table: runs name it by its file; table\.save"):
        rf.distill(data, arms[0], scores=rf.ScoreTable.load(tmp_path / "t.parquet"), **SHORT)


def test_rows_of_recipes_tell_tables_and_what_selections_go_by_apart(data, tmp_path):
    table = table_of(data)
    scores = rf.ScoreTable.of(data, table["both"], torch.ones(len(data.train)), table["loss"], facts={"wrong_share": SHARE})
    scores.save(tmp_path / "s.parquet")

    def settings(arm, **asked):
        job = resolve(JobOptions(ipc=1, **asked), parse_arm(arm), data, 0)
        part = Part("p", "digits", 1, (arm,), ("dc-cpu",))
        return describe(RECIPE, part, job, Compute(), "digits", "cpu", {})["settings"]

    found = [settings("dm+pruned:by=score"), settings("dm+pruned:by=score", scores=str(tmp_path / "s.parquet"))]
    found += [settings("dm+pruned:by=score", iterations=20), settings("influence"), settings("influence:on=validation")]
    assert len(set(found)) == len(found)


def test_a_table_in_a_file_says_whose_images_decided(data, tmp_path):
    table, ones = table_of(data), torch.ones(len(data.train))
    stated = {"wrong_share": SHARE, "validation": {"source": "clean/val"}}
    for facts, decided in ((stated, "clean/val"), ({"wrong_share": SHARE}, None)):
        rf.ScoreTable.of(data, table["both"], ones, table["loss"], facts=facts).save(tmp_path / "s.parquet")
        for arm in ("random+pruned:by=score", "influence:on=validation"):
            said = rf.distill(data, arm, scores=tmp_path / "s.parquet", **SHORT).card["cleaned"]
            assert (said["decided"], said["table"]) == (decided, str(tmp_path / "s.parquet"))


def test_a_set_of_a_cleaned_arm_is_scored_like_any_other(tables, data, tmp_path):
    for arm in ("dm+scores", "dm+relabelled", "dm+pruned:by=score,keep=.6"):
        run = rf.distill(data, arm, out=tmp_path / arm, **SHORT)
        scored = rf.score(data, distilled=run.folder, nets=1)
        assert bool(scored.score.isfinite().all())
        assert run.set.images.shape == rf.open(run.folder).set.images.shape


def test_a_share_is_not_estimated_of_soft_labels(data):
    soft = torch.eye(10)[data.train.labels]
    given = replace(data, train=replace(data.train, soft=soft))
    with pytest.raises(InputError, match="keep=auto: how many labels look wrong cannot be told of these data: give keep=P"):
        rf.distill(given, "random+pruned:by=score", **SHORT)
    with pytest.raises(InputError, match="soft labels, which would stay as they are"):
        rf.distill(given, "random+relabelled:share=.1", **SHORT)


def test_an_estimate_of_networks_that_contradict_most_labels_is_a_warning(tables, data):
    with pytest.warns(UserWarning, match="37 % of each class, as many labels as look wrong to networks that contradict most"):
        rf.distill(data, "random+pruned:by=score", **SHORT)


def test_truth_is_the_ceiling_and_needs_to_be_known(data):
    run = rf.distill(data, "random+pruned:by=truth", **{**SHORT, "ipc": 5})
    right = set(data.train.rows[data.train.stored == data.train.labels].tolist())
    assert set(run.card["rows"]) <= right
    assert run.card["cleaned"]["rows"] == len(data.train) - len(right)
    with pytest.raises(InputError, match="by=truth: nothing is known of which training instances of digits are right"):
        rf.distill(rf.load("digits", rows=300), "random+pruned:by=truth", **SHORT)
    shifted = rf.load("digits", rows=300, shift="mirror:0.4")
    kept = rf.distill(shifted, "random+pruned:by=truth", **SHORT).card["rows"]
    assert not shifted.train.shifted[torch.isin(shifted.train.rows, torch.tensor(kept))].any()
    with pytest.raises(InputError, match="training labels of digits are right; labels or noise would say it"):
        rf.distill(shifted, "random+relabelled:by=truth", **SHORT)


def test_a_table_that_does_not_fit_is_refused_in_one_line(tables, data, tmp_path):
    table, ones = table_of(data), torch.ones(len(data.train))
    scores = rf.ScoreTable.of(data, table["both"], ones, table["loss"], facts={"source": "digits"})

    def refused(arm, message, **changes):
        replace(scores, **changes).save(tmp_path / "s.parquet")
        with pytest.raises(InputError, match=message) as caught:
            rf.distill(data, arm, scores=str(tmp_path / "s.parquet"), **SHORT)
        assert "\n" not in str(caught.value)

    refused("dm+pruned:by=score", "the scores are of photos, not of digits", facts={"source": "photos"})
    refused("dm+pruned:by=score", "does not say how many labels look wrong: give keep=P")
    refused("random+relabelled:share=.2", "suggests no classes")
    refused("dm+pruned:by=score,keep=.5,terms=explicit", "holds one score an instance: leave terms out")
    refused("dm+scores", "its scores are of a distilled set", facts={"kind": "distilled"})
    refused("dm+pruned:by=score,keep=.5", "has another label or file in the scores", label=(scores.label + 1) % 10)
    refused(
        "dm+pruned:by=score,keep=.5",
        "1 values of score are not numbers",
        score=scores.score.index_fill(0, torch.tensor([4]), math.nan),
    )
    short = {f: getattr(scores, f)[1:] for f in ("index", "label", "score", "weight", "loss", "stored")}
    refused("dm+pruned:by=score,keep=.5", "lack 1 of the", **short)
    with pytest.raises(InputError, match=r"scores=.*nowhere.*: there is no file"):
        rf.distill(data, "dm+pruned:by=score", scores=str(tmp_path / "nowhere.parquet"), **SHORT)
    with pytest.raises(InputError, match=r"the list is for reading; give the table beside it, s.parquet"):
        rf.distill(data, "dm+pruned:by=score", scores=str(tmp_path / "s.csv"), **SHORT)
    with pytest.raises(InputError, match=r"keep=0.01 leaves 1 of the"):
        rf.distill(data, "dm+pruned:by=score,keep=.01", **{**SHORT, "ipc": 5})


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("dm+relabelled:share=1", "share=1: it must be a finite number, at least 0 and below 1, or auto"),
        ("dm+relabelled:share=-.1", "share=-.1: it must be"),
        ("dm+pruned:by=score,keep=0", "keep=0: it must be a finite number, above 0 and at most 1, or auto"),
        ("dm+pruned:by=truth,keep=.5", "keep=.5 means nothing with by=truth"),
        ("dm+pruned:by=loss,terms=both", "terms=both means nothing with by=loss"),
        ("dm+relabelled:by=influence", "by=influence means nothing with relabelled"),
        ("dm+scores:by=truth", "by=truth means nothing with scores"),
        ("dm+scores:tau=2", "tau means nothing with scores: by, terms do"),
        ("dm+influence:keep=auto,link=top", "keep=auto is for pruned and selected"),
        ("dm+influence:share=.1", "share=.1 means nothing with influence"),
        ("random+influence", "takes no weights of this kind: pruned, selected, relabelled, scores"),
        ("kcenter+scores", "kcenter does not read weights; random and herding do"),
        ("full+scores", "full does not read weights"),
        ("random+pruned", "by=influence ranks by the method's own objective, and random has none"),
        ("influence:on=validation,easiest=1", "easiest is the other end of on=objective"),
        ("herding:on=validation", "on=validation means nothing for herding"),
    ],
)
def test_arms_that_mean_nothing_are_refused(arm, message):
    with pytest.raises(InputError) as caught:
        parse_arm(arm)
    assert message in str(caught.value)


def test_a_users_own_validation_set_decides(tables, tmp_path):
    own = rf.load("digits", rows=200)
    pair = (own.train.images.numpy(), own.train.labels.numpy())
    data = rf.load(pair, validation=(own.val.images.numpy(), own.val.labels.numpy()))
    run = rf.distill(data, "random+pruned:by=score,keep=.5", out=tmp_path / "a", **SHORT)
    assert torch.equal(-load_file(run.folder / KEPT)["scores"], table_of(data)["implicit"]), "its risk alone counts"
    assert run.card["cleaned"]["decided"] == data.validation
    for arm, on in (("influence", "validation"), ("influence:on=objective", None)):
        run = rf.select(data, arm, **{k: v for k, v in {**SHORT, "ipc": 3, "iterations": 1}.items() if k != "real_batch"})
        implicit = table_of(data)["implicit"]
        best = [data.train.members(c)[implicit[data.train.members(c)].argsort()[:3]] for c in range(10)]
        rows = data.train.rows[torch.cat(best)].tolist()
        assert (run.card["rows"] == rows) == (on == "validation")
    assert rf.select(own, "influence:on=validation", **{k: v for k, v in SHORT.items() if k != "real_batch"}).card["rows"]


def test_weights_of_a_table_are_the_links(tables, data, tmp_path):
    """sigmoid of the clipped score over 1.4826 MAD, literally; of the loss above its mean; dealt out again in each class."""
    table = table_of(data)

    def literal(value):
        deviation = (value - value.median()).abs().median()
        return 2 / (1 + torch.exp((value / (1.4826 * deviation)).clamp(-2, 2)))

    found = {}
    for by in ("score", "held-out-loss", "random"):
        run = rf.distill(data, f"dm+scores:by={by}", out=tmp_path / by, **SHORT)
        found[by] = load_file(run.folder / KEPT)["weights"]
    assert torch.allclose(found["score"], literal(table["both"]), rtol=1e-12)
    assert torch.allclose(found["held-out-loss"], literal(table["loss"] - table["loss"].mean()), rtol=1e-12)
    for label in range(10):
        at = data.train.members(label)
        assert sorted(found["random"][at].tolist()) == sorted(found["score"][at].tolist())
    assert not torch.equal(found["random"], found["score"])


def test_a_selection_by_validation_says_whose_images_decided(tables, data, tmp_path):
    run = rf.select(data, "influence:on=validation", out=tmp_path / "run", **SHORT)
    said = run.card["cleaned"]
    assert (said["kind"], said["rows"], said["decided"]) == ("chosen", 10, "cut from train")
    assert 0 < said["auc"] < 1
    assert "validation images cut from train" in (run.folder / "report.html").read_text()


def test_a_table_that_no_arm_goes_by_is_refused(data, tmp_path):
    """Nothing would be cleaned by it; beside an arm that goes by it, others may be as they are."""
    saved = rf.score(data, folds=2, epochs=1, width=4, terms="explicit")
    saved.save(tmp_path / "s.parquet")
    scores = str(tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"scores=.*s\.parquet'?: no arm here goes by it"):
        rf.distill(data, "dm", scores=scores, **SHORT)
    with pytest.raises(InputError, match="no arm here goes by it"):
        rf.compare(data, ["random", "dm"], seeds=1, scores=scores, **SHORT)
    rows = rf.compare(data, ["random", "random+pruned:by=score,keep=.5"], seeds=1, controls=False, scores=scores, **SHORT).rows
    assert [row["arm"] for row in rows] == ["random", "random+pruned:by=score,keep=.5"]


def counts(found):
    return found.set.labels.bincount(minlength=10).tolist()


@pytest.mark.parametrize("method", ["dm", "random"])
def test_a_cleaned_arm_stores_as_many_of_each_class_as_the_arm_without(tables, method):
    """Proportional to the classes before cleaning, however many labels change or which rows go."""
    whole = rf.load("digits", noise="asymmetric:0.6", rows=300)
    fewer = (whole.train.labels > 4) | (torch.arange(len(whole.train)) % 2 == 0)
    data = replace(whole, train=whole.train.take(fewer.nonzero().flatten()))
    own = {**SHORT, "ipc": 3, "allocation": "proportional", "iterations": 1}
    base = counts(rf.distill(data, method, **own))
    assert len(set(base)) > 1
    changed = []
    for arm in ("relabelled:by=truth", "relabelled:share=.3", "pruned:by=truth", "pruned:by=random,keep=.6"):
        run = rf.distill(data, f"{method}+{arm}", **own)
        assert counts(run) == base
        changed.append(run.card["cleaned"]["rows"])
    assert min(changed) > 0


def test_arms_without_room_once_they_have_cleaned_stop_as_runs_do(tables, data):
    """A line with the arm, the seed and what would be right: a recipe leaves such a unit out and goes on."""
    most = int(data.train.labels.bincount().min())
    left = r"random\+relabelled:share=.9, seed 0: \d+ training images are left of class '\d'"
    with pytest.raises(
        RunError, match=f"{left}, fewer than its {most} distilled ones: a smaller share or a smaller ipc would do"
    ):
        rf.distill(data, "random+relabelled:share=.9", **{**SHORT, "ipc": most})
    with pytest.raises(RunError, match=r"a larger keep or a smaller ipc would do"):
        rf.distill(data, "dm+pruned:by=score", **{**SHORT, "ipc": most})
    with pytest.raises(
        RunError,
        match=r"fewer than the 16 that factor=2 lays into 4 stored ones: a larger keep or a smaller factor or",
    ):
        rf.distill(data, "random+pruned:by=score,factor=2", **{**SHORT, "ipc": 4})
    assert len(rf.distill(data, "random+pruned:by=score", **{**SHORT, "ipc": 4}).set) == 40


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (2, r"scores='FILE' of `refluence score` in 2 folds, or the data without that class would do"),
        (1, r"has 1: the data without that class would do"),
    ],
)
def test_a_class_below_the_folds_of_the_table_is_said_of_the_arm(tables, data, left, right):
    members = data.train.members(3)
    small = replace(data, train=data.train.take(torch.cat([members[:left], (data.train.labels != 3).nonzero().flatten()])))
    for arm in ("random+pruned:by=score,keep=.6", "dm+relabelled", "random+scores"):
        with pytest.raises(NoRoomError, match=rf"is made in 5 folds, so class '3' needs at least 5 training images.*{right}"):
            rf.distill(small, arm, **SHORT)
    assert tables == []


def test_the_card_says_how_many_got_another_label(tables, data, tmp_path):
    run = rf.distill(data, "random+relabelled", out=tmp_path / "a", **SHORT)
    kept, said = load_file(run.folder / KEPT), run.card["cleaned"]
    before = by_row(kept["relabelled_rows"], data.train.rows, data.train.labels)
    other = int((kept["labels"] != before).sum())
    assert (said["rows"], said["changed"]) == (len(before), other)
    assert 0 < other < len(before), "some suggestions are the label that they have"
    assert f"{len(before)} of {len(data.train)} given the suggested class (37\u202f%), {other} of them another" in sentence(
        said
    )
    assert rf.distill(data, "random+pruned:by=score", **SHORT).card["cleaned"]["changed"] is None


def test_pictures_of_the_other_end_are_those_that_were_left_out(data, tmp_path):
    run = rf.distill(data, "random+pruned:by=loss,keep=.5,sign=-1", out=tmp_path / "a", **SHORT)
    kept = load_file(run.folder / KEPT)
    shown = load_file(run.folder / "cleaned_images.safetensors")["rows"].tolist()
    best = [data.train.members(c)[kept["scores"][data.train.members(c)].argsort(descending=True)] for c in range(10)]
    assert shown == [int(row) for members in best for row in data.train.rows[members[:2]]]
    assert not set(shown) & set(kept["rows"].tolist())


def test_bad_columns_and_facts_of_a_file_are_one_line(tables, data, tmp_path):
    table, n = table_of(data), len(data.train)
    good = rf.ScoreTable.of(data, table["both"], torch.ones(n), table["loss"], suggested=table["suggested"])

    def refused(message, arm="random+scores", facts=None, **changes):
        replace(good, facts=facts or {}, **changes).save(tmp_path / "s.parquet")
        with pytest.raises(InputError, match=rf"scores='.*s.parquet'.*{message}") as caught:
            rf.distill(data, arm, scores=str(tmp_path / "s.parquet"), **SHORT)
        assert "\n" not in str(caught.value)

    for value in (math.nan, math.inf, -0.1):
        weight = torch.ones(n, dtype=torch.float64).index_fill(0, torch.tensor([4]), value)
        refused("1 values of weight are not finite numbers of at least 0", weight=weight)
    for share in (1, -0.1, "0.4", True):
        refused(f"its wrong_share is {share!r}: it must be a number from 0 to below 1", facts={"wrong_share": share})
    refused(r"suggested of row \d+ is 10, but there are classes 0 … 9", suggested=torch.full((n,), 10), classes=())
    names = [*data.classes, "letter"]
    eleven = {"facts": {"classes": names}, "classes": tuple(names)}
    odd = table["suggested"].index_fill(0, torch.tensor([1, 2]), 10)
    refused("suggests a class that is not here for 2 images", "random+relabelled:share=.2", suggested=odd, **eleven)
    assert rf.distill(data, "random+pruned:by=score,keep=.5", scores=str(tmp_path / "s.parquet"), **SHORT)
    refused("has another label or file", facts={"classes": ["letter", *data.classes[1:]]})


def test_classes_of_a_file_are_matched_by_name(tables, data, tmp_path):
    table = table_of(data)
    good = rf.ScoreTable.of(data, table["both"], torch.ones(len(data.train)), table["loss"], suggested=table["suggested"])
    good.save(tmp_path / "s.parquet")
    turned = replace(good, label=9 - good.label, suggested=9 - good.suggested, facts={"classes": list(data.classes[::-1])})
    turned.save(tmp_path / "turned.parquet")
    one, other = (
        rf.distill(data, "random+relabelled:share=.3", scores=str(tmp_path / name), out=tmp_path / name[:-8], **SHORT)
        for name in ("s.parquet", "turned.parquet")
    )
    assert torch.equal(load_file(one.folder / KEPT)["labels"], load_file(other.folder / KEPT)["labels"])


def test_a_table_beside_drop_or_relabel_of_itself(tables, data, tmp_path):
    """What the source was changed by is named, and a share is not taken twice."""
    table = table_of(data)
    facts = {"wrong_share": SHARE, "noise": "symmetric:0.4"}
    good = rf.ScoreTable.of(
        data, table["both"], torch.ones(len(data.train)), table["loss"], suggested=table["suggested"], facts=facts
    )
    good.save(tmp_path / "s.parquet")
    file, source = str(tmp_path / "s.parquet"), {"noise": "symmetric:0.4", "rows": 300}
    moved = rf.load("digits", relabel=f"{file}:.4", **source)
    with pytest.raises(
        InputError, match=r"relabel='.*s.parquet:.4' gave some of these rows another label .*: leave it out, or"
    ):
        rf.distill(moved, "random+pruned:by=score,keep=.5", scores=file, **SHORT)
    rest = rf.load("digits", drop=f"{file}:.4", **source)
    for arm, name in (
        ("random+pruned:by=score", "keep"),
        ("random+relabelled", "share"),
        ("dm+pruned:by=held-out-loss", "keep"),
    ):
        with pytest.raises(InputError, match=rf"{name}=auto: drop='.*s.parquet:.4' has left images out .*: give {name}=P"):
            rf.distill(rest, arm, scores=file, **SHORT)
    assert rf.distill(rest, "random+pruned:by=score,keep=.9", scores=file, **SHORT).card["cleaned"]["of"] == len(rest.train)
    assert rf.distill(data, "random+pruned:by=score", scores=file, **SHORT).card["cleaned"]["share"] == pytest.approx(SHARE)
