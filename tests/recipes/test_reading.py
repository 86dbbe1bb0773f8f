"""How a part's data are read, and that rows of data that were read otherwise are never mixed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from refluence.arm import read_arm
from refluence.data.dataset import Split
from refluence.errors import InputError
from refluence.options import SourceOptions
from refluence.recipes.base import Part
from refluence.recipes.find import recipes
from refluence.recipes.reading import in_words, reading, said
from refluence.recipes.rows import borrow, present
from refluence.recipes.run import sources
from refluence.recipes.table import tabulate
from refluence.recipes.trial import spread
from refluence.report.recipe import cells, columns
from refluence.run.rows import read_rows
from support.recipe_rows import row

NOISY = recipes()["noisy"]
DIGITS, HUMAN = NOISY.parts("cpu")
PLAIN = Part("plain", "digits", 10, ("random", "dm"), ("dsa-cpu",))


def test_a_part_is_read_as_it_says_under_what_the_user_says():
    assert reading(PLAIN, {"digits": "digits"}, SourceOptions()) == SourceOptions()
    assert reading(DIGITS, {"digits": "digits"}, SourceOptions()) == SourceOptions(noise="symmetric:0.4")
    asked = SourceOptions(noise="asymmetric:0.2", image_size=8)
    assert reading(DIGITS, {"digits": "digits"}, asked) == asked


@pytest.mark.parametrize("folder", [True, False])
def test_labels_of_a_part_are_in_the_file_that_is_given(folder, tmp_path):
    (tmp_path / "human").mkdir()
    path = tmp_path / "human" / "train.parquet"
    path.touch()
    assert HUMAN.wants == ("cifar10", "cifar10n")
    found = reading(HUMAN, {"cifar10": "cifar10", "cifar10n": str(path.parent if folder else path)}, SourceOptions())
    assert found == SourceOptions(labels=f"{path}:random_label1", rows=10_000)
    assert said(found) == {"labels": "human/train.parquet:random_label1", "rows": 10_000}
    assert in_words(said(found)) == "labels human/train.parquet:random_label1, rows 10000"


def test_what_comes_with_the_package_need_not_be_given():
    assert NOISY.sets("cpu") == ("cifar10", "cifar10n", "digits")
    assert sources(NOISY, "cpu", ()) == {"digits": "digits"}
    assert sources(NOISY, "cpu", ("digits",)) == {"digits": "digits"}
    assert sources(NOISY, "cpu", ("a/b", "cifar10n=c", "digits=d")) == {"cifar10": "a/b", "cifar10n": "c", "digits": "d"}
    assert sources(recipes()["fig3"], "cpu", ("digits",)) == {"cifar10": "digits"}
    with pytest.raises(InputError, match="data gives cifar10 twice"):
        sources(NOISY, "cpu", ("a", "b"))


def unit(arm="random", seed=0):
    return SimpleNamespace(arm=read_arm(arm), seed=seed, what=f"{arm} seed {seed}", plan=SimpleNamespace(iterations=3), nets=2)


def facts(part, read):
    made = row(NOISY, part, "random", 0, 50.0, size="cpu", source=read, settings="a", precision="fp32")
    return {k: v for k, v in made.items() if k not in ("arm", "seed", "protocol", "accuracy", "nets")}


def written(path, *rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_rows_of_another_reading_are_refused(tmp_path):
    here = facts(DIGITS, {"noise": "symmetric:0.4"})
    own = {**here, "arm": "random", "seed": 0, "protocol": "dsa-cpu", "nets": [1.0, 2.0]}
    path = written(tmp_path / "rows.jsonl", own)
    assert present(unit(), here, path) == {"dsa-cpu"}
    with pytest.raises(InputError, match=r"with noise symmetric:0\.4, here it is noise symmetric:0\.2"):
        present(unit(), {**here, "source": {"noise": "symmetric:0.2"}}, path)
    with pytest.raises(InputError, match=r"with noise symmetric:0\.4, here it is the source as it is"):
        present(unit(), {**here, "source": {}}, path)


def test_only_rows_of_the_same_reading_are_borrowed(tmp_path):
    lent = {**facts(PLAIN, {}), "recipe": "another", "arm": "random", "seed": 0, "protocol": "dsa-cpu", "nets": [1.0, 2.0]}
    older = {k: v for k, v in lent.items() if k != "source"}
    for there in (lent, older):
        path = written(tmp_path / "rows.jsonl", there)
        assert borrow(unit(), facts(DIGITS, {"noise": "symmetric:0.4"}), {"dsa-cpu"}, path) == set()
        assert borrow(unit(), facts(PLAIN, {}), {"dsa-cpu"}, path) == {"dsa-cpu"}
        assert len(read_rows(path)) == 2
    path = written(tmp_path / "rows.jsonl", {**lent, "source": {"noise": "symmetric:0.4"}})
    assert borrow(unit(), facts(DIGITS, {"noise": "symmetric:0.4"}), {"dsa-cpu"}, path) == {"dsa-cpu"}


def test_a_table_is_of_one_reading_and_says_which():
    read = {"noise": "symmetric:0.4"}
    rows = [row(NOISY, DIGITS, arm, seed, 50.0 + seed, source=read) for arm in ("dm", "random") for seed in (0, 1)]
    found = tabulate(NOISY, [DIGITS], "cpu", rows)
    assert found["parts"][0]["source"] == read
    assert "The data of part digits-symmetric are read with noise symmetric:0.4." in found["notes"]
    with pytest.raises(InputError, match=r"they are of noise symmetric:0\.4 and noise symmetric:0\.2; keep them in two files"):
        tabulate(NOISY, [DIGITS], "cpu", [*rows[:-1], {**rows[-1], "source": {"noise": "symmetric:0.2"}}])


def test_auc_and_share_stand_in_tables_that_have_them():
    of = {"dm": {}, "dm+pruned:by=score": {"auc": 0.9, "share": 0.375}}
    rows = [row(NOISY, DIGITS, arm, seed, 50.0 + seed, **more) for arm, more in of.items() for seed in (0, 1)]
    found = tabulate(NOISY, [replace(DIGITS, arms=tuple(of), pairs=())], "cpu", rows)
    heads = columns(found)
    assert {"AUC", "share"} < set(heads)
    plain, pruned = (dict(zip(heads, line, strict=True)) for line in cells(found))
    assert (plain["AUC"], plain["share"]) == ("", "")
    assert (pruned["AUC"], pruned["share"]) == ("0.90", "0.38")
    assert pruned["against"] == "dm"
    without = tabulate(NOISY, [DIGITS], "cpu", [{k: v for k, v in r.items() if k not in ("auc", "share")} for r in rows])
    assert not {"AUC", "share"} & set(columns(without))
    assert all(len(line) == len(columns(without)) for line in cells(without))


def test_a_trial_has_instances_of_every_part_of_a_class():
    rows = torch.arange(100)
    split = Split(torch.zeros(100, 1, 2, 2), (rows >= 40).long(), rows)
    few = spread(split, 4)
    assert few.rows.tolist() == [0, 13, 26, 39, 40, 59, 79, 99]
    assert len(spread(split, 50)) == 40 + 50
