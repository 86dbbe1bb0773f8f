"""The code that the README and examples/ show, executed, and held to what it claims."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from refluence.influence import effective_sample_size
from refluence.matching.gradients import per_sample_gradients
from refluence.models import ModelSpec, build

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "own_loop.py"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme(tmp_path_factory) -> dict[str, Any]:
    """The names that the README's python blocks define, run one after the other in one namespace and an empty folder."""
    found = blocks(ROOT / "README.md")
    assert found, "the README shows the plug-in use"
    names: dict[str, Any] = {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        for block in found:
            exec(compile(block, "README.md", "exec"), names)
    return names


@pytest.fixture
def problem() -> dict[str, Any]:
    """A tiny network, six synthetic images of one class and 24 real ones that differ much from each other."""
    g = torch.Generator().manual_seed(0)
    net = build(ModelSpec("convnet1", (1, 8, 8), 3, width=6), g)
    return {
        "net": net,
        "images": torch.randn(6, 1, 8, 8, generator=g, requires_grad=True),
        "labels": torch.ones(6, dtype=torch.long),
        "real_x": torch.randn(24, 1, 8, 8, generator=g) * torch.linspace(0.2, 3, 24).view(-1, 1, 1, 1),
        "real_y": torch.ones(24, dtype=torch.long),
    }


def brute_force(problem: dict[str, Any]) -> tuple[dict, dict]:
    """Per-sample gradients, and the synthetic one."""
    net = problem["net"]
    names = [n for n, p in net.named_parameters() if p.dim() > 1]
    (_, each), *rest = per_sample_gradients(net, problem["real_x"], problem["real_y"], names)
    assert not rest
    parameters = dict(net.named_parameters())
    loss = cross_entropy(net(problem["images"]), problem["labels"])
    return each, dict(zip(names, torch.autograd.grad(loss, [parameters[n] for n in names]), strict=True))


def test_the_readme_weights_are_the_softmax_of_the_influence(readme, problem):
    """Mean 1, not all alike, and equal to what per-sample gradients and a loop give."""
    _, omega = readme["matching_loss"](**problem)
    assert abs(float(omega.mean()) - 1) < 1e-5
    assert effective_sample_size(omega) < 0.9
    each, a = brute_force(problem)
    b = {n: g.mean(0).requires_grad_() for n, g in each.items()}
    v = torch.autograd.grad(readme["distance"](a, b), list(b.values()))
    score = sum((g * d).flatten(1).sum(1) for g, d in zip(each.values(), v, strict=True))
    expected = 24 * torch.softmax((score - score.mean()) / score.std(correction=0), 0)
    torch.testing.assert_close(omega, expected, rtol=1e-3, atol=1e-4)


def test_the_readme_loss_is_that_of_the_weighted_target_and_goes_down(readme, problem):
    loss, omega = readme["matching_loss"](**problem)
    each, a = brute_force(problem)
    weighted = {n: (omega.view(-1, *[1] * (g.dim() - 1)) * g).mean(0) for n, g in each.items()}
    plain = {n: g.mean(0) for n, g in each.items()}
    torch.testing.assert_close(loss.detach(), readme["distance"](a, weighted), rtol=1e-4, atol=1e-4)
    assert all((weighted[n] - plain[n]).norm() > 0.05 * plain[n].norm() for n in plain)

    images, losses = problem["images"], []
    for _ in range(15):
        loss, _ = readme["matching_loss"](**problem)
        losses.append(float(loss.detach()))
        with torch.no_grad():
            images -= 1.0 * torch.autograd.grad(loss, images)[0]
    assert losses[-1] < 0.8 * losses[0]


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_example_learns_with_weights_of_mean_one(example):
    log = example["distil"](steps=12)
    assert all(abs(mean - 1) < 1e-4 for mean in log["mean"])
    assert 0.05 < sum(log["ess"]) / len(log["ess"]) < 0.9
    assert sum(log["loss"][-4:]) < 0.8 * sum(log["loss"][:4])


def test_the_example_takes_a_distance_of_ones_own(example):
    log = example["distil"](steps=8, distance=example["squared"])
    assert max(log["ess"]) < 0.95
    assert sum(log["loss"][-3:]) < 0.8 * sum(log["loss"][:3])


def test_the_example_at_infinite_tau_is_the_unweighted_loop(example):
    log = example["distil"](steps=2, tau=float("inf"))
    assert set(log["ess"]) == {1.0}
    assert sum(log["loss"]) == pytest.approx(sum(log["plain"]), rel=1e-5)


def test_the_readme_finds_the_wrong_label_first(readme, capsys):
    """Two clusters and one wrong label: more weight on it raises the validation loss."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 2
    x = torch.randn(24, 4, generator=g) + 3 * (2 * y[:, None] - 1)
    wrong = torch.where(torch.arange(24) == 7, 1 - y, y)
    net = torch.nn.Linear(4, 2)
    torch.nn.init.zeros_(net.weight)
    found = readme["most_harmful"](net, [(x[:12], wrong[:12])], [(x[12:], y[12:])], count=3)
    assert found.tolist()[0] == 7
    assert len(found) == 3
    assert capsys.readouterr().out.split()


def test_the_readme_distils_without_the_rows_that_it_drops(readme):
    """Two fifths of the labels are wrong: most of those that are left are right."""
    table, clean = readme["table"], readme["clean"].train
    assert len(clean) == len(table) - round(0.4 * len(table))
    assert float((clean.labels == clean.stored).double().mean()) > 0.8
    assert 0.3 < table.wrong_share < 0.6


def test_the_readme_loss_of_a_classifier_is_weighted_row_by_row(readme):
    data, w = readme["data"], readme["w"]
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).double()
    x, y = data.pixels(data.train).double(), data.train.labels
    batch = torch.tensor([5, 0, 900, 41])
    logs = net(x).log_softmax(1).detach()
    each = [-float(w[j]) * float(logs[j, y[j]]) for j in batch.tolist()]
    assert float(readme["weighted_loss"](net, x, y, batch).detach()) == pytest.approx(sum(each) / 4, rel=1e-9)
    assert len(w) == len(y)
    assert 0.23 < float(w.min()) < 1 < float(w.max()) < 1.77


def test_influence_takes_about_five_lines_of_the_example():
    """Between the rulers, and the same calls in the README."""
    between = re.split(r"^ *# -{20,}.*$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    lines = [line for line in between.splitlines() if line.strip()]
    assert len(lines) <= 5
    calls = [n.func for block in blocks(ROOT / "README.md") for n in ast.walk(ast.parse(block)) if isinstance(n, ast.Call)]
    called = {getattr(function, "attr", getattr(function, "id", None)) for function in calls}
    assert {"capture", "second_derivative", "weights", "gradient", "scores"} <= called


def test_the_example_of_a_transfer_says_which_labels_weigh_less(capsys):
    runpy.run_path(str(ROOT / "examples" / "transfer.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "698 parameters" in said
    weights = ast.literal_eval(re.search(r"labels: (\{.*\})", said)[1])
    assert weights["noisy"] < weights["clean"]
    assert len(ast.literal_eval(re.search(r"first: (\[.*\])", said)[1])) == 10
