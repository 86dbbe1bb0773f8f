"""Each number of a set's quality against its closed form or a loop."""

import itertools
import json

import pytest
import torch

from refluence.data.distilled import DistilledSet
from refluence.errors import InputError
from refluence.evaluate import coverage, wasserstein
from refluence.evaluate.frechet import frechet
from refluence.evaluate.projection import project
from refluence.evaluate.protocols import protocols
from refluence.evaluate.quality import Features, quality
from refluence.evaluate.redundancy import mean_off_diagonal, parts, redundancy
from refluence.models import ModelSpec
from refluence.seeds import streams

ot = pytest.importorskip("ot")


def rows(count, features=3, seed=0):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standard(count, features, seed=0):
    """Rows with mean 0 and covariance 1 to the last digit."""
    x = rows(count, features, seed)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov(correction=1).clone()).T)


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form():
    """Of commuting covariances: |m|^2 + sum (sqrt a - sqrt b)^2."""
    x, a, b, shift = standard(40, 3), torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 1.0, 0.25]), torch.tensor([1.0, 0, 2])
    expected = 5 + float((a.sqrt() - b.sqrt()).square().sum())
    assert frechet(x * a.sqrt(), standard(30, 3, 1) * b.sqrt() + shift) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_takes_the_matrix_root_of_covariances_that_do_not_commute():
    first, second = rows(12), rows(9, seed=1) @ torch.tensor([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]]).double() + 1
    s, t = first.T.cov(), second.T.cov()
    values, vectors = torch.linalg.eigh(s)
    root = vectors @ values.sqrt().diag() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ t @ root).clamp_min(0).sqrt().sum()
    expected = (first.mean(0) - second.mean(0)).square().sum() + s.trace() + t.trace() - 2 * cross
    assert frechet(first, second) == pytest.approx(float(expected), rel=1e-9)


def test_the_frechet_distance_of_fewer_rows_than_features():
    few = rows(3, 20)
    assert frechet(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet(few, few + 1) == pytest.approx(20)
    with pytest.raises(InputError, match="at least two rows"):
        frechet(few[:1], few)


def test_coverage_is_what_a_loop_counts(monkeypatch):
    monkeypatch.setattr(coverage, "CHUNK", 4)
    real, small = rows(11), rows(4, seed=1)
    nearest = [min(float((x - y).norm()) for j, y in enumerate(real) if i != j) for i, x in enumerate(real)]
    threshold = sorted(nearest)[5]
    assert coverage.spacing(real) == pytest.approx(threshold)
    own = torch.arange(11) % 4 == 0
    inside = [any(float((x - s).norm()) <= threshold for s in small) for x, mine in zip(real, own, strict=True) if not mine]
    found = coverage.coverage(real, small, own)
    assert (found.counted, found.own, found.threshold) == (8, 3, pytest.approx(threshold))
    assert found.share == pytest.approx(sum(inside) / 8)
    assert 0 < found.share < 1, "the case says something"
    assert coverage.coverage(real, small, own, threshold=0.0).share == 0


def test_real_images_that_a_set_holds_cover_nothing_of_themselves():
    real = torch.randint(0, 256, (6, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mine = coverage.held(real, real[[4, 1]])
    assert mine.nonzero().flatten().tolist() == [1, 4]
    at = real.flatten(1).double()
    assert coverage.coverage(at, at[mine], mine, threshold=0.0).share == 0
    assert coverage.coverage(at, at[mine], threshold=0.0).share == pytest.approx(2 / 6)
    with pytest.raises(InputError, match="holds all of the 6"):
        coverage.coverage(at, at, torch.ones(6, dtype=torch.bool))


def test_the_wasserstein_distance_is_that_of_the_best_assignment():
    first, second = rows(5), rows(5, seed=1)
    best = min(sum(float((first[i] - second[j]).norm()) for i, j in enumerate(p)) for p in itertools.permutations(range(5)))
    assert wasserstein.wasserstein(first, second) == pytest.approx(best / 5, rel=1e-9)
    assert wasserstein.wasserstein(first, first[[3, 0, 4, 1, 2]]) == pytest.approx(0, abs=1e-12)


def test_without_pot_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(InputError, match=r"pip install refluence\[generate\]"):
        wasserstein.wasserstein(rows(2), rows(2))


def small(images, labels):
    return DistilledSet(images.float(), labels, ("a", "b"), (0.5,), (0.25,))


def test_every_part_has_every_class():
    labels = torch.tensor([0] * 12 + [1] * 11)
    split = parts(labels)
    assert len(split) == 10
    assert sorted(torch.cat(split).tolist()) == list(range(23))
    assert all(set(labels[part].tolist()) == {0, 1} for part in split)
    assert len(parts(torch.tensor([0, 0, 0, 1]))) == 1


def test_copies_are_redundant_and_unlike_images_are_not():
    """Parts that are copies predict each other; parts whose classes are exchanged predict each other wrongly."""
    one = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    spec, protocol = ModelSpec("convnet1", (1, 8, 8), 2, width=8), protocols()["dc"].with_(epochs=10)
    images, labels = one.repeat(3, 1, 1, 1), torch.tensor([0, 1] * 3)
    copies = redundancy(small(images, labels), spec, protocol, streams(0))
    assert copies.shape == (3, 3)
    assert mean_off_diagonal(copies) == 100
    exchanged = redundancy(small(images[:4], torch.tensor([0, 1, 1, 0])), spec, protocol, streams(0))
    assert exchanged.tolist() == [[100, 0], [0, 100]]
    assert torch.equal(copies, redundancy(small(images, labels), spec, protocol, streams(0))), "the same bits"
    with pytest.raises(InputError, match="two images of each class"):
        redundancy(small(one, labels[:2]), spec, protocol, streams(0))


def test_alike_images_are_drawn_near_each_other():
    left, right = rows(12, 4), rows(12, 4, 1) + 50
    a, b = project(left[:6], torch.cat([left[6:], right]))
    near = torch.cdist(a, b[:6]).mean()
    assert torch.cdist(a, b[6:]).mean() > 2 * near


def test_quality_holds_every_number_and_is_plain():
    labels, real_labels = torch.tensor([0, 0, 1, 1]), torch.arange(20) % 2
    features = Features(rows(4, 5), labels, rows(20, 5, 1), real_labels, torch.arange(20) < 2)
    matrix = torch.tensor([[100.0, 40.0], [60.0, 100.0]])
    found = quality(features, torch.tensor([1.0, 3.0, 5.0, 5.0]), matrix, classes=3)
    assert found.frechet == frechet(features.small, features.real)
    assert found.wasserstein == wasserstein.wasserstein(features.small, features.real)
    assert found.coverage == 100 * coverage.coverage(features.real, features.small, features.own).share
    assert (found.real, found.own, found.influence, found.redundancy) == (20, 2, 3.5, 50.0)
    assert found.influence_by_class == (2.0, 5.0, None)
    assert [len(found.points.at), len(found.real_points.at)] == [4, 20]
    assert found.real_points.labels == tuple(real_labels.tolist())
    stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert stored["matrix"] == matrix.tolist()
    bare = quality(features, classes=3)
    assert (bare.influence, bare.redundancy, bare.matrix) == (None, None, ())
    with pytest.raises(InputError, match="at least two images"):
        Features(rows(1), labels[:1], rows(3), labels[:3], labels[:3] > 0)
