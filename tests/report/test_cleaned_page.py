"""The page of arms that clean or weigh training images beforehand: how many, by what, whose images decided, some of them."""

import json
import re

import pytest

from refluence import report
from refluence.errors import InputError
from refluence.report import cleaned
from refluence.report.reading import read_unit, read_units
from report import fabricate

CLASSES = ["circle", "square", "ring"]
ARMS = {
    "dm": 80.1,
    "dm+pruned:by=score": 86.7,
    "dm+pruned:by=random,keep=auto": 80.0,
    "dm+pruned:by=held-out-loss": 86.1,
    "dm+relabelled": 86.7,
    "dm+scores": 82.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = fabricate.compare(tmp_path_factory.mktemp("cleaned") / "c", seeds=2, arms=ARMS, classes=CLASSES, ipc=1, size=8)
    report.write(made)
    return made


def words_of(folder) -> str:
    text = (folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"<wbr>", "", re.sub(r"<(?!wbr).*?>", " ", text)))


def test_a_row_for_each_arm_says_how_many_by_what_and_whose_images_decided(folder):
    found = cleaned.section(read_units(folder))
    lines = {line["Arm"]: list(line.values())[1:] for line in found.lines}
    assert lines["dm+pruned:by=score"] == [
        "111 of 300 left out (37\u202f%)",
        "by score",
        "0.98",
        "validation images cut from train",
    ]
    assert lines["dm+pruned:by=random,keep=auto"] == ["111 of 300 left out (37\u202f%)", "at random", "0.50", "–"]
    assert lines["dm+relabelled"][0] == "111 of 300 given the suggested class (37\u202f%)"
    assert lines["dm+scores"][0] == "300 weighed"
    assert "dm" not in lines
    assert [name for name, _ in found.words] == ["by score", "by held-out loss", "at random"]


def test_validation_images_of_another_source_are_named(tmp_path):
    folder = fabricate.unit(tmp_path / "u", "random+pruned:by=score", classes=CLASSES, ipc=1, size=8)
    card = json.loads((folder / "distilled" / "card.json").read_text())
    card["cleaned"] |= {"decided": "clean/val", "auc": None, "share": None}
    (folder / "distilled" / "card.json").write_text(json.dumps(card))
    (line,) = cleaned.section([read_unit(folder)]).lines
    assert (line["AUC"], line["Whose images decided"]) == ("–", "validation images of clean/val")
    report.write(folder)
    assert "validation images of clean/val" in words_of(folder)
    given = {**card["cleaned"], "decided": None, "table": "runs/scores.parquet", "auc": 0.9}
    assert cleaned.sentence(given) == (
        "training images: 111 of 300 left out (37\u202f%), by score; those known to be wrong are found with an AUC of 0.90; "
        "the table scores.parquet decided"
    )
    assert cleaned.sentence({**given, "decided": "clean/val"}).endswith(
        "; the table scores.parquet, by validation images of clean/val decided"
    )


def test_pictures_are_shown_once_and_none_that_chance_chose(folder):
    units = sorted(read_units(folder), key=lambda unit: list(ARMS).index(unit.arm))
    shown = cleaned.section(units).pictures
    assert [part.source for part in shown] == [
        "dm+pruned:by=score, dm+pruned:by=held-out-loss; seed 0",
        "dm+relabelled; seed 0",
    ]
    first, other = shown[1].tiles[:2]
    assert (first.caption, first.suggested, first.stored) == ("circle", "→ square", "")
    assert (other.suggested, other.stored) == ("→ square", "stored: square")
    assert other.words == "circle, row 7, now square, stored: square"
    assert "the one that it got. Stored is the label of the source" in shown[1].words
    assert shown[0].tiles[0].suggested == ""


def test_what_is_not_there_is_left_out(tmp_path, folder):
    bare = fabricate.unit(tmp_path / "u", "dm+relabelled", classes=CLASSES, ipc=1, size=8, without=("cleaned",))
    assert cleaned.section([read_unit(bare)]).pictures == []
    assert cleaned.section([read_unit(fabricate.unit(tmp_path / "v", "dm", classes=CLASSES, ipc=1, size=8))]) is None
    assert "The training images before the run" in words_of(folder)
    (bare / "cleaned_images.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"cleaned_images.safetensors cannot be read"):
        report.write(bare)


def test_the_table_of_a_comparison_has_share_and_auc_where_rows_have_them(folder, tmp_path):
    text = words_of(folder)
    assert " Share AUC ESS " in text
    assert " 0.37 0.98 1.00 " in text
    plain = fabricate.compare(tmp_path / "p", seeds=2, arms={"random": 70.0, "dm": 80.0}, classes=CLASSES, ipc=1, size=8)
    report.write(plain)
    assert "AUC" not in words_of(plain)
