"""The label noise benchmark on a tiny set: which score belongs to which row, and what the AUC looks at."""

from dataclasses import replace

import label_noise
import pytest
import torch
from torch.nn.functional import cross_entropy

from refluence.data.dataset import Split
from refluence.influence import Curvature
from refluence.score.settings import CrossFit
from support.tiny_data import tiny_dataset


@pytest.fixture(scope="module")
def found():
    dataset = tiny_dataset(sizes=(60, 50, 40))
    whole, held = dataset.train, torch.arange(len(dataset.train)) % 5 == 0
    train, val = (Split(whole.images[m], whole.labels[m], whole.rows[m]) for m in (~held, held))
    wrong = torch.rand(len(train), generator=torch.Generator().manual_seed(1)) < 0.15
    labels = torch.where(wrong, (train.labels + 1) % 3, train.labels)
    clean = replace(dataset, train=replace(train, labels=labels), val=val)
    noisy = replace(clean, val=replace(val, labels=(val.labels + (torch.arange(len(val)) % 9 == 0)) % 3))
    settings = CrossFit(folds=3, epochs=3, batch=8, curvature=Curvature("ggn", damping=1.0))
    scores = label_noise.one(noisy, clean, settings, 0, width=4)
    scores["clean"] |= label_noise.with_clean_images(noisy, clean, settings, 0, width=4)
    return scores, wrong


def test_every_score_is_of_every_row_and_finds_wrong_labels(found):
    scores, wrong = found
    for setting, methods in scores.items():
        for method, each in methods.items():
            assert each.shape == wrong.shape, method
            if method != "early-epoch loss":
                assert label_noise.auc(setting, method, each, wrong)["auc"] > 0.6, (setting, method)
    assert set(label_noise.OURS) <= scores["noisy"].keys() & scores["clean"].keys()


def test_the_terms_add_up(found):
    scores = found[0]["noisy"]
    both, explicit, implicit = (
        scores[f"influence ({term}), mean of all networks"] for term in ("both", "explicit", "implicit")
    )
    torch.testing.assert_close(both, explicit + implicit)


def test_margin_and_loss_are_of_the_label():
    z, y = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    told = label_noise.out_of_fold(z, y)
    torch.testing.assert_close(told["out-of-fold margin"], torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(told["out-of-fold loss"], cross_entropy(z, y, reduction="none"))
