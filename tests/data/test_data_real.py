"""The real sets, against the counts that their README states."""

from pathlib import Path

import pytest
import torch

from refluence.data import SourceOptions, load

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the folder of real datasets is absent ({DATA})"),
]


@pytest.mark.slow
def test_cifar10_with_human_labels():
    clean = load(str(DATA / "cifar10"))
    assert clean.shape == (3, 32, 32)
    assert clean.classes[0] == "airplane"
    assert clean.train.labels.bincount().tolist() == [4500] * 10
    assert clean.val.labels.bincount().tolist() == [500] * 10
    assert clean.test.labels.bincount().tolist() == [1000] * 10
    assert torch.tensor(clean.mean).allclose(torch.tensor([0.4914, 0.4822, 0.4465]), atol=2e-3)
    noisy = load(str(DATA / "cifar10"), SourceOptions(labels=f"{DATA}/cifar10n/train.parquet:aggre_label"))
    assert torch.equal(noisy.test.labels, clean.test.labels)
    truth = torch.empty(50_000, dtype=torch.int64)
    for split in (clean.train, clean.val):
        truth[split.rows] = split.labels
    wrong = sum((split.labels != truth[split.rows]).sum().item() for split in (noisy.train, noisy.val))
    assert wrong / 50_000 == pytest.approx(0.0901, abs=5e-5)


@pytest.mark.slow
def test_imagenette_tests_on_val():
    data = load(str(DATA / "imagenette96"), SourceOptions(image_size=32))
    assert len(data.train) + len(data.val) == 9469
    assert len(data.test) == 3925
    assert data.classes[1] == "English springer"
    assert any("'val' is the test split" in note for note in data.notes)


@pytest.mark.slow
def test_mnist_is_grey():
    data = load(str(DATA / "mnist"))
    assert data.shape == (1, 28, 28)
    assert len(data.train) + len(data.val) == 60_000
    assert data.test.labels[:4].tolist() == [7, 2, 1, 0]
    assert data.mean[0] == pytest.approx(0.1307, abs=1e-3)
