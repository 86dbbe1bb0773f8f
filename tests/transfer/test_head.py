"""A new last layer on fixed features: it separates them, from the seed alone, and leaves everything else as it was."""

import torch

from refluence.data import Dataset, Split
from refluence.models import ModelSpec, build
from refluence.models.pretrained import zero_head
from refluence.models.renormalised import Renormalised
from refluence.seeds import streams
from refluence.transfer.head import fit_head, linear_head
from support.draws import generator


def test_features_far_from_zero_and_of_other_scales_are_separated():
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator(0)) * 0.1 + torch.nn.functional.one_hot(labels, 5)
    features = features * torch.tensor([1e-3, 1.0, 1e3, 1.0, 0.0]) + torch.tensor([0.0, 50.0, -1e3, 0.0, 7.0])
    head = linear_head(features, labels, 3, streams(0))
    assert (head(features).argmax(1) == labels).all()
    assert torch.equal(head.weight, linear_head(features, labels, 3, streams(0)).weight)
    assert not torch.equal(head.weight, linear_head(features, labels, 3, streams(1)).weight)
    assert head.weight.requires_grad


def tiny(count=24):
    images = torch.rand(count, 1, 8, 8, generator=generator(1))
    labels = torch.arange(count) % 2
    images[labels == 1, :, :4] += 1
    split = Split(images, labels, torch.arange(count))
    return Dataset("tiny", ("a", "b"), split, split.first(2), split.first(2), (0.4,), (0.3,))


def test_only_the_last_layer_of_a_loaded_network_learns():
    body = build(ModelSpec("resnet8", (3, 8, 8), 4, 4), generator()).eval()
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    body.classifier = zero_head(body.classifier.in_features, 2)
    data = tiny()
    net = fit_head(Renormalised(body, (data.mean, data.std), ((0.5,) * 3, (0.25,) * 3)), data, streams(0))
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(before[key], t) for key, t in body.state_dict().items() if not key.startswith("classifier"))
    right = net(data.pixels(data.train)).argmax(1) == data.train.labels
    assert right.float().mean() > 0.9
