"""Classifiers of transformers that are handed over: their logits, under their own names of tensors."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.models.custom import own_spec, trained_spec
from refluence.models.names import fit


@pytest.fixture(scope="module")
def vit():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4,
        num_channels=3, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config).eval()


def test_a_classifier_of_transformers_gives_its_logits(vit):
    x = torch.rand(4, 3, 8, 8)
    given = trained_spec(vit, (3, 8, 8), 3)
    made = own_spec(lambda shape, classes: copy.deepcopy(vit), (3, 8, 8), 3)
    for spec in (given, made):
        net = spec.bare(torch.Generator().manual_seed(0)).eval()
        assert torch.equal(net(x), vit(x).logits)
        assert spec.width == 8 if spec is made else spec.name == "ViTForImageClassification()"
    wanted = fit(vit.state_dict(), net, 3, {}).tensors
    assert all(torch.equal(wanted[f"module.{name}"], tensor) for name, tensor in vit.state_dict().items())


def test_an_output_with_logits_is_refused_with_what_to_return():
    class Boxes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(192, 3)

        def forward(self, x):
            return SimpleNamespace(logits=self.layer(x.flatten(1)))

    with pytest.raises(InputError, match=r"expected logits \(2, 3\) \(return its \.logits\)"):
        trained_spec(Boxes(), (3, 8, 8), 3)
