"""The verdict table on the terminal: columns that are there only where rows have them."""

import io

import pytest
from rich.console import Console

from refluence.commands import table as module
from refluence.commands.table import LEGEND, show
from refluence.evaluate import summarise, verdict

COST = {"seconds": 1.0, "ess": None, "protocol": "dc-cpu", "imbalance": None}


@pytest.fixture
def shown(monkeypatch, capsys, tmp_path):
    """The lines that are printed for rows."""

    def of(rows):
        console = Console(file=io.StringIO(), width=200)
        monkeypatch.setattr(module, "print_table", lambda table, width: console.print(table))
        summary = summarise(rows)
        show({"rows": rows, "summary": summary, "verdict": verdict(summary, rows)}, tmp_path)
        return console.file.getvalue().splitlines() + capsys.readouterr().out.splitlines()

    return of


def rows(arm, *accuracies, **more):
    return [{"arm": arm, "seed": s, "accuracy": a, **COST, **more} for s, a in enumerate(accuracies)]


def test_share_and_auc_stand_where_rows_have_them(shown):
    lines = shown([*rows("random", 50.0, 52.0), *rows("random+relabelled", 60.0, 61.0, share=0.4, auc=0.98)])
    heads, plain, cleaned = (next(line for line in lines if word in line) for word in ("accuracy", "│ random ", "+relabelled"))
    assert [word.strip() for word in heads.strip("┃").split("┃")][-3:] == ["share", "AUC", "seconds"]
    assert [cell.strip() for cell in plain.strip("│").split("│")][-3:] == ["", "", "1.0"]
    assert [cell.strip() for cell in cleaned.strip("│").split("│")][-3:] == ["0.40", "0.98", "1.0"]
    assert "ess" in next(line for line in shown(rows("dc", 50.0, ess=0.9)) if "accuracy" in line)
    assert "; ".join(LEGEND.values()) in lines
    assert lines[-1].startswith("random+relabelled: +9.5 points over random as it is [")


def test_an_auc_that_is_not_known_is_blank_and_without_any_there_is_no_column(shown):
    lines = shown([*rows("dm", 50.0), *rows("dm+pruned:by=score", 60.0, share=0.25)])
    assert "AUC" not in next(line for line in lines if "accuracy" in line)
    assert "share" in next(line for line in lines if "accuracy" in line)
    assert LEGEND["share"] in lines, "of the columns that are there"
    lines = shown([*rows("random", 50.0), *rows("dm", 60.0)])
    assert not any(words in line for words in LEGEND.values() for line in lines)
    assert not any("share" in line for line in lines)


def test_the_accuracy_of_a_teacher_has_a_column(shown):
    lines = shown([*rows("scratch", 80.0, 82.0), *rows("kd", 70.0, 71.0, teacher_accuracy=60.0)])
    heads, alone, taught = (next(line for line in lines if word in line) for word in ("accuracy", "│ scratch ", "│ kd "))
    place = [word.strip() for word in heads.strip("┃").split("┃")].index("teacher %")
    assert [line.strip("│").split("│")[place].strip() for line in (alone, taught)] == ["", "60.0"]
    assert lines[-1].startswith("the teacher (60.0 %) is less accurate than scratch (81.0 %). ")
