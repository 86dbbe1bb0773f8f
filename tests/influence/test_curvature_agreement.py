"""The truth of benchmarks/curvature_agreement.py, and that its rows make tables."""

import json

import curvature_agreement as benchmark
import pytest
import torch

from refluence.influence import cross_entropy
from support.cases import make
from support.curvature import exact_hessian, gauss_newton


def test_its_dense_matrix_is_the_gauss_newton_matrix():
    case = make("instance")
    want = gauss_newton(case, cross_entropy, case.y)
    torch.testing.assert_close(benchmark.dense(case.model, case.x), want, rtol=1e-10, atol=1e-12 * float(want.abs().max()))


def test_its_lowest_eigenvalue_is_that_of_the_hessian():
    case = make("mlp")
    want = float(torch.linalg.eigvalsh(exact_hessian(case, cross_entropy, case.y)).min())
    assert benchmark.lowest(case.model, [(case.x, case.y)]) == pytest.approx(want, rel=0.02)


def test_the_stored_rows_make_a_table_for_every_network(capsys):
    rows = [json.loads(line) for line in benchmark.RAW.read_text().splitlines()]
    benchmark.tables(rows)
    out = capsys.readouterr().out
    for name in ("mlp", "convnet"):
        assert f"### {name}: " in out
    best = [r for r in rows if r["method"] == "ggn 1e-4" and r["converged"]]
    assert best
    assert all(r["spearman"] > 0.999 for r in best)
