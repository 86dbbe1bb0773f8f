"""Which parameters are those of the last block, in networks of several makes."""

import pytest
from torch import nn

from refluence.models.last_block import last_block


def block():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def places(names):
    return {name.rpartition(".")[0] for name in names}


def test_a_row_of_blocks_and_what_follows_it():
    net = nn.ModuleDict({"rows": nn.ModuleList([block(), block()]), "norm": nn.LayerNorm(4), "head": nn.Linear(4, 3)})
    net["aside"] = nn.Linear(4, 4)  # made after the head: no part of what leads to it
    assert places(last_block(net, "head")) == {"rows.1.0", "norm", "head"}


def test_layers_one_after_the_other_are_no_blocks():
    assert last_block(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), "2") == ("2.weight", "2.bias")


def test_a_backbone_before_a_head_is_no_block_itself():
    backbone = nn.Sequential(block(), block())
    assert places(last_block(nn.Sequential(backbone, nn.Linear(4, 3)), "1")) == {"0.1.0", "1"}


@pytest.mark.parametrize(
    ("name", "head", "first"),
    [
        ("resnet18", "fc", "layer4.1."),
        ("mobilenet_v2", "classifier.1", "features.18."),
        ("vit_b_16", "heads.head", "encoder.layers.encoder_layer_11."),
    ],
)
def test_networks_of_torchvision(name, head, first):
    torchvision = pytest.importorskip("torchvision")
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(name)
    found = last_block(net, head)
    assert found[0].startswith(first)
    assert found[-1] == f"{head}.bias"
    assert sum(net.get_parameter(n).numel() for n in found) < sum(p.numel() for p in net.parameters()) / 2


def test_a_model_of_the_hub():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    found = last_block(transformers.BertForSequenceClassification(config), "classifier")
    assert found[0].startswith("bert.encoder.layer.2.")
    assert places(found) >= {"bert.pooler.dense", "classifier"}
    assert not any("layer.1." in name for name in found)
