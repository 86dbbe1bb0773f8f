"""The recorded run is a transfer's, its gradients are those of its epochs' weights, and the tables say what the rows say."""

from dataclasses import replace

import pytest
import torch
import transfer_truth as truth

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.data import SourceOptions, load
from refluence.influence import Trajectory
from refluence.seeds import streams
from refluence.transfer.job import Transferring
from refluence.transfer.kd import METHOD
from refluence.transfer.work import TransferWork


class Times(torch.nn.Module):
    """A constant factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


SHORT = truth.SETTINGS.with_(epochs=2)


@pytest.fixture(scope="module")
def teacher_and_problem():
    """A small teacher as it begins, and the problem on a few digits."""
    data = load("digits", SourceOptions(), per_class=1)
    data = replace(data, train=data.train.take(torch.arange(130)))
    teacher = truth.begun("convnet1:2", data, streams(9)).eval()
    own = truth.rows_of(data, data.train)
    with torch.no_grad():
        logits = 5 * teacher(own.x)
    risks = {name: truth.rows_of(data, data.val) for name in truth.RISKS}
    rows = truth.Rows(own.x, (own.y, logits))
    return teacher, truth.Problem(rows, own.y, logits, None, risks, torch.arange(len(data.val)), data, SHORT)


@pytest.fixture
def problem(teacher_and_problem):
    return teacher_and_problem[1]


def student(p, omega=None, kept=None, rng=None):
    net = truth.begun("convnet1:2", p.dataset, streams(3) if rng is None else rng)
    *_, net = truth.train(net, p.train, truth.KD, streams(3), p.settings, omega, kept)
    return net


def test_the_recorded_run_is_that_of_a_transfer(teacher_and_problem):
    teacher, problem = teacher_and_problem
    plan, spec = Transferring(METHOD, Arm("kd"), SHORT), truth.network("convnet1:2", problem.dataset.shape, 10)
    times_five = torch.nn.Sequential(teacher, Times(5)).eval()
    work = TransferWork(plan, problem.dataset, spec, streams(3), Compute(), times_five)
    assert len(list(work.steps())) == SHORT.epochs
    theirs, ours = work.student.state_dict(), student(problem).state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_the_gradient_is_that_of_an_instances_weight_in_an_epoch(problem):
    kept = Trajectory(SHORT.epochs * 130)
    net = student(problem, kept=kept)
    of = problem.risks["watching"]
    q, risk = truth.risk_gradient(net, [(of.x, of.y)], truth.CE)
    G = truth.unrolled_influence(net.train(), kept, {len(kept): q}, loss=truth.KD).view(SHORT.epochs, -1).sum(0)
    assert int((G != 0).sum()) > 100
    one, step = int(G.abs().argmax()), 0.05
    omega = torch.ones(130).index_fill_(0, torch.tensor([one]), 1 + step)
    moved = truth.judged(student(problem, omega), problem.risks)["watching"]
    assert moved - risk == pytest.approx(step * float(G[one]), rel=0.1)


def test_correlations_pair_a_score_with_the_epoch_that_follows():
    G = {"test": torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])}
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]])
    found = truth.correlations(scores, [0, 1], G)
    assert found["next"]["test"] == pytest.approx(0.0), "as the second epoch, against the third"
    assert found["end"]["test"] == 0.0, "weights that cancel have no order"


def test_claims_are_of_the_case_that_they_name(tmp_path):
    rows = [
        {
            "noise": 0.2,
            "share": 0.1,
            "student": "convnet1:32",
            "batch": 32,
            "lr": 0.2,
            "weighing": 70,
            "seed": seed,
            "score": "phi, ggn",
        }
        | {"auc": auc, "spearman": {how: {k: 0.5 for k in truth.RISKS} for how in ("end", "mean", "next")}}
        for seed, auc in enumerate((0.6, 0.8))
    ]
    assert "AUC" in truth.claims(rows)
    assert "phi, ggn 0.70 ± 1.27" in truth.claims(rows)
    assert "more validation rows" not in truth.claims(rows), "there is none with another share"
    page, raw = tmp_path / "page.md", tmp_path / "rows.jsonl"
    page.write_text("a\n<!-- transfer_truth: claims -->\nold\n<!-- end -->\nz\n")
    raw.write_text("".join(truth.json.dumps(row) + "\n" for row in rows))
    truth.write(page, raw)
    assert "old" not in page.read_text()
    assert page.read_text().endswith("<!-- end -->\nz\n")


def test_tables_have_means_intervals_and_no_column_without_a_number():
    about = {"noise": 0.0, "share": 0.1, "student": "convnet1:32", "batch": 32, "lr": 0.2, "weighing": 70, "score": "loss"}
    rho = {k: {"weighing": 0.5, "watching": 0.0, "test": 0.0} for k in ("end", "mean", "next")}
    rows = [about | {"seed": s, "spearman": rho | {"mean": {"weighing": v}}} for s, v in enumerate((0.1, 0.3))]
    text = truth.tables(rows)
    assert "n = 2**" in text
    assert "| loss | 0.20 ± 1.27 | 0.50 | 0.00 |" in text
    assert "AUC" not in text
