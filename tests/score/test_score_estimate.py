"""What scores would take is measured in units that add up to the work, and nothing is written."""

import re
from dataclasses import replace

import pytest
import torch

from refluence.cli import main
from refluence.compute import Compute
from refluence.influence.curvature import Curvature
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec
from refluence.score.folds_work import FoldsWork
from refluence.score.job import Scoring, Trained
from refluence.score.settings import CrossFit
from refluence.score.trained_work import TrainedWork
from refluence.seeds import streams
from refluence.work import Prepared
from support.tiny_data import split, tiny_dataset

FEW = CrossFit(folds=3, epochs=2, batch=4, checkpoints=2, fit=8, curvature=Curvature("ggn", iterations=5))


@pytest.mark.parametrize(
    ("settings", "trained", "expected"),
    [
        (FEW, False, {"training": 3 * 2 * 5, "validation gradients": 6, "products": 30, "rows": 6 * 12 / 64}),
        (replace(FEW, terms="explicit", networks="all"), False, {"training": 30, "rows": 6 * 34 / 64}),
        (replace(FEW, curvature=Curvature("kfac")), True, {"validation gradients": 1, "solves": 1, "rows": 34 / 64}),
    ],
    ids=["folds", "explicit", "trained"],
)
def test_the_units_of_an_estimate_add_up_to_the_work(settings, trained, expected):
    data = split(tiny_dataset())
    spec = ModelSpec("convnet1", data.shape, len(data.classes), width=4)
    net = Trained("digest", net=spec.fresh(torch.Generator().manual_seed(0))) if trained else None
    plan = Scoring(settings, Weighting("influence", bag="all"), trained=net)
    work = plan.open(data, spec, streams(0), Compute(torch.device("cpu")), Prepared())
    assert isinstance(work, TrainedWork if trained else FoldsWork)
    costs = {cost.what: cost for cost in work.costs()}
    assert {name: pytest.approx(cost.count) for name, cost in costs.items()} == expected
    if settings.curvature.kind != "kfac":
        for cost in costs.values():
            cost.run(2)
    assert work.step == 0
    assert work.artifact().stored_bytes > 0


def test_estimate_score_says_what_a_run_would_take(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "estimate",
        "score",
        "--data",
        "digits",
        "--folds",
        "2",
        "--epochs",
        "1",
        "--width",
        "4",
        "--threads",
        "1",
        "--quiet",
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"1295 instances: \d+ s to score, peak memory [\d.]+ \wB, [\d.]+ kB stored", said), said
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
